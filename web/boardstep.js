// The second step of a set-up: which board, how it is shown, and how large its squares are. The board is drawn by the
// service; it can be printed to scale, saved, or shown on this screen.

import { FAMILIES, KINDS, PLACES, boardSpec, presetBoard, scaled } from "./boards.js";
import { fillSelect } from "./dom.js";
import { recall, remember } from "./memory.js";
import { save } from "./save.js";

const HOW = {
  a4: "Print it at 100 %, not “fit to page”, and glue it to something flat and stiff. Then measure one square: printers are rarely exact.",
  a3: "Print it at 100 % on A3, not “fit to page”, and glue it to something flat and stiff. Then measure one square: printers are rarely exact.",
  screen:
    "Open this page on the tablet too, come to this step, and press “Fill the screen” there; or save the picture and show that. Set its brightness to half, and measure one square on its glass.",
  own: "Count the squares of your board along both sides, dark and light ones, and measure one.",
};
const SETTLE_MS = 500;

export class BoardStep {
  #ui;
  #attempt;
  #open;
  #timer = null;
  #shown = null; // the spec that is drawn, or being drawn
  #files = {}; // the drawn board, by form

  // `ui` has the fields; `open` takes a spec and returns a SetupLink that has begun with it; `attempt` runs what may
  // throw a Problem, and tells it.
  constructor(ui, attempt, open) {
    this.#ui = ui;
    this.#attempt = attempt;
    this.#open = open;
    fillSelect(ui.kind, KINDS, known(KINDS, recall("board.kind")));
    fillSelect(ui.place, PLACES, known(PLACES, recall("board.place")));
    fillSelect(ui.family, FAMILIES, FAMILIES[0][0]);
    ui.kind.onchange = ui.place.onchange = () => this.#choose();
    for (const field of [ui.across, ui.down, ui.square, ui.marker, ui.family]) field.oninput = () => this.#later();
    ui.print.onclick = () => this.#print();
    ui.fill.onclick = () => this.#fill();
    ui.png.onclick = () => save(this.#files.png, "board.png");
    ui.svg.onclick = () => save(this.#files.svg, "board.svg");
    this.#choose();
  }

  start() {
    return this.#draw();
  }

  // The board as it is held up; null while a figure is missing.
  get spec() {
    const ui = this.#ui;
    const [kind, place] = [ui.kind.value, ui.place.value];
    const square = number(ui.square);
    if (place !== "own") return boardSpec(scaled(presetBoard(kind, place), square));
    const [across, down, marker] = [ui.across, ui.down, ui.marker].map(number);
    return boardSpec({ kind, across, down, square, marker, family: ui.family.value });
  }

  #choose() {
    const ui = this.#ui;
    const [kind, place] = [ui.kind.value, ui.place.value];
    const board = presetBoard(kind, place);
    remember("board.kind", kind);
    remember("board.place", place);
    ui.own.hidden = place !== "own";
    ui.markers.hidden = kind === "chessboard";
    ui.fill.hidden = place !== "screen";
    ui.print.hidden = place === "screen" || place === "own";
    ui.how.textContent = HOW[place];
    ui.across.value = board.across;
    ui.down.value = board.down;
    ui.marker.value = "";
    ui.square.value = place === "a4" || place === "a3" ? board.square : "";
    this.#later();
  }

  #later() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#ui.root.hidden || this.#draw(), SETTLE_MS);
  }

  // Show the board: to be printed as it was meant, one's own as it is.
  async #draw() {
    const ui = this.#ui;
    const place = ui.place.value;
    const spec = place === "own" ? this.spec : boardSpec(presetBoard(ui.kind.value, place));
    if (spec === this.#shown) return;
    this.#shown = spec;
    this.#files = {};
    for (const button of [ui.print, ui.fill, ui.png, ui.svg]) button.disabled = true;
    ui.board.hidden = true;
    ui.sheet.hidden = !spec;
    if (!spec) return;
    await this.#attempt(async () => {
      try {
        const link = await this.#open(spec);
        let files;
        try {
          files = { svg: await link.sheet("svg"), png: await link.sheet("png") };
        } finally {
          link.end();
        }
        if (spec !== this.#shown) return;
        this.#files = files;
      } catch (problem) {
        if (spec === this.#shown) this.#shown = null;
        throw problem;
      }
      URL.revokeObjectURL(ui.board.src);
      ui.board.src = ui.paper.src = URL.createObjectURL(this.#files.svg);
      ui.board.hidden = false;
      for (const button of [ui.print, ui.fill, ui.png, ui.svg]) button.disabled = false;
    });
  }

  #print() {
    document.body.classList.add("printing");
    addEventListener("afterprint", () => document.body.classList.remove("printing"), { once: true });
    print();
  }

  // Where the browser allows no full screen, in a tab of its own.
  async #fill() {
    try {
      await this.#ui.paper.parentElement.requestFullscreen();
    } catch {
      open(this.#ui.board.src);
    }
  }
}

// `value` where it is among the choices, else the first.
const known = (choices, value) => (choices.find(([v]) => v === value) ?? choices[0])[0];
const number = (field) => Number(field.value.replace(",", "."));
