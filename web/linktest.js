// The test of a connection: for some seconds this page sits alone in a mirror room and sends numbered pictures there; how
// long each takes to come back is measured on the page's own clock, from being drawn to being displayed.

import { ClockSync } from "./clock.js";
import { mark, readMark } from "./linkmark.js";
import { between, totals } from "./network.js";
import { Session } from "./session.js";
import { seenAt, ShownReporter } from "./shown.js";
import { Problem } from "./words.js";

const FPS = 30;
const WARM_MS = 2000; // until encoders and rate control have settled
const MEASURED_MS = 4000;
const LATE_MS = 600; // that the last picture is waited for

export class LinkTest {
  #session;
  #camera = document.createElement("video");
  #canvas = document.createElement("canvas");
  #context;
  #view = document.createElement("video");
  #scratch = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  #drawn = new Map(); // number -> when
  #trips = new Map(); // number -> ms
  #timers = [];
  #clock;
  #shown = null;
  #size = [0, 0]; // of the last picture that came back
  #end;
  #ended = new Promise((_, reject) => (this.#end = reject));

  // `track` is a camera's, or null: then a picture is drawn, `size` [width, height] large.
  constructor(track, size) {
    for (const video of [this.#camera, this.#view]) Object.assign(video, { muted: true, playsInline: true });
    Object.assign(this.#canvas, { width: size[0], height: size[1] });
    if (track) this.#play(this.#camera, track);
    this.#context = this.#canvas.getContext("2d"); // Firefox captures a canvas only once it has one
    const stream = this.#canvas.captureStream(0);
    const [sent] = stream.getVideoTracks();
    this.#session = new Session({ cameras: () => [{ name: "cam0", track: sent }], voice: () => null });
    const on = (type, then) => this.#session.addEventListener(type, ({ detail }) => then(detail));
    on("view", (view) => this.#play(this.#view, view));
    on("channel", (label) => label === "ledger" && this.#report());
    on("pong", (message) => this.#clock.pong(message));
    on("state", ({ state, problem }) => state === "reconnecting" && this.#end(problem));
    this.#ended.catch(() => {}); // whoever runs the test is told
    const capture = sent.requestFrame ? sent : stream; // Firefox has it on the stream
    this.#timers.push(setInterval(() => this.#draw(capture), 1000 / FPS));
  }

  // Run the test as `wish` says (room, name, token); return what linkVerdict takes. Throws the Problem that stood in the way,
  // null after stop().
  async run(wish) {
    try {
      const { width, height } = this.#canvas;
      const view = { width, height, mode: "window" };
      await this.#unlessEnded(this.#session.join({ ...wish, mirror: true, speech: { enabled: false }, view }));
      this.#look();
      await this.#wait(WARM_MS);
      const before = await this.#totals();
      const from = performance.now();
      await this.#wait(MEASURED_MS);
      const to = performance.now();
      const after = await this.#totals();
      await this.#wait(LATE_MS);
      return this.#figures(from, to, between(before, after));
    } finally {
      this.stop();
    }
  }

  stop() {
    this.#timers.forEach(clearInterval);
    this.#clock?.stop();
    this.#shown?.stop();
    this.#session.leave();
    this.#camera.srcObject = this.#view.srcObject = null;
    this.#end(null);
  }

  #figures(from, to, network) {
    const numbers = [...this.#drawn].filter(([, at]) => at >= from && at < to).map(([n]) => n);
    const { width, height } = this.#canvas;
    const trips = numbers.map((n) => this.#trips.get(n)).filter((ms) => ms !== undefined);
    return {
      size: [width, height],
      got: this.#size,
      fps: FPS,
      seconds: (to - from) / 1000,
      drawn: numbers.length,
      trips,
      rtt: network?.rtt ?? null,
      outLost: network?.outLost ?? null,
      inLost: network?.inLost ?? null,
    };
  }

  #play(video, track) {
    video.srcObject = new MediaStream([track]);
    video.play().catch(() => {}); // muted video may always play; an AbortError means that the test is over
  }

  // A room that is watched without saying so would count as one in which nothing is ever displayed.
  #report() {
    const send = (message) => this.#session.send("ledger", message);
    this.#clock = new ClockSync(send);
    this.#clock.start();
    this.#shown = new ShownReporter(this.#view, this.#clock.estimator, send);
    this.#shown.start();
  }

  async #totals() {
    const report = await this.#session.stats();
    return report && totals(report, performance.now());
  }

  #draw(capture) {
    const context = this.#context;
    const { width, height } = this.#canvas;
    const n = this.#drawn.size;
    if (this.#camera.readyState >= 2) context.drawImage(this.#camera, 0, 0, width, height);
    else this.#drawSomething(context, n);
    mark(context, n);
    capture.requestFrame();
    this.#drawn.set(n, performance.now());
  }

  #drawSomething(context, n) {
    const { width, height } = this.#canvas;
    const gradient = context.createLinearGradient(0, 0, width, height);
    gradient.addColorStop(0, `hsl(${n % 360} 60% 40%)`);
    gradient.addColorStop(1, `hsl(${(n + 90) % 360} 60% 70%)`);
    context.fillStyle = gradient;
    context.fillRect(0, 0, width, height);
  }

  #look() {
    const onFrame = (now, metadata) => {
      this.#view.requestVideoFrameCallback(onFrame);
      const n = readMark(this.#scratch, this.#view);
      if (n === null || this.#trips.has(n) || !this.#drawn.has(n)) return;
      this.#trips.set(n, seenAt(metadata, now) - this.#drawn.get(n));
      this.#size = [this.#view.videoWidth, this.#view.videoHeight];
    };
    if (!this.#view.requestVideoFrameCallback) throw new Problem("test-impossible");
    this.#view.requestVideoFrameCallback(onFrame);
  }

  #wait(ms) {
    return this.#unlessEnded(new Promise((resolve) => this.#timers.push(setTimeout(resolve, ms))));
  }

  #unlessEnded(promise) {
    return Promise.race([promise, this.#ended]);
  }
}
