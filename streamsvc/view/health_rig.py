"""What is wrong with the cameras of a stream and with its rig, over time: which of them to use, and what to tell.

Cameras are looked at ten times a second (`health`), each pair is checked against its calibration every few seconds
(`health_pairs`); two checks of one mind change what is said of a pair. Safe to call from several threads.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streamsvc.budget.slices import Slices, run_to_end
from streamsvc.frames import FrameSet, Pixels, Rig
from streamsvc.view.align import Alignment
from streamsvc.view.health import CamerasHealth, Finding
from streamsvc.view.health_matches import Axes, axes_of
from streamsvc.view.health_pairs import OFF, Checked, examine

CHECK_NS = 3_000_000_000
FIRST_NS = 500_000_000
"""A pair is first checked so long after it was first seen: nobody waits longer for a first picture."""

IN_A_ROW = 2

Pair = tuple[str, str]


@dataclass(slots=True)
class _State:
    checked_ns: int
    said: Finding | None = None
    turning: str | None = None
    count: int = 0

    def take(self, verdict: Finding | bool) -> None:
        if verdict is False:
            return
        found = None if verdict is True else verdict
        code = None if found is None else found.code
        if code == (None if self.said is None else self.said.code):
            self.count = 0
            return
        self.count = self.count + 1 if self.turning == code else 1
        self.turning = code
        if self.count >= IN_A_ROW:
            self.said, self.count = found, 0


class Health:
    """The cameras and pairs of one stream; `rig` None: cameras alone. What its pairs show of how the cameras are turned
    goes to the `alignment`. Raises ViewError for a pair that is none."""

    def __init__(self, rig: Rig | None, alignment: Alignment | None = None) -> None:
        self._lock = threading.Lock()
        self._alignment = alignment
        self._cameras = CamerasHealth()
        self._depth_range = None if rig is None else rig.depth_range
        self._pairs: dict[Pair, Axes] = {}
        self._states: dict[Pair, _State] = {}
        if rig is not None:
            self._pairs = {(a, b): axes_of(rig.camera(a), rig.camera(b)) for a, b in rig.pairs}

    def usable(self, frames: FrameSet, pictures: Mapping[str, Pixels]) -> dict[str, Pixels]:
        """Look at a set's pictures (by camera, as they came) and return those that show something; all of them when
        none does."""
        self._cameras.look(pictures, {f.camera: f.capture_ns for f in frames.frames})
        ill = {name for finding in self._cameras.findings(at_once=True) for name in finding.cameras}
        return {n: p for n, p in pictures.items() if n not in ill} or dict(pictures)

    def check(self, frames: FrameSet, pictures: Mapping[str, Pixels]) -> Slices[None]:
        """Check a pair against its calibration if one is due; yields "check" after every few milliseconds of it."""
        pair = self._due(pictures, frames.capture_ns)
        if pair is not None:
            checked = yield from examine(self._pairs[pair], pictures, self._depth_range, self._aligned(pair))
            with self._lock:
                self._states[pair].take(checked.verdict)
            self._learn(checked)

    def _aligned(self, pair: Pair) -> Axes | None:
        """The axes of a pair of cameras as they are aligned by now."""
        return None if self._alignment is None else axes_of(*map(self._alignment.camera, pair))

    def _learn(self, checked: Checked) -> None:
        if self._alignment is not None and checked.evidence is not None:
            self._alignment.take(checked.evidence)

    def _due(self, pictures: Mapping[str, Pixels], capture_ns: int) -> Pair | None:
        with self._lock:
            for pair in self._pairs:
                if not set(pair) <= set(pictures):
                    continue
                state = self._states.setdefault(pair, _State(capture_ns - CHECK_NS + FIRST_NS))
                if capture_ns - state.checked_ns >= CHECK_NS:
                    state.checked_ns = capture_ns
                    return pair
        return None

    def examine(self, pictures: Mapping[str, Pixels]) -> tuple[Finding, ...]:
        """Return what these usable pictures by themselves, and the first ones, say is wrong: for pictures that nothing
        follows."""
        whole = [pair for pair in self._pairs if set(pair) <= set(pictures)]
        verdicts = []
        for pair in whole:
            checked = run_to_end(examine(self._pairs[pair], pictures, self._depth_range))
            self._learn(checked)
            if isinstance(checked.verdict, Finding) and checked.verdict.code == OFF:
                checked = run_to_end(examine(self._pairs[pair], pictures, self._depth_range, self._aligned(pair)))
            verdicts.append(checked.verdict)
        return self._cameras.findings(at_once=True) + _once([v for v in verdicts if isinstance(v, Finding)])

    def findings(self) -> tuple[Finding, ...]:
        """Return what is wrong now, cameras first."""
        with self._lock:
            said = [s.said for s in self._states.values() if s.said is not None]
        return self._cameras.findings() + _once(said)


def _once(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """What two pairs say of the same cameras, said once."""
    return tuple({(f.code, f.cameras): f for f in findings}.values())
