// How soon to speak, in front of the parameters: the presets of the policy that is chosen, one of which is marked while
// every parameter is as it has them.

import { element } from "./dom.js";
import { sentence } from "./words.js";

const OWN = "own";
const NAMES = { fast: "Fast", default: "Balanced", careful: "Careful", paper: "As in the paper", [OWN]: "My own" };

export class Presets {
  #root;
  #onChoose;
  #presets = [];

  // `onChoose` takes all parameters of a preset.
  constructor(root, onChoose) {
    this.#root = root;
    this.#onChoose = onChoose;
  }

  // Show the presets ([{name, meaning, parameters}]) of a policy, and which of them `parameters` are.
  show(presets, parameters) {
    this.#root.hidden = !presets.length;
    if (presets !== this.#presets) {
      this.#presets = presets;
      const choices = [...presets, { name: OWN, meaning: "As the sliders stand." }].map((p) => this.#choice(p));
      this.#root.querySelector("div").replaceChildren(...choices);
    }
    const same = (p) => Object.entries(p.parameters).every(([name, value]) => Math.abs(parameters[name] - value) < 1e-6);
    const held = presets.find(same)?.name ?? OWN;
    for (const radio of this.#root.querySelectorAll("input")) {
      radio.checked = radio.value === held;
      // One's own can't be chosen, only made.
      if (radio.value === OWN) radio.closest("label").hidden = held !== OWN;
    }
    const about = presets.find((p) => p.name === held)?.meaning;
    this.#root.querySelector("small").textContent = about ? sentence(about) : "";
  }

  #choice({ name, meaning, parameters }) {
    const choice = element("label", { title: sentence(meaning) });
    const radio = element("input", { type: "radio", name: "preset", value: name });
    radio.onchange = () => parameters && this.#onChoose({ ...parameters });
    choice.append(radio, element("span", { textContent: NAMES[name] ?? name }));
    return choice;
  }
}
