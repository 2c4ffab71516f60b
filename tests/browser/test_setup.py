"""Setting up a rig on the page: rendered boards before two cameras, all the way to a rig that the next call uses."""

from __future__ import annotations

import base64
import json
import re
import sys
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import Route

sys.path.insert(0, str(Path(__file__).parents[1]))
from calibration_scene import board_poses, corners, inside, make_cameras, render
from test_calibrate_pictures import assert_near

from streamsvc.calibrate import parse_board
from streamsvc.calibrate.boards import Detection
from streamsvc.calibrate.choose import NOVEL, moved
from streamsvc.frames import Rig, parse_rig
from streamsvc.signalling.refusals import STATUSES

BOARD = "charuco:7x5:0.042:0.0318621:4X4_50"
"""What the page chooses for A3 paper."""

VIEWS = 16
# Two cameras and a microphone of the test's own: a camera shows what `__show` was given, {label: base64 picture};
# `__microphone` is the track that was opened last.
DEVICES = """
(() => {
  const size = { width: 640, height: 480 };
  const cameras = ["Left", "Right"].map((label, i) => {
    const canvas = Object.assign(document.createElement("canvas"), size);
    canvas.getContext("2d").fillRect(0, 0, 640, 480);
    return { deviceId: `eye${i}`, kind: "videoinput", label, canvas };
  });
  const microphone = { deviceId: "mic", kind: "audioinput", label: "Microphone" };
  const devices = navigator.mediaDevices;
  devices.enumerateDevices = async () => [...cameras, microphone];
  devices.getUserMedia = async ({ video, audio }) => {
    if (audio && !video) {
      const context = new AudioContext(), to = context.createMediaStreamDestination();
      const tone = context.createOscillator(), volume = context.createGain();
      volume.gain.value = 0.1;
      tone.connect(volume).connect(to);
      tone.start();
      window.__microphone = to.stream.getAudioTracks()[0];
      return to.stream;
    }
    const { canvas } = cameras.find((c) => c.deviceId === video.deviceId?.exact) ?? cameras[0];
    const stream = canvas.captureStream(0), [track] = stream.getTracks();
    // a canvas that doesn't change sends nothing
    const again = setInterval(() => {
      if (track.readyState === "ended") clearInterval(again);
      canvas.getContext("2d").drawImage(canvas, 0, 0);
      track.requestFrame();
    }, 60);
    return stream;
  };
  window.__show = async (pictures) => {
    const decoded = await Promise.all(pictures.map(async (data) => {
      const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
      return createImageBitmap(new Blob([bytes], { type: "image/png" }));
    }));
    decoded.forEach((picture, i) => cameras[i].canvas.getContext("2d").drawImage(picture, 0, 0));
  };
})();
"""


def png(gray: np.ndarray) -> str:
    return base64.b64encode(cv2.imencode(".png", gray)[1].tobytes()).decode()


@cache
def instants() -> list[list[str]]:
    """What both cameras see of a board in places that all differ, as the page takes it."""
    board, cameras = parse_board(BOARD), make_cameras(2)
    kept: list[list[np.ndarray]] = []
    for pose in board_poses(board, 3000, seed=11):
        seen = [corners(c, board, pose) for c in cameras]
        if not all(inside(s, c, 8) for s, c in zip(seen, cameras, strict=True)):
            continue
        as_seen = [Detection(np.arange(len(s)), s, 1.0) for s in seen]
        if any((moved(as_seen[0], other, (640, 480)) or 0) < 1.5 * NOVEL for other, _ in kept):
            continue
        kept.append((as_seen[0], [png(render(c, board, pose, seed=len(kept))) for c in cameras]))
        if len(kept) == VIEWS:
            return [pictures for _, pictures in kept]
    raise AssertionError("the scene shows too few boards whole")


WALL = [png(np.full((480, 640), 120, np.uint8))] * 2


def test_every_refusal_of_a_rig_has_words_of_its_own():
    words = (Path(__file__).resolve().parents[2] / "web" / "setupwords.js").read_text("utf-8")
    explained = set(re.findall(r'^  "?([a-z-]+)"?: \{', words, re.MULTILINE))
    refused = {code for code, status in STATUSES.items() if status == 422} - {"no-restart"}
    assert refused | {"setups-full", "setup-failed", "setup-over", "not-found", "bad-picture"} <= explained


def opened(visit, url: str, **options):
    """A page whose set-up has begun, with two cameras."""
    v = visit(**options)
    v.context.add_init_script(DEVICES)
    v.page.goto(url)
    v.choose(1)
    v.page.click("details.more summary")
    v.page.click("[data-ui=setup]")
    v.until("document.querySelectorAll('#setup [data-setup=cameras] .tile:not(.unused)').length === 2")
    return v


