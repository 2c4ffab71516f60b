"""Output modes: where each mode's cameras stand, how their views are laid out, and what the depth below a view says."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from view_scene import PERSON, Card, arc, frame_set, pair_rig, render

from streamsvc.budget.slices import run_to_end
from streamsvc.frames import Camera, Frame, FrameSet, Screen, Viewpoint, off_axis_camera
from streamsvc.frames.outputmode import PACKED_MARGIN, ModeError, parse_mode
from streamsvc.view import View, ViewError, ViewSynthesizer
from streamsvc.view.holes import BEYOND, FADE_WIDTH, fill_holes
from streamsvc.view.modes import DepthCode, Picture, Shot, anaglyph, assemble, covered, pair_of, shoot, take

W, H = 160, 120
SCREEN = Screen(np.array([0.1, 0.05, 1.0]), np.array([0.4, 0, 0.04]), np.array([0, -0.3, 0.0]))
EYE = np.array([[0.05, -0.02, -0.3]])
MODES = ("window", "stereo", "anaglyph", "packed", "quilt", "quilt:3x2:30")


def pixel(camera: Camera, point: np.ndarray) -> np.ndarray:
    p = camera.K @ (camera.R @ point + camera.t)
    return p[:2] / p[2]


def flat(shot: Shot, values: list[int] | None = None, inverse: float = 0.0) -> list[View]:
    """Views of one grey each."""
    values = values or [10 * i for i in range(len(shot.cameras))]
    return [
        View(
            np.full((c.height, c.width, 3), v, np.uint8),
            np.full((c.height, c.width), inverse, np.float32),
            np.ones((c.height, c.width), np.float32),
        )
        for c, v in zip(shot.cameras, values, strict=True)
    ]


@pytest.mark.parametrize("name", MODES)
def test_the_picture_has_the_size_that_the_mode_announces(name: str) -> None:
    mode = parse_mode(name)
    for size in ((W, H), (640, 480), (101, 77)):
        shot = shoot(mode, SCREEN, EYE, *size)
        assert len(shot.cameras) == mode.views
        picture = assemble(shot, flat(shot))
        assert picture.pixels.shape[1::-1] == mode.picture_size(*size)
        assert picture.pixels.dtype == np.uint8 and picture.pixels.flags.c_contiguous


def test_a_cutout_has_its_colours_above_every_second_row_of_its_alpha() -> None:
    for size in ((W, H), (101, 77)):
        shot = shoot(parse_mode("cutout"), SCREEN, EYE, *size)
        width, height = shot.cameras[0].width, shot.cameras[0].height
        assert width % 2 == height % 4 == 0
        pixels = np.random.default_rng(0).integers(0, 256, (height, width, 4), np.uint8)
        plane = np.ones((height, width), np.float32)
        out = assemble(shot, [View(pixels, plane, plane)]).pixels
        assert out.shape[1::-1] == parse_mode("cutout").picture_size(*size)
        assert (out[:height] == pixels[..., :3]).all()
        assert (out[height:] == pixels[::2, :, 3:]).all()
        with pytest.raises(ViewError, match="don't fit"):
            assemble(shot, flat(shot))


@pytest.mark.parametrize("name", MODES)
def test_a_point_on_the_screen_has_no_parallax_and_one_behind_it_has(name: str) -> None:
    shot = shoot(parse_mode(name), SCREEN, EYE, W, H)
    for across, up in ((0, 0), (0.7, -0.4), (-1, 1)):
        on_screen = SCREEN.centre + across * SCREEN.right + up * SCREEN.up
        places = np.array([pixel(c, on_screen) for c in shot.cameras])
        assert np.abs(places - places[0]).max() < 1e-9
        if len(places) > 1:
            behind = np.array([pixel(c, on_screen + (on_screen - EYE[0])) for c in shot.cameras])
            assert (np.diff(behind[:, 0]) > 0).all(), "what lies behind the screen moves with the eye"
            assert np.abs(behind[:, 1] - behind[0, 1]).max() < 1e-9, "and never up or down"


def test_one_eye_becomes_two_63_mm_apart_along_the_screen() -> None:
    left, right = pair_of(EYE, SCREEN)
    axis = SCREEN.right / np.linalg.norm(SCREEN.right)
    assert np.allclose(right - left, 0.063 * axis) and np.allclose((left + right) / 2, EYE[0])
    assert np.linalg.norm(np.diff(pair_of(EYE, SCREEN, 0.07), axis=0)) == pytest.approx(0.07)


def test_two_eyes_are_told_apart_whichever_comes_first() -> None:
    eyes = np.array([[-0.03, 0.01, -0.3], [0.03, -0.01, -0.28]])
    for given_eyes in (eyes, eyes[::-1]):
        assert np.array_equal(pair_of(given_eyes, SCREEN), eyes)
        shot = shoot(parse_mode("stereo"), SCREEN, given_eyes, W, H)
        assert np.allclose([c.centre for c in shot.cameras], eyes) and np.allclose(shot.eye, eyes.mean(0))
        out = assemble(shot, flat(shot, [50, 200])).pixels
        assert (out[:, :W] == 50).all() and (out[:, W:] == 200).all()


def test_a_quilt_runs_from_the_leftmost_view_at_the_bottom_left_upwards() -> None:
    shot = shoot(parse_mode("quilt:3x2:30"), SCREEN, EYE, W, H)
    axis = SCREEN.right / np.linalg.norm(SCREEN.right)
    along = np.array([(c.centre - EYE[0]) @ axis for c in shot.cameras])
    assert np.allclose(np.diff(along), along[1] - along[0]) and abs(along.sum()) < 1e-9 and along[0] < 0
    normal = shot.cameras[0].R[2]
    distance = (SCREEN.centre - EYE[0]) @ normal
    assert math.degrees(2 * math.atan(along[-1] / distance)) == pytest.approx(30)
    out = assemble(shot, flat(shot, [0, 1, 2, 3, 4, 5])).pixels[:, :, 0]
    tiles = out.reshape(2, H, 3, W)[:, 0, :, 0]
    assert tiles.tolist() == [[3, 4, 5], [0, 1, 2]]
    assert np.allclose(shoot(parse_mode("quilt:1x1"), SCREEN, EYE, W, H).cameras[0].centre, EYE[0])


def test_an_anaglyph_of_equal_eyes_is_true_in_grey() -> None:
    grey = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    assert np.abs(anaglyph(grey, grey).astype(int) - grey).max() <= 1


def test_red_glass_sees_the_left_eye_and_cyan_glass_the_right() -> None:
    white, black = np.full((1, 1, 3), 255, np.uint8), np.zeros((1, 1, 3), np.uint8)
    assert anaglyph(white, black)[0, 0, 0] > 250 and anaglyph(white, black)[0, 0, 1:].max() == 0
    assert anaglyph(black, white)[0, 0, 0] == 0 and anaglyph(black, white)[0, 0, 1:].min() > 250


def test_a_packed_view_is_wider_than_the_window_by_its_margin_at_the_same_scale() -> None:
    plain, packed = (shoot(parse_mode(m), SCREEN, EYE, 640, 480) for m in ("window", "packed"))
    camera = packed.cameras[0]
    assert (camera.width, camera.height) == (720, 540)
    assert (camera.width - 640) / 2 / 640 == pytest.approx(PACKED_MARGIN)
    assert np.allclose(camera.K[:2, :2], plain.cameras[0].K[:2, :2])
    corner = SCREEN.centre + SCREEN.right + SCREEN.up
    assert np.allclose(pixel(camera, corner) - pixel(plain.cameras[0], corner), (40, 30))
    outermost = packed.screen.centre - packed.screen.right + packed.screen.up
    assert np.allclose(pixel(camera, outermost), (-0.5, -0.5))


@given(st.floats(0.01, 0.9), st.floats(0.95, 20.0), st.floats(0, 1))
def test_depth_comes_back_within_half_a_step_of_its_code(far: float, near: float, at: float) -> None:
    code = DepthCode(far, near)
    true = np.full((1, 1), far + at * (near - far), np.float32)
    assert abs(float(code.decode(code.encode(true)[..., 0])[0, 0] - true[0, 0])) <= (near - far) / 255 * 0.501


def packed_of_person() -> tuple[Picture, Camera, np.ndarray]:
    cameras = arc(2, 20, W, H)
    rig = replace(
        pair_rig(cameras), screen=Screen(np.array([0, 0, 1.0]), np.array([0.3, 0, 0]), np.array([0, -0.2, 0]))
    )
    synthesizer = ViewSynthesizer(rig, W, H, mode=parse_mode("packed"))
    shot = synthesizer.shot(Viewpoint(0, ((0.02, 0.0, 0.0),)))
    views = run_to_end(synthesizer.views(frame_set(cameras, PERSON), shot.cameras, "sgbm-160"))
    assert np.array_equal(assemble(shot, views).pixels[: views[0].pixels.shape[0]], views[0].pixels)
    return assemble(shot, views), shot.cameras[0], views[0].inverse_depth


def test_packed_depth_decodes_to_the_views_own_and_to_the_true_one() -> None:
    picture, camera, inverse = packed_of_person()
    assert picture.depth is not None
    strip = picture.pixels[camera.height :]
    assert strip.shape == (camera.height // 2, camera.width, 3) and (strip == strip[..., :1]).all()
    decoded = picture.depth.decode(strip[..., 0])
    step = (picture.depth.near - picture.depth.far) / 255
    inside = (inverse[::2] >= picture.depth.far) & (inverse[::2] <= picture.depth.near)
    assert inside.mean() > 0.9
    assert np.abs(decoded - inverse[::2])[inside].max() <= 0.51 * step
    truth = render(camera, PERSON)[1][::2]
    middle = np.s_[40:60, 80:100]
    assert abs(np.median(1 / decoded[middle]) - np.median(truth[middle])) < 0.03


def test_the_told_frustum_and_depth_say_where_a_pixel_goes_for_another_eye() -> None:
    """The formula of docs/wire.md against the cameras of both eyes."""
    new_eye = EYE + np.array((0.03, -0.01, 0.02))
    shot = shoot(parse_mode("packed"), SCREEN, EYE, W, H, depth_range=(-0.5, 2.0))
    camera, screen = shot.cameras[0], shot.screen
    after = off_axis_camera(screen, new_eye[0], camera.width, camera.height)
    point = np.array([0.2, 0.1, 1.6])
    x, y = (pixel(camera, point) + 0.5) / (camera.width, camera.height) * 2 - 1
    s = screen.centre + x * screen.right - y * screen.up
    n = camera.R[2]
    q = 1 / (n @ (point - shot.eye))
    found = shot.eye + (s - shot.eye) / (q * (n @ (s - shot.eye)))
    assert np.allclose(found, point)
    assert shot.depth is not None and shot.depth.far < q < shot.depth.near
    assert not np.allclose(pixel(after, found), pixel(camera, found))


def test_a_picture_without_depth_fills_the_window_and_stays_where_it_is() -> None:
    frames = FrameSet("s", 0, 0, 0, (Frame("cam", np.full((H, W, 3), 90, np.uint8), 0),))
    synthesizer = ViewSynthesizer(None, W, H, mode=parse_mode("packed"))
    shot = synthesizer.shot(None)
    picture = run_to_end(take(shot, synthesizer.views(frames, shot.cameras, "sgbm-160")))
    assert picture.screen is shot.window and picture.depth is not None
    camera = shot.cameras[0]
    plane = camera.R[2] @ shot.screen.centre + camera.t[2]
    decoded = picture.depth.decode(picture.pixels[camera.height :, :, 0])
    assert np.abs(decoded - 1 / plane).max() <= (picture.depth.near - picture.depth.far) / 255


@pytest.mark.parametrize("name", MODES)
def test_geometry_runs_once_and_splat_and_blend_once_a_view(name: str) -> None:
    cameras = arc(2, 20, W, H)
    rig, mode = pair_rig(cameras), parse_mode(name)
    synthesizer = ViewSynthesizer(rig, W, H, mode=mode)
    shot = synthesizer.shot(None)
    names = list(take(shot, synthesizer.views(frame_set(cameras, [Card(1.5, 3)]), shot.cameras, "sgbm-108")))
    assert names[:3] == ["rectify", "disparity", "disparity"]
    assert names[3 : 3 + 2 * mode.views] == ["splat", "blend"] * mode.views
    assert names[3 + 2 * mode.views :] == ([] if name == "window" else ["pack"])
    plain = ViewSynthesizer(rig, W, H).ladder
    for one, many in zip(plain, synthesizer.ladder, strict=True):
        more = many.cost_ns - one.cost_ns
        assert (more > 0) == (name != "window")
        assert many.cost_ns < mode.views * one.cost_ns or mode.views == 1
    ratio = [many.cost_ns / one.cost_ns for one, many in zip(plain, synthesizer.ladder, strict=True)]
    assert ratio[0] == max(ratio), "the cheaper the geometry, the more views cost beside it"


def test_synthesized_around_a_view_the_frustum_is_the_views_own() -> None:
    cameras = arc(3, 10, W, H)
    rig = pair_rig([cameras[0], cameras[2]])
    window = ViewSynthesizer(rig, W, H).shot_around(cameras[1])
    assert window.cameras == (cameras[1],)
    stereo = ViewSynthesizer(rig, W, H, mode=parse_mode("stereo")).shot_around(cameras[1], 0.06)
    assert np.allclose(np.linalg.norm(np.diff([c.centre for c in stereo.cameras], axis=0)), 0.06)
    seen = off_axis_camera(covered(cameras[1], 0.8), cameras[1].centre, W, H)
    assert np.allclose(seen.K, cameras[1].K) and np.allclose(seen.R, cameras[1].R) and np.allclose(seen.t, cameras[1].t)


def test_views_that_are_not_the_shots_are_refused() -> None:
    shot = shoot(parse_mode("stereo"), SCREEN, EYE, W, H)
    with pytest.raises(ViewError, match="1 views don't fit the 2 cameras"):
        assemble(shot, flat(shot)[:1])


@pytest.mark.parametrize("text", ["", "Window", "quilt:", "quilt:0x2", "quilt:4x2:0", "quilt:4x2:-3", "quilt:4x", "٣"])
def test_a_mode_that_is_none_is_refused_with_what_is_accepted(text: str) -> None:
    with pytest.raises(ModeError, match=r"there are window|a quilt"):
        parse_mode(text)


def features_with(known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features that are 200 grey with inverse depth 1 where `known`."""
    features = np.where(known[..., None], np.array([200, 200, 200, 1.0], np.float32), 0).astype(np.float32)
    return features, known.astype(np.float32)


