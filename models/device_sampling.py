"""What the device's renderers share: lists of unequal length laid end to end, and bilinear samples of many pictures.

Everything is tensors on one device, and nothing here waits for it: how long a list gets is told by the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def spread(counts: Tensor, total: int) -> tuple[Tensor, Tensor]:
    """Return (owner, place), both (total,) int64: entry by entry whose it is, and the how-manieth of its owner's.

    `counts` (n,) int64 is how many entries each owner has, `total` their sum.
    """
    owner = torch.repeat_interleave(counts, output_size=total)
    place = torch.arange(total, device=counts.device) - (counts.cumsum(0) - counts)[owner]
    return owner, place


def to_device(array: NDArray[Any], device: str) -> Tensor:
    """Return `array`, which the caller gives away, on `device`; a GPU gets it from pinned memory, without waiting."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device != "cpu" else tensor


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Pictures of any sizes end to end: `texels` (n, channels) uint8; picture k has `width[k]` by `height[k]` of them,
    its rows begin at `start[k]` and every `stride[k]` after that; all (k,) int64."""

    texels: Tensor
    start: Tensor
    stride: Tensor
    width: Tensor
    height: Tensor


def pack(pictures: Sequence[NDArray[np.uint8]], device: str) -> Packed:
    """Return pictures (h, w, channels) on `device`."""
    sizes = np.array([p.shape[:2] for p in pictures], np.int64).reshape(-1, 2)
    start = np.cumsum(sizes[:, 0] * sizes[:, 1]) - sizes[:, 0] * sizes[:, 1]
    texels = np.concatenate([p.reshape(-1, p.shape[2]) for p in pictures])
    table = to_device(np.stack([start, sizes[:, 1], sizes[:, 0]]), device)
    return Packed(to_device(texels, device), table[0], table[1], table[1], table[2])


def _reflected(at: Tensor, size: Tensor) -> Tensor:
    """The pixel that stands for pixel `at` of a row that goes on as in a mirror, edge pixels twice."""
    at = at.remainder(2 * size)
    return torch.minimum(at, 2 * size - 1 - at)


def sampled(pictures: Packed, number: Tensor, x: Tensor, y: Tensor, border: str) -> Tensor:
    """Return bilinear samples (n, channels) float32 of pictures `number` (n,) at `x`, `y` (n,).

    Whole coordinates are the middles of pixels; beyond its edge a picture is "reflected", "repeated" or "zero".
    """
    left, top = x.floor(), y.floor()
    across, down = (x - left).unsqueeze(1), (y - top).unsqueeze(1)
    start, stride = pictures.start[number], pictures.stride[number]
    width, height = pictures.width[number], pictures.height[number]
    i, j = left.long(), top.long()

    def tap(di: int, dj: int) -> Tensor:
        column, row = i + di, j + dj
        if border == "reflected":
            column, row = _reflected(column, width), _reflected(row, height)
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        if border != "reflected":
            column = torch.minimum(column.clamp(min=0), width - 1)
            row = torch.minimum(row.clamp(min=0), height - 1)
        values = pictures.texels[start + row * stride + column].float()
        return values * inside.unsqueeze(1) if border == "zero" else values

    upper = torch.lerp(tap(0, 0), tap(1, 0), across)
    return torch.lerp(upper, torch.lerp(tap(0, 1), tap(1, 1), across), down)
