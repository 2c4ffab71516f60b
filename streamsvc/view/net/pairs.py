"""A rectified pair as the geometry net sees it, and what it finds there. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from streamsvc.frames import Camera
from streamsvc.view.rectify import Map, Mask, RectifiedPair, Side, cropped_pair, pixel_rays

Plane = NDArray[np.float32]

BINS = 26
"""Candidates of the net's first level, 8 pixels of its input apart: disparities of 0 to 8 (BINS - 1)."""

MAX_DISPARITY = 8 * (BINS - 1)
"""Disparities that the net can tell, in pixels of its input."""


@dataclass(frozen=True, slots=True, eq=False)
class NetSide:
    """One side: `side` is cut to the net's input; `grid` is the camera of the answer's pixels, `rays` theirs, `inside`
    whether the picture reaches there."""

    side: Side
    grid: Camera
    rays: Map
    inside: Mask


@dataclass(frozen=True, slots=True, eq=False)
class NetPair:
    """A pair as the net sees it; `apart` is how far the two cuts differ in pixels of the input."""

    left: NetSide
    right: NetSide
    apart: int
    shift: float
    fb: float
    levels: int


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """One camera's geometry on `NetSide.grid`: inverse depth along its z in 1/m (0: none), confidence and matte (how
    much of the pixel is the person) in [0, 1]; all (h, w) float32."""

    inverse_depth: Plane
    confidence: Plane
    matte: Plane


def net_pair(pair: RectifiedPair, levels: int) -> NetPair:
    """Prepare a rectified pair for an answer of `levels` levels.

    The grid is 1/4 of the input for one level, 1/2 for two, and all of it for three.
    """
    cut, apart = cropped_pair(pair)
    step = 8 >> levels
    sides = []
    for side in (cut.left, cut.right):
        if step == 1:
            sides.append(NetSide(side, side.grid, side.rays, side.inside))
            continue
        grid = side.grid.resized(side.grid.width // step, side.grid.height // step)
        sides.append(NetSide(side, grid, pixel_rays(grid), _reached(side, grid)))
    return NetPair(sides[0], sides[1], apart, pair.shift, pair.fb, levels)


def turned_net_pair(net: NetPair, pair: RectifiedPair) -> NetPair:
    """Return `net` with the same grids for the pictures of `pair`'s cameras, which are its own, turned a little."""
    sides = []
    for side, source in ((net.left, pair.left.source), (net.right, pair.right.source)):
        turned = side.side.turned(source)
        sides.append(replace(side, side=turned, inside=_reached(turned, side.grid)))
    return replace(net, left=sides[0], right=sides[1])


def _reached(side: Side, grid: Camera) -> Mask:
    """Which pixels of `grid`, a whole number of times coarser than the side's, the picture reaches with all they
    cover."""
    if (grid.width, grid.height) == (side.grid.width, side.grid.height):
        return side.inside
    whole = cv2.resize(side.inside.astype(np.uint8), (grid.width, grid.height), interpolation=cv2.INTER_AREA) == 1
    return np.ascontiguousarray(whole)
