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

SHARPEN = -0.35
"""Levels added to the texture level: a little sharper than one texel a pixel."""


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
        half = colours[-1].shape[0] // 2
        w = weights[-1].reshape(half, 2, half, 2)
        total = w.sum((1, 3))
        sums = (colours[-1].reshape(half, 2, half, 2, 3) * w[..., None]).sum((1, 3))
        colours.append((sums / np.maximum(total, 1e-6)[..., None]).astype(np.float32))
        weights.append(np.minimum(total, 1).astype(np.float32))
    for level in range(len(colours) - 2, -1, -1):
        side = colours[level].shape[0]
        coarse = colours[level + 1].repeat(2, 0).repeat(2, 1)[:side, :side]
        colours[level] = np.where(weights[level][..., None] > 0, colours[level], coarse)
    start = np.cumsum([0] + [c.shape[0] ** 2 for c in colours])[:-1].astype(np.int64)
    texels = np.concatenate([np.clip(np.rint(c), 0, 255).astype(np.uint8).reshape(-1, 3) for c in colours])
    return Pyramid(texels, start, size)


@njit(nogil=True, cache=True)
def _bilinear(texels: Any, start: int, size: int, u: float, v: float, weight: float, out: Any) -> None:
    x = min(max(u * size - 0.5, 0.0), size - 1.001) if size > 1 else 0.0
    y = min(max(v * size - 0.5, 0.0), size - 1.001) if size > 1 else 0.0
    i, j = int(x), int(y)
    fx, fy = x - i, y - j
    step_x = 1 if size > 1 else 0
    a = start + j * size + i
    c = a + size * step_x
    w00, w10 = (1 - fx) * (1 - fy) * weight, fx * (1 - fy) * weight
    w01, w11 = (1 - fx) * fy * weight, fx * fy * weight
    for k in range(3):
        out[k] += w00 * texels[a, k] + w10 * texels[a + step_x, k] + w01 * texels[c, k] + w11 * texels[c + step_x, k]


@njit(nogil=True, cache=True)
def _shade(
    px: float, py: float, f: int, screen: Any, faces: Any, face_uv: Any, uv: Any, light: Any, texels: Any, start: Any,
    size: int, texel: Any, out: Any,
) -> float:  # fmt: skip
    """Add the colour of face `f` at the sample position (px, py) to `out` (3,); return its inverse depth."""
    a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
    x0, y0 = screen[a, 0], screen[a, 1]
    x1, y1 = screen[b, 0], screen[b, 1]
    x2, y2 = screen[c, 0], screen[c, 1]
    area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    w0 = ((x1 - px) * (y2 - py) - (x2 - px) * (y1 - py)) / area
    w1 = ((x2 - px) * (y0 - py) - (x0 - px) * (y2 - py)) / area
    w0, w1 = max(w0, 0.0), max(w1, 0.0)
    w2 = max(1.0 - w0 - w1, 0.0)
    total = w0 + w1 + w2
    w0, w1, w2 = w0 / total * screen[a, 2], w1 / total * screen[b, 2], w2 / total * screen[c, 2]
    inverse = w0 + w1 + w2
    w0, w1, w2 = w0 / inverse, w1 / inverse, w2 / inverse
    ta, tb, tc = face_uv[f, 0], face_uv[f, 1], face_uv[f, 2]
    u0, v0, u1, v1, u2, v2 = uv[ta, 0], uv[ta, 1], uv[tb, 0], uv[tb, 1], uv[tc, 0], uv[tc, 1]
    stretch = abs((u1 - u0) * (v2 - v0) - (u2 - u0) * (v1 - v0)) * size * size / (area * 0.25)
    level = 0.5 * np.log2(max(stretch, 1e-6)) + SHARPEN
    level = min(max(level, 0.0), start.shape[0] - 2.0)
    fine = int(level)
    mix = level - fine
    u, v = w0 * u0 + w1 * u1 + w2 * u2, w0 * v0 + w1 * v1 + w2 * v2
    texel[:] = 0.0
    _bilinear(texels, start[fine], size >> fine, u, v, 1.0 - mix, texel)
    if mix > 0.02:
        _bilinear(texels, start[fine + 1], size >> (fine + 1), u, v, mix, texel)
    for k in range(3):
        out[k] += texel[k] * (w0 * light[a, k] + w1 * light[b, k] + w2 * light[c, k])
    return float(inverse)


@njit(nogil=True, cache=True)
def resolve(
    ids: Any, inverse: Any, screen: Any, faces: Any, face_uv: Any, uv: Any, light: Any, texels: Any, start: Any,
    size: int, back_rgb: Any, back_depth: Any, rgb: Any, depth: Any, alpha: Any,
) -> None:  # fmt: skip
    """Write the picture of the person over the background.

    `ids`, `inverse` (2H, 2W) from `rasterise` of `screen` (n, 3) at twice the size; `light` (n, 3) float32 multiplies
    the texture; `back_rgb` (H, W, 3) uint8, `back_depth` (H, W) float32; writes `rgb`, `depth`, `alpha` as Rendering.
    """
    height, width = alpha.shape
    colour = np.zeros(3)
    texel = np.zeros(3)
    for y in range(height):
        for x in range(width):
            count, low, high = 0, 1e9, 0.0
            for s in range(4):
                if ids[2 * y + (s >> 1), 2 * x + (s & 1)] >= 0:
                    count += 1
                    value = inverse[2 * y + (s >> 1), 2 * x + (s & 1)]
                    low, high = min(low, value), max(high, value)
            if count == 0:
                for k in range(3):
                    rgb[y, x, k] = back_rgb[y, x, k]
                depth[y, x] = back_depth[y, x]
                alpha[y, x] = 0.0
                continue
            colour[:] = 0.0
            total = 0.0
            if count == 4 and high - low < FOLD * high:
                f = ids[2 * y, 2 * x]
                total = _shade(
                    2 * x + 0.5, 2 * y + 0.5, f, screen, faces, face_uv, uv, light, texels, start, size, texel, colour
                )
                total = 1.0 / total
                share = 1.0
            else:
                for s in range(4):
                    sy, sx = 2 * y + (s >> 1), 2 * x + (s & 1)
                    f = ids[sy, sx]
                    if f >= 0:
                        _shade(sx, sy, f, screen, faces, face_uv, uv, light, texels, start, size, texel, colour)
                        total += inverse[sy, sx]
                total = count / total
                share = 0.25
            empty = (4 - count) * 0.25
            for k in range(3):
                value = colour[k] * share + empty * back_rgb[y, x, k] + 0.5
                rgb[y, x, k] = np.uint8(min(max(value, 0.0), 255.0))
            depth[y, x] = total if count >= 2 else back_depth[y, x]
            alpha[y, x] = count * 0.25
