"""The blend of `view.blend` as one Triton kernel at output size: the same rules, the two best sources chosen first,
then only those two sampled."""

from __future__ import annotations

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray

from streamsvc.frames import Camera
from streamsvc.view.blend import BLEEDING, FEATHER_PX, LEAST_WEIGHT, SAME_SURFACE

ROW = 48
"""Floats in a `view.blend.source_row`."""

_BLOCK_W, _BLOCK_H = 32, 8


@triton.jit
def _pixel(p, x, y):
    """Distort and project x/z, y/z by the intrinsics at p: fx, skew, cx, fy, cy, k1, k2, p1, p2, k3."""
    r2 = x * x + y * y
    radial = 1.0 + r2 * (tl.load(p + 5) + r2 * (tl.load(p + 6) + r2 * tl.load(p + 9)))
    p1, p2 = tl.load(p + 7), tl.load(p + 8)
    xd = x * radial + 2.0 * p1 * x * y + p2 * (r2 + 2.0 * x * x)
    yd = y * radial + p1 * (r2 + 2.0 * y * y) + 2.0 * p2 * x * y
    u = tl.load(p) * xd + tl.load(p + 1) * yd + tl.load(p + 2)
    v = tl.load(p + 3) * yd + tl.load(p + 4)
    return u, v


@triton.jit
def _cubic(t):
    """The four weights of cubic convolution, as `view.blend` has them."""
    first = ((1.0 - 0.5 * t) * t - 0.5) * t
    second = (1.5 * t - 2.5) * t * t + 1.0
    third = ((2.0 - 1.5 * t) * t + 0.5) * t
    return first, second, third, (0.5 * t - 0.5) * t * t


@triton.jit
def _row(at, x0, x1, x2, x3, w0, w1, w2, w3, used):
    """Weighted sum of four pixels of a row at `at`, of one channel."""
    total = w0 * tl.load(at + x0, mask=used, other=0).to(tl.float32)
    total += w1 * tl.load(at + x1, mask=used, other=0).to(tl.float32)
    total += w2 * tl.load(at + x2, mask=used, other=0).to(tl.float32)
    return total + w3 * tl.load(at + x3, mask=used, other=0).to(tl.float32)


@triton.jit
def _sample(pictures, sizes, source, u, v, picture_h, picture_w, used):
    """The three channels of each pixel's own source at (u, v) by cubic convolution."""
    cw = tl.load(sizes + source * 4, mask=used, other=2)
    ch = tl.load(sizes + source * 4 + 1, mask=used, other=2)
    u, v = tl.where(used, u, 0.0), tl.where(used, v, 0.0)
    bu, bv = u.to(tl.int32), v.to(tl.int32)
    a0, a1, a2, a3 = _cubic(u - bu.to(tl.float32))
    d0, d1, d2, d3 = _cubic(v - bv.to(tl.float32))
    x0, x1 = tl.maximum(bu - 1, 0) * 3, bu * 3
    x2, x3 = tl.minimum(bu + 1, cw - 1) * 3, tl.minimum(bu + 2, cw - 1) * 3
    first = pictures + source * picture_h * picture_w * 3
    y0, y1 = first + tl.maximum(bv - 1, 0) * picture_w * 3, first + bv * picture_w * 3
    y2, y3 = first + tl.minimum(bv + 1, ch - 1) * picture_w * 3, first + tl.minimum(bv + 2, ch - 1) * picture_w * 3
    red = d0 * _row(y0, x0, x1, x2, x3, a0, a1, a2, a3, used) + d1 * _row(y1, x0, x1, x2, x3, a0, a1, a2, a3, used)
    red += d2 * _row(y2, x0, x1, x2, x3, a0, a1, a2, a3, used) + d3 * _row(y3, x0, x1, x2, x3, a0, a1, a2, a3, used)
    y0, y1, y2, y3 = y0 + 1, y1 + 1, y2 + 1, y3 + 1
    green = d0 * _row(y0, x0, x1, x2, x3, a0, a1, a2, a3, used) + d1 * _row(y1, x0, x1, x2, x3, a0, a1, a2, a3, used)
    green += d2 * _row(y2, x0, x1, x2, x3, a0, a1, a2, a3, used) + d3 * _row(y3, x0, x1, x2, x3, a0, a1, a2, a3, used)
    y0, y1, y2, y3 = y0 + 1, y1 + 1, y2 + 1, y3 + 1
    blue = d0 * _row(y0, x0, x1, x2, x3, a0, a1, a2, a3, used) + d1 * _row(y1, x0, x1, x2, x3, a0, a1, a2, a3, used)
    blue += d2 * _row(y2, x0, x1, x2, x3, a0, a1, a2, a3, used) + d3 * _row(y3, x0, x1, x2, x3, a0, a1, a2, a3, used)
    return red, green, blue


