"""Sparse matches between the pictures of two cameras, found without believing in their calibration.

Corners (Shi and Tomasi 1994) are described by BRIEF's comparisons (Calonder et al. 2010) turned by each camera's roll,
and matched where both pictures choose each other and the second best is clearly worse (Lowe 2004). What calibration
makes of the matches is computed after: `Triangulated`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from streamsvc.frames import Camera, Pixels
from streamsvc.frames.rig import Matrix
from streamsvc.view.rectify import common_rotation, shrunk

SIDE = 320
CORNERS = 400
CORNER_QUALITY = 0.005
CORNERS_APART_PX = 4
PATCH_PX = 31
RATIO = 0.85
REFINED_PX = 15
REFINED_STEPS = cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 20, 0.01
STRAYED_PX = 2.0
"""A match that refining moves farther has slid to something else."""


@dataclass(frozen=True, slots=True, eq=False)
class Axes:
    """A pair as rectification sees it, without its maps: which camera is the left one, the rectified orientation (3, 3)
    world to camera, and the baseline in metres."""

    left: Camera
    right: Camera
    rotation: Matrix
    baseline: float


@dataclass(frozen=True, slots=True, eq=False)
class Corners:
    """Corners of one picture: `points` (n, 2) in pixels of it, (-0.5, -0.5) its upper left edge; `words` (n, 32) uint8;
    `size` (width, height) of the picture."""

    points: Matrix
    words: NDArray[np.uint8]
    size: tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Triangulated:
    """Matches as a pair's calibration sees them, each (n,): `x` and `y` are the mean direction along and across the
    baseline in rectified axes (tangents), `across` by how much the two directions miss each other across it, `along`
    their parallax, which times 1 / baseline is inverse depth."""

    x: Matrix
    y: Matrix
    across: Matrix
    along: Matrix

    def only(self, kept: NDArray[np.intp]) -> Triangulated:
        """Return the matches of these numbers."""
        return Triangulated(self.x[kept], self.y[kept], self.across[kept], self.along[kept])


def small_grey(camera: Camera, pixels: Pixels) -> NDArray[np.uint8]:
    """Return the picture in grey, of as many pixels as 320 x 240 or fewer."""
    height, width = pixels.shape[:2]
    small = shrunk(camera.resized(width, height), SIDE)
    if (small.width, small.height) != (width, height):
        pixels = np.asarray(cv2.resize(pixels, (small.width, small.height), interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)


def corners(grey: NDArray[np.uint8], roll_degrees: float) -> Corners:
    """Return the corners of (h, w) uint8 `grey`; its camera is rolled by `roll_degrees` against the axes in which they
    are compared."""
    found = cv2.goodFeaturesToTrack(grey, CORNERS, CORNER_QUALITY, CORNERS_APART_PX)
    points = np.zeros((0, 2)) if found is None else found.reshape(-1, 2)
    keypoints = [cv2.KeyPoint(float(x), float(y), PATCH_PX, roll_degrees) for x, y in points]
    smooth = cv2.GaussianBlur(grey, (0, 0), 1.0)
    described, words = cv2.ORB.create().compute(smooth, keypoints)
    size = (grey.shape[1], grey.shape[0])
    if words is None:
        return Corners(np.zeros((0, 2)), np.zeros((0, 32), np.uint8), size)
    return Corners(np.array([k.pt for k in described]), np.asarray(words, np.uint8), size)


def match(a: Corners, b: Corners) -> tuple[Matrix, Matrix]:
    """Return the matched points of both, (n, 2) each."""
    if min(len(a.words), len(b.words)) < 2:
        return np.zeros((0, 2)), np.zeros((0, 2))
    distance, chosen = cv2.batchDistance(a.words, b.words, cv2.CV_32S, normType=cv2.NORM_HAMMING, K=2)
    _, back = cv2.batchDistance(b.words, a.words, cv2.CV_32S, normType=cv2.NORM_HAMMING, K=1)
    best = chosen[:, 0]
    kept = (back[best, 0] == np.arange(len(best))) & (distance[:, 0] < RATIO * distance[:, 1])
    return a.points[kept], b.points[best[kept]]


def refine(a: NDArray[np.uint8], b: NDArray[np.uint8], first: Matrix, second: Matrix) -> Matrix:
    """Return where in grey `b` the corners `first` (n, 2) of grey `a` are seen, which were matched at `second`, to
    parts of a pixel (Lucas and Kanade 1981, windows of `REFINED_PX`); as they were where that can't be told."""
    if not len(first):
        return second
    start = np.ascontiguousarray(second.reshape(-1, 1, 2), np.float32)
    moved, found, _ = cv2.calcOpticalFlowPyrLK(
        a, b, np.ascontiguousarray(first.reshape(-1, 1, 2), np.float32), start.copy(),
        winSize=(REFINED_PX, REFINED_PX), maxLevel=0, criteria=REFINED_STEPS, flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )  # fmt: skip
    kept = (found == 1) & (np.abs(moved - start).max(axis=(1, 2)) < STRAYED_PX)[:, None]
    return np.where(kept, moved.reshape(-1, 2), second)


def axes_of(a: Camera, b: Camera) -> Axes:
    """Return the axes of a pair, in either order; raises ViewError when it is none."""
    rotation, swapped = common_rotation(a, b)
    left, right = (b, a) if swapped else (a, b)
    return Axes(left, right, rotation, float(np.linalg.norm(b.centre - a.centre)))


def roll_degrees(camera: Camera, axes: Axes) -> float:
    """Return how far the picture of `camera` is turned against the rectified axes."""
    right = camera.R @ axes.rotation[0]
    return float(np.degrees(np.arctan2(right[1], right[0])))


def _directions(camera: Camera, points: Matrix, size: tuple[int, int], rotation: Matrix) -> Matrix:
    if len(points) == 0:
        return np.zeros((0, 2))
    camera = camera.resized(*size)
    ideal = cv2.undistortPoints(points.reshape(-1, 1, 2), camera.K, camera.dist).reshape(-1, 2)
    rays = np.concatenate([ideal, np.ones((len(ideal), 1))], 1) @ (rotation @ camera.R.T).T
    return np.asarray(rays[:, :2] / np.maximum(rays[:, 2:], 1e-3), np.float64)


def triangulate(
    axes: Axes, left: Matrix, left_size: tuple[int, int], right: Matrix, right_size: tuple[int, int]
) -> Triangulated:
    """Return what a pair makes of matches: `left` (n, 2) are pixels of the left camera's picture of
    `left_size`, `right` those of the right one's."""
    a = _directions(axes.left, left, left_size, axes.rotation)
    b = _directions(axes.right, right, right_size, axes.rotation)
    x, y = (a + b).T / 2
    along, across = (a - b).T
    return Triangulated(x, y, across, along)
