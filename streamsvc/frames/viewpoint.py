"""Where the viewer's eyes are, and the off-axis camera that a window seen from there amounts to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streamsvc.frames.rig import Camera, Matrix, Rig, Screen


@dataclass(frozen=True, slots=True)
class Viewpoint:
    """One or two eye positions in world metres of the *shown* person's rig (z negative: in front of the screen).

    `time_us` is the sender's own clock; the newest wins.
    """

    time_us: int
    eyes: tuple[tuple[float, float, float], ...]


def off_axis_camera(screen: Screen, eye: Matrix, width: int, height: int) -> Camera:
    """Return the camera at `eye` whose picture is exactly the rectangle `screen` (generalised perspective
    projection, Kooima 2009).

    `eye` is (3,) world metres, off the screen's plane and on the viewer's side; it is kept at least 5 cm away.
    """
    half_w, half_h = float(np.linalg.norm(screen.right)), float(np.linalg.norm(screen.up))
    x = screen.right / half_w
    y = -(screen.up - (screen.up @ x) * x)
    y /= np.linalg.norm(y)
    z = np.cross(x, y)
    R = np.stack([x, y, z])
    to_screen = R @ (screen.centre - eye)
    distance = max(float(to_screen[2]), 0.05)
    eye = eye + R.T @ np.array([0, 0, to_screen[2] - distance])
    fx, fy = width * distance / (2 * half_w), height * distance / (2 * half_h)
    cx = (width - 1) / 2 - fx * to_screen[0] / distance
    cy = (height - 1) / 2 - fy * to_screen[1] / distance
    K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    return Camera("view", width, height, K, np.zeros(5), R, -R @ eye)


def default_screen(rig: Rig, subject_distance: float, aspect: float) -> Screen:
    """Return a screen for a rig that has none: the plane through the subject, facing the mean camera.

    `subject_distance` is metres from the mean camera centre along the mean optical axis; `aspect` is width / height
    of the output. The rectangle is as tall as the first camera's field of view there.
    """
    axis = np.mean([c.R[2] for c in rig.cameras], axis=0)
    axis /= np.linalg.norm(axis)
    # A camera may hang upside down.
    upright = [c.R[0] for c in rig.cameras if c.R[0] @ rig.cameras[0].R[0] > 0]
    right = np.mean(upright, axis=0)
    right -= (right @ axis) * axis
    right /= np.linalg.norm(right)
    centre = np.mean([c.centre for c in rig.cameras], axis=0) + subject_distance * axis
    half_h = subject_distance * rig.cameras[0].height / (2 * rig.cameras[0].K[1, 1])
    return Screen(centre, right * half_h * aspect, -np.cross(axis, right) * half_h)
