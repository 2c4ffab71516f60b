"""Geometry of a pair without nets: rectify, match both ways, check and fill; two sources for splat and blend."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from streamsvc.budget.slices import Slices
from streamsvc.frames import Camera, Pixels
from streamsvc.view.disparity import finish, match_left, match_right
from streamsvc.view.geometry import TOLERANCE_PX, Source
from streamsvc.view.rectify import RectifiedPair


def classical_sources(
    pair: RectifiedPair, cameras: Mapping[str, Camera], pictures: Mapping[str, Pixels]
) -> Slices[tuple[Source, Source]]:
    """Return the left and the right source of `pair`; yields "rectify" and "disparity" twice (one a direction).

    `cameras` and `pictures` are by name, each camera of the size of its picture.
    """
    sides = (pair.left, pair.right)
    colours = [side.rectify(pictures[side.source.name]) for side in sides]
    left, right = (np.asarray(cv2.cvtColor(c, cv2.COLOR_RGB2GRAY), dtype=np.uint8) for c in colours)
    yield "rectify"
    forward = match_left(pair, left, right)
    yield "disparity"
    found = finish(pair, forward, match_right(pair, left, right), *colours)
    geometry = ((found.left, found.left_confidence), (found.right, found.right_confidence))
    first, second = (
        Source(
            camera=cameras[side.source.name],
            pixels=pictures[side.source.name],
            grid=side.grid,
            rays=side.rays,
            inverse_depth=inverse,
            confidence=confidence,
            colour=colour,
            tolerance=TOLERANCE_PX / pair.fb,
            relative_tolerance=0.0,
        )
        for side, colour, (inverse, confidence) in zip(sides, colours, geometry, strict=True)
    )
    yield "disparity"
    return first, second
