// A call that survives its connections: joins, and when the line breaks takes the call up again by itself, with growing
// pauses. The service keeps the session for a while, with all its state, for whoever shows the key that `joined` brought:
// a lost socket alone is replaced unseen, lost media are agreed on anew. A join says what the service has accepted before;
// what was changed since is said after it, so that a change which is refused costs nothing but itself.
//
// States: idle -> joining -> in-call -> reconnecting -> in-call ...; `ended` after leave() or a refusal that waiting
// can't mend. Events (CustomEvent, the payload in `detail`): state, joined, peers, notice, configured, refused (the change
// of settings that was), recording, caption, live, frames, passes, view, voice, channel.

import { Call } from "./call.js";
import { Signalling, socketUrl } from "./signalling.js";
import { Problem } from "./words.js";

// The pause before each attempt to come back, and how long each step of it may take; the last for all that follow.
const ATTEMPTS = [
  { pause: 0.1, patience: 2000 },
  { pause: 0.3, patience: 3000 },
  { pause: 1, patience: 5000 },
  { pause: 2, patience: 8000 },
  { pause: 4, patience: 10_000 },
  { pause: 8, patience: 15_000 },
];
// The service says how things are twice a second; after such a silence nothing else will come either.
const SILENCE_MS = 2500;
const LISTEN_MS = 500;
const GOODBYE_MS = 5000; // for each step of a goodbye
// Refusals that pass: the service may not have noticed yet that the old connection is gone. It took this page's calls
// before, so what looks like a refused origin is something on the way.
const PASSING = new Set([
  "unreachable", "timeout", "media-failed", "room-full", "name-taken", "service-full", "no-room", "too-many-rooms", "internal",
  "origin-refused", "out-of-date",
]);
const CUT = new Set(["unreachable", "timeout", "media-failed"]); // the line is to blame, not what was asked for
const PARTS = ["speech", "view", "appearance"];

export class Session extends EventTarget {
  state = "idle";
  #wish; // {room, name, token, mirror, rig, speech, view, appearance}: what join says, the last three as they were accepted
  #media;
  #signalling = null;
  #call = null;
  #key = null;
  #inForce = {}; // the settings, as the service last told them
  #iceServers = [];
  #heard = null;
  #mending = false;
  #untold = []; // changes of settings that the service has not answered, the oldest first
  #unanswered = null; // the last record action that the service has not answered
  #wakeUp = null;
  #goodbye = null;
  #over = new AbortController();

