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
SPECKLE = 0.006
"""Agreed pixels in a smaller group than this share of the picture are taken for chance."""

ISLAND = 0.01
"""The same where only something near could have matched."""

NEAR_BY = 160.0
"""What a picture's width of distance costs a neighbour that would fill a hole, as colour difference (R + G + B)."""

FARTHER = 110.0
"""What a picture's width of disparity costs it: the farther neighbour wins where colour doesn't tell."""

SNAP_RADIUS = 3
SNAP_JUMP = 3.0
"""Difference in pixels of disparity that makes a jump."""

SNAP_TONE = 80.0
"""Colour difference (R + G + B) at which a pixel's vote is halved."""

FILLED_CONFIDENCE = 0.25

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
            P2=96 * BLOCK * BLOCK,
            disp12MaxDiff=-1,
            preFilterCap=31,
            uniquenessRatio=0,
            speckleWindowSize=0,
            speckleRange=0,
            mode=cv2.STEREO_SGBM_MODE_HH4,
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
def _check(own, other, inside, sign, limit, agreed, difference):  # type: ignore[no-untyped-def]
    height, width = own.shape
    for y in range(height):
        for x in range(width):
            agreed[y, x] = UNKNOWN
            difference[y, x] = limit
            d = own[y, x]
            if d < 0 or not inside[y, x]:
                continue
            match = x - sign * ((d + SUBPIXEL // 2) // SUBPIXEL)
            if match < 0 or match >= width or other[y, match] < 0:
                continue
            apart = abs(d - other[y, match])
            if apart <= limit:
                agreed[y, x] = d
                difference[y, x] = apart


@numba.njit(nogil=True, cache=True)
def _part_islands(agreed, in_view, sweeps, islands):  # type: ignore[no-untyped-def]
    """Move to `islands` what was matched out of the other camera's view of the background and isn't joined to it."""
    height, width = agreed.shape
    kept = np.empty((height, width), np.bool_)
    for y in range(height):
        for x in range(width):
            kept[y, x] = agreed[y, x] >= 0 and in_view[y, x]
    for sweep in range(sweeps):
        back = sweep % 2 == 1
        for i in range(height):
            y = height - 1 - i if back else i
            step = -1 if back else 1
            for j in range(width):
                x = width - 1 - j if back else j
                d = agreed[y, x]
                if d < 0 or kept[y, x]:
                    continue
                grows = 0 <= x - step < width and kept[y, x - step] and abs(agreed[y, x - step] - d) <= SUBPIXEL
                if not grows and 0 <= y - step < height:
                    for u in range(max(x - 1, 0), min(x + 2, width)):
                        grows |= kept[y - step, u] and abs(agreed[y - step, u] - d) <= SUBPIXEL
                kept[y, x] = grows
    for y in range(height):
        for x in range(width):
            islands[y, x] = UNKNOWN
            if not kept[y, x]:
                islands[y, x] = agreed[y, x]
                agreed[y, x] = UNKNOWN


@numba.njit(nogil=True, cache=True)
def _fill(agreed, inside, guide, near_by, farther, out):  # type: ignore[no-untyped-def]
    height, width = agreed.shape
    # Where the nearest agreed pixel lies in each of eight directions (-1: nowhere), by sweeping down and then up.
    down = np.empty((4, height, width), np.int32)
    up = np.empty((3, width + 2), np.int32)
    last = np.full((3, width + 2), -1, np.int32)
    for y in range(height):
        row = -1
        for x in range(width):
            if agreed[y, x] >= 0:
                row = y * width + x
                down[:, y, x] = row
                continue
            down[0, y, x] = row
            down[1, y, x] = down[1, y - 1, x - 1] if y > 0 and x > 0 else -1
            down[2, y, x] = down[2, y - 1, x] if y > 0 else -1
            down[3, y, x] = down[3, y - 1, x + 1] if y > 0 and x + 1 < width else -1
    for y in range(height - 1, -1, -1):
        row = -1
        up[:] = -1
        for x in range(width - 1, -1, -1):
            if agreed[y, x] >= 0:
                row = y * width + x
                up[:, x + 1] = row
                out[y, x] = np.float32(agreed[y, x]) / np.float32(SUBPIXEL)
                continue
            up[0, x + 1] = last[0, x]
            up[1, x + 1] = last[1, x + 1]
            up[2, x + 1] = last[2, x + 2]
            out[y, x] = -1.0
            if not inside[y, x]:
                continue
            best = np.float32(np.inf)
            for k in range(8):
                at = down[k, y, x] if k < 4 else (row if k == 4 else up[k - 5, x + 1])
                if at < 0:
                    continue
                v, u = at // width, at % width
                unlike = np.float32(0)
                for c in range(3):
                    unlike += abs(np.float32(guide[v, u, c]) - np.float32(guide[y, x, c]))
                unlike += near_by * np.float32(max(abs(v - y), abs(u - x)))
                unlike += farther * np.float32(agreed[v, u]) / np.float32(SUBPIXEL)
                if unlike < best:
                    best = unlike
                    out[y, x] = np.float32(agreed[v, u]) / np.float32(SUBPIXEL)
        last[:] = up


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _snap(disparity, lowest, highest, confidence, guide, radius, jump, tone, out):  # type: ignore[no-untyped-def]
    height, width = disparity.shape
    for y in range(height):
        for x in range(width):
            here = disparity[y, x]
            out[y, x] = here
            low, high = lowest[y, x], highest[y, x]
            if here < 0 or high - low <= jump:
                continue
            y0, y1 = max(y - radius, 0), min(y + radius + 1, height)
            x0, x1 = max(x - radius, 0), min(x + radius + 1, width)
            middle = np.float32(0.5) * (low + high)
            near = np.float32(0)
            near_sum = np.float32(0)
            far = np.float32(0)
            far_sum = np.float32(0)
            for v in range(y0, y1, 2):  # every second row says enough
                for u in range(x0, x1):
                    d = disparity[v, u]
                    if d < 0:
                        continue
                    unlike = np.float32(0)
                    for c in range(3):
                        unlike += abs(np.float32(guide[v, u, c]) - np.float32(guide[y, x, c]))
                    unlike *= tone
                    w = confidence[v, u] / (np.float32(1) + unlike * unlike)
                    if d > middle:
                        near += w
                        near_sum += w * d
                    else:
                        far += w
                        far_sum += w * d
            if near > far:
                if here <= middle:
                    out[y, x] = near_sum / near
            elif far > 0 and here > middle:
                out[y, x] = far_sum / far


def snap_to_edges(disparity: Plane, confidence: Plane, guide: Pixels) -> Plane:
    """Return `disparity` with its jumps moved to where the colours change.

    Within `SNAP_RADIUS` pixels of a jump a pixel belongs to that of the two surfaces whose pixels thereabouts, weighted
    by confidence, are most like it in colour (a vote of two in the manner of the joint bilateral filter).
    """
    window = np.ones((2 * SNAP_RADIUS + 1, 2 * SNAP_RADIUS + 1), np.uint8)
    lowest = cv2.erode(np.where(disparity < 0, np.float32(1e6), disparity), window)
    highest = cv2.dilate(disparity, window)
    out = np.empty_like(disparity)
    jump, tone = np.float32(SNAP_JUMP), np.float32(1 / SNAP_TONE)
    _snap(disparity, lowest, highest, confidence, guide, SNAP_RADIUS, jump, tone, out)
    return out


def check(
    own: NDArray[np.int16], other: NDArray[np.int16], inside: NDArray[np.bool_], sign: int
) -> tuple[NDArray[np.int16], Plane]:
    """Return what of `own` the other camera's `other` agrees with (negative elsewhere), and confidence, 0 elsewhere.

    Both are (h, w) int16 as `match_left` returns them; `sign` is 1 when `own` is the left camera's and -1 when it is
    the right one's. Nothing outside the picture (`inside`) is kept.
    """
    agreed, difference = np.empty(own.shape, np.int16), np.empty(own.shape, np.int16)
    limit = np.int16(CHECK_PX * SUBPIXEL)
    _check(own, other, inside, sign, limit, agreed, difference)
    confidence = np.float32(1) - np.float32(0.5 / limit) * difference
    confidence[agreed < 0] = 0
    return agreed, confidence


def drop_islands(agreed: NDArray[np.int16], in_view: NDArray[np.bool_]) -> None:
    """Drop, in place, groups under `SPECKLE`, and groups under `ISLAND` where the other camera can't see the background
    (not `in_view`) unless they grow out of where it can: there only something near could have been found."""
    area = np.count_nonzero(in_view)
    cv2.filterSpeckles(agreed, UNKNOWN, round(SPECKLE * area), SUBPIXEL)
    islands = np.empty_like(agreed)
    _part_islands(agreed, in_view, 4, islands)
    cv2.filterSpeckles(islands, UNKNOWN, round(ISLAND * area), SUBPIXEL)
    np.maximum(agreed, islands, out=agreed)


def fill(agreed: NDArray[np.int16], inside: NDArray[np.bool_], guide: Pixels) -> Plane:
    """Return disparity in pixels (h, w) float32, holes filled; -1 outside the picture and where nothing agreed.

    A hole takes the value of one of its nearest agreed pixels in eight directions (Hirschmüller 2008, section II-F),
    the one that is most like it in colour (`guide` (h, w, 3) uint8), nearest by, and farthest away in depth.
    """
    out = np.empty(agreed.shape, np.float32)
    width = float(np.sqrt(np.count_nonzero(inside) * 4 / 3))
    _fill(agreed, inside, guide, np.float32(NEAR_BY / width), np.float32(FARTHER / width), out)
    return out


def inverse_depth(pair: RectifiedPair, disparity: Plane, confidence: Plane) -> Plane:
    """Return inverse depth in 1/m along the grid's z; 0 where confidence is 0."""
    inverse = (disparity + np.float32(pair.shift)) * np.float32(1 / pair.fb)
    known = (confidence > 0) & (disparity >= 0)
    return np.where(known, np.maximum(inverse, np.float32(1e-4)), np.float32(0))


def finish(
    pair: RectifiedPair,
    left: NDArray[np.int16],
    right: NDArray[np.int16],
    left_colour: Pixels,
    right_colour: Pixels,
) -> Disparity:
    """Check the two directions against each other, fill, and return inverse depth of both cameras.

    `left` and `right` are the two matches, the colours (h, w, 3) uint8 the pictures on the grid.
    """
    inside_l, inside_r = pair.left.inside, pair.right.inside
    first_l, first_r = check(left, right, inside_l, 1)[0], check(right, left, inside_r, -1)[0]
    drop_islands(first_l, inside_r)
    drop_islands(first_r, inside_l)
    # Once more, because what was dropped in one camera no longer speaks for the other.
    agreed_l, confidence_l = check(first_l, first_r, inside_l, 1)
    agreed_r, confidence_r = check(first_r, first_l, inside_r, -1)
    planes = []
    for agreed, confidence, inside, colour in (
        (agreed_l, confidence_l, inside_l, left_colour),
        (agreed_r, confidence_r, inside_r, right_colour),
    ):
        disparity = fill(agreed, inside, colour)
        confidence[(agreed < 0) & (disparity >= 0)] = FILLED_CONFIDENCE
        disparity = snap_to_edges(np.asarray(cv2.medianBlur(disparity, 5), np.float32), confidence, colour)
        planes += [inverse_depth(pair, disparity, confidence), confidence]
    return Disparity(*planes)
