"""The view in a headset: WebXR with a device that the test injects (`headset.py`), which sees what is drawn."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser

from streamsvc.frames import Camera, off_axis_camera
from streamsvc.frames.outputmode import parse_mode
from streamsvc.view.compose import View
from streamsvc.view.modes import assemble, shoot
from streamsvc.view.quality import psnr

from .conftest import Service, Visitor, open_visit
from .headset import DOUBLE, eyes_of, until_seen, wear
from .test_warp import SCREEN, H, W, seen

UNDATED = """(() => {
  const real = HTMLVideoElement.prototype.requestVideoFrameCallback;
  HTMLVideoElement.prototype.requestVideoFrameCallback = function (then) {
    return real.call(this, (now, { rtpTimestamp, ...rest }) => then(now, rest));
  };
})();"""
"""A browser that doesn't say which picture it shows."""

# The window before a viewer of 90 degrees across, so wide and high that it just fills what an eye sees.
DRAW = """async ([data, width, height, message, eyes]) => {
  const { HeadsetPicture } = await import("/headsetpicture.js");
  const { clipMatrix, windowBefore } = await import("/headsetspace.js");
  const bytes = Uint8ClampedArray.from(atob(data), (c) => c.charCodeAt(0));
  const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 240 });
  const gl = canvas.getContext("webgl2", { preserveDrawingBuffer: true });
  const picture = new HeadsetPicture(gl);
  picture.upload(new ImageData(bytes, width, height));
  const placed = windowBefore({ position: [0, 0, 0], forward: [0, 0, -1] }, 0.8);
  const projectionMatrix = [2, 0, 0, 0, 0, 0.8 / 0.3, 0, 0, 0, 0, -1, -1, 0, 0, -0.2, 0];
  const inverse = { matrix: new DOMMatrix().toFloat32Array() };
  const matrix = clipMatrix({ projectionMatrix, transform: { inverse } }, placed);
  return eyes.map((eye) => {
    picture.drawWarped(matrix, [0.4, 0.3], message, eye);
    const out = new Uint8Array(320 * 240 * 4);
    gl.readPixels(0, 0, 320, 240, gl.RGBA, gl.UNSIGNED_BYTE, out);
    let text = "";
    for (let row = 239; row >= 0; row -= 1) text += String.fromCharCode(...out.subarray(row * 1280, (row + 1) * 1280));
    return btoa(text);
  });
}"""


@pytest.fixture
def visitor(drawing: Browser) -> Iterator[Visitor]:
    v = open_visit(drawing)
    yield v
    v.check()
    v.context.close()


def in_settings(v: Visitor, service: Service, room: str) -> None:
    v.join(room, url=service.url, viewer=True)
    v.in_call()
    v.until("window.streamsvc.stats.framesShown > 0")
    v.page.click("[data-call=settings]")


def modes(v: Visitor) -> list[str]:
    said = v.page.evaluate("window.__said.filter((m) => m.type === 'configure').map((m) => m.view?.mode)")
    return [mode for mode in said if mode]


def test_a_headset_is_offered_only_where_there_is_one(visitor: Visitor, service: Service) -> None:
    in_settings(visitor, service, "bare")
    options = "[...document.querySelector('[data-set=mode]').options].map((o) => o.value)"
    assert "headset" not in visitor.page.evaluate(options)
    assert visitor.page.locator("#enter-headset").is_hidden()


