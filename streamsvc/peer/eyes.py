"""Where a headless viewer's eye is: a path through the space in front of the window. Pure."""

from __future__ import annotations

import math

import numpy as np

from streamsvc.errors import StreamsvcError
from streamsvc.frames import Screen

Eye = tuple[float, float, float]


class EyeError(StreamsvcError):
    """An eye path that isn't known."""


def eye_at(path: str, t: float, screen: Screen | None) -> Eye | None:
    """Return the eye at `t` seconds; None leaves it to the service.

    `path` is "still", "sway" (a slow figure of eight, 12 cm sideways and 5 cm up and down, twelve seconds), or "x,y,z"
    in world metres. The middle of "sway" is in front of the window, at the distance of the cameras.
    Raises EyeError.
    """
    if path == "still":
        return None
    if path == "sway":
        if screen is None:
            return None
        right = screen.right / np.linalg.norm(screen.right)
        up = screen.up / np.linalg.norm(screen.up)
        towards_viewer = np.cross(right, up)
        distance = max(0.3, float(screen.centre @ -towards_viewer)) if screen.centre[2] > 0.3 else 0.6
        phase = 2 * math.pi * t / 12
        eye = screen.centre + distance * towards_viewer
        eye = eye + 0.12 * math.sin(phase) * right + 0.05 * math.sin(2 * phase) * up
        return float(eye[0]), float(eye[1]), float(eye[2])
    try:
        x, y, z = (float(v) for v in path.split(","))
    except ValueError:
        raise EyeError(f"the eye must be still, sway or x,y,z in metres, got {path!r}") from None
    if not all(map(math.isfinite, (x, y, z))):
        raise EyeError("the eye must be finite")
    return x, y, z
