"""Disparity: right on planes with exact truth, doubted where one camera can't see, filled from what lies behind."""

from __future__ import annotations

import numpy as np
import pytest
from view_scene import Card, Sphere, arc, looking_at, render

from streamsvc.frames import Camera
from streamsvc.view.depthrange import estimate_depth_range
from streamsvc.view.disparity import (
    FILLED_CONFIDENCE,
    Disparity,
    check_and_fill,
    finish,
    inverse_depth,
    match_left,
    match_right,
)
from streamsvc.view.rectify import RectifiedPair, Side, rectify_pair

WALL: list[Sphere | Card] = [Card(1.5, 3)]
CARD: list[Sphere | Card] = [Card(0.9, 5, (-0.12, 0.12), (-0.1, 0.1)), Card(1.5, 3)]


def grey_on_grid(side: Side, objects: list[Sphere | Card]) -> np.ndarray:
    return side.rectify(render(side.source, objects)[0]).mean(-1).astype(np.uint8)


def match(a: Camera, b: Camera, objects: list[Sphere | Card]) -> tuple[RectifiedPair, Disparity]:
    pair = rectify_pair(a, b, (0.7, 2.0))
    left, right = grey_on_grid(pair.left, objects), grey_on_grid(pair.right, objects)
    return pair, finish(pair, match_left(pair, left, right), match_right(pair, left, right))


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
    own = np.full((1, 40), 5 * 16, np.int16)
    other = np.full((1, 40), 5 * 16, np.int16)
    other[0, 20] = 9 * 16
    out, confidence = check_and_fill(own, other, np.ones((1, 40), bool), 1)
    assert confidence[0, 25] == np.float32(FILLED_CONFIDENCE) and out[0, 25] == 5
    assert (confidence[0, 5:25] == 1).all() and (confidence[0, :5] == np.float32(FILLED_CONFIDENCE)).all()
    out, confidence = check_and_fill(own, other, np.ones((1, 40), bool), -1)
    assert confidence[0, 15] == np.float32(FILLED_CONFIDENCE) and (confidence[0, 35:] < 0.5).all()


def test_holes_take_the_farther_neighbour_and_slopes_are_interpolated() -> None:
    own = np.full((2, 40), -16, np.int16)
    own[0, 10:20], own[0, 25:35] = 8 * 16, 2 * 16
    own[1, 10:20], own[1, 25:35] = 4 * 16, 5 * 16
    other = np.full((2, 40), -16, np.int16)
    other[0, 2:12], other[0, 23:33] = 8 * 16, 2 * 16
    other[1, 6:16], other[1, 20:30] = 4 * 16, 5 * 16
    out, _ = check_and_fill(own, other, np.ones((2, 40), bool), 1)
    assert (out[0, 20:25] == 2).all() and (out[0, :10] == 8).all() and (out[0, 35:] == 2).all()
    assert (np.diff(out[1, 19:26]) > 0).all() and 4 < out[1, 22] < 5


def test_rows_without_matches_and_the_outside_have_no_depth() -> None:
    pair = rectify_pair(*side_by_side(), (0.7, 2.0))
    shape = pair.left.inside.shape
    nothing = np.full(shape, -16, np.int16)
    out, confidence = check_and_fill(nothing, nothing, pair.left.inside, 1)
    assert not confidence.any() and not inverse_depth(pair, out, confidence).any()
    flat = np.full(shape, 16, np.int16)
    out, confidence = check_and_fill(flat, flat, pair.left.inside, 1)
    assert not confidence[~pair.left.inside].any()


def test_depth_range_is_found_from_the_pictures_when_the_rig_has_none() -> None:
    a, b = side_by_side()
    found = estimate_depth_range(a, render(a, CARD)[0], b, render(b, CARD)[0])
    assert found is not None
    near, far = found
    assert 0.6 < near < 0.9 and 1.5 < far < 3.0


def test_depth_range_of_blank_pictures_is_unknown() -> None:
    a, b = side_by_side()
    noise = np.random.default_rng(0).integers(0, 255, (2, 180, 240, 3), np.uint8)
    assert estimate_depth_range(a, noise[0], b, noise[1]) is None
