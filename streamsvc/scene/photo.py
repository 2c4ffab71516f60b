"""The scene "motorcycle": a photographed stereo pair with true disparity, as a two-camera rig.

Middlebury 2014 "Motorcycle" (Scharstein et al., GCPR 2014) at quarter size, as scikit-image 0.16.2 carries it. Its
calibration file (perfect, full size 2964 x 2000): f = 3979.911 px, cx0 = 1244.772, cx1 = 1369.115, cy = 1019.507,
baseline = 193.001 mm, so depth = f B / (disparity + cx1 - cx0), all in pixels of one size.
"""

from __future__ import annotations

import cv2
import numpy as np

from streamsvc.frames import Camera, Rig, Screen
from streamsvc.scene.assets import asset
from streamsvc.scene.base import Rendering, SceneError

WIDTH, HEIGHT = 741, 500
FOCAL, CX_LEFT, CX_RIGHT, CY = 3979.911 / 4, 1244.772 / 4, 1369.115 / 4, 1019.507 / 4
BASELINE = 0.193001
SUBJECT = 2.6
"""Metres to the plane through the motorcycle, where the screen stands."""


class Motorcycle:
    """Two photographs that don't move; see `streamsvc.scene.base.Scene`. The world's origin is midway between the
    cameras. Alpha is one everywhere: the whole photograph is the subject."""

    name = "motorcycle"

    def __init__(self) -> None:
        folder = asset("motorcycle")
        pictures = []
        for side in ("left", "right"):
            path = folder / f"motorcycle_{side}.png"
            picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if picture is None or picture.shape != (HEIGHT, WIDTH, 3):
                raise SceneError(f"{path}: is missing or no {WIDTH}x{HEIGHT} picture; `make assets` fetches it again")
            pictures.append(np.ascontiguousarray(picture[..., ::-1]))
        path = folder / "motorcycle_disparity.npz"
        try:
            with np.load(path) as file:
                disparity = np.asarray(file["arr_0"], np.float32)
        except (OSError, ValueError, KeyError) as e:
            raise SceneError(f"{path}: can't be read ({e}); `make assets` fetches it again") from None
        if disparity.shape != (HEIGHT, WIDTH):
            raise SceneError(f"{path}: holds {disparity.shape}, not the disparity of {WIDTH}x{HEIGHT} pictures")
        self._pictures = pictures
        known = np.isfinite(disparity) & (disparity > 0)
        depth = np.full((HEIGHT, WIDTH), np.nan, np.float32)
        depth[known] = FOCAL * BASELINE / (disparity[known] + CX_RIGHT - CX_LEFT)
        self._depth = depth

    def rig(self, cameras: int, width: int, height: int) -> Rig:
        """Return the two photographs' own cameras for pictures of another size; raises SceneError unless two."""
        if cameras != 2:
            raise SceneError(f"the motorcycle was photographed by 2 cameras, not by {cameras}")
        if not (16 <= width <= 4096 and 16 <= height <= 4096):
            raise SceneError(f"pictures are 16 to 4096 pixels wide and high, not {width}x{height}")
        made = []
        for number, (cx, x) in enumerate(((CX_LEFT, -BASELINE / 2), (CX_RIGHT, BASELINE / 2))):
            K = np.array([[FOCAL, 0, cx], [0, FOCAL, CY], [0, 0, 1]])
            camera = Camera(f"cam{number}", WIDTH, HEIGHT, K, np.zeros(5), np.eye(3), np.array([-x, 0.0, 0.0]))
            made.append(camera.resized(width, height))
        near, far = float(np.nanmin(self._depth)), float(np.nanmax(self._depth))
        # the part of the subject's plane that the left picture shows
        left, right = (-CX_LEFT * SUBJECT / FOCAL - BASELINE / 2, (WIDTH - CX_LEFT) * SUBJECT / FOCAL - BASELINE / 2)
        top, bottom = -CY * SUBJECT / FOCAL, (HEIGHT - CY) * SUBJECT / FOCAL
        screen = Screen(
            np.array([(left + right) / 2, (top + bottom) / 2, SUBJECT]),
            np.array([(right - left) / 2, 0.0, 0.0]),
            np.array([0.0, (top - bottom) / 2, 0.0]),
        )
        return Rig((made[0], made[1]), (("cam0", "cam1"),), (0.95 * near, 1.05 * far), screen)

    def render(self, camera: Camera, t: float) -> Rendering:
        """Return the photograph of `camera`, at its size; depth is the true one for cam0 and NaN for cam1.

        Raises SceneError for any camera that is not one of `rig`'s.
        """
        own = self.rig(2, camera.width, camera.height).cameras
        number = next((i for i, c in enumerate(own) if c.name == camera.name), None)
        if number is None or not all(
            np.allclose(getattr(camera, k), getattr(own[number], k), atol=1e-6) for k in ("K", "dist", "R", "t")
        ):
            raise SceneError("the motorcycle exists only as photographed by its own cameras cam0 and cam1")
        size = (camera.width, camera.height)
        shrinks = camera.width <= WIDTH
        rgb = cv2.resize(self._pictures[number], size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        depth = np.full((camera.height, camera.width), np.nan, np.float32)
        if number == 0:
            depth[:] = cv2.resize(self._depth, size, interpolation=cv2.INTER_NEAREST_EXACT)
        return Rendering(np.asarray(rgb, np.uint8), depth, np.ones_like(depth))
