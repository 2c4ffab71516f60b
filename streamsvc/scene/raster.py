"""The z-buffer: triangles in, nearest face and inverse depth per sample out.

Promises: perspective-correct (1/z is linear on the screen), back faces culled; a sample on a shared edge belongs to
exactly one face (the one it is a left or top edge of), so meshes have no cracks. Front faces are clockwise on the
screen (x right, y down), so their doubled area (x1 - x0)(y2 - y0) - (x2 - x0)(y1 - y0) is positive. A face with a
corner nearer than `NEAR` is left out whole: people stay in front of the cameras.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

NEAR = 0.05
"""Metres; nothing nearer is drawn."""

SMALLEST = 1e-6
"""Doubled area in square pixels under which a face is left out: it covers no sample that a neighbour doesn't."""

Floats = NDArray[np.float32]
Ids = NDArray[np.int32]


@njit(nogil=True, cache=True, error_model="numpy")
def project(vertices: Any, K: Any, R: Any, t: Any) -> Any:
    """Return (n, 3) float32 (x pixels, y pixels, 1/z in 1/m) of (n, 3) world points; 1/z is 0 nearer than `NEAR`."""
    n = vertices.shape[0]
    out = np.empty((n, 3), np.float32)
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


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _slope(xa: Any, ya: Any, xb: Any, yb: Any) -> Any:
    return (xb - xa) / (yb - ya) if yb != ya else 0.0


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _bound(xa: Any, ya: Any, xb: Any, yb: Any, forward: Any, slope: Any, y: Any, low: Any, high: Any) -> Any:
    """Narrow the run [low, high) of row `y` by the edge a-b of a front face: upward edges bound it on the left.

    `forward` says from which end to measure, so that both faces of an edge get the very same number.
    """
    x = xa + (y - ya) * slope if forward else xb + (y - yb) * slope
    if yb < ya:
        low = max(low, x)
    elif yb > ya:
        high = min(high, x)
    return low, high


@njit(nogil=True, cache=True, error_model="numpy")
def rasterise(screen: Any, faces: Any, height: int, width: int) -> tuple[Any, Any]:
    """Return (inverse depth (height, width) float32 in 1/m, face (height, width) int32, -1 where nothing is).

    `screen` (n, 3) float32 comes from `project`; `faces` (m, 3) int32 are corner numbers. Samples lie at whole
    coordinates.
    """
    depth = np.zeros((height, width), np.float32)
    ids = np.full((height, width), np.int32(-1))
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        x0, y0 = np.float64(screen[a, 0]), np.float64(screen[a, 1])
        x1, y1 = np.float64(screen[b, 0]), np.float64(screen[b, 1])
        x2, y2 = np.float64(screen[c, 0]), np.float64(screen[c, 1])
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area <= SMALLEST:
            continue
        left, right = max(0, int(np.ceil(min(x0, x1, x2)))), min(width, int(np.ceil(max(x0, x1, x2))))
        top, bottom = max(0, int(np.ceil(min(y0, y1, y2)))), min(height, int(np.ceil(max(y0, y1, y2))))
        if left >= right or top >= bottom:
            continue
        i0, i1, i2 = screen[a, 2], screen[b, 2], screen[c, 2]
        if i0 <= 0.0 or i1 <= 0.0 or i2 <= 0.0:
            continue
        scale = 1.0 / area
        slope_x = ((i1 - i0) * (y2 - y0) - (i2 - i0) * (y1 - y0)) * scale
        slope_y = ((i2 - i0) * (x1 - x0) - (i1 - i0) * (x2 - x0)) * scale
        m0, m1, m2 = _slope(x0, y0, x1, y1), _slope(x1, y1, x2, y2), _slope(x2, y2, x0, y0)
        for y in range(top, bottom):
            low, high = -1e30, 1e30
            low, high = _bound(x0, y0, x1, y1, a < b, m0, y, low, high)
            low, high = _bound(x1, y1, x2, y2, b < c, m1, y, low, high)
            low, high = _bound(x2, y2, x0, y0, c < a, m2, y, low, high)
            start, end = max(left, int(np.ceil(low))), min(right, int(np.ceil(high)))
            row = i0 + (y - y0) * slope_y - x0 * slope_x
            for x in range(start, end):
                inverse = np.float32(row + x * slope_x)
                if inverse > depth[y, x]:
                    depth[y, x] = inverse
                    ids[y, x] = f
    return depth, ids


def rasterise_reference(screen: Floats, faces: Ids, height: int, width: int) -> tuple[NDArray[np.float64], Ids]:
    """What `rasterise` means, one whole-picture numpy expression a face: for reading and for tests."""
    depth = np.zeros((height, width))
    ids = np.full((height, width), -1, np.int32)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    for number, face in enumerate(faces):
        corners = screen[face].astype(np.float64)
        (x0, y0, i0), (x1, y1, i1), (x2, y2, i2) = corners
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area <= SMALLEST or min(i0, i1, i2) <= 0:
            continue
        inside = np.full((height, width), True)
        weights = []
        for k in range(3):  # the weight of corner k: the doubled area that the sample spans with the edge across
            (xa, ya, _), (xb, yb, _) = corners[(k + 1) % 3], corners[(k + 2) % 3]
            w = (xa - x) * (yb - y) - (xb - x) * (ya - y)
            left_or_top = yb < ya or (yb == ya and xb > xa)
            inside &= (w > 0) | ((w == 0) & left_or_top)
            weights.append(w / area)
        inverse = weights[0] * i0 + weights[1] * i1 + weights[2] * i2
        nearer = inside & (inverse > depth)
        depth[nearer], ids[nearer] = inverse[nearer], number
    return depth, ids
