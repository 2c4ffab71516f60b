"""What following the eyes calculates: filter, prediction, irises in metres, screen and window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

FOCAL = 502.0
W, H = 640, 480


MOVE = """
  const motion = new m.EyeMotion();
  return argument.frames.map(([at, x, z]) => {
    motion.add([[x + 0.03, 0, z], [x - 0.03, 0, z]], at);
    const at_once = motion.predict(at), later = motion.predict(at + argument.ahead);
    return [at_once, later].map(([a, b]) => [(a[0] + b[0]) / 2, (a[2] + b[2]) / 2, a[0] - b[0]]);
  });
"""


def moved(run: Callable[..., Any], times: np.ndarray, x: np.ndarray, z: np.ndarray, ahead: float = 100) -> np.ndarray:
    """Return what EyeMotion says at once and `ahead` ms later, (n, 2, [right, out, between])."""
    frames = np.stack([times, x, z], 1).tolist()
    return np.array(run("oneeuro", MOVE, {"frames": frames, "ahead": ahead}))


def test_a_still_head_is_steady(run: Callable[..., Any]) -> None:
    rng = np.random.default_rng(1)
    times = np.arange(90) * 33.3
    x, z = rng.normal(0, 0.001, 90), 0.6 + rng.normal(0, 0.005, 90)
    now = moved(run, times, x, z)[30:, 0]
    assert now[:, 0].std() < 0.0006 and now[:, 1].std() < 0.002
    assert np.abs(now[:, 2] - 0.06).max() < 1e-6, "the distance between the eyes is kept"


def test_a_moving_head_is_met_where_it_will_be(run: Callable[..., Any]) -> None:
    rng = np.random.default_rng(2)
    times = np.arange(120) * 33.3
    where = lambda t: 0.05 * np.sin(2 * np.pi * 0.5 * t / 1000)  # noqa: E731
    out = moved(run, times, where(times) + rng.normal(0, 0.0005, 120), np.full(120, 0.6))
    truth = where(times + 100)
    late = np.abs(out[30:, 0, 0] - truth[30:])
    predicted = np.abs(out[30:, 1, 0] - truth[30:])
    print(f"100 ms later: unpredicted {1e3 * late.mean():.1f} mm off, predicted {1e3 * predicted.mean():.1f}")
    assert predicted.mean() < 0.5 * late.mean()
    assert predicted.max() < 0.01


def test_nothing_is_predicted_further_than_100_ms_or_into_the_past(run: Callable[..., Any]) -> None:
    times = np.arange(30) * 33.3
    x = 0.0003 * times
    far, near = (moved(run, times, x, np.full(30, 0.6), ahead) for ahead in (5000, 100))
    assert np.allclose(far, near, atol=1e-9)
    before = moved(run, times, x, np.full(30, 0.6), -500)
    assert np.array_equal(before[:, 0], before[:, 1])


def test_nothing_is_known_before_the_first_eyes_and_after_a_clear(run: Callable[..., Any]) -> None:
    body = """const motion = new m.EyeMotion(); const none = motion.predict(5);
      motion.add([[1, 0, 1], [0, 0, 1]], 0); motion.clear(); return [none, motion.predict(9)];"""
    assert run("oneeuro", body) == [None, None]


HEAD = np.array([[0, -0.08, 0.02], [0, 0.02, -0.03], [0, 0.04, -0.04], [0.07, 0, 0.06], [-0.07, 0, 0.06]])
"""Forehead, nose and temples of a head that faces the camera, metres from the eyes' middle."""


def face(eyes: np.ndarray, iris_m: float, shut: float = 0.0) -> dict[str, list[list[float]]]:
    """Return the worker's points for eyes (2, 3), metres before a camera with FOCAL; irises face the camera. With the
    right eye `shut` its iris is found so many metres to the left."""
    points = []
    z_scale = FOCAL / eyes[:, 2].mean() / W
    middle, across = eyes.mean(0), (eyes[1] - eyes[0]) / np.linalg.norm(eyes[1] - eyes[0])
    turn = np.stack([across, [0, 1, 0], np.cross(across, [0, 1, 0])], 1)
    head = []
    for x, y, z in middle + HEAD @ turn.T:
        u, v = np.array([x, y]) * FOCAL / z + [W / 2, H / 2]
        head.append([u / W, v / H, float((z - middle[2]) * z_scale)])
    for eye in eyes - [[shut, 0, 0], [0, 0, 0]]:
        ring = iris_m / 2 * np.array([[-1, 0], [0, -1], [1, 0], [0, 1]])
        corners = np.array([[-0.014, 0], [0.014, 0]])
        for offset in np.vstack([[[0, 0]], ring, corners]):
            u, v = (eye[:2] + offset) * FOCAL / eye[2] + [W / 2, H / 2]
            points.append([u / W, v / H, float((eye[2] - eyes[:, 2].mean()) * z_scale)])
    return {"eyes": points, "head": head}


MEASURE = """
  const gauge = new m.EyeGauge();
  gauge.said = argument.said;
  const eyes = argument.faces.map((face) => gauge.measure(face, 640, 480, 502));
  return [gauge.apart, eyes.at(-1)];
"""


@pytest.mark.parametrize("yaw", [0.0, 0.3, -0.3])
def test_eyes_whose_distance_is_said_are_where_they_are(run: Callable[..., Any], yaw: float) -> None:
    half = 0.031 * np.array([np.cos(yaw), 0, np.sin(yaw)])
    eyes = np.array([0.05, -0.04, 0.55]) + np.array([-half, half])
    _, found = run("irises", MEASURE, {"said": 0.062, "faces": [face(eyes, 0.0117)]})
    assert np.abs(np.array(found) - eyes).max() < 0.004