@triton.jit
def _vote(depths, u, v, gw, gh, grid_w, least, use):
    """Of the four grid pixels about (u, v): the weight of those with a depth, and of those no farther than `least`."""
    u, v = tl.where(use, u, 0.0), tl.where(use, v, 0.0)
    fu, fv = tl.floor(u).to(tl.int32), tl.floor(v).to(tl.int32)
    tu, tv = u - fu.to(tl.float32), v - fv.to(tl.float32)
    x0, x1 = tl.minimum(tl.maximum(fu, 0), gw - 1), tl.minimum(tl.maximum(fu + 1, 0), gw - 1)
    y0, y1 = tl.minimum(tl.maximum(fv, 0), gh - 1), tl.minimum(tl.maximum(fv + 1, 0), gh - 1)
    d00 = tl.load(depths + y0 * grid_w + x0, mask=use, other=0.0)
    d01 = tl.load(depths + y0 * grid_w + x1, mask=use, other=0.0)
    d10 = tl.load(depths + y1 * grid_w + x0, mask=use, other=0.0)
    d11 = tl.load(depths + y1 * grid_w + x1, mask=use, other=0.0)
    w00 = tl.where(d00 > 0, (1.0 - tv) * (1.0 - tu), 0.0)
    w01 = tl.where(d01 > 0, (1.0 - tv) * tu, 0.0)
    w10 = tl.where(d10 > 0, tv * (1.0 - tu), 0.0)
    w11 = tl.where(d11 > 0, tv * tu, 0.0)
    for_it = tl.where(d00 >= least, w00, 0.0) + tl.where(d01 >= least, w01, 0.0)
    for_it += tl.where(d10 >= least, w10, 0.0) + tl.where(d11 >= least, w11, 0.0)
    return w00 + w01 + w10 + w11, for_it


