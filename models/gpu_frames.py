"""What the GPU path is checked and timed on: four cameras that see a rendered person, a pair of them showing two eyes'
views with its two neighbours' help."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch

from streamsvc.budget.slices import run_to_end
from streamsvc.frames import Camera, Pixels
from streamsvc.scene import between, open_scene
from streamsvc.view.align import turned
from streamsvc.view.compose import compose
from streamsvc.view.fuse import fuse
from streamsvc.view.geometry import Source
from streamsvc.view.learned import learned_sources
from streamsvc.view.maps import PairMaps, fade_per_m
from streamsvc.view.net.geometry import NetGeometry
from streamsvc.view.net.pairs import MAX_DISPARITY
from streamsvc.view.rectify import RectifiedPair, pixel_rays
from streamsvc.view.rungs import Level

if TYPE_CHECKING:
    from streamsvc.view.gpu.frame import FramePath

RELATIVE_TOLERANCE = 0.02
"""Relative jump of inverse depth that is one surface on a grid of 512; coarser grids step further."""


@dataclass(frozen=True)
class Size:
    """A rung's sizes, sides of squares in pixels: of the pictures, of the net's input at most, and of each view."""

    name: str
    picture: int
    net: int
    output: int


SIZES = (Size("VGA", 512, 208, 512), Size("1K", 1024, 512, 1024), Size("2K", 2048, 1024, 2048))
SMALL = (Size("small", 40, 32, 32),)

PAIR, HELPING = ("cam1", "cam2"), (("cam0", "cam1"), ("cam2", "cam3"))


def synchronize(device: str) -> None:
    """Wait for the GPU, where there is one."""
    if device == "cuda":
        torch.cuda.synchronize()


class Scene:
    """Four cameras around a person and two eyes between the inner two, rendered once at up to 1024 a side; larger
    pictures are enlarged from that."""

    def __init__(self, side: int) -> None:
        body = open_scene("body")
        side = min(side, 1024)
        self.rig = body.rig(4, side, side)
        self._seen = {camera.name: body.render(camera, 0.5) for camera in self.rig.cameras}

    def cameras(self, side: int) -> dict[str, Camera]:
        """The cameras for pictures of `side`."""
        return {camera.name: camera.resized(side, side) for camera in self.rig.cameras}

    def pictures(self, side: int) -> dict[str, Pixels]:
        """What they see."""
        return {name: np.asarray(cv2.resize(seen.rgb, (side, side)), np.uint8) for name, seen in self._seen.items()}

    def sources(self, picture: int, grid: int) -> list[Source]:
        """The four cameras with pictures and grids of these sides and the true inverse depth."""
        made = []
        pictures = self.pictures(picture)
        for name, large in self.cameras(picture).items():
            seen, small, square = self._seen[name], self.rig.camera(name).resized(grid, grid), (grid, grid)
            inverse = np.where(np.isfinite(seen.depth), 1 / seen.depth, 0).astype(np.float32)
            inverse = np.asarray(cv2.resize(inverse, square, interpolation=cv2.INTER_NEAREST), np.float32)
            colour = np.asarray(cv2.resize(seen.rgb, square, interpolation=cv2.INTER_AREA), np.uint8)
            known, relative = (inverse > 0).astype(np.float32), RELATIVE_TOLERANCE * max(1.0, 512 / grid)
            made.append(Source(large, pictures[name], small, pixel_rays(small), inverse, known, colour, 0.0, relative))
        return made

    def eyes(self, side: int) -> list[Camera]:
        """Two views of `side` about 6 cm apart."""
        return [between(self.rig, "cam1", "cam2", at).resized(side, side) for at in (0.4, 0.6)]


class Frame:
    """All that a path is made from and given for one size, the net's input as large as it can tell disparities on."""

    def __init__(self, scene: Scene, size: Size) -> None:
        self.cameras, self.pictures = scene.cameras(size.picture), scene.pictures(size.picture)
        self.views = scene.eyes(size.output)
        self._maps = PairMaps(scene.rig)
        side = size.net * math.sqrt(4 / 3)  # of a 4:3 picture of as many pixels
        while max(self._rectified(p, side).disparities for p in (PAIR, *HELPING)) > MAX_DISPARITY:
            side *= 0.95
        self.level = Level(round(side), 3, 0.0, 0.0)
        self.k = fade_per_m(self._rectified(PAIR, side))
        self._prepare()

    def _rectified(self, pair: tuple[str, str], side: float) -> RectifiedPair:
        return self._maps.rectified(self.cameras[pair[0]], self.cameras[pair[1]], round(side))

    def _prepare(self) -> None:
        rectified = (self._rectified(p, self.level.side) for p in (PAIR, *HELPING))
        self.pair, *self.helping = (self._maps.prepared(pair, 3) for pair in rectified)

    def turn(self, path: FramePath, degrees: float) -> None:
        """Have every second camera turned about each axis, and the path go on with that."""
        vector = np.full(3, np.radians(degrees))
        self.cameras = {n: turned(c, vector) if i % 2 else c for i, (n, c) in enumerate(self.cameras.items())}
        self._prepare()
        path.turn([self.pair], [self.helping], self.cameras)

    def path(self, net: NetGeometry, *, tuning: Any = None, captured: bool = False) -> FramePath:
        """A path that has pictures and views, and has made nothing yet."""
        from streamsvc.view.gpu.frame import FramePath

        arguments = self.cameras, self.views[0], len(self.views), self.level.splat_side
        path = FramePath(net, [self.pair], [self.helping], *arguments, tuning=tuning, captured=captured)
        path.upload(self.pictures, {})
        path.aim(self.views, self.k)
        return path

    def start(self, path: FramePath) -> None:
        """Have the path begin a frame."""
        path.start(self.pictures, {}, self.views, self.k)

    def on_the_cpu(self, net: NetGeometry) -> list[Pixels]:
        """The views as the CPU makes them."""
        found = [run_to_end(learned_sources(net, p, self.cameras, self.pictures)) for p in (self.pair, *self.helping)]
        sources = [fuse(own, [s for both in found[1:] for s in both]) for own in found[0]]
        return [run_to_end(compose(sources, view, self.level.splat_side, self.k)).pixels for view in self.views]
