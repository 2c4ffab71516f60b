// What lies behind the meter: the last minute in charts, held still or saved as a capture.
//
// While the panel is closed only the live figures are kept, which come anyway; nothing is asked for, measured or drawn.
// Open, the service is asked to tell of every frame set and speech pass, the browser for its network once a second, and
// all is drawn twice a second. Frozen, what is told is kept and what is drawn stays.

import { captureFile } from "./capture.js";
import * as charts from "./charts.js";
import { ns } from "./clock.js";
import { element } from "./dom.js";
import { Minute } from "./minute.js";
import { between, totals } from "./network.js";
import { misses, reasonInWords } from "./reasons.js";
import { save } from "./save.js";
import * as says from "./summary.js";
import { whySays } from "./why.js";

const DRAW_MS = 500;
const NETWORK_MS = 1000;

export class BudgetPanel {
  drawn = 0;
  #panel;
  #source;
  #minute = new Minute();
  #shown = null; // what was drawn last
  #offset = null; // ns from the page's clock to the service's, as far as it was ever known
  #rungs = [];
  #session = "";
  #open = false;
  #followed = false; // the service was asked in this call
  #frozen = false;
  #totals = null;
  #timers = [];
  #ui;

  // `source`: send(message) on the channel `ledger`, stats() -> promise of an RTCStatsReport or null, offset() -> ns from
  // the page's clock to the service's, or null.
  constructor(panel, source) {
    this.#panel = panel;
    this.#source = source;
    this.#ui = Object.fromEntries([...panel.querySelectorAll("[data-budget]")].map((e) => [e.dataset.budget, e]));
    this.#ui.freeze.onclick = () => this.#freeze(!this.#frozen);
    this.#ui.save.onclick = () => this.#save();
    document.addEventListener("visibilitychange", () => this.#minute.hide(document.hidden, performance.now()));
    // What stands still is drawn again when its place or its colours change.
    const again = () => this.#open && this.#shown && this.#paint();
    new ResizeObserver(again).observe(panel);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  }

  // What the hook shows.
  get stats() {
    return { open: this.#open, frozen: this.#frozen, drawn: this.drawn, frames: this.#shown?.frames.length ?? 0 };
  }

  // A call begins, or goes on in another session; `rungs` are the ladder.
  begin({ session, rungs }) {
    this.#session = session;
    this.#rungs = [...rungs].sort((a, b) => (b.quality ?? 0) - (a.quality ?? 0));
  }

  end() {
    this.show(false);
    this.#minute = new Minute();
    if (document.hidden) this.#minute.hide(true, performance.now());
    this.#shown = this.#totals = null;
    this.#followed = false;
  }

  show(open) {
    if (open === this.#open) return;
    this.#open = open;
    this.#timers.forEach(clearInterval);
    this.#timers = [];
    this.connected();
    this.#freeze(false);
    if (!open) return;
    this.#totals = null;
    this.#timers = [setInterval(() => this.#draw(), DRAW_MS), setInterval(() => this.#measure(), NETWORK_MS)];
    this.#measure();
  }

  // Say what is wanted; again on a new connection, whose service may not know.
  connected() {
    if (!this.#open && !this.#followed) return;
    this.#followed = true;
    this.#source.send({ type: "follow", frames: this.#open, speech: this.#open });
  }

  live(message) {
    this.#minute.live(message, performance.now());
  }

  frames(message) {
    if (this.#listens()) this.#minute.frames(message.frames, performance.now(), (serverNs) => this.#toPage(serverNs));
  }

  passes(message) {
    if (this.#listens()) this.#minute.passes(message.passes, performance.now(), (serverNs) => this.#toPage(serverNs));
  }

  // What happened at an instant of the service's clock can be placed once the clocks have met.
  #listens() {
    this.#offset = this.#source.offset() ?? this.#offset;
    return this.#open && this.#offset !== null;
  }

  #toPage(serverNs) {
    return (serverNs - this.#offset) / 1e6;
  }

  async #measure() {
    const report = await this.#source.stats();
    const now = performance.now();
    const after = report && totals(report, now);
    const sample = between(this.#totals, after);
    this.#totals = after;
    if (sample) this.#minute.network(sample, now);
  }

  #freeze(on) {
    this.#frozen = on;
    this.#ui.freeze.setAttribute("aria-pressed", String(on));
    this.#ui.held.hidden = !on;
    if (on) this.#ui.held.textContent = `Held at ${new Date().toLocaleTimeString()}.`;
    else if (this.#open) this.#draw();
  }

  #save() {
    const text = captureFile(this.#shown, this.#session, (at) => ns(at) + this.#offset);
    const when = new Date(performance.timeOrigin + this.#shown.now).toISOString().slice(0, 19).replaceAll(":", "");
    save(new Blob([text], { type: "application/jsonl" }), `capture-${when}Z.jsonl`);
  }

  #draw() {
    if (this.#frozen || document.hidden) return;
    this.#shown = this.#minute.until(performance.now());
    this.#paint();
  }

  #paint() {
    const minute = this.#shown;
    const ui = this.#ui;
    const legend = charts.stageLegend(minute);
    charts.drawLatency(ui.latency, minute);
    charts.drawWaterfall(ui.waterfall, minute, new Map(legend.map(({ name, colour }) => [name, colour])));
    charts.drawRungs(ui.rungs, minute, this.#rungs.map((r) => r.name));
    charts.drawGoodput(ui.goodput, minute);
    charts.drawSpeech(ui.speech, minute);
    charts.drawRoundTrip(ui.trip, minute);
    charts.drawBitrates(ui.bitrates, minute);
    ui.why.textContent = whySays(minute);
    ui.latencySays.textContent = says.latencySays(minute);
    ui.waterfallSays.textContent = says.waterfallSays(minute);
    ui.rungsSay.textContent = says.rungSays(minute, new Map(this.#rungs.map((r) => [r.name, r.quality])));
    ui.goodputSays.textContent = says.goodputSays(minute);
    ui.missesSay.textContent = says.missesSay(minute);
    ui.speechSays.textContent = says.speechSays(minute);
    ui.tripSays.textContent = says.roundTripSays(minute);
    ui.bitratesSay.textContent = says.bitratesSay(minute);
    ui.save.disabled = !minute.frames.length && !minute.passes.length;
    this.#legend(legend);
    this.#misses(minute);
    this.drawn += 1;
  }

  #legend(parts) {
    const items = parts.filter(({ took }) => took !== null).map(({ name, colour, took }) => {
      const item = element("li", { textContent: `${name} ` });
      item.style.setProperty("--swatch", `var(--${colour})`);
      item.append(element("b", { textContent: took < 0.95 ? "< 1 ms" : `${Math.round(took)} ms` }));
      return item;
    });
    this.#ui.legend.replaceChildren(...items);
  }

  #misses({ frames }) {
    const items = misses(frames).map(([reason, n]) => {
      const item = element("li", { title: reason });
      item.style.setProperty("--share", `${(100 * n) / frames.length}%`);
      item.append(element("b", { textContent: `${n}` }), ` ${reasonInWords(reason)}`);
      return item;
    });
    this.#ui.misses.replaceChildren(...items);
  }
}
