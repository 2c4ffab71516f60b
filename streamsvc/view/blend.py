"""Blend: full-resolution colour for every pixel of the view, from the two sources that look most nearly the same way.

The splatted inverse depth says where each output pixel lies in space. A source may colour it only when its own geometry
there agrees (else something hides the point from it, or there is nothing), and the nearer its direction to the view's,
the more it counts. Where no source may, the splatted colour stands. At a jump between two surfaces, which the splat's
skirts blur, the sources' own geometry decides: the share of the pixel that they see through, each at its own grid's
resolution, shows the farther surface. Holes are filled before (`holes`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from streamsvc.frames import Camera, Pixels
from streamsvc.view.geometry import Placed, Plane, Source

BLEEDING = 3.0
"""A source pixel isn't used when one beside it on the grid is nearer than it by this many tolerances: the nearer
thing's colour would be drawn on the wall behind as a ghost of its outline."""

LEAST_WEIGHT = 1e-5
"""What each of the four splat pixels about an output pixel counts at least: at a jump it may be all that its surface
has there."""

FEATHER_PX = 12.0
"""A source fades out over this many pixels towards its own border, so that no seam runs where its picture ends."""

SAME_SURFACE = 0.04
"""Relative spread of inverse depth up to which neighbouring splat pixels are interpolated."""


@numba.njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _pixel(p, o, x, y):  # type: ignore[no-untyped-def]
    """Distort and project x/z, y/z by the intrinsics at p[o:]: fx, skew, cx, fy, cy, k1, k2, p1, p2, k3, distorted?"""
    if p[o + 10] != 0:
        r2 = x * x + y * y
        radial = np.float32(1) + r2 * (p[o + 5] + r2 * (p[o + 6] + r2 * p[o + 9]))
        two = np.float32(2)
        xd = x * radial + two * p[o + 7] * x * y + p[o + 8] * (r2 + two * x * x)
        yd = y * radial + p[o + 7] * (r2 + two * y * y) + two * p[o + 8] * x * y
        x, y = xd, yd
    return p[o] * x + p[o + 1] * y + p[o + 2], p[o + 3] * y + p[o + 4]


