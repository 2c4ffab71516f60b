"""The measurements of `bench view`: scores of views, flicker, milliseconds and disparity, as plain numbers.

Each function returns rows for the tables: dictionaries of strings and numbers, None where something has no value.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from streamsvc.bench.view_disparity import PlainSgbm, found_disparity, true_disparity
from streamsvc.bench.view_rows import (
    ALONE,
    BEFORE_GREY,
    NEAREST,
    ORACLE,
    PLAIN,
    Rungs,
    helped,
    matte,
    nearest_camera,
    oracle,
    plain_sgbm,
)
from streamsvc.bench.view_scenes import BETWEEN, Case, HeldOut, Shot, noisy
from streamsvc.budget.slices import run_timed, run_to_end
from streamsvc.frames import Camera, Frame, FrameSet, Pixels, Rig
from streamsvc.frames.backdrop import Backdrop
from streamsvc.ledger.figures import percentile
from streamsvc.scene import Scene
from streamsvc.view import ViewSynthesizer
from streamsvc.view.compose import View
from streamsvc.view.quality import (
    MS_SSIM_MIN_SIDE,
    disparity_errors,
    edge_error,
    flicker,
    matte_errors,
    ms_ssim,
    outline,
    psnr,
    ssim,
)

Row = dict[str, str | int | float | None]
Plane = NDArray[np.float32]

MOTORCYCLE_SIZE = (368, 240)
MOTORCYCLE_DISPARITIES = 48
"""Pixels: the photographs' greatest disparity at that size is 30, and OpenCV searches multiples of 16."""

WARM_RUNS = 2
MOMENTS = 4
GREY = Backdrop("colour", (128, 128, 128))


def scores(view: View, shot: Shot) -> Row:
    """Return how good `view` is: PSNR (dB), SSIM and MS-SSIM of picture and foreground, PSNR of that part of the
    foreground that some camera sees, the mean error in the band at depth jumps (0..255), coverage (0..1), and the mean
    absolute error of the matte (0..1), in all and in the band about the person's outline."""
    truth, person = shot.truth.rgb, shot.truth.alpha > 0.5
    result: Row = {}
    for area, mask in (("foreground", person), ("picture", None)):
        result[f"{area}_psnr"] = psnr(view.pixels, truth, mask)
        result[f"{area}_ssim"] = ssim(view.pixels, truth, mask)
        fits = min(truth.shape[:2]) >= MS_SSIM_MIN_SIDE
        result[f"{area}_ms_ssim"] = ms_ssim(view.pixels, truth, mask) if fits else None
    result["seen_psnr"] = psnr(view.pixels, truth, person & shot.visible)
    error = edge_error(view.pixels, truth, shot.truth.depth)
    result["edge_error"] = None if math.isnan(error) else error
    result["coverage"] = float(view.coverage.mean())
    found = matte(view, shot.target)
    errors = (None, None) if found is None else matte_errors(found, shot.truth.alpha)
    result["matte_error"], result["matte_edge_error"] = errors
    return result


def flickers(shot: Shot, seed: int, rungs: Rungs, frames: int) -> Iterator[Row]:
    """Yield each row's flicker over `frames` frames of a still scene with sensor noise: on the person, and in the band
    about the person's outline. The top learned rung is there before a backdrop too."""
    seen = [noisy(shot.frames, seed, n) for n in range(frames)]
    person, edge = shot.truth.alpha > 0.5, outline(shot.truth.alpha)
    height, width = shot.truth.rgb.shape[:2]
    rungs = rungs.at(shot.rig, (width, height))
    shown = {NEAREST: [nearest_camera(replace(shot, frames=s)) for s in seen]}
    shown[PLAIN] = [plain_sgbm(replace(shot, frames=s), rungs.side).pixels for s in seen]
    for name in rungs.names:
        synthesizer = rungs.maker(shot.rig, (width, height))
        shown[name] = [run_to_end(synthesizer.slices(s, shot.target, name)).pixels for s in seen]
    alone = rungs.maker(shot.rig, (width, height), steady=False)
    shown[rungs.classical + ALONE] = [run_to_end(alone.slices(s, shot.target, rungs.classical)).pixels for s in seen]
    if rungs.learned is not None:
        hidden = rungs.maker(shot.rig, (width, height), backdrop=GREY)
        views = [run_to_end(hidden.slices(s, shot.target, rungs.learned)) for s in seen]
        shown[rungs.learned + BEFORE_GREY] = [v.pixels for v in views]
    shown[ORACLE] = [oracle(replace(shot, frames=s)).pixels for s in seen]
    for name, pictures in shown.items():
        yield {"row": name, "flicker": flicker(pictures, person), "edge_flicker": flicker(pictures, edge)}


