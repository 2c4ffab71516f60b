"""One rung's frame of fixed shapes on the GPU, pictures in, views out: everything after the upload is one CUDA graph.

A frame goes over three queues at once where several `FramePath`s take turns: one's pictures go up and another's views
come down while a third's kernels run, because each has its own stream and its own pinned memory. Between `start` and
`finish` the host is free.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain

import numpy as np
import torch

from streamsvc.frames import Camera, Pixels
from streamsvc.view.colour import IDENTITY, Affine
from streamsvc.view.compose import View
from streamsvc.view.geometry import Source
from streamsvc.view.gpu.compose import Compositor, Shapes
from streamsvc.view.gpu.fuse import fuse, fusion_row
from streamsvc.view.gpu.geometry import PairGeometry, Planes, Seat, new_planes, seats
from streamsvc.view.gpu.rectify import recolour
from streamsvc.view.gpu.splat import Tuning
from streamsvc.view.net.geometry import NetGeometry
from streamsvc.view.net.pairs import NetPair
from streamsvc.view.rectify import shrunk

_CAPTURE = threading.Lock()
"""One graph is captured at a time; those that are there may be replayed meanwhile."""


@functools.cache
def _capturing() -> torch.cuda.Stream:
    """The one stream that graphs are captured on. PyTorch hands streams out of a pool in turn, so a path's own may be
    another path's too, and what that one queues would be captured or refused; of this priority there is no other."""
    return torch.cuda.Stream(priority=-1)  # type: ignore[no-untyped-call]


