"""From faces on samples to a picture: texture pyramid, perspective-correct interpolation, coverage edges.

The z-buffer has 2 x 2 samples a pixel. A pixel inside the person is shaded once at its centre (the pyramid has already
averaged the texture); a pixel on an outline or a fold is shaded at every sample and averaged, so edges don't crawl.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

FOLD = 0.012
"""Relative spread of inverse depth inside a pixel above which it counts as a fold."""

SHARPEN = np.float32(-0.35)
"""Levels added to the texture level: a little sharper than one texel a pixel."""

COARSEST = 7
"""The last level that is sampled; the level after it exists."""

SNAP = np.float32(0.2)
"""Within this of a whole level only that level is read."""


@dataclass(frozen=True, slots=True, eq=False)
class Pyramid:
    """A square texture and its halvings in one array: `texels` (n, 3) uint8, level k starts at `start[k]`."""

    texels: NDArray[np.uint8]
    start: NDArray[np.int64]
    size: int


def build_pyramid(texture: NDArray[np.float32], covered: NDArray[np.bool_]) -> Pyramid:
    """Return the pyramid of a (size, size, 3) texture in 0..255; texels not `covered` take the nearest colour.

    Levels are averages of covered texels only, and what stays uncovered is filled from the next coarser level, so
    that no sample near a seam ever sees the empty ground of the atlas.
    """
    size = texture.shape[0]
    colours, weights = [texture], [covered.astype(np.float32)]
    while colours[-1].shape[0] > 1:
        colour, weight = _halve(colours[-1], weights[-1])
        colours.append(colour)
        weights.append(weight)
    for level in range(len(colours) - 2, -1, -1):
        _fill(colours[level], weights[level], colours[level + 1])
    start = np.cumsum([0] + [c.shape[0] ** 2 for c in colours])[:-1].astype(np.int64)
    texels = np.concatenate([(np.clip(c, 0, 255) + 0.5).astype(np.uint8).reshape(-1, 3) for c in colours])
    return Pyramid(texels, start, size)


@njit(nogil=True, cache=True)
def _halve(colour: Any, weight: Any) -> tuple[Any, Any]:
    """Return the level above: (side / 2, side / 2, 3) averages of what is covered, and whether anything was."""
    half = colour.shape[0] // 2
    out, seen = np.zeros((half, half, 3), np.float32), np.zeros((half, half), np.float32)
    for y in range(half):
        for x in range(half):
            total = np.float32(0)
            for s in range(4):
                j, i = 2 * y + (s >> 1), 2 * x + (s & 1)
                w = weight[j, i]
                total += w
                for k in range(3):
                    out[y, x, k] += w * colour[j, i, k]
            if total > 0:
                seen[y, x] = 1
                for k in range(3):
                    out[y, x, k] /= total
    return out, seen


@njit(nogil=True, cache=True)
def _fill(colour: Any, weight: Any, coarse: Any) -> None:
    """Give texels that nothing covers the colour of the level above."""
    for y in range(colour.shape[0]):
        for x in range(colour.shape[0]):
            if weight[y, x] == 0:
                for k in range(3):
                    colour[y, x, k] = coarse[y >> 1, x >> 1, k]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True, inline="always")
def _level(stretch: Any) -> Any:
    """0.5 log2(stretch) to 0.05, from the bits of the float: the exponent, and a line through the mantissa."""
    return 0.5 * (np.float32(stretch).view(np.int32) * 1.1920929e-7 - 126.957)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True, inline="always")
def _texel(texels: Any, start: Any, size: Any, u: Any, v: Any) -> Any:
    """Bilinear sample of one level: (r, g, b) float32."""
    most = np.float32(size - 1.001)
    x = min(max(u * size - np.float32(0.5), np.float32(0)), most)
    y = min(max(v * size - np.float32(0.5), np.float32(0)), most)
    i, j = np.int32(x), np.int32(y)
    fx, fy = x - i, y - j
    a = start + j * size + i
    c = a + size
    w11 = fx * fy
    w10, w01 = fx - w11, fy - w11
    w00 = 1 - fx - w01
    return (
        w00 * texels[a, 0] + w10 * texels[a + 1, 0] + w01 * texels[c, 0] + w11 * texels[c + 1, 0],
        w00 * texels[a, 1] + w10 * texels[a + 1, 1] + w01 * texels[c, 1] + w11 * texels[c + 1, 1],
        w00 * texels[a, 2] + w10 * texels[a + 1, 2] + w01 * texels[c, 2] + w11 * texels[c + 1, 2],
    )


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True, inline="always")
def _shade(
    px: Any, py: Any, f: Any, screen: Any, faces: Any, face_uv: Any, uv: Any, light: Any, texels: Any, start: Any,
    size: Any,
) -> Any:  # fmt: skip
    """Return (r, g, b, inverse depth), float32, of face `f` at the sample position (px, py)."""
    a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
    x0, y0 = screen[a, 0] - px, screen[a, 1] - py
    x1, y1 = screen[b, 0] - px, screen[b, 1] - py
    x2, y2 = screen[c, 0] - px, screen[c, 1] - py
    w0, w1, w2 = x1 * y2 - x2 * y1, x2 * y0 - x0 * y2, x0 * y1 - x1 * y0
    area = w0 + w1 + w2
    zero = np.float32(0)
    w0, w1, w2 = max(w0, zero) * screen[a, 2], max(w1, zero) * screen[b, 2], max(w2, zero) * screen[c, 2]
    total = 1 / (w0 + w1 + w2)
    w0, w1, w2 = w0 * total, w1 * total, w2 * total
    inverse = 1 / (w0 / screen[a, 2] + w1 / screen[b, 2] + w2 / screen[c, 2])
    ta, tb, tc = face_uv[f, 0], face_uv[f, 1], face_uv[f, 2]
    u0, v0, u1, v1, u2, v2 = uv[ta, 0], uv[ta, 1], uv[tb, 0], uv[tb, 1], uv[tc, 0], uv[tc, 1]
    stretch = abs((u1 - u0) * (v2 - v0) - (u2 - u0) * (v1 - v0)) * (4 * size * size) / area
    level = min(max(_level(stretch) + SHARPEN, zero), np.float32(COARSEST))
    u, v = w0 * u0 + w1 * u1 + w2 * u2, w0 * v0 + w1 * v1 + w2 * v2
    fine = np.int32(level)
    mix = level - fine
    if mix > 1 - SNAP:
        fine += 1
    r, g, b_ = _texel(texels, start[fine], size >> fine, u, v)
    if SNAP <= mix <= 1 - SNAP:
        r2, g2, b2 = _texel(texels, start[fine + 1], size >> (fine + 1), u, v)
        r, g, b_ = r + mix * (r2 - r), g + mix * (g2 - g), b_ + mix * (b2 - b_)
    return (
        r * (w0 * light[a, 0] + w1 * light[b, 0] + w2 * light[c, 0]),
        g * (w0 * light[a, 1] + w1 * light[b, 1] + w2 * light[c, 1]),
        b_ * (w0 * light[a, 2] + w1 * light[b, 2] + w2 * light[c, 2]),
        inverse,
    )


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def resolve(
    ids: Any, inverse: Any, screen: Any, faces: Any, face_uv: Any, uv: Any, light: Any, texels: Any, start: Any,
    size: Any, back_rgb: Any, back_depth: Any, rgb: Any, depth: Any, alpha: Any,
) -> None:  # fmt: skip
    """Write the picture of the person over the background.

    `ids`, `inverse` (2H, 2W) from `rasterise` of `screen` (n, 3) at twice the size; `uv` (k, 2) and `light` (n, 3),
    which multiplies the texture, float32; `back_rgb` (H, W, 3) uint8, `back_depth` (H, W) float32; writes `rgb`,
    `depth`, `alpha` as in Rendering.
    """
    height, width = alpha.shape
    size = np.int32(size)
    half = np.float32(0.5)
    for y in range(height):
        for x in range(width):
            n0, n1 = ids[2 * y, 2 * x], ids[2 * y, 2 * x + 1]
            n2, n3 = ids[2 * y + 1, 2 * x], ids[2 * y + 1, 2 * x + 1]
            if n0 < 0 and n1 < 0 and n2 < 0 and n3 < 0:
                rgb[y, x, 0], rgb[y, x, 1], rgb[y, x, 2] = back_rgb[y, x, 0], back_rgb[y, x, 1], back_rgb[y, x, 2]
                depth[y, x] = back_depth[y, x]
                alpha[y, x] = 0.0
                continue
            d0, d1 = inverse[2 * y, 2 * x], inverse[2 * y, 2 * x + 1]
            d2, d3 = inverse[2 * y + 1, 2 * x], inverse[2 * y + 1, 2 * x + 1]
            high = max(max(d0, d1), max(d2, d3))
            # an empty sample's inverse depth is 0, so outlines fail this test too
            whole = min(min(d0, d1), min(d2, d3)) > (1 - FOLD) * high
            red, green, blue, near = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
            count = 0
            for s in range(1 if whole else 4):
                sy, sx = 2 * y + (s >> 1), 2 * x + (s & 1)
                f = ids[sy, sx]
                if f >= 0:
                    shift = half if whole else np.float32(0)
                    r, g, b, n = _shade(
                        np.float32(sx) + shift, np.float32(sy) + shift, f,
                        screen, faces, face_uv, uv, light, texels, start, size,
                    )  # fmt: skip
                    red, green, blue, near = red + r, green + g, blue + b, near + n
                    count += 1
            if whole:
                depth[y, x] = 1 / near
                alpha[y, x] = 1.0
            else:
                share, empty = np.float32(0.25), np.float32((4 - count) * 0.25)
                red = red * share + empty * back_rgb[y, x, 0]
                green = green * share + empty * back_rgb[y, x, 1]
                blue = blue * share + empty * back_rgb[y, x, 2]
                depth[y, x] = count / near if count >= 2 else back_depth[y, x]
                alpha[y, x] = count * 0.25
            top = np.float32(255)
            rgb[y, x, 0] = np.uint8(min(red, top) + half)
            rgb[y, x, 1] = np.uint8(min(green, top) + half)
            rgb[y, x, 2] = np.uint8(min(blue, top) + half)
