"""The call: the view plays, captions come, the eye moves, settings reach the service, figures and clocks are right."""

from __future__ import annotations

import json
import time
from itertools import pairwise

import pytest

from streamsvc.speech.policies import describe

from .conftest import open_visit
from .fake_server import CORRECTED

SNAP = """() => {
  const c = document.createElement('canvas'); c.width = 32; c.height = 24;
  const g = c.getContext('2d'); g.drawImage(document.getElementById('view'), 0, 0, 32, 24);
  return [...g.getImageData(0, 0, 32, 24).data].join();
}"""


# Keeps what the page says in place of a picture.
WAITED = """
window.__waited = [];
addEventListener("DOMContentLoaded", () => {
  const said = document.getElementById("waiting");
  new MutationObserver(() => window.__waited.push(said.textContent)).observe(said, { childList: true });
});
"""


@pytest.fixture(scope="module")
def lasting_call(chromium, service):
    """Someone in a call with two cameras."""
    v = open_visit(chromium)
    v.join("lasting", url=service.url)
    v.in_call()
    yield v
    v.check()
    v.context.close()


@pytest.fixture
def caller(lasting_call):
    """The call that most tests share: panels closed, eye at home, nothing said yet about viewpoints."""
    for panel in lasting_call.page.locator("[data-close]:visible").all():
        panel.click()
    lasting_call.page.locator("#stage").focus()
    lasting_call.page.keyboard.press("r")
    lasting_call.until("window.streamsvc.stats.viewpointsSent > 0 && window.streamsvc.stats.eye[0] === 0")
    return lasting_call


def test_the_view_plays_and_its_pixels_change(caller):
    caller.until("window.streamsvc.stats.framesShown > 3")
    first = caller.page.evaluate(SNAP)
    shown = caller.stats()["framesShown"]
    caller.until(f"window.streamsvc.stats.framesShown > {shown + 10}")
    assert caller.page.evaluate(SNAP) != first
    assert len(set(first.split(","))) > 2, "the picture is not empty"
    caller.until("!document.getElementById('voice').paused", "the voice plays")


def test_committed_words_are_solid_tentative_ones_grey_and_the_transcript_keeps_all(caller):
    caller.until("window.streamsvc.stats.captions.length === 4")
    caller.until("document.querySelector('.tentative')?.textContent === 'and we have the whole afternoon'")
    story = "Good morning, I am glad to see you. We can begin whenever you like."
    assert caller.page.locator(".committed").inner_text() == story
    grey, solid = (
        caller.page.evaluate(f"getComputedStyle(document.querySelector('.{c}')).color")
        for c in ("tentative", "committed")
    )
    assert grey != solid
    spoken = caller.page.locator("[aria-live=polite][aria-label=Captions]")
    assert spoken.inner_text().split() == story.split(), "a screen reader hears committed words only"
    caller.page.click("[data-call=transcript]")
    corrected = ["Ana", "Good", "morning,", *CORRECTED.split(), "whenever", "you", "like."]
    assert caller.page.locator("#transcript").inner_text().split() == corrected
    caller.page.uncheck("#corrected")
    assert caller.page.locator("#transcript").inner_text().split() == ["Ana", *story.split()], "as it was said"
    caller.page.check("#corrected")


def test_the_transcript_is_saved_in_the_format_that_was_chosen(caller):
    page = caller.page
    caller.until("document.querySelector('#transcript .corrected')", "all is said")
    page.click("[data-call=transcript]")
    for format in ("srt", "json"):
        page.select_option("#save-format", format)
        with page.expect_download() as download:
            page.click("[data-call=save]")
        assert download.value.suggested_filename == f"transcript.{format}"
        caller.until(f"document.getElementById('toast').textContent.startsWith('Saved as transcript.{format}')")
    captions = json.loads(download.value.path().read_text("utf-8"))["captions"]
    shown = page.locator("#transcript").inner_text().split()
    assert " ".join(c["text"] for c in captions).split() == shown[1:]
    assert [c.get("as_said") for c in captions] == [None, "I am glad to see you. We can begin", None]
    starts = [c["start_ms"] for c in captions]
    assert starts == sorted(starts) and all(c["end_ms"] > c["start_ms"] for c in captions)


