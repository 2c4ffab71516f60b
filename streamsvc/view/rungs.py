"""The ladder: classical rungs and the net's, each at several resolutions, with measured cost and quality.

A rung `net-N-L` runs L levels of the geometry net on pictures of as many pixels as N x 3/4 N (enlarged, where the
cameras' are smaller: pairs with little disparity gain by that), a rung `sgbm-N` matches such pictures classically;
colour is always the full resolution's. Two levels of more pixels are worth more than three of fewer. Each uses the
pair about the view alone; `-fused` adds the pairs that share a camera with it. The classical rungs end where more stops
helping: on the scene bodies, matching 200 to 320 wide costs two to ten times as much as 160 and gains nothing on the
person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from streamsvc.budget.rung import Rung
from streamsvc.view.net.pairs import NetPair
from streamsvc.view.rectify import RectifiedPair

SPLAT_SIDE = 112
"""Splats make pictures of as many pixels as this x 3/4 of it, or as half the matched side where that is more; more
isn't seen, the blend has the cameras' depths."""

ALWAYS_SIDE = 160
"""The net takes pictures up to so wide however small the cameras' are."""

FUSED = "-fused"
"""Ends the name of a rung that a pair's neighbours help."""


@dataclass(frozen=True, slots=True)
class Level:
    """What a rung is made of: the side of the matched pictures, the net's levels (0: matched classically), and whether
    other pairs help; `quality` as in `Rung`, `fused_quality` that with their help."""

    side: int
    levels: int
    quality: float
    fused_quality: float
    fused: bool = False

    @property
    def name(self) -> str:
        """The rung's name."""
        kind = f"net-{self.side}-{self.levels}" if self.levels else f"sgbm-{self.side}"
        return kind + FUSED * self.fused

    @property
    def splat_side(self) -> int:
        """The side that bounds the splat's resolution."""
        return max(SPLAT_SIDE, self.side // 2)

    @property
    def sharp(self) -> bool:
        """Whether colours are worth a cubic convolution: 0.15 dB on the finest geometry, nothing on coarser. On a GPU
        it costs nothing and is always done."""
        return self.levels == 3

    def helped(self) -> Level:
        """Return the level with the help of other pairs."""
        return replace(self, fused=True, quality=self.fused_quality)


# Quality: PSNR in dB, the mean of the person's and of the whole picture's, of rendered people that no training saw,
# cameras 20 degrees apart and the view half-way, at 320x240 (eight scenes of `bench view`); fused, with two more
# cameras 10 degrees outside of these.
LEVELS = (Level(108, 0, 23.9, 25.4), Level(160, 0, 24.5, 26.3), Level(180, 0, 24.7, 26.5))
NET_LEVELS = (
    Level(112, 2, 24.8, 24.9),
    Level(128, 2, 25.8, 25.9),
    Level(160, 2, 26.3, 26.4),
    Level(200, 2, 26.6, 26.9),
    Level(240, 2, 26.9, 27.3),
    Level(280, 2, 27.2, 27.6),
    Level(240, 3, 27.5, 28.2),
    Level(280, 3, 27.6, 28.3),
    # Only pairs with little disparity have these; cameras 10 degrees apart, as what they gain on 280.
    Level(400, 2, 27.9, 28.5),
    Level(512, 2, 28.2, 28.8),
    Level(512, 3, 28.7, 29.3),
)
# Measured at 960x720, cameras 7 degrees apart (two scenes), as what they gain on 280; above 560 a guess.
DEVICE_LEVELS = (
    Level(560, 3, 28.8, 29.4),
    Level(800, 3, 28.9, 29.5),
    Level(1182, 3, 29.0, 29.6),
)
"""What a GPU adds for pictures that are large enough; 1182 x 3/4 of that is 1024 x 1024."""

# Nanoseconds, measured on one core: a frame set; a pixel x disparity of one direction while the cost volume fits the
# cache, and beyond it; a grid pixel rectified, checked and filled; a splat; an output pixel, sharp or not, and
# as much again for each pair that shows it.
_SET, _CELL, _FAR_CELL, _GRID, _SPLAT = 0.5e6, 1.4, 2.5, 75.0, 80.0
_BLEND = {True: 38.0, False: 28.0}
_CACHED_CELLS = 10e6
_RECTIFY = 12.0

# A frame set on a GPU, and by how much that does the rest faster than a core: guesses.
_DEVICE_SET, _DEVICE_FASTER = 2e6, 100.0

# Nanoseconds a pixel of the net's input, both pictures, by levels; and a call.
_NET_PIXEL = {1: 130.0, 2: 200.0, 3: 345.0}
_NET_CALL = 3e6


def rung_for(
    level: Level,
    shown: Sequence[RectifiedPair | NetPair],
    helping: Sequence[RectifiedPair | NetPair],
    width: int,
    height: int,
    views: int = 1,
) -> Rung:
    """Return the rung for `views` views of `width` x `height` of the pairs `shown`, with the help of others; all are as
    this level takes them.

    Geometry is paid once, splat and blend for every view.
    """
    cost = _SET + views * width * height * _BLEND[level.sharp] * (1 + len(shown))
    cost += sum(_geometry(pair) for pair in (*shown, *helping))
    cost += views * _SPLAT * sum(_splats(pair) for pair in shown)
    return Rung(level.name, round(cost), level.quality)


def _geometry(pair: RectifiedPair | NetPair) -> float:
    """Nanoseconds for the geometry of both cameras of a pair."""
    if isinstance(pair, NetPair):
        return _NET_CALL + pair.left.side.inside.size * (_NET_PIXEL[pair.levels] + 2 * _RECTIFY)
    cost = 0.0
    for side in (pair.left, pair.right):
        columns = side.columns[1] - side.columns[0] + pair.disparities
        cells = float(columns * side.grid.height * pair.disparities)
        cost += cells * (_CELL if cells < _CACHED_CELLS else _FAR_CELL) + side.inside.size * _GRID
    return float(cost)


def _splats(pair: RectifiedPair | NetPair) -> int:
    return sum(int(np.count_nonzero(side.inside)) for side in (pair.left, pair.right))


def on_device(rung: Rung) -> Rung:
    """Return `rung` of the net with what it may cost on a GPU, until that is measured."""
    return replace(rung, cost_ns=round(_DEVICE_SET + rung.cost_ns / _DEVICE_FASTER))


def worthwhile(rungs: Sequence[Rung]) -> tuple[Rung, ...]:
    """Return the rungs that no other beats at no greater cost, in order of cost and so of quality."""
    kept: list[Rung] = []
    for rung in sorted(rungs, key=lambda r: (r.cost_ns, -r.quality)):
        if not kept or rung.quality > kept[-1].quality:
            kept.append(rung)
    return tuple(kept)
