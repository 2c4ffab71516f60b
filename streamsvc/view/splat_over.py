"""The splat by sorted alpha compositing ("over"), as 3D Gaussian splatting does it, to compare the order-independent
splat with; in plain torch, differentiable in everything but the order and the ends of the Gaussians.

    feature(p) = sum T_i b_i f_i / sum T_i b_i      coverage(p) = sum T_i b_i      b_i = a_i G_i(p)
    T_i = prod (1 - b_j) over the Gaussians j before i, by depth (Kerbl et al. 2023, eq. 3), normalised by coverage

Pixels are taken tile by tile, so that memory grows with a tile's Gaussians. Importing this module imports torch.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from streamsvc.view.splat import SUPPORT, Splats

TILE = 16


def splat_sorted(splats: Splats, width: int, height: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return (features (h, w, c), coverage (h, w)) float32 of what `splat` takes, composited in order."""
    geometry, features = torch.from_numpy(splats.geometry), torch.from_numpy(splats.features)
    blended, coverage, _ = splat_over(geometry, features, width, height)
    return np.asarray(blended.numpy(), np.float32), np.asarray(coverage.numpy(), np.float32)


def splat_over(
    geometry: torch.Tensor, features: torch.Tensor, width: int, height: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return (features (h, w, c), coverage (h, w), nearest depth (h, w)) of Gaussians as `splat.Splats` lays them out.

    `geometry` (n, 7), `features` (n, c), any float dtype; as in `splat`, a Gaussian ends where its squared Mahalanobis
    distance passes `SUPPORT`, and those that `splat` ignores are ignored. Gaussians at equal depth keep their order.
    """
    x, y, z, xx, xy, yy, a = geometry.unbind(1)
    det = xx * yy - xy * xy
    usable = (det > 0) & (xx > 0) & (a > 0) & (z > 0) & (z < 1e30) & torch.isfinite(x) & torch.isfinite(y)
    order = torch.nonzero(usable).squeeze(1)
    order = order[torch.sort(z[order], stable=True).indices]
    geometry, features = geometry[order], features[order]
    x, y, z, xx, xy, yy, a = geometry.unbind(1)
    det = xx * yy - xy * xy
    rx, ry = torch.sqrt(SUPPORT * yy / det).detach(), torch.sqrt(SUPPORT * xx / det).detach()

    blended = features.new_zeros(height, width, features.shape[1])
    coverage, nearest = geometry.new_zeros(height, width), geometry.new_full((height, width), torch.inf)
    for top in range(0, height, TILE):
        rows = torch.nonzero((y + ry >= top) & (y - ry <= top + TILE - 1)).squeeze(1)
        v = torch.arange(top, min(top + TILE, height), dtype=geometry.dtype)
        for left in range(0, width, TILE):
            here = rows[(x[rows] + rx[rows] >= left) & (x[rows] - rx[rows] <= left + TILE - 1)]
            if not len(here):
                continue
            u = torch.arange(left, min(left + TILE, width), dtype=geometry.dtype)
            dx, dy = u[None, :, None] - x[here], v[:, None, None] - y[here]
            q = xx[here] * dx * dx + 2 * xy[here] * dx * dy + yy[here] * dy * dy
            covers = q <= SUPPORT
            b = torch.where(covers, a[here] * torch.exp(-q / 2), 0.0)
            passed = torch.cumprod(1 - b, -1)
            w = b * torch.cat([torch.ones_like(passed[..., :1]), passed[..., :-1]], -1)
            total = w.sum(-1)
            part = slice(top, top + len(v)), slice(left, left + len(u))
            blended[part] = (w @ features[here]) / torch.where(total > 0, total, 1.0)[..., None]
            coverage[part] = 1 - passed[..., -1]
            nearest[part] = torch.where(covers, z[here], torch.inf).amin(-1)
    return blended, coverage, nearest