def test_sliders_are_made_from_the_declared_table_and_reach_the_service(caller):
    page = caller.page
    page.click("[data-call=settings]")
    assert page.locator("[data-set=policy] option").all_inner_texts() == [p["name"] for p in describe()]
    for policy in describe():
        page.select_option("[data-set=policy]", policy["name"])
        for slider, declared in zip(
            page.locator("[data-set=parameters] input").all(), policy["parameters"], strict=True
        ):
            assert slider.get_attribute("name") == declared["name"]
            shown = [float(slider.get_attribute(a)) for a in ("min", "max")] + [float(slider.input_value())]
            assert shown == [declared["minimum"], declared["maximum"], declared["default"]]
            assert (slider.get_attribute("step") == "1") == declared["integer"]
            assert declared["meaning"][1:] in page.locator("[data-set=parameters]").inner_text()
    page.select_option("[data-set=policy]", "consensus")
    page.locator("[data-set=parameters] [name=threshold]").fill("0.75")
    page.locator("[data-set=budget]").fill("250")
    page.select_option("[data-set=source]", "es")
    page.locator("[data-set=glossary]").fill("Siobhan Kowalczyk,\n Drogheda ;")
    page.uncheck("[data-set=enabled]")
    page.select_option("[data-set=rung]", "half")
    page.select_option("[data-set=mode]", "stereo")
    page.select_option("[data-set=size]", "640×480")
    taken = "window.__heard.filter((m) => m.type === 'configured').at(-1)?.settings"
    caller.until(f"{taken}.view.width === 640", "the service took the last change")
    settings = page.evaluate(taken)
    assert settings["speech"]["policy"] == "consensus"
    assert settings["speech"]["parameters"]["threshold"] == 0.75
    assert (settings["speech"]["source"], settings["speech"]["enabled"]) == ("es", False)
    assert settings["speech"]["glossary"] == ["Siobhan Kowalczyk", "Drogheda"]
    assert settings["view"] == {"width": 640, "height": 480, "budget_ms": 250, "rung": "half", "mode": "stereo"}
    assert page.locator("[data-set=mode]").input_value() == "stereo"
    caller.until("window.streamsvc.stats.live.budget_ms === 250")
    assert not [n for n in caller.stats()["notices"] if n["code"] == "bad-settings"]


def test_a_quilt_that_is_too_large_is_refused_with_words_and_the_mode_of_before_is_shown_again(visit, service):
    v = visit()
    v.join("quilt", url=service.url, viewer=True)
    v.in_call()
    v.page.click("[data-call=settings]")
    v.page.select_option("[data-set=size]", "1920×1080")
    v.page.select_option("[data-set=mode]", "stereo")
    v.until("window.__heard.filter((m) => m.type === 'configured').at(-1)?.settings.view.mode === 'stereo'")
    v.page.select_option("[data-set=mode]", "quilt")
    v.until("document.querySelector('[data-set=mode]').value === 'stereo'")
    assert v.page.locator("[data-set=size]").input_value() == "1920×1080"
    v.until("document.getElementById('toast').textContent.includes('ask for a smaller view')")


def test_presets_stand_in_front_of_the_parameters_and_follow_them(caller):
    page = caller.page
    page.click("[data-call=settings]")
    page.select_option("[data-set=policy]", "agreement")
    names = page.locator("[data-set=presets] label:visible")
    assert names.all_inner_texts() == ["Fast", "Balanced", "Careful"]
    held = "document.querySelector('[data-set=presets] input:checked').value"
    assert page.evaluate(held) == "default"
    names.filter(has_text="Careful").click()
    caller.until("window.__said.some((m) => m.speech?.parameters?.hurry === 0.7)")
    assert page.locator("[data-set=parameters] [name=first]").input_value() == "0.7"
    assert "half a second later" in page.locator("[data-set=presets] small").inner_text()
    page.locator("[data-set=parameters] [name=hurry]").fill("1.5")
    assert page.evaluate(held) == "own" and names.last.inner_text() == "My own"
    names.filter(has_text="Fast").locator("input").press("Space")
    assert page.locator("[data-set=parameters] [name=frame_width]").input_value() == "0.75"
    page.select_option("[data-set=policy]", "offline")
    assert page.locator("[data-set=presets]").is_hidden()


