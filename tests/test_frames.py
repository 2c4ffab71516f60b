"""Rig, viewpoint and clock map: what is accepted, what is refused and how, and that the geometry is exact."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamsvc.frames import Rig, RigError, Screen, default_screen, load_rig, load_views, off_axis_camera, parse_rig
from streamsvc.frames.clockmap import ARRIVAL_ERROR_NS, ClockEstimator

MS = 1_000_000


def document() -> dict[str, Any]:
    camera = {
        "name": "cam0",
        "width": 640,
        "height": 480,
        "K": [[600, 0, 319.5], [0, 600, 239.5], [0, 0, 1]],
        "dist": [0, 0, 0, 0, 0],
        "R": np.eye(3).tolist(),
        "t": [0, 0, 0],
    }
    other = {**camera, "name": "cam1", "t": [-0.2, 0, 0]}
    return {"version": 1, "cameras": [camera, other], "pairs": [["cam0", "cam1"]], "depth_range": [0.5, 2.0]}


def test_a_rig_survives_its_own_json() -> None:
    rig = parse_rig(document())
    again = parse_rig(json.loads(json.dumps(rig.to_json())))
    assert again.to_json() == rig.to_json()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(version=2), "version 2"),
        (lambda d: d.update(cameras=[]), "1 to 16 cameras"),
        (lambda d: d["cameras"][0].update(K=np.zeros((3, 3)).tolist()), "'K' is singular"),
        (lambda d: d["cameras"][1].update(R=np.zeros((3, 3)).tolist()), "'R' is singular"),
        (lambda d: d["cameras"][1].update(R=(-np.eye(3)).tolist()), "no rotation"),
        (lambda d: d["cameras"][0].update(width=0), "'width'"),
        (lambda d: d["cameras"][0].update(height=True), "'height'"),
        (lambda d: d["cameras"][0].update(t=[0, float("nan"), 0]), "finite"),
        (lambda d: d["cameras"][0].pop("dist"), "'dist' is missing"),
        (lambda d: d["cameras"][1].update(name="cam0"), "one name"),
        (lambda d: d.update(pairs=[["cam0", "cam9"]]), "two different cameras"),
        (lambda d: d.update(depth_range=[2.0, 0.5]), "near < far"),
        (lambda d: d.update(screen={"centre": [0, 0, 1], "right": [1, 0, 0], "up": [1, 0, 0]}), "span a rectangle"),
    ],
)
def test_a_rig_that_cannot_be_used_is_refused_with_the_field(change: Any, message: str) -> None:
    doc = copy.deepcopy(document())
    change(doc)
    with pytest.raises(RigError, match=message):
        parse_rig(doc)


def test_a_missing_or_damaged_rig_file_is_a_rig_error(tmp_path: Path) -> None:
    with pytest.raises(RigError, match="No such file"):
        load_rig(tmp_path / "rig.json")
    (tmp_path / "rig.json").write_text("{")
    with pytest.raises(RigError, match="not JSON"):
        load_rig(tmp_path / "rig.json")


def test_a_view_file_holds_one_camera_or_one_a_frame(tmp_path: Path) -> None:
    view = {k: v for k, v in document()["cameras"][0].items() if k not in ("name", "dist")}
    path = tmp_path / "view.json"
    path.write_text(json.dumps(view))
    assert len(load_views(path)) == 1
    path.write_text(json.dumps([view, view]))
    assert [v.width for v in load_views(path)] == [640, 640]


def test_resizing_keeps_the_ray_of_every_pixel_centre() -> None:
    camera = parse_rig(document()).cameras[0]
    small = camera.resized(320, 240)
    corner = np.linalg.solve(camera.K, [-0.5, -0.5, 1])
    assert np.allclose(np.linalg.solve(small.K, [-0.5, -0.5, 1]), corner)


def project(camera: Any, point: Any) -> Any:
    x = camera.K @ (camera.R @ point + camera.t)
    return x[:2] / x[2]


@pytest.mark.parametrize("eye", [(0.0, 0.0, -0.5), (0.2, -0.1, -0.3), (-0.3, 0.2, 0.1)])
def test_the_off_axis_camera_maps_the_screens_corners_to_the_pictures_corners(eye: tuple[float, float, float]) -> None:
    screen = Screen(np.array([0, 0.05, 0.8]), np.array([0.3, 0, 0]), np.array([0, -0.2, 0]))
    camera = off_axis_camera(screen, np.array(eye), 640, 480)
    corner = screen.centre - screen.right + screen.up
    assert np.allclose(project(camera, corner), (-0.5, -0.5))
    assert np.allclose(project(camera, screen.centre + screen.right - screen.up), (639.5, 479.5))
    assert np.allclose(camera.centre, eye)


def test_an_eye_in_the_screen_is_kept_five_centimetres_away() -> None:
    screen = Screen(np.array([0, 0, 0.8]), np.array([0.3, 0, 0]), np.array([0, -0.2, 0]))
    assert off_axis_camera(screen, np.array([0, 0, 2.0]), 64, 48).centre[2] == pytest.approx(0.75)


def test_the_default_screen_is_what_the_cameras_see_at_the_subject() -> None:
    rig: Rig = parse_rig(document())
    screen = default_screen(rig, 1.0, 4 / 3)
    assert screen.centre == pytest.approx([0.1, 0, 1.0])
    assert screen.up == pytest.approx([0, -0.4, 0])
    assert screen.right == pytest.approx([0.4 * 4 / 3, 0, 0])


def test_a_camera_that_hangs_upside_down_does_not_turn_the_screen() -> None:
    doc = document()
    doc["cameras"][1]["R"] = [[-1, 0, 0], [0, -1, 0], [0, 0, 1]]
    screen = default_screen(parse_rig(doc), 1.0, 4 / 3)
    assert screen.right == pytest.approx([0.4 * 4 / 3, 0, 0])


def test_pairs_are_few_and_none_is_named_twice() -> None:
    doc = document()
    a, b = (camera["name"] for camera in doc["cameras"][:2])
    with pytest.raises(RigError, match="named twice"):
        parse_rig(doc | {"pairs": [[a, b], [b, a]]})
    with pytest.raises(RigError, match="at most 24"):
        parse_rig(doc | {"pairs": [[a, b]] * 25})


def test_a_file_that_is_nested_too_deeply_is_not_json(tmp_path: Path) -> None:
    (tmp_path / "rig.json").write_text("[" * 200_000)
    with pytest.raises(RigError, match="not JSON"):
        load_rig(tmp_path / "rig.json")


def test_a_camera_matrix_has_no_skew_below_its_diagonal() -> None:
    doc = document()
    doc["cameras"][0]["K"][1][0] = 3.0
    with pytest.raises(RigError, match="'K'"):
        parse_rig(doc)


def test_the_clock_map_takes_the_shortest_round_trip() -> None:
    clock = ClockEstimator()
    clock.ping(0, 1_000 * MS, 80 * MS)
    clock.ping(100 * MS, 1_052 * MS, 104 * MS)
    assert clock.map is not None
    assert (clock.map.offset_ns, clock.map.error_ns) == (950 * MS, 2 * MS)


def test_without_pings_the_earliest_arrival_bounds_the_offset_and_old_ones_wear_out() -> None:
    clock = ClockEstimator()
    assert clock.map is None
    for sent, arrived in ((0, 130), (33, 140), (66, 220)):
        clock.arrival(sent * MS, arrived * MS)
    assert clock.map is not None
    assert (clock.map.offset_ns, clock.map.error_ns) == (107 * MS, ARRIVAL_ERROR_NS)
    clock.arrival(40_000 * MS, 40_150 * MS)
    assert clock.map.offset_ns == 150 * MS
