"""Cameras and rigs that lie: each is found and told, healthy ones are left in peace, and one camera still moves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from view_scene import PERSON, Card, Sphere, arc, frame_set, looking_at, pair_rig, render

from streamsvc.bench.view_scenes import miscalibrated
from streamsvc.budget import run_to_end
from streamsvc.cli import main
from streamsvc.frames import Frame, FrameSet, Pixels, Rig, Viewpoint
from streamsvc.scene import Scene, open_scene
from streamsvc.scene.rigs import between, rotation
from streamsvc.view import ViewSynthesizer
from streamsvc.view.align import Alignment
from streamsvc.view.health import COVERED, FROZEN, WASHED_OUT, CamerasHealth, Finding, ailment, lasting, news
from streamsvc.view.health_matches import axes_of
from streamsvc.view.health_pairs import MIRRORED, OFF, OUTSIDE, SWAPPED, examine
from streamsvc.view.health_rig import CHECK_NS, Health
from streamsvc.view.quality import psnr

FRAME_NS = 66_666_667
FLOOR = "sgbm-108"
FIRST_SEED = 900_001

Pictures = dict[str, Pixels]


def grain(pixels: Pixels, seed: int, sigma: float = 2.0) -> Pixels:
    """The picture with sensor noise."""
    noisy = pixels + np.random.default_rng(seed).normal(0, sigma, pixels.shape)
    return np.clip(noisy + 0.5, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def body() -> Scene:
    return open_scene(f"body:identity=5,seed={FIRST_SEED}")


@pytest.fixture(scope="module")
def seen(body: Scene) -> tuple[Rig, Pictures]:
    """A person before two cameras, with noise."""
    rig = body.rig(2, 320, 240)
    return rig, {c.name: grain(body.render(c, 0.5).rgb, i) for i, c in enumerate(rig.cameras)}


def watched(sets: Iterable[Pictures]) -> list[set[tuple[str, str]]]:
    """What is said, as (camera, code), after each of the sets, 15 a second."""
    health = CamerasHealth()
    said = []
    for number, pictures in enumerate(sets):
        health.look(pictures, dict.fromkeys(pictures, number * FRAME_NS))
        said.append({(f.cameras[0], f.code) for f in health.findings()})
    return said


def moving(number: int, place: float) -> Pixels:
    """A ball that swings before a wall, seen from `place`."""
    camera = replace(arc(1, 0, 160, 120)[0], t=np.array([-place, 0, 0]))
    ball = Sphere((0.1 * np.sin(number / 3), 0, 1.0), 0.1, 1)
    return render(camera, [ball, Card(1.7, 3)])[0]


BLACK = np.full((120, 160, 3), 3, np.uint8)
FINGER = np.dstack([np.linspace(a, b, 160)[None].repeat(120, 0) for a, b in ((90, 40), (30, 12), (25, 10))])
WHITE = np.full((120, 160, 3), 255, np.uint8)


@pytest.mark.parametrize(
    ("shown", "code"),
    [(BLACK, COVERED), (FINGER.astype(np.uint8), COVERED), (WHITE, WASHED_OUT)],
    ids=["black", "finger", "white"],
)
def test_a_camera_that_shows_nothing_is_said_after_half_a_second_and_taken_back_after_one(
    shown: Pixels, code: str
) -> None:
    good = moving(0, 0)
    bad = grain(shown, 1)
    sets = [{"a": grain(moving(i, 0), i), "b": grain(bad if 10 <= i < 30 else good, 99 + i)} for i in range(60)]
    said = watched(sets)
    assert not any(said[:16]) and said[20] == {("b", code)} == said[29]
    assert said[40] == {("b", code)} and not any(said[50:])


def test_a_camera_that_begins_dark_is_not_used_until_it_shows_something_and_nothing_is_said() -> None:
    health = CamerasHealth()
    for number in range(20):
        health.look({"a": BLACK if number < 5 else moving(number, 0)}, {"a": number * FRAME_NS})
        assert not health.findings()
        assert [f.cameras for f in health.findings(at_once=True)] == ([("a",)] if number < 6 else [])


def test_a_single_dark_picture_is_not_a_covered_camera() -> None:
    sets = [{"a": BLACK if i in (10, 20) else grain(moving(i, 0), i)} for i in range(40)]
    assert not any(watched(sets))


def test_people_rooms_and_people_before_a_bright_window_are_well(seen: tuple[Rig, Pictures]) -> None:
    for pixels in seen[1].values():
        assert ailment(pixels) is None
        assert ailment((pixels * 0.15).astype(np.uint8)) is None
        window = pixels.copy()
        window[:, :190] = 255
        assert ailment(window) is None


def test_a_frozen_camera_is_found_when_another_sees_motion_and_when_it_had_noise() -> None:
    stuck = moving(10, 0.1)
    sets = [{"a": moving(i, 0), "b": moving(i, 0.1) if not 10 <= i < 45 else stuck} for i in range(80)]
    said = watched(sets)
    assert not any(said[:25]) and said[30] == {("b", FROZEN)} == said[44] and not any(said[65:])

    still, grainy = moving(0, 0), grain(moving(0, 0.1), 7)
    sets = [{"a": grain(still, i), "b": grain(moving(0, 0.1), 500 + i) if i < 20 else grainy} for i in range(60)]
    said = watched(sets)
    assert not any(said[:35]) and said[45] == {("b", FROZEN)} == said[59]


def test_a_still_room_without_noise_and_one_whose_noise_the_encoder_takes_away_are_not_frozen() -> None:
    a, b = moving(0, 0), moving(0, 0.1)
    assert not any(watched({"a": a, "b": b} for _ in range(90)))
    fading = [{"a": grain(a, i) if i < 30 else a, "b": grain(b, 500 + i) if i < 30 else b} for i in range(90)]
    assert not any(watched(fading))


def test_repeated_pictures_that_an_encoder_refreshes_are_frozen_still() -> None:
    """A keyframe now and then changes every pixel a little; that isn't life."""
    stuck = moving(0, 0.1)
    sets = [{"a": moving(i, 0), "b": grain(stuck, i // 30, 1.5)} for i in range(120)]
    assert all(said == {("b", FROZEN)} for said in watched(sets)[29:])


def verdicts(rig: Rig, sets: Iterable[Pictures], alignment: Alignment | None = None) -> list[str]:
    """What is said of the rig after each check of one of `sets`, by code; "" for nothing."""
    health = Health(rig, alignment)
    said = []
    for number, pictures in enumerate(sets):
        at = number * CHECK_NS
        frames = FrameSet("s", number, at, at, tuple(Frame(n, p, at) for n, p in pictures.items()))
        run_to_end(health.check(frames, health.usable(frames, pictures)))
        said.append(",".join(f"{f.code}:{'+'.join(f.cameras)}" for f in health.findings()))
    return said[1:]


def bent(rig: Rig, degrees: float, axis: int) -> Rig:
    """The rig with its first camera turned."""
    first = rig.cameras[0]
    R = rotation(np.eye(3)[axis], np.radians(degrees)) @ first.R
    return replace(rig, cameras=(replace(first, R=R, t=-R @ first.centre), *rig.cameras[1:]))


def mirrored(pixels: Pixels) -> Pixels:
    return np.ascontiguousarray(pixels[:, ::-1])


def off_px(finding: Finding) -> float:
    return float(finding.text.split("off by ")[1].split()[0])


LIES: list[tuple[str, Callable[[Rig, Pictures], tuple[Rig, Pictures]], str]] = [
    ("swapped", lambda r, p: (r, {"cam0": p["cam1"], "cam1": p["cam0"]}), f"{SWAPPED}:cam0+cam1"),
    ("left mirrored", lambda r, p: (r, p | {"cam0": mirrored(p["cam0"])}), f"{MIRRORED}:cam0"),
    ("right mirrored", lambda r, p: (r, p | {"cam1": mirrored(p["cam1"])}), f"{MIRRORED}:cam1"),
    ("tilted", lambda r, p: (bent(r, 1.0, 0), p), f"{OFF}:cam0+cam1"),
    ("rolled", lambda r, p: (bent(r, 4.0, 2), p), f"{OFF}:cam0+cam1"),
    ("another range", lambda r, p: (replace(r, depth_range=(1.5, 3.0)), p), f"{OUTSIDE}:cam0+cam1"),
]


@pytest.mark.parametrize(("lie", "expected"), [(lie, said) for _, lie, said in LIES], ids=[name for name, _, _ in LIES])
def test_a_rig_that_does_not_fit_is_said_after_two_checks_and_taken_back_after_two(
    seen: tuple[Rig, Pictures], lie: Callable[[Rig, Pictures], tuple[Rig, Pictures]], expected: str
) -> None:
    rig, true = seen
    told, pictures = lie(rig, true)
    assert verdicts(told, [pictures] * 4) == ["", expected, expected]
    if told is rig:
        back = verdicts(rig, [pictures, pictures, pictures, true, pictures, true, true])
        assert back == ["", expected, expected, expected, expected, ""]


@pytest.mark.parametrize("above", [False, True], ids=["beside", "above each other"])
@pytest.mark.parametrize("roll", [0, 90, 180])
def test_pairs_are_checked_however_their_cameras_are_mounted(above: bool, roll: float) -> None:
    places = [(0.0, x, 0.0) if above else (x, 0.0, 0.0) for x in (-0.12, 0.12)]
    cameras = [looking_at(f"cam{i}", p, (0, 0, 1), 320, 240, i * roll) for i, p in enumerate(places)]
    rig = pair_rig(cameras)
    pictures = {c.name: grain(render(c, PERSON)[0], i) for i, c in enumerate(cameras)}
    assert run_to_end(examine(axes_of(*cameras), pictures)).verdict is True
    (finding,) = Health(bent(rig, 1.5, 1 if above else 0)).examine(pictures)
    turned_px = np.radians(1.5) * cameras[0].K[0, 0]
    assert (finding.code, finding.cameras) == (OFF, ("cam0", "cam1"))
    assert abs(off_px(finding) / turned_px - 1) < 0.15


def test_a_calibration_that_alignment_mends_is_not_called_off(seen: tuple[Rig, Pictures]) -> None:
    rig, pictures = seen
    for degrees, mended in ((1.2, True), (6.0, False)):
        told = bent(rig, degrees, 0)
        assert verdicts(told, [pictures] * 5)[-1].startswith(OFF)
        assert (verdicts(told, [pictures] * 5, Alignment(told)) == [""] * 4) == mended
        assert (not Health(told, Alignment(told)).examine(pictures)) == mended


def test_what_is_said_holds_the_figure_in_pixels_of_the_picture_and_the_remedy(seen: tuple[Rig, Pictures]) -> None:
    rig, pictures = seen
    for times in (1, 2):
        larger = {n: p.repeat(times, 0).repeat(times, 1) for n, p in pictures.items()}
        (finding,) = Health(bent(rig, 1.0, 0)).examine(larger)
        assert finding.text.startswith("the calibration of cam0 and cam1 is off by ")
        assert finding.text.endswith(" px: calibrate again")
        assert abs(off_px(finding) / (times * np.radians(1.0) * rig.cameras[0].K[0, 0]) - 1) < 0.15


@pytest.mark.parametrize("cameras", [2, 4])
def test_a_healthy_rig_with_noise_motion_and_calibration_noise_is_left_in_peace(body: Scene, cameras: int) -> None:
    rig = body.rig(cameras, 320, 240)
    for seed in range(3):
        told = miscalibrated(rig, seed)
        sets = [{c.name: grain(body.render(c, 0.7 * t).rgb, t) for c in rig.cameras} for t in range(3)]
        assert not any(verdicts(told, sets))


def test_cameras_swapped_across_pairs_are_said_once(body: Scene) -> None:
    rig = body.rig(4, 320, 240)
    pictures = {c.name: grain(body.render(c, 0.5).rgb, i) for i, c in enumerate(rig.cameras)}
    swapped = pictures | {"cam1": pictures["cam2"], "cam2": pictures["cam1"]}
    assert [(f.code, f.cameras) for f in Health(rig).examine(swapped)] == [(SWAPPED, ("cam1", "cam2"))]
    assert not Health(rig).examine(pictures)


def test_pictures_of_two_worlds_give_no_verdict_however_often(seen: tuple[Rig, Pictures]) -> None:
    rig, pictures = seen
    other = grain(render(arc(1, 0)[0], PERSON)[0], 3)
    assert not any(verdicts(rig, [pictures | {"cam1": other}] * 4))
    noise = np.random.default_rng(0).integers(0, 256, (2, 240, 320, 3), np.uint8)
    assert not any(verdicts(rig, [{"cam0": noise[0], "cam1": noise[1]}] * 4))
    smooth = np.tile(np.linspace(0, 255, 320).astype(np.uint8)[None, :, None], (240, 1, 3))
    for left, right in ((smooth, smooth), (smooth, pictures["cam1"])):
        assert not any(verdicts(rig, [{"cam0": left, "cam1": right}] * 4))


def test_checks_are_rare_and_none_of_their_slices_runs_on_a_set_that_is_not_due(seen: tuple[Rig, Pictures]) -> None:
    rig, pictures = seen
    health = Health(rig)
    checked = []
    for number in range(100):
        at = number * FRAME_NS
        frames = FrameSet("s", number, at, at, tuple(Frame(n, p, at) for n, p in pictures.items()))
        checked.append(len(list(health.check(frames, pictures))) > 0)
    assert sum(checked) == 1 + int((100 * FRAME_NS - 5e8) / CHECK_NS) and not checked[0]


def say(synthesizer: ViewSynthesizer) -> list[str]:
    return [f.code for f in synthesizer.troubles]


def timed(frames: FrameSet, number: int, **changed: Pixels) -> FrameSet:
    at = number * FRAME_NS
    made = (replace(f, capture_ns=at, pixels=changed.get(f.camera, f.pixels)) for f in frames.frames)
    return replace(frames, id=number, capture_ns=at, frames=tuple(made))


def test_a_covered_camera_leaves_the_pairs_as_if_unplugged_and_comes_back() -> None:
    cameras = arc(3, 10, 160, 120)
    outer = [cameras[0], cameras[2]]
    synthesizer, whole = ViewSynthesizer(pair_rig(outer), 160, 120), frame_set(outer, PERSON)
    names, views = [], []
    for number in range(60):
        frames = timed(whole, number, cam2=BLACK) if 10 <= number < 30 else timed(whole, number)
        job = synthesizer.slices(frames, cameras[1], FLOOR)
        stages = []
        while True:
            try:
                stages.append(next(job))
            except StopIteration as stop:
                views.append(stop.value)
                break
        names.append(stages[0])
    assert names[9] == "rectify" and names[25] == "pass" and names[59] == "rectify"
    alone = replace(whole, frames=whole.frames[:1])
    unplugged = run_to_end(ViewSynthesizer(pair_rig(outer), 160, 120).slices(alone, cameras[1], FLOOR))
    assert np.array_equal(views[25].pixels, unplugged.pixels)
    assert not say(synthesizer)


def test_cameras_unplugged_one_by_one_down_to_one_and_back() -> None:
    cameras = arc(5, 8, 160, 120)
    used = [c for i, c in enumerate(cameras) if i != 2]
    synthesizer, whole = ViewSynthesizer(pair_rig(used), 160, 120), frame_set(used, PERSON)
    truth = render(cameras[2], PERSON)[0]
    quality = []
    for number, left in enumerate((4, 3, 2, 1, 2, 3, 4)):
        frames = replace(whole, frames=whole.frames[4 - left :])
        view = run_to_end(synthesizer.slices(timed(frames, number), cameras[2], FLOOR))
        assert view.coverage.max() <= 1 and np.isfinite(view.inverse_depth).all()
        quality.append(psnr(view.pixels, truth))
    assert min(quality[0], quality[6]) > quality[3] + 3


def test_when_no_camera_shows_anything_the_picture_goes_on() -> None:
    cameras = arc(2, 20, 160, 120)
    frames = frame_set(cameras, PERSON)
    dark = replace(frames, frames=tuple(replace(f, pixels=BLACK) for f in frames.frames))
    synthesizer = ViewSynthesizer(pair_rig(cameras), 160, 120)
    view = run_to_end(synthesizer.slices(dark, cameras[0], FLOOR))
    assert view.pixels.mean() < 10 and [f.code for f in synthesizer.examine(dark)] == [COVERED, COVERED]


@pytest.mark.parametrize("width", [320, 641])
def test_one_camera_moved_as_a_plane_is_better_than_unmoved(body: Scene, width: int) -> None:
    rig = body.rig(2, 320, 240)
    view = between(rig, "cam0", "cam1", 0.5)
    truth = body.render(view, 0.5)
    person = truth.alpha > 0.5
    one = rig.camera("cam0").resized(width, width * 3 // 4 + 1 - width % 2)
    picture = Frame("cam0", body.render(one, 0.5).rgb, 0)
    synthesizer = ViewSynthesizer(rig, 320, 240)
    moved = run_to_end(synthesizer.slices(FrameSet("s", 0, 0, 0, (picture,)), view, FLOOR))
    unmoved = body.render(rig.camera("cam0"), 0.5).rgb
    assert psnr(moved.pixels, truth.rgb, person) > psnr(unmoved, truth.rgb, person) + 0.5
    assert 0.7 < moved.coverage.mean() < 1


def test_a_plane_is_moved_exactly_also_through_a_distorting_lens() -> None:
    wall = [Card(1.0, 3)]
    one, view = arc(1, 0, 320, 240)[0], arc(3, 6, 320, 240)[2]
    bent_lens = replace(one, name="cam0", dist=np.array([-0.12, 0.02, 0.001, 0, 0]))
    rig = Rig((replace(bent_lens, name="cam0"),), (), (0.9, 1.125))
    picture = Frame("cam0", render(bent_lens, wall)[0], 0)
    shown = run_to_end(ViewSynthesizer(rig, 320, 240).slices(FrameSet("s", 0, 0, 0, (picture,)), view, FLOOR))
    truth, depth = render(view, wall)
    covered = shown.coverage > 0
    assert 0.6 < covered.mean() < 1 and psnr(shown.pixels, truth, covered) > 30
    assert np.abs(shown.inverse_depth[covered] * depth[covered] - 1).max() < 1e-3
    assert shown.pixels[~covered].mean() > 10


def test_the_window_moves_with_the_eye_when_one_camera_is_left(body: Scene) -> None:
    rig = body.rig(2, 160, 120)
    picture = Frame("cam0", body.render(rig.camera("cam0"), 0.5).rgb, 0)
    synthesizer = ViewSynthesizer(rig, 160, 120)
    eyes = [synthesizer.view_camera(Viewpoint(0, ((x, 0.0, -0.4),))) for x in (-0.15, 0.15)]
    frames = FrameSet("s", 0, 0, 0, (picture,))
    left, right = (run_to_end(synthesizer.slices(frames, eye, FLOOR)).pixels.astype(int) for eye in eyes)
    assert np.abs(left - right).mean() > 5


def test_what_begins_and_what_is_over_is_told_once_whatever_the_figures() -> None:
    off, more = (Finding("off", ("a", "b"), f"off by {n} px", "fits again") for n in (4, 5))
    dark = Finding("dark", ("a",), "a is dark", "a is well")
    assert news((), (off,)) == [("off", "off by 4 px")]
    assert news((off,), (more, dark)) == [("dark", "a is dark")]
    assert news((more, dark), (dark,)) == [("off-over", "fits again")]
    assert lasting([(off, dark), (more,)]) == ["off by 5 px"] and lasting([]) == []


@pytest.mark.parametrize("frames", [1, 2])
def test_synthesize_warns_of_a_rig_that_does_not_fit_and_of_a_covered_camera(
    seen: tuple[Rig, Pictures], tmp_path: Path, capsys: pytest.CaptureFixture[str], frames: int
) -> None:
    rig, pictures = seen
    (tmp_path / "rig.json").write_text(json.dumps(rig.to_json()))
    (tmp_path / "view.json").write_text(json.dumps(between(rig, "cam0", "cam1", 0.5).to_json()))
    wanted = {"rig": tmp_path / "rig.json", "images": tmp_path, "view": tmp_path / "view.json", "rung": FLOOR}
    wanted["out"] = tmp_path / ("out.png" if frames == 1 else "out.mp4")

    def said(left: Pixels, right: Pixels) -> str:
        for name, pixels in (("cam0", left), ("cam1", right)):
            for path in [f"{name}.png"] if frames == 1 else [f"{name}/{n:06d}.png" for n in range(frames)]:
                (tmp_path / path).parent.mkdir(exist_ok=True)
                cv2.imwrite(str(tmp_path / path), pixels[:, :, ::-1])
        with pytest.raises(SystemExit, match="0"):
            main(["synthesize", *(f"--{flag}={value}" for flag, value in wanted.items())])
        return "".join(line for line in capsys.readouterr().err.splitlines() if line.startswith("warning"))

    assert said(pictures["cam0"], pictures["cam1"]) == ""
    assert "warning: cam0 and cam1 look swapped" in said(pictures["cam1"], pictures["cam0"])
    assert "warning: cam1 shows nothing" in said(pictures["cam0"], np.full_like(pictures["cam1"], 4))