_FAST = {"contract", "reassoc", "arcp", "nsz", "afn"}


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=_FAST, inline="always")
def _tap(t):  # type: ignore[no-untyped-def]
    """The four weights of cubic convolution (Keys 1981, a = -1/2) a part `t` of the way from second to third."""
    half, one, three = np.float32(0.5), np.float32(1), np.float32(1.5)
    first = ((one - half * t) * t - half) * t
    second = (three * t - np.float32(2.5)) * t * t + one
    third = ((np.float32(2) - three * t) * t + half) * t
    return first, second, third, (half * t - half) * t * t


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=_FAST)
def _look(n, at, q, view, ry, size, p, depths, voting, feather, number, best, votes):  # type: ignore[no-untyped-def]
    """Let source `number` (its `size` and row `p`) look at the `n` points of a row at columns `at` and inverse depths
    `q`: it joins the two in `best` ((2, 6, n): angle, validity, fade, source, u, v) where its geometry agrees, and adds
    to `votes` ((2, n): for, of all) where `voting`."""
    zero, half, one, two = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
    gw, gh = size[2], size[3]
    wide, high = np.float32(size[0] - 1), np.float32(size[1] - 1)
    first = depths[size[5] : size[5] + gw * gh]
    # What doesn't change along the row.
    gx0, gy0, gz0 = p[1] * ry + p[2], p[4] * ry + p[5], p[7] * ry + p[8]
    for i in range(n):
        qi = q[i]
        if not qi > 0:
            continue
        rx = (np.float32(at[i]) - view[0]) * view[1]
        gz = p[6] * rx + gz0 + p[11] * qi
        if gz <= 0:
            continue
        scale = one / gz
        gx, gy = (p[0] * rx + gx0 + p[9] * qi) * scale, (p[3] * rx + gy0 + p[10] * qi) * scale
        u, v = _pixel(p, 12, gx, gy)
        if not (-half <= u <= np.float32(gw) - half and -half <= v <= np.float32(gh) - half):
            continue
        expected = qi * scale
        allowed = p[46] + p[47] * expected
        # The angle between the two directions, from the chord between unit vectors.
        dx, dy, dz = rx + p[43] * qi, ry + p[44] * qi, one + p[45] * qi
        norm = np.sqrt((dx * dx + dy * dy + dz * dz) * (rx * rx + ry * ry + one))
        angle = np.sqrt(max(two - two * (dx * rx + dy * ry + dz) / norm, zero))
        if voting[i]:
            fu, fv = int(np.floor(u)), int(np.floor(v))
            tu, tv = u - np.float32(fu), v - np.float32(fv)
            for k in range(4):
                ku, kv = min(max(fu + k % 2, 0), gw - 1), min(max(fv + k // 2, 0), gh - 1)
                own = first[np.uint64(kv * gw + ku)]
                if own > 0:
                    w = (tu if k % 2 else one - tu) * (tv if k // 2 else one - tv) / (angle + np.float32(1e-3))
                    votes[1, i] += w
                    if own >= expected - allowed:
                        votes[0, i] += w
        iu, iv = min(max(int(u + half), 0), gw - 1), min(max(int(v + half), 0), gh - 1)
        own = first[np.uint64(iv * gw + iu)]
        if own <= 0 or angle >= best[1, 0, i]:
            continue
        # Its own depth there must agree.
        valid = two - abs(own - expected) / allowed
        if valid <= 0:
            continue
        beside = max(
            first[np.uint64(iv * gw + max(iu - 1, 0))],
            first[np.uint64(iv * gw + min(iu + 1, gw - 1))],
            first[np.uint64(max(iv - 1, 0) * gw + iu)],
            first[np.uint64(min(iv + 1, gh - 1) * gw + iu)],
        )
        if beside - expected > np.float32(BLEEDING) * allowed:
            continue
        # To its picture: through the rotation from grid to camera, the centre being the same.
        cz = p[29] * gx + p[30] * gy + p[31]
        if cz <= 0:
            continue
        cz = one / cz
        u, v = _pixel(p, 32, (p[23] * gx + p[24] * gy + p[25]) * cz, (p[26] * gx + p[27] * gy + p[28]) * cz)
        edge = min(u, v, wide - u, high - v)
        if not edge >= 0:
            continue
        place = 0 if angle < best[0, 0, i] else 1
        if place == 0:
            for k in range(6):
                best[1, k, i] = best[0, k, i]
        best[place, 0, i] = angle
        best[place, 1, i] = min(valid, one)
        best[place, 2, i] = min(one, (edge + one) / feather)
        best[place, 3, i] = np.float32(number)
        best[place, 4, i] = u
        best[place, 5, i] = v


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=_FAST)
def _colours(n, sizes, pictures, best, sharp, seen):  # type: ignore[no-untyped-def]
    """Write to `seen` ((4, n)) the colours that the two sources in `best` give the points, times how much they vouch
    for them, and that; taken by cubic convolution where `sharp`, else linearly."""
    zero, one = np.float32(0), np.float32(1)
    for i in range(n):
        # Weight by 1/angle, made bounded; what is missing to full validity comes from the splat.
        m0 = best[0, 1, i] * best[0, 2, i] / (best[0, 0, i] + np.float32(1e-3))
        m1 = best[1, 1, i] * best[1, 2, i] / (best[1, 0, i] + np.float32(1e-3))
        r, g, b, vouched = zero, zero, zero, zero
        if m0 + m1 > 0:
            vouched = max(best[0, 1, i], best[1, 1, i])
            scale = vouched / (m0 + m1)
            for place in range(2):
                m = (m1 if place else m0) * scale
                if m <= 0:
                    continue
                size = sizes[int(best[place, 3, i])]
                cw, ch = size[0], size[1]
                u, v = best[place, 4, i], best[place, 5, i]
                bu, bv = int(u), int(v)
                tu, tv = u - np.float32(bu), v - np.float32(bv)
                if not sharp:
                    above, below = size[4] + 3 * bv * cw, size[4] + 3 * min(bv + 1, ch - 1) * cw
                    left, right = 3 * bu, 3 * min(bu + 1, cw - 1)
                    i0, i1, i2, i3 = above + left, above + right, below + left, below + right
                    lower, upper = m * tv, m * (one - tv)
                    w0, w1, w2, w3 = upper * (one - tu), upper * tu, lower * (one - tu), lower * tu
                    r += (
                        w0 * pictures[np.uint64(i0)]
                        + w1 * pictures[np.uint64(i1)]
                        + w2 * pictures[np.uint64(i2)]
                        + w3 * pictures[np.uint64(i3)]
                    )
                    g += (
                        w0 * pictures[np.uint64(i0 + 1)]
                        + w1 * pictures[np.uint64(i1 + 1)]
                        + w2 * pictures[np.uint64(i2 + 1)]
                        + w3 * pictures[np.uint64(i3 + 1)]
                    )
                    b += (
                        w0 * pictures[np.uint64(i0 + 2)]
                        + w1 * pictures[np.uint64(i1 + 2)]
                        + w2 * pictures[np.uint64(i2 + 2)]
                        + w3 * pictures[np.uint64(i3 + 2)]
                    )
                    continue
                a0, a1, a2, a3 = _tap(tu)
                d0, d1, d2, d3 = _tap(tv)
                x0, x1 = 3 * max(bu - 1, 0), 3 * bu
                x2, x3 = 3 * min(bu + 1, cw - 1), 3 * min(bu + 2, cw - 1)
                for j in range(4):
                    line = size[4] + min(max(bv + j - 1, 0), ch - 1) * cw * 3
                    d = m * (d0 if j == 0 else d1 if j == 1 else d2 if j == 2 else d3)
                    i0, i1, i2, i3 = line + x0, line + x1, line + x2, line + x3
                    r += d * (
                        a0 * pictures[np.uint64(i0)]
                        + a1 * pictures[np.uint64(i1)]
                        + a2 * pictures[np.uint64(i2)]
                        + a3 * pictures[np.uint64(i3)]
                    )
                    g += d * (
                        a0 * pictures[np.uint64(i0 + 1)]
                        + a1 * pictures[np.uint64(i1 + 1)]
                        + a2 * pictures[np.uint64(i2 + 1)]
                        + a3 * pictures[np.uint64(i3 + 1)]
                    )
                    b += d * (
                        a0 * pictures[np.uint64(i0 + 2)]
                        + a1 * pictures[np.uint64(i1 + 2)]
                        + a2 * pictures[np.uint64(i2 + 2)]
                        + a3 * pictures[np.uint64(i3 + 2)]
                    )
        seen[0, i], seen[1, i], seen[2, i], seen[3, i] = r, g, b, vouched


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=_FAST, inline="always")
def _corners(features, iy, jy, ty, fx, layer, same):  # type: ignore[no-untyped-def]
    """The splat about column `fx` between rows `iy` and `jy`: its two columns, the weights of the four pixels, their
    inverse depth and sum, and whether there is a jump between them. At one, layer 0 is the nearer of its two surfaces
    and layer 1 the farther: never a depth between."""
    zero, half, one = np.float32(0), np.float32(0.5), np.float32(1)
    least = np.float32(LEAST_WEIGHT)
    columns = features.shape[1]
    ix = min(max(int(np.floor(fx)), 0), columns - 1)
    jx = min(ix + 1, columns - 1)
    tx = min(max(fx - np.float32(ix), zero), one)
    w00, w01, w10, w11 = (one - ty) * (one - tx), (one - ty) * tx, ty * (one - tx), ty * tx
    q00, q01, q10, q11 = features[iy, ix, 3], features[iy, jx, 3], features[jy, ix, 3], features[jy, jx, 3]
    low, high = min(q00, q01, q10, q11), max(q00, q01, q10, q11)
    jump = high - low > same * high
    if jump:
        middle, near = half * (low + high), layer == 0
        w00 = w00 + least if (q00 > middle) == near else zero
        w01 = w01 + least if (q01 > middle) == near else zero
        w10 = w10 + least if (q10 > middle) == near else zero
        w11 = w11 + least if (q11 > middle) == near else zero
    total = w00 + w01 + w10 + w11
    scale = one / total
    w00, w01, w10, w11 = w00 * scale, w01 * scale, w10 * scale, w11 * scale
    return ix, jx, w00, w01, w10, w11, w00 * q00 + w01 * q01 + w10 * q10 + w11 * q11, total, jump


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=_FAST)
def _blend(  # type: ignore[no-untyped-def]
    features, splat_x, splat_y, view, sizes, parameters, pictures, depths, same, feather, sharp, out, inverse
):
    height, width = inverse.shape
    rows = features.shape[0]
    zero, half, one = np.float32(0), np.float32(0.5), np.float32(1)
    at, q, share = np.empty(width, np.int32), np.empty(width, np.float32), np.empty(width, np.float32)
    voting, left = np.empty(width, np.bool_), np.empty(width, np.float32)
    best, votes = np.empty((2, 6, width), np.float32), np.empty((2, width), np.float32)
    seen, colour = np.empty((4, width), np.float32), np.empty((3, width), np.float32)
    for y in range(height):
        fy = splat_y[0] * np.float32(y) + splat_y[1]
        iy = min(max(int(np.floor(fy)), 0), rows - 1)
        jy = min(iy + 1, rows - 1)
        ty = min(max(fy - np.float32(iy), zero), one)
        ry = (np.float32(y) - view[2]) * view[3]
        colour[:] = zero
        left[:] = one
        for layer in range(2):
            n = 0
            for x in range(width):
                if left[x] <= 0:
                    continue
                fx = splat_x[0] * np.float32(x) + splat_x[1]
                _, _, _, _, _, _, depth, total, jump = _corners(features, iy, jy, ty, fx, layer, same)
                at[n], q[n], voting[n] = x, depth, jump and layer == 0
                share[n] = (one if total > half else zero) if voting[n] else left[x]
                n += 1
            best[:, 0] = np.float32(np.inf)
            best[:, 1:3] = zero
            votes[:] = zero
            for s in range(sizes.shape[0]):
                _look(n, at, q, view, ry, sizes[s], parameters[s], depths, voting, feather, s, best, votes)
            _colours(n, sizes, pictures, best, sharp, seen)
            for i in range(n):
                x = at[i]
                if votes[1, i] > 0:
                    # The nearer surface's skirts reach too far: what cameras see through there isn't it.
                    share[i] = votes[0, i] / votes[1, i]
                part = share[i]
                if layer == 0 or part > half:
                    inverse[y, x] = q[i]
                for c in range(3):
                    colour[c, x] += part * seen[c, i]
                rest = part * (one - seen[3, i])
                if rest > 0:
                    fx = splat_x[0] * np.float32(x) + splat_x[1]
                    ix, jx, w00, w01, w10, w11, _, _, _ = _corners(features, iy, jy, ty, fx, layer, same)
                    for c in range(3):
                        colour[c, x] += rest * (
                            w00 * features[iy, ix, c]
                            + w01 * features[iy, jx, c]
                            + w10 * features[jy, ix, c]
                            + w11 * features[jy, jx, c]
                        )
                left[x] -= part
        for x in range(width):
            for c in range(3):
                out[y, x, c] = np.uint8(min(max(colour[c, x] + half, zero), np.float32(255)))


