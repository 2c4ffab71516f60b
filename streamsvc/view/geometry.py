"""Geometry of one source camera: an inverse-depth grid beside its full-resolution picture, and its points in a view.

A `Source` is all that splat and blend know of a camera: where its grid looks (`grid`, with the ray of each pixel), how
deep each grid pixel is, how much to believe it, and the picture to take colour from. Disparity and given depth maps
(`--geometry`) both end up here, so everything after is one path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numba
import numpy as np
from numpy.typing import NDArray

from streamsvc.frames import Camera, Pixels
from streamsvc.view.splat import Splats

Plane = NDArray[np.float32]

TOLERANCE_PX = 2.0
"""Disparities this close, in pixels of what was matched, are one surface."""

SCALE_PX = 0.7
OPACITY = 0.9
MIN_SCALE_PX = 0.5
MAX_SCALE_PX = 4.0


class Placed(Protocol):
    """What of a `Source` doesn't change from picture to picture."""

    @property
    def camera(self) -> Camera: ...
    @property
    def grid(self) -> Camera: ...
    @property
    def rays(self) -> Plane: ...
    @property
    def tolerance(self) -> float: ...
    @property
    def relative_tolerance(self) -> float: ...


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One camera's picture with its geometry.

    `camera` matches `pixels` (H, W, 3) uint8; `grid` is the camera of the grid (same centre), `rays` (h, w, 2) float32
    are x/z and y/z of its pixels with distortion undone; `inverse_depth` (h, w) float32 is 1/z along the grid's z in
    1/m, 0 where unknown; `confidence` (h, w) float32 in [0, 1]; `colour` (h, w, 3) uint8 is the picture on the grid.
    Two inverse depths within `tolerance` + `relative_tolerance` times either are one surface. `matte` (h, w) float32 in
    [0, 1] is how much of each grid pixel is the person, None where nothing says so.
    """

    camera: Camera
    pixels: Pixels
    grid: Camera
    rays: Plane
    inverse_depth: Plane
    confidence: Plane
    colour: Pixels
    tolerance: float
    relative_tolerance: float
    matte: Plane | None = None


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _points(  # type: ignore[no-untyped-def]
    rays, inverse_depth, confidence, colour, M, b, K, width, height, ratio, tolerance, relative, geometry, features
):
    h, w = inverse_depth.shape
    channels = colour.shape[2]
    n = 0
    for v in range(h):
        for u in range(w):
            q = inverse_depth[v, u]
            if q <= 0:
                continue
            limit = tolerance + relative * q
            rim = False
            if u > 0:
                rim |= q - inverse_depth[v, u - 1] > limit
            if u + 1 < w:
                rim |= q - inverse_depth[v, u + 1] > limit
            if v > 0:
                rim |= q - inverse_depth[v - 1, u] > limit
            if v + 1 < h:
                rim |= q - inverse_depth[v + 1, u] > limit
            if rim:
                continue
            rx, ry = rays[v, u, 0], rays[v, u, 1]
            z = M[2, 0] * rx + M[2, 1] * ry + M[2, 2] + b[2] * q
            if z <= q * np.float32(0.02):
                continue
            x = (M[0, 0] * rx + M[0, 1] * ry + M[0, 2] + b[0] * q) / z
            y = (M[1, 0] * rx + M[1, 1] * ry + M[1, 2] + b[1] * q) / z
            px = K[0, 0] * x + K[0, 1] * y + K[0, 2]
            py = K[1, 1] * y + K[1, 2]
            if not (-2 < px < width + 1 and -2 < py < height + 1):
                continue
            sigma = np.float32(SCALE_PX) * ratio / z
            sigma = min(max(sigma, np.float32(MIN_SCALE_PX)), np.float32(MAX_SCALE_PX))
            inverse_variance = np.float32(1) / (sigma * sigma)
            geometry[n, 0] = px
            geometry[n, 1] = py
            geometry[n, 2] = z / q
            geometry[n, 3] = inverse_variance
            geometry[n, 4] = 0
            geometry[n, 5] = inverse_variance
            geometry[n, 6] = np.float32(OPACITY) * confidence[v, u]
            for c in range(channels):
                features[n, c] = colour[v, u, c]
            features[n, channels] = q / z
            n += 1
    return n


def project(source: Source, view: Camera, matte: Pixels | None = None) -> Splats:
    """Return the source's grid pixels as splats in `view`: features are R, G, B (0..255), `matte` (h, w) where it is
    given, and inverse depth (1/m).

    Each becomes a round Gaussian of 0.7 source pixels as seen from the view. Left out are pixels without depth, behind
    the view or outside it, and the outermost of a surface that ends before a farther one: the Gaussians' skirts reach
    over its end anyway, and where depth is blurred across a jump the slope that joins the two goes with them.
    """
    size = source.inverse_depth.size
    colour = source.colour if matte is None else np.dstack([source.colour, matte])
    geometry, features = np.empty((size, 7), np.float32), np.empty((size, colour.shape[2] + 1), np.float32)
    M = view.R @ source.grid.R.T
    b = view.R @ source.grid.centre + view.t
    ratio = np.sqrt(view.K[0, 0] * view.K[1, 1] / (source.grid.K[0, 0] * source.grid.K[1, 1]))
    n = _points(
        source.rays,
        source.inverse_depth,
        source.confidence,
        colour,
        M.astype(np.float32),
        b.astype(np.float32),
        view.K.astype(np.float32),
        view.width,
        view.height,
        np.float32(ratio),
        np.float32(source.tolerance),
        np.float32(source.relative_tolerance),
        geometry,
        features,
    )
    return Splats(geometry[:n], features[:n])
