"""`bench view`: its scenes, its rows, and one quick run of the whole."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from streamsvc.bench.view import quick, run_view
from streamsvc.bench.view_disparity import PlainSgbm, found_disparity, on_grid, true_disparity
from streamsvc.bench.view_measure import milliseconds
from streamsvc.bench.view_plot import Plot, Point, cost_plot
from streamsvc.bench.view_report import table
from streamsvc.bench.view_rows import choose_rungs, views
from streamsvc.bench.view_scenes import BETWEEN, CASES, NOISE, held_out_scenes, miscalibrated, noisy
from streamsvc.bench.view_sheets import HOLE, Panel, colours, legend, sheet
from streamsvc.budget.slices import Slices, run_timed
from streamsvc.cli import main
from streamsvc.scene.body import load_bodies
from streamsvc.scene.photo import HEIGHT, WIDTH
from streamsvc.view import ViewError, ViewSynthesizer
from streamsvc.view.geometry import Source
from streamsvc.view.quality import psnr
from streamsvc.view.rectify import rectify_pair


@pytest.fixture
def photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache with a made-up pair: a textured plane at disparity 20."""
    monkeypatch.setenv("STREAMSVC_CACHE", str(tmp_path))
    out = tmp_path / "motorcycle"
    out.mkdir()
    wide = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH + 20, 3), np.uint8), (0, 0), 3)
    cv2.imwrite(str(out / "motorcycle_left.png"), wide[:, :WIDTH])
    cv2.imwrite(str(out / "motorcycle_right.png"), wide[:, 20:])
    np.savez(out / "motorcycle_disparity.npz", np.full((HEIGHT, WIDTH), 20.0, np.float32))


