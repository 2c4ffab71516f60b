// Setting up a rig, step by step: cameras, board, showing it, the rig. Composition of the steps, which know nothing of
// each other, and what is told when something stands in the way.

import { BoardStep } from "./boardstep.js";
import { CheckStep } from "./checkstep.js";
import { element } from "./dom.js";
import { rememberRig } from "./rigstore.js";
import { save } from "./save.js";
import { SetupLink } from "./setuplink.js";
import { cameraName, errorWords, keptWords, sentence, setupProblem } from "./setupwords.js";
import { ShowStep } from "./showstep.js";
import { Problem, explain } from "./words.js";

const STEPS = ["cameras", "board", "show", "rig"];
const CAMERAS = [2, 4];
const MENDED = new Set(["two-cameras", "no-size"]);

export class SetupScreen {
  #root;
  #ui;
  #media;
  #leave;
  #late;
  #token = "";
  #step = null;
  #check;
  #board;
  #show;
  #made = null; // {rig, devices, name}

  // `leave` takes the rig that was made, {rig, devices, name}, or null, and the Problem that only the join screen mends;
  // `late` a rig that came when its set-up had been left.
  constructor(root, media, { leave, late }) {
    this.#root = root;
    this.#media = media;
    this.#leave = leave;
    this.#late = late;
    const ui = Object.fromEntries([...root.querySelectorAll("[data-setup]")].map((e) => [e.dataset.setup, e]));
    this.#ui = ui;
    ui.paper = document.querySelector("#paper img");
    const attempt = (action) => this.#attempt(action);
    const afresh = (action) => {
      this.#tell(null);
      return this.#attempt(action);
    };
    this.#check = new CheckStep(ui, media, attempt);
    this.#board = new BoardStep({ ...ui, root: this.#part("board") }, afresh, (spec) => this.#begin(spec));
    this.#show = new ShowStep({ ...ui, cameras: ui.shown }, media, attempt);
    for (const step of STEPS) this.#button(step).onclick = () => this.#enter(step);
    for (const next of root.querySelectorAll("[data-enter]")) next.onclick = () => this.#enter(next.dataset.enter);
    for (const back of root.querySelectorAll("[data-leave]")) back.onclick = () => this.close();
    ui.finish.onclick = () => this.#finish();
    ui.save.onclick = () => save(new Blob([JSON.stringify(this.#made.rig, null, 1)], { type: "application/json" }), "rig.json");
    ui.dismiss.onclick = () => {
      this.#tell(null);
      this.#takeFocus();
    };
    ui.again.onclick = () => this.#enter(this.#step);
  }

  // Show the first step; `token` is what joining would take.
  open(token) {
    this.#token = token;
    this.#made = null;
    this.#enter("cameras");
  }

  // Stop everything, and go back to joining.
  close(problem = null) {
    this.halt();
    this.#step = null;
    this.#leave(this.#made, problem);
  }

  // Stop looking: the page goes away.
  halt() {
    this.#check.stop();
    this.#show.stop();
  }

  #part(step) {
    return this.#root.querySelector(`[data-part="${step}"]`);
  }

  #button(step) {
    return this.#root.querySelector(`[data-step="${step}"]`);
  }

  async #enter(step) {
    const missing = step === "show" ? this.#missing() : null;
    if (missing?.code === "no-size") {
      await this.#enter("board");
      this.#ui.square.focus();
    }
    this.#tell(missing);
    if (missing) return;
    this.halt();
    this.#step = step;
    for (const s of STEPS) {
      this.#part(s).hidden = s !== step;
      if (s === step) this.#button(s).setAttribute("aria-current", "step");
      else this.#button(s).removeAttribute("aria-current");
    }
    this.#button("rig").disabled = !this.#made;
    this.#takeFocus();
    scrollTo(0, 0);
    if (step === "cameras") await this.#check.start();
    if (step === "board") await this.#board.start();
    if (step === "show") await this.#attempt(() => this.#look());
  }

  #takeFocus() {
    this.#part(this.#step).querySelector("h2").focus({ preventScroll: true });
  }

  // What is missing to show the board: a Problem, or null.
  #missing() {
    const { length } = this.#media.slots;
    if (length < CAMERAS[0] || length > CAMERAS[1]) return new Problem("two-cameras");
    return this.#board.spec ? null : new Problem("no-size");
  }

  async #begin(spec) {
    const link = new SetupLink(this.#token);
    // a board alone is drawn for any cameras
    const count = Math.min(Math.max(this.#media.slots.length, CAMERAS[0]), CAMERAS[1]);
    await link.begin(spec, Array.from({ length: count }, (_, i) => cameraName(i)));
    return link;
  }

  async #look() {
    const link = await this.#begin(this.#board.spec);
    if (this.#step === "show") this.#show.start(link, link.wanted);
    else link.end();
  }

  async #finish() {
    this.#tell(null);
    const devices = this.#media.slots.map((s) => s.deviceId);
    await this.#attempt(async () => {
      const solved = await this.#show.finish();
      if (!solved) return;
      const made = { rig: solved.rig, devices, name: `set up on ${new Date().toLocaleDateString()}` };
      const kept = rememberRig(made);
      if (this.#step === null) return this.#late(made);
      this.#made = made;
      this.#ui.kept.textContent = keptWords(kept);
      this.#result(solved);
      await this.#enter("rig");
    });
  }

  #result({ rms_px: error, cameras, warnings, picture }) {
    const { verdict, fits, notes, picture: image } = this.#ui;
    const { grade, text } = errorWords(error);
    verdict.textContent = sentence(text);
    verdict.dataset.grade = grade;
    fits.replaceChildren(
      ...cameras.map((c) => {
        const row = element("tr");
        const figures = [`${c.rms_px.toFixed(2)} pixels`, `${c.views}`, `${Math.round(c.covered * 100)} %`];
        row.append(
          element("th", { scope: "row", textContent: c.name }),
          ...figures.map((textContent) => element("td", { textContent })),
        );
        return row;
      }),
    );
    notes.hidden = !warnings.length;
    notes.replaceChildren(...warnings.map((w) => element("li", { textContent: sentence(w) })));
    image.src = `data:image/png;base64,${picture}`;
  }

  // Run what may throw a Problem, and tell it, unless the set-up has been left; returns whether it went well.
  async #attempt(action) {
    try {
      await action();
      return true;
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (this.#step === null) return false;
      if (problem.code === "bad-token") this.close(problem);
      else this.#tell(problem);
      return false;
    }
  }

  #tell(problem) {
    const { problem: box, title, text } = this.#ui;
    box.hidden = !problem;
    if (!problem) return;
    const told = setupProblem(problem) ?? explain(problem.code, problem.message);
    box.dataset.code = problem.code;
    // what one can only mend oneself, or while the board is still looked for, isn't tried again
    this.#ui.again.hidden = MENDED.has(problem.code) || this.#show.looking;
    this.#ui.dismiss.hidden = !this.#ui.again.hidden;
    title.textContent = told.title;
    text.textContent = told.text;
    box.scrollIntoView({ block: "nearest" });
  }
}
