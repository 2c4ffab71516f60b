"""A Session over a line that a test cuts: what was said into it is not lost."""

from __future__ import annotations

# A service and a browser's media in the page. A socket whose `dead` is set takes what is sent and answers nothing, as
# one does whose line is cut before TCP knows; `refuse` may return the error to a message; while `__slow`, candidates
# take until `__gather` is called.
LINE = """
const sockets = [];
let refuse = () => null;
window.WebSocket = class {
  static OPEN = 1;
  readyState = 0;
  sent = [];
  constructor() {
    sockets.push(this);
    setTimeout(() => { this.readyState = 1; this.onopen(); });
  }
  send(data) {
    const message = JSON.parse(data);
    this.sent.push(message);
    if (!this.dead) setTimeout(() => this.answer(message));
  }
  say(message) { this.onmessage({ data: JSON.stringify(message) }); }
  answer(message) {
    const { type, resume, view, action } = message;
    const refusal = refuse(message);
    if (refusal) return this.say({ type: "error", message: "no", ...refusal });
    const settings = { speech: {}, view: { mode: "window", ...view }, appearance: {} };
    const joined = { resume: "key", resumed: Boolean(resume), ice_servers: [], settings };
    if (type === "join") this.say({ type: "joined", ...joined });
    if (type === "offer") this.say({ type: "answer", sdp: "" });
    if (type === "configure") this.say({ type: "configured", settings });
    if (type === "record") this.say({ type: "recording", state: action === "ask" ? "on" : "off" });
    if (type === "leave") this.close();
  }
  close() {
    if (this.readyState === 3) return;
    this.readyState = 3;
    setTimeout(() => { this.onclose({ reason: "", wasClean: !this.dead }); this.closed?.(); });
  }
};
window.__gather = null;
window.RTCPeerConnection = class {
  connectionState = "new";
  iceGatheringState = "new";
  constructor() { (window.__calls ??= []).push(this); }
  createDataChannel() { return {}; }
  addTransceiver() {
    const replaceTrack = async (track) => { this.track = track; };
    return { mid: "0", sender: { replaceTrack, getParameters: () => ({}), setParameters() {} } };
  }
  async createOffer() {}
  async setLocalDescription() {
    this.localDescription = { sdp: "" };
    const whole = () => { this.iceGatheringState = "complete"; this.onicegatheringstatechange?.(); };
    if (window.__slow) window.__gather = whole; else whole();
  }
  async setRemoteDescription() { this.connectionState = "connected"; this.onconnectionstatechange(); }
  close() { this.connectionState = "closed"; }
};
window.__calls = [];
window.__slow = false;
const media = { sent: [], cameras: () => media.sent, voice: () => null };
const session = new m.Session(media);
const until = async (happened) => {
  const limit = performance.now() + 10_000;
  while (!happened()) {
    if (performance.now() > limit) throw new Error(`never true: ${happened}`);
    await new Promise((done) => setTimeout(done));
  }
};
const came = (n, type) => until(() => sockets[n]?.sent.some((s) => s.type === type));
const happens = (type) => new Promise((done) => session.addEventListener(type, done, { once: true }));
"""


def test_a_setting_that_went_into_a_dead_line_is_said_again_on_the_next(run):
    body = """
      await session.join({ room: "r", name: "n" });
      session.configure({ view: { mode: "packed" } });
      await happens("configured");
      sockets[0].dead = true;
      session.configure({ view: { budget_ms: 150 } });
      sockets[0].close();
      await came(1, "configure");
      const again = sockets[1].sent.map((s) => s.view).filter(Boolean);
      await happens("configured");
      sockets[1].close();
      await came(2, "join");
      await happens("joined");
      const last = sockets[2].sent.map((s) => s.type);
      session.leave();
      return [again, last];
    """
    again, last = run("session", LINE + body)
    assert again == [{"mode": "packed"}, {"budget_ms": 150}]
    assert last == ["join"], "what was answered is not said again"


