"""Calls that end, and calls that don't although their connection did."""

from __future__ import annotations

import json

# Keeps the page's sockets; while `__astray` none opens, while `__deaf` no join leaves (`__unheard` counts them).
# `__ticking` counts the intervals that run.
SOCKETS = """
Object.assign(window, { __sockets: [], __astray: false, __deaf: false, __unheard: 0, __ticking: 0 });
window.WebSocket = class extends WebSocket {
  constructor(url) {
    if (window.__astray) {
      const none = { close() {} };
      setTimeout(() => none.onclose({ reason: "" }));
      return none;
    }
    super(url);
    window.__sockets.push(this);
  }
  send(data) {
    if (window.__deaf && JSON.parse(data).type === "join") window.__unheard += 1;
    else super.send(data);
  }
};
const [begin, end] = [setInterval, clearInterval];
const running = new Set();
const count = () => { window.__ticking = running.size; };
window.setInterval = (...said) => { const id = begin(...said); running.add(id); count(); return id; };
window.clearInterval = (id) => { end(id); running.delete(id); count(); };
"""

# Tells two notices right after the first `joined`, and keeps in `__read` what has been seen of them.
NOTICES = """
window.__read = new Set();
window.WebSocket = class extends WebSocket {
  constructor(url) {
    super(url);
    this.addEventListener("message", ({ data }) => {
      if (JSON.parse(data).type !== "joined") return;
      const notice = (code) => JSON.stringify({ type: "notice", v: 1, code, message: `The ${code}.` });
      setTimeout(() => ["one", "other"].forEach((code) => this.onmessage({ data: notice(code) })));
    });
  }
};
(function look() {
  const toast = document.getElementById("toast");
  if (toast?.checkVisibility()) window.__read.add(toast.textContent);
  requestAnimationFrame(look);
})();
"""


def test_a_killed_service_is_told_and_the_call_comes_back_by_itself(visit, mortal):
    v = visit()
    v.forgive = ("ERR_CONNECTION_REFUSED", "WebSocket connection")
    v.join("again", url=mortal.url)
    v.in_call()
    v.until("window.streamsvc.stats.framesShown > 5")
    v.page.click("[data-call=settings]")
    v.page.locator("[data-set=budget]").fill("250")
    v.until("window.streamsvc.stats.live?.budget_ms === 250")
    mortal.kill()
    v.until("window.streamsvc.state === 'reconnecting'")
    overlay = v.page.locator("#overlay").inner_text()
    assert "Connection lost. Reconnecting" in overlay
    assert "You need do nothing" in overlay
    mortal.start()
    v.in_call()
    assert not v.page.locator("#overlay").is_visible()
    shown = v.stats()["framesShown"]
    v.until(f"window.streamsvc.stats.framesShown > {shown + 5}", "the view plays again")
    v.until("window.streamsvc.stats.live?.budget_ms === 250", "settings are kept")
    v.until("window.streamsvc.stats.live?.cameras === 2", "cameras are sent again")


def test_a_picture_that_is_no_longer_true_is_covered_with_words_until_another_comes(visit, service):
    ana, ben = visit(), visit()
    ben.context.add_init_script(SOCKETS)
    ana.join("unseen", url=service.url, viewer=True)
    ana.in_call()
    ben.join("unseen", name="Ben", url=service.url, viewer=True)
    ben.in_call()
    ben.until("window.streamsvc.stats.framesShown > 5")
    gone = """(message) => window.__sockets[0].onmessage({
      data: JSON.stringify({ type: "notice", v: 1, code: "no-picture", message })
    })"""
    opacity = """['video', 'canvas#warped'].map((part) =>
      Number(getComputedStyle(document.querySelector(`#stage > ${part}`)).opacity)).join()"""
    said = "document.getElementById('waiting').textContent"
    ben.page.evaluate(gone, "a moment ago there was none")
    shown = ben.stats()["framesShown"]
    ben.until(f"window.streamsvc.stats.framesShown > {shown + 20}")
    assert (ben.page.evaluate(opacity), ben.page.evaluate(said)) == ("1,1", ""), "pictures go on: what is shown is true"
    ben.page.evaluate("document.getElementById('view').pause()")
    ben.page.evaluate("document.getElementById('warped').hidden = false")
    ben.page.evaluate(gone, "Ana is not seen any more; you hear and read them")
    ben.until(f"{said}.startsWith('Ana is not seen any more; you hear and read them.')")
    assert ben.page.evaluate(opacity) == "0,0", "the video and what is warped of it"
    assert "appears here by itself" in ben.page.evaluate(said)
    ben.page.evaluate("document.getElementById('view').play()")
    ben.until(f"{said} === ''")
    assert ben.page.evaluate(opacity) == "1,1"