class FramePath:
    """Makes `count` views of the size of `view` from the pictures of `pairs`, which know more by those `helping` each.

    `cameras` by name are of their pictures' sizes, `side` bounds the splat's resolution as in `compose`, `depth` says
    whether the views' inverse depth is wanted, `capacity` is as in `compose.Shapes`. With `captured` a GPU replays a
    graph, otherwise it launches kernel by kernel. Not for several threads at once. Raises ViewError when the device
    can't be used.
    """

    def __init__(
        self,
        net: NetGeometry,
        pairs: Sequence[NetPair],
        helping: Sequence[Sequence[NetPair]],
        cameras: Mapping[str, Camera],
        view: Camera,
        count: int,
        side: float,
        *,
        depth: bool = False,
        capacity: int | None = None,
        tuning: Tuning | None = None,
        captured: bool = True,
    ) -> None:
        self.pairs = _all(pairs, helping)
        self._depth = depth
        self._stream = torch.cuda.Stream() if net.device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._graph: torch.cuda.CUDAGraph | None = None
        self._seats = [seat for pair in pairs for seat in seats(pair, cameras)]
        shown = dict.fromkeys(seat.camera.name for seat in self._seats)
        self._names = [*shown, *(name for name in cameras if name not in shown)]
        small = shrunk(view, side)
        shapes = Shapes(
            len(self._seats),
            count,
            _largest(list(cameras.values())),
            _largest([s.grid for s in self._seats]),
            (small.width, small.height),
            (view.width, view.height),
            beside=len(self._names) - len(self._seats),
            capacity=capacity,
        )
        with self._queued():
            self.compositor = Compositor(shapes, net.device.type, tuning)
            self._affines = self.compositor.buffer(len(self._names), 2, 3)
            self._pictures = {
                name: self.compositor.pictures[i, : cameras[name].height, : cameras[name].width]
                for i, name in enumerate(self._names)
            }
            self._geometry = [self._shown(net, pair, 2 * i) for i, pair in enumerate(pairs)]
            self._beside: list[tuple[Seat, Planes, int]] = []
            self._fusions: list[Callable[[], None]] = []
            for i, others in enumerate(helping):
                for other in others:
                    self._helped(net, other, seats(other, cameras), 2 * i)
            self.compositor.place(self._seats)
        self.wait()
        if self._stream is not None and captured:
            self._capture(_capturing())

    def _matched(self, net: NetGeometry, pair: NetPair, planes: Planes) -> PairGeometry:
        pictures = [self._pictures[side.side.source.name] for side in (pair.left, pair.right)]
        return PairGeometry(net, pair, pictures, planes)

    def _shown(self, net: NetGeometry, pair: NetPair, at: int) -> PairGeometry:
        """The geometry of the sources `at` and `at` + 1."""
        cut = slice(at, at + 2), slice(pair.left.grid.height), slice(pair.left.grid.width)
        whole = self.compositor.inverse_depth, self.compositor.confidence, self.compositor.colour
        return self._matched(net, pair, Planes(*(plane[cut] for plane in whole)))

    def _helped(self, net: NetGeometry, other: NetPair, both: Sequence[Seat], at: int) -> None:
        """Let `other` help the sources `at` and `at` + 1."""
        found = self._matched(net, other, new_planes(other, net.device))
        self._geometry.append(found)
        for side, seat in enumerate(both):
            self._beside.append((seat, found.planes, side))
            for i in (at, at + 1):
                own = self._seats[i]
                if own.camera.name == seat.camera.name:
                    row = torch.from_numpy(fusion_row(own, seat)).to(net.device)
                    cut = i, slice(own.grid.height), slice(own.grid.width)
                    planes = self.compositor.inverse_depth[cut], self.compositor.confidence[cut]
                    theirs = found.planes.inverse_depth[side], found.planes.confidence[side]
                    self._fusions.append(partial(fuse, self.compositor.rays[cut], *planes, row, *theirs))

    def turn(
        self, pairs: Sequence[NetPair], helping: Sequence[Sequence[NetPair]], cameras: Mapping[str, Camera]
    ) -> None:
        """Go on with these pairs on the same grids, whose cameras turned a little; the frame before must have been
        waited for."""
        if (given := _all(pairs, helping)) == self.pairs:
            return
        self.pairs = given
        with self._queued():
            for geometry, pair in zip(self._geometry, given, strict=True):
                geometry.turn(pair)
        self._seats = [seat for pair in pairs for seat in seats(pair, cameras)]
        beside = [seat for pair in given[len(pairs) :] for seat in seats(pair, cameras)]
        self._beside = [(seat, planes, at) for seat, (_, planes, at) in zip(beside, self._beside, strict=True)]

    @property
    def capacity(self) -> int:
        """How many ids the tiles of a view may hold together."""
        return self.compositor.splatters[0].capacity

    def _queued(self) -> contextlib.AbstractContextManager[object]:
        return contextlib.nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def stages(self) -> list[tuple[str, Callable[[], object]]]:
        """Return the steps of a frame between upload and download in their order, named."""
        steps: list[tuple[str, Callable[[], object]]] = [
            ("recolour", lambda: recolour(self.compositor.pictures, self._affines))
        ]
        for geometry in self._geometry:
            steps += geometry.stages()
        return [*steps, *(("fuse", fusion) for fusion in self._fusions), *self.compositor.stages()]

    def _capture(self, stream: torch.cuda.Stream) -> None:
        with _CAPTURE:
            with torch.cuda.stream(stream):
                for _ in range(2):  # compiles the kernels and lets the convolutions choose theirs
                    self.run()
            stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                self.run()
            self._graph = graph

    def run(self) -> None:
        """Make the views of what was uploaded, on the current stream; doesn't wait."""
        if self._graph is not None:
            self._graph.replay()
            return
        for _, step in self.stages():
            step()

    def upload(self, pictures: Mapping[str, Pixels], affines: Mapping[str, Affine]) -> None:
        """Take the pictures by camera, and what they are corrected by (`colour`); doesn't wait."""
        host = self.compositor.host(self._affines)
        for i, name in enumerate(self._names):
            host[i] = affines.get(name, IDENTITY)
        self.compositor.upload(self._affines)
        self.compositor.load_pictures([pictures[name] for name in self._names])

    def aim(self, views: Sequence[Camera], k: float) -> None:
        """Set the views and the splat's fade `k` in 1/m; doesn't wait."""
        self.compositor.aim(self._seats, views, k)

    def start(
        self, pictures: Mapping[str, Pixels], affines: Mapping[str, Affine], views: Sequence[Camera], k: float
    ) -> None:
        """Queue a frame, copies both ways included, and return; the frame before must have been waited for."""
        with self._queued():
            self.upload(pictures, affines)
            self.aim(views, k)
            self.run()
            self.compositor.receive(depth=self._depth)

    def wait(self) -> None:
        """Wait for what was started."""
        if self._stream is not None:
            self._stream.synchronize()

    def finish(self) -> tuple[list[View], int]:
        """Wait for the frame and return its views, with a coverage of the splat's size and an inverse depth of 0 where
        that isn't wanted, and how many ids found no room in the splat's lists: of any, the views lack Gaussians."""
        self.wait()
        rendered = self.compositor.received(depth=self._depth)
        unknown = np.broadcast_to(np.float32(0), rendered[0].pixels.shape[:2])
        views = [View(r.pixels, unknown if r.inverse_depth is None else r.inverse_depth, r.coverage) for r in rendered]
        return views, max(r.overflow for r in rendered)

    def sources(self, pictures: Mapping[str, Pixels]) -> Iterator[Source]:
        """Yield the sources of the finished frame, their geometry brought to the host."""
        whole = Planes(self.compositor.inverse_depth, self.compositor.confidence, self.compositor.colour)
        for seat, planes, at in [*((seat, whole, i) for i, seat in enumerate(self._seats)), *self._beside]:
            cut = at, slice(seat.grid.height), slice(seat.grid.width)
            with self._queued():
                inverse, confidence, colour = (plane[cut].cpu().numpy() for plane in planes)
            yield Source(
                camera=seat.camera,
                pixels=pictures[seat.camera.name],
                grid=seat.grid,
                rays=seat.rays,
                inverse_depth=np.ascontiguousarray(inverse),
                confidence=np.ascontiguousarray(confidence),
                colour=np.ascontiguousarray(colour),
                tolerance=seat.tolerance,
                relative_tolerance=seat.relative_tolerance,
            )


def _all(pairs: Sequence[NetPair], helping: Sequence[Sequence[NetPair]]) -> tuple[NetPair, ...]:
    return (*pairs, *chain.from_iterable(helping))


def _largest(cameras: Sequence[Camera]) -> tuple[int, int]:
    return max(c.width for c in cameras), max(c.height for c in cameras)
