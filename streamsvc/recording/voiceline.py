"""One voice on the line of a recording's time: blocks with capture instants in, gapless 20 ms frames out. Pure.

Capture instants waver by what a clock estimate wavers; samples don't. So a block follows the one before it as long as
the instants, averaged over some 16 blocks, say so within `TOLERANCE`; beyond that, and at once beyond `JUMP`, silence
is put in or sound is left out, and line and clock agree again. Positions are samples at 48 kHz since time zero.
Invariants: nothing is heard twice; what was taken is never changed; sound that waits is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from streamsvc.frames import OUTPUT_RATE

FRAME = OUTPUT_RATE // 50
TOLERANCE = OUTPUT_RATE * 15 // 1000
JUMP = OUTPUT_RATE // 10
AVERAGE = 16
MOST_AHEAD = OUTPUT_RATE * 60
"""A translation is known before it is heard, by less than this."""

Sound16 = NDArray[np.int16]


class VoiceLine:
    """See the module."""

    def __init__(self) -> None:
        self._taken = 0
        self._waiting = np.zeros(0, np.int16)
        self._next: int | None = None
        self._drift = 0.0

    def put(self, samples: Sound16, at: int) -> None:
        """Take (n,) int16 samples, the first of which was heard at position `at`."""
        if self._next is None:
            self._next = at
        off = at - self._next
        self._drift += (off - self._drift) / AVERAGE
        if abs(off) > JUMP or abs(self._drift) > TOLERANCE:
            move = off if abs(off) > JUMP else round(self._drift)
            self._drift = 0.0
            if move > 0:
                self._next += move
            else:
                samples = samples[-move:]
        self._write(samples, self._next)
        self._next += len(samples)

    def take(self, until: int) -> Iterator[tuple[int, Sound16]]:
        """Yield (position, (960,) int16) of every frame that ends by `until`, silence where nothing came."""
        while self._taken + FRAME <= until:
            frame = self._waiting[:FRAME]
            self._waiting = self._waiting[FRAME:]
            if len(frame) < FRAME:
                frame = np.concatenate([frame, np.zeros(FRAME - len(frame), np.int16)])
            yield self._taken, frame
            self._taken += FRAME

    def _write(self, samples: Sound16, at: int) -> None:
        first = at - self._taken
        if first < 0:
            samples, first = samples[-first:], 0
        samples = samples[: max(MOST_AHEAD - first, 0)]
        end = first + len(samples)
        if not len(samples):
            return
        if end > len(self._waiting):
            self._waiting = np.concatenate([self._waiting, np.zeros(end - len(self._waiting), np.int16)])
        else:
            self._waiting = self._waiting.copy()
        self._waiting[first:end] = samples
