"""Finding and reading the clock card in a picture.

`CardReader` looks first where it found the card last and searches the whole picture only when that fails, so a frame
costs a fraction of a millisecond. What it accepts has a black frame on white and a check that fits: by chance one in
4096 of such.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from streamsvc.scene.card import BORDER, COLUMNS, ROWS, number_of

Grey = NDArray[np.uint8]
Corners = NDArray[np.float32]

CONTRAST = 40.0
"""Grey levels between white and black below which nothing is read."""

_TEXELS = 5
_LEAST_AREA = 8.0 * (COLUMNS + 2) * (ROWS + 2)
_SHAPE = (ROWS + 2 * BORDER, COLUMNS + 2 * BORDER)


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What a card showed: `number` of milliseconds modulo the card's period, and the outer corners of its black frame,
    (4, 2) float32 pixels, clockwise from the upper left."""

    number: int
    corners: Corners


def read_at(grey: Grey, corners: Corners) -> int | None:
    """Return the number on a card whose black frame has its outer corners at `corners`, None where there is none.

    `grey` is (H, W) uint8.
    """
    rows, columns = _SHAPE
    inset = _TEXELS * (BORDER - 1)
    wide, high = columns * _TEXELS, rows * _TEXELS
    flat = np.array(
        [(inset, inset), (wide - inset, inset), (wide - inset, high - inset), (inset, high - inset)], np.float32
    )
    m = cv2.getPerspectiveTransform(flat - 0.5, corners)
    # What lies beyond the picture is taken for margin: a card at its edge can still be read.
    card = cv2.warpPerspective(grey, m, (wide, high), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderValue=255.0)
    blocks = card.reshape(rows, _TEXELS, columns, _TEXELS)[:, 1:-1, :, 1:-1].mean((1, 3))
    frame = np.concatenate([blocks[1, 1:-1], blocks[-2, 1:-1], blocks[2:-2, 1], blocks[2:-2, -2]])
    margin = np.concatenate([blocks[0], blocks[-1], blocks[1:-1, 0], blocks[1:-1, -1]])
    black, white = float(np.median(frame)), float(np.median(margin))
    middle = (black + white) / 2
    # An eighth of the frame or margin may be spoiled by what is at the card's edge.
    if white - black < CONTRAST or (frame > middle).mean() > 0.125 or (margin < middle).mean() > 0.125:
        return None
    bits = (blocks[BORDER:-BORDER, BORDER:-BORDER] > middle).reshape(-1)
    return number_of(int("".join("1" if b else "0" for b in bits), 2))


def _quads(grey: Grey) -> Iterator[Corners]:
    """Yield dark four-sided shapes, the largest first, as corners clockwise from the upper left."""
    level, dark = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)
    found: list[tuple[float, Corners]] = []
    for threshold in (level, 128.0, level / 2):
        if threshold != level:
            dark = cv2.threshold(grey, threshold, 255, cv2.THRESH_BINARY_INV)[1]
        contours, _ = cv2.findContours(dark, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        for contour in contours:
            area = cv2.contourArea(contour)
            if area < _LEAST_AREA:
                continue
            quad = cv2.approxPolyDP(contour, 0.04 * cv2.arcLength(contour, True), True)
            if len(quad) == 4 and cv2.isContourConvex(quad):
                found.append((area, _ordered(quad[:, 0].astype(np.float32))))
    for _, corners in sorted(found, key=lambda f: -f[0]):
        yield corners


def _ordered(corners: Corners) -> Corners:
    by_sum, by_difference = corners.sum(1), corners[:, 0] - corners[:, 1]
    order = [by_sum.argmin(), by_difference.argmax(), by_sum.argmax(), by_difference.argmin()]
    return corners[order]


class CardReader:
    """Reads the card in one stream of pictures; use it from one thread."""

    def __init__(self) -> None:
        self._last: tuple[tuple[int, ...], Corners] | None = None

    def read(self, grey: Grey) -> Reading | None:
        """Return what the card in `grey`, (H, W) uint8, shows; None where no card can be read."""
        if self._last is not None and self._last[0] == grey.shape:
            number = read_at(grey, self._last[1])
            if number is not None:
                return Reading(number, self._last[1])
        for corners in _quads(grey):
            number = read_at(grey, corners)
            if number is not None:
                self._last = (grey.shape, corners)
                return Reading(number, corners)
        return None
