"""Disparity in the pixels of a camera's own picture: what a rung found, what is true, and plain OpenCV beside them.

A rung finds inverse depth on a grid of its own. Here it is brought back to every pixel of the picture and told as
disparity, focal length x baseline x inverse depth along the grid's z, less `offset` (the difference of the principal
points, for a pair that is rectified already), so rungs with coarse and fine grids answer one question.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from streamsvc.frames import Camera, Pixels
from streamsvc.view.geometry import Source
from streamsvc.view.rectify import pixel_rays

Plane = NDArray[np.float32]
SAME_SURFACE = 0.04
"""Relative spread of inverse depth up to which four grid pixels are interpolated, as in the blend."""

BLOCK = 5
CHECK_PX = 1.0


def _at(plane: Plane, x: Plane, y: Plane) -> Plane:
    """`plane` at (x, y): bilinear within a surface, the nearest pixel's at jumps and beside holes (0), 0 outside."""
    size = plane.shape[1], plane.shape[0]
    inside = (x > -0.5) & (x < size[0] - 0.5) & (y > -0.5) & (y < size[1] - 0.5)
    x, y = np.clip(x, 0, size[0] - 1), np.clip(y, 0, size[1] - 1)
    smooth = cv2.remap(plane, x, y, cv2.INTER_LINEAR)
    nearest = plane[np.rint(y).astype(np.intp), np.rint(x).astype(np.intp)]
    ix, iy = x.astype(np.intp), y.astype(np.intp)
    jx, jy = np.minimum(ix + 1, size[0] - 1), np.minimum(iy + 1, size[1] - 1)
    four = np.stack([plane[iy, ix], plane[iy, jx], plane[jy, ix], plane[jy, jx]])
    low, high = four.min(0), four.max(0)
    one = (low > 0) & (high - low <= SAME_SURFACE * high)
    return np.where(inside, np.where(one, smooth, nearest), np.float32(0))


def _onto(source: Source, camera: Camera) -> tuple[Plane, Plane, Plane]:
    """Where each pixel of `camera`'s picture lies on the grid (x, y), and its ray's z along the grid's axis."""
    rays = pixel_rays(camera)
    directions = np.concatenate([rays, np.ones_like(rays[..., :1])], -1) @ (source.grid.R @ camera.R.T).T
    z = directions[..., 2]
    K = source.grid.K
    x, y = directions[..., 0] / z * K[0, 0] + K[0, 2], directions[..., 1] / z * K[1, 1] + K[1, 2]
    return x.astype(np.float32), y.astype(np.float32), z.astype(np.float32)


def found_disparity(source: Source, fb: float, offset: float = 0.0) -> Plane:
    """Return the disparity of every pixel of the source's picture, (H, W) float32 in its pixels, NaN at holes.

    `fb` is focal length (of the picture, px) x baseline (m).
    """
    x, y, _ = _onto(source, source.camera)
    inverse = _at(source.inverse_depth, x, y)
    return np.where(inverse > 0, np.float32(fb) * inverse - np.float32(offset), np.float32(np.nan))


def true_disparity(source: Source, depth: Plane, fb: float, offset: float = 0.0) -> Plane:
    """Return the same of the true `depth` (H, W; metres along the camera's z), NaN where it isn't known."""
    _, _, z = _onto(source, source.camera)
    known = np.isfinite(depth) & (depth > 0)
    along = np.where(known, depth * z, np.float32(np.nan))
    return np.asarray(np.float32(fb) / along - np.float32(offset), np.float32)


def on_grid(source: Source, depth: Plane) -> Plane:
    """Return the true inverse depth along the grid's z at the source's grid pixels, (h, w) float32, 0 where unknown."""
    rays = source.rays
    directions = np.concatenate([rays, np.ones_like(rays[..., :1])], -1) @ (source.camera.R @ source.grid.R.T).T
    ahead = np.maximum(directions[..., 2:], np.float32(1e-6))
    ideal = np.asarray(directions / ahead, np.float64).reshape(-1, 1, 3)
    pixels, _ = cv2.projectPoints(ideal, np.zeros(3), np.zeros(3), source.camera.K, source.camera.dist)
    xy = np.rint(pixels.reshape(*rays.shape)).astype(np.intp)
    height, width = depth.shape
    inside = (xy[..., 0] >= 0) & (xy[..., 0] < width) & (xy[..., 1] >= 0) & (xy[..., 1] < height)
    found = depth[np.clip(xy[..., 1], 0, height - 1), np.clip(xy[..., 0], 0, width - 1)]
    known = inside & np.isfinite(found) & (found > 0)
    # A point of depth d along the camera's z has d / ahead along the grid's, whose rays have z = 1.
    return np.where(known, ahead[..., 0] / np.where(known, found, 1), 0).astype(np.float32)


@dataclass(frozen=True, slots=True)
class PlainSgbm:
    """OpenCV's SGBM 3-way on an already rectified pair, left-right check, holes filled from the farther side.

    The parameters are those that OpenCV's documentation suggests (block 5, P1 = 8 and P2 = 32 block areas, one
    channel). Without `padded` a column less than `disparities` from the border isn't matched, as OpenCV leaves it.
    """

    disparities: int
    padded: bool

    def both(self, left: Pixels, right: Pixels) -> tuple[Plane, Plane]:
        """Return both cameras' disparity (h, w) float32, NaN only on rows where nothing agreed; pictures are grey."""
        matcher = cv2.StereoSGBM.create(
            minDisparity=0,
            numDisparities=self.disparities,
            blockSize=BLOCK,
            P1=8 * BLOCK * BLOCK,
            P2=32 * BLOCK * BLOCK,
            disp12MaxDiff=-1,
            preFilterCap=31,
            mode=cv2.STEREO_SGBM_MODE_SGBM_3WAY,
        )
        pad = self.disparities if self.padded else 0

        def match(own: Pixels, other: Pixels) -> Plane:
            widened = (cv2.copyMakeBorder(p, 0, 0, pad, 0, cv2.BORDER_REPLICATE) for p in (own, other))
            return np.asarray(matcher.compute(*widened)[:, pad:] / np.float32(16), np.float32)

        forward = match(left, right)
        backward = match(*(np.ascontiguousarray(p[:, ::-1]) for p in (right, left)))[:, ::-1]
        return _fill(_agreed(forward, backward, 1)), _fill(_agreed(backward, forward, -1))


def _agreed(own: Plane, other: Plane, sign: int) -> Plane:
    columns = np.arange(own.shape[1])
    match = np.rint(columns - sign * own).astype(np.intp)
    inside = (match >= 0) & (match < own.shape[1]) & (own >= 0)
    seen = np.take_along_axis(other, np.clip(match, 0, own.shape[1] - 1), 1)
    return np.where(inside & (np.abs(seen - own) <= CHECK_PX), own, np.float32(np.nan))


def _fill(agreed: Plane) -> Plane:
    """Each hole takes the lesser (farther) of its two neighbours on the row."""
    width = agreed.shape[1]
    known, columns = np.isfinite(agreed), np.arange(width)
    before = np.maximum.accumulate(np.where(known, columns, -1), 1)
    after = np.minimum.accumulate(np.where(known, columns, width)[:, ::-1], 1)[:, ::-1]
    wide = np.concatenate([agreed, np.full_like(agreed[:, :1], np.inf)], 1)
    low = np.minimum(np.take_along_axis(wide, before, 1), np.take_along_axis(wide, after, 1))
    return np.where(known, agreed, np.where(np.isfinite(low), low, np.float32(np.nan)))
