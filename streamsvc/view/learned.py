"""Geometry of a pair by the trained net: two sources for the same splat and blend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from streamsvc.budget.slices import Slices
from streamsvc.frames import Camera, Pixels
from streamsvc.view.geometry import TOLERANCE_PX, Source
from streamsvc.view.net.pairs import Found, NetPair

if TYPE_CHECKING:
    from streamsvc.view.net.geometry import NetGeometry

LEAST_CONFIDENCE = 0.8
"""What the net isn't sure of is most often right all the same, and better than what would fill the hole."""


def learned_sources(
    net: NetGeometry, pair: NetPair, cameras: Mapping[str, Camera], pictures: Mapping[str, Pixels]
) -> Slices[tuple[Source, Source]]:
    """Return the left and the right source of `pair`; yields "rectify" and then "disparity" for each level.

    `cameras` and `pictures` are by name, each camera of the size of its picture.
    """
    sides = (pair.left, pair.right)
    rectified = [side.side.rectify(pictures[side.side.source.name]) for side in sides]
    yield "rectify"
    found = yield from net.match(pair, *rectified)
    first, second = (
        Source(
            camera=cameras[side.side.source.name],
            pixels=pictures[side.side.source.name],
            grid=side.grid,
            rays=side.rays,
            inverse_depth=geometry.inverse_depth,
            confidence=_trusted(geometry),
            colour=np.asarray(
                cv2.resize(picture, (side.grid.width, side.grid.height), interpolation=cv2.INTER_AREA), np.uint8
            ),
            tolerance=TOLERANCE_PX / pair.fb,
            relative_tolerance=0.0,
            matte=geometry.matte,
        )
        for side, picture, geometry in zip(sides, rectified, found, strict=True)
    )
    yield "disparity"
    return first, second


def _trusted(found: Found) -> NDArray[np.float32]:
    scaled = np.float32(LEAST_CONFIDENCE) + np.float32(1 - LEAST_CONFIDENCE) * found.confidence
    return np.where(found.inverse_depth > 0, scaled, np.float32(0))
