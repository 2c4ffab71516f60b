"""Geometry of a pair by the trained net: two sources for the same splat and blend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import cv2
import numpy as np

from streamsvc.budget.slices import Slices
from streamsvc.frames import Camera, Pixels
from streamsvc.view.geometry import TOLERANCE_PX, Source
from streamsvc.view.net.pairs import NetPair

if TYPE_CHECKING:
    from streamsvc.view.net.geometry import NetGeometry

A = TypeVar("A", bound=Any)

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
            confidence=trusted(geometry.inverse_depth, geometry.confidence),
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


def trusted(inverse_depth: A, confidence: A) -> A:
    """Return how much to believe what the net found (float32, of arrays as of tensors), nothing where it found none."""
    believed: A = (LEAST_CONFIDENCE + (1 - LEAST_CONFIDENCE) * confidence) * (inverse_depth > 0)
    return believed
