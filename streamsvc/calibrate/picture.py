"""The rig as a picture: from above, from the side, and how far each camera's corners were off, as one PNG.

Every camera has one colour throughout. Views from above and the side are orthographic, to one scale, in world metres.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from streamsvc.calibrate.errors import CalibrationError
from streamsvc.calibrate.gather import PICTURES
from streamsvc.calibrate.layout import board_corners, cameras_of
from streamsvc.calibrate.projection import Array
from streamsvc.calibrate.solve import Calibration, coverage_map
from streamsvc.frames import Camera, Pixels

WIDTH = 1400
PLAN = 700
MARGIN = 44
PANEL = 350
FONT = cv2.FONT_HERSHEY_SIMPLEX
INK, FAINT, PAPER = (40, 40, 40), (205, 205, 205), (255, 255, 255)
COLOURS = ((214, 39, 40), (31, 119, 180), (44, 160, 44), (255, 127, 14), (148, 103, 189), (140, 86, 75), (23, 190, 207))
SHIFT = 4
"""Fractional bits of OpenCV's drawing coordinates."""


def _colour(i: int) -> tuple[int, int, int]:
    return COLOURS[i % len(COLOURS)]


def _text(canvas: Pixels, text: str, at: tuple[float, float], size: float = 0.5, colour: Sequence[int] = INK) -> None:
    cv2.putText(canvas, text, (round(at[0]), round(at[1])), FONT, size, tuple(colour), 1, cv2.LINE_AA)


def _lines(canvas: Pixels, points: Array, colour: Sequence[int], closed: bool = False, thick: int = 1) -> None:
    cv2.polylines(
        canvas, [np.rint(points * 2**SHIFT).astype(np.int32)], closed, tuple(colour), thick, cv2.LINE_AA, SHIFT
    )


def _frustum(camera: Camera, depth: float) -> Array:
    """The optical centre and the four corners of the picture at `depth` metres, (5, 3) world."""
    x, y = np.array([0, camera.width, camera.width, 0]) - 0.5, np.array([0, 0, camera.height, camera.height]) - 0.5
    rays = np.linalg.solve(camera.K, np.stack([x, y, np.ones(4)])).T * depth
    return np.concatenate([camera.centre[None], rays @ camera.R + camera.centre])


def _step(span: float) -> float:
    """A round distance for grid lines, metres."""
    power = 10.0 ** np.floor(np.log10(span / 4))
    return float(next(power * m for m in (1, 2, 5, 10) if power * m >= span / 6))


def _plan(
    title: str,
    axes: tuple[int, int],
    labels: tuple[str, str],
    cameras: Sequence[Camera],
    boards: Sequence[Array],
    box: tuple[Array, float],
    depth: float,
    flip: bool,
) -> Pixels:
    """Draw the world axes `axes` (right, down; `flip`: up) within `box` (middle (3,), half-extent) on a square."""
    canvas = np.full((PLAN, PLAN, 3), 255, np.uint8)
    middle, half = box
    scale = (PLAN / 2 - MARGIN) / half

    def at(points: Array) -> Array:
        flat = (points[..., axes] - middle[list(axes)]) * scale * (1, -1 if flip else 1)
        return np.asarray(flat + PLAN / 2)

    step = _step(2 * half)
    for i in range(-12, 13):
        for axis in (0, 1):
            line = middle.copy()
            line[axes[axis]] = (np.round(middle[axes[axis]] / step) + i) * step
            place = at(line)[axis]
            if MARGIN <= place <= PLAN - MARGIN:
                ends = np.array([[place, MARGIN], [place, PLAN - MARGIN]])
                _lines(canvas, ends if axis == 0 else ends[:, ::-1], FAINT)
                value = f"{line[axes[axis]] + 0.0:.3g}"
                _text(canvas, value, (place - 12, PLAN - MARGIN + 16) if axis == 0 else (6, place + 4), 0.4)
    for corners in boards:
        _lines(canvas, at(corners), (150, 150, 150), closed=True)
    for i, camera in enumerate(cameras):
        corners = at(_frustum(camera, depth))
        for corner in corners[1:]:
            _lines(canvas, np.stack([corners[0], corner]), _colour(i), thick=1)
        _lines(canvas, corners[1:], _colour(i), closed=True, thick=2)
        x, y = corners[0]
        cv2.circle(canvas, (round(x), round(y)), 5, _colour(i), -1, cv2.LINE_AA)
    _label(canvas, [(c.name, at(c.centre)) for c in cameras], flip)
    _text(canvas, title, (MARGIN, 26), 0.6)
    _text(canvas, f"{labels[0]} [m] to the right, {labels[1]}", (MARGIN, PLAN - 8), 0.42)
    return canvas


def _label(canvas: Pixels, named: Sequence[tuple[str, Array]], below: bool) -> None:
    """Write the names beside the optical centres, staggered where they would lie on each other."""
    taken = [(float(x) - 6, float(x) + 6, float(y) + 6) for _, (x, y) in named]  # the dots themselves
    for i, (name, (x, y)) in sorted(enumerate(named), key=lambda n: tuple(n[1][1])):
        wide = cv2.getTextSize(name, FONT, 0.5, 1)[0][0]
        left = float(np.clip(x - wide / 2, 2, PLAN - wide - 2))
        down = y + (22 if below else -12)
        while any(left < b and a < left + wide and abs(down - d) < 15 for a, b, d in taken):
            down += 15 if below else -15
        taken.append((left - 4, left + wide + 4, down))
        _text(canvas, name, (left, down), 0.5, _colour(i))