def test_a_touched_setting_alone_is_sent(visit, service):
    v = visit()
    v.join("settings", url=service.url, viewer=True)
    v.in_call()
    v.page.click("[data-call=settings]")
    v.page.select_option("[data-set=policy]", "consensus")
    v.page.locator("[data-set=parameters] [name=threshold]").fill("0.75")
    v.until("window.__said.some((m) => m.speech?.parameters?.threshold === 0.75)")
    changes = v.page.evaluate("window.__said.filter((m) => m.type === 'configure')")
    assert all(set(change) == {"type", "v", "speech"} for change in changes), "only what was touched is sent"
    assert changes[0]["speech"]["policy"] == "consensus"


def test_the_voice_that_speaks_for_me_is_mine_to_choose(caller):
    page = caller.page
    page.click("[data-call=settings]")
    names = page.locator("[data-set=voice] option").all_inner_texts()
    assert names == ["The one nearest to mine", "Joe (man)", "Bella (woman)"]
    page.select_option("[data-set=voice]", "af_bella")
    caller.until("window.__said.some((m) => m.speech?.voice === 'af_bella')")
    taken = "window.__heard.filter((m) => m.type === 'configured').at(-1)?.settings.speech?.voice"
    caller.until(f"{taken} === 'af_bella'")
    assert page.locator("[data-set=voice]").input_value() == "af_bella"


def test_what_is_behind_me_reaches_the_service(caller):
    page = caller.page
    page.click("[data-call=settings]")
    assert page.locator("[data-set=nobackdrop]").is_hidden()
    assert page.locator("[data-set=colour]").is_hidden()
    taken = "window.__heard.filter((m) => m.type === 'configured').at(-1)?.settings.appearance?.backdrop"
    page.select_option("[data-set=backdrop]", "blur")
    caller.until(f"{taken} === 'blur'")
    page.select_option("[data-set=backdrop]", "colour")
    page.locator("[data-set=colour]").fill("#102030")
    caller.until(f"{taken} === '#102030'")
    assert page.locator("[data-set=backdrop]").input_value() == "colour"
    page.select_option("[data-set=backdrop]", "room")
    caller.until(f"{taken} === 'room'")
    assert page.locator("[data-set=colour]").is_hidden()


def test_the_pointer_and_the_keys_move_the_eye_and_r_brings_it_home(caller):
    page = caller.page
    caller.until("(window.__sent.viewpoint ?? []).length > 0", "the eye's place is said at the start")

    def eye() -> list[float]:
        return page.evaluate("window.__sent.viewpoint.at(-1).eyes[0]")

    home = [0.0, 0.0, 0.0]  # the fake's window is 1.2 m in front of the origin
    caller.until("Math.abs(window.streamsvc.stats.eye[2]) < 1e-9")
    assert eye() == pytest.approx(home, abs=1e-6)
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.1)
    caller.until("window.__sent.viewpoint.at(-1).eyes[0][0] > 0.4", "right of the middle")
    assert eye()[1] < -0.2, "up is negative y"
    page.keyboard.press("r")
    caller.until("Math.hypot(...window.__sent.viewpoint.at(-1).eyes[0]) < 1e-6", "R brings the eye home")
    page.keyboard.press("ArrowLeft")
    caller.until("window.__sent.viewpoint.at(-1).eyes[0][0] < -0.04")
    page.keyboard.press("ArrowDown")
    caller.until("window.__sent.viewpoint.at(-1).eyes[0][1] > 0.02")
    page.keyboard.press("+")
    caller.until("window.__sent.viewpoint.at(-1).eyes[0][2] > 0.09", "plus goes nearer")
    page.mouse.wheel(0, 300)
    caller.until("window.__sent.viewpoint.at(-1).eyes[0][2] < 0.09", "the wheel goes away")


def test_keys_move_the_eye_only_where_nothing_else_takes_them(caller):
    page = caller.page
    page.keyboard.press("ArrowLeft")
    caller.until("Math.abs(window.streamsvc.stats.eye[0] + 0.0432) < 1e-9", "it has come to rest")
    for focus in ("[data-call=mute]", "#meter"):
        page.focus(focus)
        for key in ("r", "ArrowRight", "-"):
            page.keyboard.press(key)
        page.evaluate("new Promise(requestAnimationFrame)")
        assert caller.stats()["eye"] == pytest.approx([-0.0432, 0, 0])
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("r")
    caller.until("window.streamsvc.stats.eye[0] === 0", "nothing has the focus")


