"""Sensor noise averaged away over time where nothing moves, so that a still person doesn't shimmer.

Each pixel is a running mean of what it has shown since it last changed: the gain is 1 / age, never under `LEAST_GAIN`
(a Kalman filter for a constant, whose age starts anew when the 3x3 neighbourhood differs by more than noise does). What
noise does is estimated from the pictures themselves. No delay is added: what moves passes through as it is.
"""

from __future__ import annotations

import threading

import numba
import numpy as np
from numpy.typing import NDArray

from streamsvc.frames import Pixels

LEAST_GAIN = 0.25
PAUSE_NS = 500_000_000
"""Older pictures say nothing about this one."""

MOVED = 1.6
"""A neighbourhood's mean difference, in units of what noise alone makes, from which it begins to count as moved; at
`2 MOVED` it has moved altogether."""

LEAST_NOISE, MOST_NOISE = 0.4, 6.0
"""Bounds of the mean absolute difference (0..255) between two pictures that is put down to noise."""


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _difference(picture, mean, out):  # type: ignore[no-untyped-def]
    height, width = out.shape
    third = np.float32(1 / 3)
    for y in range(height):
        for x in range(width):
            total = np.float32(0)
            for c in range(3):
                total += abs(np.float32(picture[y, x, c]) - mean[y, x, c])
            out[y, x] = total * third


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _steady(picture, mean, age, difference, still, least, out):  # type: ignore[no-untyped-def]
    height, width = age.shape
    one = np.float32(1)
    for y in range(height):
        y0, y1 = max(y - 1, 0), min(y + 2, height)
        for x in range(width):
            x0, x1 = max(x - 1, 0), min(x + 2, width)
            total = np.float32(0)
            for v in range(y0, y1):
                for u in range(x0, x1):
                    total += difference[v, u]
            near = total / np.float32((y1 - y0) * (x1 - x0))
            moved = min(max(near / still - one, np.float32(0)), one)
            old = age[y, x] * (one - moved) + one
            gain = max(one / old, least)
            gain += (one - gain) * moved
            age[y, x] = old
            for c in range(3):
                m = mean[y, x, c]
                m += gain * (np.float32(picture[y, x, c]) - m)
                mean[y, x, c] = m
                out[y, x, c] = np.uint8(m + np.float32(0.5))


class Steady:
    """The filter of one camera; safe to call from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mean: NDArray[np.float32] | None = None
        self._age = np.zeros((0, 0), np.float32)
        self._capture_ns = 0
        self._noise = LEAST_NOISE

    def __call__(self, pixels: Pixels, capture_ns: int) -> Pixels:
        """Return (h, w, 3) uint8 `pixels`, captured at `capture_ns`, without the noise that can be told from motion.

        A picture that isn't newer than the last one is returned as it is.
        """
        with self._lock:
            mean = self._mean
            if mean is None or mean.shape != pixels.shape or capture_ns - self._capture_ns > PAUSE_NS:
                self._mean = pixels.astype(np.float32)
                self._age = np.ones(pixels.shape[:2], np.float32)
                self._capture_ns = capture_ns
                return pixels
            if capture_ns <= self._capture_ns:
                return pixels
            self._capture_ns = capture_ns
            difference = np.empty(pixels.shape[:2], np.float32)
            _difference(pixels, mean, difference)
            # The lower quartile is of what stands still, even when much moves; of Gaussian noise it lies at 0.7 of the
            # mean absolute difference.
            some = difference[1::4, 1::4].ravel()
            seen = float(np.partition(some, some.size // 4)[some.size // 4]) / 0.7
            self._noise += 0.2 * (min(max(seen, LEAST_NOISE), MOST_NOISE) - self._noise)
            out = np.empty_like(pixels)
            still = np.float32(MOVED * max(self._noise, LEAST_NOISE))
            _steady(pixels, mean, self._age, difference, still, np.float32(LEAST_GAIN), out)
            return out
