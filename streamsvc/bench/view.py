"""`bench view`: what every rung of the view's ladder is worth and costs, beside the rows that say what that means.

Held-out people (`view_scenes`) seen by two and four cameras, between them and beyond them, with a perfect rig and with
one that is a little off; and one real stereo pair. The rows are in `view_rows`, the measures in `view_measure`. Under
`out`: table.md, contact sheets and error maps (PNG), cost.svg.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from streamsvc.bench import view_measure as measure
from streamsvc.bench.view_plot import Plot, Point, cost_plot
from streamsvc.bench.view_report import report
from streamsvc.bench.view_rows import (
    ALONE,
    AS_THEY_ARE,
    AS_TOLD,
    CLASSICAL_PREFIX,
    NEAREST,
    ORACLE,
    PLAIN,
    SPLAT_ONLY,
    Rungs,
    choose_rungs,
    views,
)
from streamsvc.bench.view_scenes import (
    BETWEEN,
    CASES,
    CLOSE,
    COLOUR,
    FIRST_SEED,
    FOUR,
    LOOK,
    NOISE,
    SENSOR_SIGMA,
    SHIFT_M,
    TURN_DEGREES,
    HeldOut,
    Shot,
    held_out_scenes,
)
from streamsvc.bench.view_sheets import Panel, colours, difference, legend, save, sheet
from streamsvc.frames import Pixels
from streamsvc.ledger.conditions import conditions
from streamsvc.scene import open_scene
from streamsvc.view import ViewError, ViewSynthesizer, warm_up
from streamsvc.view.net import open_net
from streamsvc.view.rungs import FUSED

if TYPE_CHECKING:
    from streamsvc.view.net.geometry import NetGeometry

SIZES = ((320, 240), (640, 480))
SHEET_SCENES = 4
TIMED = (BETWEEN, CLOSE, FOUR)
ERROR_TOP = 64.0
"""Mean absolute error, of 255, at the bright end of an error map."""

DISPARITY_TOP = 8.0
"""The same of a disparity error map, in pixels."""


@dataclass(frozen=True, slots=True)
class ViewBench:
    """What to run: `scenes` held-out scenes at each of `sizes`; `rungs` by name (none: all of the ladder); `repeats`
    timed views a rung and `flicker_frames` noisy frames; `weights`: folder of the net's (those that are installed)."""

    out: Path
    scenes: int = 8
    sizes: tuple[tuple[int, int], ...] = SIZES
    rungs: tuple[str, ...] = ()
    repeats: int = 60
    flicker_frames: int = 8
    weights: Path | None = None


def quick(out: Path, rungs: tuple[str, ...] = ()) -> ViewBench:
    """Return the smallest bench that fills every table: one scene at 320x240."""
    return ViewBench(out, 1, SIZES[:1], rungs, repeats=4, flicker_frames=3)


@dataclass(slots=True)
class _Pictures:
    """What the sheets of one size and case show: by scene, the view of each column and what was to be seen."""

    lines: list[tuple[str, dict[str, tuple[Pixels, float]], Shot]] = field(default_factory=list)


