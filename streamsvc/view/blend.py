"""Blend: full-resolution colour for every pixel of the view, from the two sources that look most nearly the same way.

The splatted inverse depth says where each output pixel lies in space. A source may colour it only when its own geometry
there agrees (else something hides the point from it, or there is nothing), and the nearer its direction to the view's,
the more it counts. Where no source may, the splatted colour stands. Holes get the farther of their neighbours' depths
first: what opens up beside a person is the wall behind. Beyond what any camera saw the picture fades to dark.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from streamsvc.frames import Camera, Pixels
from streamsvc.view.geometry import Source

Plane = NDArray[np.float32]

HOLE_COVERAGE = 0.25
"""Coverage below which a pixel of the splat is a hole: it saw nothing but the skirts of Gaussians."""

BLEEDING = 3.0
"""A source pixel isn't used when one two grid pixels away is nearer than it by this many tolerances: geometry's edges
are that unsure, and the nearer thing's colour would be drawn on the wall behind as a ghost of its outline."""

BEYOND = 24.0
"""The grey, 0 to 255, that the picture fades to beyond what the cameras saw."""

FADE_WIDTH = 0.08
"""How far that takes, as a part of the picture's width."""

FEATHER_PX = 12.0
"""A source fades out over this many pixels towards its own border, so that no seam runs where its picture ends."""

SAME_SURFACE = 0.04
"""Relative spread of inverse depth up to which neighbouring splat pixels are interpolated."""


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _fill_holes(features, coverage, threshold, outside):  # type: ignore[no-untyped-def]
    height, width, channels = features.shape
    last = channels - 1
    longest = width // 3
    hole = np.empty((height, width), np.bool_)
    for y in range(height):
        for x in range(width):
            hole[y, x] = not coverage[y, x] >= threshold
            outside[y, x] = 0
    left = np.empty(width, np.int32)
    above = np.full(width, -1, np.int32)
    below = np.full((height, width), -1, np.int32)
    for y in range(height - 2, -1, -1):
        for x in range(width):
            below[y, x] = y + 1 if not hole[y + 1, x] else below[y + 1, x]
    beyond = 0
    for y in range(height):
        near = -1
        for x in range(width):
            left[x] = near
            if not hole[y, x]:
                near = x
        near = -1
        whole = left[width - 1] < 0 and hole[y, width - 1]
        for x in range(width - 1, -1, -1):
            if not hole[y, x]:
                near = x
                above[x] = y
                continue
            if whole or (near >= 0 and left[x] >= 0 and near - left[x] > longest):
                y0, x0, y1, x1 = above[x], x, below[y, x], x
            else:
                y0, x0, y1, x1 = y, left[x], y, near
            if min(y0, x0, y1, x1) < 0:
                outside[y, x] = 1
                beyond += 1
                continue
            if features[y1, x1, last] < features[y0, x0, last]:
                y0, x0 = y1, x1
            for c in range(channels):
                features[y, x, c] = features[y0, x0, c]
    return beyond


