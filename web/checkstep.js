// The first step of a set-up: which cameras, in which order, and a verdict on light, focus and voice, in words, while
// one looks.

import { CameraList } from "./cameralist.js";
import { findDevices, listDevices } from "./devices.js";
import { element } from "./dom.js";
import { drawLevel, LevelMeter } from "./level.js";
import { judgeFocus, judgeLight, judgeSound } from "./quickcheck.js";
import { cameraName } from "./setupwords.js";

const EVERY_MS = 1000;
const HEARD = 180; // levels that are remembered, three seconds
const [LEAST, MOST] = [2, 4];
const WIDEST = 1280;

export class CheckStep {
  #ui;
  #media;
  #attempt;
  #list;
  #devices = [];
  #timer = null;
  #level = new LevelMeter();
  #levels = [];
  #canvas = document.createElement("canvas");

  // `ui` has find, cameras, sound and level; `attempt` runs what may throw a Problem, and tells it.
  constructor(ui, media, attempt) {
    this.#ui = ui;
    this.#media = media;
    this.#attempt = attempt;
    this.#list = new CameraList(ui.cameras, media, attempt, (i) => ({ text: cameraName(i), warn: i >= MOST }));
    ui.find.onclick = () => this.#find();
    media.addEventListener("change", () => this.#timer && this.#draw());
    media.addEventListener("back", () => this.#listen());
    navigator.mediaDevices?.addEventListener?.("devicechange", () => this.#timer && this.#refresh());
  }

  start() {
    this.#timer = setInterval(() => this.#judge(), EVERY_MS);
    this.#draw();
    return this.#find();
  }

  stop() {
    clearInterval(this.#timer);
    this.#timer = null;
    this.#level.stop();
  }

  async #find() {
    this.#ui.find.hidden = true;
    await this.#attempt(async () => {
      const { slots, microphone } = this.#media;
      const found = slots.length || microphone ? await listDevices() : await findDevices();
      this.#devices = found.cameras;
      try {
        await this.#media.openFound(found, LEAST);
      } finally {
        this.#listen();
      }
    });
    this.#ui.find.hidden = this.#media.slots.length > 0;
    this.#draw();
  }

  async #refresh() {
    this.#devices = (await listDevices()).cameras;
    this.#draw();
  }

  #listen() {
    if (!this.#timer) return;
    this.#levels = [];
    this.#level.watch(this.#media.microphone?.track ?? null, (level) => {
      this.#levels = level === null ? [] : [...this.#levels.slice(1 - HEARD), level];
      drawLevel(this.#ui.level, level);
    });
  }

  #draw() {
    const { slots } = this.#media;
    this.#list.draw(slots.length < MOST ? this.#devices : []);
    for (const tile of this.#tiles()) tile.append(element("ul", { className: "verdicts" }));
    this.#judge();
  }

  #tiles() {
    return [...this.#ui.cameras.querySelectorAll(".tile:not(.unused)")];
  }

  #judge() {
    for (const tile of this.#tiles()) {
      const picture = this.#picture(tile.querySelector("video"));
      if (picture) say(tile.querySelector(".verdicts"), [judgeLight(picture), judgeFocus(picture)]);
    }
    const silent = { grade: "fair", text: "No microphone: you are seen, not heard." };
    const live = this.#media.microphone?.track.readyState === "live";
    say(this.#ui.sound, [live ? judgeSound(this.#levels) : silent]);
  }

  #picture(video) {
    if (!video.videoWidth) return null;
    const scale = Math.min(1, WIDEST / video.videoWidth);
    const [width, height] = [Math.round(video.videoWidth * scale), Math.round(video.videoHeight * scale)];
    Object.assign(this.#canvas, { width, height });
    const g = this.#canvas.getContext("2d", { willReadFrequently: true });
    g.drawImage(video, 0, 0, width, height);
    return g.getImageData(0, 0, width, height);
  }
}

// Fill a list with verdicts; what didn't change is left alone, for those who hear the page.
function say(list, verdicts) {
  const told = verdicts.map((v) => v.text).join();
  if (list.dataset.told === told) return;
  list.dataset.told = told;
  list.replaceChildren(
    ...verdicts.map(({ grade, text }) => {
      const item = element("li", { textContent: text });
      item.dataset.grade = grade;
      return item;
    }),
  );
}
