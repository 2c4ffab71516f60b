"""The boards that are held up to the cameras: how they are named, and found in a picture.

Points are numbered along the board's x (columns) then y (rows), metres, z = 0. A chessboard is found whole or not at
all; a ChArUco board may be partly hidden. Invariant of a `Detection`: its points run the way that an unmirrored board
shows them; where colours tell its two ends apart, they begin at the end whose first square is dark.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from streamsvc.calibrate.errors import CalibrationError
from streamsvc.calibrate.projection import Array

Gray = NDArray[np.uint8]

FORMS = (
    "chessboard:COLSxROWS:SQUARE (inner corners, metres) or charuco:COLSxROWS:SQUARE:MARKER[:DICT] (squares, metres)"
)
DICTIONARY = "5X5_100"
MIN_CHARUCO_POINTS = 8
MAX_SEARCH_SIDE = 1600
"""Larger pictures are reduced to this to find the board, and refined at full size."""


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """The board in one picture: `ids` (n,) numbers of its points, `pixels` (n, 2) float64, integer pixel centres.

    `spread` is the width of the edges between squares in pixels, a measure of blur (smaller is sharper).
    """

    ids: NDArray[np.int64]
    pixels: Array
    spread: float


@dataclass(frozen=True, slots=True)
class Board:
    """A flat calibration board. `columns` and `rows` count its points (inner corners); `square` is in metres.

    `marker` (metres) and `dictionary` belong to ChArUco boards and are None for chessboards.
    """

    columns: int
    rows: int
    square: float
    marker: float | None = None
    dictionary: str | None = None

    @property
    def points(self) -> Array:
        """The points in board metres, (columns * rows, 3), z = 0."""
        x, y = np.meshgrid(np.arange(self.columns), np.arange(self.rows))
        return np.stack([x.ravel() * self.square, y.ravel() * self.square, np.zeros(x.size)], 1).astype(np.float64)

    @property
    def symmetric(self) -> bool:
        """Whether the board looks the same after half a turn, so that no picture tells its ends apart."""
        return self.marker is None and (self.columns + self.rows) % 2 == 0

    @property
    def flipped(self) -> NDArray[np.int64]:
        """The number that each point has after half a turn of the board."""
        return np.arange(self.columns * self.rows)[::-1].astype(np.int64)

    @property
    def mirrored(self) -> NDArray[np.int64]:
        """The number that each point of a chessboard seems to have in a mirrored picture."""
        grid = np.arange(self.columns * self.rows).reshape(self.rows, self.columns)
        # Turning over the side with an odd number of squares keeps the colours, so that is what is taken for it.
        swapped = grid[::-1] if self.rows % 2 == 0 else grid[:, ::-1]
        return np.ascontiguousarray(swapped).reshape(-1).astype(np.int64)

    def __str__(self) -> str:
        """Say what board it is, as a person would."""
        size = f"{self.columns} x {self.rows} inner corners"
        return f"chessboard of {size}" if self.marker is None else f"ChArUco board ({self.dictionary}) of {size}"


def parse_board(text: str) -> Board:
    """Return the board named by `text`; raises CalibrationError that says which part is wrong."""
    kind, *parts = text.split(":")
    if kind not in ("chessboard", "charuco") or not (len(parts) == 2 if kind == "chessboard" else len(parts) in (3, 4)):
        raise CalibrationError(f"--board must be {FORMS}, got {text!r}")
    try:
        columns, rows = (int(v) for v in parts[0].lower().split("x"))
        lengths = [float(v) for v in parts[1 : 2 if kind == "chessboard" else 3]]
    except ValueError:
        raise CalibrationError(f"--board must be {FORMS}, got {text!r}") from None
    square = lengths[0]
    if not 0.0005 <= square <= 1.0:
        raise CalibrationError(f"--board: a square of {square:g} m is not plausible; its side is meant, in metres")
    if kind == "chessboard":
        if not (3 <= columns <= 40 and 3 <= rows <= 40):
            raise CalibrationError("--board: a chessboard has 3 to 40 inner corners a side (one less than squares)")
        return Board(columns, rows, square)
    if not (3 <= columns <= 40 and 3 <= rows <= 40):
        raise CalibrationError("--board: a ChArUco board has 3 to 40 squares a side")
    if not 0.3 * square <= lengths[1] < square:
        raise CalibrationError(
            f"--board: the marker ({lengths[1]:g} m) must be smaller than its square ({square:g} m), at least 0.3 of it"
        )
    name = (parts[3] if len(parts) == 4 else DICTIONARY).upper().removeprefix("DICT_")
    if not hasattr(cv2.aruco, f"DICT_{name}"):
        known = sorted({d.removeprefix("DICT_").upper() for d in dir(cv2.aruco) if d.startswith("DICT_")})
        raise CalibrationError(f"--board: no dictionary is called {name!r}; known: {', '.join(known)}")
    markers, held = columns * rows // 2, len(dictionary_of(name).bytesList)
    if markers > held:
        raise CalibrationError(f"--board: {columns} x {rows} squares need {markers} markers, {name} holds {held}")
    return Board(columns - 1, rows - 1, square, lengths[1], name)


def dictionary_of(name: str) -> Any:
    """Return OpenCV's dictionary of markers that is called `name`, as in `Board.dictionary`."""
    return cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, f"DICT_{name}"))


