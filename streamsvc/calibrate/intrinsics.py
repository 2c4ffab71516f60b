"""One camera from its views of a flat board: a first guess in closed form, then a bundle adjustment of that camera.

The guess is Zhang's (2000) with the principal point in the middle and square pixels: every homography between board
and picture gives two linear equations in 1/f². Board poses come from the homographies (IPPE, Collins & Bartoli 2014).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from streamsvc.calibrate.bundle import Adjusted, Observation, State, adjust, rms
from streamsvc.calibrate.projection import INTRINSICS, Array, camera_matrix, project, rotation

SIGNIFICANT = 3.0
"""k3 is held at zero when it's smaller than this many of its standard deviations: the views don't tell it, and a wild
one bends the picture's corners. The others are always estimated; to leave one out would bias the principal point."""

K3 = 8


def guess_focal(homographies: Sequence[Array], width: int, height: int) -> float:
    """Return the focal length in pixels that fits the board-to-picture `homographies` (3, 3) best, or a usual one
    where they don't tell (boards parallel to the picture plane)."""
    centre = np.array([[1, 0, -(width - 1) / 2], [0, 1, -(height - 1) / 2], [0, 0, 1]])
    equations, values = [], []
    for H in homographies:
        # In units of the picture's width, so that the rows are of the same size.
        g = np.diag([1 / width, 1 / width, 1]) @ centre @ H
        g = g / np.linalg.norm(g[:, :2], axis=0).mean()
        a, b = g[:, 0], g[:, 1]
        equations += [a[0] * b[0] + a[1] * b[1], a[0] ** 2 + a[1] ** 2 - b[0] ** 2 - b[1] ** 2]
        values += [-a[2] * b[2], b[2] ** 2 - a[2] ** 2]
    e, v = np.array(equations), np.array(values)
    inverse = float(e @ v / max(e @ e, 1e-30))
    focal = width / np.sqrt(inverse) if inverse > 0 else 0.0
    usual = 1.2 * max(width, height)
    return float(focal) if 0.2 * usual < focal < 10 * usual else usual


def board_poses(intrinsics: Array, board: Array, pixels: Array) -> list[tuple[Array, Array, float]]:
    """Return the poses (R, t: board to camera metres) that a flat board may have, best first, each with its RMS
    reprojection error in pixels; `board` (n, 3) with z = 0, `pixels` (n, 2)."""
    K, dist = camera_matrix(intrinsics), intrinsics[4:9]
    found, vectors, shifts, _ = cv2.solvePnPGeneric(
        board.reshape(-1, 1, 3), pixels.reshape(-1, 1, 2), K, dist, flags=cv2.SOLVEPNP_IPPE
    )
    poses = []
    for i in range(found):
        R, t = rotation(np.asarray(vectors[i])), np.asarray(shifts[i], dtype=np.float64).reshape(3)
        if np.isfinite(R).all() and np.isfinite(t).all():
            poses.append((R, t, rms(project(intrinsics, board @ R.T + t) - pixels)))
    return sorted(poses, key=lambda p: p[2])


def _homography(seen: Observation) -> Array | None:
    H = cv2.findHomography(seen.board[:, :2], seen.pixels, 0)[0]
    return None if H is None else np.asarray(H, dtype=np.float64)


def _state(intrinsics: Array, observations: Sequence[Observation], views: int) -> State:
    view_rotation, view_shift = np.tile(np.eye(3), (views, 1, 1)), np.tile([0.0, 0.0, 1.0], (views, 1))
    for seen in observations:
        poses = board_poses(intrinsics, seen.board, seen.pixels)
        if poses:
            view_rotation[seen.view], view_shift[seen.view] = poses[0][:2]
    return State(intrinsics[None], np.eye(3)[None], np.zeros((1, 3)), view_rotation, view_shift)


def calibrate_camera(
    observations: Sequence[Observation], views: int, width: int, height: int
) -> tuple[Adjusted, NDArray[np.bool_]]:
    """Return the calibration of one camera (number 0 in the result, poses in its axes) and which of its nine
    intrinsics were estimated, (9,).

    `observations` are all of that camera; their `view` is under `views`.
    """
    own = [replace(o, camera=0) for o in observations]
    homographies = [H for H in map(_homography, own) if H is not None]
    focal = guess_focal(homographies, width, height)
    start = np.array([focal, focal, (width - 1) / 2, (height - 1) / 2, 0, 0, 0, 0, 0], dtype=np.float64)
    free = np.ones((1, INTRINSICS), bool)
    free[0, 4:] = False
    free[0, 4] = True
    rough = adjust(own, _state(start, own, views), free)
    # The two poses that a small flat board may have are told apart only with a good focal length.
    again = _state(rough.state.intrinsics[0], own, views)
    free[:] = True
    full = adjust(own, again, free)
    free[0, K3] = abs(full.state.intrinsics[0, K3]) > SIGNIFICANT * np.sqrt(full.covariance[0, K3, K3])
    if free.all():
        return full, free[0]
    held = np.where(free, full.state.intrinsics, 0.0)
    return adjust(own, replace(full.state, intrinsics=held), free), free[0]
