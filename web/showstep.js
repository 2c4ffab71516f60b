// The third step of a set-up: the board is shown to the cameras, a few times a second the service looks, and says where
// to hold it next. Invariant: at most one look is on its way.

import { chime } from "./chime.js";
import { element } from "./dom.js";
import { drawOverlay } from "./overlay.js";
import { cameraName, errorWords, nextWords, seenWords, sentence } from "./setupwords.js";
import { grabStills, ready } from "./stills.js";

const PAUSE_MS = 200;
const SPEAK_MS = 3500;
const PASSING = new Set(["unreachable", "too-many-messages", "slow", "busy", "no-still"]);
const PATIENCE = 10; // looks in a row that may fail in passing

export class ShowStep {
  #ui;
  #media;
  #attempt;
  #link = null;
  #wanted = 1;
  #cards = []; // {video, canvas, figures} of each camera
  #run = null; // {over: false} while it looks
  #loop = Promise.resolve();
  #spoken = 0;

  // `ui` has cameras, now, aloud, count, total, error, trouble, finish; `attempt` runs what may throw a Problem, and
  // tells it.
  constructor(ui, media, attempt) {
    this.#ui = ui;
    this.#media = media;
    this.#attempt = attempt;
    media.addEventListener("change", () => this.#attach());
  }

  // Look through `link`, which has begun, until `wanted` views of each camera are there, or as long as one likes.
  start(link, wanted) {
    this.stop();
    this.#link = link;
    this.#wanted = wanted;
    this.#cards = this.#media.slots.map((slot, i) => card(i));
    this.#ui.cameras.replaceChildren(...this.#cards.map((c) => c.item));
    this.#attach();
    this.#ui.total.max = wanted;
    this.#ui.total.value = 0;
    this.#ui.count.textContent = `0 of ${wanted}`;
    this.#ui.error.textContent = "Known after some views";
    delete this.#ui.error.dataset.grade;
    this.#ui.trouble.hidden = true;
    this.#say(nextWords({ do: "show" }));
    this.#ui.finish.disabled = false;
    this.#go();
  }

  // Is the board looked for now?
  get looking() {
    return Boolean(this.#run && !this.#run.over);
  }

  // Stop looking, and forget what was seen.
  stop() {
    if (this.#run) this.#run.over = true;
    this.#run = null;
    this.#link?.end();
    this.#link = null;
    this.#ui.finish.disabled = true;
  }

  // Return the rig of what was seen; goes on looking where there is none, and throws the Problem. Null: this step was left
  // before there was one.
  async finish() {
    const link = this.#link;
    if (this.#run) this.#run.over = true;
    this.#ui.finish.disabled = true;
    await this.#loop;
    if (this.#link !== link) return null;
    try {
      return await link.finish();
    } catch (problem) {
      if (this.#link !== link) return null;
      this.#ui.finish.disabled = false;
      this.#go();
      throw problem;
    }
  }

  #attach() {
    this.#cards.forEach(({ video }, i) => {
      const track = this.#media.slots[i]?.track ?? null;
      if (video.srcObject?.getVideoTracks()[0] !== track) video.srcObject = track && new MediaStream([track]);
    });
  }

  #go() {
    const run = { over: false };
    this.#run = run;
    this.#loop = this.#attempt(() => this.#lookOn(run));
  }

  async #lookOn(run) {
    const videos = this.#cards.map((c) => c.video);
    let failed = 0;
    while (!run.over) {
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      if (this.#media.slots.some((slot) => !slot.track)) this.#say("A camera has gone: plug it in again.");
      if (run.over || document.hidden || !ready(videos)) continue;
      try {
        const stills = await grabStills(videos);
        if (run.over) return;
        const seen = await this.#link.look(stills);
        if (run.over) return;
        failed = 0;
        this.#show(seen);
      } catch (problem) {
        if (run.over) return;
        failed += 1;
        if (PASSING.has(problem.code) && failed <= PATIENCE) continue;
        run.over = true;
        throw problem;
      }
    }
  }

  #show(seen) {
    const ui = this.#ui;
    this.#say(seenWords(seen));
    if (seen.state === "kept") chime();
    ui.now.dataset.state = seen.state;
    const least = Math.min(...seen.cameras.map((c) => c.views));
    ui.total.value = Math.min(least, this.#wanted);
    ui.count.textContent = `${ui.total.value} of ${this.#wanted}`;
    const told = seen.rms_px === null ? null : errorWords(seen.rms_px);
    ui.error.textContent = told?.text ?? "Known after some views";
    if (told) ui.error.dataset.grade = told.grade;
    else delete ui.error.dataset.grade;
    ui.trouble.hidden = !seen.trouble;
    ui.trouble.textContent = seen.trouble ? `So far no rig comes of it: ${sentence(seen.trouble.message)}` : "";
    ui.finish.classList.toggle("primary", seen.enough);
    seen.cameras.forEach((camera, i) => {
      const { video, canvas, figures } = this.#cards[i];
      const wanted = seen.next.do === "place" && seen.next.cameras[0] === camera.name ? seen.next.zone : null;
      drawOverlay(canvas, { width: video.videoWidth, height: video.videoHeight }, camera, wanted);
      const error = camera.rms_px === null ? "" : `, ${camera.rms_px.toFixed(2)} pixels off`;
      figures.textContent = `: ${camera.views} views, ${Math.round(camera.covered * 100)} % covered${error}`;
    });
  }

  // Show what to do now; for those who hear the page, not more often than it can be said.
  #say(text) {
    this.#ui.now.textContent = text;
    if (performance.now() - this.#spoken < SPEAK_MS || this.#ui.aloud.textContent === text) return;
    this.#spoken = performance.now();
    this.#ui.aloud.textContent = text;
  }
}

function card(index) {
  const item = element("li", { className: "shown-camera" });
  const picture = element("div", { className: "shown-picture" });
  const video = element("video", { muted: true, autoplay: true, playsInline: true });
  const canvas = element("canvas", { ariaHidden: "true" });
  const figures = element("span");
  const line = element("p", { className: "figures" });
  line.append(element("b", { textContent: cameraName(index) }), figures);
  picture.append(video, canvas);
  item.append(picture, line);
  return { item, video, canvas, figures };
}
