"""From detections to a calibrated rig: each camera alone, then all together, with the views that don't fit left out.

Everything here is pure: detections in, `Calibration` out, or a CalibrationError that says what to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from streamsvc.calibrate.boards import Board, Detection
from streamsvc.calibrate.bundle import CAMERA, Adjusted, Observation, State, adjust, rms
from streamsvc.calibrate.choose import distinct
from streamsvc.calibrate.errors import CalibrationError
from streamsvc.calibrate.intrinsics import calibrate_camera
from streamsvc.calibrate.projection import INTRINSICS, Array, angle_between
from streamsvc.calibrate.tree import Edge, Solo, grow, mirrored, relate, span

MIN_VIEWS = 3
FEW_VIEWS = 8
OUTLIER = 3.0
"""A view whose error is this many times the median is left out."""

MIN_OUTLIER_PX = 0.3
MAX_ROUNDS = 6
MAX_FOCAL_ERROR = 0.01
MAX_CENTRE_ERROR = 0.02
ALONE = 4.0
"""Largest standard deviations accepted: of the focal length, relative, and of the principal point, in widths. A camera
is surer among others than alone; what it starts from may be `ALONE` times as uncertain."""

MAX_RMS = 0.004
"""An error above this share of the picture's width is no calibration."""

SMALL_COVERAGE = 0.5
COVERAGE_GRID = (64, 48)


@dataclass(frozen=True, slots=True)
class View:
    """One instant: what the cameras found, by camera name."""

    name: str
    found: Mapping[str, Detection]


@dataclass(frozen=True, slots=True)
class Dropped:
    """A board that was found and left out, its error in pixels, and why."""

    camera: str
    view: str
    rms: float
    why: str


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """A solved rig: `names` and `sizes` (width, height) of C cameras, `views` the names of V views; world axes are
    those of camera 0. `estimated` (C, 9) says which intrinsics were free."""

    board: Board
    names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    views: tuple[str, ...]
    adjusted: Adjusted
    observations: tuple[Observation, ...]
    estimated: NDArray[np.bool_]
    dropped: tuple[Dropped, ...]
    tilts: tuple[float, ...]
    warnings: tuple[str, ...]

    @property
    def state(self) -> State:
        """The estimated parameters."""
        return self.adjusted.state

    def seen_by(self, camera: int) -> list[Observation]:
        """Return what was used of one camera."""
        return [o for o in self.observations if o.camera == camera]

    def rms_of(self, camera: int) -> float:
        """Return the reprojection RMS of one camera in pixels."""
        return rms(np.concatenate([self.state.residuals(o) for o in self.seen_by(camera)]))

    def coverage(self, camera: int) -> float:
        """Return the share of the picture of one camera that boards have covered, 0 to 1."""
        return covered([o.pixels for o in self.seen_by(camera)], self.sizes[camera])


def covered(boards: Sequence[Array], size: tuple[int, int]) -> float:
    """Return the share of the picture that `boards`, the pixels (n, 2) of each, have covered, 0 to 1."""
    return float((coverage_map(boards, size) > 0).mean())


