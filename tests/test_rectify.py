"""Rectification: matches share a row, disparity is what the invariant says, in any arrangement of the two cameras."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from view_scene import arc, looking_at, pair_rig

from streamsvc.frames import Camera
from streamsvc.view import ViewSynthesizer
from streamsvc.view.errors import ViewError
from streamsvc.view.maps import ENLARGED, PairMaps
from streamsvc.view.net import open_net
from streamsvc.view.rectify import RectifiedPair, pixel_rays, rectify_pair, shrunk

RANGE = (0.7, 1.6)


def turned(roll: float) -> tuple[Camera, Camera]:
    """Two cameras side by side, one above the other, or between, with lenses that distort."""
    c, s = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    a = looking_at("a", (-0.1 * c, -0.1 * s, 0.01), (0.02, 0, 1), 320, 240)
    b = looking_at("b", (0.1 * c, 0.1 * s, 0), (-0.01, 0, 1), 320, 240, roll=3)
    lens = np.array([-0.2, 0.05, 0.001, -0.002, 0.01])
    return replace(a, dist=lens), replace(b, dist=lens * 0.7)


def seen(camera: Camera, points: np.ndarray) -> np.ndarray:
    image, _ = cv2.projectPoints(points, cv2.Rodrigues(camera.R)[0], camera.t, camera.K, camera.dist)
    return image.reshape(-1, 2)


def on_grid(side_map_x: np.ndarray, side_map_y: np.ndarray, pixel: np.ndarray) -> np.ndarray:
    distance = (side_map_x - pixel[0]) ** 2 + (side_map_y - pixel[1]) ** 2
    y, x = np.unravel_index(np.argmin(distance), distance.shape)
    return np.array([x, y])


@pytest.mark.parametrize("roll", [0, 90, 180, 270, 40, 135])
def test_matches_lie_on_one_row_whatever_the_arrangement(roll: float) -> None:
    a, b = turned(roll)
    pair = rectify_pair(a, b, RANGE)
    rng = np.random.default_rng(0)
    points = rng.uniform((-0.15, -0.15, 0.8), (0.15, 0.15, 1.5), (60, 3))
    left, right = seen(pair.left.grid, points), seen(pair.right.grid, points)
    assert np.abs(left[:, 1] - right[:, 1]).max() < 1e-6
    disparity = left[:, 0] - right[:, 0]
    depth = (points @ pair.left.grid.R.T + pair.left.grid.t)[:, 2]
    assert np.allclose(disparity, pair.fb / depth - pair.shift)
    assert disparity.min() >= 0 and disparity.max() <= pair.disparities


def test_maps_lead_from_the_grid_back_to_the_distorted_picture() -> None:
    a, b = turned(90)
    pair = rectify_pair(a, b, RANGE)
    points = np.random.default_rng(1).uniform((-0.1, -0.1, 0.8), (0.1, 0.1, 1.5), (20, 3))
    for side in (pair.left, pair.right):
        for picture, grid in zip(seen(side.source, points), seen(side.grid, points), strict=True):
            assert np.abs(on_grid(side.map_x, side.map_y, picture) - grid).max() <= 0.75


def test_only_the_disparities_between_near_and_far_are_searched() -> None:
    a, b = arc(2, 20)
    narrow, wide = rectify_pair(a, b, (0.9, 1.2)), rectify_pair(a, b, (0.3, math.inf))
    expected = narrow.fb * (1 / 0.9 - 1 / 1.2)
    assert expected <= narrow.disparities <= expected * 1.4 + 32
    assert narrow.disparities < wide.disparities
    assert wide.shift < 0 < narrow.shift


def test_order_of_the_cameras_does_not_matter() -> None:
    a, b = arc(2, 20)
    one, other = rectify_pair(a, b, RANGE), rectify_pair(b, a, RANGE)
    assert one.left.source.name == other.left.source.name == "cam0"
    assert np.array_equal(one.left.map_x, other.left.map_x)


def test_rays_undo_the_lens() -> None:
    a, _ = turned(0)
    rays = pixel_rays(a)
    points = np.concatenate([rays[::40, ::40].reshape(-1, 2), np.ones((48, 1))], 1).astype(np.float64)
    image, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), a.K, a.dist)
    v, u = np.mgrid[0:240:40, 0:320:40]
    assert np.abs(image.reshape(-1, 2) - np.stack([u.ravel(), v.ravel()], 1)).max() < 0.02


def test_smaller_pictures_keep_the_field_of_view() -> None:
    a, _ = arc(2, 20)
    half = shrunk(a, 160)
    assert (half.width, half.height) == (160, 120)
    assert shrunk(a, 640) is a
    corner = np.linalg.inv(half.K) @ (-0.5, -0.5, 1)
    assert np.allclose(corner, np.linalg.inv(a.K) @ (-0.5, -0.5, 1))


def impossible() -> list[tuple[str, Camera, Camera]]:
    a, b = arc(2, 20)
    return [
        ("one place", a, replace(b, R=a.R, t=a.t)),
        (
            "baseline",
            looking_at("a", (0, 0, 0), (0, 0, 1), 320, 240),
            looking_at("b", (0, 0, 0.2), (0, 0, 1), 320, 240),
        ),
        (
            "apart|common",
            looking_at("a", (0, 0, 0), (-1, 0, 0.1), 320, 240),
            looking_at("b", (1, 0, 0), (2, 0, 0.1), 320, 240),
        ),
    ]


@pytest.mark.parametrize(("why", "a", "b"), impossible())
def test_cameras_that_are_no_pair_are_refused_by_name(why: str, a: Camera, b: Camera) -> None:
    with pytest.raises(ViewError, match=why):
        rectify_pair(a, b, RANGE)


def test_sides_hold_what_the_pair_promises() -> None:
    pair: RectifiedPair = rectify_pair(*arc(2, 20), RANGE)
    for side in (pair.left, pair.right):
        shape = side.grid.height, side.grid.width
        assert side.map_x.shape == side.map_y.shape == side.inside.shape == shape
        assert side.rays.shape == (*shape, 2) and side.map_x.dtype == np.float32
        assert 0 <= side.columns[0] < side.columns[1] <= shape[1]
    assert pair.left.columns[0] >= pair.disparities
    assert pair.right.columns[1] + pair.disparities <= pair.left.grid.width


def test_pictures_are_enlarged_only_so_far_to_be_matched_and_nothing_else_changes() -> None:
    a, b = arc(2, 20)
    maps = PairMaps(pair_rig([a, b]))
    own, larger, most = (maps.rectified(a, b, side) for side in (320, 480, 900))
    assert (own.left.source.width, own.left.source.height) == (larger.left.source.width, larger.left.source.height)
    assert larger.fb == pytest.approx(1.5 * own.fb) and most.fb == pytest.approx(ENLARGED * own.fb)
    # The same column of the world, half as many pixels again.
    assert larger.left.grid.height == pytest.approx(1.5 * own.left.grid.height, abs=2)
    x, y = own.left.grid.width // 2, own.left.grid.height // 2
    ray = np.linalg.inv(own.left.grid.K) @ (x, y, 1)
    u, v, w = larger.left.grid.K @ ray
    u, v = round(u / w), round(v / w)
    assert larger.left.map_x[v, u] == pytest.approx(own.left.map_x[y, x], abs=0.5)
    assert larger.left.map_y[v, u] == pytest.approx(own.left.map_y[y, x], abs=0.5)


@pytest.mark.parametrize(("size", "most"), [((320, 240), "net-512-3"), ((160, 120), "net-240-3")])
def test_a_pair_with_little_disparity_has_the_rungs_that_its_pictures_are_large_enough_for(
    size: tuple[int, int], most: str
) -> None:
    rungs = [r.name for r in ViewSynthesizer(pair_rig(arc(2, 5, *size)), *size, net=open_net()).rungs]
    assert rungs[-1] == most
