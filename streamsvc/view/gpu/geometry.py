"""The geometry of a pair on the GPU: what `view.learned.learned_sources` finds on the CPU, by the same net and
formulas, from a compositor's pictures into its other tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from streamsvc.frames import Camera
from streamsvc.view.geometry import TOLERANCE_PX, Plane
from streamsvc.view.gpu.compose import Compositor
from streamsvc.view.gpu.rectify import remap, shrink
from streamsvc.view.learned import trusted
from streamsvc.view.net.geometry import NetGeometry, locate
from streamsvc.view.net.pairs import NetPair


@dataclass(frozen=True, slots=True, eq=False)
class Seat:
    """A source without its pictures: `geometry.Placed`."""

    camera: Camera
    grid: Camera
    rays: Plane
    tolerance: float
    relative_tolerance: float = 0.0


def seats(pair: NetPair, cameras: Mapping[str, Camera]) -> tuple[Seat, Seat]:
    """Return the left and the right source of `pair`; `cameras` by name are of their pictures' sizes."""
    left, right = (
        Seat(cameras[side.side.source.name], side.grid, side.rays, TOLERANCE_PX / pair.fb)
        for side in (pair.left, pair.right)
    )
    return left, right


class PairGeometry:
    """Finds the geometry of the sources `at` (left) and `at` + 1 (right) of a compositor, where they have to lie."""

    def __init__(
        self, net: NetGeometry, pair: NetPair, both: tuple[Seat, Seat], compositor: Compositor, at: int
    ) -> None:
        self._net, self._pair = net, pair
        device = compositor.device
        sides = pair.left.side, pair.right.side
        height, width = sides[0].map_x.shape
        grid = pair.left.grid.height, pair.left.grid.width
        maps = [np.stack([side.map_x, side.map_y]) for side in sides]
        self._maps = [torch.from_numpy(m).to(device) for m in maps]
        self._inside = torch.from_numpy(np.stack([pair.left.inside, pair.right.inside])).to(device)
        self._apart = torch.tensor([float(pair.apart)], device=device)
        self._input = torch.empty(2, height, width, 3, device=device)
        self._pictures, self._small = [], []
        for i, (side, seat) in enumerate(zip(sides, both, strict=True)):
            size = seat.camera.height, seat.camera.width
            needed = side.source.height, side.source.width
            self._pictures.append(compositor.pictures[at + i, : size[0], : size[1]])
            self._small.append(None if size == needed else torch.empty(*needed, 3, dtype=torch.uint8, device=device))
        self._colour = compositor.colour[at : at + 2, : grid[0], : grid[1]]
        self._rectified = (
            self._colour
            if grid == (height, width)
            else torch.empty(2, height, width, 3, dtype=torch.uint8, device=device)
        )
        self._inverse = compositor.inverse_depth[at : at + 2, : grid[0], : grid[1]]
        self._confidence = compositor.confidence[at : at + 2, : grid[0], : grid[1]]

    def stages(self) -> list[tuple[str, Callable[[], object]]]:
        """Return the steps in their order, named."""
        return [("rectify", self._rectify), ("net", self._match)]

    def _rectify(self) -> None:
        for i, (picture, small) in enumerate(zip(self._pictures, self._small, strict=True)):
            if small is not None:
                shrink(picture, small)
            remap(picture if small is None else small, self._maps[i], self._rectified[i], self._input[i])
            if self._rectified is not self._colour:
                shrink(self._rectified[i], self._colour[i])

    @torch.inference_mode()
    def _match(self) -> None:
        pictures = self._input.permute(0, 3, 1, 2)
        answer = self._net.net(pictures[:1], pictures[1:], self._apart, self._pair.levels)[-1]
        inverse, confidence, _ = locate(answer, self._inside, self._pair)
        self._inverse.copy_(inverse)
        self._confidence.copy_(trusted(inverse, confidence))
