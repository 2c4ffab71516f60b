// The call screen: shows what a Session brings, and sends back where the eye is and what was displayed.
//
// One CallScreen serves many calls, one after another; between attach and detach it belongs to one session. Clock and
// shown reports are made anew with every connection, the viewpoint, transcript and settings outlive them.

import { BudgetPanel } from "./budget.js";
import { Captions } from "./captions.js";
import { ClockSync } from "./clock.js";
import { Controls } from "./controls.js";
import { CutoutView } from "./cutout.js";
import { EyeSettings } from "./eyesettings.js";
import { EyeWindow } from "./eyewindow.js";
import { headsetKind, HeadsetView } from "./headset.js";
import { Invite } from "./invite.js";
import { Meter } from "./meter.js";
import { RecordingControl } from "./recording.js";
import { ShownReporter } from "./shown.js";
import { Toast } from "./toast.js";
import { Toolbar } from "./toolbar.js";
import { ViewpointControl } from "./viewpoint.js";
import { WarpedView } from "./warp.js";
import { explain, sentence } from "./words.js";

const HINT_MS = 6000;
const FRAME_MS = 1000 / 60;
const STILL_MS = 600; // without a new picture: pictures that were on their way have come
const STILL_LOOKS = 5;

export class CallScreen {
  #root;
  #media;
  #session = null;
  #wish = null;
  #captions;
  #controls;
  #meter;
  #toolbar;
  #viewpoint = null;
  #clock = null;
  #shown = null;
  #shownBefore = 0;
  #notices = [];
  #toast;
  #view;
  #voice;
  #warped;
  #cutout;
  #window = null;
  #names = null; // of the others, null before anybody has said
  #pictured = false; // a picture of them has come
  #awaited = 0;
  #unseen = null; // why the service shows no picture of them
  #still = null;
  #follower;
  #headset;
  #invite;
  #hinted = false;
  #mode = null;
  #recording;
  #budget;

