"""The splat of `view.splat` as Triton kernels: the same formula, any order, the same result to the bit every time.

A frame is four kernels and a prefix sum over tiles, all on fixed shapes:

    bounds   per patch of 256 Gaussians: the tiles each touches, and the tiles the patch touches
    bin      per tile, twice: patches that touch it are found by their boxes, their Gaussians tested in order; first
             counted, then (after the prefix sum) their ids written one after the other
    render   per tile: its Gaussians in chunks, pixels x chunk in registers

No program writes where another may, so there is no atomic and nothing depends on scheduling. The nearest depth is found
on the way: where a chunk brings a nearer one, what was summed so far fades by exp(-k dz), as in a running softmax;
so the Gaussians are read once.

Lists longer than the capacity are cut at its end; `Splatter.overflow` counts what was cut.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from streamsvc.view.errors import ViewError
from streamsvc.view.splat import SUPPORT

PATCH = 16
"""Side of the square of grid pixels whose Gaussians are tested together; near in the source is near in the view."""

_LIST = 256
_BOXES = 128
MAX_TILES = 32767


@triton.jit
def _members(patch, lane, height, width, across, down, PATCH_H: tl.constexpr, PATCH_W: tl.constexpr):
    """Ids of the Gaussians of a patch, and which of them exist."""
    source = patch // (across * down)
    rest = patch % (across * down)
    y = (rest // across) * PATCH_H + lane // PATCH_W
    x = (rest % across) * PATCH_W + lane % PATCH_W
    return (source * height + y) * width + x, (y < height) & (x < width)


@triton.jit
def _bounds(
    geometry,
    item,
    part,
    ranges,
    boxes,
    height,
    width,
    across,
    down,
    columns,
    rows,
    PATCH_H: tl.constexpr,
    PATCH_W: tl.constexpr,
    TILE: tl.constexpr,
    SUPPORT: tl.constexpr,
):
    patch = tl.program_id(0)
    lane = tl.arange(0, PATCH_H * PATCH_W)
    ids, exists = _members(patch, lane, height, width, across, down, PATCH_H, PATCH_W)
    at = geometry + ids * item
    mx = tl.load(at, mask=exists, other=0.0)
    my = tl.load(at + part, mask=exists, other=0.0)
    z = tl.load(at + 2 * part, mask=exists, other=0.0)
    xx = tl.load(at + 3 * part, mask=exists, other=0.0)
    xy = tl.load(at + 4 * part, mask=exists, other=0.0)
    yy = tl.load(at + 5 * part, mask=exists, other=0.0)
    a = tl.load(at + 6 * part, mask=exists, other=0.0)
    det = xx * yy - xy * xy
    alive = exists & (det > 0) & (xx > 0) & (a > 0) & (z > 0) & (z < 1e30)
    det = tl.where(alive, det, 1.0)
    rx = tl.sqrt(tl.where(alive, SUPPORT * yy / det, 0.0))
    ry = tl.sqrt(tl.where(alive, SUPPORT * xx / det, 0.0))
    alive = alive & (mx + rx >= 0) & (mx - rx <= columns - 1) & (my + ry >= 0) & (my - ry <= rows - 1)
    x0 = tl.ceil(tl.where(alive, tl.maximum(mx - rx, 0.0), 1.0)).to(tl.int32)
    x1 = tl.floor(tl.where(alive, tl.minimum(mx + rx, columns - 1.0), 0.0)).to(tl.int32)
    y0 = tl.ceil(tl.where(alive, tl.maximum(my - ry, 0.0), 1.0)).to(tl.int32)
    y1 = tl.floor(tl.where(alive, tl.minimum(my + ry, rows - 1.0), 0.0)).to(tl.int32)
    alive = alive & (x0 <= x1) & (y0 <= y1)
    x0 = tl.where(alive, x0 // TILE, 32767).to(tl.int64)
    x1 = tl.where(alive, x1 // TILE, 0).to(tl.int64)
    y0 = tl.where(alive, y0 // TILE, 32767).to(tl.int64)
    y1 = tl.where(alive, y1 // TILE, 0).to(tl.int64)
    tl.store(ranges + patch * (PATCH_H * PATCH_W) + lane, x0 | (x1 << 16) | (y0 << 32) | (y1 << 48))
    box = tl.min(x0, 0) | (tl.max(x1, 0) << 16) | (tl.min(y0, 0) << 32) | (tl.max(y1, 0) << 48)
    tl.store(boxes + patch, box)


@triton.jit
def _touches(box, x, y):
    """Whether tile (x, y) lies in a packed box of tiles."""
    inside = ((box & 0xFFFF) <= x) & (((box >> 16) & 0xFFFF) >= x)
    return inside & (((box >> 32) & 0xFFFF) <= y) & (((box >> 48) & 0xFFFF) >= y)


@triton.jit
def _bin(
    ranges,
    boxes,
    patches,
    places,
    ids,
    capacity,
    height,
    width,
    across,
    down,
    tiles_x,
    WRITE: tl.constexpr,
    PATCH_H: tl.constexpr,
    PATCH_W: tl.constexpr,
    BOXES: tl.constexpr,
):
    tile = tl.program_id(0)
    x, y = tile % tiles_x, tile // tiles_x
    lane = tl.arange(0, PATCH_H * PATCH_W)
    at = 0
    if WRITE:
        at = tl.load(places + tile)
    for first in range(0, patches, BOXES):
        patch = first + tl.arange(0, BOXES)
        hit = (patch < patches) & _touches(tl.load(boxes + patch, mask=patch < patches, other=32767), x, y)
        current = first - 1
        for _ in range(tl.sum(hit.to(tl.int32), 0)):
            current = tl.min(tl.where(hit & (patch > current), patch, patches), 0)
            inside = _touches(tl.load(ranges + current * (PATCH_H * PATCH_W) + lane), x, y).to(tl.int32)
            if WRITE:
                member, _exists = _members(current, lane, height, width, across, down, PATCH_H, PATCH_W)
                to = at + tl.cumsum(inside, 0) - 1
                tl.store(ids + to, member, mask=(inside > 0) & (to < capacity))
            at += tl.sum(inside, 0)
    if not WRITE:
        tl.store(places + tile, at)


@triton.jit
def _render(
    geometry,
    item,
    part,
    features,
    feature_item,
    feature_part,
    ids,
    places,
    capacity,
    fade,
    out,
    inverse,
    coverage,
    nearest,
    columns,
    rows,
    tiles_x,
    CHANNELS: tl.constexpr,
    PADDED: tl.constexpr,
    TILE: tl.constexpr,
    CHUNK: tl.constexpr,
    SUPPORT: tl.constexpr,
    HALF: tl.constexpr,
):
    tile = tl.program_id(0)
    k = tl.load(fade)
    pixel = tl.arange(0, TILE * TILE)
    column = (tile % tiles_x) * TILE + pixel % TILE
    row = (tile // tiles_x) * TILE + pixel // TILE
    px, py = column.to(tl.float32)[:, None], row.to(tl.float32)[:, None]
    channel = tl.arange(0, PADDED)
    infinity = float("inf")
    z0 = tl.full([TILE * TILE], infinity, tl.float32)
    total = tl.zeros([TILE * TILE], tl.float32)
    thick = tl.zeros([TILE * TILE], tl.float32)
    depth = tl.zeros([TILE * TILE], tl.float32)
    summed = tl.zeros([TILE * TILE, PADDED], tl.float32)
    begin = tl.minimum(tl.load(places + tile), capacity)
    end = tl.minimum(tl.load(places + tile + 1), capacity)
    for first in range(begin, end, CHUNK):
        at = first + tl.arange(0, CHUNK)
        live = at < end
        i = tl.load(ids + at, mask=live, other=0)
        g = geometry + i * item
        mx = tl.load(g, mask=live, other=0.0)[None, :]
        my = tl.load(g + part, mask=live, other=0.0)[None, :]
        z = tl.load(g + 2 * part, mask=live, other=1.0)
        xx = tl.load(g + 3 * part, mask=live, other=0.0)[None, :]
        xy = tl.load(g + 4 * part, mask=live, other=0.0)[None, :]
        yy = tl.load(g + 5 * part, mask=live, other=0.0)[None, :]
        a = tl.load(g + 6 * part, mask=live, other=0.0)[None, :]
        dx, dy = px - mx, py - my
        q = xx * dx * dx + 2 * xy * dx * dy + yy * dy * dy
        covers = (q <= SUPPORT) & live[None, :]
        near = tl.minimum(z0, tl.min(tl.where(covers, z[None, :], infinity), 1))
        seen = near < infinity
        kept = tl.where(seen, tl.exp(-k * (tl.where(seen, z0, 0.0) - tl.where(seen, near, 0.0))), 1.0)
        weight = tl.where(covers, a * tl.exp(-0.5 * q), 0.0)
        thick += tl.sum(weight, 1)
        weight *= tl.exp(-k * tl.where(covers, z[None, :] - tl.where(seen, near, 0.0)[:, None], 0.0))
        f = tl.load(
            features + i[:, None] * feature_item + channel[None, :] * feature_part,
            mask=live[:, None] & (channel[None, :] < CHANNELS),
            other=0,
        )
        if HALF:
            # Rounded once for all sums, so the weights that add up are the weights that are divided by. bfloat16 fits
            # into TF32 exactly, so the tensor cores round no further.
            weight = weight.to(tl.bfloat16).to(tl.float32)
            part_sum = tl.dot(weight, f.to(tl.float32), input_precision="tf32")
        else:
            part_sum = tl.dot(weight, f.to(tl.float32), input_precision="ieee")
        total = total * kept + tl.sum(weight, 1)
        depth = depth * kept + tl.sum(weight / z[None, :], 1)
        summed = summed * kept[:, None] + part_sum
        z0 = near
    scale = tl.where(total > 0, 1.0 / tl.where(total > 0, total, 1.0), 0.0)
    inside = (column < columns) & (row < rows)
    to = row * columns + column
    tl.store(nearest + to, z0, mask=inside)
    tl.store(coverage + to, 1.0 - tl.exp(-thick), mask=inside)
    tl.store(inverse + to, depth * scale, mask=inside)
    value = summed * scale[:, None]
    stored = inside[:, None] & (channel[None, :] < CHANNELS)
    tl.store(out + to[:, None] * CHANNELS + channel[None, :], value, mask=stored)


@dataclass(frozen=True, slots=True)
class Tuning:
    """How a Splatter is cut: `tile` is the side of a tile in pixels (8 or 16), `chunk` the Gaussians weighed at once
    (16 or more, a power of two), `warps` those of a tile's program."""

    tile: int = 16
    chunk: int = 16
    warps: int = 8