def test_leaving_while_reconnecting_ends_it_and_joining_a_dead_service_is_told(visit, mortal):
    v = visit()
    v.forgive = ("ERR_CONNECTION_REFUSED", "WebSocket connection")
    v.join("enough", url=mortal.url, viewer=True)
    v.in_call()
    mortal.kill()
    v.until("window.streamsvc.state === 'reconnecting'")
    v.page.click("[data-call=leave]")
    v.until("window.streamsvc.state === 'idle'")
    v.page.click("#form [type=submit]")
    assert "The service does not answer" in v.problem()
    mortal.start()
    v.page.click("button:has-text('Try again')")
    v.in_call()


def test_why_a_socket_does_not_open_is_asked_only_of_one_that_closed_by_itself_and_not_for_ever(run):
    body = """
      const real = [WebSocket, fetch];
      const closing = (socket) => queueMicrotask(() => socket.onclose({ reason: "" }));
      const [silent, refused] = [class { close() { closing(this); } }, class { constructor() { closing(this); } }];
      const hangs = (_, options) => new Promise((_, reject) => options.signal?.addEventListener("abort", reject));
      const code = (socket, answer, patience) => {
        [window.WebSocket, window.fetch] = [socket, answer];
        const stuck = new Promise((done) => setTimeout(done, 5000, "stuck"));
        return Promise.race([new m.Signalling().open("", patience).catch((problem) => problem.code), stuck]);
      };
      const healthy = async () => ({ ok: true });
      const codes = [];
      for (const tried of [[silent, healthy, 20], [refused, hangs, 20], [refused, healthy, 2000]]) {
        codes.push(await code(...tried));
      }
      [window.WebSocket, window.fetch] = real;
      return codes;
    """
    assert run("signalling", body) == ["unreachable", "unreachable", "origin-refused"]


def test_a_call_comes_back_past_what_looks_like_a_refusal_with_the_settings_that_were_taken(visit, service):
    v = visit()
    v.context.add_init_script(SOCKETS)
    v.join("astray", url=service.url, viewer=True)
    v.in_call()
    v.page.click("[data-call=settings]")
    v.page.select_option("[data-set=size]", "1920×1080")
    v.until("window.__heard.at(-1).settings?.view.width === 1920")
    v.page.select_option("[data-set=mode]", "quilt")
    v.until("window.streamsvc.stats.notices.some((n) => n.code === 'bad-settings')")
    assert v.page.locator("[data-set=mode]").input_value() == "window", "what is shown is what is in force"
    v.page.evaluate("() => { window.__astray = true; window.__sockets.at(-1).close(); }")
    v.until("document.querySelector('#overlay').innerText.includes('attempt 2')")
    v.page.evaluate("window.__astray = false")
    v.in_call()
    joins = v.page.evaluate("window.__said.filter((m) => m.type === 'join')")
    assert len(joins) >= 2
    assert joins[-1]["view"] == {"width": 1920, "height": 1080}


