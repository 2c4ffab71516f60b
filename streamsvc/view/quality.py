"""How good a view is against the picture a real camera took there, and how good disparity is against the true one.

PSNR, SSIM, MS-SSIM, the error beside depth jumps and flicker take (h, w, 3) uint8 RGB; all take an optional (h, w) bool
mask of the pixels that count, and raise ValueError on unequal shapes or on a mask without pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from streamsvc.frames import Pixels

Mask = NDArray[np.bool_]

PEAK = 255.0
SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
SSIM_K1, SSIM_K2 = 0.01, 0.03
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
MS_SSIM_MIN_SIDE = SSIM_WINDOW * 2 ** (len(MS_SSIM_WEIGHTS) - 1)
"""Pixels a side from which the window still fits the coarsest scale."""

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


def _similarity(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The luminance term of SSIM and the product of contrast and structure, per window centre and channel."""

    def blur(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(cv2.GaussianBlur(x, (SSIM_WINDOW, SSIM_WINDOW), SSIM_SIGMA), dtype=np.float64)

    ma, mb = blur(a), blur(b)
    va, vb, vab = blur(a * a) - ma * ma, blur(b * b) - mb * mb, blur(a * b) - ma * mb
    c1, c2 = (SSIM_K1 * PEAK) ** 2, (SSIM_K2 * PEAK) ** 2
    return (2 * ma * mb + c1) / (ma * ma + mb * mb + c1), (2 * vab + c2) / (va + vb + c2)


def ssim(a: Pixels, b: Pixels, mask: Mask | None = None) -> float:
    """Return the mean structural similarity (Wang et al. 2004): 11x11 Gaussian window of sigma 1.5, K1 = 0.01,
    K2 = 0.03, L = 255, per RGB channel, mirrored at the borders; windows whose centre is in the mask count."""
    where = _checked(a, b, mask)
    luminance, structure = _similarity(a.astype(np.float64), b.astype(np.float64))
    return float((luminance * structure)[where].mean())


def ms_ssim(a: Pixels, b: Pixels, mask: Mask | None = None) -> float:
    """Return the multi-scale structural similarity (Wang, Simoncelli and Bovik 2003) over five scales.

    Window and constants as in `ssim`; each scale halves by averaging 2x2, and so does the mask (windows count in
    proportion). A scale whose structure is negative counts as 0. Raises ValueError under `MS_SSIM_MIN_SIDE` a side.
    """
    where = _checked(a, b, mask).astype(np.float64)
    if min(a.shape[:2]) < MS_SSIM_MIN_SIDE:
        raise ValueError(f"MS-SSIM needs pictures of {MS_SSIM_MIN_SIDE} pixels a side, got {a.shape[1]} x {a.shape[0]}")
    x, y = a.astype(np.float64), b.astype(np.float64)
    result = 1.0
    for scale, weight in enumerate(MS_SSIM_WEIGHTS):
        if scale:
            size = (x.shape[1] // 2, x.shape[0] // 2)
            even = np.s_[: 2 * size[1], : 2 * size[0]]
            x, y, where = (
                np.asarray(cv2.resize(z[even], size, interpolation=cv2.INTER_AREA), np.float64) for z in (x, y, where)
            )
        luminance, structure = _similarity(x, y)
        term = luminance * structure if scale == len(MS_SSIM_WEIGHTS) - 1 else structure
        result *= max(float((term.mean(-1) * where).sum() / where.sum()), 0.0) ** weight
    return result


def depth_edges(depth: NDArray[np.float32], jump: float = 0.05, band: int = EDGE_BAND_PX) -> Mask:
    """Return the band of `band` pixels around depth jumps of more than `jump` metres; non-finite depth is far away."""
    z = np.where(np.isfinite(depth), depth, np.float32(1e3))
    edge = np.zeros(z.shape, np.uint8)
    edge[:, 1:] |= np.abs(np.diff(z, axis=1)) > jump
    edge[1:] |= np.abs(np.diff(z, axis=0)) > jump
    return np.asarray(cv2.dilate(edge, np.ones((band, band), np.uint8)) > 0)


def outline(alpha: NDArray[np.float32], band: int = EDGE_BAND_PX) -> Mask:
    """Return the band of `band` pixels around the edge of where `alpha` (h, w) is over a half."""
    inside, around = (alpha > 0.5).astype(np.uint8), np.ones((band, band), np.uint8)
    return np.asarray(cv2.dilate(inside, around) != cv2.erode(inside, around))


def matte_errors(found: NDArray[np.float32], true: NDArray[np.float32]) -> tuple[float, float]:
    """Return the mean absolute error of a matte, both (h, w) in [0, 1], and that in the 5-px `outline` of the true one
    (nan where it has none)."""
    if found.shape != true.shape or found.ndim != 2:
        raise ValueError(f"mattes of one shape (h, w) are compared, got {found.shape} and {true.shape}")
    error, band = np.abs(found - true), outline(true)
    return float(error.mean()), float(error[band].mean()) if band.any() else float("nan")


def edge_error(a: Pixels, b: Pixels, depth: NDArray[np.float32]) -> float:
    """Return the mean absolute error (0..255) in the 5-px band around the jumps of `depth`; nan when there are none."""
    _checked(a, b, None)
    band = depth_edges(depth)
    return float(np.abs(a[band].astype(np.float64) - b[band]).mean()) if band.any() else float("nan")


def flicker(frames: Sequence[Pixels], mask: Mask | None = None) -> float:
    """Return how much views of one unmoving scene change: each pixel's standard deviation over the frames (0..255),
    averaged over the masked pixels and the channels."""
    where = _checked(frames[0], frames[-1], mask)
    stack = np.stack([f[where] for f in frames]).astype(np.float64)
    return float(stack.std(axis=0).mean())


@dataclass(frozen=True, slots=True)
class DisparityErrors:
    """`epe` in pixels; `bad1`, `bad2` and `holes` are shares (0..1) of the pixels that count."""

    epe: float
    bad1: float
    bad2: float
    holes: float


def disparity_errors(
    found: NDArray[np.float32], true: NDArray[np.float32], mask: Mask | None = None
) -> DisparityErrors:
    """Return end-point error and the shares off by more than 1 and 2 pixels, **dense**: where `true` is known, a hole
    in `found` (both (h, w), not finite: unknown) is bad, and counts in the end-point error as the farthest true depth.
    """
    if found.shape != true.shape or found.ndim != 2:
        raise ValueError(f"disparities of one shape (h, w) are compared, got {found.shape} and {true.shape}")
    known = np.isfinite(true)
    where = known if mask is None else known & mask
    if not where.any():
        raise ValueError("no pixel that counts has a true disparity")
    there = np.isfinite(found)
    guess = np.where(there, found, true[known].min())[where].astype(np.float64)
    error, hole = np.abs(guess - true[where]), ~there[where]
    bad1, bad2 = (float((hole | (error > limit)).mean()) for limit in (1, 2))
    return DisparityErrors(float(error.mean()), bad1, bad2, float(hole.mean()))
