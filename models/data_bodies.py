"""Training data B: rendered people, rectified as a call rectifies them, with exact disparity and matte.

A person of the baked identities that aren't held out, at a random instant of its movement, is seen by two cameras of a
random rig: 3 to 35 degrees apart, near and far, high and low, of unequal height and aim. Half of the time the room
behind gives way to one of the layered worlds of `data_layers.py`, so that no wallpaper is learned by heart.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from data_layers import Pair, Plane, Rng, World, draw_up, layered_pair, sensed
from numpy.typing import NDArray

from streamsvc.frames import Camera
from streamsvc.scene.body import load_bodies
from streamsvc.scene.people import BodyScene
from streamsvc.scene.raster import project
from streamsvc.scene.rigs import AIM, look_at
from streamsvc.view.errors import ViewError
from streamsvc.view.rectify import RectifiedPair, Side, rectify_pair

SCENES_KEPT = 6
INSTANTS_A_SCENE = 60


@dataclass(frozen=True, slots=True, eq=False)
class Instant:
    """A person `t` seconds after their scene began, two cameras rectified, and the world behind (None: their room)."""

    scene: BodyScene
    t: float
    pair: RectifiedPair
    behind: World | None


class People:
    """Opens a few people at a time and draws up instants of them."""

    def __init__(self, held_out: bool, photos: list[NDArray[np.uint8]]) -> None:
        self._ids = [i for i, h in enumerate(load_bodies()["held_out"]) if bool(h) == held_out]
        self._photos = photos
        self._open: list[BodyScene] = []
        self._drawn = 0

    def draw_up(self, rng: Rng) -> Instant:
        """Return an instant for pictures of 160 to 320 pixels width."""
        width = int(rng.integers(160, 321))
        if len(self._open) < SCENES_KEPT or self._drawn % INSTANTS_A_SCENE == 0:
            scene = BodyScene(int(rng.choice(self._ids)), int(rng.integers(1_000_000, 2_000_000)))
            self._open = [*self._open[-SCENES_KEPT + 1 :], scene]
        self._drawn += 1
        scene = self._open[int(rng.integers(len(self._open)))]
        while True:
            cameras, depth_range = _rig(rng, width)
            try:
                pair = rectify_pair(*cameras, depth_range)
                break
            except ViewError:
                continue
        t = float(rng.uniform(0, 60))
        behind = None
        if rng.random() < 0.5:
            grid = pair.left.grid
            behind = draw_up(rng, (grid.width, grid.height), max(_reach(scene, t, pair), 4.0), self._photos)
        return Instant(scene, t, pair, behind)


def _reach(scene: BodyScene, t: float, pair: RectifiedPair) -> float:
    """About the least disparity of the person: that of a quarter of the vertices in the left picture is less."""
    grid = pair.left.grid
    seen = project(scene.body.shape(t).vertices, grid.K, grid.R, grid.t)
    there = (seen[:, 0] > 0) & (seen[:, 0] < grid.width) & (seen[:, 1] > 0) & (seen[:, 1] < grid.height)
    return float(np.percentile(seen[there, 2], 25)) * pair.fb - pair.shift if there.any() else 16.0


def body_pair(rng: Rng, instant: Instant) -> Pair:
    """Return the pair of pictures of an instant as two cameras and a codec would hand them on."""
    pair = instant.pair
    sides = [seen_by(instant.scene, side, instant.t, pair) for side in (pair.left, pair.right)]
    pictures, disparity, people = ([s[k] for s in sides] for k in range(3))
    if instant.behind is not None:
        behind = layered_pair(rng, instant.behind)
        worlds = ((behind.left, behind.left_disparity), (behind.right, behind.right_disparity))
        for i, (picture, far) in enumerate(worlds):
            alpha = np.where(np.isnan(disparity[i]) | (disparity[i] >= far), people[i], np.float32(0))
            mixed = alpha[:, :, None] * pictures[i].astype(np.float32) + (1 - alpha[:, :, None]) * picture
            pictures[i] = mixed.clip(0, 255).astype(np.uint8)
            disparity[i] = np.where(alpha > 0.5, disparity[i], np.where(np.isnan(disparity[i]), np.nan, far))
            people[i] = alpha
    pictures = sensed(rng, pictures)
    for picture, side in zip(pictures, (pair.left, pair.right), strict=True):
        picture[~side.inside] = 0
    return Pair(pictures[0], pictures[1], disparity[0], disparity[1], people[0], people[1])


def _rig(rng: Rng, width: int) -> tuple[tuple[Camera, Camera], tuple[float, float]]:
    height = width * 3 // 4
    focal = height * rng.uniform(1.0, 1.7)
    K = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    distance = rng.uniform(0.65, 1.15)
    middle = rng.uniform(-25, 25)
    # Half of the pairs stand as far apart as those that a person is seen by from all sides.
    apart = float(np.exp(rng.uniform(np.log(3), np.log(35))) if rng.random() < 0.5 else rng.uniform(12, 30))
    up = rng.uniform(-0.3, 0.15)
    cameras = []
    for name, angle in (("a", middle - apart / 2), ("b", middle + apart / 2)):
        a = np.radians(angle)
        centre = AIM + distance * np.array([np.sin(a), up + rng.normal(0, 0.01), -np.cos(a)])
        aim = AIM + rng.normal(0, 0.02, 3)
        if rng.random() < 0.3:  # nearly parallel axes
            aim = aim + 0.7 * (centre - AIM) * np.array([1, 0, 0])
        R, t = look_at(centre, aim)
        cameras.append(Camera(name, width, height, K, np.zeros(5), R, t))
    near = max(distance - rng.uniform(0.25, 0.45), 0.25)
    return (cameras[0], cameras[1]), (near, distance + rng.uniform(0.4, 2.0))


def seen_by(scene: BodyScene, side: Side, t: float, pair: RectifiedPair) -> tuple[NDArray[np.uint8], Plane, Plane]:
    """Picture, disparity and matte of one side on its grid, disparity NaN outside the picture."""
    seen = scene.render(side.source, t)
    picture = side.rectify(seen.rgb)
    x, y = np.round(side.map_x).astype(np.int32), np.round(side.map_y).astype(np.int32)
    inside = side.inside & (x >= 0) & (y >= 0) & (x < side.source.width) & (y < side.source.height)
    depth = seen.depth[y.clip(0, side.source.height - 1), x.clip(0, side.source.width - 1)]
    # Depth along the source's z to depth along the grid's z, by the grid's own rays.
    rotation = side.source.R @ side.grid.R.T
    rays = np.dstack([side.rays, np.ones(side.rays.shape[:2], np.float32)])
    along = rays @ rotation[2].astype(np.float32)
    inverse = along / depth
    disparity = np.where(inside & (depth > 0), inverse * np.float32(pair.fb) - np.float32(pair.shift), np.nan)
    matte = cv2.remap(seen.alpha, side.map_x, side.map_y, cv2.INTER_LINEAR, borderValue=0)
    return picture, disparity.astype(np.float32), np.asarray(matte, np.float32)
