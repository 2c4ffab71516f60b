"""The window that follows the viewer's eyes: from a camera's pictures of a rendered face to the eye of the view."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser

from streamsvc.frames import Camera
from streamsvc.scene import open_scene
from streamsvc.scene.body import Body
from streamsvc.scene.paint import EYE

from .conftest import Service, Visitor, open_visit

W, H, DEGREES, FPS = 640, 480, 65.0, 15.0
FOCAL = W / 2 / np.tan(np.radians(DEGREES / 2))
FRAMES = 30
AWAY = 0.6
MEASURE = """async (film) => {
  const { EyeTracker } = await import("/eyetracker.js");
  const tracker = new EyeTracker(65);
  const canvas = Object.assign(document.createElement("canvas"), { width: 640, height: 480 });
  const context = canvas.getContext("2d");
  const track = canvas.captureStream(0).getVideoTracks()[0];
  const decode = async (text) =>
    createImageBitmap(new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], { type: "image/jpeg" }));
  const pictures = await Promise.all(film.map(decode));
  let tell = null, redraw = null;
  tracker.addEventListener("eyes", ({ detail }) => tell?.(detail));
  tracker.addEventListener("failed", ({ detail }) => tell?.({ failed: detail.message }));
  const shown = async (picture) => {
    context.drawImage(picture, 0, 0);
    const answer = new Promise((resolve) => (tell = resolve));
    // a frame that comes while the worker starts is not taken: it is shown again
    const again = setInterval(() => { context.drawImage(picture, 0, 0); track.requestFrame(); }, 100);
    track.requestFrame();
    const detail = await answer;
    clearInterval(again);
    return detail;
  };
  tracker.start(track);
  await shown(pictures[0]);
  const out = [];
  for (const picture of pictures) out.push(await shown(picture));
  tracker.stop();
  return out;
}"""

CAMERA = """
(() => {
  const decode = async (text) =>
    createImageBitmap(new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], { type: "image/jpeg" }));
  const pictures = Promise.all(__FILM__.map(decode));
  const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async ({ audio, video }) => {
    if (!video) return real({ audio });
    const film = await pictures;
    const canvas = Object.assign(document.createElement("canvas"), { width: 640, height: 480 });
    let k = 0;
    setInterval(() => canvas.getContext("2d").drawImage(film[k++ % film.length], 0, 0), 66);
    const stream = canvas.captureStream(15);
    window.__camera = stream.getVideoTracks()[0];
    if (audio) stream.addTrack((await real({ audio })).getAudioTracks()[0]);
    return stream;
  };
})();
"""


@dataclass(frozen=True)
class Film:
    """JPEG pictures of a webcam, and where in its frame the eyes [right, left] were: (n, 2, 3) metres, x right, y down,
    z away."""

    pictures: list[str]
    eyes: np.ndarray


def eyes_of(body: Body, t: float) -> np.ndarray:
    """Return the middles of the irises [right, left] at `t`, (2, 3) world metres."""
    on = np.unique(body.mesh.faces[body.mesh.part == EYE])
    rest, now = body.mesh.vertices[on], body.shape(t).vertices[on]
    middles = []
    for side in (rest[:, 0] < 0, rest[:, 0] > 0):
        ball = (rest[side].min(0) + rest[side].max(0)) / 2
        offset = rest[side] - ball
        front = np.arctan2(np.hypot(offset[:, 0], offset[:, 1]), -offset[:, 2]) < 0.45
        middles.append(now[side][front].mean(0))
    return np.array(middles)


def film_face(identity: int) -> Film:
    """Film a person who sways 10 cm sideways and 10 cm to and fro, 0.6 m before a webcam."""
    scene, body = open_scene(f"body:identity={identity},seed={identity}"), Body(identity, identity)
    K = np.array([[FOCAL, 0, (W - 1) / 2], [0, FOCAL, (H - 1) / 2], [0, 0, 1]])
    pictures, eyes = [], []
    for k in range(FRAMES):
        t, turn = k / FPS, 2 * np.pi * k / FRAMES
        # it is the camera that moves: the face is where the scene puts it
        centre = np.array([-0.05 * np.sin(turn), 0.0, 0.73 - AWAY - 0.05 * np.cos(turn)])
        rgb = scene.render(Camera("webcam", W, H, K, np.zeros(5), np.eye(3), -centre), t).rgb
        jpeg = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
        pictures.append(base64.b64encode(jpeg.tobytes()).decode())
        eyes.append(eyes_of(body, t) - centre)
    return Film(pictures, np.array(eyes))


@pytest.fixture
def page(chromium: Browser, service: Service) -> Iterator[Visitor]:
    visitor = open_visit(chromium)
    visitor.page.goto(f"{service.url}/room/eyes")
    yield visitor
    visitor.check()
    visitor.context.close()


@pytest.fixture(scope="module")
def film() -> Film:
    return film_face(0)


def test_the_eyes_of_a_face_that_sways_are_found_where_they_are(page: Visitor, film: Film) -> None:
    found = page.page.evaluate(MEASURE, film.pictures)
    assert not any("failed" in f for f in found), found
    seen = [k for k, f in enumerate(found) if f["eyes"]]
    assert len(seen) >= 0.95 * FRAMES
    errors = 1e3 * np.abs((np.array([found[k]["eyes"] for k in seen]) - film.eyes[seen]).mean(1))
    took = np.percentile([f["ms"] for f in found], 50)
    print(
        f"eyes found in {len(seen)} of {FRAMES} pictures, {took:.0f} ms each; largest error sideways "
        f"{errors[:, 0].max():.1f} mm, up {errors[:, 1].max():.1f}, in depth {errors[:, 2].max():.1f}"
    )
    assert errors[:, :2].max() <= 10
    assert errors[:, 2].max() <= 50


def call_with(chromium: Browser, service: Service, film: Film, *, viewer: bool = False) -> Visitor:
    """Join a call whose cameras see the film."""
    visitor = open_visit(chromium)
    visitor.context.add_init_script(CAMERA.replace("__FILM__", json.dumps(film.pictures)))
    visitor.join("window", url=service.url, cameras=1, viewer=viewer)
    visitor.in_call()
    return visitor


def test_the_shown_picture_follows_the_head_until_the_button_is_pressed_again(
    chromium: Browser, service: Service, film: Film
) -> None:
    v = call_with(chromium, service, film)
    button = v.page.locator("[data-call=follow]")
    assert button.get_attribute("aria-pressed") == "false" and not v.page.locator("#following").is_visible()
    assert not any("face" in u for u in v.requests), "nothing is loaded before somebody asks"
    button.click()
    v.until("window.streamsvc.stats.follow.state === 'following'", limit_s=60)
    assert v.page.locator("#following").inner_text() == "Following your eyes"
    before = len(v.sent("viewpoint"))
    v.until(f"window.streamsvc.stats.viewpointsSent > {before + 60}", limit_s=60)
    sent = v.sent("viewpoint")[before + 20 :]
    assert all(len(m["eyes"]) == 2 for m in sent)
    middles = np.array([np.mean(m["eyes"], 0) for m in sent])
    assert np.ptp(middles[:, 0]) > 0.03, "the eye moves with the head"
    assert abs(np.median(middles[:, 1])) > 0.1, "a camera above the screen has seen the eyes below it, above the middle"
    v.page.click("[data-call=home]")
    v.until("Math.abs(window.streamsvc.stats.eye[1]) < 0.03", "who presses Centre is before the middle")
    v.page.mouse.move(1200, 400)
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    v.page.mouse.move(100, 400)
    v.page.mouse.move(110, 400)
    v.until("window.streamsvc.stats.eye[0] < -0.2", "the pointer moves the eye again")
    v.check()
    v.context.close()


def test_a_viewers_camera_is_on_for_this_only_and_goes_off_with_it(
    chromium: Browser, service: Service, film: Film
) -> None:
    v = call_with(chromium, service, film, viewer=True)
    v.page.click("[data-call=follow]")
    v.until("window.streamsvc.stats.follow.state === 'following'", limit_s=60)
    assert "never leave your browser" in (v.page.locator("[data-eyes=privacy]").text_content() or "")
    v.until("window.streamsvc.stats.live?.cameras === 0", "nothing is sent")
    assert v.page.evaluate("window.__camera.readyState") == "live"
    v.page.click("[data-call=follow]")
    assert v.page.evaluate("window.__camera.readyState") == "ended"
    v.check()
    v.context.close()


def test_what_was_set_is_remembered(chromium: Browser, service: Service) -> None:
    v = open_visit(chromium)
    for _ in range(2):
        v.join("settings", url=service.url, viewer=True)
        v.in_call()
        v.page.click("[data-call=settings]")
        width = v.page.evaluate("document.querySelector('[data-eyes=bar]').getBoundingClientRect().width")
        v.page.locator("[data-eyes=card]").fill("300")
        v.page.locator("[data-eyes=degrees]").fill("78")
    assert width == pytest.approx(300, abs=0.5), "the bar was as wide as the card from the start"
    assert v.page.locator("[data-eyes=degrees]").input_value() == "78"
    v.check()
    v.context.close()


def test_a_service_without_the_package_says_how_it_is_installed(chromium: Browser, service: Service) -> None:
    v = open_visit(chromium)
    v.forgive = ("404",)
    v.context.route("**/face_mesh/**", lambda route: route.fulfill(status=404))
    v.join("bare", url=service.url)
    v.in_call()
    v.page.click("[data-call=follow]")
    v.until("window.streamsvc.stats.follow.state === 'failed'")
    told = v.page.locator("#following").inner_text()
    assert "isn't installed" in told and "make assets" in told
    assert v.page.locator("[data-call=follow]").get_attribute("aria-pressed") == "false"
    v.check()
    v.context.close()


def test_a_browser_that_draws_only_on_the_page_is_told_so(chromium: Browser, service: Service) -> None:
    v = open_visit(chromium)
    v.context.add_init_script("delete window.OffscreenCanvas")
    v.join("flat", url=service.url)
    v.in_call()
    v.page.click("[data-call=follow]")
    v.until("window.streamsvc.stats.follow.state === 'failed'")
    assert "can't follow eyes" in v.page.locator("#following").inner_text()
    v.check()
    v.context.close()
