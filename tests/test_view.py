"""The view room as a whole: a new viewpoint from two or four cameras, and what it does when they are not all there."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher
from view_scene import PERSON, Card, Sphere, arc, frame_set, looking_at, pair_rig, render

from streamsvc.budget.slices import run_to_end
from streamsvc.frames import Camera, Frame, FrameSet, Rig, Screen, Viewpoint, off_axis_camera
from streamsvc.scene.rigs import body_rig
from streamsvc.view import View, ViewError, ViewSynthesizer, blend, disparity, geometry, splat, steady, warm_up
from streamsvc.view.compose import compose
from streamsvc.view.geometry import Source
from streamsvc.view.net import open_net
from streamsvc.view.quality import psnr
from streamsvc.view.rectify import pixel_rays

W, H = 160, 120
FLOOR = "sgbm-160"


def source(camera: Camera, objects: Sequence[Sphere | Card]) -> Source:
    """A source with exact geometry."""
    pixels, depth = render(camera, list(objects))
    inverse = np.where(np.isfinite(depth), 1 / depth, 0).astype(np.float32)
    known = (inverse > 0).astype(np.float32)
    return Source(camera, pixels, camera, pixel_rays(camera), inverse, known, pixels, 0.0, 0.02)


@pytest.fixture(scope="module")
def three() -> tuple[list[Camera], Rig, FrameSet]:
    """Cameras 20 degrees apart with a held-out one between them, the rig and pictures of the outer two."""
    cameras = arc(3, 10, W, H)
    outer = [cameras[0], cameras[2]]
    return cameras, pair_rig(outer), frame_set(outer, PERSON)


def make(synthesizer: ViewSynthesizer, frames: FrameSet, view: Camera, rung: str = FLOOR) -> View:
    return run_to_end(synthesizer.slices(frames, view, rung))


def test_view_between_two_cameras_beats_the_nearest_camera_by_three_decibels(
    three: tuple[list[Camera], Rig, FrameSet],
) -> None:
    cameras, rig, frames = three
    truth, depth = render(cameras[1], PERSON)
    person = depth < 1.4
    synthesizer = ViewSynthesizer(rig, W, H)
    baseline = max(psnr(f.pixels, truth, person) for f in frames.frames)
    for rung in synthesizer.ladder:
        assert psnr(make(synthesizer, frames, cameras[1], rung.name).pixels, truth, person) >= baseline + 3


def test_slices_are_named_and_the_view_has_its_promised_form(three: tuple[list[Camera], Rig, FrameSet]) -> None:
    cameras, rig, frames = three
    job = ViewSynthesizer(rig, W, H).slices(frames, replace(cameras[1].resized(200, 150)), FLOOR)
    names = []
    while True:
        try:
            names.append(next(job))
        except StopIteration as stop:
            view = stop.value
            break
    assert names == ["rectify", "disparity", "disparity", "splat", "blend"]
    assert view.pixels.shape == (150, 200, 3) and view.pixels.dtype == np.uint8
    assert view.inverse_depth.shape == view.coverage.shape == (150, 200)
    assert view.inverse_depth.dtype == view.coverage.dtype == np.float32
    assert np.isfinite(view.inverse_depth).all() and view.coverage.min() >= 0 and view.coverage.max() <= 1
    assert abs(1 / np.median(view.inverse_depth[110:120, 95:105]) - 0.85) < 0.05


def test_ladder_has_three_rungs_dearer_and_better_upwards() -> None:
    for rig in (pair_rig(arc(2, 20)), pair_rig(arc(2, 20, 640, 480))):
        ladder = ViewSynthesizer(rig, 320, 240).ladder
        assert len(ladder) >= 3
        for cheap, dear in pairwise(ladder):
            assert cheap.cost_ns < dear.cost_ns and cheap.quality < dear.quality


def test_the_same_pictures_make_the_same_view_in_two_threads_at_once(three: tuple[list[Camera], Rig, FrameSet]) -> None:
    cameras, rig, frames = three
    synthesizer = ViewSynthesizer(rig, W, H)
    with ThreadPoolExecutor(2) as pool:
        views = list(pool.map(lambda _: make(synthesizer, frames, cameras[1]), range(4)))
    for view in views[1:]:
        assert np.array_equal(view.pixels, views[0].pixels)


def test_four_cameras_in_two_pairs_make_one_view() -> None:
    cameras = arc(5, 8, W, H)
    used = [c for i, c in enumerate(cameras) if i != 2]
    rig, frames = pair_rig(used), frame_set(used, PERSON)
    synthesizer = ViewSynthesizer(rig, W, H)
    truth, depth = render(cameras[2], PERSON)
    view = make(synthesizer, frames, cameras[2])
    baseline = max(psnr(f.pixels, truth, depth < 1.4) for f in frames.frames)
    assert psnr(view.pixels, truth, depth < 1.4) >= baseline + 3

    without_one = replace(frames, frames=frames.frames[:3])
    assert np.isfinite(make(synthesizer, without_one, cameras[2]).coverage).all()
    names = list(synthesizer.slices(without_one, cameras[2], FLOOR))
    assert names.count("rectify") == 1


def test_pair_above_each_other_works_too() -> None:
    low, high = looking_at("low", (0, 0.12, 0), (0, 0, 1), W, H), looking_at("high", (0, -0.12, 0), (0, 0, 1), W, H)
    between = looking_at("view", (0, 0, 0), (0, 0, 1), W, H)
    truth, depth = render(between, PERSON)
    frames = frame_set([low, high], PERSON)
    view = make(ViewSynthesizer(pair_rig([low, high]), W, H), frames, between)
    baseline = max(psnr(f.pixels, truth, depth < 1.4) for f in frames.frames)
    assert psnr(view.pixels, truth, depth < 1.4) >= baseline + 3


def test_rig_without_depth_range_estimates_it(three: tuple[list[Camera], Rig, FrameSet]) -> None:
    cameras, rig, frames = three
    truth, depth = render(cameras[1], PERSON)
    synthesizer = ViewSynthesizer(replace(rig, depth_range=None), W, H)
    view = make(synthesizer, frames, cameras[1])
    baseline = max(psnr(f.pixels, truth, depth < 1.4) for f in frames.frames)
    assert psnr(view.pixels, truth, depth < 1.4) >= baseline + 3
    again = make(synthesizer, frames, cameras[1])
    assert np.array_equal(view.pixels, again.pixels)


def test_a_rig_that_states_no_range_has_all_rungs() -> None:
    stated = body_rig(2, 320, 240)
    net = open_net()
    told, untold = (
        ViewSynthesizer(rig, 320, 240, net=net).ladder for rig in (stated, replace(stated, depth_range=None))
    )
    assert [r.name for r in untold] == [r.name for r in told]


def test_who_comes_nearer_than_all_that_was_seen_before_is_shown_too() -> None:
    cameras = [looking_at(f"cam{i}", (x, 0, 0), (0, 0, 1), W, H) for i, x in enumerate((-0.12, 0.0, 0.12))]
    rig = pair_rig([cameras[0], cameras[2]], None)
    room = [thing for thing in PERSON if isinstance(thing, Card)]
    truth, depth = render(cameras[1], PERSON)
    synthesizer = ViewSynthesizer(rig, W, H)
    pair = [cameras[0], cameras[2]]
    make(synthesizer, frame_set(pair, room), cameras[1])
    empty = synthesizer.screen
    second = 1_000_000_000
    for seconds in range(1, 4):
        view = make(synthesizer, replace(frame_set(pair, PERSON), capture_ns=seconds * second), cameras[1])
    stated = make(ViewSynthesizer(pair_rig(pair), W, H), frame_set(pair, PERSON), cameras[1])
    person = depth < 1.4
    assert psnr(view.pixels, truth, person) >= psnr(stated.pixels, truth, person) - 1
    assert np.array_equal(synthesizer.screen.centre, empty.centre), "the window doesn't move"


def test_pictures_may_change_size_in_mid_stream(three: tuple[list[Camera], Rig, FrameSet]) -> None:
    cameras, rig, frames = three
    synthesizer = ViewSynthesizer(rig, W, H)
    first = make(synthesizer, frames, cameras[1])
    halved = tuple(replace(f, pixels=f.pixels[::2, ::2].copy()) for f in frames.frames)
    small = make(synthesizer, replace(frames, frames=halved), cameras[1])
    mixed = make(synthesizer, replace(frames, frames=(frames.frames[0], halved[1])), cameras[1])
    assert small.pixels.shape == mixed.pixels.shape == first.pixels.shape
    assert np.array_equal(make(synthesizer, frames, cameras[1]).pixels, first.pixels)


def test_without_a_rig_the_picture_passes_through_letterboxed() -> None:
    wide = Frame("webcam", np.full((90, 160, 3), 200, np.uint8), 0)
    synthesizer = ViewSynthesizer(None, W, H)
    view = make(synthesizer, FrameSet("s", 0, 0, 0, (wide,)), synthesizer.view_camera(None))
    assert (view.pixels[15:105] == 200).all() and not view.pixels[:15].any() and not view.pixels[105:].any()
    assert (view.coverage[15:105] == 1).all() and not view.coverage[:15].any()


def test_one_camera_seen_from_its_own_place_shows_its_picture(three: tuple[list[Camera], Rig, FrameSet]) -> None:
    cameras, rig, frames = three
    only = replace(frames, frames=frames.frames[1:])
    view = make(ViewSynthesizer(rig, W, H), only, cameras[2])
    assert np.abs(view.pixels.astype(int) - only.frames[0].pixels).max() <= 1 and (view.coverage == 1).all()


def test_the_camera_most_like_the_view_shows_it_when_no_pair_is_whole() -> None:
    cameras = arc(4, 10, W, H)
    rig, frames = pair_rig(cameras), frame_set(cameras, [Card(1.5, 3)])
    left = replace(frames, frames=(frames.frames[0], frames.frames[2]))
    shown, own = make(ViewSynthesizer(rig, W, H), left, cameras[2]).pixels, frames.frames[2].pixels
    assert np.abs(shown.astype(int) - own).max() <= 1


def test_exact_geometry_seen_from_its_own_camera_is_the_picture_itself() -> None:
    camera = looking_at("a", (0.1, 0, 0), (0, 0, 1), W, H)
    own = source(camera, [Card(1.4, 3)])
    view = run_to_end(compose([own], camera, 1e9, 100))
    assert np.abs(view.pixels.astype(int) - own.pixels)[2:-2, 2:-2].max() <= 2
    assert view.coverage[2:-2, 2:-2].min() > 0.8


@pytest.mark.parametrize("side", [60.0, 1e9], ids=["coarse splat", "full splat"])
def test_a_surface_is_as_wide_as_the_cameras_see_it_however_wide_its_splats(side: float) -> None:
    scene = [Card(0.8, 5, (-0.1, 0.1), (-0.1, 0.1)), Card(1.6, 3)]
    cameras = [looking_at(n, (x, 0, 0), (0, 0, 1.2), W, H) for n, x in (("a", -0.08), ("b", 0.08))]
    view = looking_at("view", (0.01, 0, 0), (0, 0, 1.2), W, H)
    sources = []
    for s in (source(c, scene) for c in cameras):
        pixels = np.where((s.inverse_depth > 1)[..., None], (220, 0, 0), (0, 0, 220)).astype(np.uint8)
        sources.append(replace(s, pixels=pixels, colour=pixels))
    result = run_to_end(compose(sources, view, side, 100))
    card = (render(view, scene)[1] < 1.2).astype(np.uint8)
    shown = result.pixels[..., 0] > 110
    ring = np.ones((5, 5), np.uint8)
    assert shown[cv2.erode(card, ring) > 0].all() and not shown[cv2.dilate(card, ring) == 0].any()


def test_a_source_that_cannot_see_a_point_gives_it_no_colour() -> None:
    """A red card before a blue wall: wall pixels that the card hides from one camera stay blue."""
    scene = [Card(0.8, 5, (-0.1, 0.1), (-0.1, 0.1)), Card(1.6, 3)]
    cameras = [looking_at(n, (x, 0, 0), (0, 0, 1.2), W, H) for n, x in (("a", -0.15), ("b", 0.15))]
    view = looking_at("view", (0.02, 0, 0), (0, 0, 1.2), W, H)
    sources = []
    for s in (source(c, scene) for c in cameras):
        card = s.inverse_depth > 1
        pixels = np.where(card[..., None], (220, 0, 0), (0, 0, 220)).astype(np.uint8)
        sources.append(replace(s, pixels=pixels, colour=pixels))
    result = run_to_end(compose(sources, view, 1e9, 100))
    wall = render(view, scene)[1] > 1.2
    inner = cv2.erode(wall.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert result.pixels[inner][:, 0].max() < 40
    assert result.pixels[~cv2.dilate(wall.astype(np.uint8), np.ones((3, 3))).astype(bool)][:, 2].max() < 40


def test_what_opens_up_beside_a_person_is_filled_from_behind() -> None:
    scene = [Card(0.8, 5, (-0.1, 0.1), (-0.1, 0.1)), Card(1.6, 3)]
    camera = looking_at("a", (0, 0, 0), (0, 0, 1), W, H)
    view = looking_at("view", (0.12, 0, 0), (0.12, 0, 1), W, H)
    result = run_to_end(compose([source(camera, scene)], view, 1e9, 100))
    truth = render(view, scene)[1]
    hole = (result.coverage < 0.25) & (truth > 1.2)
    assert hole[40:80].sum() > 100
    assert (result.inverse_depth[hole] < 0.8).mean() > 0.95


def test_off_axis_view_shows_exactly_the_screen() -> None:
    screen = Screen(np.array([0.1, 0.0, 1.0]), np.array([0.4, 0, 0.02]), np.array([0, -0.3, 0.0]))
    rig = replace(pair_rig(arc(2, 20, W, H)), screen=screen)
    camera = ViewSynthesizer(rig, W, H).view_camera(Viewpoint(0, ((0.03, -0.1, -0.2), (0.09, -0.1, -0.2))))
    assert np.allclose(camera.centre, (0.06, -0.1, -0.2))
    for across, up, pixel in ((-1, 1, (-0.5, -0.5)), (1, 1, (W - 0.5, -0.5)), (1, -1, (W - 0.5, H - 0.5))):
        corner = camera.K @ (camera.R @ (screen.centre + across * screen.right + up * screen.up) + camera.t)
        assert np.allclose(corner[:2] / corner[2], pixel)
    assert np.allclose(camera.K, off_axis_camera(screen, np.array((0.06, -0.1, -0.2)), W, H).K)


@pytest.mark.parametrize("eyes", [None, (), ((float("nan"), 0.0, 0.0),)])
def test_without_a_usable_eye_the_view_is_from_the_middle_of_the_cameras(
    eyes: tuple[tuple[float, float, float], ...] | None,
) -> None:
    rig = pair_rig(arc(2, 20, W, H))
    camera = ViewSynthesizer(rig, W, H).view_camera(None if eyes is None else Viewpoint(0, eyes))
    assert np.allclose(camera.centre, np.mean([c.centre for c in rig.cameras], axis=0))
    subject = camera.K @ (camera.R @ np.array([0, 0, 1.0]) + camera.t)
    assert np.allclose(subject[:2] / subject[2], ((W - 1) / 2, (H - 1) / 2), atol=0.5)


def garbage() -> list[tuple[str, object]]:
    return [
        ("uint8", np.full((H, W, 3), np.nan, np.float32)),
        ("uint8", np.zeros((H, W), np.uint8)),
        ("uint8", np.zeros((H, W, 4), np.uint8)),
        ("uint8", None),
        ("pixels a side", np.zeros((0, 0, 3), np.uint8)),
        ("pixels a side", np.zeros((8, W, 3), np.uint8)),
    ]


@pytest.mark.parametrize(("why", "pixels"), garbage())
def test_a_frame_that_is_no_picture_is_refused(
    three: tuple[list[Camera], Rig, FrameSet], why: str, pixels: object
) -> None:
    cameras, rig, frames = three
    bad = replace(frames, frames=(frames.frames[0], Frame("cam2", pixels, 0)))  # type: ignore[arg-type]
    with pytest.raises(ViewError, match=f"cam2.*{why}"):
        make(ViewSynthesizer(rig, W, H), bad, cameras[1])


def test_pictures_of_noise_make_a_view_without_complaint(three: tuple[list[Camera], Rig, FrameSet]) -> None:
    cameras, rig, frames = three
    noise = np.random.default_rng(0).integers(0, 256, (2, H, W, 3), np.uint8)
    wild = tuple(replace(f, pixels=p) for f, p in zip(frames.frames, noise, strict=True))
    for set_ in (wild, tuple(replace(f, pixels=np.zeros((H, W, 3), np.uint8)) for f in frames.frames)):
        view = make(ViewSynthesizer(rig, W, H), replace(frames, frames=set_), cameras[1])
        assert np.isfinite(view.inverse_depth).all()


def test_unknown_rung_empty_set_bad_view_and_other_devices_are_refused(
    three: tuple[list[Camera], Rig, FrameSet],
) -> None:
    cameras, rig, frames = three
    synthesizer = ViewSynthesizer(rig, W, H)
    with pytest.raises(ViewError, match="sgbm-160"):
        make(synthesizer, frames, cameras[1], "best")
    with pytest.raises(ViewError, match="without pictures"):
        make(synthesizer, replace(frames, frames=()), cameras[1])
    with pytest.raises(ViewError, match="distortion"):
        make(synthesizer, frames, replace(cameras[1], dist=np.ones(5)))
    with pytest.raises(ViewError, match="finite"):
        make(synthesizer, frames, replace(cameras[1], t=np.full(3, np.nan)))
    with pytest.raises(ViewError, match="cpu"):
        ViewSynthesizer(rig, W, H, device="tpu")
    with pytest.raises(ViewError, match="pixels a side"):
        ViewSynthesizer(rig, 0, H)


def test_after_the_warm_up_nothing_is_left_to_compile(three: tuple[list[Camera], Rig, FrameSet]) -> None:
    cameras, rig, frames = three
    assert warm_up() > 0
    kernels = [
        kernel
        for module in (disparity, splat, geometry, blend, steady)
        for kernel in vars(module).values()
        if isinstance(kernel, Dispatcher) and kernel.signatures
    ]
    assert len(kernels) >= 7
    before = [len(kernel.signatures) for kernel in kernels]
    for rung in ViewSynthesizer(rig, W, H).ladder:
        make(ViewSynthesizer(rig, W, H), frames, cameras[1], rung.name)
    assert [len(kernel.signatures) for kernel in kernels] == before
