"""What is wrong with the cameras of a stream and with its rig, over time: which of them to use, and what to tell.

Cameras are looked at ten times a second (`health`), each pair is checked against its calibration every few seconds
(`health_pairs`); two checks of one mind change what is said of a pair. Safe to call from several threads.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from streamsvc.budget.slices import Slices, run_to_end
from streamsvc.frames import FrameSet, Pixels, Rig
from streamsvc.view.health import CamerasHealth, Finding
from streamsvc.view.health_pairs import examine
from streamsvc.view.rectify import RectifiedPair, rectify_pair, shrunk

CHECK_NS = 3_000_000_000
FIRST_NS = 500_000_000
"""A pair is first checked so long after it was first seen: nobody waits longer for a first picture."""

IN_A_ROW = 2
RECTIFIED_SIDE = 64
"""Only the axes of the rectified pair are used."""

ANY_DEPTH = (0.3, math.inf)

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
    """The cameras and pairs of one stream; `rig` None: cameras alone. Raises ViewError for a pair that is none."""

    def __init__(self, rig: Rig | None) -> None:
        self._lock = threading.Lock()
        self._cameras = CamerasHealth()
        self._pairs: dict[Pair, RectifiedPair] = {}
        self._states: dict[Pair, _State] = {}
        self._depth_range = None
        if rig is not None:
            self._depth_range = rig.depth_range
            for pair in rig.pairs:
                a, b = (shrunk(rig.camera(name), RECTIFIED_SIDE) for name in pair)
                self._pairs[pair] = rectify_pair(a, b, self._depth_range or ANY_DEPTH)

    def usable(self, frames: FrameSet, pictures: Mapping[str, Pixels]) -> dict[str, Pixels]:
        """Look at a set's pictures (by camera, as they came) and return those that show something; all of them when
        none does."""
        self._cameras.look(pictures, {f.camera: f.capture_ns for f in frames.frames})
        ill = {name for finding in self._cameras.findings() for name in finding.cameras}
        return {n: p for n, p in pictures.items() if n not in ill} or dict(pictures)

    def check(self, frames: FrameSet, pictures: Mapping[str, Pixels]) -> Slices[None]:
        """Check a pair against its calibration if one is due; yields "check" after every few milliseconds of it."""
        pair = self._due(pictures, frames.capture_ns)
        if pair is not None:
            verdict = yield from examine(self._pairs[pair], pictures, self._depth_range)
            with self._lock:
                self._states[pair].take(verdict)

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
        """Return what these pictures by themselves say is wrong with the rig: for pictures that nothing follows."""
        whole = [pair for pair in self._pairs if set(pair) <= set(pictures)]
        verdicts = [run_to_end(examine(self._pairs[p], pictures, self._depth_range)) for p in whole]
        return self._cameras.findings() + tuple(v for v in verdicts if isinstance(v, Finding))

    def findings(self) -> tuple[Finding, ...]:
        """Return what is wrong now, cameras first."""
        with self._lock:
            said = tuple(s.said for s in self._states.values() if s.said is not None)
        return self._cameras.findings() + said
