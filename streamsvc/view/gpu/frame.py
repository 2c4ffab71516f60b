"""One rung's frame of fixed shapes on the GPU, pictures in, views out: everything after the upload is one CUDA graph.

A frame goes over three queues at once where several `FramePath`s take turns: one's pictures go up and another's views
come down while a third's kernels run, because each has its own stream and its own pinned memory. Between `start` and
`finish` the host is free.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch

from streamsvc.frames import Camera, Pixels
from streamsvc.view.colour import IDENTITY, Affine
from streamsvc.view.compose import View
from streamsvc.view.geometry import Source
from streamsvc.view.gpu.compose import Compositor, Shapes
from streamsvc.view.gpu.geometry import PairGeometry, seats
from streamsvc.view.gpu.rectify import recolour
from streamsvc.view.gpu.splat import Tuning
from streamsvc.view.net.geometry import NetGeometry
from streamsvc.view.net.pairs import NetPair
from streamsvc.view.rectify import shrunk

_CAPTURE = threading.Lock()
"""One graph is captured at a time; those that are there may be replayed meanwhile."""


class FramePath:
    """Makes `count` views of the size of `view` from the pictures of `pairs`.

    `cameras` by name are of their pictures' sizes, `side` bounds the splat's resolution as in `compose`, `depth` says
    whether the views' inverse depth is wanted, `capacity` is as in `compose.Shapes`. With `captured` a GPU replays a
    graph, otherwise it launches kernel by kernel. Not for several threads at once. Raises ViewError when the device
    can't be used.
    """

    def __init__(
        self,
        net: NetGeometry,
        pairs: Sequence[NetPair],
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
        self.pairs = tuple(pairs)
        self._depth = depth
        self._stream = torch.cuda.Stream() if net.device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._graph: torch.cuda.CUDAGraph | None = None
        both = [seats(pair, cameras) for pair in pairs]
        self._seats = [seat for pair in both for seat in pair]
        small = shrunk(view, side)
        shapes = Shapes(
            len(self._seats),
            count,
            _largest([s.camera for s in self._seats]),
            _largest([s.grid for s in self._seats]),
            (small.width, small.height),
            (view.width, view.height),
            capacity=capacity,
        )
        with self._queued():
            self.compositor = Compositor(shapes, net.device.type, tuning)
            self._affines = self.compositor.buffer(len(self._seats), 2, 3)
            self._geometry = [
                PairGeometry(net, pair, seated, self.compositor, 2 * i)
                for i, (pair, seated) in enumerate(zip(pairs, both, strict=True))
            ]
            self.compositor.place(self._seats)
        self.wait()
        if self._stream is not None and captured:
            self._capture(self._stream)

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
        return steps + self.compositor.stages()

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
        names = [seat.camera.name for seat in self._seats]
        host = self.compositor.host(self._affines)
        for i, name in enumerate(names):
            host[i] = affines.get(name, IDENTITY)
        self.compositor.upload(self._affines)
        self.compositor.load_pictures([pictures[name] for name in names])

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
        tensors = self.compositor.inverse_depth, self.compositor.confidence, self.compositor.colour
        with self._queued():
            inverse, confidence, colour = (t.cpu().numpy() for t in tensors)
        for i, seat in enumerate(self._seats):
            cut = i, slice(seat.grid.height), slice(seat.grid.width)
            yield Source(
                camera=seat.camera,
                pixels=pictures[seat.camera.name],
                grid=seat.grid,
                rays=seat.rays,
                inverse_depth=np.ascontiguousarray(inverse[cut]),
                confidence=np.ascontiguousarray(confidence[cut]),
                colour=np.ascontiguousarray(colour[cut]),
                tolerance=seat.tolerance,
                relative_tolerance=seat.relative_tolerance,
            )


def _largest(cameras: Sequence[Camera]) -> tuple[int, int]:
    return max(c.width for c in cameras), max(c.height for c in cameras)