def fill_holes(features: Plane, coverage: Plane, threshold: float = HOLE_COVERAGE) -> None:
    """Fill, in place, the pixels of `features` (h, w, c; the last is inverse depth) that `coverage` (h, w) leaves under
    `threshold`.

    A hole between known pixels of its row gets the farther of the two, and so does one between those of its column
    where the row is a hole all along, or for over a third of its length: nothing that opens up beside a person is so
    wide. What lies outside gets the nearest known pixel, its colours faded to `BEYOND` over `FADE_WIDTH`; without any
    known pixel there is that grey, and no depth.
    """
    outside = np.empty(coverage.shape, np.uint8)
    beyond = _fill_holes(features, coverage, np.float32(threshold), outside)
    if beyond == outside.size:
        features[..., :-1] = BEYOND
        features[..., -1] = 0
    elif beyond:
        distance, label = cv2.distanceTransformWithLabels(outside, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
        known = np.empty((outside.size - beyond + 1, 2), np.int32)
        _fade_out(features, outside, distance, label, known, np.float32(FADE_WIDTH * coverage.shape[1]))


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _fade_out(features, outside, distance, label, known, reach):  # type: ignore[no-untyped-def]
    """Each pixel outside gets the known one with the same label, `distance` pixels away."""
    height, width, channels = features.shape
    for y in range(height):
        for x in range(width):
            if outside[y, x] == 0:
                known[label[y, x], 0] = y
                known[label[y, x], 1] = x
    for y in range(height):
        for x in range(width):
            if outside[y, x] == 0:
                continue
            y0, x0 = known[label[y, x]]
            t = min(distance[y, x] / reach, np.float32(1))
            t = t * t * (np.float32(3) - np.float32(2) * t)
            for c in range(channels - 1):
                features[y, x, c] = features[y0, x0, c] + t * (np.float32(BEYOND) - features[y0, x0, c])
            features[y, x, channels - 1] = features[y0, x0, channels - 1]


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


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "reassoc", "arcp", "nsz", "afn"})
def _blend(  # type: ignore[no-untyped-def]
    features, splat_x, splat_y, view, sizes, parameters, pictures, depths, same, feather, bleeding, out, inverse
):
    height, width = inverse.shape
    rows, columns = features.shape[0], features.shape[1]
    count = sizes.shape[0]
    zero, half, one = np.float32(0), np.float32(0.5), np.float32(1)
    for y in range(height):
        fy = splat_y[0] * np.float32(y) + splat_y[1]
        iy = min(max(int(np.floor(fy)), 0), rows - 1)
        jy = min(iy + 1, rows - 1)
        ty = min(max(fy - np.float32(iy), zero), one)
        for x in range(width):
            fx = splat_x[0] * np.float32(x) + splat_x[1]
            ix = min(max(int(np.floor(fx)), 0), columns - 1)
            jx = min(ix + 1, columns - 1)
            tx = min(max(fx - np.float32(ix), zero), one)
            w00, w01 = (one - ty) * (one - tx), (one - ty) * tx
            w10, w11 = ty * (one - tx), ty * tx
            q00, q01 = features[iy, ix, 3], features[iy, jx, 3]
            q10, q11 = features[jy, ix, 3], features[jy, jx, 3]
            if max(q00, q01, q10, q11) - min(q00, q01, q10, q11) > same * max(q00, q01, q10, q11):
                # A jump between the four: one of the two surfaces, never a depth between them.
                mean = w00 * q00 + w01 * q01 + w10 * q10 + w11 * q11
                low, high = min(q00, q01, q10, q11), max(q00, q01, q10, q11)
                middle = half * (low + high)
                near = mean > middle
                w00 = w00 if (q00 > middle) == near else zero
                w01 = w01 if (q01 > middle) == near else zero
                w10 = w10 if (q10 > middle) == near else zero
                w11 = w11 if (q11 > middle) == near else zero
                scale = one / max(w00 + w01 + w10 + w11, np.float32(1e-6))
                w00, w01, w10, w11 = w00 * scale, w01 * scale, w10 * scale, w11 * scale
            q = w00 * q00 + w01 * q01 + w10 * q10 + w11 * q11
            inverse[y, x] = q
            r0, g0, b0 = zero, zero, zero
            r1, g1, b1 = zero, zero, zero
            a0, a1 = np.float32(np.inf), np.float32(np.inf)
            v0, v1, e0, e1 = zero, zero, zero, zero
            if q > 0:
                rx = (np.float32(x) - view[0]) * view[1]
                ry = (np.float32(y) - view[2]) * view[3]
                length = np.sqrt(rx * rx + ry * ry + one)
                for s in range(count):
                    p = parameters[s]
                    # To the source's grid: its own depth there must agree.
                    gz = p[6] * rx + p[7] * ry + p[8] + p[11] * q
                    if gz <= 0:
                        continue
                    scale = one / gz
                    gx = (p[0] * rx + p[1] * ry + p[2] + p[9] * q) * scale
                    gy = (p[3] * rx + p[4] * ry + p[5] + p[10] * q) * scale
                    u, v = _pixel(p, 12, gx, gy)
                    gw, gh = sizes[s, 2], sizes[s, 3]
                    if not (-half <= u <= np.float32(gw) - half and -half <= v <= np.float32(gh) - half):
                        continue
                    iu, iv = min(max(int(u + half), 0), gw - 1), min(max(int(v + half), 0), gh - 1)
                    at = sizes[s, 5] + iv * gw + iu
                    own = depths[at]
                    if own <= 0:
                        continue
                    expected = q * scale
                    allowed = p[46] + p[47] * expected
                    valid = np.float32(2) - abs(own - expected) / allowed
                    if valid <= 0:
                        continue
                    valid = min(valid, one)
                    beside = max(
                        depths[at - 2] if iu >= 2 else own,
                        depths[at + 2] if iu + 2 < gw else own,
                        depths[at - 2 * gw] if iv >= 2 else own,
                        depths[at + 2 * gw] if iv + 2 < gh else own,
                    )
                    if beside - expected > bleeding * allowed:
                        continue
                    # To its picture: through the rotation from grid to camera, the centre being the same.
                    cz = p[29] * gx + p[30] * gy + p[31]
                    if cz <= 0:
                        continue
                    u, v = _pixel(p, 32, (p[23] * gx + p[24] * gy + p[25]) / cz, (p[26] * gx + p[27] * gy + p[28]) / cz)
                    cw, ch = sizes[s, 0], sizes[s, 1]
                    edge = min(u, v, np.float32(cw - 1) - u, np.float32(ch - 1) - v)
                    if not edge >= 0:
                        continue
                    fade = min(one, (edge + one) / feather)
                    # The angle between the two directions, from the chord between unit vectors.
                    dx, dy, dz = rx + p[43] * q, ry + p[44] * q, one + p[45] * q
                    norm = np.sqrt(dx * dx + dy * dy + dz * dz)
                    cosine = (dx * rx + dy * ry + dz) / (norm * length)
                    angle = np.sqrt(max(np.float32(2) - np.float32(2) * cosine, zero))
                    if angle >= a1:
                        continue
                    bu, bv = min(int(u), cw - 2), min(int(v), ch - 2)
                    su, sv = u - np.float32(bu), v - np.float32(bv)
                    i = sizes[s, 4] + (bv * cw + bu) * 3
                    j = i + cw * 3
                    c00, c01 = (one - sv) * (one - su), (one - sv) * su
                    c10, c11 = sv * (one - su), sv * su
                    r = c00 * pictures[i] + c01 * pictures[i + 3] + c10 * pictures[j] + c11 * pictures[j + 3]
                    g = c00 * pictures[i + 1] + c01 * pictures[i + 4] + c10 * pictures[j + 1] + c11 * pictures[j + 4]
                    b = c00 * pictures[i + 2] + c01 * pictures[i + 5] + c10 * pictures[j + 2] + c11 * pictures[j + 5]
                    if angle < a0:
                        r1, g1, b1, a1, v1, e1 = r0, g0, b0, a0, v0, e0
                        r0, g0, b0, a0, v0, e0 = r, g, b, angle, valid, fade
                    else:
                        r1, g1, b1, a1, v1, e1 = r, g, b, angle, valid, fade
            # Weight by 1/angle, made bounded; what is missing to full validity comes from the splat.
            m0 = v0 * e0 / (a0 + np.float32(1e-3))
            m1 = v1 * e1 / (a1 + np.float32(1e-3))
            rest = one - max(v0, v1)
            m = m0 + m1
            if m > 0:
                m0, m1 = m0 / m * (one - rest), m1 / m * (one - rest)
            else:
                m0, m1, rest = zero, zero, one
            for c in range(3):
                colour = zero
                if rest > 0:
                    colour = rest * (
                        w00 * features[iy, ix, c]
                        + w01 * features[iy, jx, c]
                        + w10 * features[jy, ix, c]
                        + w11 * features[jy, jx, c]
                    )
                if c == 0:
                    colour += m0 * r0 + m1 * r1
                elif c == 1:
                    colour += m0 * g0 + m1 * g1
                else:
                    colour += m0 * b0 + m1 * b1
                out[y, x, c] = np.uint8(min(max(colour + half, zero), np.float32(255)))


