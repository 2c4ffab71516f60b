"""How much of each pixel of a view is the person: the sources' mattes, carried into it the way their colours are.

Each source's matte is refined by its own depth, splatted as one more feature beside colour, and blended as if it were
the picture, so that it agrees with the view about which surface a pixel shows and how much of it. Only asked for where
a backdrop takes the place of the room; ordinary views pay nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from streamsvc.frames import Camera, Pixels
from streamsvc.view.blend import blend
from streamsvc.view.geometry import Source
from streamsvc.view.holes import HOLE_COVERAGE

Plane = NDArray[np.float32]

GUIDE_SHARE = 36
"""The guided filter's radius is the grid's width divided by this."""

GUIDE_EPSILON = 0.01
"""Variance of inverse depth, in squares of its mean, from which it says where the matte's edges are."""

GAP_SLACK_PX = 2.0
SPECKLE_PX = 5
LOW, HIGH = 0.3, 0.9
"""The ramp between room and person. What the blend brings over is softer than an edge is, and a little too wide."""


def refined(source: Source) -> Pixels:
    """Return the source's matte (h, w) as 0..255, what its depth says belongs to the person filled in.

    That is the guided filter of He, Sun and Tang ("Guided image filtering", 2013) with inverse depth as the guide; it
    only ever adds, for the matte's outline is the sharper one.
    """
    assert source.matte is not None
    matte, depth = source.matte, source.inverse_depth
    guide = depth * np.float32(1 / max(float(depth.mean()), 1e-6))
    side = 2 * max(2, matte.shape[1] // GUIDE_SHARE) + 1

    def mean(plane: NDArray[Any]) -> Plane:
        return np.asarray(cv2.blur(plane, (side, side)), np.float32)

    mean_guide, mean_matte = mean(guide), mean(matte)
    slope = (mean(guide * matte) - mean_guide * mean_matte) / (
        mean(guide * guide) - mean_guide * mean_guide + np.float32(GUIDE_EPSILON)
    )
    filled = mean(slope) * guide + mean(mean_matte - slope * mean_guide)
    return (np.clip(np.maximum(matte, filled), 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _cut_gaps(inverse, coverage, threshold, reach, slack, matte):  # type: ignore[no-untyped-def]
    height, width = inverse.shape
    for y in range(height):
        x = 0
        while x < width:
            if coverage[y, x] >= threshold:
                x += 1
                continue
            first = x
            while x < width and not coverage[y, x] >= threshold:
                x += 1
            if first == 0 or x == width:
                continue
            if x - first > reach * abs(inverse[y, first - 1] - inverse[y, x]) + slack:
                for i in range(first, x):
                    matte[y, i] = 0


def view_matte(
    features: Plane, coverage: Plane, small: Camera, view: Camera, sources: Sequence[Source], mattes: Sequence[Pixels]
) -> Plane:
    """Return the matte (H, W) float32 in [0, 1] of `view`.

    `features` (h, w, 5) are its hole-filled splat, R, G, B, matte (0..255), inverse depth, and `coverage` (h, w) what
    that covered, both of the camera `small`; `mattes` are the sources' refined ones.

    A hole that opens because the view stands elsewhere than the cameras is as wide as the jump in depth beside it
    allows. A wider one between two parts of the person, an arm and the body, shows the room behind both.
    """
    matte, inverse = features[..., 3], np.ascontiguousarray(features[..., 4])
    # Holes are filled row by row: a row that took the wrong neighbour's isn't like those about it.
    about = cv2.medianBlur(matte.astype(np.uint8), SPECKLE_PX)
    matte = np.where(coverage < np.float32(HOLE_COVERAGE), about, matte)
    away = min(float(np.linalg.norm(s.camera.centre - view.centre)) for s in sources)
    reach = np.float32(small.K[0, 0] * away)
    _cut_gaps(inverse, coverage, np.float32(HOLE_COVERAGE), reach, np.float32(GAP_SLACK_PX), matte)
    # A grey picture on the grid is a picture of a camera that is the grid's.
    shown = [
        replace(s, camera=s.grid, pixels=np.asarray(cv2.merge([m, m, m]), np.uint8))
        for s, m in zip(sources, mattes, strict=True)
    ]
    pixels, _ = blend(np.dstack([matte, matte, matte, inverse]), view, shown)
    cleaned = cv2.medianBlur(np.ascontiguousarray(pixels[..., 0]), SPECKLE_PX)
    soft = np.asarray(cv2.GaussianBlur(cleaned.astype(np.float32), (3, 3), 0), np.float32)
    return np.asarray(np.clip((soft * np.float32(1 / 255) - np.float32(LOW)) * np.float32(1 / (HIGH - LOW)), 0, 1))
