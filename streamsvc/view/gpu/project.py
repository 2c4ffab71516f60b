"""Inverse depth to Gaussians on the GPU: `view.geometry.project` without compaction.

Every grid pixel keeps its place and becomes one Gaussian; those without depth, at the rim of a surface, behind the view
or outside it get opacity 0, which the splat ignores. So shapes are fixed, and a Gaussian's features need no copy: they
lie where its pixel lies.
"""

from __future__ import annotations

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray

from streamsvc.frames import Camera
from streamsvc.view.geometry import MAX_SCALE_PX, MIN_SCALE_PX, OPACITY, SCALE_PX, Placed

ROW = 22
"""Floats in a `projection_row`."""

_BLOCK = 256


@triton.jit
def _project(
    rays,
    inverse_depth,
    confidence,
    rows,
    sizes,
    geometry,
    height,
    width,
    count,
    ROW: tl.constexpr,
    OPACITY: tl.constexpr,
    SCALE: tl.constexpr,
    MIN_SCALE: tl.constexpr,
    MAX_SCALE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    source = tl.program_id(1)
    pixels = height * width
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    stored = at < pixels
    u, v = at % width, at // width
    w, h = tl.load(sizes + source * 4 + 2), tl.load(sizes + source * 4 + 3)
    p = rows + source * ROW
    here = source * pixels + at
    q = tl.load(inverse_depth + here, mask=stored, other=0.0)
    known = stored & (u < w) & (v < h) & (q > 0)

    limit = tl.load(p + 18) + tl.load(p + 19) * q
    left = tl.load(inverse_depth + here - 1, mask=known & (u > 0), other=0.0)
    right = tl.load(inverse_depth + here + 1, mask=known & (u + 1 < w), other=0.0)
    above = tl.load(inverse_depth + here - width, mask=known & (v > 0), other=0.0)
    below = tl.load(inverse_depth + here + width, mask=known & (v + 1 < h), other=0.0)
    rim = (u > 0) & (q - left > limit)
    rim |= (u + 1 < w) & (q - right > limit)
    rim |= (v > 0) & (q - above > limit)
    rim |= (v + 1 < h) & (q - below > limit)

    rx = tl.load(rays + here * 2, mask=stored, other=0.0)
    ry = tl.load(rays + here * 2 + 1, mask=stored, other=0.0)
    z = tl.load(p + 6) * rx + tl.load(p + 7) * ry + tl.load(p + 8) + tl.load(p + 11) * q
    alive = known & (rim == 0) & (z > q * 0.02)
    z = tl.where(alive, z, 1.0)
    x = (tl.load(p + 0) * rx + tl.load(p + 1) * ry + tl.load(p + 2) + tl.load(p + 9) * q) / z
    y = (tl.load(p + 3) * rx + tl.load(p + 4) * ry + tl.load(p + 5) + tl.load(p + 10) * q) / z
    px = tl.load(p + 12) * x + tl.load(p + 13) * y + tl.load(p + 14)
    py = tl.load(p + 15) * y + tl.load(p + 16)
    alive = alive & (px > -2) & (px < tl.load(p + 20) + 1) & (py > -2) & (py < tl.load(p + 21) + 1)
    sigma = tl.minimum(tl.maximum(SCALE * tl.load(p + 17) / z, MIN_SCALE), MAX_SCALE)
    tight = 1.0 / (sigma * sigma)
    a = OPACITY * tl.load(confidence + here, mask=stored, other=0.0)
    tl.store(geometry + here, px, mask=stored)
    tl.store(geometry + count + here, py, mask=stored)
    tl.store(geometry + 2 * count + here, z / tl.where(alive, q, 1.0), mask=stored)
    tl.store(geometry + 3 * count + here, tight, mask=stored)
    tl.store(geometry + 4 * count + here, tl.zeros_like(tight), mask=stored)
    tl.store(geometry + 5 * count + here, tight, mask=stored)
    tl.store(geometry + 6 * count + here, tl.where(alive, a, 0.0), mask=stored)


def projection_row(source: Placed, view: Camera) -> NDArray[np.float32]:
    """Return the (ROW,) float32 that takes the source's grid into `view`: rotation (9) and shift (3), the view's fx,
    skew, cx, fy, cy (5), the ratio of focal lengths, two tolerances, the view's width and height."""
    M = view.R @ source.grid.R.T
    b = view.R @ source.grid.centre + view.t
    K = view.K
    ratio = np.sqrt(K[0, 0] * K[1, 1] / (source.grid.K[0, 0] * source.grid.K[1, 1]))
    intrinsics = [K[0, 0], K[0, 1], K[0, 2], K[1, 1], K[1, 2]]
    tolerances = [source.tolerance, source.relative_tolerance]
    return np.array([*M.ravel(), *b, *intrinsics, ratio, *tolerances, view.width, view.height], np.float32)


def project(
    rays: torch.Tensor,
    inverse_depth: torch.Tensor,
    confidence: torch.Tensor,
    rows: torch.Tensor,
    sizes: torch.Tensor,
    geometry: torch.Tensor,
) -> None:
    """Write the Gaussians of all sources in one view.

    `rays` (s, h, w, 2), `inverse_depth` and `confidence` (s, h, w) float32 as in `geometry.Source`, smaller grids
    padded to the right and below; `rows` (s, ROW) float32 from `projection_row`; `sizes` (s, 4) int32: width and height
    of the picture and of the grid. `geometry` (7, s*h*w) float32 is written: `splat.Splats.geometry`, transposed.
    All contiguous and on one device.
    """
    sources, height, width = inverse_depth.shape
    grid = (triton.cdiv(height * width, _BLOCK), sources)
    _project[grid](
        rays,
        inverse_depth,
        confidence,
        rows,
        sizes,
        geometry,
        height,
        width,
        sources * height * width,
        ROW=ROW,
        OPACITY=OPACITY,
        SCALE=SCALE_PX,
        MIN_SCALE=MIN_SCALE_PX,
        MAX_SCALE=MAX_SCALE_PX,
        BLOCK=_BLOCK,
    )
