"""The blend of `view.blend` as one Triton kernel at output size: the same rules, the two best sources chosen first,
then only those two sampled."""

from __future__ import annotations

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray

from streamsvc.frames import Camera
from streamsvc.view.blend import BLEEDING, FEATHER_PX, SAME_SURFACE

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
def _sample(pictures, sizes, source, u, v, channel, picture_h, picture_w, used):
    """Bilinear sample of one channel of each pixel's own source at (u, v)."""
    cw = tl.load(sizes + source * 4, mask=used, other=2)
    ch = tl.load(sizes + source * 4 + 1, mask=used, other=2)
    bu, bv = tl.minimum(u.to(tl.int32), cw - 2), tl.minimum(v.to(tl.int32), ch - 2)
    su, sv = u - bu.to(tl.float32), v - bv.to(tl.float32)
    at = pictures + ((source * picture_h + bv) * picture_w + bu) * 3 + channel
    below = picture_w * 3
    c00 = tl.load(at, mask=used, other=0).to(tl.float32)
    c01 = tl.load(at + 3, mask=used, other=0).to(tl.float32)
    c10 = tl.load(at + below, mask=used, other=0).to(tl.float32)
    c11 = tl.load(at + below + 3, mask=used, other=0).to(tl.float32)
    upper, lower = (1.0 - su) * c00 + su * c01, (1.0 - su) * c10 + su * c11
    return (1.0 - sv) * upper + sv * lower


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
    infinity = float("inf")

    # Inverse depth between four splat pixels, or at a jump one of the two surfaces, never a depth between them.
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
    w00, w01, w10, w11 = (1.0 - ty) * (1.0 - tx), (1.0 - ty) * tx, ty * (1.0 - tx), ty * tx
    low = tl.minimum(tl.minimum(q00, q01), tl.minimum(q10, q11))
    high = tl.maximum(tl.maximum(q00, q01), tl.maximum(q10, q11))
    jump = high - low > SAME * high
    middle = 0.5 * (low + high)
    near = w00 * q00 + w01 * q01 + w10 * q10 + w11 * q11 > middle
    w00 = tl.where(jump & ((q00 > middle) != near), 0.0, w00)
    w01 = tl.where(jump & ((q01 > middle) != near), 0.0, w01)
    w10 = tl.where(jump & ((q10 > middle) != near), 0.0, w10)
    w11 = tl.where(jump & ((q11 > middle) != near), 0.0, w11)
    scale = tl.where(jump, 1.0 / tl.maximum(w00 + w01 + w10 + w11, 1e-6), 1.0)
    w00, w01, w10, w11 = w00 * scale, w01 * scale, w10 * scale, w11 * scale
    q = w00 * q00 + w01 * q01 + w10 * q10 + w11 * q11
    tl.store(inverse + yi * width + xi, q, mask=inside)

    rx = (x - tl.load(view)) * tl.load(view + 1)
    ry = (y - tl.load(view + 2)) * tl.load(view + 3)
    length = tl.sqrt(rx * rx + ry * ry + 1.0)
    nothing = tl.zeros_like(q)
    a0, a1 = nothing + infinity, nothing + infinity
    v0, v1, e0, e1 = nothing, nothing, nothing, nothing
    x0, y0, x1, y1 = nothing, nothing, nothing, nothing
    s0, s1 = tl.zeros_like(xi), tl.zeros_like(xi)
    for s in range(COUNT):
        p = parameters + s * ROW
        # To the source's grid: its own depth there must agree.
        gz = tl.load(p + 6) * rx + tl.load(p + 7) * ry + tl.load(p + 8) + tl.load(p + 11) * q
        use = inside & (q > 0) & (gz > 0)
        scale = 1.0 / tl.where(use, gz, 1.0)
        gx = (tl.load(p) * rx + tl.load(p + 1) * ry + tl.load(p + 2) + tl.load(p + 9) * q) * scale
        gy = (tl.load(p + 3) * rx + tl.load(p + 4) * ry + tl.load(p + 5) + tl.load(p + 10) * q) * scale
        u, v = _pixel(p + 12, gx, gy)
        gw, gh = tl.load(sizes + s * 4 + 2), tl.load(sizes + s * 4 + 3)
        use = use & (u >= -0.5) & (u <= gw - 0.5) & (v >= -0.5) & (v <= gh - 0.5)
        iu = tl.minimum(tl.maximum((tl.where(use, u, 0.0) + 0.5).to(tl.int32), 0), gw - 1)
        iv = tl.minimum(tl.maximum((tl.where(use, v, 0.0) + 0.5).to(tl.int32), 0), gh - 1)
        at = depths + (s * grid_h + iv) * grid_w + iu
        own = tl.load(at, mask=use, other=0.0)
        expected = q * scale
        allowed = tl.where(use, tl.load(p + 46) + tl.load(p + 47) * expected, 1.0)
        valid = 2.0 - tl.abs(own - expected) / allowed
        use = use & (own > 0) & (valid > 0)
        valid = tl.minimum(valid, 1.0)
        beside = tl.maximum(
            tl.maximum(
                tl.load(at - 2, mask=use & (iu >= 2), other=0.0),
                tl.load(at + 2, mask=use & (iu + 2 < gw), other=0.0),
            ),
            tl.maximum(
                tl.load(at - 2 * grid_w, mask=use & (iv >= 2), other=0.0),
                tl.load(at + 2 * grid_w, mask=use & (iv + 2 < gh), other=0.0),
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
        # The angle between the two directions, from the chord between unit vectors.
        dx, dy, dz = rx + tl.load(p + 43) * q, ry + tl.load(p + 44) * q, 1.0 + tl.load(p + 45) * q
        cosine = (dx * rx + dy * ry + dz) / (tl.sqrt(dx * dx + dy * dy + dz * dz) * length)
        angle = tl.sqrt(tl.maximum(2.0 - 2.0 * cosine, 0.0))
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
    m = m0 + m1
    some = m > 0
    rest = tl.where(some, 1.0 - tl.maximum(v0, v1), 1.0)
    share = (1.0 - rest) / tl.where(some, m, 1.0)
    m0, m1 = m0 * share, m1 * share
    for c in range(3):
        f = features + c
        g00 = tl.load(f + at00 * CHANNELS, mask=inside, other=0.0).to(tl.float32)
        g01 = tl.load(f + at01 * CHANNELS, mask=inside, other=0.0).to(tl.float32)
        g10 = tl.load(f + at10 * CHANNELS, mask=inside, other=0.0).to(tl.float32)
        g11 = tl.load(f + at11 * CHANNELS, mask=inside, other=0.0).to(tl.float32)
        colour = rest * (w00 * g00 + w01 * g01 + w10 * g10 + w11 * g11)
        colour += m0 * _sample(pictures, sizes, s0, x0, y0, c, picture_h, picture_w, some & (m0 > 0))
        colour += m1 * _sample(pictures, sizes, s1, x1, y1, c, picture_h, picture_w, some & (m1 > 0))
        colour = tl.minimum(tl.maximum(colour + 0.5, 0.0), 255.0)
        tl.store(out + (yi * width + xi) * 3 + c, colour.to(tl.uint8), mask=inside)


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
        FEATHER=FEATHER_PX,
        BLEEDING=BLEEDING,
        BLOCK_W=_BLOCK_W,
        BLOCK_H=_BLOCK_H,
    )
