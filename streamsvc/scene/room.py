"""The room behind the person: papered walls, a shelf of books, a picture, a lamp; ray-cast once per camera.

Everything is a box or a ball in world metres (x right, y down, z away from the cameras) with procedural texture in
world coordinates, one lamp with shadows, and light that falls off with distance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from streamsvc.frames import Camera, Pixels
from streamsvc.scene.noise import fractal3, hash01, noise3, smoothstep

WALL, WOOD, BOOK, PICTURE, PLAIN, BALL = range(6)
GROUP = 8
LAMP = np.array([-0.75, -1.0, 0.75])
HALF_WIDTH, CEILING, FLOOR, BACK, FRONT = 1.6, -1.25, 1.15, 1.95, -2.5
"""The room's inside, metres."""


def furnish(seed: int) -> NDArray[np.float64]:
    """Return the things of the room, (n, 11): kind, low corner, high corner, colour, number; a ball: centre, radius."""
    rng = np.random.default_rng(seed + 101)
    side = 1.0 if rng.random() < 0.5 else -1.0
    out: list[list[float]] = []

    def box(kind: int, low: tuple[float, ...], high: tuple[float, ...], colour: tuple[float, ...]) -> None:
        x0, x1 = sorted((side * low[0], side * high[0]))
        out.append([kind, x0, low[1], low[2], x1, high[1], high[2], *colour, len(out)])

    wood = (148.0, 104.0, 66.0)
    for y in (-0.50, -0.10, 0.30, 0.70):
        box(WOOD, (-1.25, y, 1.68), (-0.22, y + 0.025, 1.95), wood)
    for x in (-1.25, -0.245):
        box(WOOD, (x, -0.95, 1.68), (x + 0.025, 0.9, 1.95), wood)
    palette = [
        (166, 60, 50),
        (52, 86, 120),
        (208, 186, 136),
        (70, 110, 78),
        (214, 208, 196),
        (96, 62, 92),
        (196, 132, 58),
    ]
    for y in (-0.50, -0.10, 0.30, 0.70):
        x = -1.22
        while x < -0.30:
            width = rng.uniform(0.022, 0.055)
            if rng.random() < 0.12:
                x += rng.uniform(0.04, 0.12)
                continue
            if x + width > -0.25:
                break
            tall, colour = rng.uniform(0.2, 0.33), palette[rng.integers(len(palette))]
            box(BOOK, (x, y - tall, 1.70 + rng.uniform(0, 0.05)), (x + width - 0.002, y, 1.94), colour)
            x += width
    box(WOOD, (0.26, -0.66, 1.90), (1.0, -0.02, 1.95), (70, 50, 40))
    box(PICTURE, (0.30, -0.62, 1.895), (0.96, -0.06, 1.93), (120, 140, 160))
    box(WOOD, (0.15, 0.42, 1.45), (1.3, 0.46, 1.95), (120, 84, 56))
    box(PLAIN, (0.18, 0.46, 1.49), (1.27, 1.15, 1.95), (92, 98, 104))
    box(PLAIN, (0.86, 0.27, 1.62), (1.02, 0.42, 1.78), (188, 96, 62))
    for _ in range(26):
        centre = (0.94 + rng.normal() * 0.085, 0.12 + rng.normal() * 0.075, 1.70 + rng.normal() * 0.06)
        leaf = (60 + rng.uniform(0, 30), 112 + rng.uniform(0, 40), 56 + rng.uniform(0, 20))
        out.append([BALL, side * centre[0], centre[1], centre[2], rng.uniform(0.028, 0.05), 0, 0, *leaf, len(out)])
    for x, size, colour in ((0.30, 0.11, (60, 70, 90)), (0.46, 0.08, (200, 180, 120))):
        box(PLAIN, (x, 0.42 - size, 1.6), (x + size, 0.42, 1.6 + size), colour)
    return np.array(out, np.float64)


