"""Where the cameras of a rendered scene stand, and target cameras between them."""

from __future__ import annotations

import numpy as np

from streamsvc.frames import Camera, Rig, Screen
from streamsvc.frames.rig import Matrix
from streamsvc.scene.base import SceneError

HEAD = np.array([0.0, 0.0, 0.82])
"""World metres: the middle of the person's head at rest. The screen's frame, with the cameras, is at z about 0."""

AIM = np.array([0.0, 0.085, 0.82])
"""World metres: what the cameras converge on, between chin and collar, so head and chest are in view."""

DISTANCE = 0.85
"""Metres from the cameras to `AIM`."""

ANGLES = {1: (0.0,), 2: (-10.0, 10.0), 4: (-20.0, -10.0, 10.0, 20.0)}
"""Degrees around the person for one camera, a pair 20 degrees apart, and that pair with a camera on either side."""

DEPTH_RANGE = (0.52, 2.6)
"""Metres along z of any camera of the arc: from a hand stretched out to the far corner of the room."""


def look_at(centre: Matrix, aim: Matrix) -> tuple[Matrix, Matrix]:
    """Return (R, t) of an upright camera at `centre` that looks at `aim`, both (3,) world metres."""
    z = (aim - centre) / np.linalg.norm(aim - centre)
    x = np.cross([0.0, 1.0, 0.0], z)
    x /= np.linalg.norm(x)
    R = np.stack([x, np.cross(z, x), z])
    return R, -R @ centre


def body_rig(cameras: int, width: int, height: int) -> Rig:
    """Return cameras on a gentle arc around the frame of a screen, converging on the person.

    One camera, a pair 20 degrees apart, or four cameras 40 degrees apart overall, paired with their neighbours. The
    field of view is 0.6 m high at the person for 4:3 pictures. The screen rectangle, 0.64 m x 0.48 m, stands just in
    front of the face (z = 0.72): seen from any eye at z = -0.1..-0.6 it frames exactly the upper body, and what lies
    near its plane keeps its place while the eye moves, so the person is steady and the room behind moves. Raises
    SceneError for other numbers of cameras.
    """
    if cameras not in ANGLES:
        raise SceneError(f"a body is seen by {', '.join(map(str, ANGLES))} cameras, not by {cameras}")
    if not (16 <= width <= 4096 and 16 <= height <= 4096):
        raise SceneError(f"pictures are 16 to 4096 pixels wide and high, not {width}x{height}")
    focal = 1.42 * min(height, width * 0.75)
    K = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    made = []
    for number, angle in enumerate(np.radians(ANGLES[cameras])):
        centre = AIM + DISTANCE * np.array([np.sin(angle), -0.1, -np.cos(angle)])
        R, t = look_at(centre, AIM)
        made.append(Camera(f"cam{number}", width, height, K, np.zeros(5), R, t))
    names = [c.name for c in made]
    pairs = tuple((names[i], names[i + 1]) for i in range(len(names) - 1))
    screen = Screen(np.array([0.0, 0.075, 0.72]), np.array([0.32, 0.0, 0.0]), np.array([0.0, -0.24, 0.0]))
    return Rig(tuple(made), pairs, DEPTH_RANGE, screen)


def between(rig: Rig, a: str, b: str, fraction: float) -> Camera:
    """Return a camera between cameras `a` (0) and `b` (1) of `rig`, called "between", with the size of `a`.

    Centre and intrinsics are interpolated linearly, the rotation along the shortest arc. Raises RigError when the rig
    lacks a camera, SceneError when `fraction` is not in -1..2.
    """
    if not -1.0 <= fraction <= 2.0:
        raise SceneError(f"a camera between two stands at a fraction of -1 to 2 of the way, not {fraction}")
    first, second = rig.camera(a), rig.camera(b).resized(rig.camera(a).width, rig.camera(a).height)
    turn = second.R @ first.R.T
    angle = np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))
    R = first.R
    if angle > 1e-9:
        axis = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
        R = rotation(axis, float(angle) * fraction) @ first.R
    K = (1 - fraction) * first.K + fraction * second.K
    centre = (1 - fraction) * first.centre + fraction * second.centre
    return Camera("between", first.width, first.height, K, np.zeros(5), R, -R @ centre)


def rotation(axis: Matrix, angle: float) -> Matrix:
    """Return the (3, 3) rotation by `angle` radians about `axis` (3,) (Rodrigues' formula)."""
    x, y, z = axis / np.linalg.norm(axis)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * (k @ k), dtype=np.float64)
