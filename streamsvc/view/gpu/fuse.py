"""Two geometries of one camera made one, in place: `view.fuse` as a Triton kernel."""

from __future__ import annotations

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray

from streamsvc.view.fuse import SURER, share
from streamsvc.view.geometry import Placed

_BLOCK = 256


@triton.jit
def _fuse(
    rays,
    inverse,
    confidence,
    pitch,
    width,
    count,
    row,
    other_inverse,
    other_confidence,
    columns,
    rows,
    SURER: tl.constexpr,
    BLOCK: tl.constexpr,
):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    here = at // width * pitch + at % width
    q = tl.load(inverse + here, mask=inside, other=0.0)
    c = tl.load(confidence + here, mask=inside, other=0.0)
    rx = tl.load(rays + 2 * here, mask=inside, other=0.0)
    ry = tl.load(rays + 2 * here + 1, mask=inside, other=0.0)
    z = tl.load(row + 6) * rx + tl.load(row + 7) * ry + tl.load(row + 8)
    seen = inside & (z > 0)
    safe = tl.where(seen, z, 1.0)
    x = (tl.load(row) * rx + tl.load(row + 1) * ry + tl.load(row + 2)) / safe
    y = (tl.load(row + 3) * rx + tl.load(row + 4) * ry + tl.load(row + 5)) / safe
    u, v = tl.load(row + 9) * x + tl.load(row + 10) + 0.5, tl.load(row + 11) * y + tl.load(row + 12) + 0.5
    seen = seen & (u >= 0) & (u < columns) & (v >= 0) & (v < rows)
    there = tl.where(seen, v, 0.0).to(tl.int32) * columns + tl.where(seen, u, 0.0).to(tl.int32)
    told = tl.load(other_inverse + there, mask=seen, other=0.0) * z
    sure = tl.load(other_confidence + there, mask=seen, other=0.0)
    seen = seen & (told > 0)
    agree = seen & (q > 0) & (tl.abs(told - q) < tl.load(row + 13) + tl.load(row + 14) * q)
    instead = seen & (agree == 0) & ((q <= 0) | (sure > c + SURER))
    fused = tl.where(agree, q + tl.load(row + 15) * (told - q), told)
    tl.store(inverse + here, fused, mask=agree | instead)
    tl.store(confidence + here, tl.where(agree, tl.maximum(c, sure), sure), mask=agree | instead)


def fusion_row(own: Placed, other: Placed) -> NDArray[np.float32]:
    """Return the kernel's row (16,) float32: rotation from grid to grid (9), the other's fx, cx, fy, cy (4), tolerances
    (2), the other's share where they agree."""
    M, K = other.grid.R @ own.grid.R.T, other.grid.K
    intrinsics = [K[0, 0], K[0, 2], K[1, 1], K[1, 2]]
    tolerances = [own.tolerance, own.relative_tolerance]
    return np.array([*M.ravel(), *intrinsics, *tolerances, share(own, other)], np.float32)


def fuse(
    rays: torch.Tensor,
    inverse: torch.Tensor,
    confidence: torch.Tensor,
    row: torch.Tensor,
    other_inverse: torch.Tensor,
    other_confidence: torch.Tensor,
) -> None:
    """Write into `inverse` and `confidence` (h, w) float32 what the other pair knows better of the same camera.

    `rays` (h, w, 2) float32 has rows as far apart as both have, twice; `row` is a `fusion_row`; the other's planes are
    contiguous.
    """
    height, width = inverse.shape
    rows, columns = other_inverse.shape
    count = height * width
    _fuse[(triton.cdiv(count, _BLOCK),)](
        rays,
        inverse,
        confidence,
        inverse.stride(0),
        width,
        count,
        row,
        other_inverse,
        other_confidence,
        columns,
        rows,
        SURER=SURER,
        BLOCK=_BLOCK,
    )
