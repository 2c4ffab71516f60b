"""Bundle adjustment: intrinsics and poses of all cameras and the pose of the board in every view, together.

Levenberg-Marquardt (Marquardt 1963) on Huber's robust loss, with the board poses eliminated by the Schur complement
(Triggs et al. 2000, section 6), so that a step solves only for the cameras: 15 numbers each. Camera 0 stays where it
is; that fixes the gauge. The scale is the board's. Everything is float64; the same input gives the same output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from streamsvc.calibrate.projection import INTRINSICS, Array, project, project_with_jacobian, rotation, skew

CAMERA = INTRINSICS + 6
POSE = 6
MAX_STEPS = 100
HUBER_SIGMAS = 2.5
"""Residuals larger than this many robust standard deviations count linearly, not squared."""

MIN_HUBER_PX = 0.25
MIN_NOISE_PX = 0.05
"""Found corners are not trusted beyond this standard deviation a coordinate when uncertainties are stated."""

CONVERGED = 1e-10
UNDETERMINED = 1e-13
"""Eigenvalue of the scaled normal matrix under which a combination of parameters is not determined at all."""


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """The board as camera number `camera` saw it in view number `view`: `board` (n, 3) metres in the board's own
    axes and the `pixels` (n, 2) where those points were found."""

    camera: int
    view: int
    board: Array
    pixels: Array


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """What is estimated, for C cameras and V views: `intrinsics` (C, 9); `R` (C, 3, 3) and `t` (C, 3) take world
    metres to camera metres; `view_rotation` (V, 3, 3) and `view_shift` (V, 3) take board metres to world metres."""

    intrinsics: Array
    R: Array
    t: Array
    view_rotation: Array
    view_shift: Array

    def points(self, seen: Observation) -> Array:
        """Return the board points of an observation in camera metres, (n, 3)."""
        world = seen.board @ self.view_rotation[seen.view].T + self.view_shift[seen.view]
        return np.asarray(world @ self.R[seen.camera].T + self.t[seen.camera], dtype=np.float64)

    def residuals(self, seen: Observation) -> Array:
        """Return projected minus found pixels of an observation, (n, 2)."""
        return project(self.intrinsics[seen.camera], self.points(seen)) - seen.pixels


@dataclass(frozen=True, slots=True, eq=False)
class Adjusted:
    """The optimum, `rms` in pixels (root mean square distance, not robust), and the `covariance` (C, 15, 15) of each
    camera: intrinsics, rotation vector in radians, translation in metres. It's infinite where undetermined, zero where
    held fixed."""

    state: State
    rms: float
    covariance: Array
    steps: int


def rms(residuals: Array) -> float:
    """Return the root mean square length of (n, 2) residuals."""
    return float(np.sqrt(np.mean(np.sum(residuals * residuals, -1)))) if len(residuals) else 0.0


def _huber(residuals: Array, limit: float) -> tuple[float, Array]:
    """The loss, and the weight of each point's squared residual."""
    length = np.linalg.norm(residuals, axis=1)
    loss = np.where(length <= limit, length * length, 2 * limit * length - limit * limit)
    return float(loss.sum()), np.minimum(1.0, limit / np.maximum(length, 1e-12))


def _limit(state: State, observations: Sequence[Observation]) -> float:
    length = np.concatenate([np.linalg.norm(state.residuals(o), axis=1) for o in observations])
    # The median length of a two-dimensional normal error is 1.1774 standard deviations.
    return max(HUBER_SIGMAS * float(np.median(length)) / 1.1774, MIN_HUBER_PX)


def _loss(state: State, observations: Sequence[Observation], limit: float) -> float:
    return sum(_huber(state.residuals(o), limit)[0] for o in observations)


@dataclass(frozen=True, slots=True, eq=False)
class _Normal:
    """The normal equations in blocks: `cameras` (15C, 15C), `views` (V, 6, 6), `mixed` (V, 15C, 6)."""

    cameras: Array
    views: Array
    mixed: Array
    camera_gradient: Array
    view_gradient: Array

    def reduced(self, damping: float) -> tuple[Array, Array, Array]:
        """The Schur complement (15C, 15C), its right side, and the inverses of the damped view blocks."""
        views = self.views + damping * _diagonal(self.views) + 1e-12 * np.eye(POSE)
        inverse = np.linalg.inv(views)
        carried = self.mixed @ inverse
        cameras = self.cameras + damping * np.diag(np.diag(self.cameras))
        left = cameras - np.einsum("vij,vkj->ik", carried, self.mixed)
        right = self.camera_gradient - np.einsum("vij,vj->i", carried, self.view_gradient)
        return np.asarray(left), np.asarray(right), np.asarray(inverse, dtype=np.float64)


def _diagonal(blocks: Array) -> Array:
    return np.asarray(blocks * np.eye(blocks.shape[-1]), dtype=np.float64)


