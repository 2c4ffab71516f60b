"""What cameras show, judged from their pictures alone: covered, washed out, frozen, or well.

State is a few small pictures and levels per camera; ten pictures a second are looked at, 80 x 60 samples each.
Promises: nothing is said of a camera that shows a still scene without noise; what is said is said after it has lasted
half a second and taken back after a second of well pictures. A camera whose first pictures show nothing isn't used
from the first, but cameras begin dark: it is used, and nothing is said, as soon as they show something. Frozen means
that not even noise has changed for a second while there is reason to expect change: another camera sees something
move, or this one had sensor noise before and another one still has.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from streamsvc.frames import Pixels

LOOK_NS = 100_000_000
GAP_NS = 2_000_000_000
"""After so long without a picture a camera is judged anew."""

BAD_NS = 500_000_000
WELL_NS = 1_000_000_000
ALONE_NS = 10_000_000_000
"""How long a camera that had noise must stand still to be frozen where no other shows whether noise still gets through:
the encoder may have less to spend, and still parts then repeat without their noise."""

WIDTH, HEIGHT = 80, 60
COARSE = (32, 24)
STRIDE_SIDE = 320

DARK = 20.0
"""Brightest level (98th percentile of averaged samples, of 255) of a picture that is black."""

CLIPPED = 250
CLIPPED_SHARE = 0.8
FLAT = 0.7
"""Mean difference of averaged samples from their 5 x 5 neighbourhood, of 255, under which nothing is to be seen: a
finger on the lens is smooth, a picture of a room has ten times that, and twice in a very dim one."""

CHANGED_SHARE = 0.002
CHANGED = 3
"""Levels by which a sample differs when it isn't the decoder's rounding of the same picture."""

GRAIN = 1.0
"""Median change between two looks, in levels, that only noise makes: all of a picture seldom moves."""

MOVED = 10.0
MOVED_SHARE = 0.01
MEMORY_NS = 450_000_000
"""Time constant of what is remembered of change: its share sinks from 1 to `LIFELESS` in a second."""

LIFELESS, LIVELY = 0.1, 0.5
MOTION_MEMORY_NS = 1_000_000_000
"""The same for motion, which must go on for most of a second: a hand that covers a lens moves too."""

COVERED, WASHED_OUT, FROZEN = "camera-covered", "camera-washed-out", "camera-frozen"
_TEXTS = {
    COVERED: "{} shows nothing but dark or a plain surface: uncover its lens, or give it light",
    WASHED_OUT: "{} is washed out: lower its exposure, or turn the light away from it",
    FROZEN: "{} stands still while what it sees should change: plug it in again",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with cameras: `code` is stable, `text` says what and the remedy, `mended` that it's over."""

    code: str
    cameras: tuple[str, ...]
    text: str
    mended: str

    @property
    def unusable(self) -> bool:
        """True where the camera's pictures aren't used."""
        return self.code in _TEXTS


def news(before: Sequence[Finding], now: Sequence[Finding]) -> list[tuple[str, str]]:
    """Return (code, words) of what is over, its code with "-over" after it, and of what is new.

    What only has other figures is neither.
    """
    said, wrong = {(f.code, f.cameras) for f in before}, {(f.code, f.cameras) for f in now}
    over = [(f"{f.code}-over", f.mended) for f in before if (f.code, f.cameras) not in wrong]
    return over + [(f.code, f.text) for f in now if (f.code, f.cameras) not in said]


def lasting(checks: Sequence[Sequence[Finding]]) -> list[str]:
    """Return, in the words of the last, what every one of several checks found; nothing where there was none."""
    everywhere = [{(f.code, f.cameras) for f in check} for check in checks]
    return [f.text for f in checks[-1] if all((f.code, f.cameras) in found for found in everywhere)] if checks else []