def test_each_eye_sees_its_half_and_where_the_eyes_are_is_sent(visitor: Visitor, service: Service) -> None:
    v, page = visitor, visitor.page
    v.context.add_init_script(DOUBLE)
    v.context.add_init_script(UNDATED)
    in_settings(v, service, "worn")
    page.select_option("[data-set=mode]", "anaglyph")
    v.until("window.__heard.filter((m) => m.type === 'configured').at(-1)?.settings.view.mode === 'anaglyph'")
    page.select_option("[data-set=mode]", "headset")
    wear(page, (0.3, 1.6, -0.2), 30)
    page.click("#enter-headset")
    v.until("window.streamsvc.stats.headset.drawn > 0")
    assert page.evaluate("window.__headset.space") == "local"
    v.until("window.streamsvc.stats.videoSize[0] === 640", "the service shows both eyes")

    def colours() -> np.ndarray:
        return np.array([eye[150:170, 140:180].reshape(-1, 3).mean(0) for eye in eyes_of(page)])

    v.until("window.streamsvc.stats.framesShown > 5")
    until_seen(page, lambda left, right: min(left.max(), right.max()) > 100)
    left, right = colours()
    assert left[0] > left[2] + 60 and right[2] > right[0] + 60, "red for the left eye, blue for the right"
    left_eye, _ = eyes_of(page)
    across = np.flatnonzero(left_eye[160].max(1) > 60)
    # 1 m of window at 1.2 m, an eye 3 cm to the left of its middle
    assert np.ptp(across) == pytest.approx(320 / 2 / 1.2, abs=4)
    assert (across[0] + across[-1]) / 2 == pytest.approx(160 + 0.0315 / 1.2 * 160, abs=3)

    home = v.sent("viewpoint")[-1]["eyes"]
    assert np.allclose(home, [[-0.0315, 0, 0], [0.0315, 0, 0]], atol=1e-3), "the rig's cameras stand where one starts"
    right_of, forward = np.array([np.cos(np.pi / 6), 0, -np.sin(np.pi / 6)]), np.array([-0.5, 0, -np.cos(np.pi / 6)])
    moved = np.array([0.3, 1.6, -0.2]) + 0.1 * right_of + 0.05 * np.array([0, 1, 0]) + 0.2 * forward
    wear(page, tuple(moved.tolist()), 30)
    v.until("Math.abs(window.__sent.viewpoint.at(-1).eyes[0][2] - 0.2) < 1e-3")
    expected = [[0.1 - 0.0315, -0.05, 0.2], [0.1 + 0.0315, -0.05, 0.2]]
    assert np.allclose(v.sent("viewpoint")[-1]["eyes"], expected, atol=1e-3), "metres of the room are metres of the rig"

    page.evaluate("window.__headset.sessions.at(-1).dispatchEvent(new Event('select'))")
    v.until(
        "Math.abs(window.__sent.viewpoint.at(-1).eyes[0][2]) < 1e-3", "the trigger puts the window before the viewer"
    )

    page.evaluate("window.__headset.sessions.at(-1).end()")
    v.until("window.streamsvc.stats.headset.state === 'off'")
    v.until("window.__heard.filter((m) => m.type === 'configured').at(-1).settings.view.mode === 'anaglyph'")
    assert modes(v) == ["anaglyph", "stereo", "anaglyph"]
    assert page.locator("[data-set=mode]").input_value() == "anaglyph"
    page.mouse.move(200, 400)
    page.mouse.move(210, 400)
    v.until("window.__sent.viewpoint.at(-1).eyes.length === 1", "the pointer moves the eye again")


def test_whoever_has_no_rig_is_shown_flat_to_both_eyes(visitor: Visitor, service: Service) -> None:
    v, page = visitor, visitor.page
    v.context.add_init_script(DOUBLE)
    in_settings(v, service, "flat-room")
    page.select_option("[data-set=mode]", "headset")
    page.click("#enter-headset")
    v.until("window.streamsvc.stats.headset.drawn > 0")
    until_seen(page, lambda left, right: min(left.max(), right.max()) > 30)
    for eye in eyes_of(page):
        columns = np.flatnonzero((eye[150:160].max(2) > 10).any(0))
        # 0.88 m across, at 1 m
        assert np.ptp(columns) == pytest.approx(160 * 0.88, abs=5)
        assert eye[200, columns[-8]].mean() > eye[200, columns[8]].mean() + 30, "all of the picture, not a half"