@triton.jit
def _seen(
    q,
    wanted,
    rx,
    ry,
    length,
    sizes,
    parameters,
    pictures,
    depths,
    picture_h,
    picture_w,
    grid_h,
    grid_w,
    COUNT: tl.constexpr,
    ROW: tl.constexpr,
    FEATHER: tl.constexpr,
    BLEEDING: tl.constexpr,
    VOTING: tl.constexpr,
):
    """As `view.blend._seen`: colour times how much sources vouch for it, that, and the share not seen through."""
    nothing = tl.zeros_like(q)
    infinity = float("inf")
    a0, a1 = nothing + infinity, nothing + infinity
    v0, v1, e0, e1 = nothing, nothing, nothing, nothing
    x0, y0, x1, y1 = nothing, nothing, nothing, nothing
    s0, s1 = nothing.to(tl.int32), nothing.to(tl.int32)
    votes, for_it = nothing, nothing
    for s in range(COUNT):
        p = parameters + s * ROW
        # To the source's grid: its own depth there must agree.
        gz = tl.load(p + 6) * rx + tl.load(p + 7) * ry + tl.load(p + 8) + tl.load(p + 11) * q
        use = wanted & (q > 0) & (gz > 0)
        scale = 1.0 / tl.where(use, gz, 1.0)
        gx = (tl.load(p) * rx + tl.load(p + 1) * ry + tl.load(p + 2) + tl.load(p + 9) * q) * scale
        gy = (tl.load(p + 3) * rx + tl.load(p + 4) * ry + tl.load(p + 5) + tl.load(p + 10) * q) * scale
        u, v = _pixel(p + 12, gx, gy)
        gw, gh = tl.load(sizes + s * 4 + 2), tl.load(sizes + s * 4 + 3)
        use = use & (u >= -0.5) & (u <= gw - 0.5) & (v >= -0.5) & (v <= gh - 0.5)
        expected = q * scale
        allowed = tl.where(use, tl.load(p + 46) + tl.load(p + 47) * expected, 1.0)
        # The angle between the two directions, from the chord between unit vectors.
        dx, dy, dz = rx + tl.load(p + 43) * q, ry + tl.load(p + 44) * q, 1.0 + tl.load(p + 45) * q
        cosine = (dx * rx + dy * ry + dz) / (tl.sqrt(dx * dx + dy * dy + dz * dz) * length)
        angle = tl.sqrt(tl.maximum(2.0 - 2.0 * cosine, 0.0))
        rows_at = depths + s * grid_h * grid_w
        if VOTING:
            known, agreeing = _vote(rows_at, u, v, gw, gh, grid_w, expected - allowed, use)
            votes += tl.where(use, known / (angle + 1e-3), 0.0)
            for_it += tl.where(use, agreeing / (angle + 1e-3), 0.0)
        iu = tl.minimum(tl.maximum((tl.where(use, u, 0.0) + 0.5).to(tl.int32), 0), gw - 1)
        iv = tl.minimum(tl.maximum((tl.where(use, v, 0.0) + 0.5).to(tl.int32), 0), gh - 1)
        own = tl.load(rows_at + iv * grid_w + iu, mask=use, other=0.0)
        valid = 2.0 - tl.abs(own - expected) / allowed
        use = use & (own > 0) & (valid > 0)
        valid = tl.minimum(valid, 1.0)
        beside = tl.maximum(
            tl.maximum(
                tl.load(rows_at + iv * grid_w + tl.maximum(iu - 1, 0), mask=use, other=0.0),
                tl.load(rows_at + iv * grid_w + tl.minimum(iu + 1, gw - 1), mask=use, other=0.0),
            ),
            tl.maximum(
                tl.load(rows_at + tl.maximum(iv - 1, 0) * grid_w + iu, mask=use, other=0.0),
                tl.load(rows_at + tl.minimum(iv + 1, gh - 1) * grid_w + iu, mask=use, other=0.0),
            ),
        )
        use = use & (beside - expected <= BLEEDING * allowed)
        # To its picture: through the rotation from grid to camera, the centre being the same.
        cz = tl.load(p + 29) * gx + tl.load(p + 30) * gy + tl.load(p + 31)
        use = use & (cz > 0)
        cz = tl.where(use, cz, 1.0)
        cx = (tl.load(p + 23) * gx + tl.load(p + 24) * gy + tl.load(p + 25)) / cz
        cy = (tl.load(p + 26) * gx + tl.load(p + 27) * gy + tl.load(p + 28)) / cz
        u, v = _pixel(p + 32, cx, cy)
        cw, ch = tl.load(sizes + s * 4), tl.load(sizes + s * 4 + 1)
        edge = tl.minimum(tl.minimum(u, v), tl.minimum(cw - 1.0 - u, ch - 1.0 - v))
        use = use & (edge >= 0)
        fade = tl.minimum(1.0, (edge + 1.0) / FEATHER)
        best = use & (angle < a0)
        second = use & (best == 0) & (angle < a1)
        a1, v1, e1 = tl.where(best, a0, a1), tl.where(best, v0, v1), tl.where(best, e0, e1)
        x1, y1, s1 = tl.where(best, x0, x1), tl.where(best, y0, y1), tl.where(best, s0, s1)
        a0, v0, e0 = tl.where(best, angle, a0), tl.where(best, valid, v0), tl.where(best, fade, e0)
        x0, y0, s0 = tl.where(best, u, x0), tl.where(best, v, y0), tl.where(best, s, s0)
        a1, v1, e1 = tl.where(second, angle, a1), tl.where(second, valid, v1), tl.where(second, fade, e1)
        x1, y1, s1 = tl.where(second, u, x1), tl.where(second, v, y1), tl.where(second, s, s1)

    # Weight by 1/angle, made bounded; what is missing to full validity comes from the splat.
    m0, m1 = v0 * e0 / (a0 + 1e-3), v1 * e1 / (a1 + 1e-3)
    some = m0 + m1 > 0
    vouched = tl.where(some, tl.maximum(v0, v1), 0.0)
    share = vouched / tl.where(some, m0 + m1, 1.0)
    m0, m1 = m0 * share, m1 * share
    r0, g0, b0 = _sample(pictures, sizes, s0, x0, y0, picture_h, picture_w, m0 > 0)
    r1, g1, b1 = _sample(pictures, sizes, s1, x1, y1, picture_h, picture_w, m1 > 0)
    kept = tl.where(votes > 0, for_it / tl.where(votes > 0, votes, 1.0), -1.0)
    return m0 * r0 + m1 * r1, m0 * g0 + m1 * g1, m0 * b0 + m1 * b1, vouched, kept