def test_beyond_what_was_seen_the_picture_fades_to_dark_within_a_part_of_its_width() -> None:
    known = np.zeros((60, 100), bool)
    known[20:40, 30:70] = True
    features, coverage = features_with(known)
    fill_holes(features, coverage)
    row = features[30, :, 0]
    assert (row[30:70] == 200).all()
    reach = round(FADE_WIDTH * 100)
    fading = row[30 - reach : 31]
    assert (np.diff(fading) >= 0).all() and 150 < fading[-3] < 200 and fading[0] == BEYOND
    assert (row[: 30 - reach] == BEYOND).all() and (row[70 + reach :] == BEYOND).all()
    assert np.allclose(features[20 - reach : 21, 50, 0], fading) and (features[..., 3] == 1).all()
    assert np.abs(np.diff(features[..., 0], axis=0)).max() < 45, "no streaks, no steps"


def test_holes_between_known_pixels_are_filled_from_behind_without_fading() -> None:
    known = np.ones((40, 100), bool)
    known[:, 40:60] = False
    features, coverage = features_with(known)
    features[:, 60:, 3] = 0.5
    features[:, 60:, :3] = 90
    fill_holes(features, coverage)
    assert (features[:, 40:60, :3] == 90).all() and (features[:, 40:60, 3] == 0.5).all()


def test_where_nothing_at_all_was_seen_there_is_dark_and_no_depth() -> None:
    features, coverage = features_with(np.zeros((20, 30), bool))
    fill_holes(features, coverage)
    assert (features[..., :3] == BEYOND).all() and not features[..., 3].any()


def test_the_warm_up_compiles_the_fading_too() -> None:
    code = "from streamsvc.view import holes, warm_up; warm_up(); assert holes._fade_out.signatures"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
