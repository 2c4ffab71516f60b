"""Boards before cameras whose calibration is known: as exact corners with noise, and as rendered pictures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from streamsvc.calibrate import Board, Detection, View, sheet
from streamsvc.calibrate.projection import Array, project, rotation
from streamsvc.frames import Camera

SIZE = (640, 480)
DISTANCE = 1.0


def make_cameras(count: int, size: tuple[int, int] = SIZE, apart_degrees: float = 14.0) -> tuple[Camera, ...]:
    """Cameras on an arc of 1 m about a person, each with its own lens, the middle of the arc at the origin."""
    cameras = []
    for i in range(count):
        angle = np.radians((i - (count - 1) / 2) * apart_degrees)
        centre = np.array([-np.sin(angle) * DISTANCE, 0.02 * (-1) ** i, DISTANCE * (1 - np.cos(angle))])
        R = rotation(np.array([0.02 * i, 0, 0.03 * (-1) ** i])) @ rotation(np.array([0.0, -angle, 0.0]))
        scale = size[0] / 640
        K = np.array([[620 + 7 * i, 0, 323 + 3 * i], [0, 618 + 7 * i, 236 - 2 * i], [0, 0, 1.0]])
        K[:2] *= scale
        dist = np.array([-0.25 + 0.02 * i, 0.09, 0.0008, -0.0005, 0.0])
        cameras.append(Camera(f"cam{i}", *size, K, dist, R, -R @ centre))
    return tuple(sorted(cameras, key=lambda c: c.name))


def intrinsics_of(camera: Camera) -> Array:
    return np.concatenate([camera.K[[0, 1, 0, 1], [0, 1, 2, 2]], camera.dist])


def board_poses(board: Board, count: int, seed: int, tilt: float = 40.0) -> list[tuple[Array, Array]]:
    """Poses (R, t) of the board in the world, its middle about 1 m before the cameras, tilted up to `tilt` degrees."""
    random = np.random.default_rng(seed)
    poses = []
    for _ in range(count):
        turn = random.uniform(-1, 1, 3) * np.radians([tilt, tilt, 25.0])
        R = rotation(turn)
        middle = np.array([random.uniform(-0.22, 0.22), random.uniform(-0.16, 0.16), random.uniform(0.75, 1.1)])
        poses.append((R, middle - R @ board.points.mean(0)))
    return poses


def corners(camera: Camera, board: Board, pose: tuple[Array, Array]) -> Array:
    """The exact pixels of all points of the board, (n, 2)."""
    world = board.points @ pose[0].T + pose[1]
    return project(intrinsics_of(camera), world @ camera.R.T + camera.t)


def inside(pixels: Array, camera: Camera, margin: float = 4) -> bool:
    return bool((pixels > margin).all() and (pixels < np.array([camera.width, camera.height]) - margin - 1).all())


def make_views(
    cameras: Sequence[Camera], board: Board, count: int, noise: float, seed: int = 0, tilt: float = 40.0, least: int = 1
) -> list[View]:
    """`count` views that at least `least` cameras see whole, with `noise` pixels a coordinate."""
    random = np.random.default_rng(seed + 1000)
    views: list[View] = []
    for pose in board_poses(board, count * 60, seed, tilt):
        found = {}
        for camera in cameras:
            pixels = corners(camera, board, pose)
            if inside(pixels, camera):
                noisy = pixels + random.normal(0, noise, pixels.shape) if noise else pixels
                found[camera.name] = Detection(np.arange(len(pixels)), noisy, 1.5)
        if len(found) >= least:
            views.append(View(f"{len(views):02d}", found))
        if len(views) == count:
            return views
    raise AssertionError("the scene shows too few boards whole")


def render(camera: Camera, board: Board, pose: tuple[Array, Array], seed: int = 0) -> NDArray[np.uint8]:
    """What the camera sees: the printed board on a gray wall, gray (h, w), with a slight noise."""
    sheet, cell = _sheet(board)
    directions = _directions(camera) @ (camera.R @ pose[0])
    origin = (camera.centre - pose[1]) @ pose[0]
    at = origin - directions * (origin[2] / directions[:, 2:])
    # The first inner corner lies two squares into the sheet: margin and first square; integer pixel centres.
    x, y = ((at[:, i] / board.square + 2) * cell - 0.5 for i in (0, 1))
    shape = 2 * camera.height, 2 * camera.width
    seen = cv2.remap(
        sheet, x.reshape(shape).astype(np.float32), y.reshape(shape).astype(np.float32), cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT, borderValue=128,
    )  # fmt: skip
    small = cv2.resize(seen, (camera.width, camera.height), interpolation=cv2.INTER_AREA).astype(np.float64)
    small = 30 + small * 0.75 + np.random.default_rng(seed).normal(0, 2.0, small.shape)
    return np.clip(np.rint(small), 0, 255).astype(np.uint8)


@cache
def _sheet(board: Board) -> tuple[NDArray[np.uint8], int]:
    """The printed board, slightly soft, and the pixels of a square's side."""
    dpi = round(0.0254 * 40 / board.square)
    return cv2.GaussianBlur(sheet.draw(board, dpi), (0, 0), 1.0), round(board.square * dpi / 0.0254)


@cache
def _directions(camera: Camera) -> Array:
    """Rays through four samples a pixel, camera axes, (4 h w, 3)."""
    v, u = np.mgrid[0 : camera.height : 0.5, 0 : camera.width : 0.5] - 0.25
    rays = _rays(camera, u, v)
    return np.concatenate([rays, np.ones((len(rays), 1))], 1)


def _rays(camera: Camera, u: Array, v: Array) -> Array:
    """Undistorted directions x/z, y/z of pixels, (n, 2): the distortion inverted by iteration."""
    K = camera.K
    distorted = np.stack([(u.ravel() - K[0, 2]) / K[0, 0], (v.ravel() - K[1, 2]) / K[1, 1]], 1)
    unit = np.concatenate([[1.0, 1.0, 0.0, 0.0], camera.dist])
    rays = distorted.copy()
    for _ in range(12):
        rays += distorted - project(unit, np.concatenate([rays, np.ones((len(rays), 1))], 1))
    return rays
