"""The page's last-moment warp: a packed picture redrawn for another eye is what that eye would have seen."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser
from view_scene import Card, Sphere, render

from streamsvc.frames import Camera, Screen, off_axis_camera
from streamsvc.frames.outputmode import parse_mode
from streamsvc.view.compose import View
from streamsvc.view.modes import assemble, shoot
from streamsvc.view.quality import psnr

from .conftest import Service, Visitor, open_visit

W, H = 320, 240
SCREEN = Screen(np.array([0, 0, 1.0]), np.array([0.4, 0, 0]), np.array([0, -0.3, 0]))
SCENE: list[Sphere | Card] = [Sphere((0, 0, 1.0), 0.15, 1), Card(1.8, 3)]
WARP = """async ([data, width, height, message, eye, window]) => {
  const bytes = Uint8ClampedArray.from(atob(data), (c) => c.charCodeAt(0));
  const { Warp } = await import("/warp.js");
  const canvas = document.createElement("canvas");
  const warp = new Warp(canvas);
  warp.upload(new ImageData(bytes, width, height));
  warp.draw(message, eye, window);
  const copy = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
  copy.getContext("2d").drawImage(canvas, 0, 0);
  const out = copy.getContext("2d").getImageData(0, 0, copy.width, copy.height).data;
  let text = "";
  for (let i = 0; i < out.length; i += 4096) text += String.fromCharCode(...out.subarray(i, i + 4096));
  return [canvas.width, canvas.height, btoa(text)];
}"""


# What the canvas of a view (of WarpedView or CutoutView) shows of a white video, null where it doesn't cover it: drawn,
# its context lost, given back, and lost and given back between two pictures.
TAKEN_BACK = """async ([kind, message]) => {
  const { WarpedView, CutoutView } = { ...(await import("/warp.js")), ...(await import("/cutout.js")) };
  const [width, height] = [message.width, 1.5 * message.height];
  let take = null;
  const video = Object.assign(document.createElement("canvas"), {
    width, height, videoWidth: width, videoHeight: height,
    requestVideoFrameCallback: (then) => { take = then; return 1; },
    cancelVideoFrameCallback: () => {},
  });
  const paint = video.getContext("2d");
  paint.fillStyle = "#fff";
  paint.fillRect(0, 0, width, height);
  const canvas = document.createElement("canvas");
  const look = () => ({ eye: message.eye, window: null });
  const view = kind === "warp" ? new WarpedView(video, canvas, look) : new CutoutView(video, canvas, video);
  if (kind === "cutout") view.view = { mode: "cutout", width: message.width, height: message.height };
  view.start();
  const shows = (rtp) => new Promise((done) => {
    view.told?.({ ...message, rtp });
    if (kind === "warp") take(performance.now(), { rtpTimestamp: rtp });
    requestAnimationFrame(() => {
      if (kind === "cutout") take(performance.now(), { rtpTimestamp: rtp });
      if (canvas.hidden) return done(null);
      const gl = canvas.getContext("webgl2");
      const pixel = new Uint8Array(4);
      gl.readPixels(message.width / 2, message.height / 2, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel);
      done(pixel[0]);
    });
  });
  const event = (type) => new Promise((done) => canvas.addEventListener(type, () => setTimeout(done), { once: true }));
  const found = [await shows(1)];
  const context = canvas.getContext("webgl2").getExtension("WEBGL_lose_context");
  const happens = async (type, act) => {
    const told = event(type);
    act();
    await told;
  };
  await happens("webglcontextlost", () => context.loseContext());
  found.push(await shows(2));
  await happens("webglcontextrestored", () => context.restoreContext());
  found.push(await shows(3));
  await happens("webglcontextlost", () => context.loseContext());
  await happens("webglcontextrestored", () => context.restoreContext());
  found.push(await shows(4));
  view.stop();
  return found;
}"""


@pytest.fixture
def page(drawing: Browser, service: Service) -> Iterator[Visitor]:
    visitor = open_visit(drawing)
    visitor.page.goto(f"{service.url}/room/warp")
    yield visitor
    assert not visitor.errors
    visitor.context.close()


def seen(camera: Camera) -> View:
    pixels, depth = render(camera, SCENE)
    inverse = np.where(np.isfinite(depth), 1 / depth, 0).astype(np.float32)
    return View(pixels, inverse, np.ones_like(inverse))


def warped(page: Visitor, eye: np.ndarray, window: Screen | None = SCREEN, *, flat: bool = False) -> np.ndarray:
    """Render a packed picture for an eye 0.8 m from the screen and have the page draw it for `eye`."""
    shot = shoot(parse_mode("packed"), SCREEN, np.array([[0.0, 0.0, 0.2]]), W, H, depth_range=(-0.2, math.inf))
    view = seen(shot.cameras[0])
    picture = assemble(shot, [View(view.pixels, view.inverse_depth * (not flat), view.coverage)])
    assert picture.depth is not None
    height, width = picture.pixels.shape[:2]
    rgba = np.dstack([picture.pixels, np.full((height, width, 1), 255, np.uint8)])
    message = {
        "rtp": 1,
        "eye": list(picture.eye),
        "screen": picture.screen.to_json(),
        "width": width,
        "height": height * 2 // 3,
        "inverse_far": picture.depth.far,
        "inverse_near": picture.depth.near,
    }
    data = base64.b64encode(rgba.tobytes()).decode()
    told = [data, width, height, message, list(eye), None if window is None else window.to_json()]
    w, h, out = page.page.evaluate(WARP, told)
    return np.frombuffer(base64.b64decode(out), np.uint8).reshape(h, w, 4)[..., :3]


@pytest.mark.parametrize("eye", [(0.04, 0.0, 0.2), (-0.03, 0.03, 0.2), (0.02, -0.02, 0.26)])
def test_a_packed_picture_warped_to_another_eye_is_what_that_eye_sees(
    page: Visitor, eye: tuple[float, float, float]
) -> None:
    found = warped(page, np.array(eye))
    truth = seen(off_axis_camera(SCREEN, np.array(eye), W, H)).pixels
    unmoved = seen(off_axis_camera(SCREEN, np.array((0, 0, 0.2)), W, H)).pixels
    assert found.shape == truth.shape
    print(f"{eye}: warped {psnr(found, truth):.1f} dB, unmoved {psnr(unmoved, truth):.1f} dB")
    assert psnr(found, truth) > max(psnr(unmoved, truth) + 5, 24)


def test_for_the_eye_it_was_made_for_the_window_is_cut_out_as_it_is(page: Visitor) -> None:
    eye = np.array((0.0, 0.0, 0.2))
    truth = seen(off_axis_camera(SCREEN, eye, W, H)).pixels
    assert psnr(warped(page, eye), truth) > 35
    whole = warped(page, eye, None)
    assert whole.shape == (272, 360, 3)


def test_a_picture_without_depth_stays_where_it_is_however_the_eye_moves(page: Visitor) -> None:
    still = warped(page, np.array((0.0, 0.0, 0.2)), flat=True)
    moved = warped(page, np.array((0.1, -0.05, 0.3)), flat=True)
    assert still.shape == moved.shape == (272, 360, 3), "all of it is shown: it has no margin"
    assert psnr(still, moved) > 35, "within the rounding of the depth's code"


def test_the_modes_are_offered_where_they_can_be_drawn(page: Visitor) -> None:
    options = "() => [...document.querySelector('[data-set=mode]').options].map((o) => o.value)"
    assert page.page.evaluate(options)[:3] == ["window", "packed", "cutout"]
    page.context.add_init_script("delete HTMLVideoElement.prototype.requestVideoFrameCallback")
    page.page.reload()
    assert page.page.evaluate(options)[:2] == ["window", "stereo"]


def test_when_the_browser_takes_the_drawing_back_the_video_is_seen_until_it_is_given_again(page: Visitor) -> None:
    message = {"eye": [0, 0, 0.2], "screen": SCREEN.to_json(), "width": W, "height": H}
    told = {**message, "inverse_far": 0.1, "inverse_near": 2}
    for kind in ("warp", "cutout"):
        assert page.page.evaluate(TAKEN_BACK, [kind, told]) == [255, None, 255, 255], kind
