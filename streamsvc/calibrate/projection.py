"""The camera model with its derivatives: pinhole, then radial and tangential distortion (Brown 1966; OpenCV's order).

Intrinsics are nine numbers (fx, fy, cx, cy, k1, k2, p1, p2, k3), pixels with integer centres. A rotation is changed by
a small rotation vector from the left, R <- exp(w) R, which has no singularity near any R.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

INTRINSICS = 9
MIN_DEPTH_M = 1e-6
"""Points nearer than this, or behind the camera, are projected as if they lay here: far out of the picture."""


def rotation(vector: Array) -> Array:
    """Return the (3, 3) rotation by the vector (3,), radians about its direction."""
    return np.asarray(cv2.Rodrigues(np.asarray(vector, np.float64).reshape(3, 1))[0], dtype=np.float64)


def angle_between(a: Array, b: Array) -> float:
    """Return the angle in degrees between two directions (3,)."""
    sine, cosine = float(np.linalg.norm(np.cross(a, b))), float(a @ b)
    return float(np.degrees(np.arctan2(sine, cosine)))


def skew(v: Array) -> Array:
    """Return the (n, 3, 3) matrices whose product with a vector is the cross product with `v` (n, 3)."""
    out = np.zeros((len(v), 3, 3))
    out[:, 0, 1], out[:, 0, 2], out[:, 1, 2] = -v[:, 2], v[:, 1], -v[:, 0]
    out[:, 1, 0], out[:, 2, 0], out[:, 2, 1] = v[:, 2], -v[:, 1], v[:, 0]
    return out


def camera_matrix(intrinsics: Array) -> Array:
    """Return K (3, 3) of the nine intrinsics."""
    fx, fy, cx, cy = intrinsics[:4]
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=np.float64)


def project(intrinsics: Array, points: Array) -> Array:
    """Return the pixels (n, 2) of `points` (n, 3), metres in camera axes."""
    z = np.maximum(points[:, 2], MIN_DEPTH_M)
    x, y = points[:, 0] / z, points[:, 1] / z
    fx, fy, cx, cy, k1, k2, p1, p2, k3 = intrinsics
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    xd = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    yd = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    return np.stack([fx * xd + cx, fy * yd + cy], 1)


def project_with_jacobian(intrinsics: Array, points: Array) -> tuple[Array, Array, Array]:
    """Return the pixels (n, 2) of `points` (n, 3) in camera metres, and their derivatives: by the intrinsics
    (n, 2, 9) and by the point (n, 2, 3)."""
    n = len(points)
    z = np.maximum(points[:, 2], MIN_DEPTH_M)
    x, y = points[:, 0] / z, points[:, 1] / z
    fx, fy, cx, cy, k1, k2, p1, p2, k3 = intrinsics
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    slope = k1 + r2 * (2 * k2 + 3 * r2 * k3)  # of `radial`, by r2
    xd = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    yd = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y

    by_intrinsics = np.zeros((n, 2, INTRINSICS))
    by_intrinsics[:, 0, 0], by_intrinsics[:, 1, 1] = xd, yd
    by_intrinsics[:, 0, 2] = by_intrinsics[:, 1, 3] = 1
    for column, power in ((4, r2), (5, r2 * r2), (8, r2 * r2 * r2)):
        by_intrinsics[:, 0, column], by_intrinsics[:, 1, column] = fx * x * power, fy * y * power
    by_intrinsics[:, 0, 6], by_intrinsics[:, 1, 6] = fx * 2 * x * y, fy * (r2 + 2 * y * y)
    by_intrinsics[:, 0, 7], by_intrinsics[:, 1, 7] = fx * (r2 + 2 * x * x), fy * 2 * x * y

    xx = fx * (radial + 2 * x * x * slope + 2 * p1 * y + 6 * p2 * x)
    xy = fx * (2 * x * y * slope + 2 * p1 * x + 2 * p2 * y)
    yx = fy * (2 * x * y * slope + 2 * p1 * x + 2 * p2 * y)
    yy = fy * (radial + 2 * y * y * slope + 6 * p1 * y + 2 * p2 * x)
    by_point = np.empty((n, 2, 3))
    by_point[:, 0, 0], by_point[:, 0, 1], by_point[:, 0, 2] = xx / z, xy / z, -(xx * x + xy * y) / z
    by_point[:, 1, 0], by_point[:, 1, 1], by_point[:, 1, 2] = yx / z, yy / z, -(yx * x + yy * y) / z
    return np.stack([fx * xd + cx, fy * yd + cy], 1), by_intrinsics, by_point
