"""Which track is which camera of a rig."""

from __future__ import annotations

import pytest

from streamsvc.scene import open_scene
from streamsvc.session.cameras import check_cameras, in_order, next_camera
from streamsvc.signalling.messages import CameraTrack, SignallingError

RIG = open_scene("body:1").rig(4, 320, 240)
"""Of cam0 to cam3."""


def tracks(*names: str) -> list[CameraTrack]:
    return [CameraTrack(name, str(mid)) for mid, name in enumerate(names)]


def test_cameras_are_those_of_the_rig_each_once() -> None:
    check_cameras(tracks("cam2", "cam0"), RIG)
    check_cameras(tracks("door", "window"), None)
    for wrong in (tracks("cam0", "cam0"), [CameraTrack("cam0", "0"), CameraTrack("cam1", "0")], tracks("cam0", "door")):
        with pytest.raises(SignallingError) as refused:
            check_cameras(wrong, RIG)
        assert refused.value.code == "bad-cameras"


def test_a_track_without_a_name_is_the_next_camera_that_is_free() -> None:
    assert next_camera(RIG, {"cam1"}) == "cam0" and next_camera(RIG, {"cam0", "cam1"}) == "cam2"
    assert next_camera(RIG, {"cam0", "cam1", "cam2", "cam3"}) == "cam4"
    assert next_camera(None, {"door", "cam0"}) == "cam1"


def test_cameras_are_told_in_the_order_of_the_rig() -> None:
    assert in_order(RIG, ["door", "cam2", "cam0"]) == ("cam0", "cam2", "door")
    assert in_order(None, ["b", "a"]) == ("a", "b")
