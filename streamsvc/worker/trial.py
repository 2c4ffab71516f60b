"""Rungs that a stream has not run on are tried in idle time, so that the planner knows what they cost before it needs
them.

On a synthesizer of their own with a copy of one frame set: nothing that is shown notices. As best effort, each rung
twice; the first time fills caches and doesn't count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from streamsvc.budget import Slices
from streamsvc.errors import StreamsvcError
from streamsvc.frames import FrameSet
from streamsvc.view import ViewSynthesizer
from streamsvc.view.modes import Picture, take

AFTER_SETS = 45
"""A stream has begun, and runs, when it has had so many."""

MOST_PIXELS = 4_000_000
"""Of a frame set that is copied for this."""


def copied(frames: FrameSet) -> FrameSet | None:
    """Return a frame set of its own pixels, None where that is too large."""
    if sum(f.pixels.shape[0] * f.pixels.shape[1] for f in frames.frames) > MOST_PIXELS:
        return None
    return replace(frames, frames=tuple(replace(f, pixels=f.pixels.copy()) for f in frames.frames))


def trial(
    synthesizer: ViewSynthesizer,
    frames: FrameSet,
    rungs: Sequence[str],
    computed_ns: Callable[[], int],
    on_cost: Callable[[str, int], None],
) -> Slices[None]:
    """Make the view at rest on each of `rungs`, and tell what each took in ns of `computed_ns`, this thread's clock of
    compute. One that fails is left out."""
    shot = synthesizer.shot(None)
    for rung in rungs:
        yield from _once(take(shot, synthesizer.views(frames, shot.cameras, rung)), computed_ns)
        spent = yield from _once(take(shot, synthesizer.views(frames, shot.cameras, rung)), computed_ns)
        if spent is not None:
            on_cost(rung, spent)


def _once(slices: Slices[Picture], computed_ns: Callable[[], int]) -> Slices[int | None]:
    """Run to the end and return what it took in ns; None where it fails, or where a camera is away or ill, so that a
    picture passes, which says nothing of the rung."""
    spent = 0
    while True:
        start = computed_ns()
        try:
            stage = next(slices)
        except StopIteration:
            return spent
        except StreamsvcError:
            return None
        spent += computed_ns() - start
        if stage == "pass":
            return None
        yield f"try {stage}"