def at_the_board(v, place: str = "a3") -> None:
    v.page.click("[data-part=cameras] [data-enter=board]")
    v.page.select_option("[data-setup=place]", place)


def show(v, pictures: list[str]) -> None:
    v.page.evaluate("p => window.__show(p)", pictures)


def show_all(v, shown: list[list[str]]) -> None:
    for i, pictures in enumerate(shown):
        show(v, pictures)
        v.until(
            "[...document.querySelectorAll('#setup .figures span')]"
            f".filter((f) => parseInt(f.textContent.slice(2)) >= {i + 1}).length === 2",
            f"view {i + 1} counts",
        )


def test_boards_before_two_cameras_make_a_rig_that_the_next_call_uses(visit, service, tmp_path):
    v = opened(visit, f"{service.url}/room/setup?name=Ana")
    show(v, instants()[0])
    v.until("document.querySelectorAll('#setup .tile .verdicts li').length === 4")
    v.until("document.querySelector('[data-setup=sound]').innerText.includes('heard well')")
    at_the_board(v)
    v.until("!document.querySelector('[data-setup=board]').hidden")
    v.page.click("[data-part=board] [data-enter=show]")
    show(v, WALL)
    v.until("document.querySelector('[data-setup=now]').innerText.startsWith('No camera sees the board')")
    show_all(v, instants())
    v.until("document.querySelector('[data-setup=now]').innerText.includes('That is enough')")
    assert "good" in v.page.locator("[data-setup=error]").inner_text()
    v.page.click("[data-setup=finish]")
    v.page.locator("[data-part=rig]").wait_for()
    assert float(v.page.locator("[data-setup=verdict]").inner_text().split()[0]) <= 0.5
    assert v.page.locator("[data-setup=fits] tr").count() == 2
    with v.page.expect_download() as download:
        v.page.click("[data-setup=save]")
    assert download.value.suggested_filename == "rig.json"
    document = json.loads(Path(download.value.path()).read_text())
    rig = parse_rig(document)
    assert_near(make_cameras(2), rig.cameras, 0.005, 2.0, 0.2)
    v.page.click("[data-part=rig] [data-leave]")
    v.until("document.querySelector('[data-ui=rigname]').textContent.startsWith('set up on')")
    # A later visit still has it, and opens the cameras of the rig in its order.
    v.page.reload()
    v.until("document.querySelectorAll('#devices .tile:not(.unused)').length === 2")
    assert v.page.locator("#devices .badge").all_inner_texts() == ["camera 1", "camera 2"]
    v.page.click("#form [type=submit]")
    v.in_call()
    join = next(m for m in v.page.evaluate("window.__said") if m["type"] == "join")
    assert join["rig"] == document


def test_a_rig_of_too_little_is_refused_in_words_and_one_goes_on(visit, service):
    v = opened(visit, service.url)
    v.forgive = ("422",)
    at_the_board(v)
    v.page.click("[data-part=board] [data-enter=show]")
    show_all(v, instants()[:2])
    v.page.click("[data-setup=finish]")
    v.until("!document.querySelector('#setup-problem').hidden")
    told = v.page.locator("#setup-problem").inner_text()
    assert "That is not enough yet" in told and "camera 1: the board is found in 2 pictures" in told.replace("C", "c")
    v.page.click("[data-setup=dismiss]")
    assert v.page.evaluate("document.activeElement.id") == "setup-show"
    show_all(v, instants()[:3])


def test_cameras_that_never_see_the_board_together_are_told_where_to_hold_it(visit, service):
    v = opened(visit, service.url)
    at_the_board(v)
    v.page.click("[data-part=board] [data-enter=show]")
    for i, (left, right) in enumerate(instants()[:6]):
        show(v, [left, WALL[0]] if i % 2 else [WALL[0], right])
        v.until(
            "[...document.querySelectorAll('#setup .figures span')].map((f) => parseInt(f.textContent.slice(2)) || 0)"
            f".reduce((a, b) => a + b, 0) === {i + 1}"
        )
    v.until("document.querySelector('[data-setup=now]').innerText.includes('where camera 1 and camera 2 both see it')")


def test_a_rig_file_is_remembered_until_it_is_taken_away(visit, service):
    v = visit()
    v.page.goto(service.url)
    cameras = make_cameras(2)
    document = json.dumps(Rig(cameras, (("cam1", "cam0"),)).to_json()).encode()
    v.page.set_input_files("[data-ui=rig]", {"name": "mine.json", "mimeType": "application/json", "buffer": document})
    v.until("document.querySelector('[data-ui=rigname]').textContent === 'mine.json'")
    v.page.reload()
    v.until("document.querySelector('[data-ui=rigname]').textContent === 'mine.json'")
    v.page.click("details.more summary")
    v.page.click("[data-ui=norig]")
    v.page.reload()
    v.choose(1)
    assert v.page.locator("[data-ui=rigname]").text_content() == ""