def _normal(state: State, observations: Sequence[Observation], limit: float) -> _Normal:
    size, views = CAMERA * len(state.intrinsics), len(state.view_shift)
    cameras, mixed = np.zeros((size, size)), np.zeros((views, size, POSE))
    blocks, camera_gradient, view_gradient = np.zeros((views, POSE, POSE)), np.zeros(size), np.zeros((views, POSE))
    for seen in observations:
        R = state.R[seen.camera]
        turned = seen.board @ state.view_rotation[seen.view].T
        world = (turned + state.view_shift[seen.view]) @ R.T
        pixels, by_intrinsics, by_point = project_with_jacobian(
            state.intrinsics[seen.camera], world + state.t[seen.camera]
        )
        residuals = pixels - seen.pixels
        weight = np.sqrt(_huber(residuals, limit)[1])[:, None]
        in_world = by_point @ R
        jacobian = np.concatenate(
            [by_intrinsics, -by_point @ skew(world), by_point, -in_world @ skew(turned), in_world], axis=2
        ).reshape(-1, CAMERA + POSE) * np.repeat(weight, 2, 0)
        error = (residuals * weight).reshape(-1)
        square, gradient = jacobian.T @ jacobian, jacobian.T @ error
        at = slice(CAMERA * seen.camera, CAMERA * (seen.camera + 1))
        cameras[at, at] += square[:CAMERA, :CAMERA]
        mixed[seen.view, at] += square[:CAMERA, CAMERA:]
        blocks[seen.view] += square[CAMERA:, CAMERA:]
        camera_gradient[at] += gradient[:CAMERA]
        view_gradient[seen.view] += gradient[CAMERA:]
    return _Normal(cameras, blocks, mixed, camera_gradient, view_gradient)


def _moved(state: State, cameras: Array, views: Array) -> State:
    by_camera = cameras.reshape(-1, CAMERA)
    return State(
        state.intrinsics + by_camera[:, :INTRINSICS],
        np.stack([rotation(d[INTRINSICS : INTRINSICS + 3]) @ R for d, R in zip(by_camera, state.R, strict=True)]),
        state.t + by_camera[:, INTRINSICS + 3 :],
        np.stack([rotation(d[:3]) @ R for d, R in zip(views, state.view_rotation, strict=True)]),
        state.view_shift + views[:, 3:],
    )


def _covariance(state: State, observations: Sequence[Observation], limit: float, free: NDArray[np.bool_]) -> Array:
    """Covariance of each camera's parameters with the board poses marginalised out."""
    left, _, _ = _normal(state, observations, limit).reduced(0.0)
    left = left[np.ix_(free, free)]
    points = sum(len(o.pixels) for o in observations)
    spare = max(2 * points - int(free.sum()) - POSE * len({o.view for o in observations}), 1)
    variance = max(_loss(state, observations, limit) / spare, MIN_NOISE_PX**2)
    scale = 1 / np.sqrt(np.maximum(np.diag(left), 1e-300))
    values, vectors = np.linalg.eigh(left * np.outer(scale, scale))
    inverse = (vectors / np.maximum(values, UNDETERMINED)) @ vectors.T * np.outer(scale, scale)
    full = np.zeros((free.size, free.size))
    full[np.ix_(free, free)] = variance * inverse
    cameras = len(state.intrinsics)
    blocks = full.reshape(cameras, CAMERA, cameras, CAMERA)[np.arange(cameras), :, np.arange(cameras)]
    if values.min() < UNDETERMINED:
        weak = np.abs(vectors[:, values < UNDETERMINED]).max(1) > 1e-3
        lost = np.zeros(free.size, bool)
        lost[np.flatnonzero(free)[weak]] = True
        for block, gone in zip(blocks, lost.reshape(cameras, CAMERA), strict=True):
            block[gone, gone] = np.inf
    return np.asarray(blocks, dtype=np.float64)


def adjust(observations: Sequence[Observation], start: State, free_intrinsics: NDArray[np.bool_]) -> Adjusted:
    """Return the optimum near `start`.

    `free_intrinsics` (C, 9) says which intrinsics are estimated; the others keep their value. Views that no
    observation names stay where they are.
    """
    cameras = len(start.intrinsics)
    free = np.ones((cameras, CAMERA), bool)
    free[:, :INTRINSICS] = free_intrinsics
    free[0, INTRINSICS:] = False
    mask = free.reshape(-1)
    state, limit = start, _limit(start, observations)
    loss, damping, steps = _loss(state, observations, limit), 1e-3, 0
    normal = _normal(state, observations, limit)
    while steps < MAX_STEPS and damping < 1e12:
        steps += 1
        left, right, inverse = normal.reduced(damping)
        move = np.zeros(mask.size)
        try:
            move[mask] = -np.linalg.solve(left[np.ix_(mask, mask)], right[mask])
        except np.linalg.LinAlgError:
            damping *= 10
            continue
        views = -np.einsum("vij,vj->vi", inverse, normal.view_gradient + np.einsum("vij,i->vj", normal.mixed, move))
        moved = _moved(state, move, views)
        found = _loss(moved, observations, limit)
        if not found < loss:
            damping *= 10
            if found - loss <= CONVERGED * loss:  # equal to rounding: this is the bottom
                break
            continue
        gain = loss - found
        state, damping = moved, max(damping / 10, 1e-12)
        tighter = _limit(state, observations)
        if tighter < 0.8 * limit:
            limit, found, gain = tighter, _loss(state, observations, tighter), np.inf
        loss = found
        if gain <= CONVERGED * loss:
            break
        normal = _normal(state, observations, limit)
    residuals = np.concatenate([state.residuals(o) for o in observations])
    return Adjusted(state, rms(residuals), _covariance(state, observations, limit, mask), steps)


def only(state: State, camera: int) -> State:
    """Return the state with one camera alone, in its own axes: what a calibration of that camera starts from."""
    return replace(
        state,
        intrinsics=state.intrinsics[camera : camera + 1],
        R=np.eye(3)[None],
        t=np.zeros((1, 3)),
        view_rotation=state.R[camera] @ state.view_rotation,
        view_shift=state.view_shift @ state.R[camera].T + state.t[camera],
    )
