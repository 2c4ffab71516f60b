"""Cameras and microphones that open slowly, fail or go away: none stays on that nobody wants; the page says what is."""

from __future__ import annotations

import json

import pytest

from .test_join import RIG

# Devices that open when they are let, and what may be asked about them.
DEVICES = """
  const opened = [], held = [];
  const state = { hold: false, refuse: null };
  const turn = () => new Promise((done) => setTimeout(done));
  const until = async (true_) => { while (!true_()) await turn(); };
  const live = () => opened.filter((t) => t.readyState === "live").length;
  const go = async () => { state.hold = false; held.splice(0).forEach((open) => open()); await turn(); };
  const gone = (slot) => { slot.track.stop(); slot.track.onended(); };
  const plugged = () => navigator.mediaDevices.dispatchEvent(new Event("devicechange"));
  const cameras = ["a", "b"].map((deviceId) => ({ kind: "videoinput", deviceId }));
  navigator.mediaDevices.enumerateDevices = async () => cameras;
  navigator.mediaDevices.getUserMedia = async ({ video, audio }) => {
    const { deviceId, width } = video ?? audio;
    if (deviceId && state.refuse === deviceId.exact) throw new DOMException("", "NotReadableError");
    if (state.hold) await new Promise((open) => held.push(open));
    if (deviceId && state.late === deviceId.exact) throw new DOMException("", "NotReadableError");
    const track = { readyState: "live", width: width?.ideal, stop() { this.readyState = "ended"; } };
    opened.push(track);
    return { getTracks: () => [track] };
  };
  const media = new m.LocalMedia();
  const add = (deviceId) => media.addCamera({ deviceId, label: deviceId });
"""
# Wraps getUserMedia: `__asked` counts, `__tracks` keeps, while `__hold` is true none is answered, `__refuse` refuses
# cameras; `__blind` and `__deaf` say of which wanted camera and microphone that it is busy.
PAGE = """
Object.assign(window, { __asked: 0, __tracks: [], __hold: false, __refuse: null });
const get = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = async (wanted) => {
  window.__asked += 1;
  while (window.__hold) await new Promise((done) => setTimeout(done, 10));
  if (window.__refuse && wanted.video?.deviceId) throw new DOMException("", window.__refuse);
  if (wanted.video && window.__blind?.(wanted.video)) throw new DOMException("", "NotReadableError");
  if (window.__deaf?.(wanted.audio)) throw new DOMException("", "NotReadableError");
  const stream = await get(wanted);
  window.__tracks.push(...stream.getTracks());
  return stream;
};
"""
LIVE = "window.__tracks.filter((t) => t.readyState === 'live')"
LEVEL = "Number(document.querySelector('#devices [data-ui=level]').style.getPropertyValue('--level'))"


@pytest.mark.parametrize(
    ("what", "meanwhile", "left"),
    [
        ("plugged in twice", "gone(slot); state.hold = true; plugged(); plugged(); await until(() => held[0]);", 1),
        ("plugged in, stopped", "gone(slot); state.hold = true; plugged(); await until(() => held[0]); stop();", 0),
        ("started, left", "stop(); state.hold = true; start(); await until(() => held[0]); media.release();", 0),
        ("added, removed", "state.hold = true; add('b'); await until(() => held[0]); media.removeCamera('b');", 1),
        ("added twice", "state.hold = true; add('b'); add('b'); await until(() => held[0]);", 2),
    ],
)
def test_a_camera_that_opens_late_is_on_only_if_it_is_still_wanted(run, what, meanwhile, left):
    body = """
      const [start, stop] = [false, true].map((on) => () => { media.stopCameras(on); });
      await add("a");
      const [slot] = media.slots;
    """
    count = "return [live(), media.slots.filter((s) => s.track?.readyState === 'live').length];"
    assert run("devices", f"{DEVICES}{body}{meanwhile} await go(); {count}") == [left, left], what


def test_of_two_quick_changes_the_last_is_in_force(run):
    body = """
      await add("a");
      state.hold = true;
      const resized = [320, 1280].map((width) => {
        media.size = { width, height: 240 };
        return media.reopenCameras();
      });
      const chosen = ["x", "y"].map((deviceId) => media.chooseMicrophone({ deviceId, label: deviceId }));
      await until(() => held.length === 4);
      await go();
      await Promise.all([...resized, ...chosen]);
      return [live(), media.slots[0].track.width, media.microphone.deviceId];
    """
    assert run("devices", DEVICES + body) == [2, 1280, "y"]