def _residuals(result: Calibration, camera: int) -> Pixels:
    """One panel: where the boards were and how far off (arrows, enlarged), and the scatter of the errors."""
    canvas = np.full((PANEL, WIDTH // 2, 3), 255, np.uint8)
    width, height = result.sizes[camera]
    observations = result.seen_by(camera)
    errors = np.concatenate([result.state.residuals(o) for o in observations])
    pixels = np.concatenate([o.pixels for o in observations])
    spread = max(float(np.quantile(np.linalg.norm(errors, axis=1), 0.99)), 0.05)

    scale = min(400 / width, (PANEL - 70) / height)
    w, h = round(width * scale), round(height * scale)
    left, top = 16, 40
    seen = coverage_map([o.pixels for o in observations], result.sizes[camera])
    shade = 255 - np.minimum(cv2.resize(seen, (w, h), interpolation=cv2.INTER_LINEAR), 12).astype(np.uint8) * 6
    canvas[top : top + h, left : left + w] = shade[:, :, None]
    cv2.rectangle(canvas, (left, top), (left + w, top + h), INK, 1)
    arrow = 14 / spread
    length = np.linalg.norm(errors, axis=1)
    heat = cv2.applyColorMap(np.clip(length / spread * 255, 0, 255).astype(np.uint8).reshape(-1, 1), cv2.COLORMAP_TURBO)
    for at, error, colour in zip(pixels, errors, heat[:, 0, ::-1].tolist(), strict=True):
        start = (at + 0.5) * scale + (left, top)
        _lines(canvas, np.stack([start, start + error * arrow]), colour)
    _text(canvas, f"boards (darker: more) and errors, x {arrow / scale:.0f}", (left, top + h + 20), 0.42)

    side = min(PANEL - 90, 230)
    centre = np.array([WIDTH // 2 - side / 2 - 20, top + side / 2])
    box = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * side / 2 + centre
    _lines(canvas, box, INK, closed=True)
    limit = _step(7 * spread)  # the next round number above
    for ring in (0.5, 1.0):
        radius = ring * side / 2
        cv2.circle(canvas, (round(centre[0]), round(centre[1])), round(radius), FAINT, 1, cv2.LINE_AA)
    for error in np.clip(errors / limit, -1, 1) * side / 2 + centre:
        cv2.circle(canvas, (round(error[0]), round(error[1])), 1, _colour(camera), -1, cv2.LINE_AA)
    _text(canvas, f"errors; circles: {limit / 2:.2g} and {limit:.2g} px", (centre[0] - side / 2, top + side + 20), 0.42)

    name = result.names[camera]
    figures = f"RMS {result.rms_of(camera):.3f} px, {len(observations)} views, {result.coverage(camera):.0%} covered"
    _text(canvas, name, (left, 26), 0.6, _colour(camera))
    _text(canvas, figures, (left + 14 + cv2.getTextSize(name, FONT, 0.6, 1)[0][0], 26), 0.5)
    return canvas


def draw(result: Calibration) -> Pixels:
    """Return the picture, RGB (h, 1400, 3)."""
    cameras = cameras_of(result)
    boards = list(board_corners(result).values())
    centres = np.stack([c.centre for c in cameras])
    corners = np.concatenate(boards)
    depth = 0.35 * float(np.median(np.linalg.norm(corners.reshape(-1, 4, 3).mean(1) - centres.mean(0), axis=1)))
    points = np.concatenate([corners, *(_frustum(c, depth) for c in cameras)])
    low, high = points.min(0), points.max(0)
    box = (low + high) / 2, float((high - low).max() / 2) * 1.02
    top = _plan("from above", (0, 2), ("x", "z away from the cameras upwards"), cameras, boards, box, depth, True)
    side = _plan("from the side", (2, 1), ("z", "y downwards"), cameras, boards, box, depth, False)
    panels = [_residuals(result, c) for c in range(len(cameras))]
    if len(panels) % 2:
        panels.append(np.full_like(panels[0], 255))
    rows = [np.hstack(panels[i : i + 2]) for i in range(0, len(panels), 2)]
    head = np.full((48, WIDTH, 3), 255, np.uint8)
    summary = f"{len(cameras)} camera{'s' if len(cameras) > 1 else ''}, {result.board}, {len(boards)} views (gray)"
    _text(head, f"{summary}: reprojection RMS {result.adjusted.rms:.3f} px", (MARGIN, 32), 0.65)
    return np.ascontiguousarray(np.vstack([head, np.hstack([top, side]), *rows]), dtype=np.uint8)


def check_name(path: Path) -> None:
    """Raise CalibrationError unless pictures can be written under such a name."""
    if path.suffix.lower() not in PICTURES:
        raise CalibrationError(
            f"--picture {path}: pictures can't be written as {path.suffix!r}; use {', '.join(PICTURES)}"
        )


def save(result: Calibration, path: Path) -> None:
    """Draw into the file `path`; the format follows its name, which has passed `check_name`."""
    path.write_bytes(cv2.imencode(path.suffix, draw(result)[:, :, ::-1])[1].tobytes())
