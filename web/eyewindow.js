// The window effect: the viewer's eyes move the eye of the view, from where they really are before the real screen.
//
// States: off, starting, looking (for a face), following, failed. While following, every displayed frame gets the eyes of
// the instant at which it will be seen, as far as they can be predicted; a face that is lost for a while gives the eye back
// to pointer and keys.

import { EyeTracker, requireTracking } from "./eyetracker.js";
import { EyeMotion } from "./oneeuro.js";
import { cameraAt, fromCamera, fromPicture, pictureOn } from "./screen.js";
import { explain } from "./words.js";

const LOST_MS = 1000;
const TELL_MS = 500;
const WORDS = {
  off: "",
  starting: "Eye tracking starts…",
  looking: "Looking for your face…",
  following: "Following your eyes",
};

export class EyeWindow {
  state = "off";
  tracked = 0; // pictures that were looked at,
  found = 0; // and in how many of them there was a face
  ms = null; // what the last one took
  #ui;
  #settings;
  #look;
  #tracker = null;
  #camera = null;
  #motion = new EyeMotion();
  #eyes = null; // the last that were shown, in screen coordinates
  #shift = [0, 0]; // right, up, metres: what a camera that doesn't look straight out of the screen is off by
  #lastSeen = 0;
  #told = 0;
  #tick = null;

  // `ui` is {button, told}; `look` returns {viewpoint, picture (its element), aspect, delay (ms from an eye that moves to the
  // picture that shows it)}.
  constructor(ui, settings, media, look) {
    this.#ui = ui;
    this.#settings = settings;
    this.#look = look;
    ui.button.onclick = () => (this.#on ? this.stop() : this.#start());
    settings.addEventListener("camera", () => this.#again());
    settings.addEventListener("change", () => this.#retune());
    media.addEventListener("change", () => this.#mediaChanged());
  }

  // The eyes [right, left] in screen coordinates (screen.js), or null while none are followed.
  get eyes() {
    return this.#eyes;
  }

  stop() {
    this.#close();
    this.#enter("off");
  }

  // The eyes are before the middle of the picture now, wherever the camera looks; say whether any are followed.
  centre() {
    if (!this.#eyes) return false;
    const [a, b] = this.#eyes;
    const { middle } = this.#picture();
    this.#shift = this.#shift.map((v, i) => v + middle[i] - (a[i] + b[i]) / 2);
    this.#motion.clear();
    return true;
  }

  get #on() {
    return this.state !== "off" && this.state !== "failed";
  }

  async #start() {
    this.#enter("starting");
    const tracker = new EyeTracker(this.#settings.degrees, this.#settings.apart);
    this.#tracker = tracker;
    try {
      await requireTracking();
      const camera = await this.#settings.open();
      if (this.#tracker !== tracker) return release(camera); // stopped in between
      this.#camera = camera;
    } catch (problem) {
      if (this.#tracker === tracker) this.#fail(problem);
      return;
    }
    tracker.addEventListener("eyes", ({ detail }) => this.#take(detail));
    tracker.addEventListener("failed", ({ detail }) => this.#fail(detail));
    this.#camera.track.addEventListener("ended", () => this.#tracker === tracker && this.#again());
    tracker.start(this.#camera.track);
  }

  #close() {
    cancelAnimationFrame(this.#tick);
    this.#tick = null;
    this.#tracker?.stop();
    this.#tracker = null;
    release(this.#camera);
    this.#camera = null;
    this.#lose();
  }

  #again() {
    if (!this.#on) return;
    this.#close();
    this.#start();
  }

  #retune() {
    if (!this.#tracker) return;
    this.#tracker.degrees = this.#settings.degrees;
    this.#tracker.apart = this.#settings.apart;
  }

  // A sent camera was stopped or replaced: its track has ended without saying so.
  #mediaChanged() {
    this.#settings.refresh();
    if (this.#camera && this.#camera.track.readyState === "ended") this.#again();
  }

  #take({ eyes, at, ms }) {
    this.tracked += 1;
    this.ms = ms;
    const now = performance.now();
    if (eyes) {
      this.found += 1;
      this.#lastSeen = now;
      const { pixel, place } = this.#settings;
      const [right, up] = cameraAt(place, [screen.width * pixel, screen.height * pixel]);
      const camera = [right + this.#shift[0], up + this.#shift[1], 0];
      this.#motion.add(eyes.map((eye) => fromCamera(eye, camera)), at);
      this.#enter("following");
      this.#tick ??= requestAnimationFrame((t) => this.#show(t));
      if (now - this.#told > TELL_MS) {
        this.#settings.tell((eyes[0][2] + eyes[1][2]) / 2);
        this.#told = now;
      }
    } else if (this.state !== "following" || now - this.#lastSeen > LOST_MS) this.#search();
  }

  #search() {
    this.#lose();
    this.#enter("looking");
  }

  #show(now) {
    // a camera that stands still or a worker that hangs says nothing at all
    if (now - this.#lastSeen > LOST_MS) return this.#search();
    this.#tick = requestAnimationFrame((t) => this.#show(t));
    const { viewpoint, delay } = this.#look();
    this.#eyes = this.#motion.predict(now + delay);
    if (!this.#eyes || !viewpoint) return;
    const picture = this.#picture();
    viewpoint.follow(this.#eyes.map((eye) => fromPicture(eye, picture)));
  }

  #picture() {
    const { picture, aspect } = this.#look();
    return pictureOn(window, picture.getBoundingClientRect(), aspect, this.#settings.pixel);
  }

  #lose() {
    cancelAnimationFrame(this.#tick);
    this.#tick = null;
    this.#motion.clear();
    this.#eyes = null;
    this.#settings.tell(null);
    this.#look().viewpoint?.follow(null);
  }

  #fail(problem) {
    this.#close();
    const { title, text } = explain(problem.code, problem.message);
    this.#enter("failed", `${title}. ${text}`);
  }

  #enter(state, words = WORDS[state]) {
    if (state === this.state && words === this.#ui.told.textContent) return;
    this.state = state;
    this.#ui.told.textContent = words;
    this.#ui.button.setAttribute("aria-pressed", String(this.#on));
  }
}

function release(camera) {
  if (camera?.own) camera.track.stop();
}