def milliseconds(scene: HeldOut, case: Case, size: tuple[int, int], rungs: Rungs, repeats: int) -> list[Row]:
    """Return wall milliseconds (p50, p95, p99) per stage and in all of each rung, and its core milliseconds.

    The rungs take turns, so that whatever else the machine does falls on all alike; `ratio` is p50 against the top
    classical rung's. Pictures in, picture out: copies are included.
    """
    shots = [scene.shot(case, size, later) for later in range(MOMENTS)]
    rungs = rungs.at(shots[0].rig, size)
    makers = {name: rungs.maker(shots[0].rig, size) for name in rungs.names}
    stages: dict[str, dict[str, list[float]]] = {name: {} for name in rungs.names}
    cores: dict[str, list[float]] = {name: [] for name in rungs.names}
    for number in range(WARM_RUNS + repeats):
        shot = shots[number % MOMENTS]
        for name, maker in makers.items():
            before = time.process_time_ns()
            job = maker.slices(shot.frames, shot.target, helped(maker, name))
            _, spent = run_timed(job, time.perf_counter_ns)
            core = (time.process_time_ns() - before) / 1e6
            if number < WARM_RUNS:
                continue
            cores[name].append(core)
            for stage, ns in (*spent.items(), ("total", sum(spent.values()))):
                stages[name].setdefault(stage, []).append(ns / 1e6)
    reference = percentile(stages[rungs.classical]["total"], 50) or math.nan
    rows: list[Row] = []
    for name in rungs.names:
        for stage, ms in stages[name].items():
            row: Row = {"row": name, "stage": stage, **{f"p{q}": percentile(ms, q) for q in (50, 95, 99)}}
            if stage == "total":
                row["core_p50"] = percentile(cores[name], 50)
                row["ratio"] = (percentile(ms, 50) or math.nan) / reference
            rows.append(row)
    return rows


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The left camera's disparity by one row, in pixels of its picture (NaN: hole), and what it cost on a core."""

    row: str
    disparity: Plane
    core_ms: float | None = None
    rectify_ms: float | None = None


def _baseline(rig: Rig) -> tuple[Camera, float]:
    """The left camera of the first pair and its focal length x baseline."""
    left, right = (rig.camera(n) for n in rig.pairs[0])
    return left, float(left.K[0, 0] * np.linalg.norm(left.centre - right.centre))


def _geometry(
    maker: ViewSynthesizer, frames: FrameSet, camera: Camera, rung: str, repeats: int
) -> tuple[View, float, float]:
    """The rung's view for `camera` and the least core milliseconds of its geometry, and of rectification."""
    best = rectify = math.inf
    for _ in range(repeats):
        view, spent = run_timed(maker.slices(frames, camera, rung), time.process_time_ns)
        geometry = sum(ns for stage, ns in spent.items() if stage not in ("rectify", "splat", "blend")) / 1e6
        best, rectify = min(best, geometry), min(rectify, spent.get("rectify", 0) / 1e6)
    return view, best, rectify


def body_disparity(scene: HeldOut, size: tuple[int, int], rungs: Rungs) -> Iterator[Row]:
    """Yield each rung's disparity errors for the left camera of a pair 20 degrees apart, in pixels of its picture:
    of the whole picture, and of the person ("foreground_...")."""
    shot = scene.shot(BETWEEN, size)
    left, fb = _baseline(shot.rig)
    seen = shot.seen[left.name]
    for name in rungs.at(shot.rig, size).names:
        made = run_to_end(rungs.maker(shot.rig, size).slices(shot.frames, shot.target, name)).composed
        if made is None:
            continue
        source = next(s for s in made.sources if s.camera.name == left.name)
        found, true = found_disparity(source, fb), true_disparity(source, seen.depth, fb)
        person = asdict(disparity_errors(found, true, seen.alpha > 0.5))
        yield {
            "row": name,
            **asdict(disparity_errors(found, true)),
            **{f"foreground_{k}": v for k, v in person.items()},
        }


@dataclass(frozen=True, slots=True, eq=False)
class PhotoPair:
    """The photographed pair: both pictures, the true disparity of the left one, and what every row found."""

    left: Pixels
    right: Pixels
    true: Plane
    found: list[Found]

    def rows(self) -> list[Row]:
        """Return the errors, dense, and the core milliseconds of both directions."""
        return [
            {"row": f.row, **asdict(disparity_errors(f.disparity, self.true)), "core_ms": f.core_ms,
             "rectify_ms": f.rectify_ms}
            for f in self.found
        ]  # fmt: skip


def photo_pair(scene: Scene, rungs: Rungs, repeats: int, step: Callable[[], None]) -> PhotoPair:
    """Return the disparity of plain OpenCV and of every rung on the Motorcycle pair at 368x240.

    Nothing may ever be trained on it or tuned to it. `step` is called after each row.
    """
    rig = scene.rig(2, *MOTORCYCLE_SIZE)
    left, right = rig.cameras
    a, b = scene.render(left, 0.0), scene.render(right, 0.0)
    _, fb = _baseline(rig)
    offset = float(right.K[0, 2] - left.K[0, 2])
    frames = FrameSet("bench", 0, 0, 0, (Frame(left.name, a.rgb, 0), Frame(right.name, b.rgb, 0)))
    true = np.asarray(np.float32(fb) / a.depth - np.float32(offset), np.float32)
    greys = [np.asarray(cv2.cvtColor(p.rgb, cv2.COLOR_RGB2GRAY), np.uint8) for p in (a, b)]
    found = []
    for padded in (False, True):
        plain = PlainSgbm(MOTORCYCLE_DISPARITIES, padded)
        spent = []
        for _ in range(repeats):
            start = time.process_time_ns()
            disparity, _ = plain.both(*greys)
            spent.append((time.process_time_ns() - start) / 1e6)
        name = "OpenCV SGBM 3-way, check, fill" + (", border padded" if padded else "")
        found.append(Found(name, disparity, min(spent)))
        step()
    there = rungs.at(rig, MOTORCYCLE_SIZE).names
    for rung in rungs.names:
        step()
        if rung not in there:
            continue
        view, core_ms, rectify_ms = _geometry(rungs.maker(rig, MOTORCYCLE_SIZE), frames, left, rung, repeats)
        made = view.composed
        if made is not None:
            source = next(s for s in made.sources if s.camera.name == left.name)
            found.append(Found(rung, found_disparity(source, fb, offset), core_ms, rectify_ms))
    return PhotoPair(a.rgb, b.rgb, true, found)
