"""Hole filling of `view.holes.fill_holes` as Triton kernels, in place: programs write only holes and read only what is
none, so they never meet.

Rows first, then what they leave to columns, then what lies beyond all that was seen: it gets the nearest pixel by exact
Euclidean distance, separably (the nearest in each row, then the best row), where the CPU goes by OpenCV's 5x5 chamfer
distance, which is within 3 % of it.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from streamsvc.view.holes import BEYOND, FADE_WIDTH, HOLE_COVERAGE

_COLUMNS = 8
_BLOCK_H, _BLOCK_W = 16, 32

# What the state of a pixel means: known or filled, wanting from its column, beyond what was seen.
_KNOWN = tl.constexpr(0)
_COLUMN = tl.constexpr(1)
_OUTSIDE = tl.constexpr(2)


@triton.jit
def _larger(a, b):
    return tl.maximum(a, b)


@triton.jit
def _smaller(a, b):
    return tl.minimum(a, b)


@triton.jit
def _fill_from(features, inverse, to, first, second, between, CHANNELS: tl.constexpr):
    """Copy the farther of two pixels over pixel `to`, where it lies `between` them; the first when they are equal."""
    a = tl.load(inverse + first, mask=between, other=0.0)
    b = tl.load(inverse + second, mask=between, other=0.0)
    source = tl.where(b < a, second, first)
    tl.store(inverse + to, tl.minimum(a, b), mask=between)
    for c in range(CHANNELS):
        value = tl.load(features + source * CHANNELS + c, mask=between, other=0.0)
        tl.store(features + to * CHANNELS + c, value, mask=between)


@triton.jit
def _fill_rows(
    features,
    inverse,
    coverage,
    state,
    width,
    longest,
    THRESHOLD: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    x = tl.arange(0, BLOCK)
    inside = x < width
    row = tl.program_id(0) * width
    solid = inside & (tl.load(coverage + row + x, mask=inside, other=0.0) >= THRESHOLD)
    whole = tl.sum(solid.to(tl.int32), 0) == 0
    left = tl.associative_scan(tl.where(solid, x, -1), 0, _larger)
    right = tl.associative_scan(tl.where(solid, x, width), 0, _smaller, reverse=True)
    hole = inside & (solid == 0)
    between = hole & (left >= 0) & (right < width)
    column = (hole & whole) | (between & (right - left > longest))
    between = between & (column == 0)
    outside = hole & (between == 0) & (column == 0)
    tl.store(state + row + x, tl.where(outside, _OUTSIDE, tl.where(column, _COLUMN, _KNOWN)).to(tl.uint8), mask=inside)
    _fill_from(features, inverse, row + x, row + left, row + right, between, CHANNELS)


@triton.jit
def _fill_columns(
    features,
    inverse,
    coverage,
    state,
    height,
    width,
    THRESHOLD: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    y = tl.arange(0, BLOCK)[:, None]
    x = (tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS))[None, :]
    inside = (y < height) & (x < width)
    at = y * width + x
    wanting = inside & (tl.load(state + at, mask=inside, other=0) == _COLUMN)
    if tl.sum(tl.sum(wanting.to(tl.int32), 0), 0) > 0:
        solid = inside & (tl.load(coverage + at, mask=inside, other=0.0) >= THRESHOLD)
        above = tl.associative_scan(tl.where(solid, y, -1), 0, _larger)
        below = tl.associative_scan(tl.where(solid, y, height), 0, _smaller, reverse=True)
        between = wanting & (above >= 0) & (below < height)
        tl.store(state + at, tl.where(between, _KNOWN, _OUTSIDE).to(tl.uint8), mask=wanting)
        _fill_from(features, inverse, at, above * width + x, below * width + x, between, CHANNELS)


@triton.jit
def _nearest_on_row(state, nearest, width, BLOCK: tl.constexpr):
    x = tl.arange(0, BLOCK)
    inside = x < width
    row = tl.program_id(0) * width
    known = inside & (tl.load(state + row + x, mask=inside, other=0) == _KNOWN)
    left = tl.associative_scan(tl.where(known, x, -1), 0, _larger)
    right = tl.associative_scan(tl.where(known, x, width), 0, _smaller, reverse=True)
    chosen = tl.where((left < 0) | ((right < width) & (right - x < x - left)), right, left)
    tl.store(nearest + row + x, tl.where(chosen < width, chosen, -1), mask=inside)


@triton.jit
def _fade_out(
    features,
    inverse,
    state,
    nearest,
    height,
    width,
    reach,
    BEYOND: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_W: tl.constexpr,
):
    y = (tl.program_id(1) * BLOCK_H + tl.arange(0, BLOCK_H))[:, None]
    columns = tl.program_id(0) * BLOCK_W + tl.arange(0, BLOCK_W)
    x = columns[None, :]
    inside = (y < height) & (x < width)
    at = y * width + x
    outside = inside & (tl.load(state + at, mask=inside, other=0) == _OUTSIDE)
    if tl.sum(tl.sum(outside.to(tl.int32), 0), 0) > 0:
        far = 1 << 30
        best = tl.full([BLOCK_H, BLOCK_W], far, tl.int32)
        source = tl.zeros([BLOCK_H, BLOCK_W], tl.int32)
        for row in range(height):
            there = tl.load(nearest + row * width + columns, mask=columns < width, other=-1)
            aside = there - columns
            ahead = tl.where(there >= 0, aside * aside, far)[None, :]
            d = tl.where(ahead < far, ahead + (y - row) * (y - row), far)
            source = tl.where(d < best, (row * width + there)[None, :], source)
            best = tl.minimum(best, d)
        some = outside & (best < far)
        t = tl.minimum(tl.sqrt(tl.where(some, best, 0).to(tl.float32)) / reach, 1.0)
        t = tl.where(some, t * t * (3.0 - 2.0 * t), 1.0)
        tl.store(inverse + at, tl.load(inverse + source, mask=some, other=0.0), mask=outside)
        for c in range(CHANNELS):
            value = tl.load(features + source * CHANNELS + c, mask=some, other=0.0).to(tl.float32)
            if c < 3:
                value += t * (BEYOND - value)
            tl.store(features + at * CHANNELS + c, value, mask=outside)


class Filler:
    """Fills the holes of splats of one size on `device`, with scratch memory of its own; see `fill`."""

    def __init__(self, width: int, height: int, device: str | torch.device) -> None:
        self._state = torch.empty(height, width, dtype=torch.uint8, device=device)
        self._nearest = torch.empty(height, width, dtype=torch.int32, device=device)

    def fill(self, features: torch.Tensor, inverse: torch.Tensor, coverage: torch.Tensor) -> None:
        """Fill, in place, the pixels of `features` (h, w, c) and `inverse` (h, w) that `coverage` (h, w) leaves under
        `holes.HOLE_COVERAGE`, by the rules of `holes.fill_holes`.

        The first three channels are colours, 0 to 255; only they fade to `holes.BEYOND`. All contiguous, on one device.
        """
        height, width, channels = features.shape
        common = {"THRESHOLD": HOLE_COVERAGE, "CHANNELS": channels}
        block = triton.next_power_of_2(width)
        _fill_rows[(height,)](features, inverse, coverage, self._state, width, width // 3, **common, BLOCK=block)
        _fill_columns[(triton.cdiv(width, _COLUMNS),)](
            features,
            inverse,
            coverage,
            self._state,
            height,
            width,
            **common,
            BLOCK=triton.next_power_of_2(height),
            COLUMNS=_COLUMNS,
            num_warps=16,
        )
        _nearest_on_row[(height,)](self._state, self._nearest, width, BLOCK=block)
        _fade_out[(triton.cdiv(width, _BLOCK_W), triton.cdiv(height, _BLOCK_H))](
            features,
            inverse,
            self._state,
            self._nearest,
            height,
            width,
            FADE_WIDTH * width,
            BEYOND=BEYOND,
            CHANNELS=channels,
            BLOCK_H=_BLOCK_H,
            BLOCK_W=_BLOCK_W,
        )