def charuco_of(board: Board) -> Any:
    """Return OpenCV's description of a ChArUco board."""
    assert board.marker is not None and board.dictionary is not None
    size = board.columns + 1, board.rows + 1
    return cv2.aruco.CharucoBoard(size, board.square, board.marker, dictionary_of(board.dictionary))


class Detector:
    """Finds one board in gray pictures; keeps what OpenCV's detectors prepare."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self._charucos: list[Any] = []
        if board.marker is not None:
            # Boards with an even number of squares up were printed with the other corner first before OpenCV 4.6.
            for legacy in (False, True) if board.rows % 2 else (False,):
                charuco = charuco_of(board)
                charuco.setLegacyPattern(legacy)
                self._charucos.append(cv2.aruco.CharucoDetector(charuco))

    def find(self, gray: Gray, *, thorough: bool = True) -> Detection | None:
        """Return the board in `gray` (h, w), or None. Not `thorough`: gives up early, for many frames of a video."""
        if self.board.marker is not None:
            return self._charuco(gray)
        return self._chessboard(gray, thorough)

    def _chessboard(self, gray: Gray, thorough: bool) -> Detection | None:
        size = (self.board.columns, self.board.rows)
        small, scale = _reduced(gray)
        flags = (
            cv2.CALIB_CB_ADAPTIVE_THRESH | cv2.CALIB_CB_NORMALIZE_IMAGE | (0 if thorough else cv2.CALIB_CB_FAST_CHECK)
        )
        found, corners = cv2.findChessboardCorners(small, size, flags=flags)
        if not found and thorough:
            exhaustive = cv2.CALIB_CB_NORMALIZE_IMAGE | cv2.CALIB_CB_EXHAUSTIVE | cv2.CALIB_CB_ACCURACY
            found, corners = cv2.findChessboardCornersSB(small, size, flags=exhaustive)
        if not found:
            return None
        coarse = (np.asarray(corners, np.float32).reshape(self.board.rows, self.board.columns, 2) + 0.5) * scale - 0.5
        grid = refined(gray, coarse.astype(np.float32))
        if grid is None:
            return None
        grid = self._in_order(gray, grid)
        ids = np.arange(self.board.columns * self.board.rows, dtype=np.int64)
        return Detection(ids, grid.reshape(-1, 2), edge_spread(gray, grid))

    def _in_order(self, gray: Gray, grid: Array) -> Array:
        """Turn the grid (rows, columns, 2) of corners so that it keeps the invariant of `Detection`."""
        along, down = grid[:, -1] - grid[:, 0], grid[-1] - grid[0]
        if np.cross(np.append(along.mean(0), 0), np.append(down.mean(0), 0))[2] < 0:
            grid = grid[::-1]
        half_turn = grid[::-1, ::-1]
        if self.board.symmetric:
            # Most boards are held upright: the row that lies highest comes first. Several cameras settle it together.
            return grid if grid[0, :, 1].mean() <= grid[-1, :, 1].mean() else half_turn
        return grid if _first_square_is_dark(gray, grid) else half_turn

    def _charuco(self, gray: Gray) -> Detection | None:
        for detector in self._charucos:
            corners, ids, _, _ = detector.detectBoard(gray)
            if ids is None or len(ids) < MIN_CHARUCO_POINTS:
                continue
            numbers = np.asarray(ids, np.int64).reshape(-1)
            at = np.stack([numbers % self.board.columns, numbers // self.board.columns], 1)
            if min(len(np.unique(at[:, 0])), len(np.unique(at[:, 1]))) < 2:
                continue  # points on one line have no pose
            pixels = np.asarray(corners, np.float64).reshape(-1, 2)
            return Detection(numbers, pixels, _point_spread(gray, pixels))
        return None

    def explain(self, gray: Gray) -> str | None:
        """Return why the board isn't found in `gray`, when that can be seen: another size, mirrored, other markers."""
        if self.board.marker is None:
            other = _other_size(gray)
            if other and other not in ((self.board.columns, self.board.rows), (self.board.rows, self.board.columns)):
                return (
                    f"a chessboard of {other[0]} x {other[1]} inner corners is seen, not "
                    f"{self.board.columns} x {self.board.rows}: count where four squares meet, and mend --board"
                )
            return None
        if self._charuco(np.ascontiguousarray(gray[:, ::-1])) is not None:
            return "its pictures are mirrored: switch mirroring off in the camera's settings"
        seen = _markers(gray, self.board.dictionary or "")
        if seen >= 2:
            return f"{seen} markers are seen but don't make this board: check the number of squares in --board"
        counts = {name: _markers(gray, name) for name in ("4X4_50", "4X4_1000", "5X5_1000", "6X6_1000", "7X7_1000")}
        name = max(counts, key=lambda n: counts[n])
        if counts[name] >= 3:
            return f"markers of {name[:3]} are seen, not of {self.board.dictionary}: name the dictionary in --board"
        return None