def group(things: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the box around each `GROUP` things in a row, (g, 6): a ray that misses it misses them all."""
    low, high = things[:, 1:4].copy(), things[:, 4:7].copy()
    ball = things[:, 0] == BALL
    radius = things[ball, 4:5]
    low[ball], high[ball] = things[ball, 1:4] - radius, things[ball, 1:4] + radius
    starts = np.arange(0, len(things), GROUP)
    return np.hstack([np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts)])


@njit(nogil=True, cache=True, error_model="numpy")
def _enter(origin: Any, slant: Any, box: Any, at: int) -> tuple[float, float, int]:
    """Return (near, far, axis) where a ray crosses the box `box[at : at + 6]`; `slant` is one over its direction."""
    near, far, axis = -1e9, 1e9, 0
    for k in range(3):
        a, b = (box[at + k] - origin[k]) * slant[k], (box[at + 3 + k] - origin[k]) * slant[k]
        if a > b:
            a, b = b, a
        if a > near:
            near, axis = a, k
        far = min(far, b)
    return near, far, axis


@njit(nogil=True, cache=True, error_model="numpy")
def _nearest(origin: Any, way: Any, things: Any, groups: Any, limit: float) -> tuple[float, int, int]:
    """Return (distance, thing, axis of the face hit or 3) of the first thing along a ray, or (limit, -1, 0)."""
    best, found, face = limit, -1, 0
    slant = (
        1 / (way[0] if abs(way[0]) > 1e-9 else 1e-9),
        1 / (way[1] if abs(way[1]) > 1e-9 else 1e-9),
        1 / (way[2] if abs(way[2]) > 1e-9 else 1e-9),
    )
    for g in range(groups.shape[0]):
        near, far, _ = _enter(origin, slant, groups[g], 0)
        if near > far or far < 0 or near > best:
            continue
        for i in range(g * GROUP, min((g + 1) * GROUP, things.shape[0])):
            if things[i, 0] == BALL:
                px, py, pz = origin[0] - things[i, 1], origin[1] - things[i, 2], origin[2] - things[i, 3]
                b = px * way[0] + py * way[1] + pz * way[2]
                disc = b * b - (px * px + py * py + pz * pz - things[i, 4] * things[i, 4])
                if disc > 0:
                    distance = -b - np.sqrt(disc)
                    if 1e-4 < distance < best:
                        best, found, face = distance, i, 3
            else:
                near, far, axis = _enter(origin, slant, things[i], 1)
                if near < far and 1e-4 < near < best:
                    best, found, face = near, i, axis
    return best, found, face


@njit(nogil=True, cache=True)
def _texture(kind: int, x: float, y: float, z: float, axis: int, thing: Any, seed: int, out: Any) -> None:
    """Multiply or replace the colour in `out` (3,) by the texture of `kind` at a point."""
    grain = fractal3(70 * x, 70 * y, 70 * z, 2, seed + 1)
    if kind == WALL:
        u = z if axis == 0 else x
        v = z if axis == 1 else y
        cell_u, cell_v = (u * 5.5 + 0.5 * (np.floor(v * 5.5) % 2)) % 1.0 - 0.5, (v * 5.5) % 1.0 - 0.5
        r = np.sqrt(cell_u * cell_u + cell_v * cell_v)
        motif = smoothstep(0.36, 0.32, r) - 0.7 * smoothstep(0.24, 0.2, r) + 0.8 * smoothstep(0.1, 0.07, r)
        petal = np.cos(6 * np.arctan2(cell_v, cell_u))
        tone = (
            1 - 0.17 * motif * (0.75 + 0.25 * petal) + 0.06 * fractal3(14 * x, 14 * y, 14 * z, 3, seed) + 0.07 * grain
        )
    elif kind == WOOD:
        ring = noise3(6 * x, 46 * y, 46 * z, seed + 2)
        tone = 0.95 + 0.22 * ring + 0.08 * grain
    elif kind == BOOK:
        n = int(thing[10])
        height = (y - thing[2]) / (thing[5] - thing[2])
        band = hash01(n, 3, 0, seed)
        tone = 0.95 + 0.12 * grain
        if abs(height - 0.15 - 0.2 * band) < 0.03 or abs(height - 0.85) < 0.02:
            tone *= 1.5
        elif 0.35 < height < 0.75 and noise3(160 * x, 90 * y, 0.0, n) > 0.15 and axis == 2:
            tone *= 1.35
    elif kind == PICTURE:
        u = (x - thing[1]) / (thing[4] - thing[1])
        v = (y - thing[2]) / (thing[5] - thing[2])
        hill = 0.55 + 0.13 * noise3(3 * u, 0.0, 0.0, seed + 5) + 0.05 * noise3(11 * u, 0.0, 0.0, seed + 6)
        far = 0.42 + 0.1 * noise3(4 * u, 0.0, 1.0, seed + 7)
        daub = fractal3(26 * u, 26 * v, 0.0, 3, seed + 8)
        if v > hill:
            out[0], out[1], out[2] = 92 + 60 * (v - hill), 118 - 40 * (v - hill), 62
        elif v > far:
            out[0], out[1], out[2] = 96, 120, 140
        else:
            out[0], out[1], out[2] = 236 - 70 * (far - v), 190 + 10 * v, 150 + 120 * (far - v)
        tone = 1 + 0.3 * daub
        if u < 0.07 or u > 0.93 or v < 0.08 or v > 0.92:
            out[0], out[1], out[2] = 226, 220, 208
            tone = 1 + 0.06 * grain
    else:
        tone = 1 + 0.16 * grain
    for k in range(3):
        out[k] *= tone


@njit(nogil=True, cache=True)
def _cast(
    origin: Any, dx: float, dy: float, dz: float, things: Any, groups: Any, lamp: Any,
    seed: int, shaded: bool, out: Any,
) -> float:  # fmt: skip
    """Return the distance along a unit ray to the room; when `shaded`, write the colour there to `out` (3,)."""
    distance, axis = 1e9, 2
    for k in range(3):
        o, d = (origin[0], dx) if k == 0 else ((origin[1], dy) if k == 1 else (origin[2], dz))
        low, high = (-HALF_WIDTH, HALF_WIDTH) if k == 0 else ((CEILING, FLOOR) if k == 1 else (FRONT, BACK))
        if abs(d) > 1e-9:
            s = ((high if d > 0 else low) - o) / d
            if 0 < s < distance:
                distance, axis = s, k
    distance, thing, face = _nearest((origin[0], origin[1], origin[2]), (dx, dy, dz), things, groups, distance)
    if not shaded:
        return distance
    x, y, z = origin[0] + distance * dx, origin[1] + distance * dy, origin[2] + distance * dz
    nx, ny, nz = 0.0, 0.0, 0.0
    if thing < 0:
        face = axis
        out[0], out[1], out[2] = 190.0, 184.0, 168.0
        if axis == 1:
            out[0], out[1], out[2] = (146.0, 110.0, 78.0) if dy > 0 else (228.0, 226.0, 220.0)
        elif axis == 0:
            out[0], out[1], out[2] = 172.0, 178.0, 172.0
        _texture(WOOD if axis == 1 and dy > 0 else WALL, x, y, z, axis, things[0], seed, out)
    else:
        for k in range(3):
            out[k] = things[thing, 7 + k]
        _texture(int(things[thing, 0]), x, y, z, face, things[thing], seed, out)
    if face == 3:
        r = things[thing, 4]
        nx, ny, nz = (x - things[thing, 1]) / r, (y - things[thing, 2]) / r, (z - things[thing, 3]) / r
    elif face == 0:
        nx = -1.0 if dx > 0 else 1.0
    elif face == 1:
        ny = -1.0 if dy > 0 else 1.0
    else:
        nz = -1.0 if dz > 0 else 1.0
    lx, ly, lz = lamp[0] - x, lamp[1] - y, lamp[2] - z
    far = np.sqrt(lx * lx + ly * ly + lz * lz)
    lx, ly, lz = lx / far, ly / far, lz / far
    lambert = max(0.0, nx * lx + ny * ly + nz * lz)
    if lambert > 0:
        start = (x + nx * 2e-3, y + ny * 2e-3, z + nz * 2e-3)
        _, blocker, _ = _nearest(start, (lx, ly, lz), things, groups, far)
        if blocker >= 0:
            lambert = 0.0
    dome = 0.24 - 0.07 * ny + 0.05 * nx * (1.0 if lamp[0] > 0 else -1.0)
    power = dome + 1.15 * lambert / (0.55 + far * far)
    power = power**0.4545
    for k in range(3):
        out[k] *= power * (1.03 if k == 0 else (1.0 if k == 1 else 0.95))
    return distance


@njit(nogil=True, cache=True)
def _draw(origin: Any, R: Any, K: Any, things: Any, groups: Any, lamp: Any, seed: int, rgb: Any, depth: Any) -> None:
    height, width = depth.shape
    colour, total = np.zeros(3), np.zeros(3)
    for y in range(height):
        for x in range(width):
            total[:] = 0.0
            for s in range(5):
                sx = x + (0.0 if s == 4 else (0.25 if s & 1 else -0.25))
                sy = y + (0.0 if s == 4 else (0.25 if s & 2 else -0.25))
                cy = (sy - K[1, 2]) / K[1, 1]
                cx = (sx - K[0, 2] - K[0, 1] * cy) / K[0, 0]
                length = np.sqrt(cx * cx + cy * cy + 1)
                dx = (R[0, 0] * cx + R[1, 0] * cy + R[2, 0]) / length
                dy = (R[0, 1] * cx + R[1, 1] * cy + R[2, 1]) / length
                dz = (R[0, 2] * cx + R[1, 2] * cy + R[2, 2]) / length
                distance = _cast(origin, dx, dy, dz, things, groups, lamp, seed, s < 4, colour)
                if s == 4:
                    depth[y, x] = distance / length
                else:
                    for k in range(3):
                        total[k] += colour[k]
            for k in range(3):
                rgb[y, x, k] = np.uint8(min(255.0, total[k] * 0.25 + 0.5))


def draw_room(camera: Camera, seed: int) -> tuple[Pixels, NDArray[np.float32]]:
    """Return what `camera`, inside the room, sees of it: (rgb (H, W, 3) uint8, depth (H, W) float32 metres along z)."""
    rgb = np.zeros((camera.height, camera.width, 3), np.uint8)
    depth = np.zeros((camera.height, camera.width), np.float32)
    things = furnish(seed)
    lamp = LAMP.copy()
    if things[0, 1] + things[0, 4] < 0:  # the shelf stands on the left: the lamp opposite
        lamp[0] = -lamp[0]
    _draw(camera.centre.copy(), camera.R.copy(), camera.K.copy(), things, group(things), lamp, seed, rgb, depth)
    return rgb, depth
