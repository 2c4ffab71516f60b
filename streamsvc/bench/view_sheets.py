"""Contact sheets: pictures side by side under headings, error maps with a legend, all plain RGB arrays.

A sheet is lines of equal panels; every panel may carry a caption in its corner. Nothing here measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from streamsvc.frames import Pixels

Plane = NDArray[np.float32]

PANEL_WIDTH = 400
"""Pixels; wider panels are averaged down."""

HEADING, GAP, LEGEND = 30, 4, 46
PAPER, INK = (250, 250, 250), (30, 30, 30)
HOLE = (255, 0, 255)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """A picture with a `caption` for its corner and a `heading` above it ("" for none)."""

    pixels: Pixels
    caption: str = ""
    heading: str = ""


def _write(canvas: Pixels, text: str, x: int, y: int, ink: tuple[int, int, int], scale: float = 0.45) -> None:
    cv2.putText(canvas, text, (x, y), _FONT, scale, ink, 1, cv2.LINE_AA)


def _text_width(text: str, scale: float = 0.45) -> int:
    return int(cv2.getTextSize(text, _FONT, scale, 1)[0][0])


def _panel(panel: Panel, width: int, height: int) -> Pixels:
    pixels = panel.pixels
    if pixels.shape[:2] != (height, width):
        pixels = np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    out = pixels.copy()
    if panel.caption:
        box = _text_width(panel.caption) + 10
        out[:20, :box] = (out[:20, :box] * 0.25).astype(np.uint8)
        _write(out, panel.caption, 5, 14, (255, 255, 255))
    return out


def sheet(title: str, lines: Sequence[Sequence[Panel]], legend: Pixels | None = None) -> Pixels:
    """Return the sheet (RGB): `title`, then lines of panels, all scaled to the size of the first, then the legend.

    A line whose panels have headings gets a row of text above it.
    """
    first = lines[0][0].pixels
    width = min(first.shape[1], PANEL_WIDTH)
    height = round(first.shape[0] * width / first.shape[1])
    columns = max(len(line) for line in lines)
    total = columns * (width + GAP) + GAP
    parts = [_strip(total, [(GAP, title)], 0.55)]
    for line in lines:
        if any(p.heading for p in line):
            parts.append(_strip(total, [(GAP + i * (width + GAP), p.heading) for i, p in enumerate(line)], 0.5, width))
        row = np.full((height + GAP, total, 3), PAPER, np.uint8)
        for i, panel in enumerate(line):
            x = GAP + i * (width + GAP)
            row[:height, x : x + width] = _panel(panel, width, height)
        parts.append(row)
    if legend is not None:
        bottom = np.full((legend.shape[0], total, 3), PAPER, np.uint8)
        shown = legend[:, : total - 2 * GAP]
        bottom[:, GAP : GAP + shown.shape[1]] = shown
        parts.append(bottom)
    return np.concatenate(parts)


def _strip(total: int, texts: Sequence[tuple[int, str]], scale: float, room: int | None = None) -> Pixels:
    out = np.full((HEADING, total, 3), PAPER, np.uint8)
    for x, text in texts:
        fitted = scale if room is None else min(scale, scale * (room - 8) / max(_text_width(text, scale), 1))
        _write(out, text, x + 2, 20, INK, fitted)
    return out


def colours(values: Plane, low: float, high: float) -> Pixels:
    """Return `values` on the colour scale from `low` (dark) to `high` (bright); holes (NaN) are magenta."""
    hole = ~np.isfinite(values)
    scaled = np.clip((np.where(hole, low, values) - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    out = np.asarray(cv2.applyColorMap(scaled, cv2.COLORMAP_INFERNO)[..., ::-1], np.uint8).copy()
    out[hole] = HOLE
    return out


def legend(low: float, high: float, what: str, ticks: int = 4, holes: bool = False) -> Pixels:
    """Return the scale of `colours` with `ticks` + 1 marks, labelled `what`, and magenta explained where there are
    `holes`."""
    bar = 320
    out = np.full((LEGEND, bar + 460, 3), PAPER, np.uint8)
    out[6:20, 10 : 10 + bar] = colours(
        np.broadcast_to(np.linspace(low, high, bar, dtype=np.float32), (14, bar)), low, high
    )
    for i in range(ticks + 1):
        x = 10 + i * (bar - 1) // ticks
        out[20:24, x] = INK
        text = f"{low + i * (high - low) / ticks:g}"
        _write(out, text, max(x - _text_width(text, 0.4) // 2, 2), 38, INK, 0.4)
    _write(out, what, bar + 30, 18, INK)
    if holes:
        out[26:40, bar + 30 : bar + 44] = HOLE
        _write(out, "no value", bar + 52, 38, INK, 0.4)
    return out


def difference(a: Pixels, b: Pixels) -> Plane:
    """Return the mean absolute difference over the channels, (h, w) float32, 0..255."""
    return np.asarray(np.abs(a.astype(np.float32) - b).mean(-1), np.float32)


def save(path: Path, pixels: Pixels) -> None:
    """Write RGB as PNG; raises OSError when that can't be done."""
    _, data = cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))
    path.write_bytes(data.tobytes())
