"""Disparity: right on planes with exact truth, doubted where one camera can't see, filled from what lies behind."""

from __future__ import annotations

import numpy as np
import pytest
from view_scene import Card, Sphere, arc, looking_at, render

from streamsvc.frames import Camera
from streamsvc.scene import open_scene
from streamsvc.scene.rigs import body_rig
from streamsvc.view.depthrange import estimate_depth_range
from streamsvc.view.disparity import (
    FILLED_CONFIDENCE,
    Disparity,
    check,
    drop_islands,
    fill,
    finish,
    inverse_depth,
    match_left,
    match_right,
    snap_to_edges,
)
from streamsvc.view.rectify import RectifiedPair, Side, rectify_pair

WALL: list[Sphere | Card] = [Card(1.5, 3)]
CARD: list[Sphere | Card] = [Card(0.9, 5, (-0.12, 0.12), (-0.1, 0.1)), Card(1.5, 3)]


def on_grid(side: Side, objects: list[Sphere | Card]) -> np.ndarray:
    return side.rectify(render(side.source, objects)[0])


def match(a: Camera, b: Camera, objects: list[Sphere | Card]) -> tuple[RectifiedPair, Disparity]:
    pair = rectify_pair(a, b, (0.7, 2.0))
    colours = on_grid(pair.left, objects), on_grid(pair.right, objects)
    left, right = (c.mean(-1).astype(np.uint8) for c in colours)
    return pair, finish(pair, match_left(pair, left, right), match_right(pair, left, right), *colours)


def side_by_side() -> tuple[Camera, Camera]:
    return (
        looking_at("a", (-0.08, 0, 0), (-0.04, 0, 1), 240, 180),
        looking_at("b", (0.08, 0, 0), (0.04, 0, 1), 240, 180),
    )


def above_each_other() -> tuple[Camera, Camera]:
    return (
        looking_at("a", (0, -0.08, 0), (0, -0.04, 1), 240, 180),
        looking_at("b", (0, 0.08, 0), (0, 0.04, 1), 240, 180),
    )


@pytest.mark.parametrize("cameras", [side_by_side(), side_by_side()[::-1], above_each_other(), tuple(arc(2, 20))])
def test_depth_of_a_wall_is_right_in_both_cameras(cameras: tuple[Camera, Camera]) -> None:
    pair, found = match(*cameras, WALL)
    for side, inverse, confidence in (
        (pair.left, found.left, found.left_confidence),
        (pair.right, found.right, found.right_confidence),
    ):
        truth = render(side.grid, WALL)[1]
        sure = confidence >= 0.5
        assert sure.sum() > 0.5 * side.inside[:, side.columns[0] : side.columns[1]].sum()
        error = np.abs(inverse - 1 / truth)[sure] * pair.fb
        assert np.median(error) < 0.3 and np.percentile(error, 95) < 1.0