def test_what_is_chosen_while_others_are_opened_again_is_in_force(run):
    body = """
      await add("a");
      await media.chooseMicrophone({ deviceId: "x", label: "x" });
      gone(media.slots[0]);
      media.microphone.track.stop();
      state.hold = true;
      plugged();
      await until(() => held.length === 1);
      const chosen = media.chooseMicrophone({ deviceId: "y", label: "y" });
      const swapped = media.swapCamera("a", { deviceId: "b", label: "b" });
      await until(() => held.length === 3);
      plugged();
      await go();
      await Promise.all([chosen, swapped]);
      await turn();
      return [live(), media.slots.map((s) => s.deviceId), media.microphone.deviceId, media.microphone.track.readyState];
    """
    assert run("devices", DEVICES + body) == [2, ["b"], "y", "live"]


def test_a_camera_that_is_refused_while_others_are_opened_again_gives_way_to_the_one_of_before(run):
    body = """
      await add("a");
      state.hold = true;
      state.late = "b";
      const swapped = media.swapCamera("a", { deviceId: "b", label: "b" }).then(() => "swapped", ({ code }) => code);
      await until(() => held.length === 1);
      plugged();
      await turn();
      await go();
      return [await swapped, media.slots[0].deviceId, media.slots[0].track.readyState];
    """
    assert run("devices", DEVICES + body) == ["device-busy", "a", "live"]


def test_who_only_watched_adds_a_microphone_and_a_camera_one_at_a_time(run):
    body = """
      media.viewer = true;
      await media.add("camera");
      const seen = [media.cameras().length, media.voice()];
      const none = await media.add("microphone").then(() => null, ({ code }) => code);
      cameras.push({ kind: "audioinput", deviceId: "m" });
      await media.add("microphone");
      const heard = media.voice() !== null;
      media.keep(1, false);
      return [seen, none, heard, media.cameras().length, media.voice(), live()];
    """
    assert run("devices", DEVICES + body) == [[1, None], "no-microphone", True, 1, None, 1]
    left = """
      state.hold = true;
      const added = media.add("camera");
      await until(() => held[0]);
      media.release();
      await go();
      await added;
      return [live(), media.slots.length];
    """
    assert run("devices", DEVICES + left) == [0, 0], "who left meanwhile has no light on"


def test_cameras_that_do_not_start_are_said_to_be_stopped_and_the_others_start(run):
    body = """
      await add("a");
      await media.stopCameras(true);
      const told = [];
      media.addEventListener("change", () => told.push([media.stopped, live()]));
      const start = async (refuse) => {
        state.refuse = refuse;
        return media.stopCameras(false).then(() => "started", ({ code }) => code);
      };
      const first = [await start("a"), ...told.at(-1)];
      media.slots.push({ deviceId: "b", label: "b", track: null });
      return [first, [await start("a"), ...told.at(-1)], [await start(null), ...told.at(-1)]];
    """
    assert run("devices", DEVICES + body) == [
        ["device-busy", True, 0],
        ["device-busy", False, 1],
        ["started", False, 2],
    ]


def test_on_the_join_screen_the_level_lives_try_again_opens_and_who_only_watches_has_no_light_on(visit, service):
    v = visit()
    page = v.page
    v.context.add_init_script(PAGE)
    page.goto(service.url)
    v.choose(1)
    v.until(f"{LEVEL} > 0.1", "the microphone is heard")

    page.evaluate(
        f"{LIVE}.filter((t) => t.kind === 'audio').forEach((t) => {{ t.stop(); t.dispatchEvent(new Event('ended')); }})"
    )
    v.until(f"{LEVEL} === 0")
    page.evaluate("navigator.mediaDevices.dispatchEvent(new Event('devicechange'))")
    v.until(f"{LEVEL} > 0.1", "and again when it is back")

    page.click("details.more summary")
    page.click("[data-ui=setup]")
    page.locator("#setup").wait_for()
    page.evaluate("document.querySelector('#devices [data-ui=level]').style.setProperty('--level', 0)")
    page.locator("#setup [data-leave]:visible").first.click()
    v.until(f"{LEVEL} > 0.1", "and after a set-up")

    page.evaluate("window.__refuse = 'NotReadableError'")
    page.select_option("[data-ui=size]", "320×240")
    assert "in use by another program" in v.problem()
    page.evaluate("window.__refuse = null")
    page.click("button:has-text('Try again')")
    v.until("[...document.querySelectorAll('#devices .tile:not(.unused) video')].every((e) => e.videoWidth === 320)")

    page.check("[name=viewer]")
    assert page.evaluate(f"{LIVE}.length") == 0
    page.uncheck("[name=viewer]")
    v.until(f"{LIVE}.length > 0")