def test_an_eye_that_shuts_does_not_bring_the_head_nearer(run: Callable[..., Any]) -> None:
    eyes = np.array([[-0.031, 0, 0.6], [0.031, 0, 0.6]])
    faces = [*[face(eyes, 0.0117)] * 5, face(eyes, 0.0117, shut=0.006)]
    _, found = run("irises", MEASURE, {"said": 0.062, "faces": faces})
    assert abs(np.mean(found, 0)[2] - 0.6) < 0.01


@pytest.mark.parametrize("apart", [0.056, 0.0634, 0.071])
def test_how_far_the_eyes_are_apart_is_learned_from_the_irises(run: Callable[..., Any], apart: float) -> None:
    eyes = np.array([[-apart / 2, 0, 0.6], [apart / 2, 0, 0.6]])
    learned, found = run("irises", MEASURE, {"said": None, "faces": [face(eyes, 0.0117)] * 5})
    assert abs(learned - apart) < 0.6 * abs(0.0634 - apart) + 1e-4, "halfway between the mean of people and the irises"
    assert abs(np.mean(found, 0)[2] - 0.6) < 0.045


def test_the_focal_length_is_that_of_the_field_of_view(run: Callable[..., Any]) -> None:
    assert run("irises", "return m.focalLength(90, 640)") == pytest.approx(320)


@pytest.mark.parametrize(
    ("place", "camera"), [("above", [0, 0.108, 0]), ("below", [0, -0.108, 0]), ("left", [-0.168, 0, 0])]
)
def test_a_camera_sees_the_viewer_mirrored(run: Callable[..., Any], place: str, camera: list[float]) -> None:
    body = "const c = m.cameraAt(argument, [0.32, 0.2]); return [c, m.fromCamera([0.1, 0.05, 0.6], c)];"
    found, eye = run("screen", body, place)
    assert found == pytest.approx(camera)
    # right in the picture is on the viewer's left, down is down
    assert eye == pytest.approx([camera[0] - 0.1, camera[1] - 0.05, 0.6])


def test_the_picture_is_found_on_the_glass_as_large_as_it_is(run: Callable[..., Any]) -> None:
    view = {
        "screenX": 100,
        "screenY": 50,
        "outerWidth": 1020,
        "outerHeight": 900,
        "innerWidth": 1000,
        "innerHeight": 800,
    }
    view["screen"] = {"width": 1920, "height": 1080}
    box = {"left": 0, "top": 100, "width": 1000, "height": 600}
    body = """const picture = m.pictureOn(...argument, 4 / 3, 0.00025);
      return [picture, m.fromPicture([0.03, 0.04, 0.6], picture)];"""
    picture, offset = run("screen", body, [view, box])
    assert picture["height"] == pytest.approx(600 * 0.00025), "shown whole: the height decides"
    assert picture["middle"] == pytest.approx([(610 - 960) * 0.00025, (540 - 550) * 0.00025, 0])
    assert offset == pytest.approx([(v - c) / 0.075 for v, c in zip([0.03, 0.04, 0.6], picture["middle"], strict=True)])


SCREEN = {"centre": [0, 0, 1.0], "right": [0.4, 0, 0], "up": [0, -0.3, 0]}


def test_an_eye_before_the_screen_is_as_far_before_the_window(run: Callable[..., Any]) -> None:
    body = """const frame = m.windowFrame(argument);
      return [[0.2, 0.1, 2.4], [1.2, 0, 8], [2.4, 0, 4], [9, -9, 3]].map((o) => m.eyeOf(frame, m.poseOf(frame, o)));"""
    inside, far, aside, beyond = run("eye", body, SCREEN)
    # half a height of the window is 0.3 m; y is down, z away from the viewer
    assert inside == pytest.approx([0.06, -0.03, 1 - 0.72])
    # too far away: the view from the same side, from as far as it goes
    assert far[0] / (1 - far[2]) == pytest.approx(1.2 / 8) and far[2] < inside[2]
    assert aside == pytest.approx([0.45, 0, 1 - 0.75]), "so is what is too far aside, where that helps"
    assert beyond == pytest.approx([0.45, 0.25, 1 - 0.5]), "elsewhere as far aside as the pointer goes"


def test_an_eye_at_rest_says_again_where_it_is(run):
    body = """
      const real = [setTimeout, clearTimeout];
      const timers = [];
      window.setTimeout = (then, ms) => timers.push([then, ms]);
      window.clearTimeout = (id) => id && (timers[id - 1] = null);
      let frame = null;
      const stage = document.createElementNS("http://www.w3.org/1999/xhtml", "div");
      const sent = [];
      const eye = new m.ViewpointControl(stage, (message) => sent.push(message.eyes[0]));
      eye.paceBy({ requestAnimationFrame: (then) => ((frame = then), 1), cancelAnimationFrame() {} });
      const tick = (now) => { const then = frame; frame = null; then?.(now); };
      tick(0);
      sent.length = 0;
      eye.setScreen({ centre: [0, 0, 1], right: [1, 0, 0], up: [0, -1, 0] });
      tick(1000);
      const first = sent.length;
      const [then, ms] = timers.filter(Boolean).at(-1);
      then();
      tick(1000 + ms);
      eye.stop();
      [window.setTimeout, window.clearTimeout] = real;
      return [first, ms >= 1000, sent.length, String(sent[0]) === String(sent[1]), timers.at(-1)];
    """
    assert run("viewpoint", body) == [1, True, 2, True, None]
