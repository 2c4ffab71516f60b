"""Which pairs show a view and which help: by shared cameras, and by where the view stands."""

from __future__ import annotations

import numpy as np
import pytest
from view_scene import arc

from streamsvc.frames import Rig
from streamsvc.scene import between
from streamsvc.view.arrange import about, groups, helpers

CHAIN = (("cam0", "cam1"), ("cam1", "cam2"), ("cam2", "cam3"))


@pytest.fixture(scope="module")
def rig() -> Rig:
    """Four cameras 10 degrees apart."""
    return Rig(tuple(arc(4, 10)), CHAIN)


def test_pairs_that_share_cameras_are_one_group_even_through_others() -> None:
    assert groups(()) == []
    assert groups((("a", "b"), ("c", "d"))) == [[("a", "b")], [("c", "d")]]
    assert groups((("a", "b"), ("c", "d"), ("e", "f"), ("b", "c"))) == [
        [("e", "f")],
        [("a", "b"), ("c", "d"), ("b", "c")],
    ]


def test_helpers_share_one_camera() -> None:
    assert helpers(CHAIN[1], CHAIN) == [CHAIN[0], CHAIN[2]]
    assert helpers(CHAIN[0], CHAIN) == [CHAIN[1]]
    assert helpers(("cam1", "cam0"), CHAIN) == [CHAIN[1]]


@pytest.mark.parametrize(("fraction", "expected"), [(-1.5, 0), (-0.5, 0), (0.5, 1), (1.5, 2), (2.0, 2)])
def test_a_view_between_two_cameras_is_shown_by_their_pair(rig: Rig, fraction: float, expected: int) -> None:
    view = between(rig, "cam0", "cam1", fraction + 1) if fraction < -1 else between(rig, "cam1", "cam2", fraction)
    assert about(CHAIN, rig, view, 1.0) == CHAIN[expected]


def test_of_two_pairs_about_the_view_the_closer_one_shows_it(rig: Rig) -> None:
    view = between(rig, "cam1", "cam2", 0.5)
    assert about((("cam0", "cam3"), ("cam1", "cam2")), rig, view, 1.0) == ("cam1", "cam2")


def test_where_the_subject_stands_on_a_camera_there_is_still_an_answer(rig: Rig) -> None:
    view = rig.cameras[0]
    assert about(CHAIN, rig, view, 0.0) in CHAIN
    assert np.isfinite(view.centre).all()
