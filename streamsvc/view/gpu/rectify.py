"""Pictures to the net's input on the GPU: brought to one look, averaged down, rectified; what `view.colour.corrected`
and `view.rectify.Side.rectify` do on the CPU, within a grey level or two (OpenCV's remap counts in 1/32 of a pixel).
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl

_BLOCK = 256


@triton.jit
def _byte(value):
    return tl.minimum(tl.maximum(value + 0.5, 0.0), 255.0).to(tl.uint8)


@triton.jit
def _recolour(pictures, affines, count, BLOCK: tl.constexpr):
    source = tl.program_id(1)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    here = pictures + source.to(tl.int64) * count + at
    gain = tl.load(affines + source * 6 + at % 3)
    offset = tl.load(affines + source * 6 + 3 + at % 3)
    value = tl.load(here, mask=inside, other=0).to(tl.float32)
    tl.store(here, _byte(value * gain + offset), mask=inside)


@triton.jit
def _shrink(
    picture,
    pitch,
    width,
    height,
    out,
    out_pitch,
    out_width,
    count,
    step_x,
    step_y,
    TAPS_X: tl.constexpr,
    TAPS_Y: tl.constexpr,
    BLOCK: tl.constexpr,
):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    x, y = at % out_width, at // out_width
    left, top = x.to(tl.float32) * step_x, y.to(tl.float32) * step_y
    u, v = tl.floor(left).to(tl.int32), tl.floor(top).to(tl.int32)
    nothing = tl.zeros([BLOCK], tl.float32)
    red, green, blue, total = nothing, nothing, nothing, nothing
    for j in range(TAPS_Y):
        row = (v + j).to(tl.float32)
        tall = tl.minimum(top + step_y, row + 1) - tl.maximum(top, row)
        for i in range(TAPS_X):
            column = (u + i).to(tl.float32)
            weight = tall * (tl.minimum(left + step_x, column + 1) - tl.maximum(left, column))
            used = inside & (tall > 0) & (weight > 0) & (u + i < width) & (v + j < height)
            weight = tl.where(used, weight, 0.0)
            here = picture + (v + j) * pitch + (u + i) * 3
            red += weight * tl.load(here, mask=used, other=0).to(tl.float32)
            green += weight * tl.load(here + 1, mask=used, other=0).to(tl.float32)
            blue += weight * tl.load(here + 2, mask=used, other=0).to(tl.float32)
            total += weight
    scale = 1.0 / tl.where(inside, total, 1.0)
    to = out + y * out_pitch + x * 3
    tl.store(to, _byte(red * scale), mask=inside)
    tl.store(to + 1, _byte(green * scale), mask=inside)
    tl.store(to + 2, _byte(blue * scale), mask=inside)


@triton.jit
def _mixed(at00, at01, at10, at11, tu, tv, inside):
    """Bilinear between four pixels of one channel, as a byte."""
    a = tl.load(at00, mask=inside, other=0).to(tl.float32)
    b = tl.load(at01, mask=inside, other=0).to(tl.float32)
    c = tl.load(at10, mask=inside, other=0).to(tl.float32)
    d = tl.load(at11, mask=inside, other=0).to(tl.float32)
    upper, lower = a + tu * (b - a), c + tu * (d - c)
    return _byte(upper + tv * (lower - upper))


@triton.jit
def _remap(picture, pitch, width, height, maps, out, out_pitch, net, out_width, count, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    u = tl.minimum(tl.maximum(tl.load(maps + at, mask=inside, other=0.0), 0.0), width - 1.0)
    v = tl.minimum(tl.maximum(tl.load(maps + count + at, mask=inside, other=0.0), 0.0), height - 1.0)
    x0, y0 = u.to(tl.int32), v.to(tl.int32)
    x1, y1 = tl.minimum(x0 + 1, width - 1), tl.minimum(y0 + 1, height - 1)
    tu, tv = u - x0.to(tl.float32), v - y0.to(tl.float32)
    at00, at01 = picture + y0 * pitch + x0 * 3, picture + y0 * pitch + x1 * 3
    at10, at11 = picture + y1 * pitch + x0 * 3, picture + y1 * pitch + x1 * 3
    to = out + at // out_width * out_pitch + at % out_width * 3
    for c in range(3):
        value = _mixed(at00 + c, at01 + c, at10 + c, at11 + c, tu, tv, inside)
        tl.store(to + c, value, mask=inside)
        tl.store(net + at * 3 + c, value.to(tl.float32) * (1.0 / 255.0), mask=inside)


def recolour(pictures: torch.Tensor, affines: torch.Tensor) -> None:
    """Apply gain and offset (of 255) per channel, in place: `pictures` (s, h, w, 3) uint8, `affines` (s, 2, 3)."""
    count = pictures[0].numel()
    _recolour[(triton.cdiv(count, 4 * _BLOCK), len(pictures))](pictures, affines, count, BLOCK=4 * _BLOCK)


def shrink(picture: torch.Tensor, out: torch.Tensor) -> None:
    """Average `picture` (H, W, 3) uint8 down to `out` (h, w, 3); rows of either may lie apart."""
    (height, width), (out_height, out_width) = picture.shape[:2], out.shape[:2]
    step_x, step_y = width / out_width, height / out_height
    count = out_height * out_width
    _shrink[(triton.cdiv(count, _BLOCK),)](
        picture,
        picture.stride(0),
        width,
        height,
        out,
        out.stride(0),
        out_width,
        count,
        step_x,
        step_y,
        TAPS_X=math.ceil(step_x) + 1,
        TAPS_Y=math.ceil(step_y) + 1,
        BLOCK=_BLOCK,
    )


def remap(picture: torch.Tensor, maps: torch.Tensor, out: torch.Tensor, net: torch.Tensor) -> None:
    """Sample `picture` (H, W, 3) uint8 bilinearly where `maps` (2, h, w) float32, x and y, say; its border goes on.

    `out` (h, w, 3) uint8 gets the colours (rows of both may lie apart), `net` (h, w, 3) float32 the same as 0..1.
    """
    height, width = picture.shape[:2]
    count = out.shape[0] * out.shape[1]
    _remap[(triton.cdiv(count, _BLOCK),)](
        picture,
        picture.stride(0),
        width,
        height,
        maps,
        out,
        out.stride(0),
        net,
        out.shape[1],
        count,
        BLOCK=_BLOCK,
    )