def ailment(pixels: Pixels) -> str | None:
    """Return the code of what makes one picture, (h, w, 3) uint8, unusable by itself, or None."""
    step = max(min(pixels.shape[:2]) * 4 // 3 // STRIDE_SIDE, 1)
    some = np.ascontiguousarray(pixels[::step, ::step])
    small = np.asarray(cv2.resize(some, COARSE, interpolation=cv2.INTER_AREA))
    if np.mean(small.min(axis=2) >= CLIPPED) > CLIPPED_SHARE:
        return WASHED_OUT
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    if np.percentile(grey, 98) < DARK or np.abs(grey - cv2.blur(grey, (5, 5))).mean() < FLAT:
        return COVERED
    return None


class _Watch:
    """One camera over time."""

    def __init__(self) -> None:
        self.ill: str | None = None
        self.sure = False
        self.frozen = False
        self.alive, self.moving, self.grain = 1.0, 0.0, 0.0
        self.still_ns = 0
        self._last_ns: int | None = None
        self._turned: tuple[str | None, int] = (None, 0)
        self._samples: NDArray[np.int16] | None = None
        self._before: NDArray[np.int16] | None = None
        self._before_ns = 0

    @property
    def grainy(self) -> bool:
        """True while noise gets through."""
        return self.alive > LIVELY and self.grain > LIVELY

    @property
    def sees_motion(self) -> bool:
        """True while something moves before a camera that is well."""
        return self.moving > LIVELY and self.ill is None and self._turned[0] is None

    def due(self, capture_ns: int) -> bool:
        """Whether a picture of this instant is to be looked at; older and hardly newer ones aren't."""
        return self._last_ns is None or capture_ns - self._last_ns >= LOOK_NS

    def gone(self, capture_ns: int) -> bool:
        """Whether it has shown nothing for so long that it is another camera by now."""
        return self._last_ns is not None and capture_ns - self._last_ns > GAP_NS

    def look(self, pixels: Pixels, capture_ns: int) -> None:
        elapsed = 0 if self._last_ns is None else capture_ns - self._last_ns
        found = ailment(pixels)
        if self._last_ns is None:
            self.ill = found
        self._last_ns = capture_ns
        self._judge(found, capture_ns)
        height, width = pixels.shape[:2]
        samples = pixels[:: -(-height // HEIGHT), :: -(-width // WIDTH), 1].astype(np.int16)
        if self._samples is not None and samples.shape == self._samples.shape:
            self._compare(samples, capture_ns, elapsed)
        else:
            self._before, self._before_ns = samples, capture_ns
        self._samples = samples

    def _judge(self, found: str | None, capture_ns: int) -> None:
        if found != self._turned[0]:
            self._turned = found, capture_ns
        lasted = capture_ns - self._turned[1]
        if found is None and (lasted >= WELL_NS or not self.sure):
            self.ill, self.sure = None, False
        elif found is not None and lasted >= BAD_NS:
            self.ill, self.sure = found, True

    def _compare(self, samples: NDArray[np.int16], capture_ns: int, elapsed: int) -> None:
        assert self._samples is not None and self._before is not None
        keep = math.exp(-elapsed / MEMORY_NS)
        change = np.abs(samples - self._samples)
        changed = bool(np.mean(change >= CHANGED) > CHANGED_SHARE or change.mean() > 0.5)
        self.alive = keep * self.alive + (1 - keep) * changed
        self.still_ns = 0 if changed else self.still_ns + elapsed
        if changed:
            self.grain = keep * self.grain + (1 - keep) * bool(np.median(change) >= GRAIN)
        moved = np.mean(cv2.blur(np.abs(samples - self._before).astype(np.float32), (3, 3)) > MOVED) > MOVED_SHARE
        keep = math.exp(-elapsed / MOTION_MEMORY_NS)
        self.moving = keep * self.moving + (1 - keep) * bool(moved)
        if capture_ns - self._before_ns >= BAD_NS:
            self._before, self._before_ns = samples, capture_ns


class CamerasHealth:
    """The cameras of one stream; safe to call from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watches: dict[str, _Watch] = {}

    def look(self, pictures: Mapping[str, Pixels], captured_ns: Mapping[str, int]) -> None:
        """Take one set: pictures (h, w, 3) uint8 by camera as they came, and the instants at which they were taken."""
        with self._lock:
            for name, pixels in pictures.items():
                watch = self._watches.get(name)
                if watch is None or watch.gone(captured_ns[name]):
                    watch = self._watches[name] = _Watch()
                if watch.due(captured_ns[name]):
                    watch.look(pixels, captured_ns[name])
            for name in pictures:
                self._freeze(self._watches[name], [self._watches[n] for n in pictures if n != name])

    @staticmethod
    def _freeze(watch: _Watch, others: list[_Watch]) -> None:
        if watch.alive > LIVELY:
            watch.frozen = False
        elif watch.alive < LIFELESS and not watch.frozen:
            had_noise = watch.grain > LIVELY
            alone = not others and watch.still_ns >= ALONE_NS
            watch.frozen = any(o.sees_motion for o in others) or (
                had_noise and (alone or any(o.grainy for o in others))
            )

    def findings(self, *, at_once: bool = False) -> tuple[Finding, ...]:
        """Return what is wrong now; `at_once` also what only the first pictures show."""
        with self._lock:
            ills = {n: w.ill if w.ill is not None else FROZEN for n, w in self._watches.items() if w.ill or w.frozen}
            unsure = {n for n, w in self._watches.items() if w.ill is not None and not w.sure}
        return tuple(
            Finding(ill, (name,), _TEXTS[ill].format(name), f"{name} is well again")
            for name, ill in ills.items()
            if at_once or name not in unsure
        )