def test_who_leaves_the_call_or_chooses_another_mode_leaves_the_headset(visitor: Visitor, service: Service) -> None:
    v, page = visitor, visitor.page
    v.context.add_init_script(DOUBLE)
    in_settings(v, service, "leave")
    page.select_option("[data-set=mode]", "headset")
    page.click("#enter-headset")
    v.until("window.streamsvc.stats.headset.state === 'on'")
    page.select_option("[data-set=mode]", "stereo")
    v.until("window.streamsvc.stats.headset.state === 'off'")
    assert page.locator("[data-set=mode]").input_value() == "stereo"
    assert modes(v)[:2] == ["packed", "stereo"], "a browser that says which picture it shows warps each eye's"
    page.select_option("[data-set=mode]", "headset")
    page.click("#enter-headset")
    v.until("window.streamsvc.stats.headset.state === 'on'")
    page.click("[data-call=leave]")
    v.until("window.__headset.sessions.at(-1).ended")
    assert page.locator("#join").is_visible()


@pytest.mark.parametrize("next_call", ["then", "meanwhile"])
def test_a_call_that_ends_while_the_headset_starts_leaves_the_button_as_it_was(
    visitor: Visitor, service: Service, next_call: str
) -> None:
    v, page = visitor, visitor.page
    v.context.add_init_script(DOUBLE)
    in_settings(v, service, f"early-{next_call}")
    page.select_option("[data-set=mode]", "headset")
    page.evaluate(
        """() => {
          const { requestSession } = navigator.xr;
          const asked = new Promise((go) => (window.__go = go));
          navigator.xr.requestSession = async (kind) => {
            const session = await requestSession(kind);
            await asked;
            return session;
          };
        }"""
    )
    page.click("#enter-headset")
    page.click("[data-call=leave]")
    page.locator("#form").wait_for()
    if next_call == "meanwhile":
        page.click("#form [type=submit]")
        v.in_call()
    page.evaluate("window.__go()")
    v.until("window.__headset.sessions[0].ended")
    assert page.evaluate("document.querySelector('#headset-told').textContent") == ""
    if next_call == "then":
        page.click("#form [type=submit]")
        v.in_call()
    page.click("[data-call=settings]")
    page.select_option("[data-set=mode]", "headset")
    page.click("#enter-headset")
    v.until("window.streamsvc.stats.headset.state === 'on'")


def test_a_headset_in_which_nothing_can_be_drawn_any_more_is_left_with_words(
    visitor: Visitor, service: Service
) -> None:
    v, page = visitor, visitor.page
    v.context.add_init_script(DOUBLE)
    in_settings(v, service, "dark")
    page.select_option("[data-set=mode]", "headset")
    page.click("#enter-headset")
    v.until("window.streamsvc.stats.headset.drawn > 0")
    page.evaluate("window.__headset.layer.gl.getExtension('WEBGL_lose_context').loseContext()")
    v.until("window.__headset.sessions[0].ended")
    assert "press the button again" in page.locator("#headset-told").inner_text()
    assert page.locator("#enter-headset").is_enabled()
    assert modes(v)[-1] == "window", "the mode of before is back"


def test_a_mode_that_the_service_refuses_ends_the_session_with_words(visitor: Visitor, service: Service) -> None:
    v, page = visitor, visitor.page
    v.context.add_init_script(DOUBLE)
    v.context.add_init_script(
        """(() => {
          const { send } = WebSocket.prototype;
          WebSocket.prototype.send = function (data) {
            return send.call(this, data.replace('"packed"', '"hologram"'));
          };
        })();"""
    )
    in_settings(v, service, "refused")
    page.select_option("[data-set=mode]", "headset")
    page.click("#enter-headset")
    v.until("window.__headset.sessions.at(-1)?.ended")
    told = page.locator("#headset-told").inner_text()
    assert "makes no pictures for headsets" in told and "hologram" in told
    assert page.locator("[data-set=mode]").input_value() == "window"
    v.until("window.__heard.filter((m) => m.type === 'configured').at(-1)?.settings.view.mode === 'window'")
    assert modes(v) == ["hologram", "window"]


