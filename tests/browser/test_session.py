"""A Session over a line that a test cuts: what was said into it is not lost."""

from __future__ import annotations

# A service and a browser's media in the page. A socket whose `dead` is set takes what is sent and answers nothing, as
# one does whose line is cut before TCP knows; while `__slow`, candidates take until `__gather` is called.
LINE = """
const sockets = [];
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
  answer({ type, resume, view, action }) {
    const settings = { speech: {}, view: { mode: "window", ...view }, appearance: {} };
    const joined = { resume: "key", resumed: Boolean(resume), ice_servers: [], settings };
    if (type === "join") this.say({ type: "joined", ...joined });
    if (type === "offer") this.say({ type: "answer", sdp: "" });
    if (type === "configure") this.say({ type: "configured", settings });
    if (type === "record") this.say({ type: "recording", state: action === "ask" ? "on" : "off" });
  }
  close() {
    if (this.readyState === 3) return;
    this.readyState = 3;
    setTimeout(() => { this.onclose({ reason: "" }); this.closed?.(); });
  }
};
window.__gather = null;
window.RTCPeerConnection = class {
  connectionState = "new";
  iceGatheringState = "new";
  createDataChannel() { return {}; }
  addTransceiver() { return { mid: "0" }; }
  async createOffer() {}
  async setLocalDescription() {
    this.localDescription = { sdp: "" };
    const whole = () => { this.iceGatheringState = "complete"; this.onicegatheringstatechange?.(); };
    if (window.__slow) window.__gather = whole; else whole();
  }
  async setRemoteDescription() { this.connectionState = "connected"; this.onconnectionstatechange(); }
  close() {}
};
window.__slow = false;
const session = new m.Session({ cameras: () => [], voice: () => null });
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
      const again = sockets[1].sent.filter((s) => s.type === "configure").map((s) => s.view);
      await happens("configured");
      sockets[1].close();
      await came(2, "join");
      await happens("joined");
      const last = sockets[2].sent.map((s) => s.type);
      session.leave();
      return [again, last];
    """
    again, last = run("session", LINE + body)
    assert again == [{"mode": "packed", "budget_ms": 150}]
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
      return sockets[0].sent.slice(1).map((s) => [s.type, s.candidate, s.sdp_mid]);
    """
    late = [["candidate", "late", "0"], ["candidate", None, None]]
    assert run("session", LINE + body) == [["offer", None, None], *late, ["leave", None, None]]
