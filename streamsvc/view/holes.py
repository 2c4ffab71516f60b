"""Holes of a splatted picture: what no Gaussian reached, or only the skirts of some.

They get the farther of their neighbours' depths, and its colour: what opens up beside a person is the wall behind.
Beyond what any camera saw the picture fades to dark.
"""

from __future__ import annotations

import cv2
import numba
import numpy as np

from streamsvc.view.geometry import Plane

HOLE_COVERAGE = 0.25
"""Coverage below which a pixel of the splat is a hole: it saw nothing but the skirts of Gaussians."""

BEYOND = 24.0
"""The grey, 0 to 255, that the picture fades to beyond what the cameras saw."""

FADE_WIDTH = 0.08
"""How far that takes, as a part of the picture's width."""


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _fill_holes(features, coverage, threshold, outside):  # type: ignore[no-untyped-def]
    height, width, channels = features.shape
    last = channels - 1
    longest = width // 3
    hole = np.empty((height, width), np.bool_)
    for y in range(height):
        for x in range(width):
            hole[y, x] = not coverage[y, x] >= threshold
            outside[y, x] = 0
    left = np.empty(width, np.int32)
    above = np.full(width, -1, np.int32)
    below = np.full((height, width), -1, np.int32)
    for y in range(height - 2, -1, -1):
        for x in range(width):
            below[y, x] = y + 1 if not hole[y + 1, x] else below[y + 1, x]
    beyond = 0
    for y in range(height):
        near = -1
        for x in range(width):
            left[x] = near
            if not hole[y, x]:
                near = x
        near = -1
        whole = left[width - 1] < 0 and hole[y, width - 1]
        for x in range(width - 1, -1, -1):
            if not hole[y, x]:
                near = x
                above[x] = y
                continue
            if whole or (near >= 0 and left[x] >= 0 and near - left[x] > longest):
                y0, x0, y1, x1 = above[x], x, below[y, x], x
            else:
                y0, x0, y1, x1 = y, left[x], y, near
            if min(y0, x0, y1, x1) < 0:
                outside[y, x] = 1
                beyond += 1
                continue
            if features[y1, x1, last] < features[y0, x0, last]:
                y0, x0 = y1, x1
            for c in range(channels):
                features[y, x, c] = features[y0, x0, c]
    return beyond


def fill_holes(features: Plane, coverage: Plane, threshold: float = HOLE_COVERAGE) -> None:
    """Fill, in place, the pixels of `features` (h, w, c; the last is inverse depth) that `coverage` (h, w) leaves under
    `threshold`.

    A hole between known pixels of its row gets the farther of the two, and so does one between those of its column
    where the row is a hole all along, or for over a third of its length: nothing that opens up beside a person is so
    wide. What lies outside gets the nearest known pixel, its colours faded to `BEYOND` over `FADE_WIDTH`; without any
    known pixel there is that grey, and no depth.
    """
    outside = np.empty(coverage.shape, np.uint8)
    beyond = _fill_holes(features, coverage, np.float32(threshold), outside)
    if beyond == outside.size:
        features[..., :-1] = BEYOND
        features[..., -1] = 0
    elif beyond:
        distance, label = cv2.distanceTransformWithLabels(outside, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
        known = np.empty((outside.size - beyond + 1, 2), np.int32)
        _fade_out(features, outside, distance, label, known, np.float32(FADE_WIDTH * coverage.shape[1]))


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _fade_out(features, outside, distance, label, known, reach):  # type: ignore[no-untyped-def]
    """Each pixel outside gets the known one with the same label, `distance` pixels away."""
    height, width, channels = features.shape
    for y in range(height):
        for x in range(width):
            if outside[y, x] == 0:
                known[label[y, x], 0] = y
                known[label[y, x], 1] = x
    for y in range(height):
        for x in range(width):
            if outside[y, x] == 0:
                continue
            y0, x0 = known[label[y, x]]
            t = min(distance[y, x] / reach, np.float32(1))
            t = t * t * (np.float32(3) - np.float32(2) * t)
            for c in range(channels - 1):
                features[y, x, c] = features[y0, x0, c] + t * (np.float32(BEYOND) - features[y0, x0, c])
            features[y, x, channels - 1] = features[y0, x0, channels - 1]
