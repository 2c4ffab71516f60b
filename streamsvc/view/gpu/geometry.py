"""The geometry of a pair on the GPU: what `view.learned.learned_sources` finds on the CPU, by the same net and
formulas, from pictures on the device into tensors on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from streamsvc.frames import Camera
from streamsvc.view.geometry import TOLERANCE_PX, Plane
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


class Planes(NamedTuple):
    """Both cameras' geometry, left first, on the device: as in `geometry.Source`, (2, h, w) and (2, h, w, 3)."""

    inverse_depth: torch.Tensor
    confidence: torch.Tensor
    colour: torch.Tensor


def new_planes(pair: NetPair, device: torch.device) -> Planes:
    """Return room for what `pair` shows."""
    shape = 2, pair.left.grid.height, pair.left.grid.width
    inverse, confidence = (torch.zeros(shape, device=device) for _ in range(2))
    return Planes(inverse, confidence, torch.zeros(*shape, 3, dtype=torch.uint8, device=device))


class PairGeometry:
    """Finds the geometry of `pair` in `pictures` (left and right, (H, W, 3) uint8) and writes it into `planes`."""

    def __init__(self, net: NetGeometry, pair: NetPair, pictures: Sequence[torch.Tensor], planes: Planes) -> None:
        self._net, self._pair, self._pictures, self.planes = net, pair, pictures, planes
        device = net.device
        sides = pair.left.side, pair.right.side
        height, width = sides[0].map_x.shape
        *self._maps, self._inside = (plane.to(device) for plane in _looks(pair))
        self._apart = torch.tensor([float(pair.apart)], device=device)
        self._input = torch.empty(2, height, width, 3, device=device)
        self._small = []
        for side, picture in zip(sides, pictures, strict=True):
            size = side.source.height, side.source.width
            same = picture.shape[:2] == size
            self._small.append(None if same else torch.empty(*size, 3, dtype=torch.uint8, device=device))
        whole = planes.colour.shape[1:3] == (height, width)
        self._rectified = planes.colour if whole else torch.empty(2, height, width, 3, dtype=torch.uint8, device=device)

    def turn(self, pair: NetPair) -> None:
        """Go on with `pair`, which has the same grids and whose cameras turned a little."""
        self._pair = pair
        for plane, now in zip((*self._maps, self._inside), _looks(pair), strict=True):
            plane.copy_(now)

    def stages(self) -> list[tuple[str, Callable[[], object]]]:
        """Return the steps in their order, named."""
        return [("rectify", self.rectify), ("net", self.match)]

    def rectify(self) -> None:
        """Bring the pictures onto the net's grid."""
        for i, (picture, small) in enumerate(zip(self._pictures, self._small, strict=True)):
            if small is not None:
                shrink(picture, small)
            remap(picture if small is None else small, self._maps[i], self._rectified[i], self._input[i])
            if self._rectified is not self.planes.colour:
                shrink(self._rectified[i], self.planes.colour[i])

    @torch.inference_mode()
    def match(self) -> None:
        """Find and write the geometry of what was rectified."""
        pictures = self._input.permute(0, 3, 1, 2)
        answer = self._net.net(pictures[:1], pictures[1:], self._apart, self._pair.levels)[-1]
        inverse, confidence, _ = locate(answer, self._inside, self._pair)
        self.planes.inverse_depth.copy_(inverse)
        self.planes.confidence.copy_(trusted(inverse, confidence))


def _looks(pair: NetPair) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Where the left and the right grid take their pixels from, (2, h, w) each, and where the pictures reach."""
    left, right = (torch.from_numpy(np.stack([s.side.map_x, s.side.map_y])) for s in (pair.left, pair.right))
    return left, right, torch.from_numpy(np.stack([pair.left.inside, pair.right.inside]))