  // `leave` ends the call, `setUp` does and goes to the set-up of the cameras.
  constructor(root, media, leave, setUp) {
    this.#root = root;
    this.#media = media;
    const find = (selector) => root.querySelector(selector);
    this.#toast = new Toast(find("#toast"));
    this.#view = find("#view");
    this.#voice = find("#voice");
    this.#warped = new WarpedView(this.#view, find("#warped"), () => ({ eye: this.#viewpoint.eye, window: this.#window }));
    this.#cutout = new CutoutView(this.#view, find("#cutout"), find("#own"));
    find("#own-file").onchange = ({ target }) => this.#putBehind(target.files[0]);
    this.#captions = new Captions(find("#captions"), find("#transcript"), find("#spoken"));
    this.#meter = new Meter(find("#meter"));
    this.#budget = new BudgetPanel(find("#budget-panel"), {
      send: (message) => this.#session?.send("ledger", message) ?? false,
      stats: () => this.#session?.stats() ?? null,
      offset: () => this.#clock?.estimator.best?.offsetNs ?? null,
    });
    this.#controls = new Controls(find("#settings-panel"), (change) => {
      if (change.view?.mode) this.#headset.leaveFor(change.view.mode);
      this.#session?.configure(change);
    });
    this.#headset = new HeadsetView(
      { button: find("#enter-headset"), told: find("#headset-told") },
      () => ({ video: this.#view, viewpoint: this.#viewpoint, window: this.#window, mode: this.#mode, dated: this.#warped.dated }),
      {
        begin: (mode) => {
          this.#follower.stop();
          this.#session.configure({ view: { mode } });
        },
        end: (mode) => {
          this.#controls.showMode(mode);
          this.#session.configure({ view: { mode } });
        },
      },
    );
    this.#warped.ontake = (message) => this.#headset.take(message);
    this.#offerHeadset();
    navigator.xr?.addEventListener("devicechange", () => this.#offerHeadset());
    this.#toolbar = new Toolbar(root, media, {
      leave,
      setUp,
      home: () => this.#follower.centre() || this.#viewpoint?.home(),
      commits: () => this.commits,
      correct: (on) => (this.#captions.corrected = on),
      camera: (on) => media.stopCameras(on),
      add: (kind) => this.#add(kind),
      notice: (code, message) => this.#notice(code, message),
      opened: (panel) => {
        this.#budget.show(panel === "budget");
        if (panel === "transcript") this.#captions.open();
      },
    });
    this.#recording = new RecordingControl(root, {
      say: (action) => this.#session?.record(action),
      notice: (code, message) => this.#notice(code, message),
    });
    this.#follower = new EyeWindow(
      { button: find("[data-call=follow]"), told: find("#following") },
      new EyeSettings(find("#settings-panel"), media),
      media,
      () => this.#seen(),
    );
    this.#invite = new Invite(find("#invite"));
    find("#unblock").onclick = () => this.#playVoice();
    if (!this.#view.requestVideoFrameCallback) this.#view.addEventListener("playing", () => this.#showPicture(true));
    media.addEventListener("gone", ({ detail }) => {
      this.#notice("device-gone", `${detail} went away. It comes back by itself when you plug it in again.`);
    });
    media.addEventListener("back", () => this.#notice("device-back", "The device is back."));
    media.addEventListener("change", () => this.#resend().catch((problem) => this.#refused(problem)));
  }

  // What the hook shows.
  get stats() {
    const clock = this.#clock?.estimator.best ?? null;
    return {
      framesShown: this.#shownBefore + (this.#shown?.framesShown ?? 0),
      shown: this.#shown?.recent ?? [],
      videoSize: [this.#view.videoWidth, this.#view.videoHeight],
      captions: this.#captions.commits,
      tentative: Object.fromEntries(this.#captions.tentative),
      live: this.#meter.live,
      budget: this.#budget.stats,
      clock: clock && { offset_ns: clock.offsetNs, error_ns: clock.errorNs },
      eye: this.#viewpoint?.eye ?? null,
      warped: this.#warped.drawn,
      cutout: this.#cutout.drawn,
      headset: { state: this.#headset.state, drawn: this.#headset.drawn },
      viewpointsSent: this.#viewpoint?.sent ?? 0,
      follow: (({ state, tracked, found, ms, eyes }) => ({ state, tracked, found, ms, eyes }))(this.#follower),
      notices: this.#notices,
    };
  }

  // The transcript of the call that is shown, or was shown last, as it is saved.
  get commits() {
    return this.#captions.saved();
  }

  attach(session, wish) {
    this.#session = session;
    this.#wish = wish;
    this.#shownBefore = 0;
    this.#controls.begin();
    this.#notices = [];
    this.#names = this.#unseen = null;
    this.#captions.clear();
    this.#meter.clear();
    this.#root.querySelector("[data-call=room]").textContent = wish.room;
    this.#root.classList.toggle("viewer", this.#media.viewer);
    this.#viewpoint = new ViewpointControl(this.#root.querySelector("#stage"), (m) => session.send("viewpoint", m));
    this.#toolbar.begin();
    this.#warped.start();
    this.#cutout.start();
    const on = (type, handler) => session.addEventListener(type, ({ detail }) => session === this.#session && handler(detail));
    on("state", (detail) => this.#state(detail));
    on("joined", (joined) => this.#joined(joined));
    on("peers", (message) => this.#peers(message.peers, message.screen));
    on("configured", ({ settings }) => {
      this.#controls.show(settings);
      this.#shownAs(settings.view);
    });
    on("refused", ({ change, message }) => this.#headset.refused(change.view?.mode, message));
    on("recording", (message) => this.#recording.take(message));
    on("notice", ({ code, message }) => {
      this.#notice(code, sentence(message));
      if (code === "no-picture") this.#coverStill(sentence(message));
    });
    on("caption", (message) => this.#captions.take(message));
    on("packed", (message) => this.#warped.told(message));
    on("live", (message) => {
      this.#meter.draw(message);
      this.#budget.live(message);
    });
    on("frames", (message) => this.#budget.frames(message));
    on("passes", (message) => this.#budget.passes(message));
    on("pong", (message) => this.#clock?.pong(message));
    on("channel", (label) => this.#channelOpen(label));
    on("view", (track) => this.#showView(track));
    on("voice", (track) => {
      this.#voice.srcObject = new MediaStream([track]);
      this.#playVoice();
    });
  }

  detach() {
    this.#endConnection();
    clearTimeout(this.#still);
    this.#budget.end();
    this.#follower.stop();
    this.#headset.stop();
    this.#recording.end();
    this.#warped.stop();
    this.#cutout.stop();
    this.#viewpoint?.stop();
    this.#viewpoint = this.#session = null;
    this.#view.srcObject = this.#voice.srcObject = null;
    this.#toolbar.end();
    this.#overlay(null);
    this.#toast.end();
  }

  #state({ state, attempt, pause, problem }) {
    if (state === "in-call") {
      this.#toast.begin();
      if (!this.#root.querySelector("#overlay").hidden) this.#notice("reconnected", "Connected again.");
      this.#overlay(null);
      this.#resend().catch((problem) => this.#refused(problem));
    } else if (state === "reconnecting") {
      this.#endConnection();
      const wait = pause >= 1 ? `in ${Math.round(pause)} s` : "now";
      const why = problem?.code === "unreachable" ? "The service does not answer." : explain(problem?.code).title + ".";
      this.#overlay("Connection lost. Reconnecting…", `${why} Trying again ${wait} (attempt ${attempt}). You need do nothing.`);
    }
  }

  #joined(joined) {
    this.#controls.fill(joined);
    this.#budget.begin(joined);
    this.#recording.begin(joined.records);
    this.#shownAs(joined.settings.view);
    this.#captions.keepTentative([]);
    this.#peers(joined.peers, null);
    this.#hinted = false;
  }

  #peers(peers, screen) {
    const others = this.#wish.mirror ? "mirror" : peers.length ? `with ${peers.join(", ")}` : "waiting for someone";
    const told = this.#root.querySelector("[data-call=peers]");
    if (told.textContent !== others) told.textContent = others; // it is read out when it changes
    this.#window = screen;
    this.#viewpoint.setScreen(screen);
    const alone = !peers.length && !this.#wish.mirror;
    this.#captions.keepTentative([...peers, this.#wish.name]);
    this.#root.querySelector("#stage").classList.toggle("alone", alone);
    this.#invite.show(alone ? this.#wish.room : null, Boolean(this.#wish.token));
    if (screen && !alone) this.#hint();
    if (this.#names?.some((name) => !peers.includes(name))) this.#unseen = null;
    const same = this.#names?.length === peers.length && peers.every((name) => this.#names.includes(name));
    this.#names = peers;
    if (!same) this.#awaitPicture();
  }

  // What the view shows is of somebody who has gone, or nothing: show words instead until the next picture comes.
  #awaitPicture() {
    const view = this.#view;
    if (!view.requestVideoFrameCallback) return this.#showPicture(view.readyState >= 2);
    view.cancelVideoFrameCallback(this.#awaited);
    this.#awaited = view.requestVideoFrameCallback(() => this.#showPicture(true));
    this.#showPicture(false);
  }

  // Words in place of a picture that the service says is no longer true, once it stands: what was on its way still comes.
  #coverStill(why, looks = STILL_LOOKS) {
    clearTimeout(this.#still);
    const before = this.stats.framesShown;
    this.#still = setTimeout(() => {
      if (this.stats.framesShown === before) {
        this.#unseen = why;
        this.#awaitPicture();
      } else if (looks > 1) this.#coverStill(why, looks - 1);
    }, STILL_MS);
  }

  #showPicture(on) {
    this.#pictured = on;
    if (on) this.#unseen = null;
    for (const part of this.#root.querySelectorAll("#stage > :is(video, canvas)")) part.style.opacity = on ? "" : "0";
    this.#root.querySelector("#waiting").textContent = this.#waiting();
  }

  // What is said in place of a picture.
  #waiting() {
    const names = this.#names ?? [];
    if (!this.#wish.mirror && !names.length) return "You are the only one here. Give the other person this address:";
    if (this.#pictured) return "";
    if (this.#unseen) return `${this.#unseen} A new picture appears here by itself.`;
    if (!this.#wish.mirror) return `No picture of ${names.join(", ")} yet. Viewers, and people with only a microphone, send none.`;
    return this.#media.cameras().length
      ? "Your picture is on its way…"
      : "You send no picture, so there is none to see; your words and their translation come all the same.";
  }

  // What following the eyes works on. A warped picture is seen at the next frame, any other when it comes back.
  #seen() {
    const { videoWidth, videoHeight } = this.#view;
    const warped = this.#root.querySelector("#warped");
    const aspect = warped.hidden ? videoWidth / videoHeight : warped.width / warped.height;
    const delay = warped.hidden ? (this.#meter.live?.latency_ms ?? 0) : FRAME_MS;
    return { viewpoint: this.#viewpoint, picture: this.#view, aspect: aspect || 4 / 3, delay };
  }

  #shownAs(view) {
    this.#cutout.view = view;
    this.#mode = view.mode;
  }

  async #offerHeadset() {
    this.#controls.offerHeadset((await headsetKind()) !== null);
  }

  #channelOpen(label) {
    if (label === "viewpoint") this.#viewpoint.announce();
    if (label !== "ledger") return;
    this.#endConnection();
    const send = (message) => this.#session?.send("ledger", message) ?? false;
    this.#clock = new ClockSync(send);
    this.#clock.start();
    this.#shown = new ShownReporter(this.#view, this.#clock.estimator, send);
    this.#shown.start();
    this.#budget.connected();
  }

  #endConnection() {
    this.#clock?.stop();
    this.#shown?.stop();
    this.#shownBefore += this.#shown?.framesShown ?? 0;
    this.#clock = this.#shown = null;
  }

  #showView(track) {
    this.#view.srcObject = new MediaStream([track]);
    this.#view.play().catch(() => {}); // muted video may always play; an AbortError means a newer source came
    this.#awaitPicture();
  }

  async #playVoice() {
    const button = this.#root.querySelector("#unblock");
    try {
      await this.#voice.play();
      button.hidden = true;
    } catch (error) {
      // browsers want a click before sound, e.g. after a reload in mid-call
      button.hidden = error.name !== "NotAllowedError";
    }
  }

  async #putBehind(file) {
    try {
      await this.#cutout.put(file);
    } catch {
      this.#notice("bad-picture", `${file.name} is not a picture that this browser can show.`);
    }
  }

  // Who came to listen and adds a microphone wants to be understood.
  async #add(kind) {
    const session = this.#session;
    await this.#media.add(kind);
    if (kind === "microphone" && this.#media.microphone && this.#wish.speech.enabled === false) {
      session?.configure({ speech: { enabled: true } });
    }
  }

  async #resend() {
    await this.#session?.update();
    if (this.#session) this.#showPicture(this.#pictured);
  }

  // The service doesn't take what was added.
  #refused(problem) {
    if (!this.#session) return;
    const { title, text } = explain(problem.code, problem.message);
    this.#notice(problem.code, `${title}. ${text}`);
    this.#media.keep(...this.#session.sends);
  }

  #notice(code, message) {
    if (!this.#session) return; // what becomes of devices before a call is no news in it
    this.#notices.push({ code, message });
    this.#toast.add(code, message);
  }

  // Say how to look around, once there is something to look around.
  #hint() {
    if (this.#hinted) return;
    this.#hinted = true;
    const hint = this.#root.querySelector("#hint");
    hint.classList.add("shown");
    setTimeout(() => hint.classList.remove("shown"), HINT_MS);
  }

  #overlay(title, text = "") {
    const overlay = this.#root.querySelector("#overlay");
    overlay.hidden = !title;
    overlay.querySelector("h2").textContent = title ?? "";
    overlay.querySelector("p").textContent = text;
  }
}