def _markers(gray: Gray, name: str) -> int:
    ids = cv2.aruco.ArucoDetector(dictionary_of(name)).detectMarkers(gray)[1]
    return 0 if ids is None else len(ids)


def _reduced(gray: Gray) -> tuple[Gray, float]:
    """Return the picture at a size in which boards are found quickly, and how many times larger it really is."""
    scale = max(gray.shape) / MAX_SEARCH_SIDE
    if scale <= 1:
        return gray, 1.0
    size = round(gray.shape[1] / scale), round(gray.shape[0] / scale)
    return np.asarray(cv2.resize(gray, size, interpolation=cv2.INTER_AREA), dtype=np.uint8), scale


def larger_size(board: Board, gray: Gray) -> tuple[int, int] | None:
    """Return the (columns, rows) of the chessboard in `gray` when `board` is only a part of it, else None."""
    other, own = _other_size(gray), sorted((board.columns, board.rows))
    if other is None or other[0] < own[1] or other[1] < own[0] or list(other) == own[::-1]:
        return None
    return other


def _other_size(gray: Gray) -> tuple[int, int] | None:
    flags = cv2.CALIB_CB_NORMALIZE_IMAGE | cv2.CALIB_CB_EXHAUSTIVE | cv2.CALIB_CB_LARGER
    found, _, meta = cv2.findChessboardCornersSBWithMeta(_reduced(gray)[0], (3, 3), flags)
    if not found or meta is None or meta.size < 12:
        return None
    rows, columns = sorted(meta.shape[:2])
    return int(columns), int(rows)


def refined(gray: Gray, grid: NDArray[np.float32]) -> Array | None:
    """Return the corners (rows, columns, 2) at subpixel accuracy, or None when they are too close to each other.

    The window is as large as squares allow without touching the next corner.
    """
    nearest = min(
        float(np.linalg.norm(np.diff(grid, axis=0), axis=-1).min()),
        float(np.linalg.norm(np.diff(grid, axis=1), axis=-1).min()),
    )
    if nearest < 4:
        return None
    half = int(np.clip(nearest * 0.35, 2, 11))
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 40, 1e-3)
    corners = cv2.cornerSubPix(gray, grid.reshape(-1, 1, 2).copy(), (half, half), (-1, -1), criteria)
    return np.asarray(corners, dtype=np.float64).reshape(grid.shape)


def _first_square_is_dark(gray: Gray, grid: Array) -> bool:
    """Whether the square between the first four corners is of the dark colour; `grid` (rows, columns, 2)."""
    centres = (grid[:-1, :-1] + grid[1:, :-1] + grid[:-1, 1:] + grid[1:, 1:]) / 4
    sampled = _sampled(gray, centres)
    odd = np.indices(sampled.shape).sum(0) % 2 == 1
    return float(np.mean(sampled[~odd])) < float(np.mean(sampled[odd]))


def _sampled(gray: Gray, at: Array) -> Array:
    """Return the gray values at the pixels `at` (n, m, 2), (n, m)."""
    x, y = (np.ascontiguousarray(at[..., i], dtype=np.float32) for i in (0, 1))
    return np.asarray(cv2.remap(gray, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), dtype=np.float64)


def edge_spread(gray: Gray, grid: Array) -> float:
    """Return how many pixels an edge between a dark and a light square takes from 10 to 90 % of its step (median)."""
    along = (grid[:, :-1] + grid[:, 1:]) / 2
    down = (grid[:-1] + grid[1:]) / 2
    across_along, across_down = np.gradient(grid, axis=0)[:, :-1], np.gradient(grid, axis=1)[:-1]
    centres = np.concatenate([along.reshape(-1, 2), down.reshape(-1, 2)])
    across = np.concatenate([across_along.reshape(-1, 2), across_down.reshape(-1, 2)])
    return _spread(gray, centres, across * 0.4)


def _point_spread(gray: Gray, pixels: Array) -> float:
    """`edge_spread` where the grid is incomplete: across the lines between each point and its nearest."""
    distance = np.linalg.norm(pixels[:, None] - pixels[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    to = pixels[distance.argmin(1)] - pixels
    return _spread(gray, pixels + to / 2, np.stack([-to[:, 1], to[:, 0]], 1) * 0.15)


def _spread(gray: Gray, centres: Array, half: Array, samples: int = 41) -> float:
    """Median 10 to 90 % width in pixels of the edges through `centres`, sampled `half` (n, 2) to both sides."""
    steps = np.linspace(-1, 1, samples)
    at = centres[:, None] + steps[None, :, None] * half[:, None]
    line = _sampled(gray, at)
    line = np.asarray(line, dtype=np.float64)
    low, high = line.min(1, keepdims=True), line.max(1, keepdims=True)
    between = (line > low + 0.1 * (high - low)) & (line < low + 0.9 * (high - low))
    return float(np.median(between.sum(1) * np.linalg.norm(half, axis=1) * 2 / (samples - 1)))
