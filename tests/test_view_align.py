"""Cameras that moved a little since they were calibrated: what their pictures show of it, and what becomes of it."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from view_scene import PERSON, arc, frame_set, looking_at, pair_rig, render

from streamsvc.budget import run_to_end
from streamsvc.frames import Camera, FrameSet, Pixels, Rig
from streamsvc.frames.rig import Matrix
from streamsvc.scene.rigs import between
from streamsvc.view import ViewSynthesizer
from streamsvc.view.align import MATCH_PX, MOST_DEGREES, Alignment, Evidence, turned, weigh
from streamsvc.view.health_matches import axes_of, triangulate
from streamsvc.view.health_rig import CHECK_NS, FIRST_NS
from streamsvc.view.maps import PairMaps
from streamsvc.view.quality import psnr

CAMERAS = arc(2, 20, 320, 240)
RIG = pair_rig(CAMERAS)
FOCAL = float(CAMERAS[0].K[0, 0])


def matches(cameras: list[Camera], told: list[Camera], count: int = 200, strays: int = 0, seed: int = 0) -> Evidence:
    """The evidence of points that `cameras` see, to `told`, with errors of a match; of `strays` everywhere."""
    rng = np.random.default_rng(seed)
    points = rng.uniform((-0.25, -0.2, 0.8), (0.25, 0.2, 1.6), (count, 3))
    axes = axes_of(*told)
    by_name = {c.name: c for c in cameras}
    seen = []
    for camera in (by_name[axes.left.name], by_name[axes.right.name]):
        at = points @ camera.R.T + camera.t
        pixel = (at[:, :2] / at[:, 2:]) @ camera.K[:2, :2].T + camera.K[:2, 2]
        pixel += rng.normal(0, MATCH_PX / np.sqrt(2), pixel.shape)
        pixel[:strays] += rng.uniform(-8, 8, (strays, 2))
        seen.append(pixel)
    size = CAMERAS[0].width, CAMERAS[0].height
    return weigh(axes, triangulate(axes, seen[0], size, seen[1], size), FOCAL)


def pushed(cameras: list[Camera], degrees: tuple[float, float, float], which: int = 1) -> list[Camera]:
    """The cameras, one of them turned about the axes of the world."""
    return [turned(c, np.radians(degrees)) if i == which else c for i, c in enumerate(cameras)]


def aligned(alignment: Alignment) -> list[Camera]:
    return [alignment.camera(c.name) for c in CAMERAS]


def missed_px(cameras: list[Camera], told: list[Camera]) -> float:
    """By how much points that `cameras` see miss the epipolar lines of `told`: root mean square, pixels."""
    axes = axes_of(*told)
    rng = np.random.default_rng(99)
    points = rng.uniform((-0.25, -0.2, 0.8), (0.25, 0.2, 1.6), (300, 3))
    seen = []
    for name in (axes.left.name, axes.right.name):
        camera = next(c for c in cameras if c.name == name)
        at = points @ camera.R.T + camera.t
        seen.append((at[:, :2] / at[:, 2:]) @ camera.K[:2, :2].T + camera.K[:2, 2])
    size = CAMERAS[0].width, CAMERAS[0].height
    return float(np.sqrt(np.mean((triangulate(axes, seen[0], size, seen[1], size).across * FOCAL) ** 2)))


@pytest.mark.parametrize("degrees", [(0.3, 0, 0), (0, 0, -0.4), (-0.8, 0.1, 0.8), (0.2, -0.3, 0.1)])
@pytest.mark.parametrize("strays", [0, 40])
def test_matches_show_how_a_camera_is_turned(degrees: tuple[float, float, float], strays: int) -> None:
    stands = pushed(CAMERAS, degrees)
    alignment = Alignment(RIG)
    alignment.take(matches(stands, CAMERAS, strays=strays))
    assert missed_px(stands, CAMERAS) > 0.45
    assert missed_px(stands, aligned(alignment)) < 0.2
    # Each of the two gets half of what lies between them, and neither leaves its place.
    first, second = alignment.degrees.values()
    assert first == pytest.approx(second, abs=0.1)
    for camera, told in zip(aligned(alignment), CAMERAS, strict=True):
        assert np.allclose(camera.centre, told.centre)


def test_what_no_picture_shows_stays_as_it_was_told() -> None:
    level = [looking_at(f"cam{i}", (x, 0, 0), (x, 0, 1), 320, 240) for i, x in enumerate((-0.1, 0.1))]
    yawed = pushed(level, (0, 0.4, 0))
    alignment = Alignment(pair_rig(level))
    alignment.take(matches(yawed, level))
    assert max(alignment.degrees.values()) < 0.15


def test_cameras_that_stand_where_the_rig_says_are_left_alone() -> None:
    alignment = Alignment(RIG)
    for seed in range(8):
        alignment.take(matches(CAMERAS, CAMERAS, count=60, seed=seed))
    assert missed_px(CAMERAS, aligned(alignment)) < 0.15


def test_a_camera_that_is_pushed_in_mid_call_is_found_again() -> None:
    alignment = Alignment(RIG)
    for seed in range(5):
        alignment.take(matches(CAMERAS, CAMERAS, seed=seed))
    stands = pushed(CAMERAS, (0.6, 0, 0.3))
    misses = []
    for seed in range(8):
        alignment.take(matches(stands, CAMERAS, seed=10 + seed))
        misses.append(missed_px(stands, aligned(alignment)))
    assert misses[-1] < 0.35 < misses[0]


def test_a_correction_stays_until_another_is_worth_it() -> None:
    alignment = Alignment(RIG)
    stands = pushed(CAMERAS, (0.3, 0, 0))
    alignment.take(matches(stands, CAMERAS))
    before = aligned(alignment)
    for seed in range(1, 5):
        alignment.take(matches(stands, CAMERAS, seed=seed))
    assert [a is b for a, b in zip(aligned(alignment), before, strict=True)] == [True, True]


def test_another_rig_is_no_small_turn() -> None:
    alignment = Alignment(RIG)
    alignment.take(matches(pushed(CAMERAS, (2.5 * MOST_DEGREES, 0, 0)), CAMERAS))
    assert aligned(alignment) == CAMERAS


def test_every_camera_of_a_row_takes_its_share() -> None:
    row = arc(4, 10, 320, 240)
    rig = replace(pair_rig(row), pairs=tuple((a.name, b.name) for a, b in itertools.pairwise(row)))
    stands = pushed(row, (0.5, 0, 0), which=2)
    alignment = Alignment(rig)
    for pair in range(3):
        alignment.take(matches(stands[pair : pair + 2], row[pair : pair + 2], seed=pair))
    now = [alignment.camera(c.name) for c in row]
    assert max(missed_px(stands[i : i + 2], now[i : i + 2]) for i in range(3)) < 0.2
    assert max(alignment.degrees, key=alignment.degrees.__getitem__) == "cam2"


def test_maps_of_turned_cameras_have_the_grids_of_the_rig() -> None:
    maps = PairMaps(RIG)
    own = maps.rectified(*CAMERAS, 160)
    net = maps.prepared(own, 2)
    moved = pushed(CAMERAS, (0.4, 0.1, -0.3))
    pair = maps.rectified(*moved, 160)
    assert [s.grid for s in (pair.left, pair.right)] == [s.grid for s in (own.left, own.right)]
    assert (pair.fb, pair.shift, pair.disparities) == (own.fb, own.shift, own.disparities)
    turned_net = maps.prepared(pair, 2)
    assert turned_net.left.grid is net.left.grid and turned_net.left.rays is net.left.rays
    again = maps.rectified(*CAMERAS, 160)
    for side, was in ((again.left, own.left), (again.right, own.right)):
        assert np.array_equal(side.map_x, was.map_x) and np.array_equal(side.map_y, was.map_y)
    # A point of the world lies on one row of both grids, seen by the cameras as they stand.
    for point in np.random.default_rng(3).uniform((-0.1, -0.1, 0.9), (0.1, 0.1, 1.3), (20, 3)):
        rows = []
        for side in (pair.left, pair.right):
            at = side.grid.R @ point + side.grid.t
            u, v = (side.grid.K @ at / at[2])[:2]
            x, y = round(u), round(v)
            ahead = side.source.R @ point + side.source.t
            expected = (side.source.K @ ahead / ahead[2])[:2]
            assert np.allclose((side.map_x[y, x], side.map_y[y, x]), expected, atol=0.8)
            rows.append(v)
        assert rows[0] == pytest.approx(rows[1], abs=1e-6)


def off_by_a_little() -> tuple[Rig, FrameSet, Camera, Pixels]:
    """A rig that is wrong by half a degree, what its cameras take, the view half-way and what is to be seen there."""
    stands = [looking_at(f"cam{i}", (x, 0, 0), (0, 0, 1), 320, 240) for i, x in enumerate((-0.12, 0.12))]
    told = pair_rig(pushed(stands, (0.4, 0, 0.3)))
    truth = render(between(pair_rig(stands), "cam0", "cam1", 0.5), PERSON)[0]
    return told, frame_set(stands, PERSON), between(told, "cam0", "cam1", 0.5), truth


def maker_of(rig: Rig, *, align: bool = True) -> ViewSynthesizer:
    return ViewSynthesizer(rig, 320, 240, steady=False, alike=False, align=align)


def test_a_call_with_cameras_that_are_off_is_aligned_within_its_first_second() -> None:
    rig, frames, target, truth = off_by_a_little()
    maker = maker_of(rig)
    quality = []
    for number in range(3):
        at = replace(frames, id=number, capture_ns=number * 500_000_000)
        quality.append(psnr(run_to_end(maker.slices(at, target, "sgbm-160")).pixels, truth))
    assert FIRST_NS <= 500_000_000 and CHECK_NS > 1_000_000_000
    assert quality[0] == quality[1]  # the second set is looked at after its view
    assert quality[2] > quality[1] + 1.5


def test_a_still_is_aligned_by_what_it_shows() -> None:
    rig, frames, target, truth = off_by_a_little()
    maker, believer = maker_of(rig), maker_of(rig, align=False)
    assert set(maker.turned.values()) == {0.0} and not believer.turned
    assert not maker.examine(frames) and not believer.examine(frames)
    assert 0.1 < max(maker.turned.values()) < 0.4
    shown, misled = (psnr(run_to_end(m.slices(frames, target, "sgbm-160")).pixels, truth) for m in (maker, believer))
    assert shown > misled + 1.5


def test_a_rotation_is_what_a_camera_sees_turned() -> None:
    vector: Matrix = np.array([0.1, -0.2, 0.05])
    camera = turned(CAMERAS[0], vector)
    assert turned(CAMERAS[0], np.zeros(3)) is CAMERAS[0]
    assert np.allclose(camera.R @ camera.R.T, np.eye(3)) and np.allclose(camera.centre, CAMERAS[0].centre)
    # The axis stays, and a direction at right angles to it turns by the angle, in the right-handed sense.
    angle = np.linalg.norm(vector)
    axis = vector / angle
    ahead = np.cross(axis, [0, 1, 0]) / np.linalg.norm(np.cross(axis, [0, 1, 0]))
    seen = camera.R.T @ (CAMERAS[0].R @ ahead)
    assert np.allclose(seen, np.cos(angle) * ahead + np.sin(angle) * np.cross(axis, ahead))
    assert np.allclose(camera.R.T @ (CAMERAS[0].R @ axis), axis)