def test_who_leaves_while_a_lost_socket_is_replaced_has_left_and_a_join_that_fails_leaves_nothing_running(
    visit, service
):
    v = visit()
    v.context.add_init_script(SOCKETS)
    v.join("unseen", url=service.url, viewer=True)
    v.in_call()
    v.page.evaluate("() => { window.__deaf = true; window.__sockets.at(-1).close(); }")
    v.until("window.__unheard === 1")
    assert v.page.evaluate("window.streamsvc.state") == "in-call"
    v.page.click("[data-call=leave]")
    v.until("window.__sockets.every((s) => s.readyState === WebSocket.CLOSED)")
    v.page.evaluate("new Promise((done) => setTimeout(done))")
    assert v.page.evaluate("[window.streamsvc.state, window.__unheard]") == ["idle", 1]
    ticking = v.page.evaluate("() => { window.__astray = true; return window.__ticking; }")
    v.page.click("#form [type=submit]")
    assert "does not take calls from this address" in v.problem()
    assert "proxy before it does not pass WebSockets" in v.problem()
    assert v.page.evaluate("window.__ticking") == ticking


def test_a_new_person_is_not_shown_as_the_picture_of_the_one_before(visit, service):
    v = visit()
    v.context.add_init_script(SOCKETS)
    v.join("flat-next", url=service.url, viewer=True)
    v.in_call()
    shows = "(({ style }) => style.opacity !== '0')(document.getElementById('view'))"
    told = """(names) => {
      const data = JSON.stringify({ type: "peers", v: 1, peers: names, screen: null });
      window.__sockets.at(-1).onmessage({ data });
    }"""
    v.page.evaluate(told, ["Ana Two"])
    v.until(shows)
    assert v.page.locator("#waiting").inner_text() == ""
    v.page.evaluate("document.getElementById('view').pause()")
    v.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    v.page.evaluate(told, [])
    assert "You are the only one here" in v.page.locator("#waiting").inner_text()
    v.page.evaluate(told, ["Bob"])
    assert v.page.evaluate("document.getElementById('view').readyState") >= 2
    assert "No picture of Bob yet" in v.page.locator("#waiting").inner_text()
    assert not v.page.evaluate(shows)
    v.page.evaluate("document.getElementById('view').play()")
    v.until(f"{shows} && document.getElementById('waiting').textContent === ''", "Bob's first picture is shown")


def test_the_transcript_outlives_the_call_and_a_join_that_fails(visit, service):
    v = visit()
    v.context.add_init_script(SOCKETS)
    v.forgive = ("WebSocket connection",)
    v.join("outlives", url=service.url, viewer=True)
    assert v.page.locator("#left-transcript").is_hidden()
    v.in_call()
    v.until("window.streamsvc.stats.captions.length === 4")
    v.until("document.querySelector('#transcript .corrected')")
    v.page.click("[data-call=transcript]")
    said = v.page.locator("#transcript").inner_text().split()[1:]
    v.page.click("[data-call=leave]")
    v.page.evaluate("window.__astray = true")
    v.page.click("#form [type=submit]")
    v.problem()
    v.page.select_option("#left-transcript select", "json")
    with v.page.expect_download() as download:
        v.page.click("#left-transcript button")
    captions = json.loads(download.value.path().read_text("utf-8"))["captions"]
    assert " ".join(c["text"] for c in captions).split() == said
    assert "Saved as transcript.json" in v.page.locator("#left-transcript").inner_text()


def test_notices_that_come_with_joining_are_all_seen(visit, service):
    v = visit()
    v.context.add_init_script(NOTICES)
    v.join("notices", url=service.url, viewer=True)
    v.until("window.__read.has('The one.') && window.__read.has('The other.')")


def test_notices_wait_until_they_can_be_seen_and_none_is_said_twice(run):
    body = """
      const timers = [];
      const real = [setTimeout, clearTimeout];
      window.setTimeout = (then) => timers.push(then);
      window.clearTimeout = (id) => delete timers[id - 1];
      const pass = () => timers.splice(0).forEach((then) => then());
      const root = document.createElementNS("http://www.w3.org/1999/xhtml", "div");
      root.hidden = true;
      const toast = new m.Toast(root);
      const seen = [];
      const look = () => seen.push(root.hidden ? null : root.textContent);
      const add = (code, message) => { toast.add(code, message); look(); };
      add("a", "first");
      add("b", "second");
      pass();
      toast.begin();
      look();
      add("b", "second");
      add("a", "first");
      add("a", "third");
      pass();
      look();
      pass();
      look();
      pass();
      look();
      add("c", "fourth");
      toast.end();
      look();
      [window.setTimeout, window.clearTimeout] = real;
      return seen;
    """
    seen = run("toast", body)
    assert seen == [None, None, *["first"] * 4, "second", "third", None, "fourth", None]


