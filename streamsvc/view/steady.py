"""Sensor noise averaged away over time where nothing moves, so that a still person doesn't shimmer.

Each pixel is a running mean of what it has shown since it last changed: the gain is 1 / age, never under `LEAST_GAIN`
(a Kalman filter for a constant, whose age starts anew when the 3x3 neighbourhood differs by more than noise does). What
noise does is estimated from the pictures themselves. No delay is added: what moves passes through as it is.
"""

from __future__ import annotations

import math
import threading

import numba
import numpy as np
from numpy.typing import NDArray

from streamsvc.frames import Pixels

LEAST_GAIN = 0.15
PAUSE_NS = 500_000_000
"""Older pictures say nothing about this one."""

MOVED, MOVED_ALTOGETHER = 1.4, 2.4
"""A neighbourhood's mean squared difference, in units of what noise alone makes, from which it begins to count as
moved, and at which it has moved altogether. Squares, because where an edge moves few pixels change, and much."""

LEAST_NOISE, MOST_NOISE = 0.4, 6.0
"""Bounds of the mean absolute difference (0..255) between two pictures that is put down to noise."""

NOISE_ROWS = 60
"""It's estimated from about so many rows of pixels as far apart as the rows."""


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _differ(row, mean, difference, squares):  # type: ignore[no-untyped-def]
    """Write a row's differences from its mean, and per pixel the sum of their squares, repeated beyond both ends."""
    width = squares.size - 2
    for k in range(3 * width):
        difference[k] = np.float32(row[k]) - mean[k]
    for x in range(width):
        r, g, b = difference[3 * x], difference[3 * x + 1], difference[3 * x + 2]
        squares[x + 1] = r * r + g * g + b * b
    squares[0], squares[width + 1] = squares[1], squares[width]


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _steady(picture, mean, age, noise, out):  # type: ignore[no-untyped-def]
    """Take `picture` (h, 3 w) into `mean` and `age` and write the new mean to `out`; `noise` is a channel's variance.

    Loops run along rows without a branch, so that they compile to vector instructions.
    """
    height, width = age.shape
    zero, one = np.float32(0), np.float32(1)
    least, first = np.float32(LEAST_GAIN), np.float32(MOVED)
    unit, span = one / (np.float32(27) * noise), one / np.float32(MOVED_ALTOGETHER - MOVED)
    difference = np.empty((2, 3 * width), np.float32)
    squares = np.empty((3, width + 2), np.float32)
    column, gain = np.empty(width + 2, np.float32), np.empty(3 * width, np.float32)
    _differ(picture[0], mean[0], difference[0], squares[0])
    squares[2] = squares[0]
    for y in range(height):
        below = (y + 1) % 3
        if y + 1 < height:
            _differ(picture[y + 1], mean[y + 1], difference[(y + 1) % 2], squares[below])
        else:
            squares[below] = squares[y % 3]
        for x in range(width + 2):
            column[x] = squares[0, x] + squares[1, x] + squares[2, x]
        for x in range(width):
            near = (column[x] + column[x + 1] + column[x + 2]) * unit
            moved = min(max((near - first) * span, zero), one)
            old = age[y, x] * (one - moved) + one
            age[y, x] = old
            g = max(one / old, least)
            g += (one - g) * moved
            gain[3 * x] = g
            gain[3 * x + 1] = g
            gain[3 * x + 2] = g
        d, m, o = difference[y % 2], mean[y], out[y]
        for k in range(3 * width):
            value = m[k] + gain[k] * d[k]
            m[k] = value
            o[k] = np.uint8(np.int32(value + np.float32(0.5)))


class Steady:
    """The filter of one camera; safe to call from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mean: NDArray[np.float32] | None = None
        self._age = np.zeros((0, 0), np.float32)
        self._capture_ns = 0
        self._noise: float | None = None

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
            step = max(pixels.shape[0] // NOISE_ROWS, 1)
            some = np.s_[step // 2 :: step, step // 2 :: step]
            sigma = self._sigma(np.abs(pixels[some] - mean[some]))
            out = np.empty_like(pixels)
            flat = pixels.shape[0], -1
            _steady(pixels.reshape(flat), mean.reshape(flat), self._age, np.float32(sigma**2), out.reshape(flat))
            return out

    def _sigma(self, some: NDArray[np.float32]) -> float:
        """The standard deviation of what is put down to noise, from `some` pixels' absolute differences (h, w, 3)."""
        # The lower quartile is of what stands still, even when much moves; of Gaussian noise it lies at 0.7 of the
        # mean absolute difference.
        means = ((some[..., 0] + some[..., 1] + some[..., 2]) / 3).ravel()
        seen = float(np.partition(means, means.size // 4)[means.size // 4]) / 0.7
        seen = min(max(seen, LEAST_NOISE), MOST_NOISE)
        self._noise = seen if self._noise is None else self._noise + 0.2 * (seen - self._noise)
        return self._noise * math.sqrt(math.pi / 2)