def test_an_address_for_viewers_opens_no_device(visit, service):
    v = visit()
    v.context.add_init_script(PAGE)
    v.page.goto(f"{service.url}/room/only?viewer&name=Ana")
    v.page.click("#form [type=submit]")
    v.in_call()
    assert v.page.evaluate("window.__asked") == 0


def test_who_presses_join_twice_while_the_browser_asks_joins_once_with_all_devices(visit, service):
    v = visit()
    v.context.add_init_script(PAGE + "window.__hold = true;")
    v.page.goto(f"{service.url}/room/once?name=Ana")
    v.until("window.__asked === 1")
    v.page.evaluate("() => [1, 2].forEach(() => document.querySelector('#form').requestSubmit())")
    v.page.evaluate("window.__hold = false")
    v.in_call()
    joins, [offer] = (
        v.page.evaluate("(type) => window.__said.filter((m) => m.type === type)", t) for t in ("join", "offer")
    )
    assert len(joins) == 1
    assert [c["name"] for c in offer["cameras"]] == ["cam0"]
    assert v.page.evaluate(f"{LIVE}.length") == 2


def test_a_busy_microphone_leaves_the_camera_and_one_joins_without_it(visit, service):
    v = visit()
    v.context.add_init_script(PAGE + "window.__deaf = (audio) => Boolean(audio);")
    v.page.goto(f"{service.url}/room/deaf?name=Ana")
    assert "in use by another program" in v.problem()
    assert v.page.locator("#devices .tile:not(.unused)").count() == 1
    assert v.page.locator("[data-ui=microphone]").input_value() == ""
    v.page.click("#form [type=submit]")
    v.in_call()


def test_a_busy_microphone_gives_way_to_the_next_and_one_that_does_not_open_is_not_shown_as_chosen(visit, service):
    v = visit()
    busy = "let first; window.__deaf = (audio) => { const id = audio?.deviceId?.exact;"
    v.context.add_init_script(f"{PAGE} {busy} first ??= id; return window.__all ? audio : id && id === first; }};")
    v.page.goto(service.url)
    v.choose(1)
    v.until(f"{LEVEL} > 0.1", "another microphone is heard")
    chosen = v.page.locator("[data-ui=microphone]").input_value()
    ids = v.page.locator("[data-ui=microphone] option").evaluate_all("all => all.map((o) => o.value)")
    assert chosen == ids[2], "the first is busy"
    assert v.page.locator("#problem").is_hidden()
    v.page.select_option("[data-ui=microphone]", ids[1])
    assert "in use by another program" in v.problem()
    assert v.page.locator("[data-ui=microphone]").input_value() == chosen


def test_a_device_that_ends_without_being_unplugged_is_opened_anew_from_the_settings_of_the_call(visit, service):
    v = visit()
    page = v.page
    v.context.add_init_script(PAGE)
    v.join("ended", url=service.url, cameras=1)
    v.in_call()
    page.click("[data-call=settings]")
    for kind, name in (("audio", "select[data-device=microphone]"), ("video", "[data-device=cameras] select")):
        select = page.locator(name)
        select.wait_for()
        chosen = select.input_value()
        mine = f"{LIVE}.filter((t) => t.kind === '{kind}')"
        page.evaluate(f"{mine}.forEach((t) => {{ t.stop(); t.dispatchEvent(new Event('ended')); }})")
        v.until("window.streamsvc.stats.notices.at(-1)?.code === 'device-ended'")
        assert "Choose it again in the settings" in page.locator("#toast").inner_text()
        v.until(f"document.querySelector({name!r}).value === ''")
        select.select_option(chosen)
        v.until(f"{mine}.length === 1")
        v.until(f"document.querySelector({name!r}).value === {chosen!r}")