def test_viewpoints_leave_only_on_change_and_at_most_sixty_a_second(caller):
    page = caller.page
    caller.until("(window.__sent.viewpoint ?? []).length > 0")
    box = page.locator("#stage").bounding_box()
    for i in range(60):
        page.mouse.move(box["x"] + 50 + 8 * i, box["y"] + 100)
    caller.until("window.__sent.viewpoint.length > 5")
    rest = -1
    while rest != (rest := len(caller.sent("viewpoint"))):
        page.evaluate("new Promise((done) => setTimeout(done, 300))")
    times = [m["t_us"] for m in caller.sent("viewpoint")]
    assert times == sorted(times)
    for start in times:
        assert sum(start <= t < start + 1_000_000 for t in times) <= 62


def test_a_finger_drags_the_eye_and_two_change_the_distance(visit, service):
    v = visit(has_touch=True, viewport={"width": 390, "height": 844}, is_mobile=True)
    v.join("touch", url=service.url, viewer=True)
    v.in_call()
    v.until("(window.__sent.viewpoint ?? []).length > 0")
    touch = v.context.new_cdp_session(v.page)

    def fingers(kind: str, *points: tuple[int, int]) -> None:
        where = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": where})

    fingers("touchStart", (150, 300))
    fingers("touchMove", (230, 300))
    v.until("window.__sent.viewpoint.at(-1).eyes[0][0] > 0.1", "the eye follows the finger")
    fingers("touchEnd")
    fingers("touchStart", (150, 300), (200, 300))
    fingers("touchMove", (100, 300), (260, 300))
    v.until("window.__sent.viewpoint.at(-1).eyes[0][2] > 0.1", "spreading goes nearer")
    fingers("touchEnd")


def test_clocks_meet_and_displayed_pictures_are_reported_on_the_servers_clock(caller):
    caller.until("window.streamsvc.stats.shown.length > 10")
    caller.until("window.streamsvc.stats.live?.fps > 0", "the service counts the reported pictures")
    clock = caller.page.evaluate(
        "({now: performance.now(), wall: performance.timeOrigin, ...window.streamsvc.stats.clock})"
    )
    server_ns = time.monotonic_ns()  # the service runs on this machine
    assert abs(clock["now"] * 1e6 + clock["offset_ns"] - server_ns) < 250_000_000
    ledger = caller.sent("ledger")
    assert sum(m["type"] == "ping" for m in ledger) >= 5
    best = [m for m in ledger if m["type"] == "clocks"][-1]
    assert abs(time.time_ns() + best["offset_ns"] - time.monotonic_ns()) < 250_000_000
    rtp = [f[0] for m in ledger if m["type"] == "shown" for f in m["frames"]]
    assert all(isinstance(t, int) and 0 <= t < 2**32 for t in rtp)
    assert len(set(rtp)) == len(rtp), "a picture is reported once"


def test_the_meter_is_coloured_against_the_budget(caller):
    caller.until("window.streamsvc.stats.live !== null")
    figures = {e.get_attribute("data-figure"): e for e in caller.page.locator("#meter [data-figure]").all()}
    assert figures["latency"].inner_text() == "182 ms"
    assert figures["latency"].get_attribute("data-grade") == "good"
    assert figures["goodput"].inner_text() == "93 %"
    assert figures["goodput"].get_attribute("data-grade") == "fair"
    assert figures["rung"].inner_text() == "full"
    assert figures["lag"].inner_text() == "2.3 s"
    assert caller.page.locator("[data-call=stutters]").is_hidden()
    poor = {**caller.page.evaluate("window.streamsvc.stats.live"), "goodput": 0.6}
    asks = """async (live) => {
      const { Meter } = await import("/meter.js");
      new Meter(document.getElementById("meter")).draw(live);
      return !document.querySelector("[data-call=stutters]").hidden;
    }"""
    assert caller.page.evaluate(asks, poor), "what stutters may be asked about"