SOLVED = {
    "type": "solved",
    "rig": Rig(make_cameras(2), (("camera 1", "camera 2"),)).to_json(),
    "rms_px": 0.2,
    "cameras": [],
    "warnings": [],
    "picture": "",
}


def held_finish(v) -> Route:
    """Ask for the rig; the service's answer is the test's to give."""
    held = []
    v.page.route("**/finish", lambda route: held.append(route))
    v.page.click("[data-part=board] [data-enter=show]")
    with v.page.expect_request("**/finish"):
        v.page.click("[data-setup=finish]")
    while not held:
        v.page.wait_for_timeout(10)
    return held[0]


@pytest.mark.parametrize("where", ["lobby", "call"])
def test_a_rig_that_comes_when_its_set_up_was_left_is_used_when_one_joins_next(visit, service, where):
    v = opened(visit, f"{service.url}/room/late-{where}?name=Ana")
    at_the_board(v)
    finish = held_finish(v)
    v.page.click(".setup-head [data-leave]")
    if where == "call":
        v.page.click("#form [type=submit]")
        v.in_call()
    finish.fulfill(json=SOLVED)
    if where == "call":
        v.until("localStorage.getItem('streamsvc.rig') !== null")
        assert v.page.locator("#call").is_visible() and "camera 1" not in json.dumps(v.page.evaluate("window.__said"))
        v.page.click("[data-call=leave]")
    v.until("document.querySelector('[data-ui=rigname]').textContent.startsWith('set up on')")
    assert v.page.locator("#join").is_visible() and v.page.locator("#setup").is_hidden()
    if where == "lobby":
        assert "2 calibrated cameras" in v.page.locator("[data-ui=advice]").inner_text()
    v.page.click("#form [type=submit]")
    v.in_call()
    joins = [m for m in v.page.evaluate("window.__said") if m["type"] == "join"]
    assert [m.get("rig") for m in joins] == [None] * (where == "call") + [SOLVED["rig"]]


@pytest.mark.parametrize("stored", [True, False])
def test_a_rig_is_said_to_be_kept_only_where_it_is(visit, service, stored):
    v = opened(visit, service.url)
    if not stored:
        v.page.evaluate("() => { Storage.prototype.setItem = () => { throw new DOMException('no room') } }")
    at_the_board(v)
    held_finish(v).fulfill(json=SOLVED)
    v.until("document.querySelector('[data-part=rig]').checkVisibility()")
    assert ("kept in this browser" in v.page.locator("[data-setup=kept]").inner_text()) is stored


def test_a_rig_that_fails_when_its_step_was_left_is_not_told(visit, service):
    v = opened(visit, service.url)
    v.forgive = ("422",)
    at_the_board(v)
    finish = held_finish(v)
    v.page.click("[data-step=cameras]")
    with v.page.expect_response("**/finish"):
        finish.fulfill(status=422, json={"code": "too-few-views", "message": "0 views"})
    v.page.evaluate("fetch('/healthz').then((answer) => answer.text())")  # whose answer comes after it
    assert v.page.locator("#setup-problem").is_hidden()


def test_a_browser_that_keeps_no_pictures_is_told_and_one_without_sound_goes_on(visit, service):
    v = opened(visit, service.url)
    at_the_board(v)
    v.page.evaluate(
        """() => {
          window.__toBlob = HTMLCanvasElement.prototype.toBlob;
          HTMLCanvasElement.prototype.toBlob = (then) => then(null);
          window.AudioContext = function () { throw new DOMException("no sound", "NotSupportedError"); };
        }"""
    )
    v.page.click("[data-part=board] [data-enter=show]")
    v.until("document.querySelector('#setup-problem').innerText.includes('can’t keep the pictures')")
    v.page.evaluate("() => { HTMLCanvasElement.prototype.toBlob = window.__toBlob; }")
    v.page.click("#setup-problem [data-setup=again]")
    show_all(v, instants()[:2])


def test_a_microphone_that_stops_is_told_and_heard_again_when_it_is_back(visit, service):
    v = opened(visit, service.url)
    heard = "document.querySelector('[data-setup=sound]').innerText.includes('heard well')"
    v.until(heard)
    v.page.evaluate("window.__microphone.stop(), window.__microphone.dispatchEvent(new Event('ended'))")
    v.until("document.querySelector('[data-setup=sound]').innerText.includes('not heard')")
    v.until("document.querySelector('[data-setup=level]').style.visibility === 'hidden'")
    v.page.evaluate("navigator.mediaDevices.dispatchEvent(new Event('devicechange'))")
    v.until(heard)


