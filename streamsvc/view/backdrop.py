"""The person alone over something else: their own colours at soft edges, what is put behind, and the two joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from streamsvc.budget.slices import Slices
from streamsvc.frames import Camera, Pixels
from streamsvc.frames.backdrop import NAMED, Backdrop, BackdropError, parse_backdrop
from streamsvc.view.compose import View, compose
from streamsvc.view.files import read_picture
from streamsvc.view.geometry import Source

COST_NS_PER_PIXEL = 180
"""What matte and backdrop add to a view, measured on one core."""

BLUR_SHARE = 28
"""The blurred room's sigma is the picture's width divided by this: books lose their titles, people their faces."""

BLUR_STEP = 4
LEAST_REACH, EDGE_SHARE = 4, 80
"""How far from a soft pixel pure colours are looked for, in pixels: at least, and as the picture's width divided by."""


def open_backdrop(text: str) -> Backdrop:
    """Return the backdrop called `text`, which may also be "transparent" or the name of a picture's file; raises
    BackdropError, or ViewError for a damaged picture."""
    if text == "transparent":
        return Backdrop(text)
    try:
        return parse_backdrop(text)
    except BackdropError:
        if Path(text).is_file():
            return Backdrop("image", picture=read_picture(Path(text)))
    raise BackdropError(f"no backdrop and no file is called {text!r}; there are {NAMED}, transparent, or a picture")


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def _foreground(pixels, matte, reach, out):  # type: ignore[no-untyped-def]
    height, width = matte.shape
    one, least = np.float32(1), np.float32(1e-3)
    step = 1 + reach // 5
    for y in range(height):
        for x in range(width):
            a = matte[y, x]
            if not 0 < a < 1:
                for c in range(3):
                    out[y, x, c] = pixels[y, x, c]
                continue
            f0, f1, f2, fw = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
            b0, b1, b2, bw = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
            for dy in range(-reach, reach + 1, step):
                v = min(max(y + dy, 0), height - 1)
                for dx in range(-reach, reach + 1, step):
                    u = min(max(x + dx, 0), width - 1)
                    m = matte[v, u]
                    p, n = m * m, (one - m) * (one - m)
                    p, n = p * p * p * p, n * n * n * n
                    r, g, b = np.float32(pixels[v, u, 0]), np.float32(pixels[v, u, 1]), np.float32(pixels[v, u, 2])
                    f0, f1, f2, fw = f0 + p * r, f1 + p * g, f2 + p * b, fw + p
                    b0, b1, b2, bw = b0 + n * r, b1 + n * g, b2 + n * b, bw + n
            for c in range(3):
                seen = np.float32(pixels[y, x, c])
                f = (f0 if c == 0 else f1 if c == 1 else f2) / fw if fw > least else seen
                b = (b0 if c == 0 else b1 if c == 1 else b2) / bw if bw > least else seen
                f += a * (seen - a * f - (one - a) * b)
                out[y, x, c] = np.uint8(min(max(f, np.float32(0)), np.float32(255)) + np.float32(0.5))


def foreground(pixels: Pixels, matte: NDArray[np.float32]) -> Pixels:
    """Return the person's own colours, (h, w, 3) uint8, where `matte` (h, w) says that the room shows through.

    The means of the pure colours about, person and room, weighted by the eighth power of how pure they are, explain the
    pixel; what they don't explain is the person's as far as the matte goes (after Forte and Pitié, "Approximate fast
    foreground colour estimation", ICIP 2021). Elsewhere `pixels` stay.
    """
    out = np.empty_like(pixels)
    _foreground(pixels, matte, max(LEAST_REACH, round(pixels.shape[1] / EDGE_SHARE)), out)
    return out


def blurred_room(pixels: Pixels, matte: NDArray[np.float32]) -> Pixels:
    """Return the room without the person, blurred, (h, w, 3) uint8: the mean of the room's own colours about each
    pixel, from ever farther away where the person hides it. (With `matte` turned round, the person without the room.)
    """
    h, w = matte.shape
    size = max(w // BLUR_STEP, 1), max(h // BLUR_STEP, 1)
    room = cv2.erode((matte <= 0).astype(np.float32), np.ones((5, 5), np.uint8))
    small = np.dstack([cv2.resize(pixels * room[..., None], size, interpolation=cv2.INTER_AREA),
                       cv2.resize(room, size, interpolation=cv2.INTER_AREA)])  # fmt: skip
    sigma = w / BLUR_SHARE / BLUR_STEP
    near = cv2.GaussianBlur(small, (0, 0), sigma)
    far = cv2.GaussianBlur(small, (0, 0), 5 * sigma) * np.float32(0.02)
    everywhere = small.mean((0, 1)) * np.float32(1e-4) + np.float32(1e-9)
    total = near + far + everywhere
    shown = cv2.resize(total[..., :3] / total[..., 3:], (w, h), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(shown + np.float32(0.5), 0, 255), np.uint8)


@lru_cache(maxsize=2)
def _behind(backdrop: Backdrop, width: int, height: int) -> Pixels:
    """The colour, or the middle of the picture, as large as fits, at `width` x `height`; the same for every view."""
    if backdrop.picture is None:
        return np.full((height, width, 3), backdrop.colour, np.uint8)
    picture = backdrop.picture
    h, w = picture.shape[:2]
    scale = max(width / w, height / h)
    cut_w, cut_h = max(round(width / scale), 1), max(round(height / scale), 1)
    x, y = (w - cut_w) // 2, (h - cut_h) // 2
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture[y : y + cut_h, x : x + cut_w], (width, height), interpolation=how), np.uint8)


def compose_before(
    sources: Sequence[Source], view: Camera, side: float, k: float, backdrop: Backdrop, *, sharp: bool = True
) -> Slices[View]:
    """Like `compose`, with the person over `backdrop`; yields "matte" and "backdrop" too where that hides the room."""
    made = yield from compose(sources, view, side, k, sharp=sharp, matted=backdrop.hides)
    if not backdrop.hides:
        return made
    made = over(made, backdrop)
    yield "backdrop"
    return made


def over(view: View, backdrop: Backdrop) -> View:
    """Return `view` with the person over `backdrop`; `pixels` are (H, W, 4), alpha last and not multiplied in, where
    that is transparent.

    `view` has a matte, and `backdrop` hides the room. Where that has gone nothing is known of depth; a blurred room
    keeps its own.
    """
    assert view.matte is not None
    height, width = view.matte.shape
    person = foreground(view.pixels, view.matte)
    known = np.where(view.matte >= 0.5, view.inverse_depth, np.float32(0))
    match backdrop.kind:
        case "transparent":
            alpha = (view.matte * np.float32(255) + np.float32(0.5)).astype(np.uint8)
            # Whoever interpolates or encodes it mixes in some of what lies beside the person: their own colours.
            shown = np.where(view.matte[..., None] > 0, person, blurred_room(person, 1 - view.matte))
            return replace(view, pixels=np.dstack([shown, alpha]), inverse_depth=known)
        case "blur":
            behind, known = blurred_room(view.pixels, view.matte), view.inverse_depth
        case _:
            behind = _behind(backdrop, width, height)
    pixels = np.asarray(cv2.blendLinear(person, behind, view.matte, 1 - view.matte), np.uint8)
    return replace(view, pixels=pixels, inverse_depth=known)
