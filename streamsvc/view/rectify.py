"""Rectification: two cameras turned, in software, into a pair whose matches lie on one row.

Both rectified cameras share an orientation (x along the baseline, z along the mean optical axis), a focal length and
one pixel grid. They keep their own optical centres, and the right one's principal point is moved so that a point at the
far depth has disparity 0: only f·B·(1/near - 1/far) is left to search. Of the two cameras "left" is simply the one that
the other lies on the positive x side of, so they may come in either order and a vertical pair is turned by 90 degrees.

Invariant: column x of the left grid and column x - d of the right grid see the same point when its inverse depth along
the rectified z is (d + shift) / (f·B), both in grid pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from streamsvc.frames import Camera, Pixels
from streamsvc.frames.rig import Matrix
from streamsvc.view.errors import ViewError

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]

MIN_BASELINE_M = 1e-3
MAX_GRID_FACTOR = 4.0
"""A grid more than this many times as long as the picture means that the cameras hardly look the same way."""

FAR_MARGIN_PX = 1.0
"""Disparity kept below the far plane, so that noise about it isn't clipped into a wall."""

MAX_DISPARITIES = 512


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One camera of a rectified pair.

    `grid` is its rectified camera (no distortion, the pair's size); `map_x`, `map_y` (h, w) float32 say where in a
    picture of `source`'s size each grid pixel comes from; `inside` (h, w) says whether that lies in the picture;
    `columns` [first, last) are those the other camera can possibly match; `rays` is `pixel_rays` of the grid.
    """

    source: Camera
    grid: Camera
    map_x: Map
    map_y: Map
    inside: Mask
    columns: tuple[int, int]
    rays: Map

    def rectify(self, pixels: Pixels) -> Pixels:
        """Return `pixels` (of the size of `source`, or larger: it's averaged down first) on the grid, RGB uint8."""
        size = (self.source.width, self.source.height)
        if (pixels.shape[1], pixels.shape[0]) != size:
            pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        rectified = cv2.remap(pixels, self.map_x, self.map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(rectified, dtype=np.uint8)

    def turned(self, source: Camera) -> Side:
        """Return the same grid with the pictures of `source`, which is this side's camera turned about its centre."""
        map_x, map_y, inside = _maps(source, self.grid)
        return replace(self, source=source, map_x=map_x, map_y=map_y, inside=inside)


@dataclass(frozen=True, slots=True, eq=False)
class RectifiedPair:
    """A rectified pair: `disparities` (a multiple of 16) to search, `shift` already subtracted, `fb` = f·B in px·m."""

    left: Side
    right: Side
    disparities: int
    shift: float
    fb: float


def pixel_rays(camera: Camera) -> Map:
    """Return the direction of every pixel of `camera`: (h, w, 2) float32, x/z and y/z in camera axes, undistorted."""
    K = camera.K
    if not camera.dist.any():  # a grid: as good as free, where undistorting takes longer than a view
        rays = np.empty((camera.height, camera.width, 2), np.float32)
        y = (np.arange(camera.height) - K[1, 2]) / K[1, 1]
        rays[..., 1] = y[:, None]
        rays[..., 0] = (np.arange(camera.width) - K[0, 2]) / K[0, 0] - (K[0, 1] / K[0, 0]) * y[:, None]
        return rays
    v, u = np.mgrid[0 : camera.height, 0 : camera.width].astype(np.float64)
    ideal = cv2.undistortPoints(np.stack([u, v], -1).reshape(-1, 1, 2), K, camera.dist)
    return np.ascontiguousarray(ideal.reshape(camera.height, camera.width, 2), dtype=np.float32)


def _border_rays(camera: Camera, steps: int = 24) -> Matrix:
    """Directions (n, 3) in camera axes through points along the border of the picture."""
    w, h = camera.width, camera.height
    x, y = np.linspace(-0.5, w - 0.5, steps), np.linspace(-0.5, h - 0.5, steps)
    border = np.concatenate(
        [
            np.stack([x, np.full(steps, -0.5)], 1),
            np.stack([x, np.full(steps, h - 0.5)], 1),
            np.stack([np.full(steps, -0.5), y], 1),
            np.stack([np.full(steps, w - 0.5), y], 1),
        ]
    )
    ideal = cv2.undistortPoints(border.reshape(-1, 1, 2), camera.K, camera.dist).reshape(-1, 2)
    return np.concatenate([ideal, np.ones((len(ideal), 1))], 1).astype(np.float64)


def common_rotation(a: Camera, b: Camera) -> tuple[Matrix, bool]:
    """Return the rectified orientation (3, 3), world to camera, and whether `b` is the left camera.

    Raises ViewError when the cameras share a centre or look along their baseline or apart.
    """
    baseline = b.centre - a.centre
    length = float(np.linalg.norm(baseline))
    if length < MIN_BASELINE_M:
        raise ViewError(f"the cameras {a.name!r} and {b.name!r} stand in one place; a pair needs a baseline")
    x = baseline / length
    axis = a.R[2] + b.R[2]
    sideways, down = x @ (a.R[0] + b.R[0]), x @ (a.R[1] + b.R[1])
    swapped = bool((sideways if abs(sideways) >= abs(down) else down) < 0)
    if swapped:
        x = -x
    z = axis - (axis @ x) * x
    norm = float(np.linalg.norm(z))
    if norm < 0.5:
        raise ViewError(
            f"the cameras {a.name!r} and {b.name!r} look along their baseline or apart: no match is possible"
        )
    z /= norm
    return np.stack([x, np.cross(z, x), z]), swapped


def _inverse_depths(
    rotation: Matrix, camera: Camera, other: Camera, depth_range: tuple[float, float]
) -> tuple[float, float]:
    """The least and greatest inverse depth along the rectified z of what both cameras see within `camera`'s range."""
    x, y = np.meshgrid(np.linspace(0, camera.width - 1, 17), np.linspace(0, camera.height - 1, 13))
    ideal = cv2.undistortPoints(np.stack([x, y], -1).reshape(-1, 1, 2), camera.K, camera.dist).reshape(-1, 2)
    rays = np.concatenate([ideal, np.ones((len(ideal), 1))], 1).astype(np.float64) @ camera.R
    inverse = np.linspace(1 / depth_range[1], 1 / depth_range[0], 17)[:, None, None]
    # Directions times inverse depth, so that infinitely far points are points like others.
    seen = (rays + (camera.centre - other.centre) * inverse) @ other.R.T
    ahead = seen[..., 2] > 1e-6
    pixel = (seen / np.where(ahead, seen[..., 2], 1)[..., None]) @ other.K.T
    both = (
        ahead & (np.abs(pixel[..., 0] / other.width - 0.5) < 0.55) & (np.abs(pixel[..., 1] / other.height - 0.5) < 0.55)
    )
    if not both.any():
        return np.inf, -np.inf
    along = (inverse[..., 0] / (rays @ rotation[2]))[both]
    return float(along.min()), float(along.max())


def _maps(source: Camera, grid: Camera) -> tuple[Map, Map, Mask]:
    """Where in a picture of `source` each pixel of `grid` comes from, and whether that lies in it."""
    size = grid.width, grid.height
    map_x, map_y = cv2.initUndistortRectifyMap(source.K, source.dist, grid.R @ source.R.T, grid.K, size, cv2.CV_32FC1)
    inside = (map_x >= -0.5) & (map_x <= source.width - 0.5) & (map_y >= -0.5) & (map_y <= source.height - 0.5)
    return np.asarray(map_x, dtype=np.float32), np.asarray(map_y, dtype=np.float32), inside


def _side(source: Camera, rotation: Matrix, K: Matrix, size: tuple[int, int], columns: tuple[int, int]) -> Side:
    grid = Camera(source.name, *size, K, np.zeros(5), rotation, -rotation @ source.centre)
    return Side(source, grid, *_maps(source, grid), columns, pixel_rays(grid))


def side_of(camera: Camera) -> float:
    """Return the width of a 4:3 picture of as many pixels as the camera's."""
    return math.sqrt(camera.width * camera.height * 4 / 3)


def shrunk(camera: Camera, side: float) -> Camera:
    """Return `camera` for pictures of as many pixels as `side` x 3/4 `side`, or unchanged when it has fewer."""
    scale = side / side_of(camera)
    if scale >= 1:
        return camera
    return camera.resized(max(round(camera.width * scale), 1), max(round(camera.height * scale), 1))


def rectify_pair(a: Camera, b: Camera, depth_range: tuple[float, float], enlarged: float = 1.0) -> RectifiedPair:
    """Rectify the cameras `a` and `b`, in either order, for depths `depth_range` (near, far; metres along their z).

    Far may be infinite. The grid's pixels are those of the cameras in the middle, or `enlarged` times as many a side.
    Raises ViewError when they share a centre, look along the baseline, or hardly overlap.
    """
    rotation, swapped = common_rotation(a, b)
    left, right = (b, a) if swapped else (a, b)
    focal = enlarged * float(np.mean([a.K[0, 0], a.K[1, 1], b.K[0, 0], b.K[1, 1]]))
    fb = focal * float(np.linalg.norm(b.centre - a.centre))
    extents = []
    for camera in (left, right):
        rays = _border_rays(camera) @ (rotation @ camera.R.T).T
        if rays[:, 2].min() < 0.1:
            raise ViewError(f"the cameras {a.name!r} and {b.name!r} look too far apart to be matched")
        plane = focal * rays[:, :2] / rays[:, 2:]
        extents.append((plane.min(0), plane.max(0)))
    ranges = [_inverse_depths(rotation, a, b, depth_range), _inverse_depths(rotation, b, a, depth_range)]
    farthest, nearest = max(min(r[0] for r in ranges), 0.0), max(r[1] for r in ranges)
    if nearest <= farthest:
        raise ViewError(f"the cameras {a.name!r} and {b.name!r} see too little in common to be matched")
    shift = fb * farthest - FAR_MARGIN_PX
    (l0, top_l), (l1, bottom_l) = extents[0]
    (r0, top_r), (r1, bottom_r) = extents[1]
    r0, r1 = r0 + shift, r1 + shift
    top, bottom = max(top_l, top_r), min(bottom_l, bottom_r)

    wanted = fb * nearest - shift + FAR_MARGIN_PX
    disparities = int(min(max(np.ceil(min(wanted, l1 - r0) / 16), 1) * 16, MAX_DISPARITIES))
    columns_l = max(l0, r0), min(l1, r1 + disparities)
    columns_r = max(r0, l0 - disparities), min(r1, l1)
    if min(columns_l[1] - columns_l[0], columns_r[1] - columns_r[0], bottom - top) < 16:
        raise ViewError(f"the cameras {a.name!r} and {b.name!r} see too little in common to be matched")
    first = min(l0, r0, columns_l[0] - disparities)
    last = max(l1, r1, columns_r[1] + disparities)
    size = int(np.ceil(last - first)) + 1, int(np.ceil(bottom - top))
    if max(size) > MAX_GRID_FACTOR * enlarged * max(a.width, a.height, b.width, b.height) + 2 * disparities:
        raise ViewError(f"the cameras {a.name!r} and {b.name!r} look too far apart to be matched")

    def columns(span: tuple[float, float]) -> tuple[int, int]:
        return int(np.floor(span[0] - first)), int(np.ceil(span[1] - first))

    K_left = np.array([[focal, 0, -first], [0, focal, -0.5 - top], [0, 0, 1]])
    K_right = np.array([[focal, 0, shift - first], [0, focal, -0.5 - top], [0, 0, 1]])
    return RectifiedPair(
        _side(left, rotation, K_left, size, columns(columns_l)),
        _side(right, rotation, K_right, size, columns(columns_r)),
        disparities,
        shift,
        fb,
    )


def turned_pair(pair: RectifiedPair, a: Camera, b: Camera) -> RectifiedPair:
    """Return `pair` with the same grids for the pictures of `a` and `b`, in either order: its cameras, turned a little
    about their centres."""
    by_name = {a.name: a, b.name: b}
    left, right = (side.turned(by_name[side.source.name]) for side in (pair.left, pair.right))
    return replace(pair, left=left, right=right)


def cropped_pair(pair: RectifiedPair, multiple: int = 16) -> tuple[RectifiedPair, int]:
    """Return `pair` with each side cut to the columns that can be matched, and by how much the two cuts differ.

    Both sides get one size, whose width and height are multiples of `multiple` (what is added lies outside the
    pictures). The difference, left start less right start, is a multiple of 8 pixels; disparities, `shift` and `fb`
    are those of the whole grid.
    """
    l0, l1 = pair.left.columns
    r0, r1 = pair.right.columns
    apart = 8 * -(-(l0 - r0) // 8)
    begins = l0, l0 - apart
    width = -(-max(l1 - begins[0], r1 - begins[1]) // multiple) * multiple
    height = -(-pair.left.grid.height // multiple) * multiple
    sides = []
    for side, begin in zip((pair.left, pair.right), begins, strict=True):
        K = side.grid.K.copy()
        K[0, 2] -= begin
        columns = side.columns[0] - begin, side.columns[1] - begin
        sides.append(_side(side.source, side.grid.R, K, (width, height), columns))
    return RectifiedPair(sides[0], sides[1], pair.disparities, pair.shift, pair.fb), apart
