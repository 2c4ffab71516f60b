"""The rasteriser of the package `gsplat` (Apache-2.0, Ye et al. 2024) on our splat's own Gaussians, for the same GPU.

It sorts Gaussians by depth and composites them with alpha, ours averages without sorting, so the pictures differ; what
is compared is the time from projected Gaussians in the GPU's memory to a picture there: `isect` finds and sorts those
of each tile, `rasterize` adds them up. Gaussians reach as far as ours do; colours are three channels in float32.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from importlib.metadata import version

import torch
from torch import Tensor

from streamsvc.view.splat import SUPPORT

TILE = 16


def gsplat_version() -> str | None:
    """The version of gsplat that is installed, None where there is none."""
    return version("gsplat") if importlib.util.find_spec("gsplat") else None


def gsplat_steps(geometry: Tensor, features: Tensor, width: int, height: int) -> list[tuple[str, Callable[[], object]]]:
    """Return the steps of a picture of `width` x `height`, named as in the module.

    `geometry` (n, 7) and `features` (n, 3) float32 as `Splatter.splat` takes them; Gaussians that it leaves out are
    left out here.
    """
    from gsplat import isect_offset_encode, isect_tiles, rasterize_to_pixels

    x, y, z, xx, xy, yy, opacity = (column.contiguous() for column in geometry.unbind(1))
    det = xx * yy - xy * xy
    alive = (det > 0) & (xx > 0) & (opacity > 0) & (z > 0) & (z < 1e30)
    safe = torch.where(alive, det, 1.0)
    reach = torch.stack([torch.sqrt(SUPPORT * side.clamp_min(0) / safe) for side in (yy, xx)], 1)
    radii = torch.where(alive[:, None], reach.ceil(), 0.0).to(torch.int32).unsqueeze(0)
    # Its pixels have their centres at halves.
    means, conics = torch.stack([x + 0.5, y + 0.5], 1).unsqueeze(0), torch.stack([xx, xy, yy], 1).unsqueeze(0)
    depths, opacities, colours = z.unsqueeze(0), opacity.unsqueeze(0), features.float().unsqueeze(0)
    across, down = -(-width // TILE), -(-height // TILE)
    found: dict[str, Tensor] = {}

    def isect() -> None:
        _, ids, found["flat"] = isect_tiles(means, radii, depths, TILE, across, down)
        found["offsets"] = isect_offset_encode(ids, 1, across, down)

    def rasterize() -> None:
        rasterize_to_pixels(means, conics, colours, opacities, width, height, TILE, found["offsets"], found["flat"])

    return [("isect", isect), ("rasterize", rasterize)]
