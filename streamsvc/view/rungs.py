"""The classical ladder: one set of code at several resolutions, with its measured cost and quality.

A rung `sgbm-N` matches pictures of as many pixels as N x 3/4 N; colour is always the full resolution's. Its cost
therefore hardly depends on the cameras' size, and a ladder offers the rungs up to the cameras' own resolution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from streamsvc.budget.rung import Rung
from streamsvc.frames import Rig


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


# Foreground PSNR in dB of rendered bodies, cameras 20 degrees apart and the view half-way.
LEVELS = (
    Level(160, 160, 24.0),
    Level(200, 200, 24.5),
    Level(240, 240, 25.0),
    Level(320, 320, 26.0),
    Level(480, 480, 26.5),
)
ALWAYS = 240
"""Rungs up to this side are offered whatever the cameras' size, so that there are three to choose from."""

# Nanoseconds on one core: a frame set, a rectified pixel, a pixel x disparity, a splat, an output pixel.
_SET, _PIXEL, _MATCH, _SPLAT, _BLEND = 1.5e6, 30.0, 1.7, 90.0, 90.0
_DISPARITIES = 0.3
"""Disparities searched, as a share of the side: what cameras 20 degrees apart see of a person in a room."""


def levels_for(rig: Rig | None) -> tuple[Level, ...]:
    """Return the levels that make sense for the rig's cameras, cheapest first."""
    cameras = rig.cameras if rig else ()
    side = max((math.sqrt(c.width * c.height * 4 / 3) for c in cameras), default=0.0)
    return tuple(level for level in LEVELS if level.side <= max(side * 1.05, ALWAYS))


def rung_for(level: Level, rig: Rig | None, width: int, height: int) -> Rung:
    """Return the rung for a `width` x `height` view of all pairs of the rig."""
    pixels = 0.75 * level.side * level.side
    splatted = min(0.75 * level.splat_side * level.splat_side, width * height)
    pair = 2 * (pixels * (_PIXEL + _MATCH * _DISPARITIES * level.side) + splatted * _SPLAT)
    cost = _SET + (len(rig.pairs) if rig else 0) * pair + width * height * _BLEND
    return Rung(level.name, round(cost), level.quality)
