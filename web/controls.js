// The settings panel: policy, its parameters as sliders made from the declared table, language, what others see behind
// me, budget, picture.
//
// `joined.policies` is [{name, meaning, parameters: [{name, default, minimum, maximum, meaning, integer}], presets: [{name,
// meaning, parameters}]}]. Every change is sent 150 ms after the last touch, as one `configure`.

import { element, fillSelect } from "./dom.js";
import { GlossaryField } from "./glossary.js";
import { LANGUAGES } from "./languages.js";
import { Presets } from "./presets.js";
import { Warp } from "./warp.js";
import { sentence } from "./words.js";

const SETTLE_MS = 150;
const NONE = [];
const MODES = [
  ["window", "One view"],
  ...(Warp.possible ? [["packed", "One view that follows at once"], ["cutout", "The person alone, over my own backdrop"]] : []),
  ["stereo", "Stereo, side by side"],
  ["anaglyph", "Anaglyph for red/cyan glasses"],
  ["quilt", "Quilt for a light-field display"],
];
const HEADSET = ["headset", "In my headset (WebXR)"]; // nothing that the service knows of: the page shows it
const BACKDROPS = [
  ["room", "My room"],
  ["blur", "My room, blurred"],
  ["colour", "A colour"],
];
const SIZES = ["320×240", "640×480", "960×720", "1280×720", "1024×1024", "1920×1080", "2048×2048"];

export class Controls {
  #ui;
  #configure;
  #policies = [];
  #parameters = {};
  #pending = {};
  #timer = null;
  #modes = MODES;
  #mode = MODES[0][0]; // in force
  #glossary;
  #presets;

