"""The splat in plain torch, to be read and to be differentiated; the formula of `splat`, pixel by Gaussian, in full.

Memory grows with pixels x Gaussians, so it is for small pictures: the tests' truth and the trainer's starting point.
Importing this module imports torch.
"""

from __future__ import annotations

import torch

from streamsvc.view.splat import SUPPORT


def splat_reference(
    geometry: torch.Tensor, features: torch.Tensor, width: int, height: int, k: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return (features (h, w, c), coverage (h, w), nearest depth (h, w)) of Gaussians as `splat.Splats` lays them out.

    `geometry` (n, 7): x, y, z, inverse covariance xx, xy, yy, opacity; `features` (n, c); any float dtype. Gradients
    flow through everything but the choice of the nearest Gaussian and the end of its support.
    """
    x, y, z, xx, xy, yy, a = geometry.unbind(1)
    v, u = torch.meshgrid(
        torch.arange(height, dtype=geometry.dtype), torch.arange(width, dtype=geometry.dtype), indexing="ij"
    )
    dx, dy = u[..., None] - x, v[..., None] - y  # (h, w, n)
    q = xx * dx * dx + 2 * xy * dx * dy + yy * dy * dy
    covers = q <= SUPPORT
    g = torch.where(covers, a * torch.exp(-q / 2), 0.0)

    infinity = torch.tensor(torch.inf, dtype=geometry.dtype)
    nearest = torch.where(covers, z, infinity).amin(-1) if len(z) else infinity.expand(height, width)
    behind = torch.where(covers, z - nearest[..., None], 0.0)
    w = g * torch.exp(-k * behind)

    total = w.sum(-1)
    blended = torch.einsum("hwn,nc->hwc", w, features) / torch.where(total > 0, total, 1.0)[..., None]
    return blended, 1 - torch.exp(-g.sum(-1)), nearest
