"""Hashes and value noise for procedural texture: the same numbers on every machine, from whole-number arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def hash01(x: Any, y: Any, z: Any, seed: Any) -> Any:
    """Return a float in [0, 1) from four whole numbers (multiply, xor, shift on 32 bits)."""
    h = np.uint32(
        np.uint32(x) * np.uint32(0x8DA6B343)
        ^ np.uint32(y) * np.uint32(0xD8163841)
        ^ np.uint32(z) * np.uint32(0xCB1AB31F)
        ^ np.uint32(seed) * np.uint32(0x9E3779B1)
    )
    h = np.uint32((h ^ (h >> np.uint32(15))) * np.uint32(0x2C1B3C6D))
    h = np.uint32((h ^ (h >> np.uint32(12))) * np.uint32(0x297A2D39))
    return np.uint32(h ^ (h >> np.uint32(15))) / 4294967296.0


@njit(nogil=True, cache=True)
def noise3(x: float, y: float, z: float, seed: int) -> float:
    """Return value noise in [-1, 1] with features of size one at (x, y, z): lattice hashes, smoothly interpolated."""
    fx, fy, fz = np.floor(x), np.floor(y), np.floor(z)
    i, j, k = np.int64(fx), np.int64(fy), np.int64(fz)
    u, v, w = x - fx, y - fy, z - fz
    u, v, w = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
    total = 0.0
    for a in range(2):
        wa = u if a == 1 else 1 - u
        for b in range(2):
            wb = v if b == 1 else 1 - v
            for c in range(2):
                wc = w if c == 1 else 1 - w
                total += wa * wb * wc * hash01(i + a, j + b, k + c, seed)
    return 2 * total - 1


@njit(nogil=True, cache=True)
def fractal3(x: float, y: float, z: float, octaves: int, seed: int) -> float:
    """Return `octaves` of `noise3`, each twice as fine and 0.6 times as strong, scaled to about [-1, 1]."""
    total, strength, norm = 0.0, 1.0, 0.0
    for o in range(octaves):
        total += strength * noise3(x, y, z, seed + 17 * o)
        norm += strength
        strength *= 0.6
        x, y, z = 2 * x, 2 * y, 2 * z
    return total / norm


@njit(nogil=True, cache=True)
def smoothstep(low: float, high: float, x: float) -> float:
    """Return 0 below `low`, 1 above `high`, and the cubic between."""
    s = min(1.0, max(0.0, (x - low) / (high - low)))
    return s * s * (3 - 2 * s)
