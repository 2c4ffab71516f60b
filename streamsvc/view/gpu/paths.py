"""A stream's frames on the GPU: a `FramePath` for each set of shapes, two where frames overlap, kept for the next one.

Paths are lent to one frame at a time. A frame whose path is taken gets another one, so that a stream's next frame set
goes up while the last is computed.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch

from streamsvc.budget.slices import Slices
from streamsvc.frames import Camera, Pixels
from streamsvc.view.arrange import Pair
from streamsvc.view.colour import Affine
from streamsvc.view.compose import View
from streamsvc.view.errors import ViewError
from streamsvc.view.geometry import Source
from streamsvc.view.gpu.frame import FramePath
from streamsvc.view.maps import PairMaps, fade_per_m
from streamsvc.view.net.geometry import NetGeometry
from streamsvc.view.net.pairs import NetPair
from streamsvc.view.rectify import RectifiedPair
from streamsvc.view.rungs import Level

LANES = 2
"""Paths kept for one set of shapes: one computes while the other's copies run."""

KEPT = 16
"""Sets of shapes kept."""

Shown = Sequence[Sequence[Pair]]
Helping = Mapping[Pair, Sequence[Pair]]
Learn = Callable[[Iterable[Source]], Mapping[str, Affine]]


@dataclass(frozen=True, slots=True, eq=False)
class _Work:
    """Views of one size that the same `pairs` show, the numbers `at` of those asked for; the rest as in `FramePath` and
    its `start`."""

    at: tuple[int, ...]
    pairs: tuple[NetPair, ...]
    helping: tuple[tuple[NetPair, ...], ...]
    cameras: Mapping[str, Camera]
    views: tuple[Camera, ...]
    side: float
    k: float

    @property
    def shapes(self) -> tuple[object, ...]:
        """What a path must have been made for to do this; that its cameras are turned a little doesn't matter."""
        view = self.views[0]
        sizes = [(name, c.width, c.height) for name, c in sorted(self.cameras.items())]
        used = (id(pair.left.grid) for pair in (*self.pairs, *chain.from_iterable(self.helping)))
        return (*used, *sizes, len(self.views), view.width, view.height, self.side)


class Paths:
    """The paths of one stream on the device of `net`; `depth` as in `FramePath`. For several threads.

    What is asked for is always a `level` of the net, `views`, the pairs `shown` of each, the pairs `helping` each of
    those, and the `cameras` by name, of the sizes of their pictures.
    """

    def __init__(self, net: NetGeometry, maps: PairMaps, *, depth: bool) -> None:
        self._net, self._maps, self._depth = net, maps, depth
        self._lock = threading.Lock()
        self._free: dict[tuple[object, ...], list[FramePath]] = {}
        self._capacity: dict[tuple[object, ...], int] = {}

    def _works(
        self, level: Level, views: Sequence[Camera], shown: Shown, helping: Helping, cameras: Mapping[str, Camera]
    ) -> list[_Work]:
        def rectified(pair: Pair) -> RectifiedPair:
            return self._maps.rectified(cameras[pair[0]], cameras[pair[1]], level.side)

        def prepared(pair: Pair) -> NetPair:
            return self._maps.prepared(rectified(pair), level.levels)

        together: dict[tuple[object, ...], list[int]] = {}
        for i, (view, chosen) in enumerate(zip(views, shown, strict=True)):
            together.setdefault((tuple(chosen), view.width, view.height), []).append(i)
        works = []
        for at in together.values():
            pairs = shown[at[0]]
            used = [*pairs, *(other for pair in pairs for other in helping[pair])]
            work = _Work(
                tuple(at),
                tuple(prepared(pair) for pair in pairs),
                tuple(tuple(prepared(other) for other in helping[pair]) for pair in pairs),
                {name: cameras[name] for pair in used for name in pair},
                tuple(views[i] for i in at),
                level.splat_side,
                float(np.mean([fade_per_m(rectified(pair)) for pair in pairs])),
            )
            works.append(work)
        return works

    def _make(self, work: _Work) -> FramePath:
        try:
            return FramePath(
                self._net,
                work.pairs,
                work.helping,
                work.cameras,
                work.views[0],
                len(work.views),
                work.side,
                depth=self._depth,
                capacity=self._capacity.get(work.shapes),
            )
        except torch.OutOfMemoryError:
            raise ViewError("the GPU's memory is full: views of this size don't fit beside what runs there") from None
        except RuntimeError as e:
            raise ViewError(f"the GPU can't make views of this size ({e})") from e

    def prepare(
        self, level: Level, views: Sequence[Camera], shown: Shown, helping: Helping, cameras: Mapping[str, Camera]
    ) -> None:
        """Have the paths ready before they are asked for."""
        for work in self._works(level, views, shown, helping, cameras):
            for _ in range(LANES):
                self._give(work, self._make(work))

    def _give(self, work: _Work, path: FramePath) -> None:
        with self._lock:
            free = self._free.pop(work.shapes, [])
            # Those that are too small, because another one's lists ran over meanwhile, aren't kept.
            if len(free) < LANES and path.capacity >= self._capacity.get(work.shapes, 0):
                free.append(path)
            self._free[work.shapes] = free
            while len(self._free) > KEPT:
                self._free.pop(next(iter(self._free)))

    @contextlib.contextmanager
    def _lent(self, work: _Work) -> Iterator[FramePath]:
        with self._lock:
            free = self._free.get(work.shapes, [])
            path = free.pop() if free else None
        if path is None:
            path = self._make(work)
        path.turn(work.pairs, work.helping, work.cameras)
        try:
            yield path
        finally:
            path.wait()
            self._give(work, path)

    def views(
        self,
        level: Level,
        views: Sequence[Camera],
        shown: Shown,
        helping: Helping,
        cameras: Mapping[str, Camera],
        pictures: Mapping[str, Pixels],
        affines: Mapping[str, Affine],
        learn: Learn,
    ) -> Slices[list[View]]:
        """Make the views of `pictures`; yields "upload" once all is queued and "view" once they are there.

        `affines` correct the pictures. `learn` is given the sources, and what it returns corrects them at once.
        """
        works = self._works(level, views, shown, helping, cameras)
        with contextlib.ExitStack() as stack:
            lent = [(work, stack.enter_context(self._lent(work))) for work in works]
            for work, path in lent:
                path.start(pictures, affines, work.views, work.k)
            yield "upload"
            made = [self._finished(work, path) for work, path in lent]
            more = learn(chain.from_iterable(path.sources(pictures) for _, path in lent))
            if more:
                for work, path in lent:
                    path.start(pictures, more, work.views, work.k)
                made = [self._finished(work, path) for work, path in lent]
            yield "view"
        found = {i: view for work, some in zip(works, made, strict=True) for i, view in zip(work.at, some, strict=True)}
        return [found[i] for i in range(len(views))]

    def _finished(self, work: _Work, path: FramePath) -> list[View]:
        views, missing = path.finish()
        if missing:
            with self._lock:
                self._capacity[work.shapes] = 2 * path.capacity
                self._free.pop(work.shapes, None)
        return views
