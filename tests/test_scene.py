"""The scene room: pictures, depth and alpha agree between cameras and repeat; bad specifications are typed errors."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from streamsvc.frames import Camera, off_axis_camera, parse_rig
from streamsvc.scene import Rendering, Scene, SceneError, between, open_scene

SIZE = (160, 120)


@pytest.fixture(scope="module")
def body() -> Scene:
    return open_scene("body:identity=0,seed=3")


def reproject(source: Camera, depth: np.ndarray, target: Camera) -> np.ndarray:
    """Pixels of `source` with their depth seen by `target`: (H, W, 3) of x, y, z."""
    y, x = np.mgrid[: source.height, : source.width].astype(np.float64)
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(source.K).T
    world = (rays * depth[..., None] - source.t) @ source.R
    seen = (world @ target.R.T + target.t) @ target.K.T
    return np.concatenate([seen[..., :2] / seen[..., 2:], seen[..., 2:]], -1)


def sample(picture: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear samples of (H, W, ...) at (n,) coordinates inside the picture."""
    i, j = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = x - i, y - j
    if picture.ndim == 3:
        fx, fy = fx[:, None], fy[:, None]
    p = picture.astype(np.float64)
    top = p[j, i] * (1 - fx) + p[j, i + 1] * fx
    return top * (1 - fy) + (p[j + 1, i] * (1 - fx) + p[j + 1, i + 1] * fx) * fy


def matches(a: Camera, ra: Rendering, b: Camera, rb: Rendering) -> tuple[np.ndarray, np.ndarray]:
    """Where pixels of `a` land in `b` and are not occluded there: (mask (H, W), x y z (H, W, 3))."""
    seen = reproject(a, ra.depth, b)
    x, y, z = seen[..., 0], seen[..., 1], seen[..., 2]
    inside = (x >= 0) & (y >= 0) & (x < b.width - 1.01) & (y < b.height - 1.01)
    near = np.full(inside.shape, np.inf)
    near[inside] = np.abs(sample(rb.depth, x[inside], y[inside]) - z[inside])
    return inside & (near < 0.01 * z), seen


def test_the_same_camera_and_time_give_the_same_picture_whatever_was_rendered_before(body: Scene) -> None:
    camera = body.rig(2, *SIZE).cameras[0]
    first = body.render(camera, 2.0)
    body.render(camera, 3.0)
    again = open_scene("body:identity=0,seed=3").render(camera, 2.0)
    assert np.array_equal(first.rgb, again.rgb)
    assert np.array_equal(first.depth, again.depth) and np.array_equal(first.alpha, again.alpha)


def test_a_rendering_has_the_promised_shapes_and_types(body: Scene) -> None:
    r = body.render(body.rig(1, 96, 64).cameras[0], 0.0)
    assert r.rgb.shape == (64, 96, 3) and r.rgb.dtype == np.uint8 and r.rgb.flags.c_contiguous
    assert r.depth.shape == r.alpha.shape == (64, 96) and r.depth.dtype == r.alpha.dtype == np.float32


@pytest.mark.parametrize("t", [0.0, 2.2])
def test_depth_agrees_between_two_cameras(body: Scene, t: float) -> None:
    a, b = body.rig(2, *SIZE).cameras
    ra, rb = body.render(a, t), body.render(b, t)
    seen = reproject(a, ra.depth, b)
    x, y = seen[..., 0], seen[..., 1]
    inside = (x >= 0) & (y >= 0) & (x < b.width - 1.01) & (y < b.height - 1.01)
    nearest = cv2.erode(rb.depth, np.ones((3, 3), np.uint8))
    behind = nearest[np.rint(y[inside]).astype(int), np.rint(x[inside]).astype(int)] - seen[inside][:, 2]
    # nothing that one camera sees may lie in front of what the other sees on the same ray
    assert (behind[np.isin(ra.alpha[inside], (0, 1))] > 0.03).mean() < 0.004
    visible, _ = matches(a, ra, b, rb)
    assert visible[inside].mean() > 0.6
    assert visible[inside & (ra.alpha == 1)].mean() > 0.6


def test_colour_agrees_between_two_cameras_where_both_see_the_point(body: Scene) -> None:
    a, b = body.rig(2, 320, 240).cameras
    ra, rb = body.render(a, 1.0), body.render(b, 1.0)
    visible, seen = matches(a, ra, b, rb)
    for part in (ra.alpha == 1, ra.alpha == 0):
        at = visible & part
        error = np.abs(sample(rb.rgb, seen[at][:, 0], seen[at][:, 1]) - ra.rgb[at]).mean(1)
        assert np.median(error) < 4 and np.percentile(error, 90) < 20


