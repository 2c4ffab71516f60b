"""The window that follows the viewer's eyes: from a camera's pictures of a rendered face to the eye of the view."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser

from streamsvc.bench.eyes import TRACK, FaceFilm, film_face, judged

from .conftest import Service, Visitor, open_visit

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


@pytest.fixture
def page(chromium: Browser, service: Service) -> Iterator[Visitor]:
    visitor = open_visit(chromium)
    visitor.page.goto(f"{service.url}/room/eyes")
    yield visitor
    visitor.check()
    visitor.context.close()


@pytest.fixture(scope="module")
def film() -> FaceFilm:
    return film_face(0)


def test_the_eyes_of_a_face_that_sways_are_found_where_they_are(page: Visitor, film: FaceFilm) -> None:
    seen = judged(0, page.page.evaluate(TRACK, [film.pictures, None]), film)
    print(seen)
    assert seen.found >= 0.95
    assert max(seen.largest_mm[:2]) <= 10
    assert seen.largest_mm[2] <= 50


def call_with(chromium: Browser, service: Service, film: FaceFilm, *, viewer: bool = False) -> Visitor:
    """Join a call whose cameras see the film."""
    visitor = open_visit(chromium)
    visitor.context.add_init_script(CAMERA.replace("__FILM__", json.dumps(film.pictures)))
    visitor.join("window", url=service.url, cameras=1, viewer=viewer)
    visitor.in_call()
    return visitor


def test_the_shown_picture_follows_the_head_until_the_button_is_pressed_again(
    chromium: Browser, service: Service, film: FaceFilm
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
    chromium: Browser, service: Service, film: FaceFilm
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


def test_eyes_of_which_nothing_more_is_heard_give_the_view_back_to_the_pointer(
    chromium: Browser, service: Service
) -> None:
    v = open_visit(chromium)
    v.join("silence", url=service.url, cameras=1)
    v.in_call()
    v.page.evaluate(
        """async () => {
          const { EyeTracker } = await import("/eyetracker.js");
          EyeTracker.prototype.start = function () {
            const detail = { eyes: [[0.03, 0, 0.6], [-0.03, 0, 0.6]], at: performance.now(), ms: 1 };
            this.dispatchEvent(new CustomEvent("eyes", { detail }));
          };
        }"""
    )
    v.page.click("[data-call=follow]")
    v.until("window.streamsvc.stats.follow.state === 'following'")
    v.until("window.streamsvc.stats.follow.state === 'looking'")
    assert v.page.locator("#following").inner_text() == "Looking for your face…"
    for x, side in ((1200, "> 0.2"), (100, "< -0.2")):
        v.page.mouse.move(x, 400)
        v.until(f"window.streamsvc.stats.eye[0] {side}", "the pointer moves the eye again")
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
    apart, told = v.page.locator("[data-eyes=apart]"), v.page.locator("[data-eyes=told]")
    for typed, words in (("6.3", "40 to 80 mm"), ("63,5", ""), ("abc", "40 to 80 mm"), ("", "")):
        apart.fill(typed)
        assert words in told.inner_text() and told.is_visible() is bool(words), typed
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


@pytest.mark.parametrize(
    "missing",
    [
        "delete window.OffscreenCanvas",
        "for (const n of ['request', 'cancel']) delete HTMLVideoElement.prototype[`${n}VideoFrameCallback`]",
    ],
)
def test_a_browser_that_can_not_follow_eyes_says_so_and_one_can_leave(
    chromium: Browser, service: Service, missing: str
) -> None:
    v = open_visit(chromium)
    v.context.add_init_script(missing)
    v.join("flat", url=service.url)
    v.in_call()
    v.page.click("[data-call=follow]")
    v.until("window.streamsvc.stats.follow.state === 'failed'")
    assert "can't follow eyes" in v.page.locator("#following").inner_text()
    v.page.click("[data-call=leave]")
    v.page.locator("#form").wait_for()
    v.check()
    v.context.close()
