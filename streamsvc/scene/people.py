"""The scene "body": a baked person, moving and talking, in a furnished room."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from streamsvc.frames import Camera, Pixels, Rig
from streamsvc.scene.base import Rendering, SceneError, require_pinhole
from streamsvc.scene.body import Body, load_bodies
from streamsvc.scene.raster import project, rasterise
from streamsvc.scene.rigs import body_rig
from streamsvc.scene.room import BACK, CEILING, FLOOR, FRONT, HALF_WIDTH, draw_room
from streamsvc.scene.shade import resolve

ROOMS_KEPT = 16
"""Backgrounds kept, one a camera pose: a rig's cameras and some targets; a moving camera draws its own each time."""


class BodyScene:
    """A person in a room; see `streamsvc.scene.base.Scene`. Safe to render from several threads; releases the GIL.

    `body` is the person and `seed` furnishes the room, for who renders them by other means.
    """

    def __init__(self, identity: int, seed: int) -> None:
        self.body, self.seed = Body(identity, seed), seed
        self._uv = self.body.mesh.uv.astype(np.float32)
        self._rooms: dict[tuple[bytes | int, ...], tuple[Pixels, NDArray[np.float32]]] = {}
        self._lock = threading.Lock()
        self.name = f"body:identity={identity},seed={seed}"

    @property
    def held_out(self) -> bool:
        """Whether this identity is kept out of training."""
        return self.body.held_out

    def rig(self, cameras: int, width: int, height: int) -> Rig:
        """Return 1, 2 or 4 cameras on an arc around the person (`streamsvc.scene.rigs.body_rig`); raises SceneError."""
        return body_rig(cameras, width, height)

    def render(self, camera: Camera, t: float) -> Rendering:
        """Return what `camera` sees at `t` seconds; raises SceneError for distortion or a camera outside the room."""
        require_pinhole(camera)
        x, y, z = camera.centre
        if not (abs(x) < HALF_WIDTH and CEILING < y < FLOOR and FRONT < z < BACK):
            raise SceneError(f"camera {camera.name!r} at {camera.centre.round(2)} stands outside the room")
        back_rgb, back_depth = self._room(camera)
        shape = self.body.shape(float(t))
        height, width = camera.height, camera.width
        fine = camera.resized(2 * width, 2 * height)
        screen = project(shape.vertices, fine.K, fine.R, fine.t)
        mesh, atlas = self.body.mesh, self.body.atlas
        inverse, ids = rasterise(screen, mesh.faces, 2 * height, 2 * width)
        rgb = np.empty((height, width, 3), np.uint8)
        depth = np.empty((height, width), np.float32)
        alpha = np.empty((height, width), np.float32)
        resolve(
            ids, inverse, screen, mesh.faces, mesh.face_uv, self._uv, shape.light, atlas.texels, atlas.start,
            atlas.size, back_rgb, back_depth, rgb, depth, alpha,
        )  # fmt: skip
        return Rendering(rgb, depth, alpha)

    def _room(self, camera: Camera) -> tuple[Pixels, NDArray[np.float32]]:
        key = (camera.width, camera.height, camera.K.tobytes(), camera.R.tobytes(), camera.t.tobytes())
        with self._lock:
            if key in self._rooms:
                self._rooms[key] = self._rooms.pop(key)  # last used, last dropped
                return self._rooms[key]
        room = draw_room(camera, self.seed)
        with self._lock:
            while len(self._rooms) >= ROOMS_KEPT:
                self._rooms.pop(next(iter(self._rooms)))
            self._rooms[key] = room
        return room


def open_body(options: str) -> BodyScene:
    """Open "", "SEED" or "identity=I,seed=S"; a bare seed also picks the identity. Raises SceneError."""
    count = len(load_bodies()["names"])
    values = {"seed": 0, "identity": -1}
    for item in filter(None, options.split(",")):
        key, _, text = item.rpartition("=")
        key = key.strip() or "seed"
        if key not in values or not text.strip().isdecimal() or len(text.strip()) > 9:
            raise SceneError(f"body:{options}: want body, body:SEED or body:identity=I,seed=S (I: 0 to {count - 1})")
        values[key] = int(text)
    identity = values["identity"] if values["identity"] >= 0 else values["seed"] % count
    return BodyScene(identity, values["seed"])
