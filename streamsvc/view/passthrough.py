"""Pictures that go straight through: the check that a frame is a picture, and the letterbox."""

from __future__ import annotations

import cv2
import numpy as np

from streamsvc.frames import Frame, Pixels
from streamsvc.frames.rig import MAX_SIDE
from streamsvc.view.compose import View
from streamsvc.view.errors import ViewError

MIN_SIDE = 32


def check_frame(frame: Frame) -> Pixels:
    """Return the pixels of `frame`, C-contiguous; raises ViewError unless they are (h, w, 3) uint8 of a usable size."""
    pixels = frame.pixels
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        got = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise ViewError(f"camera {frame.camera!r}: a picture must be (height, width, 3) uint8, got {got}")
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in pixels.shape[:2]):
        raise ViewError(
            f"camera {frame.camera!r}: a picture must be {MIN_SIDE} to {MAX_SIDE} pixels a side, got {frame.size}"
        )
    return np.ascontiguousarray(pixels)


def pass_through(pixels: Pixels, width: int, height: int) -> View:
    """Return the picture itself, as large as fits, its aspect kept, on black; depth is unknown."""
    h, w = pixels.shape[:2]
    scale = min(width / w, height / h)
    fit_w, fit_h = max(round(w * scale), 1), max(round(h * scale), 1)
    x, y = (width - fit_w) // 2, (height - fit_h) // 2
    out, coverage = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.float32)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    out[y : y + fit_h, x : x + fit_w] = pixels if scale == 1 else cv2.resize(pixels, (fit_w, fit_h), interpolation=how)
    coverage[y : y + fit_h, x : x + fit_w] = 1
    return View(out, np.zeros((height, width), np.float32), coverage)
