"""Cameras that no longer stand quite as they were calibrated, turned back by what their own pictures show.

A camera that is a fifth of a degree off its calibration moves its picture by two pixels at 640x480, and matches are
sought on the wrong rows. From matches that were found without believing in the calibration (`health_matches`), each
camera's small rotation is the most probable one: that by which they miss their epipolar lines by as little as can be,
under a prior that calibrations are right to within `LIKELY_DEGREES` (linear least squares, Huber's weights). Of an
error between two cameras each gets half. A turn about the axis across the baseline and the view only makes everything
nearer or farther, which no pair can see, so it stays as it was told; so do the cameras' places, of which a millimetre
is worth less than these pixels.

Evidence of a pair counts less with every later look, so that a camera that somebody pushes is found again. A
correction is only changed when that moves what is matched by more than `STEP_PX`.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from streamsvc.frames import Camera, Rig
from streamsvc.frames.rig import Matrix
from streamsvc.view.health_matches import Axes, Triangulated

LIKELY_DEGREES = 0.5
"""Standard deviation of a camera's rotation about each axis, as long as its pictures say nothing."""

MATCH_PX = 0.4
"""Standard deviation of a match across the epipolar line, in pixels of a picture 320 wide."""

FORGETS = 0.7
"""What earlier evidence of a pair is worth at the next look."""

STEP_PX = 0.12
"""Change across the epipolar lines, root mean square over a pair's matches in pixels of a picture 320 wide, from which
a correction is taken over."""

MOST_DEGREES = 3.0
"""A camera that is farther off than this isn't turned: that is another rig."""

_PASSES = 4


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What matches say of the rotations of a pair's cameras, `left` and `right` by name: the normal equations of the
    six components (world axes, radians, left first), `normal` (6, 6) and `target` (6,), in units of `MATCH_PX`; and how
    many matches they are the sum of."""

    left: str
    right: str
    normal: Matrix
    target: Matrix
    matches: float

    def and_before(self, earlier: Evidence) -> Evidence:
        """Return this evidence with what is still worth something of the `earlier`."""
        return replace(
            self,
            normal=self.normal + FORGETS * earlier.normal,
            target=self.target + FORGETS * earlier.target,
            matches=self.matches + FORGETS * earlier.matches,
        )

    def moved_px(self, change: Matrix) -> float:
        """Return by how much the `change` (6,) of the rotations moves the matches, root mean square in pixels."""
        return MATCH_PX * math.sqrt(float(change @ self.normal @ change) / self.matches)


def weigh(axes: Axes, found: Triangulated, focal: float) -> Evidence:
    """Return the evidence of matches that agree with each other; `focal` is that of the pictures they were found in."""
    x, y, miss = found.x, found.y, -found.across
    # By how much a turn about the baseline, and one about the view, move a direction across the epipolar line.
    moved = np.stack([-(1 + y * y), x], 1) @ axes.rotation[[0, 2]]
    terms = np.concatenate([moved, -moved], 1) * (focal / MATCH_PX)
    miss = miss * (focal / MATCH_PX)
    prior = np.eye(6) / np.radians(LIKELY_DEGREES) ** 2
    weights = np.ones(len(miss))
    for _ in range(_PASSES):
        weighted = terms * weights[:, None]
        normal, target = weighted.T @ terms, weighted.T @ miss
        off = np.abs(miss - terms @ np.linalg.solve(normal + prior, target))
        weights = 1 / np.maximum(off, 1)
    return Evidence(axes.left.name, axes.right.name, normal, target, float(weights.sum()))


def turned(camera: Camera, vector: Matrix) -> Camera:
    """Return `camera` with what it sees turned by the rotation `vector` (3,) (world axes, radians) about its centre."""
    angle = float(np.linalg.norm(vector))
    if angle == 0:
        return camera
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    back = np.eye(3) - np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
    R = camera.R @ back
    return replace(camera, R=R, t=-R @ camera.centre)


class Alignment:
    """A rig's cameras as their pictures show them, from evidence as it comes. Safe to call from several threads."""

    def __init__(self, rig: Rig) -> None:
        self._told = rig
        self._lock = threading.Lock()
        self._numbers = {camera.name: i for i, camera in enumerate(rig.cameras)}
        self._evidence: dict[tuple[str, str], Evidence] = {}
        self._vectors = np.zeros((len(rig.cameras), 3))
        self._cameras = {camera.name: camera for camera in rig.cameras}

    def camera(self, name: str) -> Camera:
        """Return the named camera, turned as is known by now."""
        return self._cameras[name]

    @property
    def degrees(self) -> dict[str, float]:
        """By how much each camera is turned now."""
        angles = np.degrees(np.linalg.norm(self._vectors, axis=1))
        return {c.name: float(a) for c, a in zip(self._told.cameras, angles, strict=True)}

    def take(self, seen: Evidence) -> None:
        """Take in what a pair showed."""
        with self._lock:
            key = seen.left, seen.right
            if (earlier := self._evidence.get(key)) is not None:
                seen = seen.and_before(earlier)
            self._evidence[key] = seen
            vectors = self._solved()
            if np.degrees(np.linalg.norm(vectors, axis=1)).max() > MOST_DEGREES:
                return
            change = vectors - self._vectors
            if max(e.moved_px(change[self._rows(e)].ravel()) for e in self._evidence.values()) > STEP_PX:
                self._vectors = vectors
                self._cameras = {c.name: turned(c, v) for c, v in zip(self._told.cameras, vectors, strict=True)}

    def _rows(self, seen: Evidence) -> list[int]:
        return [self._numbers[seen.left], self._numbers[seen.right]]

    def _solved(self) -> NDArray[np.float64]:
        """The most probable rotation of every camera, (n, 3)."""
        normal = np.eye(self._vectors.size) / np.radians(LIKELY_DEGREES) ** 2
        target = np.zeros(self._vectors.size)
        for seen in self._evidence.values():
            at = np.concatenate([3 * row + np.arange(3) for row in self._rows(seen)])
            normal[np.ix_(at, at)] += seen.normal
            target[at] += seen.target
        return np.linalg.solve(normal, target).reshape(-1, 3)