def test_who_leaves_finds_the_focus_on_the_button_to_join(visit, service):
    v = visit()
    v.join("focus", url=service.url, viewer=True)
    v.in_call()
    v.page.click("[data-call=leave]")
    v.until("document.activeElement.type === 'submit'")


def test_leaving_closes_devices_and_one_can_join_again(visit, service):
    v = visit()
    v.context.add_init_script(
        """window.__tracks = []; const get = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        navigator.mediaDevices.getUserMedia = async (c) => {
          const s = await get(c); window.__tracks.push(...s.getTracks()); return s; };"""
    )
    v.join("leave", url=service.url)
    v.in_call()
    v.page.click("[data-call=leave]")
    v.page.locator("#form").wait_for()
    assert v.page.evaluate("window.__tracks.every((t) => t.readyState === 'ended')")
    v.choose(1, ask=True)
    v.page.click("#form [type=submit]")
    v.in_call()
    v.until("window.streamsvc.stats.live?.cameras === 1")


# `__unplug()` takes the camera away that was opened last, `__plug()` brings it back.
UNPLUGGABLE = """(() => {
  const devices = navigator.mediaDevices, tracks = [];
  const [get, list] = [devices.getUserMedia.bind(devices), devices.enumerateDevices.bind(devices)];
  let unplugged = null;
  devices.getUserMedia = async (wanted) => {
    const stream = await get(wanted);
    tracks.push(...stream.getTracks());
    return stream;
  };
  devices.enumerateDevices = async () => (await list()).filter((d) => d.deviceId !== unplugged);
  window.__unplug = () => {
    const track = tracks.filter((t) => t.kind === "video" && t.readyState === "live").at(-1);
    unplugged = track.getSettings().deviceId;
    track.stop();
    track.dispatchEvent(new Event("ended"));
  };
  window.__plug = () => {
    unplugged = null;
    devices.dispatchEvent(new Event("devicechange"));
  };
})();"""


def test_what_became_of_a_camera_before_a_call_is_no_news_in_it(visit, service):
    v = visit()
    v.context.add_init_script(UNPLUGGABLE)
    v.page.goto(f"{service.url}/room/before")
    v.page.fill("[name=name]", "Ana")
    v.choose(1)
    live = "document.querySelector('#devices .tile video').srcObject"
    v.page.evaluate("window.__unplug()")
    v.until(f"{live} === null")
    v.page.evaluate("window.__plug()")
    v.until(f"{live} !== null")
    v.page.click("#form [type=submit]")
    v.in_call()
    assert v.page.locator("#toast").is_hidden()


def test_an_unplugged_camera_is_told_and_the_call_goes_on(visit, service):
    v = visit()
    v.context.add_init_script(UNPLUGGABLE)
    v.join("unplugged", url=service.url)
    v.in_call()
    v.page.evaluate("window.__unplug()")
    v.until("window.streamsvc.stats.notices.some((n) => n.code === 'device-gone')")
    assert "went away" in v.page.locator("#toast").inner_text()
    v.page.evaluate("window.__plug()")
    v.until("window.streamsvc.stats.notices.some((n) => n.code === 'device-back')")
    assert v.page.evaluate("window.streamsvc.state") == "in-call"


def test_the_hook_is_read_only(visit, service):
    v = visit()
    v.page.goto(service.url)
    assert v.page.evaluate("window.streamsvc.state") == "idle"
    v.page.evaluate("() => { try { window.streamsvc.state = 'x'; } catch {} window.streamsvc.stats.framesShown = 99; }")
    assert v.page.evaluate("[window.streamsvc.state, window.streamsvc.stats.framesShown]") == ["idle", 0]
