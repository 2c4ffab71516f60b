"""Sources to views on the GPU: `view.compose` for fixed shapes, one or several views (eyes) of the same sources.

A `Compositor` owns every buffer of a frame, on the GPU and pinned on the host, at fixed addresses. `load` and `aim`
fill them, `run` launches the kernels, `download` brings the pictures back. With a net on the GPU (`frame.FramePath`)
only the pictures are loaded; it writes `inverse_depth`, `confidence` and `colour` itself. Not for several threads at
once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from streamsvc.frames import Camera, Pixels
from streamsvc.view.blend import source_row
from streamsvc.view.errors import ViewError
from streamsvc.view.geometry import Placed, Source
from streamsvc.view.gpu import blend as blending
from streamsvc.view.gpu import check_device
from streamsvc.view.gpu.fill import Filler
from streamsvc.view.gpu.project import ROW as PROJECTION_ROW
from streamsvc.view.gpu.project import project, projection_row
from streamsvc.view.gpu.splat import Splatter, Tuning


@dataclass(frozen=True, slots=True)
class Shapes:
    """What is fixed: how many `sources` and `views`; (width, height) of the largest source `picture` and `grid`, of the
    `splat` and of the `output`; how many pictures `beside` the sources' there are room for, which no view shows; `half`
    rounds splat weights to bfloat16 for the tensor cores; `capacity` is how many ids the tiles of a view may hold
    together (None: four a Gaussian)."""

    sources: int
    views: int
    picture: tuple[int, int]
    grid: tuple[int, int]
    splat: tuple[int, int]
    output: tuple[int, int]
    beside: int = 0
    half: bool = True
    capacity: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Rendered:
    """One view as in `compose.View`, with `inverse_depth` where it was asked for and `coverage` at the splat's size;
    `overflow` counts the splat's ids that found no room (0, or the view lacks Gaussians)."""

    pixels: Pixels
    inverse_depth: NDArray[np.float32] | None
    coverage: NDArray[np.float32]
    overflow: int