def test_alpha_is_the_person_and_edges_are_partial(body: Scene) -> None:
    r = body.render(body.rig(2, *SIZE).cameras[0], 0.0)
    assert 0.2 < (r.alpha > 0.5).mean() < 0.7
    assert r.alpha.min() == 0 and r.alpha.max() == 1
    assert 0 < ((r.alpha > 0) & (r.alpha < 1)).mean() < 0.1
    assert r.depth[r.alpha == 1].max() < 1.3 < r.depth[r.alpha == 0].min()
    # no holes: rows through the chest are covered from side to side
    row = r.alpha[-10]
    covered = np.flatnonzero(row)
    assert row[covered[0] + 1 : covered[-1]].mean() > 0.8


@pytest.mark.parametrize("cameras", [1, 2, 4])
def test_the_rig_is_valid_and_holds_what_its_cameras_see(body: Scene, cameras: int) -> None:
    rig = body.rig(cameras, *SIZE)
    again = parse_rig(rig.to_json())
    assert [c.name for c in again.cameras] == [c.name for c in rig.cameras] and len(rig.pairs) == cameras - 1
    assert rig.depth_range is not None and rig.screen is not None
    near, far = rig.depth_range
    for camera in rig.cameras:
        depth = body.render(camera, 3.0).depth
        assert near < depth.min() and depth.max() < far


def test_two_cameras_are_20_degrees_apart_and_two_more_10_on_either_side(body: Scene) -> None:
    for cameras, angles in ((2, (20.0,)), (4, (10.0, 20.0, 10.0))):
        rig = body.rig(cameras, *SIZE)
        for pair, angle in zip(rig.pairs, angles, strict=True):
            za, zb = (rig.camera(n).R[2] for n in pair)
            assert np.degrees(np.arccos(za @ zb)) == pytest.approx(angle, abs=0.3)


@pytest.mark.parametrize("eye", [(0.0, 0.0, -0.1), (0.0, 0.0, -0.6), (0.12, -0.05, -0.3)])
def test_an_eye_before_the_screen_sees_the_upper_body(body: Scene, eye: tuple[float, float, float]) -> None:
    screen = body.rig(2, *SIZE).screen
    assert screen is not None
    r = body.render(off_axis_camera(screen, np.array(eye), *SIZE), 0.0)
    assert 0.2 < r.alpha.mean() < 0.75 and r.alpha[:, 70:90].mean() > 0.6


def test_a_camera_between_two_stands_half_way_and_looks_at_the_person(body: Scene) -> None:
    rig = body.rig(2, *SIZE)
    middle = between(rig, "cam0", "cam1", 0.5)
    assert np.allclose(middle.R @ middle.R.T, np.eye(3)) and np.linalg.det(middle.R) > 0
    a, b = rig.cameras
    assert np.allclose(middle.centre, (a.centre + b.centre) / 2)
    assert np.allclose(between(rig, "cam0", "cam1", 0.0).R, a.R) and np.allclose(
        between(rig, "cam0", "cam1", 1.0).R, b.R
    )
    assert body.render(middle, 0.0).alpha.mean() > 0.2


def test_the_person_moves_and_the_room_does_not(body: Scene) -> None:
    camera = body.rig(2, *SIZE).cameras[0]
    a, b = body.render(camera, 0.5), body.render(camera, 1.3)
    room = (a.alpha == 0) & (b.alpha == 0)
    assert np.array_equal(a.rgb[room], b.rgb[room])
    changed = np.abs(a.rgb.astype(int) - b.rgb).max(2) > 12
    assert changed[a.alpha == 1].mean() > 0.05


def test_identities_and_seeds_differ_and_some_are_held_out() -> None:
    from streamsvc.scene.people import BodyScene

    pictures, held = [], []
    for identity in range(6):
        scene = BodyScene(identity, 1)
        pictures.append(scene.render(scene.rig(1, 80, 60).cameras[0], 0.0).rgb.astype(int))
        held.append(scene.held_out)
    assert sum(held) == 2
    for i in range(6):
        for j in range(i):
            assert np.abs(pictures[i] - pictures[j]).mean() > 2


@pytest.mark.parametrize(
    "spec",
    ["", "nobody", "body:", "body:x", "body:identity=99", "body:-1", "body:hat=1", "body:identity=", "motorcycle:2"],
)
def test_an_unknown_scene_is_a_scene_error_that_lists_what_exists(spec: str) -> None:
    with pytest.raises(SceneError, match=r"body"):
        open_scene(spec)


def test_distortion_and_wrong_cameras_are_scene_errors(body: Scene) -> None:
    camera = body.rig(2, *SIZE).cameras[0]
    bent = Camera("bent", *SIZE, camera.K, np.array([0.1, 0, 0, 0, 0.0]), camera.R, camera.t)
    with pytest.raises(SceneError, match="distortion"):
        body.render(bent, 0.0)
    outside = Camera("far", *SIZE, camera.K, camera.dist, np.eye(3), np.array([0.0, 0.0, 40.0]))
    with pytest.raises(SceneError, match="outside the room"):
        body.render(outside, 0.0)
    with pytest.raises(SceneError, match="1, 2, 4"):
        body.rig(3, *SIZE)
    with pytest.raises(SceneError, match="4096"):
        body.rig(2, 5, 100000)