  // `configure` takes {speech?, view?, appearance?}.
  constructor(root, configure) {
    this.#configure = configure;
    this.#ui = Object.fromEntries([...root.querySelectorAll("[data-set]")].map((e) => [e.dataset.set, e]));
    const ui = this.#ui;
    ui.enabled.onchange = () => this.#change("speech", { enabled: ui.enabled.checked });
    fillSelect(ui.source, [["auto", "Detect the language"], ...LANGUAGES], "auto");
    ui.source.onchange = () => this.#change("speech", { source: ui.source.value });
    ui.voice.onchange = () => this.#change("speech", { voice: ui.voice.value });
    this.#glossary = new GlossaryField(ui.glossary, ui.misspelt, (glossary) => this.#change("speech", { glossary }));
    this.#presets = new Presets(ui.presets, (parameters) => {
      this.#makeSliders(ui.policy.value, parameters);
      this.#change("speech", { parameters });
    });
    ui.policy.onchange = () => {
      this.#makeSliders(ui.policy.value, {});
      this.#change("speech", { policy: ui.policy.value, parameters: { ...this.#parameters } });
    };
    fillSelect(ui.backdrop, BACKDROPS, "room");
    ui.backdrop.onchange = ui.colour.oninput = () => {
      this.#drawColour();
      const chosen = ui.backdrop.value;
      this.#change("appearance", { backdrop: chosen === "colour" ? ui.colour.value : chosen });
    };
    ui.budget.oninput = () => {
      this.#sayBudget();
      this.#change("view", { budget_ms: Number(ui.budget.value) });
    };
    ui.size.onchange = () => {
      const [width, height] = ui.size.value.split("×").map(Number);
      if (height) this.#change("view", { width, height });
    };
    fillSelect(ui.mode, MODES, MODES[0][0]);
    ui.mode.onchange = () => {
      this.#drawOwn();
      if (ui.mode.value !== HEADSET[0]) this.#change("view", { mode: ui.mode.value });
    };
    ui.rung.onchange = () => this.#change("view", { rung: ui.rung.value });
  }

  // Another call begins.
  begin() {
    clearTimeout(this.#timer); // what was touched as the last one ended isn't meant for this one
    this.#timer = null;
    this.#pending = {};
    this.#glossary.begin();
    this.showMode(MODES[0][0]); // until the service tells what is in force
  }

  // Offer the headset as a mode, or no longer.
  offerHeadset(there) {
    const { mode } = this.#ui;
    this.#modes = there ? [...MODES, HEADSET] : MODES;
    this.showMode(mode.value === HEADSET[0] && !there ? this.#mode : mode.value);
  }

  showMode(mode) {
    const named = this.#modes.some(([known]) => known === mode);
    fillSelect(this.#ui.mode, named ? this.#modes : [...this.#modes, [mode, mode]], mode);
    this.#drawOwn();
  }

  // Take the tables of a `joined` and show the settings in force.
  fill({ policies, rungs, settings, backdrops, voices = [] }) {
    const ui = this.#ui;
    fillSelect(ui.voice, [["auto", "The one nearest to mine"], ...voices.map((v) => [v, voiceName(v)])], "auto");
    ui.voice.closest("label").hidden = !voices.length;
    this.#policies = policies;
    fillSelect(ui.policy, policies.map((p) => [p.name, p.name]), policies[0]?.name ?? "");
    ui.enabled.disabled = ui.source.disabled = ui.glossary.disabled = ui.policy.disabled = !policies.length;
    const named = rungs.filter((r) => r.name);
    const levels = named.map((r) => [r.name, r.quality ? `${r.name} (${r.quality.toFixed(1)} dB)` : r.name]);
    fillSelect(ui.rung, [["", "Automatic"], ...levels], "");
    ui.rung.disabled = !named.length;
    ui.backdrop.disabled = !backdrops;
    ui.nobackdrop.hidden = Boolean(backdrops);
    this.show(settings);
  }

  // Show `settings` ({speech: {...}, view: {...}, appearance: {...}}); what they leave out stays as it is.
  show({ speech = {}, view = {}, appearance = {} } = {}) {
    const ui = this.#ui;
    const busy = this.#timer !== null; // a slider under the finger is newer than what the service says
    if (speech.enabled != null) ui.enabled.checked = speech.enabled;
    if (speech.source != null) ui.source.value = speech.source;
    if (speech.voice != null) ui.voice.value = speech.voice;
    if (speech.glossary) this.#glossary.show(speech.glossary);
    if (speech.policy != null) ui.policy.value = speech.policy;
    if (!busy) this.#makeSliders(ui.policy.value, speech.parameters ?? this.#parameters);
    if (view.budget_ms != null && !busy) {
      ui.budget.max = Math.max(ui.budget.max, view.budget_ms); // the service may have been set up with more
      ui.budget.value = view.budget_ms;
    }
    if (appearance.backdrop && !busy) {
      const colour = appearance.backdrop.startsWith("#");
      ui.backdrop.value = colour ? "colour" : appearance.backdrop;
      if (colour) ui.colour.value = appearance.backdrop;
      this.#drawColour();
    }
    if ("rung" in view) ui.rung.value = view.rung ?? "";
    if (view.mode) this.#mode = view.mode;
    if (view.mode && ui.mode.value !== HEADSET[0]) this.showMode(view.mode);
    if (view.width && view.height) {
      const size = `${view.width}×${view.height}`;
      fillSelect(ui.size, [...new Set([size, ...SIZES])].map((s) => [s, s]), size);
    } else if (!ui.size.options.length) {
      fillSelect(ui.size, [["", "As the service likes"], ...SIZES.map((s) => [s, s])], "");
    }
    this.#sayBudget();
  }

  #drawColour() {
    this.#ui.colour.hidden = this.#ui.backdrop.value !== "colour";
  }

  #drawOwn() {
    this.#ui.own.hidden = this.#ui.mode.value !== "cutout";
    this.#ui.headset.hidden = this.#ui.mode.value !== HEADSET[0];
  }

  #sayBudget() {
    const { budget } = this.#ui;
    budget.nextElementSibling.textContent = `${budget.value} ms`;
  }

  #makeSliders(name, values) {
    const policy = this.#policies.find((p) => p.name === name);
    this.#ui.description.textContent = this.#policies.length
      ? policy ? sentence(policy.meaning) : ""
      : "This service does not translate now: the original voice passes through.";
    const declared = policy?.parameters ?? [];
    this.#parameters = Object.fromEntries(declared.map((p) => [p.name, values[p.name] ?? p.default]));
    this.#presets.show(policy?.presets ?? NONE, this.#parameters);
    // rebuilding a slider that has the focus would take it away
    const shown = [...this.#ui.parameters.querySelectorAll("input")];
    if (shown.length === declared.length && shown.every((s, i) => s.name === declared[i].name && s.dataset.policy === name)) {
      for (const slider of shown) this.#set(slider, this.#parameters[slider.name]);
      return;
    }
    this.#ui.parameters.replaceChildren(...declared.map((p) => this.#slider(p, name)));
  }

  #slider(parameter, policy) {
    const { name, minimum, maximum, meaning, integer } = parameter;
    // the limits come before the value, which they would clamp
    const slider = element("input", { type: "range", name, min: minimum, max: maximum, step: integer ? 1 : 0.01 });
    slider.dataset.policy = policy;
    const row = element("label", { className: "slider" });
    row.append(
      element("span", { className: "slider-name", textContent: name.replaceAll("_", " ") }),
      slider,
      element("output"),
      element("small", { textContent: sentence(meaning) }),
    );
    this.#set(slider, this.#parameters[name]);
    slider.oninput = () => {
      this.#parameters[name] = Number(slider.value);
      this.#set(slider, this.#parameters[name]);
      this.#presets.show(this.#policies.find((p) => p.name === policy)?.presets ?? NONE, this.#parameters);
      this.#change("speech", { parameters: { ...this.#parameters } });
    };
    return row;
  }

  #set(slider, value) {
    slider.value = value;
    slider.nextElementSibling.textContent = slider.step === "1" ? `${value}` : Number(value).toFixed(2);
  }

  #change(part, change) {
    this.#pending[part] = { ...this.#pending[part], ...change };
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = null;
      const pending = this.#pending;
      this.#pending = {};
      this.#configure(pending);
    }, SETTLE_MS);
  }
}

// Kokoro's voices are called like af_bella: American, female.
function voiceName(voice) {
  const [, kind, name] = /^a([fm])_(\w+)$/.exec(voice) ?? [null, "m", voice];
  return `${name[0].toUpperCase()}${name.slice(1)} (${kind === "f" ? "woman" : "man"})`;
}
