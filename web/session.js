// A call that survives its connections: joins, and when the line breaks joins again by itself, with growing pauses.
//
// States: idle -> joining -> in-call -> reconnecting -> in-call ...; `ended` after leave() or a refusal that waiting
// can't mend. Events (CustomEvent, the payload in `detail`): state, joined, peers, notice, configured, caption, live,
// view, voice, channel.

import { Call } from "./call.js";
import { Signalling, socketUrl } from "./signalling.js";
import { Problem } from "./words.js";

const PAUSES_S = [0.5, 1, 2, 4, 8];
// Refusals that pass: the service may not have noticed yet that the old connection is gone.
const PASSING = new Set([
  "unreachable", "timeout", "media-failed", "room-full", "name-taken", "service-full", "too-many-rooms", "internal",
]);

export class Session extends EventTarget {
  state = "idle";
  #wish; // {room, name, token, mirror, rig, speech, view, appearance}: what join says, kept up to date for the next join
  #media;
  #signalling = null;
  #call = null;
  #wakeUp = null;
  #over = new AbortController();

  // `media` has cameras() -> [{name, track}] and voice() -> track or null.
  constructor(media) {
    super();
    this.#media = media;
    addEventListener("online", () => this.#wakeUp?.(), { signal: this.#over.signal });
  }

  // Join and resolve when media flows; throws the Problem that stood in the way.
  async join(wish) {
    this.#wish = { speech: {}, view: {}, appearance: {}, ...wish };
    this.#enter("joining");
    try {
      await this.#connect();
    } catch (problem) {
      this.#drop();
      this.#enter("idle");
      throw problem;
    }
    this.#enter("in-call");
  }

  configure(change) {
    for (const part of ["speech", "view", "appearance"]) if (change[part]) Object.assign(this.#wish[part], change[part]);
    this.#signalling?.send("configure", change);
  }

  // Send on a data channel; say whether it left.
  send(label, message) {
    return this.#call?.send(label, message) ?? false;
  }

  replaceCamera(index, track) {
    return this.#call?.replaceCamera(index, track);
  }

  replaceMicrophone(track) {
    return this.#call?.replaceMicrophone(track);
  }

  leave() {
    if (this.state === "ended") return;
    this.#signalling?.send("leave");
    this.#drop();
    this.#enter("ended");
    this.#wakeUp?.();
  }

  async #connect() {
    const signalling = new Signalling();
    this.#signalling = signalling;
    await signalling.open(socketUrl(location));
    signalling.onmessage = (message) => this.#take(message);
    const joined = await signalling.request("join", this.#wish, "joined");
    this.#emit("joined", joined);
    const call = new Call(joined.ice_servers);
    this.#call = call;
    call.onview = (track) => this.#emit("view", track);
    call.onvoice = (track) => this.#emit("voice", track);
    call.onchannel = (label) => this.#emit("channel", label);
    call.onmessage = (label, message) => this.#emit(label === "captions" ? "caption" : message.type, message);
    const offer = await call.offer(this.#media.cameras(), this.#media.voice());
    const answer = await signalling.request("offer", offer, "answer");
    const broken = new Promise((_, reject) => (signalling.onclose = reject));
    await Promise.race([call.accept(answer.sdp), broken]);
    signalling.onclose = (problem) => this.#lost(problem);
    call.onlost = () => this.#lost(new Problem("media-failed"));
  }

  #take(message) {
    if (message.type === "candidate") this.#call?.candidate(message);
    else if (message.type === "error") this.#emit("notice", message);
    else if (message.code === "connection-lost") this.#lost(new Problem("media-failed"));
    else this.#emit(message.type, message);
  }

  async #lost(problem) {
    if (this.state !== "in-call") return;
    this.#drop();
    for (let attempt = 1; ; attempt += 1) {
      const base = PAUSES_S[Math.min(attempt, PAUSES_S.length) - 1];
      const pause = base * (0.8 + 0.4 * Math.random());
      this.#enter("reconnecting", { attempt, pause, problem });
      await this.#sleep(pause);
      if (this.state === "ended") return;
      try {
        await this.#connect();
        if (this.state === "ended") return this.#drop();
        return this.#enter("in-call");
      } catch (error) {
        this.#drop();
        if (this.state === "ended") return;
        problem = error;
        if (!PASSING.has(problem.code)) return this.#enter("ended", { problem });
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

  #drop() {
    this.#call?.close();
    this.#signalling?.close();
    this.#call = this.#signalling = null;
  }

  #enter(state, detail = {}) {
    this.state = state;
    if (state === "ended") this.#over.abort();
    this.#emit("state", { state, ...detail });
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