def test_one_camera_and_a_board_without_a_size_are_told(visit, service):
    v = opened(visit, service.url)
    v.page.click("#setup .tile >> nth=1 >> [aria-label='Do not use Right']")
    v.page.click("[data-step=show]")
    assert "two to four cameras" in v.page.locator("#setup-problem").inner_text()
    v.page.click("#setup .tile .add")
    at_the_board(v, "screen")
    v.page.click("[data-part=board] [data-enter=show]")
    v.until("document.querySelector('#setup-problem').innerText.includes('How large is one square?')")
    assert v.page.evaluate("document.activeElement.dataset.setup") == "square"


def test_a_service_that_is_full_or_wants_a_token_is_told(visit, service, guarded):
    v = opened(visit, service.url)
    v.forgive = ("503", "401")
    v.page.route("**/setup", lambda r: r.fulfill(status=503, json={"code": "setups-full", "message": "4 rigs"}))
    at_the_board(v)
    v.until("document.querySelector('#setup-problem').innerText.includes('Others are setting up')")
    v.page.unroute("**/setup")
    v.page.click("#setup-problem [data-setup=again]")
    v.until("!document.querySelector('[data-setup=board]').hidden")
    w = opened(visit, guarded.url)
    w.forgive = ("401",)
    w.page.click("[data-part=cameras] [data-enter=board]")
    assert "asks for an access token" in w.problem()
    w.page.fill("[name=token]", "open sesame")
    w.page.click("[data-ui=setup]")
    at_the_board(w)
    w.until("!document.querySelector('[data-setup=board]').hidden")


def test_the_drawing_of_the_board_is_to_scale_and_can_be_saved(visit, service):
    v = opened(visit, service.url)
    at_the_board(v, "a4")
    v.until("!document.querySelector('[data-setup=svg]').disabled")
    with v.page.expect_download() as download:
        v.page.click("[data-setup=svg]")
    assert 'width="261mm" height="203mm"' in Path(download.value.path()).read_text()
    # What is printed is the board alone, at its own size.
    v.page.evaluate("document.body.classList.add('printing')")
    v.page.emulate_media(media="print")
    assert v.page.evaluate("[...document.body.children].filter((e) => e.checkVisibility()).map((e) => e.id)") == [
        "paper"
    ]
    box = v.page.locator("#paper img").bounding_box()
    size = box["width"], box["height"]
    assert size == pytest.approx([261 / 25.4 * 96, 203 / 25.4 * 96], abs=1)


def test_the_quick_check_tells_dark_and_bright_and_soft_pictures_from_good_ones(visit, service):
    v = opened(visit, service.url)
    sharp = cv2.imdecode(np.frombuffer(base64.b64decode(instants()[0][0]), np.uint8), cv2.IMREAD_GRAYSCALE)
    cases = [
        (sharp, "light is good", "is sharp"),
        (sharp // 5, "Too dark", ""),
        (np.clip(sharp * 2.6, 0, 255).astype(np.uint8), "oo bright", ""),
        (cv2.GaussianBlur(sharp, (0, 0), 4), "light is good", "Out of focus"),
        (np.full_like(sharp, 120), "light is good", "Nothing to focus on"),
    ]
    for picture, *words in cases:
        show(v, [png(picture)] * 2)
        for word in words:
            v.until(f"document.querySelector('#setup .tile .verdicts')?.innerText.includes({word!r})", word)


@pytest.mark.parametrize("width", [360, 1280, 3840])
def test_every_step_fits_the_screen_and_can_be_reached_by_keyboard(visit, service, width):
    v = opened(visit, service.url, viewport={"width": width, "height": 800})
    fits = "document.documentElement.scrollWidth <= innerWidth"
    assert v.page.evaluate(fits)
    for step in ("board", "show"):
        v.page.focus(f"[data-step={step}]") if step == "board" else v.page.fill("[data-setup=square]", "29")
        v.page.focus(f"[data-step={step}]")
        v.page.keyboard.press("Enter")
        v.until(f"!document.querySelector('[data-part={step}]').hidden")
        assert v.page.evaluate("document.activeElement.tagName") == "H2"
        assert v.page.evaluate(fits)
    unnamed = """[...document.querySelectorAll('#setup :is(button, input, select, img, progress)')].filter((e) =>
      !(e.textContent.trim() || e.ariaLabel || e.alt || e.labels?.[0]?.textContent.trim()))"""
    assert v.page.evaluate(f"{unnamed}.length") == 0