class Splatter:
    """Splats Gaussians into pictures of one size; its buffers are made once and hold the newest result.

    After `splat`: `features` (h, w, c), `inverse` (h, w) the mean of 1/z under the same weights, 0 where nothing
    covers, `coverage` (h, w) and `nearest` (h, w), float32 on `device`; as in `splat.Splatted`. `features` may be had
    in bfloat16 for a decoder. `lists` (1,) int32 is how many ids the tiles needed.

    Gaussians come as (sources, height, width) grids, or as lists: (1, 1, n). Raises ViewError for sizes that can't be.
    """

    def __init__(
        self,
        grids: tuple[int, int, int],
        channels: int,
        width: int,
        height: int,
        device: str | torch.device,
        *,
        capacity: int | None = None,
        dtype: torch.dtype = torch.float32,
        tuning: Tuning | None = None,
    ) -> None:
        self.tuning = tuning = tuning or Tuning()
        self.grids = sources, rows, columns = grids
        self.count = sources * rows * columns
        if min(*grids, channels, width, height) < 1 or self.count > 2**26:
            raise ViewError(f"a splat of {grids} Gaussians with {channels} channels into {width} x {height} can't be")
        self._tiles = -(-width // tuning.tile), -(-height // tuning.tile)
        if max(self._tiles) >= MAX_TILES:
            raise ViewError(f"a splat is at most {MAX_TILES} tiles wide and high, got {self._tiles}")
        self._patch = (1, _LIST) if rows == 1 else (PATCH, PATCH)
        self._across, self._down = -(-columns // self._patch[1]), -(-rows // self._patch[0])
        patches = sources * self._across * self._down
        tiles = self._tiles[0] * self._tiles[1]
        self.capacity = 4 * self.count if capacity is None else capacity
        self._ranges = torch.empty(patches * self._patch[0] * self._patch[1], dtype=torch.int64, device=device)
        self._boxes = torch.empty(patches, dtype=torch.int64, device=device)
        self._counts = torch.zeros(tiles, dtype=torch.int32, device=device)
        self._places = torch.zeros(tiles + 1, dtype=torch.int32, device=device)
        self._ids = torch.empty(max(self.capacity, 1), dtype=torch.int32, device=device)
        self.lists = self._places[tiles:]
        self.features = torch.empty(height, width, channels, dtype=dtype, device=device)
        self.inverse = torch.empty(height, width, device=device)
        self.coverage = torch.empty(height, width, device=device)
        self.nearest = torch.empty(height, width, device=device)

    def overflow(self) -> int:
        """Return how many ids the newest splat had no room for: 0, or the picture lacks Gaussians in its last tiles.

        Waits for the GPU.
        """
        return max(0, int(self.lists.item()) - self.capacity)

    def bin(self, geometry: torch.Tensor) -> None:
        """Find the Gaussians of every tile, in order; the first half of `splat`."""
        _, rows, columns = self.grids
        tile = self.tuning.tile
        patches = self._boxes.numel()
        patch_h, patch_w = self._patch
        height, width = self.coverage.shape
        tiles = self._counts.numel()
        grid = rows, columns, self._across, self._down
        shape = {"PATCH_H": patch_h, "PATCH_W": patch_w}
        item, part = geometry.stride()
        _bounds[(patches,)](
            geometry, item, part, self._ranges, self._boxes, *grid, width, height, **shape, TILE=tile, SUPPORT=SUPPORT
        )
        common = (self._ranges, self._boxes, patches)
        rest = (self._ids, self.capacity, *grid, self._tiles[0])
        _bin[(tiles,)](*common, self._counts, *rest, **shape, WRITE=False, BOXES=_BOXES)
        torch.cumsum(self._counts, 0, dtype=torch.int32, out=self._places[1:])
        _bin[(tiles,)](*common, self._places, *rest, **shape, WRITE=True, BOXES=_BOXES)

    def render(self, geometry: torch.Tensor, features: torch.Tensor, k: torch.Tensor) -> None:
        """Weigh and add up the Gaussians that `bin` found; the second half of `splat`."""
        height, width = self.coverage.shape
        channels = self.features.shape[2]
        _render[(self._counts.numel(),)](
            geometry,
            *geometry.stride(),
            features,
            *features.stride(),
            self._ids,
            self._places,
            self.capacity,
            k,
            self.features,
            self.inverse,
            self.coverage,
            self.nearest,
            width,
            height,
            self._tiles[0],
            CHANNELS=channels,
            PADDED=max(16, triton.next_power_of_2(channels)),
            TILE=self.tuning.tile,
            CHUNK=self.tuning.chunk,
            SUPPORT=SUPPORT,
            HALF=features.dtype in (torch.bfloat16, torch.uint8),
            num_warps=self.tuning.warps,
        )

    def splat(self, geometry: torch.Tensor, features: torch.Tensor, k: torch.Tensor) -> None:
        """Splat into this object's buffers, with nothing allocated and nothing waited for.

        `geometry` (n, 7) float32 with any strides, as in `splat.Splats`; `features` (n, c) float32, bfloat16 or uint8
        with any strides: in the latter two the weights are rounded to bfloat16 and the tensor cores multiply (sums stay
        float32; bytes are exact in bfloat16); `k` (1,) float32 in 1/m.
        """
        self.bin(geometry)
        self.render(geometry, features, k)
