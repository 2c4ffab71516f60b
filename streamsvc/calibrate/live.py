"""Views from live cameras: the newest pictures of all, kept whenever the board rests somewhere new.

`Collector` decides, purely; `gather_live` feeds it from threads that read devices.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from streamsvc.calibrate.boards import Detection, Detector, Gray
from streamsvc.calibrate.choose import NOVEL, difference, moved
from streamsvc.calibrate.errors import CalibrationError
from streamsvc.calibrate.gather import Gathered
from streamsvc.calibrate.solve import View
from streamsvc.errors import StreamsvcError
from streamsvc.frames import Pixels

MAX_MOTION = 0.003
"""A board that moved more than this share of the diagonal since the last look isn't at rest."""

MAX_SKEW_NS = 70_000_000
LOOK_S = 0.3
ZONES = ("upper left", "top", "upper right", "left", "middle", "right", "lower left", "bottom", "lower right")

Say = Callable[[str], None]
OnPicture = Callable[[str, Pixels, int], None]


class Look(StrEnum):
    """What one look at the board was worth."""

    UNSEEN = "unseen"
    MOVING = "moving"
    KNOWN = "known"
    KEPT = "kept"


class Collector:
    """Takes looks at the board, one after the other, and says which to keep. `kept` holds them."""

    def __init__(self, sizes: Mapping[str, tuple[int, int]], wanted: int) -> None:
        self._sizes, self._wanted = dict(sizes), wanted
        self._last: Mapping[str, Detection] = {}
        self.kept: list[Mapping[str, Detection]] = []

    @property
    def done(self) -> bool:
        """Whether every camera has enough views, and, where there are several, shares as many with others."""
        counts = [sum(c in k and (len(k) > 1 or len(self._sizes) == 1) for k in self.kept) for c in self._sizes]
        return min(counts) >= self._wanted

    def offer(self, found: Mapping[str, Detection]) -> Look:
        """Take one look and say what it is worth; it's kept when it is at rest since the last look, and new."""
        last, self._last = self._last, found
        if not found:
            return Look.UNSEEN
        if not found.keys() <= last.keys():
            return Look.MOVING
        for camera, seen in found.items():
            motion = moved(seen, last[camera], self._sizes[camera])
            if motion is None or motion > MAX_MOTION:
                return Look.MOVING
        if any(difference(found, k, self._sizes) < NOVEL for k in self.kept):
            return Look.KNOWN
        self.kept.append(found)
        return Look.KEPT

    def zones(self) -> dict[str, NDArray[np.int64]]:
        """Return by camera in how many views the board reached each of the `ZONES` of its picture, (9,)."""
        cells = {c: np.zeros(9, np.int64) for c in self._sizes}
        for found in self.kept:
            for camera, seen in found.items():
                at = np.clip((seen.pixels / self._sizes[camera] * 3).astype(int), 0, 2)
                cells[camera] += np.bincount(at[:, 1] * 3 + at[:, 0], minlength=9) > 0
        return cells

    def place(self) -> tuple[str, int]:
        """Return where the board should go next: the emptiest camera and the number of its emptiest zone."""
        cells = self.zones()
        camera = min(cells, key=lambda c: int(cells[c].sum()))
        return camera, int(cells[camera].argmin())

    def advice(self) -> str:
        """Return `place` in words."""
        camera, zone = self.place()
        return f"{len(self.kept)} views; next: tilted, {ZONES[zone]} of {camera}'s picture, and hold still"


class Source(Protocol):
    """One or more cameras that deliver until they are stopped, on the thread that runs them."""

    def run(self, on_picture: OnPicture, stop: threading.Event) -> None:
        """Call `on_picture` with (camera, pixels, capture instant on the monotonic clock)."""


def gather_live(
    groups: Sequence[Source], cameras: Sequence[str], detector: Detector, say: Say, *, wanted: int, seconds: float
) -> Gathered:
    """Collect `wanted` views from the `cameras` (names) that `groups` deliver, or as many as come in `seconds`.

    `say` hears what to do next. Raises CalibrationError when a camera delivers nothing or stops.
    """
    newest: dict[str, tuple[Pixels, int]] = {}
    failed: list[str] = []
    stop, lock = threading.Event(), threading.Lock()

    def take(name: str, pixels: Pixels, captured_ns: int) -> None:
        with lock:
            newest[name] = pixels, captured_ns

    def run(group: Source) -> None:
        try:
            group.run(take, stop)
        except (StreamsvcError, OSError, ValueError) as e:
            failed.append(str(e))

    threads = [threading.Thread(target=run, args=(g,), name="camera", daemon=True) for g in groups]
    for thread in threads:
        thread.start()
    gathered = Gathered()
    collector: Collector | None = None
    looked: dict[str, int] = {}
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end and not (collector and collector.done):
            if failed:
                raise CalibrationError(f"a camera stopped: {failed[0]}")
            stop.wait(LOOK_S)
            with lock:
                look = dict(newest)
            if not look.keys() >= set(cameras):
                continue
            instants = {name: look[name][1] for name in cameras}
            if max(instants.values()) - min(instants.values()) > MAX_SKEW_NS:
                continue
            if any(at <= looked.get(name, at - 1) for name, at in instants.items()):
                continue  # a picture that is looked at twice shows every board at rest
            looked = instants
            grays = {name: _gray(look[name][0]) for name in cameras}
            found = {}
            for name, gray in grays.items():
                gathered.look(name, gray, "a picture")
                seen = detector.find(gray, thorough=False)
                gathered.keep(name, gray, seen)
                if seen is not None:
                    found[name] = seen
            if collector is None:
                collector = Collector(gathered.sizes, wanted)
            if collector.offer(found) is Look.KEPT:
                gathered.views.append(View(f"view {len(collector.kept)}", found))
                say(collector.advice())
    except KeyboardInterrupt:
        say("stopped; calibrating with what was seen")
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=2)
    silent = [name for name in cameras if name not in newest]
    if silent:
        raise CalibrationError(f"no picture came from {', '.join(silent)} in {seconds:g} s")
    if collector is None:
        raise CalibrationError("the cameras' pictures never came within 70 ms of each other: give all one frame rate")
    return gathered


def _gray(pixels: Pixels) -> Gray:
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
