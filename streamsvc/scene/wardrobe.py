"""Dressing a body at rest: hair gets volume, long hair gets a sheet, cloth stands off the skin and bridges hollows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from streamsvc.scene.noise import noise3, smoothstep
from streamsvc.scene.paint import BODY, HAIRLINE, HEAD, STRANDS, TEETH, cloth_depth, hair_depth

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """A body at rest: `vertices` (n, 3) metres, `faces` (m, 3) int32, `uv` (k, 2) v down, `face_uv` (m, 3) int32,
    `part` (m,) uint8, `bone_index` (n, 4) int64, `bone_weight` (n, 4), `ambient`, `key` (n,) light visibility 0..1."""

    vertices: Floats
    faces: NDArray[np.int32]
    uv: Floats
    face_uv: NDArray[np.int32]
    part: NDArray[np.uint8]
    bone_index: NDArray[np.int64]
    bone_weight: Floats
    ambient: Floats
    key: Floats


@njit(nogil=True, cache=True, error_model="numpy")
def normals(vertices: Any, faces: Any) -> Any:
    """Return area-weighted unit normals (n, 3), outward."""
    out = np.zeros_like(vertices)
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        x, y, z = vertices[a, 0], vertices[a, 1], vertices[a, 2]
        ux, uy, uz = vertices[c, 0] - x, vertices[c, 1] - y, vertices[c, 2] - z
        vx, vy, vz = vertices[b, 0] - x, vertices[b, 1] - y, vertices[b, 2] - z
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for i in (a, b, c):
            out[i, 0] += nx
            out[i, 1] += ny
            out[i, 2] += nz
    for i in range(out.shape[0]):
        length = np.sqrt(out[i, 0] ** 2 + out[i, 1] ** 2 + out[i, 2] ** 2) + 1e-12
        for k in range(3):
            out[i, k] /= length
    return out


@njit(nogil=True, cache=True, error_model="numpy")
def _thickness(
    vertices: Any, uv: Any, part: Any, neckline: float, arms: Any, line: Any, volume: float, seed: int
) -> tuple[Any, Any]:
    n = vertices.shape[0]
    hair, cloth = np.zeros(n), np.zeros(n)
    for i in range(n):
        x, y, z = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        if part[i] == HEAD:
            depth = hair_depth(x, y, z, uv[i, 0], uv[i, 1], line)
            lumps = 1 + 0.35 * noise3(38 * x, 38 * y, 38 * z, seed)
            hair[i] = smoothstep(-0.001, 0.045, depth) * lumps * volume + 0.002 * smoothstep(0.0, 0.01, depth)
        elif part[i] == BODY:
            cloth[i] = smoothstep(-0.002, 0.004, cloth_depth(x, y, z, neckline, arms))
    return hair, cloth


def dress(body: Mesh, neckline: float, arms: Floats, gender: float, seed: int) -> Mesh:
    """Return the body with hair and clothes on; its vertices keep their numbers, teeth and a sheet of hair follow.

    `neckline` metres below the head's middle; `arms` (2, 2, 3) elbow and wrist, left and right.
    """
    corner_uv = np.zeros((len(body.vertices), 2))
    corner_uv[body.faces] = body.uv[body.face_uv]
    part = np.full(len(body.vertices), 255, np.uint8)
    order = np.argsort(-body.part.astype(int), kind="stable")
    part[body.faces[order]] = body.part[order][:, None]
    volume = 0.019 if gender > 0.5 else 0.011
    hair, cloth = _thickness(body.vertices, corner_uv, part, neckline, arms, HAIRLINE, volume, seed)
    shape = _drape(body, cloth)
    shape = shape + normals(shape, body.faces) * (hair + 0.0075 * cloth)[:, None]
    dressed = _add_teeth(replace(body, vertices=shape), corner_uv)
    return _add_long_hair(dressed, seed) if gender > 0.5 else dressed


def _drape(body: Mesh, cloth: Floats, rounds: int = 14) -> Floats:
    """Smooth the clothed vertices towards their neighbours, but never inwards: cloth spans hollows."""
    edges = np.concatenate([body.faces[:, [0, 1]], body.faces[:, [1, 2]], body.faces[:, [2, 0]]])
    count = np.bincount(edges.ravel(), minlength=len(cloth)).astype(np.float64)[:, None]
    out = normals(body.vertices, body.faces)
    shape = body.vertices.copy()
    for _ in range(rounds):
        total = np.zeros_like(shape)
        for k in range(3):
            total[:, k] = np.bincount(edges[:, 0], shape[edges[:, 1], k], len(shape)) + np.bincount(
                edges[:, 1], shape[edges[:, 0], k], len(shape)
            )
        shape = shape + (total / np.maximum(count, 1) - shape) * (0.6 * cloth[:, None])
    inwards = np.minimum(((shape - body.vertices) * out).sum(1), 0.0) * cloth
    return np.asarray(shape - inwards[:, None] * out)


def _add_teeth(body: Mesh, corner_uv: Floats, columns: int = 12) -> Mesh:
    """Append an arc of upper teeth behind the lips, which meet at (930.5, 528.5) / 1024 of the atlas (bone 4: head)."""
    lips = np.linalg.norm(corner_uv * 1024 - (930.5, 528.5), axis=1) < 4
    _, y0, z0 = body.vertices[lips].mean(0)
    x = np.linspace(-0.021, 0.021, columns)
    z = z0 + 0.0075 + 26 * x * x
    rows = [np.stack([x, np.full(columns, y0 + dy), z + dz], 1) for dy, dz in ((-0.009, 0.001), (0.0005, 0.0))]
    a, b = np.arange(columns - 1), np.arange(1, columns)
    faces = np.concatenate([np.stack([a, b, a + columns], 1), np.stack([b, b + columns, a + columns], 1)])
    u = np.tile(np.linspace(0.04, 0.10, columns), 2)
    v = np.repeat([0.03, 0.05], columns)
    part = np.full(len(faces), TEETH, np.uint8)
    bones, weights = np.tile([4, 3, 2, 0], (2 * columns, 1)), np.tile([1.0, 0, 0, 0], (2 * columns, 1))
    shade = np.full(2 * columns, 0.45) * np.tile(1 - (x / 0.026) ** 2, 2)
    return _append(body, np.concatenate(rows), faces, np.stack([u, v], 1), faces, part, bones, weights, shade)


def _append(
    body: Mesh,
    points: Floats,
    faces: Any,
    uv: Floats,
    face_uv: Any,
    part: Any,
    bones: Any,
    weights: Floats,
    shade: Floats,
) -> Mesh:
    base, number = len(body.vertices), len(body.uv)
    return Mesh(
        np.concatenate([body.vertices, points]),
        np.concatenate([body.faces, faces + base]).astype(np.int32),
        np.concatenate([body.uv, uv]),
        np.concatenate([body.face_uv, face_uv + number]).astype(np.int32),
        np.concatenate([body.part, part]),
        np.concatenate([body.bone_index, bones]),
        np.concatenate([body.bone_weight, weights]),
        np.concatenate([body.ambient, shade]),
        np.concatenate([body.key, shade]),
    )


def _add_long_hair(body: Mesh, seed: int, columns: int = 56, rows: int = 26) -> Mesh:
    """Append a thick sheet that falls from the sides and back of the head to the shoulders (bones 3 neck, 4 head)."""
    theta = np.radians(np.linspace(-128, 128, columns))[None, :]
    s = np.linspace(0, 1, rows)[:, None]
    ragged = np.array([noise3(7.0 * i / columns * 9, 0.3, 0.7, seed + 60) for i in range(columns)])[None, :]
    lumps = np.array([[noise3(i / 3.2, j / 9.0, 0.2, seed + 61) for i in range(columns)] for j in range(rows)])
    y = -0.055 + s * (0.30 + 0.02 * ragged - 0.05 * np.abs(theta / 2.2) ** 3)
    front = np.clip((np.abs(theta) - 1.2) / 1.03, 0, 1)
    swell = 0.90 + 0.17 * np.sqrt(s) + (0.05 + 0.30 * front) * s * s * (1.9 - s) + 0.04 * np.sin(2.6 * s * np.pi) * s
    rx, rz = 0.092 * swell + 0.006 * lumps, 0.112 * swell + 0.006 * lumps
    outer = np.stack([rx * np.sin(theta), y + 0 * theta, 0.018 + rz * np.cos(theta)], -1)
    inner = outer - np.stack([np.sin(theta) + 0 * s, 0 * y, np.cos(theta) + 0 * s], -1) * 0.012
    count = rows * columns
    index = np.arange(count).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    quads = np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)])
    rim = [index[:, 0], index[-1, :], index[::-1, -1]]  # two sides and the tips join outside and inside
    strips = []
    for line in rim:
        p, q = line[:-1], line[1:]
        strips += [np.stack([p, p + count, q], -1), np.stack([q, p + count, q + count], -1)]
    sheet = np.concatenate([quads, quads[:, ::-1] + count, *strips]).astype(np.int32)
    points = np.concatenate([outer.reshape(-1, 3), inner.reshape(-1, 3)])
    out = normals(points, sheet)
    if (out[:count] * (outer - outer.mean((0, 1))).reshape(-1, 3)).sum() < 0:
        sheet = sheet[:, ::-1]
    texture = np.stack([0.03 + 0.3 * (theta / 4.6 + 0.5) + 0 * s, 0.845 + 0.14 * s + 0 * theta], -1).reshape(-1, 2)
    low = np.broadcast_to(s, (rows, columns)).reshape(-1)
    fall = np.tile(np.clip((low - 0.45) / 0.55, 0, 1), 2)
    bones = np.tile(np.array([4, 3, 2, 0]), (2 * count, 1))
    weights = np.stack([1 - fall, fall * 0.65, fall * 0.35, 0 * fall], 1)
    shade = np.concatenate([np.full(count, 0.8), np.full(count, 0.35)]) * (1 - 0.3 * np.tile(low, 2))
    part = np.full(len(sheet), STRANDS, np.uint8)
    return _append(body, points, sheet, texture, sheet % count, part, bones, weights, shade)
