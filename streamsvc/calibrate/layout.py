"""The rig out of a calibration: the world's axes, the pairs to match, and what can be said of how the cameras stand.

World: the origin is the middle of the optical centres, z the mean of the optical axes, x the mean of the cameras' x
axes made perpendicular to z, y down. One camera alone is the world's origin.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streamsvc.calibrate.errors import CalibrationError
from streamsvc.calibrate.projection import Array, angle_between, camera_matrix
from streamsvc.calibrate.solve import Calibration
from streamsvc.frames import Camera

MAX_PAIR_ANGLE = 60.0
MAX_TILT = 20.0
"""A baseline steeper than this, in degrees, is not horizontal: such a pair is taken only where there is no other."""


def world_frame(R: Array, t: Array) -> tuple[Array, Array]:
    """Return the rotation (3, 3) and origin (3,) of the world above in the axes that `R` (C, 3, 3), `t` (C, 3) start
    from; x_world = rotation (x - origin)."""
    if len(R) == 1:
        return R[0], np.asarray(-R[0].T @ t[0], dtype=np.float64)
    centres = -np.einsum("cji,cj->ci", R, t)
    z, x = R[:, 2].mean(0), R[:, 0].mean(0)
    if np.linalg.norm(z) < 1e-3 or np.linalg.norm(np.cross(z, x)) < 1e-3:
        return R[0], np.asarray(centres.mean(0))  # a ring of cameras has no mean direction
    z = z / np.linalg.norm(z)
    x = x - (x @ z) * z
    x = x / np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z]), np.asarray(centres.mean(0))


def cameras_of(result: Calibration) -> tuple[Camera, ...]:
    """Return the cameras in world axes, in the order of the calibration."""
    state = result.state
    turn, origin = world_frame(state.R, state.t)
    cameras = []
    for c, (name, (width, height)) in enumerate(zip(result.names, result.sizes, strict=True)):
        R = state.R[c] @ turn.T
        R = R @ np.linalg.inv(np.linalg.cholesky(R.T @ R)).T  # a rotation to the last digit
        t = state.t[c] + state.R[c] @ origin
        K = camera_matrix(state.intrinsics[c])
        cameras.append(Camera(name, width, height, K, state.intrinsics[c, 4:9].copy(), R, t))
    return tuple(cameras)


def board_corners(result: Calibration) -> dict[str, Array]:
    """Return where the board's four outer points were in world metres (4, 3), by view that was used."""
    turn, origin = world_frame(result.state.R, result.state.t)
    columns, rows, square = result.board.columns - 1, result.board.rows - 1, result.board.square
    own = np.array([[0, 0, 0], [columns, 0, 0], [columns, rows, 0], [0, rows, 0]]) * square
    used = sorted({o.view for o in result.observations})
    return {
        result.views[v]: (own @ result.state.view_rotation[v].T + result.state.view_shift[v] - origin) @ turn.T
        for v in used
    }


def steepness(a: Camera, b: Camera) -> float:
    """Return the angle in degrees of the baseline from the mean x axis of two cameras, 0 to 90."""
    angle = angle_between(b.centre - a.centre, a.R[0] + b.R[0])
    return min(angle, 180 - angle)


def optical_angle(a: Camera, b: Camera) -> float:
    """Return the angle in degrees between two optical axes."""
    return angle_between(a.R[2], b.R[2])


def propose_pairs(cameras: Sequence[Camera]) -> tuple[tuple[str, str], ...]:
    """Return pairs to match: near neighbours, so that all cameras hang together by the shortest horizontal baselines.

    A minimum spanning tree (Kruskal 1956), but a steep baseline is taken only where a camera would be left alone. In a
    pair the left camera comes first, and pairs run from left to right.
    """
    edges = []
    for i, first in enumerate(cameras):
        for j, second in enumerate(cameras[:i]):
            length = float(np.linalg.norm(second.centre - first.centre))
            if length >= 1e-3 and optical_angle(first, second) <= MAX_PAIR_ANGLE:
                edges.append((steepness(first, second) > MAX_TILT, length, j, i))
    chosen: list[tuple[int, int]] = []
    tree = list(range(len(cameras)))
    for steep, _, i, j in sorted(edges):
        alone = not all(any(k in pair for pair in chosen) for k in (i, j))
        if tree[i] != tree[j] and (alone or not steep):
            chosen.append((i, j))
            tree = [tree[i] if t == tree[j] else t for t in tree]
    turn, _ = world_frame(np.stack([c.R for c in cameras]), np.stack([c.t for c in cameras]))
    x = [float(turn[0] @ c.centre) for c in cameras]
    ordered = sorted((tuple(sorted(p, key=lambda i: x[i])) for p in chosen), key=lambda p: x[p[0]] + x[p[1]])
    return tuple((cameras[a].name, cameras[b].name) for a, b in ordered)


def parse_pairs(texts: Sequence[str], names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the pairs given as `a,b`; raises CalibrationError."""
    pairs = []
    for text in texts:
        a, comma, b = text.partition(",")
        if not comma or a == b or a not in names or b not in names:
            raise CalibrationError(f"--pairs must be A,B, two different ones of {', '.join(names)}, got {text!r}")
        pairs.append((a, b))
    return tuple(pairs)


def parse_depth(text: str) -> tuple[float, float]:
    """Return the depth range given as NEAR:FAR in metres; raises CalibrationError."""
    near, _, far = text.partition(":")
    try:
        depth = float(near), float(far)
    except ValueError:
        raise CalibrationError(f"--depth must be NEAR:FAR in metres, got {text!r}") from None
    if not 0 < depth[0] < depth[1] < np.inf:
        raise CalibrationError(f"--depth must be NEAR:FAR with 0 < NEAR < FAR, in metres, got {text!r}")
    return depth
