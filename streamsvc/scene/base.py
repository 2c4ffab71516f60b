"""What a scene is: something that can be seen by any calibrated camera at any instant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamsvc.errors import StreamsvcError
from streamsvc.frames import Camera, Pixels, Rig


class SceneError(StreamsvcError):
    """A scene, a camera or an asset that can't be had; the message says what exists."""


@dataclass(frozen=True, slots=True, eq=False)
class Rendering:
    """What one camera sees at one instant.

    `rgb` (H, W, 3) uint8; `depth` (H, W) float32 metres along the camera's z, of the background too, NaN where
    unknown; `alpha` (H, W) float32 0..1, how much of the pixel the person covers.
    """

    rgb: Pixels
    depth: NDArray[np.float32]
    alpha: NDArray[np.float32]


class Scene(Protocol):
    """A person or a thing in front of cameras: same camera and time, same picture, in any order."""

    @property
    def name(self) -> str:
        """The specification that `open_scene` turns into this scene."""

    def rig(self, cameras: int, width: int, height: int) -> Rig:
        """Return calibrated cameras around the scene, with pairs, depth range and screen; raises SceneError."""

    def render(self, camera: Camera, t: float) -> Rendering:
        """Return what `camera` sees `t` seconds after the scene began; raises SceneError for one it can't."""


def require_pinhole(camera: Camera) -> None:
    """Raise SceneError unless `camera` is free of distortion, as every rendered camera is."""
    if np.abs(camera.dist).max(initial=0.0) > 0:
        raise SceneError(f"camera {camera.name!r} has lens distortion; scenes are rendered for zero 'dist' only")