def test_an_answer_to_an_earlier_change_does_not_undo_a_later_one(run):
    body = """
      await session.join({ room: "r", name: "n" });
      session.configure({ view: { budget_ms: 300 } });
      sockets[0].dead = true;
      session.configure({ view: { budget_ms: 150 } });
      await happens("configured");
      sockets[0].close();
      await came(1, "configure");
      session.leave();
      return sockets[1].sent[1].view.budget_ms;
    """
    assert run("session", LINE + body) == 150


def test_what_ends_a_recording_is_said_again_and_what_would_begin_one_must_be_pressed_again(run):
    body = """
      const { action, cut } = argument;
      await session.join({ room: "r", name: "n" });
      sockets[0].dead = true;
      if (cut) sockets[0].close();
      session.record(action);
      sockets[0].close();
      let told = null;
      session.addEventListener("notice", ({ detail }) => (told = detail.code));
      await happens("joined");
      const said = await new Promise((done) => setTimeout(() => done(sockets[1].sent.map((s) => s.action ?? s.type))));
      session.leave();
      return [said, told];
    """
    for cut in (False, True):
        for action in ("stop", "refuse"):
            assert run("session", LINE + body, {"action": action, "cut": cut}) == [["join", action], None]
        for action in ("ask", "agree"):
            assert run("session", LINE + body, {"action": action, "cut": cut}) == [["join"], "not-told"]


def test_a_socket_that_closes_while_candidates_are_gathered_is_told_at_once(run):
    body = """
      window.__slow = true;
      const joined = session.join({ room: "r", name: "n" }).then(() => "joined", (problem) => problem.code);
      await until(() => window.__gather);
      const closed = new Promise((done) => (sockets[0].closed = done));
      sockets[0].close();
      await closed;
      window.__gather();
      const late = new Promise((done) => setTimeout(done, 5000, "waits"));
      return Promise.race([joined, late]);
    """
    assert run("session", LINE + body) == "unreachable"


def test_candidates_that_take_long_follow_the_offer(run):
    body = """
      const wait = setTimeout;
      window.setTimeout = (then, ms) => wait(then, ms === 2000 ? 0 : ms);
      window.__slow = true;
      let pc;
      window.RTCPeerConnection = class extends RTCPeerConnection { constructor() { super(); pc = this; } };
      const joined = session.join({ room: "r", name: "n" });
      await came(0, "offer");
      for (const candidate of [{ candidate: "late", sdpMid: "0" }, { candidate: "", sdpMid: "0" }, null]) {
        pc.onicecandidate({ candidate });
      }
      await joined;
      sockets[0].say({ type: "error", code: "bad-candidate", re: "candidate" });
      session.leave();
      window.setTimeout = wait;
      return sockets[0].sent.slice(1).map((s) => [s.type, s.candidate, s.sdp_mid]);
    """
    late = [["candidate", "late", "0"], ["candidate", None, None]]
    assert run("session", LINE + body) == [["offer", None, None], *late, ["leave", None, None]]


def test_a_change_that_the_service_could_not_even_read_is_given_up_and_costs_no_call(run):
    body = """
      refuse = ({ type, view, speech }) => (speech?.glossary ? { code: "bad-message", re: null } : null);
      const told = [];
      session.addEventListener("notice", ({ detail }) => told.push(detail.re));
      await session.join({ room: "r", name: "n", speech: { source: "es" } });
      session.configure({ speech: { glossary: ["x".repeat(300)] } });
      session.configure({ view: { budget_ms: 150 } });
      await happens("configured");  // what is in force, because of the refusal
      await happens("configured");
      sockets[0].close();
      await came(1, "join");
      await happens("joined");
      const { speech, view } = sockets[1].sent[0];
      session.leave();
      return [told, speech, view, sockets[1].sent.filter((s) => s.type === "configure").length];
    """
    assert run("session", LINE + body) == [["configure"], {"source": "es"}, {"budget_ms": 150}, 0]


