"""Hashes and value noise of `streamsvc/scene/noise.py` on tensors: the same numbers."""

from __future__ import annotations

import torch
from torch import Tensor

MASK = 0xFFFFFFFF
FACTORS = (0x8DA6B343, 0xD8163841, 0xCB1AB31F, 0x9E3779B1)


def _mixed(h: Tensor) -> Tensor:
    h = ((h ^ (h >> 15)) * 0x2C1B3C6D) & MASK
    h = ((h ^ (h >> 12)) * 0x297A2D39) & MASK
    return (h ^ (h >> 15)).double().mul(1 / 4294967296.0).float()


def hash01(x: Tensor, y: int, z: int, seed: Tensor) -> Tensor:
    """Return floats in [0, 1) from four whole numbers, int64."""
    constant = (y * FACTORS[1]) ^ (z * FACTORS[2])
    return _mixed(((x * FACTORS[0]) ^ constant ^ (seed * FACTORS[3])) & MASK)


def noise3(x: Tensor, y: Tensor, z: Tensor, seed: Tensor) -> Tensor:
    """Return value noise in [-1, 1] with features of size one, all (n,): float32 coordinates, int64 seeds."""
    corners, weights = [], []
    for at, factor in zip((x, y, z), FACTORS[:3], strict=True):
        floor = at.floor()
        low = floor.long() * factor
        corners.append((low, low + factor))
        u = at - floor
        weights.append(u * u * (3 - 2 * u))
    own = seed * FACTORS[3]
    lines = []
    for a in (0, 1):
        for b in (0, 1):
            plane = corners[0][a] ^ corners[1][b] ^ own
            ends = (_mixed((plane ^ corners[2][c]) & MASK) for c in (0, 1))
            lines.append(torch.lerp(*ends, weights[2]))
    low, high = torch.lerp(lines[0], lines[1], weights[1]), torch.lerp(lines[2], lines[3], weights[1])
    return 2 * torch.lerp(low, high, weights[0]) - 1


def fractal3(x: Tensor, y: Tensor, z: Tensor, octaves: int, seed: Tensor) -> Tensor:
    """Return `octaves` of `noise3`, each twice as fine and 0.6 times as strong, scaled to about [-1, 1]."""
    total, strength, norm = torch.zeros_like(x), 1.0, 0.0
    for octave in range(octaves):
        total = total + strength * noise3(x, y, z, seed + 17 * octave)
        norm += strength
        strength *= 0.6
        x, y, z = 2 * x, 2 * y, 2 * z
    return total / norm


def smoothstep(low: float, high: float, x: Tensor) -> Tensor:
    """Return 0 below `low`, 1 above `high`, and the cubic between."""
    s = ((x - low) / (high - low)).clamp(0, 1)
    return s * s * (3 - 2 * s)