def test_a_call_changes_its_camera_and_keeps_the_one_it_has_where_the_other_is_busy(visit, service):
    v = visit()
    page = v.page
    v.context.add_init_script(PAGE)
    v.join("other", url=service.url, cameras=1)
    v.in_call()
    page.click("[data-call=settings]")
    select = page.locator("[data-device=cameras] select")
    select.wait_for()
    used = f"{LIVE}.filter((t) => t.kind === 'video').map((t) => t.getSettings().deviceId)"
    first = select.input_value()
    [other] = [o for o in select.locator("option").evaluate_all("all => all.map((o) => o.value)") if o != first]
    page.evaluate("id => (window.__blind = ({ deviceId }) => deviceId.exact === id)", other)
    select.select_option(other)
    v.until("window.streamsvc.stats.notices.at(-1)?.code === 'device-busy'")
    assert "Try again" not in page.locator("#toast").inner_text(), "there is no such button in a call"
    v.until(f"String({used}) === {first!r}")
    assert select.input_value() == first
    page.evaluate("window.__blind = null")
    select.select_option(other)
    v.until(f"String({used}) === {other!r}", "the old one is off")
    page.click("[data-call=camera]")
    v.until(f"{used}.length === 0")
    page.click("[data-call=camera]")
    v.until(f"String({used}) === {other!r}")


def test_who_came_to_listen_adds_a_microphone_and_a_camera_in_the_call(visit, service):
    v = visit()
    page = v.page
    v.context.add_init_script(PAGE)
    v.join("later", url=service.url, viewer=True)
    v.in_call()
    v.until("window.streamsvc.stats.framesShown > 3")
    offers = "window.__said.filter((m) => m.type === 'offer')"
    page.click("[data-call=mute]")
    v.until("document.querySelector('[data-call=mute]').innerText === 'Mute'")
    v.until(f"{offers}.length === 2 && {offers}[1].sdp.match(/m=audio[^]*?a=sendrecv/)")
    v.until("window.__heard.filter((m) => m.type === 'configured').at(-1)?.settings.speech.enabled")
    page.click("[data-call=settings]")
    assert page.locator("[data-set=enabled]").is_checked()
    told = page.locator("[data-device=blind]")
    assert "Nobody sees you" in told.inner_text()
    assert page.locator("[data-device=deaf]").is_hidden()
    told.locator("button").click()
    v.until("window.streamsvc.stats.live?.cameras === 1")
    v.until("document.querySelector('[data-device=cameras] select')?.checkVisibility()")
    assert told.is_hidden()
    frames = v.stats()["framesShown"]
    v.until(f"window.streamsvc.stats.framesShown > {frames + 5}", "the view goes on")
    assert page.evaluate("window.__said.filter((m) => m.type === 'join').length") == 1
    page.click("[data-call=leave]")
    v.until(f"{LIVE}.length === 0")


def test_a_device_that_may_not_be_used_is_told_in_the_call_and_the_button_stays(visit, service):
    v = visit(devices=False)
    v.join("denied-later", url=service.url, viewer=True)
    v.in_call()
    v.page.click("[data-call=camera]")
    v.until("window.streamsvc.stats.notices.at(-1)?.code === 'permission-denied'")
    assert "Allow it at the icon in the address bar" in v.page.locator("#toast").inner_text()
    assert v.page.locator("[data-call=camera]").inner_text() == "Add camera"


def test_another_camera_in_the_place_of_one_of_the_rig_is_warned_about_with_a_way_to_set_up_anew(visit, service):
    v = visit()
    page = v.page
    page.goto(f"{service.url}/room/rigged-swap?name=Ana")
    v.choose(1)
    rig = {**RIG, "cameras": RIG["cameras"][:1], "pairs": []}
    page.set_input_files(
        "[data-ui=rig]", {"name": "rig.json", "mimeType": "application/json", "buffer": json.dumps(rig).encode()}
    )
    v.until("document.querySelector('[data-ui=rigname]').value === 'rig.json'")
    page.click("#form [type=submit]")
    v.in_call()
    page.click("[data-call=settings]")
    select = page.locator("[data-device=cameras] select")
    select.wait_for()
    first = select.input_value()
    [other] = [o for o in select.locator("option").evaluate_all("all => all.map((o) => o.value)") if o != first]
    moved = page.locator("[data-device=moved]")
    assert moved.is_hidden()
    select.select_option(other)
    moved.wait_for()
    assert "rig belongs to the cameras that it was made with" in moved.inner_text()
    select.select_option(first)
    moved.wait_for(state="hidden")
    select.select_option(other)
    moved.locator("button").click()
    page.locator("#setup").wait_for()
    assert page.evaluate("window.streamsvc.state") == "idle"