def test_the_next_call_begins_without_the_headset_and_without_what_was_told_of_it(
    visitor: Visitor, service: Service
) -> None:
    v, page = visitor, visitor.page
    v.context.add_init_script(DOUBLE)
    in_settings(v, service, "after")
    page.select_option("[data-set=mode]", "headset")
    page.evaluate("window.__headset.refuse = 'InvalidStateError'")
    page.click("#enter-headset")
    v.until("document.querySelector('#headset-told').textContent.includes('in use')")
    page.click("[data-call=leave]")
    page.click("#form [type=submit]")
    v.in_call()
    page.click("[data-call=settings]")
    assert page.locator("[data-set=mode]").input_value() == "window"
    assert page.locator("#enter-headset").is_hidden()
    assert page.locator("#headset-told").text_content() == ""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("InvalidStateError", "in use"),
        ("NotSupportedError", "No headset answers"),
        ("NotAllowedError", "does not let this page"),
        ("UnknownError", "could not be started"),
    ],
)
def test_what_stands_in_the_way_is_told(visitor: Visitor, service: Service, error: str, words: str) -> None:
    v, page = visitor, visitor.page
    v.context.add_init_script(DOUBLE)
    in_settings(v, service, f"no-{error}")
    page.select_option("[data-set=mode]", "headset")
    page.evaluate("name => (window.__headset.refuse = name)", error)
    page.click("#enter-headset")
    v.until("window.streamsvc.stats.headset.state === 'off' && document.querySelector('#headset-told').textContent")
    assert words in page.locator("#headset-told").inner_text()
    page.evaluate("window.__headset.refuse = null")
    page.click("#enter-headset")
    v.until("window.streamsvc.stats.headset.state === 'on'", "one may try again")
    assert not modes(v)[:-1], "nothing was asked of the service for the attempt that failed"


def test_a_packed_picture_is_warped_to_each_eye(visitor: Visitor, service: Service) -> None:
    visitor.page.goto(f"{service.url}/room/warp")
    shot = shoot(parse_mode("packed"), SCREEN, np.array([[0.0, 0.0, 0.2]]), W, H, depth_range=(-0.2, np.inf))
    view = seen(shot.cameras[0])
    picture = assemble(shot, [View(view.pixels, view.inverse_depth, view.coverage)])
    assert picture.depth is not None
    height, width = picture.pixels.shape[:2]
    message = {
        "rtp": 1,
        "eye": list(picture.eye),
        "screen": picture.screen.to_json(),
        "width": width,
        "height": height * 2 // 3,
        "inverse_far": picture.depth.far,
        "inverse_near": picture.depth.near,
    }
    rgba = np.dstack([picture.pixels, np.full((height, width, 1), 255, np.uint8)])
    data = base64.b64encode(rgba.tobytes()).decode()
    eyes = [(-0.0315, 0.0, 0.2), (0.0315, 0.0, 0.2)]
    drawn = visitor.page.evaluate(DRAW, [data, width, height, message, eyes])

    def truth(eye: tuple[float, float, float]) -> np.ndarray:
        camera: Camera = off_axis_camera(SCREEN, np.array(eye), W, H)
        return seen(camera).pixels

    for eye, out in zip(eyes, drawn, strict=True):
        found = np.frombuffer(base64.b64decode(out), np.uint8).reshape(H, W, 4)[..., :3]
        late = truth((eye[0] + 0.024, 0.0, 0.2))  # a stereo half: 0.2 m/s, 120 ms ago
        print(f"{eye}: warped {psnr(found, truth(eye)):.1f} dB, of 24 mm ago {psnr(late, truth(eye)):.1f} dB")
        assert psnr(found, truth(eye)) > 24