def test_what_only_one_camera_sees_is_doubted_and_gets_the_wall_s_depth() -> None:
    pair, found = match(*side_by_side(), CARD)
    truth = render(pair.left.grid, CARD)[1]
    # Left of the card's left edge the left camera sees wall that the card hides from the right camera.
    rows = np.flatnonzero((truth < 1.2).sum(1) > 20)
    y = int(rows[len(rows) // 2])
    edge = int(np.flatnonzero(truth[y] < 1.2)[0])
    hidden = slice(edge - 10, edge - 4)
    assert (found.left_confidence[y, hidden] <= FILLED_CONFIDENCE).mean() > 0.5
    assert np.abs(found.left[y, hidden] - 1 / truth[y, hidden]).max() * pair.fb < 3


def test_left_right_check_keeps_what_agrees_and_drops_what_does_not() -> None:
    own, other = np.full((1, 40), 5 * 16, np.int16), np.full((1, 40), 5 * 16, np.int16)
    other[0, 20] = 9 * 16
    inside = np.ones((1, 40), bool)
    inside[0, 39] = False
    agreed, confidence = check(own, other, inside, 1)
    assert np.flatnonzero(agreed[0] < 0).tolist() == [0, 1, 2, 3, 4, 25, 39]
    assert ((confidence > 0) == (agreed >= 0)).all() and confidence[0, 10] == 1
    assert np.flatnonzero(check(own, other, inside, -1)[0][0] < 0).tolist() == [15, 35, 36, 37, 38, 39]
    other[:] = 5 * 16 + 8
    assert 0.5 <= check(own, other, inside, 1)[1][0, 10] < 1


def test_holes_take_the_farther_neighbour_unless_colour_says_otherwise() -> None:
    agreed = np.full((45, 60), -16, np.int16)
    agreed[:, :20], agreed[:, 40:] = 30 * 16, 10 * 16
    inside, grey = np.ones((45, 60), bool), np.full((45, 60, 3), 100, np.uint8)
    plain = fill(agreed, inside, grey)
    assert (plain[:, 25:] == 10).all() and (plain[:, :20] == 30).all()
    guide = grey.copy()
    guide[:, :35] = 200
    guided = fill(agreed, inside, guide)
    assert (guided[:, 20:35] == 30).all() and (guided[:, 35:] == 10).all()


def test_holes_are_filled_from_above_and_below_too() -> None:
    agreed = np.full((20, 30), -16, np.int16)
    agreed[0], agreed[-1] = 8 * 16, 8 * 16
    inside = np.ones((20, 30), bool)
    inside[:, :5] = False
    filled = fill(agreed, inside, np.zeros((20, 30, 3), np.uint8))
    assert (filled[:, 5:] == 8).all() and (filled[1:-1, :5] == -1).all()


def test_small_groups_and_islands_out_of_the_other_camera_s_view_are_dropped() -> None:
    agreed = np.full((100, 100), 4 * 16, np.int16)
    in_view = np.ones((100, 100), bool)
    in_view[:, 60:] = False
    agreed[10:13, 10:13] = 20 * 16  # a speck in view
    agreed[:, 70:] = -16
    agreed[50:55, 80:88] = 30 * 16  # out of view, joined to nothing
    agreed[70:95, 75:95] = 30 * 16  # the same, but too large for chance
    drop_islands(agreed, in_view)
    assert (agreed[10:13, 10:13] < 0).all() and (agreed[50:55, 80:88] < 0).all()
    assert (agreed[70:95, 75:95] == 30 * 16).all() and (agreed[20:, 60:70] == 4 * 16).all()


def test_without_any_match_there_is_no_depth() -> None:
    pair = rectify_pair(*side_by_side(), (0.7, 2.0))
    shape = pair.left.inside.shape
    nothing, colour = np.full(shape, -16, np.int16), np.zeros((*shape, 3), np.uint8)
    found = finish(pair, nothing, nothing, colour, colour)
    assert not found.left.any() and not found.right_confidence.any()
    assert not inverse_depth(pair, np.full(shape, -1, np.float32), np.zeros(shape, np.float32)).any()


def test_depth_range_is_found_from_the_pictures_when_the_rig_has_none() -> None:
    a, b = side_by_side()
    found = estimate_depth_range(a, render(a, CARD)[0], b, render(b, CARD)[0])
    assert found is not None
    near, far = found
    assert 0.6 < near < 0.9 and 1.5 < far < 3.0


@pytest.mark.parametrize("scene", ["body:identity=4,seed=28", "body:identity=5,seed=35"])
def test_wrong_matches_do_not_move_the_range_of_a_person_in_a_room(scene: str) -> None:
    a, b = body_rig(2, 320, 240).cameras
    seen = [open_scene(scene).render(camera, 1.5) for camera in (a, b)]
    found = estimate_depth_range(a, seen[0].rgb, b, seen[1].rgb)
    assert found is not None
    nearest, farthest = np.nanpercentile(seen[0].depth, (1, 99))
    assert nearest / 1.5 < found[0] < nearest and farthest < found[1] < 1.5 * farthest


def test_depth_range_of_blank_pictures_is_unknown() -> None:
    a, b = side_by_side()
    noise = np.random.default_rng(0).integers(0, 255, (2, 180, 240, 3), np.uint8)
    assert estimate_depth_range(a, noise[0], b, noise[1]) is None


def test_a_jump_moves_to_where_the_colours_change() -> None:
    disparity = np.full((40, 60), 10, np.float32)
    disparity[:, 29:] = 30
    disparity[:, :3] = -1
    guide = np.full((40, 60, 3), 50, np.uint8)
    guide[:, 30:] = 200
    snapped = snap_to_edges(disparity, np.ones((40, 60), np.float32), guide)
    assert (snapped[:, 3:30] == 10).all() and (snapped[:, 30:] == 30).all() and (snapped[:, :3] == -1).all()


def test_a_slope_is_left_as_it_is() -> None:
    slope = np.tile(np.linspace(5, 20, 60, dtype=np.float32), (40, 1))
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    assert np.array_equal(snap_to_edges(slope, np.ones_like(slope), noise), slope)
