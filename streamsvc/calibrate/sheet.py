"""A board to be shown to the cameras, to scale: as a picture of so many dots an inch, and as a drawing in millimetres.

Both have a margin of one square, a line that says what it is, and a ruler of whole centimetres.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from xml.sax.saxutils import escape

import cv2
import numpy as np
from numpy.typing import NDArray

from streamsvc.calibrate.boards import Board, Gray, charuco_of, dictionary_of
from streamsvc.calibrate.errors import CalibrationError

MAX_SIDE_M = 5.0
MAX_PIXELS = 400_000_000
INCH_M = 0.0254
TICKS_MM = 10


def draw(board: Board, dpi: int, most: int = MAX_PIXELS) -> Gray:
    """Return the board as a picture (h, w) that is to scale when printed at `dpi`, with a margin of one square and a
    ruler of whole centimetres; raises CalibrationError when it would be unreasonably large or coarse, or have more than
    `most` pixels."""
    scale = dpi / INCH_M
    side = round(board.square * scale)
    wide, high = board.columns + 1, board.rows + 1
    if max(wide, high) * board.square > MAX_SIDE_M or (wide + 2) * (high + 2) * side * side > most:
        told = f"a board of {wide} x {high} squares of {board.square:g} m is too large"
        raise CalibrationError(f"{told} for a picture of {dpi} dpi; fewer are coarser, and a drawing (SVG) has none")
    if side < 12:
        raise CalibrationError(f"a square of {board.square:g} m is {side} pixels at {dpi} dpi; 12 are needed")
    if board.marker is None:
        colour = (np.indices((high, wide)).sum(0) % 2 * 255).astype(np.uint8)
        picture = colour.repeat(side, 0).repeat(side, 1)
    else:
        picture = np.asarray(charuco_of(board).generateImage((wide * side, high * side)), dtype=np.uint8)
    picture = np.pad(picture, side, constant_values=255)
    centimetre = 0.01 * side / board.square
    length = int((picture.shape[1] - 2 * side) // centimetre)
    base, thick = picture.shape[0] - side // 4, max(side // 60, 1)
    for i in range(length + 1):
        x, tick = side + round(i * centimetre), (side // 6 if i % 5 == 0 else side // 12)
        cv2.line(picture, (x, base), (x, base - tick), 0, thick)
    cv2.line(picture, (side, base), (side + round(length * centimetre), base), 0, thick)
    text = _legend(board, length)
    size = min(side / 120, (wide * side) / (18.0 * len(text)))
    cv2.putText(
        picture, text, (side, side // 2), cv2.FONT_HERSHEY_SIMPLEX, size, 0, max(round(size * 2), 1), cv2.LINE_AA
    )
    return picture


def png(board: Board, dpi: int, most: int = MAX_PIXELS) -> tuple[bytes, tuple[int, int]]:
    """Return `draw` as a PNG that says its resolution, so that it prints to scale, and its (width, height) in
    millimetres on paper. Raises CalibrationError."""
    if not 50 <= dpi <= 2400:
        raise CalibrationError(f"--dpi must be 50 to 2400, got {dpi}")
    picture = draw(board, dpi, most)
    data = cv2.imencode(".png", picture)[1].tobytes()
    # A square is a whole number of pixels; the resolution that is written makes up for the rounding.
    metre = round(round(board.square * dpi / INCH_M) / board.square)
    body = b"pHYs" + struct.pack(">IIB", metre, metre, 1)  # PNG, section 11.3.4.3: pixels a metre
    chunk = struct.pack(">I", 9) + body + struct.pack(">I", zlib.crc32(body))
    header = 8 + 25  # signature and IHDR, which pHYs must follow
    size = round(picture.shape[1] / metre * 1000), round(picture.shape[0] / metre * 1000)
    return data[:header] + chunk + data[header:], size


def save(board: Board, path: Path, dpi: int) -> tuple[int, int]:
    """Write `png` to `path` and return its (width, height) in millimetres on paper. Raises CalibrationError."""
    if path.suffix.lower() != ".png":
        raise CalibrationError(f"--save-board {path}: the name must end in .png")
    data, size = png(board, dpi)
    path.write_bytes(data)
    return size


def svg(board: Board) -> str:
    """Return the board as an SVG drawing whose width and height are those on paper; raises CalibrationError when it
    would be unreasonably large."""
    side = board.square * 1000
    wide, high = board.columns + 1, board.rows + 1
    if max(wide, high) * board.square > MAX_SIDE_M:
        raise CalibrationError(f"a board of {wide} x {high} squares of {board.square:g} m is too large")
    dark = _runs(np.indices((high, wide)).sum(0) % 2 == 0, (side, side), side)
    if board.marker is not None:
        charuco, dictionary = charuco_of(board), dictionary_of(board.dictionary or "")
        cells = dictionary.markerSize + 2
        for number, corners in zip(charuco.getIds().ravel(), charuco.getObjPoints(), strict=True):
            bits = cv2.aruco.generateImageMarker(dictionary, int(number), cells) == 0
            x, y = np.asarray(corners)[:, :2].min(0) * 1000 + side
            dark += _runs(bits, (float(x), float(y)), board.marker * 1000 / cells)
    length = int(wide * side // TICKS_MM)
    width, height = (wide + 2) * side, (high + 2) * side
    base = height - side / 4
    ruler = f"M{_mm(side)} {_mm(base)}h{_mm(length * TICKS_MM)}"
    for i in range(length + 1):
        ruler += f"M{_mm(side + i * TICKS_MM)} {_mm(base)}v{_mm(-side / (6 if i % 5 == 0 else 12))}"
    text = _legend(board, length)
    size = min(side / 5, wide * side / (0.6 * len(text)))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_mm(width)}mm" height="{_mm(height)}mm" '
        f'viewBox="0 0 {_mm(width)} {_mm(height)}">'
        f'<rect width="100%" height="100%" fill="#fff"/><path shape-rendering="crispEdges" d="{dark}"/>'
        f'<path fill="none" stroke="#000" stroke-width="{_mm(side / 60)}" d="{ruler}"/>'
        f'<text x="{_mm(side)}" y="{_mm(side / 2)}" font-family="sans-serif" font-size="{_mm(size)}">{escape(text)}'
        "</text></svg>"
    )


def _runs(dark: NDArray[np.bool_], at: tuple[float, float], cell: float) -> str:
    """Path data, in millimetres, of the cells of `dark` (rows, columns) that are True; neighbours in a row are one
    rectangle, so that no seam shows between them."""
    path = ""
    for r, row in enumerate(np.pad(dark, ((0, 0), (1, 1)))):
        steps = np.flatnonzero(row[1:] != row[:-1])
        for start, end in zip(steps[::2], steps[1::2], strict=True):
            wide = _mm((end - start) * cell)
            path += f"M{_mm(at[0] + start * cell)} {_mm(at[1] + r * cell)}h{wide}v{_mm(cell)}h-{wide}z"
    return path


def _mm(value: float) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".")


def _legend(board: Board, centimetres: int) -> str:
    return f"{board}, square {board.square * 1000:g} mm: print at 100 %, check: ruler {centimetres} cm"