@triton.jit
def _splatted(features, at00, at01, at10, at11, w00, w01, w10, w11, inside, CHANNELS: tl.constexpr):
    total = w00 * tl.load(features + at00 * CHANNELS, mask=inside, other=0.0).to(tl.float32)
    total += w01 * tl.load(features + at01 * CHANNELS, mask=inside, other=0.0).to(tl.float32)
    total += w10 * tl.load(features + at10 * CHANNELS, mask=inside, other=0.0).to(tl.float32)
    return total + w11 * tl.load(features + at11 * CHANNELS, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _store(at, colour, inside):
    tl.store(at, tl.minimum(tl.maximum(colour + 0.5, 0.0), 255.0).to(tl.uint8), mask=inside)


@triton.jit
def _blend(
    features,
    splat_inverse,
    view,
    sizes,
    parameters,
    pictures,
    depths,
    out,
    inverse,
    width,
    height,
    columns,
    rows,
    picture_h,
    picture_w,
    grid_h,
    grid_w,
    CHANNELS: tl.constexpr,
    COUNT: tl.constexpr,
    ROW: tl.constexpr,
    SAME: tl.constexpr,
    LEAST: tl.constexpr,
    FEATHER: tl.constexpr,
    BLEEDING: tl.constexpr,
    BLOCK_W: tl.constexpr,
    BLOCK_H: tl.constexpr,
):
    lane = tl.arange(0, BLOCK_W * BLOCK_H)
    xi = tl.program_id(0) * BLOCK_W + lane % BLOCK_W
    yi = tl.program_id(1) * BLOCK_H + lane // BLOCK_W
    inside = (xi < width) & (yi < height)
    x, y = xi.to(tl.float32), yi.to(tl.float32)

    fx = tl.load(view + 4) * x + tl.load(view + 5)
    fy = tl.load(view + 6) * y + tl.load(view + 7)
    ix = tl.minimum(tl.maximum(tl.floor(fx).to(tl.int32), 0), columns - 1)
    iy = tl.minimum(tl.maximum(tl.floor(fy).to(tl.int32), 0), rows - 1)
    jx, jy = tl.minimum(ix + 1, columns - 1), tl.minimum(iy + 1, rows - 1)
    tx = tl.minimum(tl.maximum(fx - ix.to(tl.float32), 0.0), 1.0)
    ty = tl.minimum(tl.maximum(fy - iy.to(tl.float32), 0.0), 1.0)
    at00, at01, at10, at11 = iy * columns + ix, iy * columns + jx, jy * columns + ix, jy * columns + jx
    q00 = tl.load(splat_inverse + at00, mask=inside, other=0.0)
    q01 = tl.load(splat_inverse + at01, mask=inside, other=0.0)
    q10 = tl.load(splat_inverse + at10, mask=inside, other=0.0)
    q11 = tl.load(splat_inverse + at11, mask=inside, other=0.0)
    w00, w01 = (1.0 - ty) * (1.0 - tx) + LEAST, (1.0 - ty) * tx + LEAST
    w10, w11 = ty * (1.0 - tx) + LEAST, ty * tx + LEAST
    low = tl.minimum(tl.minimum(q00, q01), tl.minimum(q10, q11))
    high = tl.maximum(tl.maximum(q00, q01), tl.maximum(q10, q11))
    jump = high - low > SAME * high
    middle = 0.5 * (low + high)
    rx = (x - tl.load(view)) * tl.load(view + 1)
    ry = (y - tl.load(view + 2)) * tl.load(view + 3)
    length = tl.sqrt(rx * rx + ry * ry + 1.0)

    # At a jump the nearer of the two surfaces first, never a depth between them.
    k00, k01 = tl.where(jump & (q00 <= middle), 0.0, w00), tl.where(jump & (q01 <= middle), 0.0, w01)
    k10, k11 = tl.where(jump & (q10 <= middle), 0.0, w10), tl.where(jump & (q11 <= middle), 0.0, w11)
    total = k00 + k01 + k10 + k11
    q = (k00 * q00 + k01 * q01 + k10 * q10 + k11 * q11) / total
    red, green, blue, vouched, kept = _seen(
        q, inside, rx, ry, length, sizes, parameters, pictures, depths, picture_h, picture_w, grid_h, grid_w,
        COUNT, ROW, FEATHER, BLEEDING, True,
    )  # fmt: skip
    kept = tl.where(kept >= 0, kept, tl.where(total > 0.5, 1.0, 0.0))
    share = tl.where(jump, kept, 1.0)
    rest = share * (1.0 - vouched) / total
    k00, k01, k10, k11 = k00 * rest, k01 * rest, k10 * rest, k11 * rest
    red = share * red + _splatted(features, at00, at01, at10, at11, k00, k01, k10, k11, inside, CHANNELS)
    green = share * green + _splatted(features + 1, at00, at01, at10, at11, k00, k01, k10, k11, inside, CHANNELS)
    blue = share * blue + _splatted(features + 2, at00, at01, at10, at11, k00, k01, k10, k11, inside, CHANNELS)
    behind = inside & jump & (share < 1)
    if tl.max(behind.to(tl.int32), 0) > 0:
        k00, k01 = tl.where(q00 > middle, 0.0, w00), tl.where(q01 > middle, 0.0, w01)
        k10, k11 = tl.where(q10 > middle, 0.0, w10), tl.where(q11 > middle, 0.0, w11)
        total = tl.where(behind, k00 + k01 + k10 + k11, 1.0)
        farther = (k00 * q00 + k01 * q01 + k10 * q10 + k11 * q11) / total
        r, g, b, vouched, _ = _seen(
            farther, behind, rx, ry, length, sizes, parameters, pictures, depths, picture_h, picture_w, grid_h, grid_w,
            COUNT, ROW, FEATHER, BLEEDING, False,
        )  # fmt: skip
        left = tl.where(behind, 1.0 - share, 0.0)
        q = tl.where(left > 0.5, farther, q)
        rest = left * (1.0 - vouched) / total
        k00, k01, k10, k11 = k00 * rest, k01 * rest, k10 * rest, k11 * rest
        red += left * r + _splatted(features, at00, at01, at10, at11, k00, k01, k10, k11, inside, CHANNELS)
        green += left * g + _splatted(features + 1, at00, at01, at10, at11, k00, k01, k10, k11, inside, CHANNELS)
        blue += left * b + _splatted(features + 2, at00, at01, at10, at11, k00, k01, k10, k11, inside, CHANNELS)
    tl.store(inverse + yi * width + xi, q, mask=inside)
    at = out + (yi * width + xi) * 3
    _store(at, red, inside)
    _store(at + 1, green, inside)
    _store(at + 2, blue, inside)


def view_row(view: Camera, columns: int, rows: int) -> NDArray[np.float32]:
    """Return the (8,) float32 that the kernel needs of a view with a splat of `columns` x `rows`: cx, 1/fx, cy, 1/fy,
    and from output to splat pixels scale and shift of x and of y."""
    sx, sy = columns / view.width, rows / view.height
    K = view.K
    return np.array([K[0, 2], 1 / K[0, 0], K[1, 2], 1 / K[1, 1], sx, (sx - 1) / 2, sy, (sy - 1) / 2], np.float32)


def blend(
    features: torch.Tensor,
    splat_inverse: torch.Tensor,
    view: torch.Tensor,
    rows: torch.Tensor,
    sizes: torch.Tensor,
    pictures: torch.Tensor,
    depths: torch.Tensor,
    out: torch.Tensor,
    inverse: torch.Tensor,
) -> None:
    """Write the view `out` (H, W, 3) uint8 and its inverse depth `inverse` (H, W) float32 in 1/m (0: nothing known).

    `features` (h, w, c >= 3) float32 or bfloat16, hole-filled, begin with R, G, B in 0..255; `splat_inverse` (h, w)
    float32; `view` (8,) from `view_row`; `rows` (s, ROW) float32 from `view.blend.source_row`; `sizes` (s, 4) int32:
    width and height of each picture (at least 2) and of its grid; `pictures` (s, ph, pw, 3) uint8 and `depths`
    (s, gh, gw) float32, smaller ones padded to the right and below. All contiguous and on one device.
    """
    height, width = inverse.shape
    grid = (triton.cdiv(width, _BLOCK_W), triton.cdiv(height, _BLOCK_H))
    _blend[grid](
        features,
        splat_inverse,
        view,
        sizes,
        rows,
        pictures,
        depths,
        out,
        inverse,
        width,
        height,
        features.shape[1],
        features.shape[0],
        pictures.shape[1],
        pictures.shape[2],
        depths.shape[1],
        depths.shape[2],
        CHANNELS=features.shape[2],
        COUNT=len(rows),
        ROW=ROW,
        SAME=SAME_SURFACE,
        LEAST=LEAST_WEIGHT,
        FEATHER=FEATHER_PX,
        BLEEDING=BLEEDING,
        BLOCK_W=_BLOCK_W,
        BLOCK_H=_BLOCK_H,
    )