def test_mute_silences_and_stop_switches_the_cameras_off_and_on(caller):
    page = caller.page
    caller.until("window.streamsvc.stats.framesShown > 3")
    mute = page.locator("[data-call=mute]")
    silent = "document.querySelector('[data-call=mute]').classList.contains('off')"
    mute.click()
    assert mute.inner_text() == "Unmute" and page.evaluate(silent)
    assert mute.get_attribute("aria-pressed") is None, "“Unmute, pressed” would say the opposite"
    page.click("[data-call=camera]")
    caller.until("document.querySelector('[data-call=camera]').innerText.includes('Start')")
    page.focus("[data-call=camera]")
    page.keyboard.press("Enter")
    caller.until("document.querySelector('[data-call=camera]').innerText.includes('Stop')")
    caller.until("document.activeElement.dataset.call === 'camera'", "the keyboard stays at its button")
    mute.click()
    assert mute.inner_text() == "Mute" and not page.evaluate(silent)


def test_on_a_phone_the_transcripts_format_is_chosen_by_its_name(visit, service):
    v = visit(viewport={"width": 360, "height": 640})
    v.join("phone", url=service.url, viewer=True)
    v.in_call()
    v.page.click("[data-call=transcript]")
    box = v.page.locator("#save-format").bounding_box()
    assert box["width"] >= 90
    header = v.page.evaluate("(({ scrollWidth, clientWidth }) => scrollWidth - clientWidth)(document.body)")
    assert header <= 0, "nothing sticks out"


def test_on_a_phone_on_its_side_captions_leave_the_address_to_hand_on_free(visit, service):
    v = visit(viewport={"width": 640, "height": 360})
    v.join("on-its-side", url=service.url, viewer=True)
    v.in_call()
    v.until("window.streamsvc.stats.captions.length === 4")
    boxes = [v.page.locator(part).bounding_box() for part in (".top", "#invite", "#captions")]
    for above, below in pairwise(boxes):
        assert above["y"] + above["height"] <= below["y"]
    assert v.page.locator("#waiting").inner_text().startswith("You are the only one here")


@pytest.mark.parametrize("width", [360, 761, 768, 850])
def test_no_button_of_a_call_sticks_out_of_the_screen(visit, service, width):
    v = visit(viewport={"width": width, "height": 800})
    v.join(f"bar-{width}", url=service.url, cameras=1)
    v.in_call()
    v.page.locator("[data-call=record]").wait_for()
    for button in v.page.locator(".bar button:visible").all():
        box = button.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width, button.inner_text()


def test_two_people_are_told_of_each_other(visit, service):
    ana, ben = visit(), visit()
    ana.join("pair", name="Ana", url=service.url, viewer=True)
    ana.in_call()
    assert "waiting for someone" in ana.page.locator(".where").inner_text()
    ben.context.add_init_script(WAITED)
    ben.join("pair", name="Ben", url=service.url, viewer=True)
    ben.in_call()
    waited = " ".join(ben.page.evaluate("window.__waited"))
    assert "No picture of Ana yet" in waited and "on its way" not in waited, "Ana may never send one"
    ana.until("document.querySelector('.where').innerText.includes('with Ben')")
    ben.until("document.querySelector('.where').innerText.includes('with Ana')")
    assert ana.page.get_by_role("status").filter(has_text="with Ben").count() == 1, "a screen reader is told"
    ben.page.click("[data-call=leave]")
    ana.until("document.querySelector('.where').innerText.includes('waiting for someone')")
    assert "You are the only one here" in ana.page.locator("#stage").inner_text()
    ana.context.grant_permissions(["clipboard-read", "clipboard-write"])
    assert ana.page.locator("#invite input").input_value() == f"{service.url}/room/pair"
    assert "this computer only" in ana.page.locator("#invite").inner_text()
    assert "token" not in ana.page.locator("#invite").inner_text()
    ana.page.click("#invite button")
    ana.until("document.querySelector('#invite button').textContent === 'Copied'")
    long = """() => {
      const transcript = document.getElementById("transcript");
      for (let i = 0; i < 99; i += 1) transcript.append(Object.assign(document.createElement("p"), { textContent: i }));
    }"""
    ana.page.evaluate(long)
    ana.page.click("[data-call=transcript]")
    below = "(({ scrollHeight, scrollTop, clientHeight }) => scrollHeight - scrollTop - clientHeight)"
    assert ana.page.evaluate(f"{below}(document.getElementById('transcript'))") < 2, "it opens at its end"