def coverage_map(boards: Sequence[Array], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a coarse map (48, 64) uint8 of the picture: how many `boards`, as `covered` takes them, lay over each
    cell."""
    total = np.zeros(COVERAGE_GRID[::-1], np.uint8)
    for pixels in boards:
        hull = cv2.convexHull(((pixels + 0.5) / size * COVERAGE_GRID).astype(np.float32))
        cell = np.zeros_like(total)
        cv2.fillConvexPoly(cell, np.floor(np.asarray(hull)).astype(np.int32), 1)
        total = np.minimum(total + cell, 255).astype(np.uint8)
    return total


def tilt_spread(normals: Sequence[Array]) -> float:
    """Return the largest angle in degrees between two of the board normals (3,)."""
    return max((angle_between(a, b) for i, a in enumerate(normals) for b in normals[:i]), default=0.0)


def calibrate(board: Board, sizes: Mapping[str, tuple[int, int]], views: Sequence[View]) -> Calibration:
    """Calibrate the cameras called by the keys of `sizes` (width, height), in that order, from `views`.

    Of views that repeat each other the first counts: more would only make the result seem surer. Raises
    CalibrationError: too few views, boards all parallel, cameras that share no view or disagree, mirrored ones.
    """
    names = tuple(sizes)
    points = board.points
    given = len(views)
    views = [views[i] for i in distinct([v.found for v in views], sizes)]
    observations = [
        Observation(c, v, points[found.ids], found.pixels)
        for v, view in enumerate(views)
        for c, name in enumerate(names)
        if (found := view.found.get(name)) is not None
    ]
    dropped: list[Dropped] = []
    solos: list[Solo] = []
    free = np.ones((len(names), INTRINSICS), bool)
    tilts = []
    for c, name in enumerate(names):
        own = [o for o in observations if o.camera == c]
        alone, kept, free[c] = _alone(name, sizes[name], own, views, dropped)
        tilts.append(tilt_spread([alone.state.view_rotation[o.view][:, 2] for o in kept]))
        covariance, start = alone.covariance[0], alone.state.intrinsics[0]
        _refuse_degenerate(name, sizes[name], start, covariance, tilts[-1], 1.0 if len(names) == 1 else ALONE)
        poses = {o.view: (alone.state.view_rotation[o.view], alone.state.view_shift[o.view]) for o in kept}
        solos.append(Solo(name, sizes[name][0], alone.state.intrinsics[0], {o.view: o for o in kept}, poses))
    used = [o for solo in solos for o in solo.seen.values()]
    used.sort(key=lambda o: (o.view, o.camera))
    if len(names) == 1:
        adjusted = adjust(used, grow(solos, [], len(views)), free)
    else:
        adjusted, used = _together(board, solos, used, views, free, dropped)
        for c, name in enumerate(names):
            _refuse_degenerate(name, sizes[name], adjusted.state.intrinsics[c], adjusted.covariance[c], tilts[c], 1.0)
    result = Calibration(
        board,
        names,
        tuple(sizes.values()),
        tuple(v.name for v in views),
        adjusted,
        tuple(used),
        free,
        tuple(dropped),
        tuple(tilts),
        (),
    )
    return replace(result, warnings=tuple(_warnings(result, given - len(views))))


def _alone(
    name: str, size: tuple[int, int], own: list[Observation], views: Sequence[View], dropped: list[Dropped]
) -> tuple[Adjusted, list[Observation], NDArray[np.bool_]]:
    """Calibrate one camera, leaving out what doesn't fit; appends to `dropped`."""
    if len(own) < MIN_VIEWS:
        raise CalibrationError(
            f"camera {name}: the board is found in {len(own)} pictures that differ, {MIN_VIEWS} are needed and 15 or "
            "more are good: take more, with the board tilted differently and in all parts of the picture",
            "too-few-views",
        )
    alone, free = calibrate_camera(own, len(views), *size)
    for _ in range(MAX_ROUNDS):
        errors = np.array([rms(alone.state.residuals(replace(o, camera=0))) for o in own])
        limit = max(OUTLIER * float(np.median(errors)), MIN_OUTLIER_PX)
        if errors.max() <= limit or (errors <= limit).sum() < MIN_VIEWS:
            break
        for o, e in zip(own, errors, strict=True):
            if e > limit:
                dropped.append(Dropped(name, views[o.view].name, float(e), "doesn't fit this camera's other views"))
        own = [o for o, e in zip(own, errors, strict=True) if e <= limit]
        alone, free = calibrate_camera(own, len(views), *size)
    if alone.rms > max(MAX_RMS * size[0], 1.0):
        raise CalibrationError(
            f"camera {name}: the best fit is off by {alone.rms:.1f} pixels: is the board flat and rigid, the lens "
            "fixed in zoom and focus, and --board right?",
            "bad-fit",
        )
    return alone, own, free


def _refuse_degenerate(
    name: str, size: tuple[int, int], intrinsics: Array, covariance: Array, tilt: float, factor: float
) -> None:
    deviation = np.sqrt(np.diagonal(covariance)) / factor
    focal = float(max(deviation[0] / abs(intrinsics[0]), deviation[1] / abs(intrinsics[1])))
    centre = float(max(deviation[2], deviation[3]) / size[0])
    if focal <= MAX_FOCAL_ERROR and centre <= MAX_CENTRE_ERROR:
        return
    known = focal * factor
    uncertain = "is not determined" if not np.isfinite(known) or known > 0.5 else f"is uncertain by {known:.1%}"
    if focal <= MAX_FOCAL_ERROR:
        uncertain = f"is known, the principal point only to {centre * factor:.1%} of the width"
    raise CalibrationError(
        f"camera {name}: the focal length {uncertain}: the board was held too much the same way (its tilts differ by "
        f"{tilt:.0f} degrees at most). Tilt the board by 20 to 40 degrees to each side, up and down, in more views",
        "degenerate",
    )


def _together(
    board: Board,
    solos: Sequence[Solo],
    used: list[Observation],
    views: Sequence[View],
    free: NDArray[np.bool_],
    dropped: list[Dropped],
) -> tuple[Adjusted, list[Observation]]:
    """Adjust all cameras jointly, leaving out what doesn't fit; appends to `dropped`."""

    points = board.points

    def half_turn(o: Observation) -> Observation:
        number = np.rint(o.board[:, 1] / board.square) * board.columns + np.rint(o.board[:, 0] / board.square)
        return replace(o, board=points[board.flipped[number.astype(np.int64)]])

    turn = half_turn if board.symmetric else None
    pairs = [(a, b) for b in range(len(solos)) for a in range(b)]
    edges = [e for a, b in pairs if (e := relate(a, b, solos[a], solos[b], turn)) is not None]
    if board.marker is None:
        _refuse_mirrored(board, solos, [e for e in edges if not e.holds])
    state = grow(solos, span(solos, edges), len(views))
    if turn is not None:
        used = [min((o, turn(o)), key=lambda x: rms(state.residuals(x))) for o in used]
    total = {c: sum(o.camera == c for o in used) for c in range(len(solos))}
    adjusted = adjust(used, state, free)
    for _ in range(MAX_ROUNDS):
        errors = [rms(adjusted.state.residuals(o)) for o in used]
        limit = max(OUTLIER * float(np.median(errors)), MIN_OUTLIER_PX)
        worst: dict[int, int] = {}  # one a view: when two cameras disagree, the other may be right
        for i, (o, error) in enumerate(zip(used, errors, strict=True)):
            if error > limit and (o.view not in worst or error > errors[worst[o.view]]):
                worst[o.view] = i
        if not worst:
            break
        for i in worst.values():
            why = "doesn't fit the other cameras: the board moved, or the pictures are of different instants"
            dropped.append(Dropped(solos[used[i].camera].name, views[used[i].view].name, errors[i], why))
        used = [o for i, o in enumerate(used) if i not in worst.values()]
        _refuse_thin(solos, used, total)
        adjusted = adjust(used, adjusted.state, free)
    return adjusted, used


def _refuse_mirrored(board: Board, solos: Sequence[Solo], broken: Sequence[Edge]) -> None:
    for edge in broken:
        if edge.shared < MIN_VIEWS:
            continue
        other = mirrored(solos[edge.b], board.mirrored, board.points)
        again = relate(edge.a, edge.b, solos[edge.a], other, None)
        if again is not None and again.holds:
            raise CalibrationError(
                f"the pictures of {solos[edge.a].name} or {solos[edge.b].name} are mirrored (the board moves the other "
                "way in one of them): switch mirroring off in that camera's settings",
                "mirrored",
            )


def _refuse_thin(solos: Sequence[Solo], used: Sequence[Observation], total: Mapping[int, int]) -> None:
    seen_by: dict[int, set[int]] = {}
    for o in used:
        seen_by.setdefault(o.view, set()).add(o.camera)
    for c, solo in enumerate(solos):
        left = sum(o.camera == c for o in used)
        shared = sum(c in cameras and len(cameras) > 1 for cameras in seen_by.values())
        if left < max(MIN_VIEWS, total[c] / 2) or not shared:
            raise CalibrationError(
                f"camera {solo.name}: of {total[c]} views only {left} fit the other cameras: pictures of one name must "
                "be of one instant, with the board held still, and no camera may move",
                "disagree",
            )


def _warnings(result: Calibration, repeated: int) -> list[str]:
    said = []
    if repeated:
        said.append(f"{repeated} views show the board where another does already; they are not counted")
    for c, name in enumerate(result.names):
        views, coverage = len(result.seen_by(c)), result.coverage(c)
        if views < FEW_VIEWS:
            said.append(f"{name}: {views} views are few; 15 or more are better")
        if coverage < SMALL_COVERAGE:
            said.append(f"{name}: boards covered {coverage:.0%} of the picture; how the lens bends the rest is guessed")
    if len(result.names) > 1:
        deviation = np.sqrt(np.stack([np.diagonal(x) for x in result.adjusted.covariance]))
        for c in range(1, len(result.names)):
            shift = float(np.linalg.norm(deviation[c, CAMERA - 3 :]))
            if shift > 0.002:
                said.append(f"{result.names[c]}: its position is uncertain by {shift * 1000:.1f} mm; take more views")
    return said