def test_a_quick_run_fills_every_table_and_sheet(
    photographs: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMSVC_WEIGHTS", str(tmp_path / "none"))
    told: list[str] = []
    steps: list[tuple[float, float]] = []
    out = tmp_path / "bench"
    options = replace(quick(out), sizes=((240, 180),), repeats=2, flicker_frames=2)
    figures = run_view(options, told.append, lambda done, total: steps.append((done, total)))

    assert json.loads(json.dumps(figures)) == figures
    assert steps[-1][0] == steps[-1][1] == len(steps)
    rows = {(r["case"], r["row"]): r for r in figures["scores"]}
    reference = figures["reference"]
    cases = tuple(case.name for case in CASES)
    for case in cases:
        for row in (reference, "OpenCV SGBM"):
            assert rows[case, row]["foreground_psnr"] > rows[case, "nearest camera"]["foreground_psnr"]
        for row in figures["rungs"]:
            assert 0 < rows[case, row]["coverage"] <= 1 and 0 < rows[case, row]["foreground_ms_ssim"] < 1
    assert rows["between", "oracle"]["edge_error"] < rows["between", reference]["edge_error"]
    # Where no camera sees the person, true depth can't help; where one does, it must.
    assert "classical rungs are used" in figures["conditions"]["nets"]
    between = rows["between", reference]["seen_psnr"]
    assert rows["between", "oracle"]["seen_psnr"] > between > rows["between", f"{reference}, splat only"]["seen_psnr"]
    alone = f"{reference}, each picture by itself"
    flickers = {r["row"]: r["flicker"] for r in figures["flicker"]}
    assert set(flickers) == {"nearest camera", "OpenCV SGBM", "oracle", alone, *figures["rungs"]}
    assert flickers[reference] < flickers[alone]
    totals = {(r["case"], r["row"]) for r in figures["milliseconds"] if r["stage"] == "total"}
    assert totals == {(n, rung) for n in ("between", "10 degrees apart", "four cameras") for rung in figures["rungs"]}
    assert {r["row"] for r in figures["motorcycle"]} >= set(figures["rungs"])
    assert all(r["bad2"] < 0.25 for r in figures["motorcycle"]), "a textured plane is easy but for its borders"
    assert all(r["foreground_epe"] < 5 for r in figures["disparity"])

    for name in (
        "motorcycle.png",
        *(f"{k}-240x180-{c.replace(' ', '-')}.png" for k in ("views", "errors") for c in cases),
    ):
        assert cv2.imread(str(out / name)) is not None, name
    assert (out / "cost.svg").read_text("utf-8").startswith("<svg")
    assert (out / "table.md").read_text("utf-8").rstrip("\n").splitlines() == told[
        -len(told) + told.index("# bench view") : -1
    ]


def test_bad_flags_are_refused_in_one_line(
    photographs: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for flags, said in (
        (["--rungs", "nonesuch"], "unknown rung 'nonesuch'"),
        (["--scenes", "0"], "at least one scene"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["bench", "view", "--quick", "--out", str(tmp_path / "x"), *flags])
        assert stopped.value.code == 2
        assert said in capsys.readouterr().err
    monkeypatch.setenv("STREAMSVC_CACHE", str(tmp_path / "nowhere"))
    with pytest.raises(SystemExit) as stopped:
        main(["bench", "view", "--quick", "--out", str(tmp_path / "x")])
    assert stopped.value.code == 2 and "make assets" in capsys.readouterr().err


def test_scenes_are_held_out_and_their_noise_is_theirs() -> None:
    scene = held_out_scenes(1)[0]
    identity = int(scene.name.split("identity=")[1].split(",")[0])
    assert load_bodies()["held_out"][identity] and scene.seed >= 900_000
    shot = scene.shot(NOISE, (96, 72))
    told, true = shot.rig, scene.scene.rig(2, 96, 72)
    for a, b in zip(told.cameras, true.cameras, strict=True):
        assert np.linalg.norm(a.centre - b.centre) == pytest.approx(0.001)
        angle = np.degrees(np.arccos(np.clip((np.trace(a.R @ b.R.T) - 1) / 2, -1, 1)))
        assert angle == pytest.approx(0.2, abs=1e-4)
    assert np.array_equal(miscalibrated(true, scene.seed).cameras[0].t, told.cameras[0].t)
    one, two = noisy(shot.frames, scene.seed, 1), noisy(shot.frames, scene.seed, 2)
    assert not np.array_equal(one.frames[0].pixels, two.frames[0].pixels)
    assert np.array_equal(one.frames[0].pixels, noisy(shot.frames, scene.seed, 1).frames[0].pixels)
    person = shot.truth.alpha > 0.5
    assert 0.8 < shot.visible[person].mean() <= 1


def test_true_depth_on_a_grid_is_told_as_no_disparity_error() -> None:
    shot = held_out_scenes(1)[0].shot(BETWEEN, (160, 120))
    left, right = shot.rig.cameras
    pair = rectify_pair(left, right, shot.rig.depth_range or (0.5, 3))
    side = pair.left
    blank = np.zeros(side.rays.shape[:2], np.float32)
    pixels = shot.frames.frames[0].pixels
    source = Source(side.source, pixels, side.grid, side.rays, blank, blank, pixels, 0.0, 0.02)
    depth = shot.seen[side.source.name].depth
    source = replace(source, inverse_depth=on_grid(source, depth))
    fb = float(left.K[0, 0] * np.linalg.norm(left.centre - right.centre))
    found, true = found_disparity(source, fb), true_disparity(source, depth, fb)
    error = np.abs(found - true)[np.isfinite(found)]
    assert np.isfinite(found).mean() > 0.9 and np.median(error) < 0.2 and np.mean(error > 2) < 0.1
    # The same by hand for one pixel: f B over z along the rectified axis.
    point = np.linalg.inv(side.source.K) @ [80, 60, 1] * depth[60, 80]
    z = (side.grid.R @ side.source.R.T @ point)[2]
    assert true[60, 80] == pytest.approx(fb / z, rel=1e-5)


def test_plain_sgbm_finds_a_shift_in_both_cameras_and_fills_from_the_farther_side() -> None:
    grey = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 255, (60, 140), np.uint8), (5, 5), 0)
    left, right = np.ascontiguousarray(grey[:, :120]), np.ascontiguousarray(grey[:, 9:129])
    for disparity in PlainSgbm(32, padded=True).both(left, right):
        assert np.isfinite(disparity).all() and np.median(disparity) == 9
    unpadded = PlainSgbm(32, padded=False).both(left, right)[0]
    assert np.abs(unpadded[:, :32] - 9).mean() < 1, "the columns that OpenCV leaves out are filled"


def test_rungs_are_chosen_by_name_and_never_without_the_reference() -> None:
    ladder = ("sgbm-108", "sgbm-180", "net-1", "net-2")
    assert choose_rungs(ladder, ()).rows == (
        "nearest camera", "OpenCV SGBM", *ladder, "sgbm-180, splat only", "sgbm-180, sorted", "sgbm-180, true depth",
        "net-2, splat only", "net-2, sorted", "net-2, true depth", "oracle",
    )  # fmt: skip
    chosen = choose_rungs(ladder, ("net-1",))
    assert chosen.names == ("sgbm-180", "net-1") and chosen.learned == "net-1"
    assert choose_rungs(ladder[:2], ()).learned is None
    with pytest.raises(ViewError, match="there are sgbm-108"):
        choose_rungs(ladder, ("net-9",))


def test_learned_rungs_show_up_by_themselves() -> None:
    from streamsvc.view.net.geometry import NetGeometry
    from streamsvc.view.net.model import GeometryNet

    net = NetGeometry(GeometryNet().eval().requires_grad_(False))
    size = (160, 120)
    shot = held_out_scenes(1)[0].shot(BETWEEN, size)
    names = [r.name for r in ViewSynthesizer(shot.rig, *size, net=net).rungs]
    learned = [n for n in names if not n.startswith("sgbm-")]
    rungs = choose_rungs(names, learned[:1], net)
    assert learned and rungs.learned == learned[0]
    shown = dict(views(shot, rungs))
    assert tuple(shown) == rungs.rows and f"{learned[0]}, true depth" in shown
    person = shot.truth.alpha > 0.5
    assert psnr(shown[f"{learned[0]}, true depth"].pixels, shot.truth.rgb, person) > 20, "untrained, but for the depth"
    assert [
        r["row"] for r in milliseconds(held_out_scenes(1)[0], BETWEEN, size, rungs, 1) if r["stage"] == "total"
    ] == [*rungs.names]


def test_stages_are_timed_by_the_clock_that_is_given() -> None:
    now = [0]

    def job() -> Slices[str]:
        for stage, ns in (("match", 5), ("splat", 2), ("match", 3)):
            now[0] += ns
            yield stage
        return "view"

    assert run_timed(job(), lambda: now[0]) == ("view", {"match": 8, "splat": 2})


def test_a_table_says_where_there_is_no_value() -> None:
    lines = table([{"row": "a", "x": 0.5}, {"row": "bb", "x": None}], [("share", "x", lambda v: f"{100 * v:.0f} %")])
    assert lines == ["| row | share |", "| --- | ----: |", "| a   |  50 % |", "| bb  |     - |"]


def test_a_sheet_has_room_for_its_panels_and_holes_are_magenta() -> None:
    values = np.array([[0, 8, np.nan]], np.float32)
    shown = colours(values, 0, 8)
    assert tuple(shown[0, 2]) == HOLE and shown[0, 0].sum() < 30 and shown[0, 1].sum() > 600
    panel = Panel(np.full((30, 40, 3), (7, 77, 177), np.uint8), heading="one")
    made = sheet("title", [[panel, panel], [panel]], legend(0, 8, "pixels"))
    assert made.dtype == np.uint8 and made.shape[1] == 2 * 44 + 4
    assert (made == (7, 77, 177)).all(-1).sum() == 3 * 30 * 40


def test_the_plot_names_every_rung_and_level() -> None:
    text = cost_plot(
        "a < b", {"small": Plot([Point(10, 28, "sgbm", False), Point(20, 30, "net", True)], {"oracle": 31.0}, "note")}
    )
    assert all(word in text for word in ("a &lt; b", "small", "sgbm 28.0", "net 30.0", "oracle 31.0", "note"))
    assert "nan" not in text