def test_a_refusal_of_an_earlier_change_is_not_taken_for_the_answer_to_an_offer(run):
    body = """
      await session.join({ room: "r", name: "n" });
      sockets[0].dead = true;
      session.configure({ speech: { glossary: ["x".repeat(300)] } });
      sockets[0].close();
      window.__calls[0].close();
      refuse = ({ type }) => (type === "configure" ? { code: "bad-message", re: null } : null);
      await came(1, "offer");
      await until(() => session.state === "in-call" && window.__calls.length === 2);
      session.leave();
      return sockets[1].sent.map((s) => s.type);
    """
    assert run("session", LINE + body) == ["join", "configure", "offer", "leave"]


def test_a_service_that_has_no_longer_what_was_in_force_is_joined_without_it(run):
    body = """
      await session.join({ room: "r", name: "n" });
      session.configure({ view: { mode: "packed" } });
      await happens("configured");
      refuse = ({ view }) => (view?.mode ? { code: "bad-settings", re: "join" } : null);
      sockets[0].close();
      window.__calls[0].close();
      await until(() => window.__calls.length === 2 && session.state === "in-call");
      session.leave();
      return sockets.at(-1).sent.map((s) => [s.type, s.view]).slice(0, 2);
    """
    assert run("session", LINE + body) == [["join", {}], ["configure", None]]


def test_who_leaves_while_the_line_is_cut_says_goodbye_on_another(run):
    body = """
      const { dead } = argument;
      await session.join({ room: "r", name: "n" });
      window.__calls[0].close();
      if (dead) sockets[0].dead = true;
      else sockets[0].close();
      const wait = setTimeout;
      window.setTimeout = (then, ms) => wait(then, ms === 2000 ? 50 : ms);
      const gone = happens("state");
      if (!dead) await gone;
      session.leave();
      await session.left();
      await session.left();
      window.setTimeout = wait;
      return sockets.slice(1).map((socket) => socket.sent.map((s) => [s.type, s.resume ?? null]));
    """
    for dead in (False, True):
        goodbye = run("session", LINE + body, {"dead": dead})
        assert goodbye == [[["join", "key"], ["leave", None]]], "once, with the key, so that nobody waits for them"


def test_who_leaves_on_a_line_that_is_well_opens_no_other(run):
    body = """
      await session.join({ room: "r", name: "n" });
      session.leave();
      await session.left();
      return [sockets.length, sockets[0].sent.at(-1).type];
    """
    assert run("session", LINE + body) == [1, "leave"]


def test_a_device_that_no_offer_named_is_offered_on_a_connection_that_takes_the_place_of_the_first(run):
    body = """
      await session.join({ room: "r", name: "n" });
      const states = [];
      session.addEventListener("state", ({ detail }) => states.push(detail.state));
      media.sent = [{ name: "cam0", track: { getSettings: () => ({}) } }];
      await session.update();
      const [first, second] = window.__calls.map((call) => call.connectionState);
      const carries = session.sends;
      media.sent = [{ name: "cam0", track: null }];
      await session.update();
      session.leave();
      return [first, second, carries, window.__calls[1].track, states, sockets.length];
    """
    assert run("session", LINE + body) == ["closed", "connected", [1, False], None, ["ended"], 1]


def test_a_device_that_the_service_refuses_leaves_the_call_as_it_is(run):
    body = """
      await session.join({ room: "r", name: "n" });
      refuse = ({ type }) => (type === "offer" ? { code: "not-allowed", re: "offer" } : null);
      media.sent = [{ name: "cam0", track: { getSettings: () => ({}) } }];
      const refused = await session.update().then(() => null, ({ code }) => code);
      const calls = window.__calls.map((call) => call.connectionState);
      const found = [refused, calls, session.sends, session.state];
      session.leave();
      return found;
    """
    assert run("session", LINE + body) == ["not-allowed", ["connected", "closed"], [0, False], "in-call"]