  // `media` has cameras() -> [{name, track}] and voice() -> track or null.
  constructor(media) {
    super();
    this.#media = media;
    addEventListener("online", () => this.#wakeUp?.(), { signal: this.#over.signal });
    const listening = setInterval(() => this.#listen(), LISTEN_MS);
    this.#over.signal.addEventListener("abort", () => clearInterval(listening));
  }

  // Join and resolve when media flows; throws the Problem that stood in the way.
  async join(wish) {
    this.#wish = { speech: {}, view: {}, appearance: {}, ...wish };
    this.#enter("joining");
    try {
      await this.#enterRoom();
      await this.#negotiate();
    } catch (problem) {
      this.#dropCall();
      this.#enter("idle");
      throw problem;
    }
    this.#enter("in-call");
  }

  configure(change) {
    this.#untold.push(change);
    this.#signalling?.send("configure", change);
  }

  // Ask to record the call, answer ("agree", "refuse"), or "stop". What ends a recording gets there when the line is back;
  // what would begin one has to be pressed again, which a notice then says.
  record(action) {
    this.#unanswered = action;
    this.#signalling?.send("record", { action });
  }

  // Send on a data channel; say whether it left.
  send(label, message) {
    return this.#call?.send(label, message) ?? false;
  }

  // What the service takes: how many cameras, and whether there is a microphone.
  get sends() {
    return this.#call?.sends ?? [0, false];
  }

  // What the browser counted of the connection (an RTCStatsReport, in time), or null without one.
  stats() {
    return this.#call?.stats() ?? null;
  }

  // Send what `media` has now: on the connection that there is, or where a device has come that it doesn't carry on another,
  // which takes its place. Throws the Problem of a service that refuses that; then all is as before.
  async update() {
    if (this.state !== "in-call" || this.#mending) return; // who comes back offers what there is then
    if (this.#call.replace(this.#media.cameras(), this.#media.voice())) return;
    this.#mending = true;
    let cut = null;
    try {
      await this.#negotiate(ATTEMPTS.at(-1).patience);
    } catch (problem) {
      if (!CUT.has(problem.code)) throw problem;
      cut = problem;
    } finally {
      this.#mending = false;
    }
    if (cut) await this.#lost(cut);
    return this.update();
  }

  leave() {
    if (this.state === "ended") return;
    this.#dropCall();
    this.#enter("ended");
    this.#wakeUp?.();
  }

  // Resolve when the service knows that this call is over, or can't be told now: then the next one who asks tries again.
  // Until it knows it keeps the place, and the name in the room, for whoever might come back.
  left() {
    this.#goodbye ??= this.#sayGoodbye().catch(() => (this.#goodbye = null));
    return this.#goodbye;
  }

  async #sayGoodbye() {
    if (await this.#signalling?.leave(GOODBYE_MS)) return;
    this.#signalling?.close(true);
    if (!this.#key) return;
    const signalling = new Signalling();
    try {
      await signalling.open(socketUrl(location), GOODBYE_MS);
      await signalling.request("join", { ...this.#wish, resume: this.#key }, GOODBYE_MS);
      await signalling.leave(GOODBYE_MS);
    } finally {
      signalling.close();
    }
  }

  // Join on a new socket; say whether the session goes on that was there before.
  async #enterRoom(patience) {
    const signalling = new Signalling();
    await signalling.open(socketUrl(location), patience);
    if (this.state === "ended") {
      signalling.close();
      throw new Problem("unreachable", "left in between");
    }
    signalling.onmessage = (message) => this.#take(message);
    this.#signalling?.close(true);
    this.#signalling = signalling;
    const wish = this.#key ? { ...this.#wish, resume: this.#key } : this.#wish;
    const joined = await signalling.request("join", wish, patience);
    this.#key = joined.resume;
    this.#iceServers = joined.ice_servers;
    this.#inForce = joined.settings;
    this.#emit("joined", joined);
    for (const change of this.#untold) signalling.send("configure", change);
    this.#recordAgain(joined.resumed);
    signalling.onclose = (problem) => this.#lost(problem);
    return joined.resumed;
  }

  // Tell what an outage swallowed. Where the session has ended, so has its recording.
  #recordAgain(resumed) {
    const action = this.#unanswered;
    this.#unanswered = null;
    if (action === "stop" || action === "refuse") {
      if (resumed) this.record(action);
    } else if (action) {
      const message = "What you pressed about recording did not reach the service. Press it again.";
      this.#emit("notice", { code: "not-told", message });
    }
  }

  async #negotiate(patience) {
    const signalling = this.#signalling;
    const call = new Call(this.#iceServers, patience);
    call.onview = (track) => this.#emit("view", track);
    call.onvoice = (track) => this.#emit("voice", track);
    call.onchannel = (label) => this.#emit("channel", label);
    call.oncandidate = (candidate) => signalling.send("candidate", candidate);
    call.onmessage = (label, message) => {
      this.#heard = performance.now();
      this.#emit(label === "captions" ? "caption" : message.type, message);
    };
    let answer;
    try {
      const offer = await call.offer(this.#media.cameras(), this.#media.voice());
      answer = await signalling.request("offer", offer, patience);
    } catch (problem) {
      call.close();
      throw problem;
    }
    this.#dropCall();
    this.#call = call;
    const broken = new Promise((_, reject) => (signalling.onclose = reject));
    await Promise.race([call.accept(answer.sdp), broken]);
    signalling.onclose = (problem) => this.#lost(problem);
    call.onlost = () => this.#lost(new Problem("media-failed"));
  }

  // A line that is dead without anybody saying so.
  #listen() {
    if (this.#heard !== null && performance.now() - this.#heard > SILENCE_MS) this.#lost(new Problem("media-failed"));
  }

  #take(message) {
    if (message.type === "candidate") this.#call?.candidate(message);
    else if (message.type === "error") this.#refused(message);
    else if (message.type === "configured") this.#configured(message);
    else if (message.code === "connection-lost") this.#lost(new Problem("media-failed"));
    else {
      if (message.type === "recording" && answers(message, this.#unanswered)) this.#unanswered = null;
      this.#emit(message.type, message);
    }
  }

  #refused(message) {
    if (message.re === "candidate") return; // one of a kind that the service doesn't know is no loss
    this.#emit("notice", message);
    if (message.re === "record") this.#unanswered = null;
    if (message.re !== "configure") return;
    const change = this.#untold.shift() ?? {};
    this.#emit("configured", { settings: this.#inForce });
    this.#emit("refused", { ...message, change });
  }

  // A service that was started anew may not have all of what is in force: join without it, and say it then.
  #tellLater() {
    this.#untold.unshift(...PARTS.map((part) => ({ [part]: this.#wish[part] })));
    for (const part of PARTS) this.#wish[part] = {};
  }

  // The next join asks for what was changed as it is in force now.
  #configured(message) {
    this.#inForce = message.settings;
    const change = this.#untold.shift() ?? {};
    for (const part of PARTS) {
      Object.assign(this.#wish[part], change[part]);
      for (const name of Object.keys(this.#wish[part])) {
        if (name in message.settings[part]) this.#wish[part][name] = message.settings[part][name];
      }
    }
    this.#emit("configured", message);
  }

  async #lost(problem) {
    if (this.state !== "in-call" || this.#mending) return;
    this.#mending = true;
    try {
      if (await this.#mendUnseen()) return;
      if (this.state === "ended") return this.#drop();
      await this.#comeBack(problem);
    } finally {
      this.#mending = false;
    }
  }

  // Replace a lost socket under media that flow; say whether that was all that was wrong.
  async #mendUnseen() {
    if (this.#signalling?.isOpen || !this.#call?.connected) return false;
    try {
      return (await this.#enterRoom(ATTEMPTS[0].patience)) && this.state === "in-call" && this.#call.connected;
    } catch {
      this.#signalling?.close(true);
      return false;
    }
  }

  async #comeBack(problem) {
    this.#dropCall();
    for (let attempt = 1; ; attempt += 1) {
      const { pause: base, patience } = ATTEMPTS[Math.min(attempt, ATTEMPTS.length) - 1];
      const pause = base * (0.8 + 0.4 * Math.random());
      this.#enter("reconnecting", { attempt, pause, problem });
      await this.#sleep(pause);
      if (this.state === "ended") return;
      try {
        if (!this.#signalling?.isOpen) await this.#enterRoom(patience);
        if (this.state === "ended") return this.#drop();
        await this.#negotiate(patience);
        if (this.state === "ended") return this.#drop();
        return this.#enter("in-call");
      } catch (error) {
        this.#dropCall();
        this.#signalling?.close(true);
        if (this.state === "ended") return;
        problem = error;
        if (problem.code === "bad-settings") this.#tellLater();
        else if (!PASSING.has(problem.code)) return this.#enter("ended", { problem });
      }
    }
  }

  #sleep(seconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, seconds * 1000);
      this.#wakeUp = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #dropCall() {
    this.#call?.close();
    this.#call = this.#heard = null;
  }

  #drop() {
    this.#dropCall();
    this.#signalling?.close();
    this.#signalling = null;
  }

  #enter(state, detail = {}) {
    this.state = state;
    if (state === "ended" || state === "idle") {
      this.#over.abort();
      this.left();
    }
    this.#emit("state", { state, ...detail });
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

// Whether a `recording` message says that the service has taken `action`.
function answers({ state, asks_you }, action) {
  if (action === "ask") return state !== "off";
  return action === "agree" ? !asks_you : state === "off";
}
