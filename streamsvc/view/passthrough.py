"""Views from a single camera: the check that a frame is a picture, the letterbox, and the picture seen as a plane."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from streamsvc.frames import Camera, Frame, Pixels
from streamsvc.frames.rig import MAX_SIDE, Matrix
from streamsvc.view.compose import View
from streamsvc.view.errors import ViewError
from streamsvc.view.holes import fill_holes

MIN_SIDE = 32
FADED_SIDE = 320


def check_frame(frame: Frame) -> Pixels:
    """Return the pixels of `frame`, C-contiguous; raises ViewError unless they are (h, w, 3) uint8 of a usable size."""
    pixels = frame.pixels
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        got = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise ViewError(f"camera {frame.camera!r}: a picture must be (height, width, 3) uint8, got {got}")
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in pixels.shape[:2]):
        raise ViewError(
            f"camera {frame.camera!r}: a picture must be {MIN_SIDE} to {MAX_SIDE} pixels a side, got {frame.size}"
        )
    return np.ascontiguousarray(pixels)


def pass_through(pixels: Pixels, width: int, height: int) -> View:
    """Return the picture itself, as large as fits, its aspect kept, on black; depth is unknown."""
    h, w = pixels.shape[:2]
    scale = min(width / w, height / h)
    fit_w, fit_h = max(round(w * scale), 1), max(round(h * scale), 1)
    x, y = (width - fit_w) // 2, (height - fit_h) // 2
    out, coverage = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.float32)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    out[y : y + fit_h, x : x + fit_w] = pixels if scale == 1 else cv2.resize(pixels, (fit_w, fit_h), interpolation=how)
    coverage[y : y + fit_h, x : x + fit_w] = 1
    return View(out, np.zeros((height, width), np.float32), coverage)


def as_plane(pixels: Pixels, camera: Camera, view: Camera, centre: Matrix, normal: Matrix) -> View:
    """Return what `view` sees of the picture (h, w, 3) of `camera` when everything in it lies in one plane.

    The plane goes through `centre` (3,) with the unit `normal` (3,), world metres, pointing away from the viewer. The
    picture lands in the view by a homography (Hartley and Zisserman 2003, section 13.1), distortion undone in the same
    step. Beyond the picture its rim fades out as beyond what several cameras see; coverage is 0 there.
    """
    ahead = float(normal @ (centre - view.centre))
    # Of the view's rays r (z = 1) the plane is met at depth ahead / (n·r); times n·r all is linear in the pixel.
    rays = view.R.T @ np.linalg.inv(view.K)
    facing = normal @ rays
    onto = (np.outer(camera.R @ view.centre + camera.t, normal) + ahead * camera.R) @ rays
    if ahead <= 0 or abs(np.linalg.det(onto)) < 1e-15:
        return pass_through(pixels, view.width, view.height)
    pixels, camera = _averaged(pixels, camera, view)
    # OpenCV inverts the two matrices that it is given and multiplies: `onto` is that product.
    map_x, map_y = cv2.initUndistortRectifyMap(
        camera.K, camera.dist, np.linalg.inv(onto), np.eye(3), (view.width, view.height), cv2.CV_32FC1
    )
    u, v = np.arange(view.width, dtype=np.float32), np.arange(view.height, dtype=np.float32)[:, None]
    met, seen = (np.float32(row[0]) * u + np.float32(row[1]) * v + np.float32(row[2]) for row in (facing, onto[2]))
    covered = (met > 0) & (seen > 0)
    covered &= (map_x >= -0.5) & (map_x <= camera.width - 0.5) & (map_y >= -0.5) & (map_y <= camera.height - 0.5)
    shown = np.asarray(
        cv2.remap(pixels, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), dtype=np.uint8
    )
    if not covered.all():
        shown = np.where(covered[..., None], shown, _faded(shown, covered))
    inverse = np.asarray(np.maximum(met, 0) / np.float32(ahead), dtype=np.float32)
    return View(shown, inverse, covered.astype(np.float32))


def _faded(pixels: Pixels, covered: NDArray[np.bool_]) -> Pixels:
    """The picture with what isn't covered filled in, coarsely: it is a blur."""
    height, width = covered.shape
    scale = max(max(height, width) / FADED_SIDE, 1)
    small = max(round(width / scale), 1), max(round(height / scale), 1)
    features = np.zeros((small[1], small[0], 4), np.float32)
    features[..., :3] = cv2.resize(pixels, small, interpolation=cv2.INTER_AREA)
    coverage = np.asarray(cv2.resize(covered.astype(np.float32), small, interpolation=cv2.INTER_AREA), np.float32)
    fill_holes(features, coverage, 0.99)
    return np.asarray(cv2.resize(features[..., :3], (width, height)) + np.float32(0.5), dtype=np.uint8)


def _averaged(pixels: Pixels, camera: Camera, view: Camera) -> tuple[Pixels, Camera]:
    """The picture and its camera, shrunk to about the view's resolution where it has much more."""
    height, width = pixels.shape[:2]
    camera = camera.resized(width, height)
    shrink = float(camera.K[0, 0] / view.K[0, 0])
    if shrink <= 1.5:
        return pixels, camera
    size = max(round(width / shrink), 1), max(round(height / shrink), 1)
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8), camera.resized(*size)
