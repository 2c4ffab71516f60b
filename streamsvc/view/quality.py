"""How good a view is against the picture a real camera took there: PSNR, SSIM, and the error beside depth jumps.

All take (h, w, 3) uint8 RGB and an optional (h, w) bool mask of the pixels that count; ValueError on unequal shapes or
on a mask without pixels.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from streamsvc.frames import Pixels

Mask = NDArray[np.bool_]

PEAK = 255.0
SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
SSIM_K1, SSIM_K2 = 0.01, 0.03
EDGE_BAND_PX = 5


def _checked(a: Pixels, b: Pixels, mask: Mask | None) -> Mask:
    if a.shape != b.shape or a.ndim != 3:
        raise ValueError(f"pictures of one shape (h, w, 3) are compared, got {a.shape} and {b.shape}")
    if mask is None:
        return np.ones(a.shape[:2], bool)
    if mask.shape != a.shape[:2] or not mask.any():
        raise ValueError(f"the mask must have the shape {a.shape[:2]} and hold at least one pixel")
    return mask


def psnr(a: Pixels, b: Pixels, mask: Mask | None = None) -> float:
    """Return the peak signal-to-noise ratio in dB over the masked pixels, all channels together (inf when equal)."""
    where = _checked(a, b, mask)
    error = float(np.mean((a[where].astype(np.float64) - b[where].astype(np.float64)) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(PEAK**2 / error))


def ssim(a: Pixels, b: Pixels, mask: Mask | None = None) -> float:
    """Return the mean structural similarity (Wang et al. 2004): 11x11 Gaussian window of sigma 1.5, K1 = 0.01,
    K2 = 0.03, L = 255, per RGB channel, mirrored at the borders; windows whose centre is in the mask count."""
    where = _checked(a, b, mask)

    def blur(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(cv2.GaussianBlur(x, (SSIM_WINDOW, SSIM_WINDOW), SSIM_SIGMA), dtype=np.float64)

    x, y = a.astype(np.float64), b.astype(np.float64)
    mx, my = blur(x), blur(y)
    vx, vy, vxy = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    c1, c2 = (SSIM_K1 * PEAK) ** 2, (SSIM_K2 * PEAK) ** 2
    index = ((2 * mx * my + c1) * (2 * vxy + c2)) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return float(index[where].mean())


def depth_edges(depth: NDArray[np.float32], jump: float = 0.05, band: int = EDGE_BAND_PX) -> Mask:
    """Return the band of `band` pixels around depth jumps of more than `jump` metres; non-finite depth is far away."""
    z = np.where(np.isfinite(depth), depth, np.float32(1e3))
    edge = np.zeros(z.shape, np.uint8)
    edge[:, 1:] |= np.abs(np.diff(z, axis=1)) > jump
    edge[1:] |= np.abs(np.diff(z, axis=0)) > jump
    return np.asarray(cv2.dilate(edge, np.ones((band, band), np.uint8)) > 0)


def edge_error(a: Pixels, b: Pixels, depth: NDArray[np.float32]) -> float:
    """Return the mean absolute error (0..255) in the 5-px band around the jumps of `depth`; nan when there are none."""
    _checked(a, b, None)
    band = depth_edges(depth)
    return float(np.abs(a[band].astype(np.float64) - b[band]).mean()) if band.any() else float("nan")