def run_view(
    options: ViewBench, tell: Callable[[str], None], progress: Callable[[float, float], None] | None = None
) -> dict[str, Any]:
    """Run the bench and return its figures; `tell` gets lines to read, `progress` (steps done, all steps).

    Raises ViewError for options that can't be run or an unknown rung, SceneError when the real pair is missing.
    """
    if options.scenes < 1:
        raise ViewError(f"at least one scene is needed, got {options.scenes}")
    scenes = held_out_scenes(options.scenes)
    motorcycle = open_scene("motorcycle")
    net, missing = _net(options.weights)
    rungs = _rungs(options, scenes[0], net)
    options.out.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Any] = {
        "conditions": conditions() | _own_conditions(options, scenes) | ({"nets": missing} if missing else {}),
        "reference": rungs.classical,
        "rungs": list(rungs.names),
        "sizes": [f"{w}x{h}" for w, h in options.sizes],
    }
    tables: dict[str, list[dict[str, Any]]] = {
        k: [] for k in ("each", "scores", "flicker", "milliseconds", "disparity", "motorcycle", "against")
    }
    total = len(options.sizes) * (len(scenes) * (len(CASES) + 2) + len(TIMED)) + 2 + len(rungs.names)
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    warm_up(net)
    for size in options.sizes:
        label = f"{size[0]}x{size[1]}"
        tell(f"{label}: {len(scenes)} scenes, {len(CASES)} cases, rows {', '.join(rungs.rows)}")
        for row in _scored(options, scenes, size, rungs, step):
            tables["each"].append({"size": label, **row})
        for scene in scenes:
            shot = scene.shot(BETWEEN, size)
            flickers = measure.flickers(shot, scene.seed, rungs, options.flicker_frames)
            tables["flicker"] += [{"size": label, "scene": scene.name, **row} for row in flickers]
            step()
            rows = measure.body_disparity(scene, size, rungs)
            tables["disparity"] += [{"size": label, "scene": scene.name, **row} for row in rows]
            step()
        for case in TIMED:
            rows_ms = measure.milliseconds(scenes[0], case, size, rungs, options.repeats)
            tables["milliseconds"] += [{"size": label, "case": case.name, **row} for row in rows_ms]
            step()
    tell("the Motorcycle pair")
    pair = measure.photo_pair(motorcycle, rungs, max(options.repeats // 4, 2), step)
    tables["motorcycle"] = [dict(r) for r in pair.rows()]
    save(options.out / "motorcycle.png", _photo_sheet(pair))

    tables["scores"] = _scores(tables["each"], rungs)
    for name in ("flicker", "disparity"):
        tables[name] = _means(tables[name], ("size", "row"))
    tables["against"] = _against(tables, rungs)
    figures |= tables
    (options.out / "cost.svg").write_text(_plot(tables, rungs), "utf-8")
    lines = report(figures)
    (options.out / "table.md").write_text("\n".join(lines) + "\n", "utf-8")
    for line in lines:
        tell(line)
    tell(f"pictures and tables: {options.out}")
    return figures


def _net(weights: Path | None) -> tuple[NetGeometry | None, str]:
    """The net, or why there is none; raises ViewError when `weights` were asked for."""
    try:
        return open_net(weights), ""
    except ViewError as e:
        if weights is not None:
            raise
        return None, str(e)


def _rungs(options: ViewBench, scene: HeldOut, net: NetGeometry | None) -> Rungs:
    names: dict[str, None] = {}
    for size in options.sizes:
        for case in TIMED:
            rungs = ViewSynthesizer(case.rig(scene.scene, size), *size, net=net).rungs
            names |= dict.fromkeys(r.name for r in rungs if not r.name.endswith(FUSED))
    return choose_rungs(list(names), options.rungs, net)


def _own_conditions(options: ViewBench, scenes: Sequence[HeldOut]) -> dict[str, str]:
    return {
        "device": "cpu, one thread",
        "scenes": "; ".join(s.name for s in scenes) + f" (held-out identities, seeds from {FIRST_SEED})",
        "cameras": "two 20 or 10 degrees apart, or four 10, 20 and 10 degrees apart; 0.85 m away",
        "calibration noise": f"each camera {1000 * SHIFT_M:g} mm and {TURN_DEGREES:g} degrees off, its own random way; "
        "our rungs align cameras by the one set that they show",
        "unlike cameras": f"the left camera's red, green and blue have gains of {', '.join(map(str, LOOK))}",
        "flicker": f"{options.flicker_frames} frames, sensor noise of sigma {SENSOR_SIGMA:g} of 255",
        "milliseconds": f"{options.repeats} views a rung in turn, copies included",
        "LPIPS": "not measured: its weights aren't to be had here",
    }


def _scored(
    options: ViewBench, scenes: Sequence[HeldOut], size: tuple[int, int], rungs: Rungs, step: Callable[[], None]
) -> list[dict[str, Any]]:
    """Score every row on every scene and case, and write the sheets."""
    rows: list[dict[str, Any]] = []
    for case in CASES:
        pictures = _Pictures()
        for number, scene in enumerate(scenes):
            shot = scene.shot(case, size)
            shown: dict[str, tuple[Pixels, float]] = {}
            for name, view in views(shot, rungs, unlike=case.unlike, misled=case.miscalibrated):
                found = measure.scores(view, shot)
                rows.append({"case": case.name, "row": name, "scene": scene.name, **found})
                shown[name] = view.pixels, float(found["foreground_psnr"] or 0)
            if number < SHEET_SCENES:
                columns = (NEAREST, PLAIN, *rungs.at(shot.rig, size).tops, ORACLE)
                pictures.lines.append((scene.name, {c: shown[c] for c in columns if c in shown}, shot))
            step()
        stem = f"{size[0]}x{size[1]}-{case.name.replace(' ', '-')}"
        title = f"{case.name}, {size[0]}x{size[1]}: dB on the person"
        save(options.out / f"views-{stem}.png", _view_sheet(title, pictures))
        save(options.out / f"errors-{stem}.png", _error_sheet(title, pictures))
    return rows


def _view_sheet(title: str, pictures: _Pictures) -> Pixels:
    lines = []
    for number, (_, shown, shot) in enumerate(pictures.lines):
        line = [Panel(p, f"{db:.1f} dB", "" if number else name) for name, (p, db) in shown.items()]
        lines.append([*line, Panel(shot.truth.rgb, "", "" if number else "truth")])
    return sheet(title, lines)


def _error_sheet(title: str, pictures: _Pictures) -> Pixels:
    lines = []
    for number, (_, shown, shot) in enumerate(pictures.lines):
        maps = {name: (colours(difference(p, shot.truth.rgb), 0, ERROR_TOP), db) for name, (p, db) in shown.items()}
        line = [Panel(p, f"{db:.1f} dB", "" if number else name) for name, (p, db) in maps.items()]
        lines.append([*line, Panel(shot.truth.rgb, "", "" if number else "truth")])
    return sheet(f"errors, {title}", lines, legend(0, ERROR_TOP, "mean absolute error over R, G, B (of 255)"))


def _photo_sheet(pair: measure.PhotoPair) -> Pixels:
    low, high = float(np.nanmin(pair.true)), float(np.nanmax(pair.true)) + 1
    lines = [
        [
            Panel(pair.left, heading="left picture"),
            Panel(pair.right, heading="right picture"),
            Panel(colours(pair.true, low, high), f"{low:.0f} to {high - 1:.0f} px", "true disparity"),
        ]
    ]
    rows = pair.rows()
    panels: list[list[Panel]] = []
    for found, row in zip(pair.found, rows, strict=True):
        error = np.where(np.isfinite(pair.true), np.abs(found.disparity - pair.true), 0).astype(np.float32)
        caption = f"bad-2 {100 * float(row['bad2'] or 0):.1f} %  EPE {row['epe']:.2f}"
        panels.append(
            [
                Panel(colours(found.disparity, low, high), caption, found.row),
                Panel(colours(error, 0, DISPARITY_TOP), "", f"error of {found.row}"),
            ]
        )
    lines += [[p for pair in panels[i : i + 2] for p in pair] for i in range(0, len(panels), 2)]
    scale = legend(0, DISPARITY_TOP, "disparity error (pixels); unknown truth is black", holes=True)
    return sheet("Motorcycle, 368x240: disparity of the left camera", lines, scale)


def _means(rows: Sequence[dict[str, Any]], by: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return one row a group, in order of appearance: the means of the numbers (None where all are None)."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[k] for k in by), []).append(row)
    result = []
    for key, group in groups.items():
        mean: dict[str, Any] = dict(zip(by, key, strict=True)) | {"scenes": len(group)}
        for name in group[0]:
            if name not in by and name != "scene":
                values = [r[name] for r in group if r[name] is not None]
                mean[name] = fmean(values) if values else None
        result.append(mean)
    return result


def _scores(each: Sequence[dict[str, Any]], rungs: Rungs) -> list[dict[str, Any]]:
    """Means over scenes with the least gain on any scene over the top classical rung."""
    best = {(r["size"], r["case"], r["scene"]): r["foreground_psnr"] for r in each if r["row"] == rungs.classical}
    gains: dict[tuple[str, str, str], float] = {}
    for r in each:
        key = (r["size"], r["case"], r["row"])
        gain = r["foreground_psnr"] - best[r["size"], r["case"], r["scene"]]
        gains[key] = min(gains.get(key, math.inf), gain)
    rows = _means([{k: v for k, v in r.items() if k != "scene"} for r in each], ("size", "case", "row"))
    return [r | {"worst_gain_db": gains[r["size"], r["case"], r["row"]]} for r in rows]


def _against(tables: dict[str, list[dict[str, Any]]], rungs: Rungs) -> list[dict[str, Any]]:
    """Every rung against the top classical one and the oracle, at each size."""
    scores = {(r["size"], r["case"], r["row"]): r for r in tables["scores"]}
    flicker = {(r["size"], r["row"]): r["flicker"] for r in tables["flicker"]}

    def ratio(a: float | None, b: float | None) -> float | None:
        return a / b if a is not None and b else None

    result = []
    for size in dict.fromkeys(r["size"] for r in tables["scores"]):

        def decibels(case: str, row: str, key: str = "foreground_psnr", size: str = size) -> float | None:
            found = scores.get((size, case, row))
            return None if found is None else float(found[key])

        def less(a: float | None, b: float | None) -> float | None:
            return None if a is None or b is None else a - b

        for name in (NEAREST, PLAIN, *rungs.names):
            own = decibels(BETWEEN.name, name)
            if own is None:
                continue
            edges = [scores[size, BETWEEN.name, n]["edge_error"] for n in (name, rungs.classical)]
            result.append(
                {
                    "size": size,
                    "row": name,
                    "plain_gain_db": less(own, decibels(BETWEEN.name, PLAIN)),
                    "plain_edge_ratio": ratio(edges[0], scores[size, BETWEEN.name, PLAIN]["edge_error"]),
                    "plain_flicker_ratio": ratio(flicker.get((size, name)), flicker[size, PLAIN]),
                    "gain_db": less(own, decibels(BETWEEN.name, rungs.classical)),
                    "below_oracle_db": less(decibels(BETWEEN.name, ORACLE), own),
                    "below_oracle_seen_db": less(
                        decibels(BETWEEN.name, ORACLE, "seen_psnr"), decibels(BETWEEN.name, name, "seen_psnr")
                    ),
                    "edge_ratio": ratio(*edges),
                    "flicker_ratio": ratio(flicker.get((size, name)), flicker[size, rungs.classical + ALONE]),
                    "blend_db": less(own, decibels(BETWEEN.name, name + SPLAT_ONLY)),
                    "four_cameras_db": less(decibels(FOUR.name, name), own),
                    "noise_loss_db": less(own, decibels(NOISE.name, name)),
                    "told_loss_db": less(own, decibels(NOISE.name, name + AS_TOLD)),
                    "alike_db": less(decibels(COLOUR.name, name), decibels(COLOUR.name, name + AS_THEY_ARE)),
                }
            )
    return result


def _plot(tables: dict[str, list[dict[str, Any]]], rungs: Rungs) -> str:
    """Cost against quality: two cameras, between."""
    quality = {(r["size"], r["row"]): r["foreground_psnr"] for r in tables["scores"] if r["case"] == BETWEEN.name}
    plots = {}
    for size in dict.fromkeys(r["size"] for r in tables["scores"]):
        points = [
            Point(r["core_p50"], quality[size, r["row"]], r["row"], not r["row"].startswith(CLASSICAL_PREFIX))
            for r in tables["milliseconds"]
            if (r["size"], r["stage"], r["case"]) == (size, "total", BETWEEN.name)
        ]
        note = f"off the scale: {NEAREST} {quality[size, NEAREST]:.1f} dB"
        plots[size] = Plot(points, {ORACLE: quality[size, ORACLE]}, note)
    return cost_plot("Cost against quality: two cameras, the target between", plots)
