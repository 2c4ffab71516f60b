"""The depth range of a rig that doesn't state one: estimated from a coarse match over every depth.

The match is dense, not that of corners (`health_matches`): a plain wall has no corners, and it must be in the range.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from streamsvc.frames import Camera, Pixels
from streamsvc.view.disparity import finish, match_left, match_right
from streamsvc.view.rectify import rectify_pair, shrunk

COARSE_SIDE = 160
ROUGH_SIDE = 80
"""Takes an eighth of the time."""
NEAREST_M = 0.2
ENOUGH = 0.05
"""Share of the picture that must be matched both ways before the matches are believed."""

OUTLIERS = 5.0, 1.0
"""Percent of the matches that may lie farther than the range, and nearer: what is matched wrongly is mostly far, and a
range that reaches much too far costs the net's better rungs 3 dB (28.9 for 26.1, two cameras of a rendered person)."""


def estimate_depth_range(
    a: Camera, pixels_a: Pixels, b: Camera, pixels_b: Pixels, side: int = COARSE_SIDE
) -> tuple[float, float] | None:
    """Return (near, far) in metres along z of the cameras for what this pair of pictures shows, or None.

    `a` and `b` match their pictures' sizes. Depths are searched from 0.2 m to infinity in pictures `side` wide; the
    inverse depths that both directions agree on, without their `OUTLIERS`, widened by a tenth, are the range. None
    when too little matched to say. Raises ViewError when the cameras are no pair.
    """
    pair = rectify_pair(shrunk(a, side), shrunk(b, side), (NEAREST_M, math.inf))
    pictures = {a.name: pixels_a, b.name: pixels_b}
    colours = [side.rectify(pictures[side.source.name]) for side in (pair.left, pair.right)]
    left, right = (np.asarray(cv2.cvtColor(c, cv2.COLOR_RGB2GRAY), dtype=np.uint8) for c in colours)
    found = finish(pair, match_left(pair, left, right), match_right(pair, left, right), *colours)
    agreed = found.left[found.left_confidence >= 0.5]
    if agreed.size < ENOUGH * pair.left.inside.sum():
        return None
    low, high = np.percentile(agreed, (OUTLIERS[0], 100 - OUTLIERS[1]))
    pixel = 1 / pair.fb
    nearest, farthest = 1.1 * float(high) + pixel, max(0.9 * float(low) - pixel, 1e-3)
    return 1 / nearest, 1 / farthest
