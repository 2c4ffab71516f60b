"""Disparity without nets: semi-global matching both ways, the left-right check, and holes filled from what lies behind.

The rows of `view.md`'s honest baseline: SGBM 3-way (Hirschmüller 2008), a pixel kept when the other direction agrees
within a pixel, and a hole given the farther of its two neighbours on the row, because what one camera can't see of a
scene is what something nearer hides. Everything is on the grid of a `RectifiedPair`.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from streamsvc.frames import Pixels
from streamsvc.view.rectify import RectifiedPair

Plane = NDArray[np.float32]

BLOCK = 5
SUBPIXEL = 16
UNKNOWN = -SUBPIXEL
CHECK_PX = 1.0
SMOOTH_PX = 2.0
"""Neighbours of a hole this close in disparity are one surface, and the hole is interpolated between them."""

FILLED_CONFIDENCE = 0.15

_matchers = threading.local()
cv2.setNumThreads(1)  # a lane is one thread; a pool of OpenCV's own under each would fight the other lane


@dataclass(frozen=True, slots=True, eq=False)
class Disparity:
    """Both directions of one pair on its grid: inverse depth along z of the grid in 1/m (0: none), and confidence in
    [0, 1] ((h, w) float32; 1 when both directions agree exactly, `FILLED_CONFIDENCE` where filled)."""

    left: Plane
    left_confidence: Plane
    right: Plane
    right_confidence: Plane


def _matcher(disparities: int) -> cv2.StereoSGBM:
    """This thread's matcher: it owns scratch memory, so threads can't share one."""
    table: dict[int, cv2.StereoSGBM] = _matchers.__dict__.setdefault("table", {})
    if disparities not in table:
        table[disparities] = cv2.StereoSGBM.create(
            minDisparity=0,
            numDisparities=disparities,
            blockSize=BLOCK,
            P1=8 * BLOCK * BLOCK,
            P2=32 * BLOCK * BLOCK,
            disp12MaxDiff=-1,
            preFilterCap=31,
            uniquenessRatio=0,
            speckleWindowSize=60,
            speckleRange=1,
            mode=cv2.STEREO_SGBM_MODE_SGBM_3WAY,
        )
    return table[disparities]


def match_left(pair: RectifiedPair, left: Pixels, right: Pixels) -> NDArray[np.int16]:
    """Return the left camera's disparity on the grid, (h, w) int16 in sixteenths of a pixel, negative where unknown.

    `left` and `right` are (h, w) uint8 grey pictures on the grid.
    """
    first, last = pair.left.columns
    start = max(first - pair.disparities, 0)
    out = np.full(left.shape, UNKNOWN, np.int16)
    found = _matcher(pair.disparities).compute(left[:, start:last], right[:, start:last])
    out[:, first:last] = found[:, first - start :]
    return out


def match_right(pair: RectifiedPair, left: Pixels, right: Pixels) -> NDArray[np.int16]:
    """Return the right camera's disparity on the grid (as `match_left`): the mirror image of a left match."""
    first, last = pair.right.columns
    end = min(last + pair.disparities, left.shape[1])
    out = np.full(left.shape, UNKNOWN, np.int16)
    mirrored = [np.ascontiguousarray(side[:, first:end][:, ::-1]) for side in (right, left)]
    found = _matcher(pair.disparities).compute(*mirrored)
    out[:, first:last] = found[:, ::-1][:, : last - first]
    return out


@numba.njit(nogil=True, cache=True)
def _check_and_fill(own, other, inside, sign, check, smooth, filled_confidence, out, confidence):  # type: ignore[no-untyped-def]
    height, width = own.shape
    for y in range(height):
        for x in range(width):
            out[y, x] = -1.0
            confidence[y, x] = 0.0
            d = own[y, x]
            if d < 0 or not inside[y, x]:
                continue
            match = x - sign * ((d + 8) >> 4)
            if match < 0 or match >= width or other[y, match] < 0:
                continue
            difference = abs(np.float32(d - other[y, match])) / np.float32(16)
            if difference <= check:
                out[y, x] = np.float32(d) / np.float32(16)
                confidence[y, x] = np.float32(1) - np.float32(0.5) * difference / check
        previous = -1
        x = 0
        while x < width:
            if confidence[y, x] > 0:
                previous = x
                x += 1
                continue
            end = x
            while end < width and confidence[y, end] == 0:
                end += 1
            if previous >= 0 or end < width:
                a = out[y, previous] if previous >= 0 else np.float32(1e9)
                b = out[y, end] if end < width else np.float32(1e9)
                for i in range(x, end):
                    if not inside[y, i]:
                        continue
                    if abs(a - b) <= smooth:
                        out[y, i] = a + (b - a) * np.float32(i - previous) / np.float32(end - previous)
                    else:
                        out[y, i] = min(a, b)
            x = end
        for x in range(width):
            if confidence[y, x] == 0 and out[y, x] >= 0:
                confidence[y, x] = filled_confidence


def check_and_fill(
    own: NDArray[np.int16], other: NDArray[np.int16], inside: NDArray[np.bool_], sign: int
) -> tuple[Plane, Plane]:
    """Return disparity in pixels and confidence of one camera, holes filled; both (h, w) float32.

    `own` and `other` are as `match_left` returns them; `sign` is 1 when `own` is the left camera and -1 when it is the
    right one. Disparity is -1, and confidence 0, outside the picture (`inside`) and on rows where nothing matched.
    """
    out, confidence = np.empty(own.shape, np.float32), np.empty(own.shape, np.float32)
    _check_and_fill(
        own,
        other,
        inside,
        sign,
        np.float32(CHECK_PX),
        np.float32(SMOOTH_PX),
        np.float32(FILLED_CONFIDENCE),
        out,
        confidence,
    )
    return out, confidence


def inverse_depth(pair: RectifiedPair, disparity: Plane, confidence: Plane) -> Plane:
    """Return inverse depth in 1/m along the grid's z; 0 where confidence is 0. Row streaks of the fill are smoothed."""
    smooth = cv2.medianBlur(disparity, 5)
    inverse = (smooth + np.float32(pair.shift)) * np.float32(1 / pair.fb)
    known = (confidence > 0) & (smooth >= 0)
    return np.where(known, np.maximum(inverse, np.float32(1e-4)), np.float32(0))


def finish(pair: RectifiedPair, left: NDArray[np.int16], right: NDArray[np.int16]) -> Disparity:
    """Check the two directions against each other, fill, and return inverse depth of both cameras."""
    filled_l, confidence_l = check_and_fill(left, right, pair.left.inside, 1)
    filled_r, confidence_r = check_and_fill(right, left, pair.right.inside, -1)
    return Disparity(
        inverse_depth(pair, filled_l, confidence_l),
        confidence_l,
        inverse_depth(pair, filled_r, confidence_r),
        confidence_r,
    )
