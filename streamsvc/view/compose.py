"""Sources to a view: the steps after geometry is known, the same for disparity and for given depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from streamsvc.budget.slices import Slices
from streamsvc.frames import Camera, Pixels
from streamsvc.view.blend import blend
from streamsvc.view.geometry import Source, project
from streamsvc.view.holes import fill_holes
from streamsvc.view.matte import refined, view_matte
from streamsvc.view.rectify import shrunk
from streamsvc.view.splat import Splats, splat


@dataclass(frozen=True, slots=True, eq=False)
class Composed:
    """What a view was composed from: the arguments of `compose`."""

    sources: tuple[Source, ...]
    side: float
    k: float
    sharp: bool


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A novel view: `pixels` (H, W, 3) uint8 RGB; `inverse_depth` (H, W) float32 along the view's z in 1/m, 0 where
    unknown; `coverage` (H, W), or coarser, float32 in [0, 1], how much of a pixel the cameras saw (the rest was filled
    in); `matte` (H, W) float32 in [0, 1], how much of a pixel is the person, where it was asked for; `composed` says
    what from, None where a picture passed through and on a GPU."""

    pixels: Pixels
    inverse_depth: NDArray[np.float32]
    coverage: NDArray[np.float32]
    composed: Composed | None = None
    matte: NDArray[np.float32] | None = None


def compose(
    sources: Sequence[Source],
    view: Camera,
    side: float,
    k: float,
    *,
    sharp: bool = True,
    blended: bool = True,
    matted: bool = False,
) -> Slices[View]:
    """Splat all sources into `view` together and blend; yields "splat", "blend", and "matte" where that is asked for:
    `matted`, which every source must have a matte for.

    `side` bounds the splat's resolution (that of a 4:3 picture so wide), `k` is the splat's fade in 1/m; `sharp` as in
    `blend`. Not `blended`, the view shows the splatted colour alone, for measuring what the blend adds.
    """
    small = shrunk(view, side)
    mattes = [refined(source) for source in sources] if matted else []
    parts = [project(source, small, mattes[i] if mattes else None) for i, source in enumerate(sources)]
    together = Splats(np.concatenate([p.geometry for p in parts]), np.concatenate([p.features for p in parts]))
    splatted = splat(together, small.width, small.height, k)
    yield "splat"
    fill_holes(splatted.features, splatted.coverage)
    features = np.delete(splatted.features, 3, axis=2) if matted else splatted.features
    size = (view.width, view.height)
    if blended:
        pixels, inverse = blend(features, view, sources, sharp=sharp)
    else:
        shown = np.asarray(cv2.resize(features, size), dtype=np.float32)
        pixels, inverse = np.clip(shown[..., :3] + 0.5, 0, 255).astype(np.uint8), shown[..., 3]
    coverage = splatted.coverage
    if (small.width, small.height) != size:
        coverage = np.asarray(cv2.resize(coverage, size), dtype=np.float32)
    result = View(pixels, inverse, coverage, Composed(tuple(sources), side, k, sharp))
    yield "blend"
    if mattes:
        matte = view_matte(splatted.features, splatted.coverage, small, view, sources, mattes)
        result = replace(result, matte=matte)
        yield "matte"
    return result
