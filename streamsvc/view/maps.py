"""Rectification maps of a rig's pairs: made when they are first asked for, kept for the next picture.

Guarded: slices of one stream's jobs may run on different threads.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from streamsvc.frames import Camera, Pixels, Rig
from streamsvc.view.depthrange import COARSE_SIDE, ROUGH_SIDE, estimate_depth_range
from streamsvc.view.errors import ViewError
from streamsvc.view.net.pairs import NetPair, net_pair, turned_net_pair
from streamsvc.view.rectify import RectifiedPair, rectify_pair, shrunk, side_of, turned_pair

DEFAULT_RANGE = (0.3, math.inf)
"""Until a range was seen, where nobody states one."""

LIKELY_RANGE = (0.5, 3.0)
"""What will be seen, for which the ladder of a rig without a range is made: a person in a room."""

MAP_BYTES = 256 << 20
"""Of a rig's maps that are kept: all rungs of a few pairs, or one rung of many. What the rung that runs needs of all
its pairs stays whatever it takes."""

ENLARGED = 1.6
"""Pictures are enlarged up to so many times to be matched: disparity is told in parts of a pixel, and more of them."""

LOOK_EVERY_NS = 2_000_000_000
"""How often a pair whose depth range nobody states is looked at for it."""

OTHER = 0.2
"""Share of the inverse depth of what is nearest by which an end of what is seen must differ from the range before that
becomes another: maps are made anew for it."""

REMEMBERED_NS = 30_000_000_000
"""How long what was seen counts: somebody may have passed close by, or a match been wrong."""

FADE_PX = 5.0
"""Depth behind the nearest surface, as disparity in grid pixels, at which a splat's weight is down to 1/e."""


def fade_per_m(pair: RectifiedPair) -> float:
    """Return the splat's fade in 1/m for what `pair` shows."""
    middle = (pair.shift + pair.disparities / 2) / pair.fb
    return float(pair.fb * middle**2 / FADE_PX)


