"""The ladder: classical rungs and the net's, each at several resolutions, with measured cost and quality.

A rung `net-N-L` runs L levels of the geometry net on pictures of as many pixels as N x 3/4 N, a rung `sgbm-N` matches
such pictures classically; colour is always the full resolution's. The classical rungs end where more stops helping: on
the scene bodies, matching 200 to 320 wide costs two to ten times as much as 160 and gains nothing on the person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streamsvc.budget.rung import Rung
from streamsvc.view.rectify import RectifiedPair, cropped_pair


@dataclass(frozen=True, slots=True)
class Level:
    """What a rung is made of: the side of the matched pictures and that of the splat; `quality` as in `Rung`."""

    side: int
    splat_side: int
    quality: float

    @property
    def name(self) -> str:
        """The rung's name."""
        return f"sgbm-{self.side}"


@dataclass(frozen=True, slots=True)
class NetLevel:
    """The same for a rung `net-N-L`: the geometry net's first L levels on pictures of as many pixels as N x 3/4 N."""

    side: int
    levels: int
    splat_side: int
    quality: float

    @property
    def name(self) -> str:
        """The rung's name."""
        return f"net-{self.side}-{self.levels}"


# Quality: PSNR in dB, the mean of the person's and of the whole picture's, of rendered people that no training saw,
# cameras 20 degrees apart and the view half-way, at 320x240 (six scenes; `bench view` measures more).
LEVELS = (Level(108, 160, 23.9), Level(160, 160, 24.5), Level(180, 200, 24.7))
NET_LEVELS = (
    NetLevel(128, 3, 160, 25.4),
    NetLevel(160, 3, 200, 26.0),
    NetLevel(200, 3, 200, 26.3),
    NetLevel(240, 3, 200, 26.8),
)
# Nanoseconds, measured on one core: a frame set; a pixel x disparity of one direction while the cost volume fits the
# cache, and beyond it; a grid pixel rectified, checked and filled; a splat; an output pixel, and
# as much again for each pair.
_SET, _CELL, _FAR_CELL, _GRID, _SPLAT, _BLEND = 0.5e6, 1.4, 2.5, 75.0, 80.0, 50.0
_CACHED_CELLS = 10e6
_RECTIFY = 12.0


# Nanoseconds a pixel of the net's input, both pictures, by levels; and a call.
_NET_PIXEL = {1: 250.0, 2: 400.0, 3: 620.0}
_NET_CALL = 5e6


def rung_for(level: Level | NetLevel, pairs: Sequence[RectifiedPair], width: int, height: int, views: int = 1) -> Rung:
    """Return the rung for `views` views of `width` x `height` of `pairs`, which are rectified at this level's size.

    Geometry is paid once, splat and blend for every view.
    """
    cost = _SET + views * width * height * _BLEND * (1 + len(pairs))
    for pair in pairs:
        if isinstance(level, NetLevel):
            cut = cropped_pair(pair)[0]
            pixels = cut.left.inside.size
            cost += _NET_CALL + 2 * pixels * (
                _NET_PIXEL[level.levels] / 2 + _RECTIFY + views * _SPLAT / 4 ** (3 - level.levels)
            )
            continue
        for side in (pair.left, pair.right):
            columns = side.columns[1] - side.columns[0] + pair.disparities
            cells = columns * side.grid.height * pair.disparities
            cost += cells * (_CELL if cells < _CACHED_CELLS else _FAR_CELL)
            cost += side.inside.size * _GRID + views * np.count_nonzero(side.inside) * _SPLAT
    return Rung(level.name, round(cost), level.quality)


def worthwhile(rungs: Sequence[Rung]) -> tuple[Rung, ...]:
    """Return the rungs that no other beats at no greater cost, in order of cost and so of quality."""
    kept: list[Rung] = []
    for rung in sorted(rungs, key=lambda r: (r.cost_ns, -r.quality)):
        if not kept or rung.quality > kept[-1].quality:
            kept.append(rung)
    return tuple(kept)