class Compositor:
    """Composes views of fixed shapes on one GPU (or on the CPU under Triton's interpreter).

    Static tensors on `device`: `inverse_depth`, `confidence` (s, h, w) float32, `colour` (s, h, w, 3) uint8, `pictures`
    (s + beside, H, W, 3) uint8, `rays` (s, h, w, 2) float32; `pixels` (v, H, W, 3) uint8 and `inverse` (v, H, W)
    float32 are the result. Raises ViewError when the device can't be used or the shapes are impossible.
    """

    def __init__(self, shapes: Shapes, device: str = "cuda", tuning: Tuning | None = None) -> None:
        self.shapes = shapes
        self.device = torch.device(check_device(device))
        self._pinned = self.device.type == "cuda"
        s, v = shapes.sources, shapes.views
        if s < 1 or v < 1 or min(*shapes.picture, *shapes.grid, *shapes.splat, *shapes.output) < 2:
            raise ViewError(f"a view needs a source, and at least 2 pixels a side everywhere; got {shapes}")
        (pw, ph), (gw, gh), (sw, sh), (ow, oh) = shapes.picture, shapes.grid, shapes.splat, shapes.output
        self._host: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.pictures = self.buffer(s + shapes.beside, ph, pw, 3, dtype=torch.uint8)
        self.colour = self.buffer(s, gh, gw, 3, dtype=torch.uint8)
        self.inverse_depth = self.buffer(s, gh, gw)
        self.confidence = self.buffer(s, gh, gw)
        self.rays = self.buffer(s, gh, gw, 2)
        self._sizes = self.buffer(s, 4, dtype=torch.int32)
        self._projections = self.buffer(v, s, PROJECTION_ROW)
        self._blends = self.buffer(v, s, blending.ROW)
        self._views = self.buffer(v, 8)
        self._fade = self.buffer(1)
        self._geometry = torch.empty(7, s * gh * gw, device=self.device)
        self._filler = Filler(sw, sh, self.device)
        splatter = [
            Splatter((s, gh, gw), 3, sw, sh, self.device, capacity=shapes.capacity, tuning=tuning) for _ in range(v)
        ]
        self.splatters = tuple(splatter)
        self.pixels = torch.empty(v, oh, ow, 3, dtype=torch.uint8, device=self.device)
        self.inverse = torch.empty(v, oh, ow, device=self.device)
        outputs = [self.pixels, self.inverse, *(p.coverage for p in splatter), *(p.lists for p in splatter)]
        self._outputs = [(t, self._staging(t)) for t in outputs]
        self._colours = self.colour.reshape(-1, 3) if shapes.half else torch.empty(s * gh * gw, 3, device=self.device)
        self._known_rays: list[object] = [None] * s

    def _staging(self, tensor: torch.Tensor) -> torch.Tensor:
        return torch.zeros(tensor.shape, dtype=tensor.dtype, pin_memory=self._pinned)

    def buffer(self, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Return a new input tensor of zeros on the device, with a pinned `host` array behind it."""
        tensor = torch.zeros(shape, dtype=dtype, device=self.device)
        self._host.append((tensor, self._staging(tensor)))
        return tensor

    def upload(self, *tensors: torch.Tensor) -> None:
        """Copy what was written to `host` arrays to these input tensors, without waiting."""
        for tensor, host in self._host:
            if any(tensor is t for t in tensors):
                tensor.copy_(host, non_blocking=True)

    def host(self, tensor: torch.Tensor) -> NDArray[np.generic]:
        """Return the pinned host array behind one of the input tensors, to be written before `upload`."""
        return next(np.asarray(host.numpy()) for device, host in self._host if device is tensor)

    def load(self, sources: Sequence[Source]) -> None:
        """Copy sources' pictures and geometry to the GPU, through pinned memory and without waiting for the copy.

        The previous frame's `download` has to be over. Raises ViewError when there are fewer or more, or larger ones,
        than the shapes say.
        """
        self.place(sources)
        colour, inverse = self.host(self.colour), self.host(self.inverse_depth)
        confidence = self.host(self.confidence)
        for i, source in enumerate(sources):
            h, w = source.inverse_depth.shape
            colour[i, :h, :w] = source.colour
            inverse[i, :h, :w] = source.inverse_depth
            confidence[i, :h, :w] = source.confidence
        self.load_pictures([source.pixels for source in sources])
        self.upload(self.colour, self.inverse_depth, self.confidence)

    def load_pictures(self, pictures: Sequence[Pixels]) -> None:
        """Copy the sources' pictures, and those beside, to the GPU, as `load` does."""
        host = self.host(self.pictures)
        for i, pixels in enumerate(pictures):
            host[i, : pixels.shape[0], : pixels.shape[1]] = pixels
        self.upload(self.pictures)

    def place(self, sources: Sequence[Placed]) -> None:
        """Set where the sources' cameras and grids look and how large they are; raises ViewError as `load` does."""
        self._check(sources)
        sizes, rays = self.host(self._sizes), self.host(self.rays)
        for i, source in enumerate(sources):
            w, h = source.grid.width, source.grid.height
            sizes[i] = source.camera.width, source.camera.height, w, h
            if self._known_rays[i] is not source.rays:
                rays[i, :h, :w] = source.rays
        self.upload(self._sizes)
        if any(known is not source.rays for known, source in zip(self._known_rays, sources, strict=True)):
            self._known_rays = [source.rays for source in sources]
            self.upload(self.rays)

    def _check(self, sources: Sequence[Placed]) -> None:
        shapes = self.shapes
        if len(sources) != shapes.sources:
            raise ViewError(f"this compositor takes {shapes.sources} sources, got {len(sources)}")
        for source in sources:
            w, h, W, H = source.grid.width, source.grid.height, source.camera.width, source.camera.height
            if (
                w > shapes.grid[0]
                or h > shapes.grid[1]
                or not (2 <= W <= shapes.picture[0] and 2 <= H <= shapes.picture[1])
            ):
                raise ViewError(
                    f"camera {source.camera.name!r} has a picture of {W} x {H} and a grid of {w} x {h}; "
                    f"up to {shapes.picture} and {shapes.grid} fit here"
                )

    def aim(self, sources: Sequence[Placed], views: Sequence[Camera], k: float) -> None:
        """Set the views of the sources and the splat's fade `k` in 1/m. Raises ViewError."""
        self._check(sources)
        if len(views) != self.shapes.views or any((v.width, v.height) != self.shapes.output for v in views):
            raise ViewError(f"this compositor makes {self.shapes.views} views of {self.shapes.output}")
        projections, blends = self.host(self._projections), self.host(self._blends)
        rows = self.host(self._views)
        for i, view in enumerate(views):
            small = view.resized(*self.shapes.splat)
            rows[i] = blending.view_row(view, *self.shapes.splat)
            for j, source in enumerate(sources):
                projections[i, j] = projection_row(source, small)
                blends[i, j] = source_row(source, view)
        self.host(self._fade)[0] = k
        self.upload(self._projections, self._blends, self._views, self._fade)

    def stages(self) -> list[tuple[str, Callable[[], object]]]:
        """Return the steps of a frame in their order, named; `run` does them all."""
        steps: list[tuple[str, Callable[[], object]]] = []
        if not self.shapes.half:
            steps.append(("colour", partial(self._colours.copy_, self.colour.reshape(-1, 3))))
        for i, part in enumerate(self.splatters):
            steps += [
                ("project", partial(self._project, i)),
                ("bin", partial(part.bin, self.gaussians[0])),
                ("render", partial(part.render, *self.gaussians)),
                ("fill", partial(self._filler.fill, part.features, part.inverse, part.coverage)),
                ("blend", partial(self._blend, i)),
            ]
        return steps

    @property
    def gaussians(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What splatters are given: geometry (n, 7) of the view projected last, colours (n, 3) and the fade (1,)."""
        return self._geometry.T, self._colours, self._fade

    def _project(self, i: int) -> None:
        project(self.rays, self.inverse_depth, self.confidence, self._projections[i], self._sizes, self._geometry)

    def _blend(self, i: int) -> None:
        part = self.splatters[i]
        blending.blend(
            part.features,
            part.inverse,
            self._views[i],
            self._blends[i],
            self._sizes,
            self.pictures,
            self.inverse_depth,
            self.pixels[i],
            self.inverse[i],
        )

    def run(self) -> None:
        """Make the views of what is loaded; doesn't wait for the GPU."""
        for _, step in self.stages():
            step()

    def receive(self, *, depth: bool = True) -> None:
        """Start copying the views to pinned memory, inverse depth only with `depth`; doesn't wait."""
        for tensor, host in self._outputs:
            if depth or tensor is not self.inverse:
                host.copy_(tensor, non_blocking=True)

    def download(self, *, depth: bool = True) -> list[Rendered]:
        """Wait for the frame and return its views, in arrays of their own."""
        self.receive(depth=depth)
        if self.device.type == "cuda":
            torch.cuda.current_stream().synchronize()
        return self.received(depth=depth)

    def received(self, *, depth: bool = True) -> list[Rendered]:
        """Return the views that `receive` brought, once its copies are over, in arrays of their own."""
        pixels, inverse, *rest = (host.numpy() for _, host in self._outputs)
        coverage, lists = rest[: len(self.splatters)], rest[len(self.splatters) :]
        return [
            Rendered(
                pixels[i].copy(),
                inverse[i].copy() if depth else None,
                coverage[i].copy(),
                max(0, int(lists[i][0]) - splatter.capacity),
            )
            for i, splatter in enumerate(self.splatters)
        ]