def _covering(known: tuple[float, float], looks: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the range of all that `looks` saw where that is worth new maps, else the one that is `known`."""
    seen = min(near for near, _ in looks), max(far for _, far in looks)
    return seen if max(abs(1 / s - 1 / k) for s, k in zip(seen, known, strict=True)) > OTHER / known[0] else known


class _Key(NamedTuple):
    """What the maps of a pair are for; `sizes` are both pictures' width and height."""

    names: tuple[str, str]
    sizes: tuple[int, int, int, int]
    depth_range: tuple[float, float]
    side: int


def _sizes(a: Camera, b: Camera) -> tuple[int, int, int, int]:
    return a.width, a.height, b.width, b.height


def _bytes(pair: RectifiedPair) -> int:
    sides = pair.left, pair.right
    return sum(a.nbytes for s in sides for a in (s.map_x, s.map_y, s.inside, s.rays))


class PairMaps:
    """The maps of one rig, per pair, picture size, rung and depth range."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._lock = threading.Lock()
        self._pairs: dict[_Key, RectifiedPair] = {}
        self._prepared: dict[tuple[int, int], tuple[RectifiedPair, NetPair]] = {}
        self._ranges: dict[tuple[str, str], tuple[float, float]] = {}
        self._looked_ns: dict[tuple[str, str], int] = {}
        self._looks: dict[tuple[str, str], dict[int, tuple[float, float]]] = {}
        self.first_range = rig.depth_range
        """The rig's depth range in metres, else the first that was estimated, which stays: what depends on it doesn't
        move. None as long as there is none."""

    @property
    def depth_range(self) -> tuple[float, float] | None:
        """The rig's depth range in metres, else that of what is seen; None as long as there is none."""
        if self._rig.depth_range is not None or not self._ranges:
            return self._rig.depth_range
        nearest, farthest = zip(*list(self._ranges.values()), strict=True)
        return min(nearest), max(farthest)

    def estimate(self, a: Camera, b: Camera, pictures: Mapping[str, Pixels], at_ns: int) -> None:
        """Look in these pictures, taken at `at_ns`, for the depth range of a pair for which nothing states it, now and
        then: somebody may sit down before the wall that was seen first. It covers what the looks of the last 30 s saw.
        """
        names = a.name, b.name
        if self._rig.depth_range is not None:
            return
        with self._lock:
            looked = self._looked_ns.get(names)
            if looked is not None and 0 <= at_ns - looked < LOOK_EVERY_NS:
                return
            self._looked_ns[names] = at_ns
        side = ROUGH_SIDE if names in self._ranges else COARSE_SIDE
        try:
            found = estimate_depth_range(a, pictures[a.name], b, pictures[b.name], side)
        except ViewError:  # so small, too little of what they see is left in both pictures
            return
        if found is not None:
            with self._lock:
                looks = {t: seen for t, seen in self._looks.get(names, {}).items() if 0 <= at_ns - t < REMEMBERED_NS}
                self._looks[names] = looks | {at_ns: found}
                self._ranges[names] = _covering(self._ranges.get(names, found), list(self._looks[names].values()))
                self.first_range = self.first_range or found

    def rectified(self, a: Camera, b: Camera, side: int) -> RectifiedPair:
        """Return the pair rectified for pictures of these sizes on a rung that matches them `side` wide, or `ENLARGED`
        times as wide as they are; raises ViewError for a pair that can't be matched.

        The cameras may be turned a little against the rig's: the grids are those of the rig all the same, so what is
        made of them keeps its shape.
        """
        names = a.name, b.name
        depth_range = self._rig.depth_range or self._ranges.get(names, DEFAULT_RANGE)
        key = _Key(names, _sizes(a, b), depth_range, side)
        with self._lock:
            kept = self._pairs.get(key)
        if kept is None:
            told = [shrunk(self._rig.camera(c.name).resized(c.width, c.height), side) for c in (a, b)]
            enlarged = min(max(side / min(map(side_of, told)), 1.0), ENLARGED)
            kept = rectify_pair(told[0], told[1], depth_range, enlarged)
        pair = kept
        sources = {s.source.name: s.source for s in (kept.left, kept.right)}
        if any((c.R != sources[c.name].R).any() for c in (a, b)):
            pair = turned_pair(kept, shrunk(a, side), shrunk(b, side))
        with self._lock:
            new = self._pairs.pop(key, None) is None
            self._pairs[key] = pair  # last, as what was used last
            if new:
                self._make_room(key)
        return pair

    def _make_room(self, key: _Key) -> None:
        """Forget maps of the same pair for another depth range, or for pictures of other sizes that aren't the rig's,
        and what was used longest ago, of other rungs, where they take too much."""
        sizes = key.sizes, _sizes(*map(self._rig.camera, key.names))
        for other in list(self._pairs):
            if other.names == key.names and not (other.depth_range == key.depth_range and other.sizes in sizes):
                del self._pairs[other]
        taken = sum(map(_bytes, self._pairs.values()))
        for other in [k for k in self._pairs if k.side != key.side]:
            if taken <= MAP_BYTES:
                break
            taken -= _bytes(self._pairs.pop(other))
        grids = {id(pair.left.grid) for pair in self._pairs.values()}
        self._prepared = {k: made for k, made in self._prepared.items() if k[0] in grids}

    def prepared(self, pair: RectifiedPair, levels: int) -> NetPair:
        """Return the pair as the net sees it on so many levels."""
        key = (id(pair.left.grid), levels)
        with self._lock:
            kept = self._prepared.get(key)
        if kept is not None and kept[0] is pair:
            return kept[1]
        if kept is not None and kept[0].left.grid is pair.left.grid:
            made = pair, turned_net_pair(kept[1], pair)
        else:
            made = pair, net_pair(pair, levels)
        with self._lock:
            self._prepared[key] = made
        return made[1]
