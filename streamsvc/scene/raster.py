"""The z-buffer: triangles in, nearest face and inverse depth per sample out.

Promises: perspective-correct (1/z is linear on the screen), back faces culled, shared edges without cracks, the same
result whatever else runs. Front faces are clockwise on the screen (x right, y down), so their doubled area
(x1 - x0)(y2 - y0) - (x2 - x0)(y1 - y0) is positive. A face with a corner nearer than `NEAR` is left out whole: people
and rooms stay in front of the cameras.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

NEAR = 0.05
"""Metres; nothing nearer is drawn."""

EDGE = -1e-9
"""Slack of the inside test in edge-function units: a sample on an edge belongs to both faces, so to no crack."""

Floats = NDArray[np.float32]
Ids = NDArray[np.int32]


@njit(nogil=True, cache=True)
def project(vertices: Any, K: Any, R: Any, t: Any) -> Any:
    """Return (n, 3) float64 (x pixels, y pixels, 1/z in 1/m) of (n, 3) world points; 1/z is 0 nearer than `NEAR`."""
    n = vertices.shape[0]
    out = np.empty((n, 3), np.float64)
    for i in range(n):
        x, y, z = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        cx = R[0, 0] * x + R[0, 1] * y + R[0, 2] * z + t[0]
        cy = R[1, 0] * x + R[1, 1] * y + R[1, 2] * z + t[1]
        cz = R[2, 0] * x + R[2, 1] * y + R[2, 2] * z + t[2]
        inverse = 1.0 / cz if cz > NEAR else 0.0
        out[i, 0] = (K[0, 0] * cx + K[0, 1] * cy) * inverse + K[0, 2]
        out[i, 1] = K[1, 1] * cy * inverse + K[1, 2]
        out[i, 2] = inverse
    return out


@njit(nogil=True, cache=True)
def rasterise(screen: Any, faces: Any, height: int, width: int) -> tuple[Any, Any]:
    """Return (inverse depth (height, width) float32 in 1/m, face (height, width) int32, -1 where nothing is).

    `screen` (n, 3) float64 comes from `project`; `faces` (m, 3) int32 are corner numbers. Samples lie at whole
    coordinates.
    """
    depth = np.zeros((height, width), np.float32)
    ids = np.full((height, width), np.int32(-1))
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        x0, y0, i0 = screen[a, 0], screen[a, 1], screen[a, 2]
        x1, y1, i1 = screen[b, 0], screen[b, 1], screen[b, 2]
        x2, y2, i2 = screen[c, 0], screen[c, 1], screen[c, 2]
        if i0 <= 0.0 or i1 <= 0.0 or i2 <= 0.0:
            continue
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area <= 1e-9:
            continue
        left = max(0, int(np.ceil(min(x0, x1, x2))))
        right = min(width - 1, int(np.floor(max(x0, x1, x2))))
        top = max(0, int(np.ceil(min(y0, y1, y2))))
        bottom = min(height - 1, int(np.floor(max(y0, y1, y2))))
        if left > right or top > bottom:
            continue
        scale = 1.0 / area
        dx0, dx1 = (y1 - y2) * scale, (y2 - y0) * scale
        dy0, dy1 = (x2 - x1) * scale, (x0 - x2) * scale
        row0 = ((x1 - left) * (y2 - top) - (x2 - left) * (y1 - top)) * scale
        row1 = ((x2 - left) * (y0 - top) - (x0 - left) * (y2 - top)) * scale
        for y in range(top, bottom + 1):
            w0 = row0 + (y - top) * dy0
            w1 = row1 + (y - top) * dy1
            for x in range(left, right + 1):
                w2 = 1.0 - w0 - w1
                if w0 >= EDGE and w1 >= EDGE and w2 >= EDGE:
                    inverse = np.float32(w0 * i0 + w1 * i1 + w2 * i2)
                    if inverse > depth[y, x]:
                        depth[y, x] = inverse
                        ids[y, x] = f
                w0 += dx0
                w1 += dx1
    return depth, ids


def rasterise_reference(
    screen: NDArray[np.float64], faces: Ids, height: int, width: int
) -> tuple[NDArray[np.float64], Ids]:
    """What `rasterise` means, one whole-picture numpy expression a face: for reading and for tests."""
    depth = np.zeros((height, width))
    ids = np.full((height, width), -1, np.int32)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    for number, face in enumerate(faces):
        (x0, y0, i0), (x1, y1, i1), (x2, y2, i2) = screen[face]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area <= 1e-9 or min(i0, i1, i2) <= 0:
            continue
        w0 = ((x1 - x) * (y2 - y) - (x2 - x) * (y1 - y)) / area
        w1 = ((x2 - x) * (y0 - y) - (x0 - x) * (y2 - y)) / area
        w2 = 1 - w0 - w1
        inverse = w0 * i0 + w1 * i1 + w2 * i2
        nearer = (w0 >= EDGE) & (w1 >= EDGE) & (w2 >= EDGE) & (inverse > depth)
        depth[nearer], ids[nearer] = inverse[nearer], number
    return depth, ids
