"""Boards to print: to scale, on which paper, as a picture and as a drawing, and what is refused."""

from __future__ import annotations

import re
import struct
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_calibrate_pictures import run

from streamsvc.calibrate import CalibrationError, Detector, parse_board, sheet
from streamsvc.calibrate.command import paper
from streamsvc.calibrate.guided import Guided
from streamsvc.cli import main


@pytest.mark.parametrize("spec", ["chessboard:9x6:0.025", "charuco:8x6:0.03:0.022", "charuco:7x5:0.03:0.022:6X6_50"])
def test_a_saved_board_is_to_scale_and_is_found(spec: str, tmp_path: Path) -> None:
    path = tmp_path / "board.png"
    assert run("--board", spec, "--save-board", path, "--dpi", "150") == 0
    data = path.read_bytes()
    at = data.index(b"pHYs") + 4
    per_metre = struct.unpack(">I", data[at : at + 4])[0]
    board = parse_board(spec)
    found = Detector(board).find(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    assert found is not None and len(found.ids) == board.columns * board.rows
    order = np.argsort(found.ids)
    step = np.diff(found.pixels[order].reshape(board.rows, board.columns, 2), axis=1)[..., 0] / per_metre
    np.testing.assert_allclose(step, board.square, rtol=1e-3)


@pytest.mark.parametrize("spec", ["chessboard:8x5:0.024", "charuco:7x5:0.029:0.022:4X4_50", "charuco:6x8:0.04:0.03"])
def test_the_drawing_of_a_board_is_its_picture(spec: str) -> None:
    board = parse_board(spec)
    svg, dpi = sheet.svg(board), 254.0  # ten pixels a millimetre
    width, height = (float(v) for v in re.findall(r'(?:width|height)="([\d.]+)mm"', svg))
    assert (width, height) == pytest.approx(
        ((board.columns + 3) * board.square * 1e3, (board.rows + 3) * board.square * 1e3)
    )
    drawn = np.full((round(height * 10), round(width * 10)), 255, np.uint8)
    (path,) = re.findall(r'crispEdges" d="([^"]+)"', svg)
    for x, y, w, h in re.findall(r"M([\d.]+) ([\d.]+)h([\d.]+)v([\d.]+)h-[\d.]+z", path):
        left, top, right, bottom = (
            round(v * 10) for v in (float(x), float(y), float(x) + float(w), float(y) + float(h))
        )
        drawn[top:bottom, left:right] = 0
    picture = cv2.resize(sheet.draw(board, round(dpi)), drawn.shape[::-1], interpolation=cv2.INTER_AREA)
    side = round(board.square * 1e4)
    inner = slice(side, -side), slice(side, -side)
    differs = np.abs(drawn[inner].astype(int) - picture[inner]) > 128
    assert cv2.erode(differs.astype(np.uint8), np.ones((5, 5))).sum() == 0


def test_a_drawing_that_would_be_unreasonable_is_refused() -> None:
    with pytest.raises(CalibrationError, match="too large"):
        sheet.draw(parse_board("chessboard:30x30:0.5"), 300)
    with pytest.raises(CalibrationError, match="12 are needed"):
        sheet.draw(parse_board("chessboard:9x6:0.001"), 100)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((297, 210), "fits A4"),
        ((150, 200), "fits A4"),
        ((211, 290), "needs A3 or larger"),
        ((300, 300), "needs A2 or larger"),
        ((1189, 841), "needs A0 or larger"),
        ((1200, 100), "larger than A0"),
    ],
)
def test_the_paper_that_a_board_needs_is_named(size: tuple[int, int], words: str) -> None:
    assert paper(*size) == words


def test_where_the_board_is_saved_is_told_with_its_paper(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["calibrate", "--board", "chessboard:8x6:0.03", "--dpi", "72", "--save-board", str(tmp_path / "b.png")])
    assert ended.value.code == 0 and "mm, needs A3 or larger\nprint it at 100 %" in capsys.readouterr().err


@pytest.mark.parametrize("spec", ["chessboard:40x40:0.055", "charuco:40x40:0.055:0.04:6X6_1000"])
def test_a_picture_that_the_service_would_draw_for_too_long_is_refused_and_the_drawing_is_not(spec: str) -> None:
    guided = Guided(spec, ["a", "b"])
    with pytest.raises(CalibrationError, match=r"of 200 dpi; .* drawing \(SVG\)"):
        guided.draw("png")
    assert guided.draw("svg").data.startswith(b"<svg")


def test_drawing_takes_little_more_than_the_picture() -> None:
    tracemalloc.start()
    try:
        drawn = sheet.draw(parse_board("chessboard:8x6:0.03"), 200)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert drawn.size > 4_000_000 and peak < 3 * drawn.size