def _intrinsics(camera: Camera) -> list[float]:
    K, d = camera.K, camera.dist
    return [K[0, 0], K[0, 1], K[0, 2], K[1, 1], K[1, 2], *d, float(d.any())]


def source_row(source: Placed, view: Camera) -> NDArray[np.float32]:
    """Return the kernel's row (48,) float32 of a source: view to grid (12), grid intrinsics (11), rotation from grid to
    camera (9), camera intrinsics (11), minus the source's centre in view axes (3), tolerances (2)."""
    M = source.grid.R @ view.R.T
    offset = source.grid.R @ view.centre + source.grid.t
    turn = source.camera.R @ source.grid.R.T
    centre = view.R @ source.grid.centre + view.t
    tolerances = [source.tolerance, source.relative_tolerance]
    row = [*M.ravel(), *offset, *_intrinsics(source.grid), *turn.ravel(), *_intrinsics(source.camera), *-centre]
    return np.array([*row, *tolerances], np.float32)


def blend(features: Plane, view: Camera, sources: Sequence[Source], *, sharp: bool = True) -> tuple[Pixels, Plane]:
    """Return the view (H, W, 3) uint8 and its inverse depth (H, W) float32 in 1/m (0: nothing known).

    `features` (h, w, 4) float32 are the hole-filled splat of `view` at any resolution: R, G, B, inverse depth. `view`
    has no distortion and no skew. Not `sharp`, the sources' colours are interpolated linearly, which takes half as long
    as a cubic convolution and is worth as much where geometry is coarse.
    """
    width, height = view.width, view.height
    sizes = np.zeros((len(sources), 6), np.int64)
    picture_at = depth_at = 0
    for row, source in zip(sizes, sources, strict=True):
        h, w = source.inverse_depth.shape
        row[:] = source.camera.width, source.camera.height, w, h, picture_at, depth_at
        picture_at += source.pixels.size
        depth_at += source.inverse_depth.size
    pictures = np.concatenate([s.pixels.reshape(-1) for s in sources])
    depths = np.concatenate([s.inverse_depth.reshape(-1) for s in sources])
    parameters = np.stack([source_row(s, view) for s in sources])
    sx, sy = features.shape[1] / width, features.shape[0] / height
    out, inverse = np.empty((height, width, 3), np.uint8), np.empty((height, width), np.float32)
    _blend(
        np.ascontiguousarray(features, np.float32),
        np.array([sx, (sx - 1) / 2], np.float32),
        np.array([sy, (sy - 1) / 2], np.float32),
        np.array([view.K[0, 2], 1 / view.K[0, 0], view.K[1, 2], 1 / view.K[1, 1]], np.float32),
        sizes,
        parameters,
        pictures,
        depths,
        np.float32(SAME_SURFACE),
        np.float32(FEATHER_PX),
        sharp,
        out,
        inverse,
    )
    return out, inverse