def _intrinsics(camera: Camera) -> list[float]:
    K, d = camera.K, camera.dist
    return [K[0, 0], K[0, 1], K[0, 2], K[1, 1], K[1, 2], *d, float(d.any())]


def source_row(source: Source, view: Camera) -> NDArray[np.float32]:
    """Return the kernel's row (48,) float32 of a source: view to grid (12), grid intrinsics (11), rotation from grid to
    camera (9), camera intrinsics (11), minus the source's centre in view axes (3), tolerances (2)."""
    M = source.grid.R @ view.R.T
    offset = source.grid.R @ view.centre + source.grid.t
    turn = source.camera.R @ source.grid.R.T
    centre = view.R @ source.grid.centre + view.t
    tolerances = [source.tolerance, source.relative_tolerance]
    row = [*M.ravel(), *offset, *_intrinsics(source.grid), *turn.ravel(), *_intrinsics(source.camera), *-centre]
    return np.array([*row, *tolerances], np.float32)


def blend(features: Plane, view: Camera, sources: Sequence[Source]) -> tuple[Pixels, Plane]:
    """Return the view (H, W, 3) uint8 and its inverse depth (H, W) float32 in 1/m (0: nothing known).

    `features` (h, w, 4) float32 are the hole-filled splat of `view` at any resolution: R, G, B, inverse depth. `view`
    has no distortion and no skew.
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
        np.float32(BLEEDING),
        out,
        inverse,
    )
    return out, inverse
