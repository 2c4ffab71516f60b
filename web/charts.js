// The charts of the last minute, each drawn on a canvas from what Minute.until gave. Times run from a minute ago to now.

import { SPAN_MS, percentile } from "./minute.js";
import { Plot, steps } from "./plot.js";
import { TO_SCREEN, WAITING, spent, way } from "./way.js";

const WATERFALL_ROWS = 12;
const STAGE_COLOURS = 8;
const RUNG_EM = 2.1;
const GOOD = 0.95;
const SPEECH_LIMIT_S = 5;
const HELD_MS = 400; // a rung is drawn until the next picture, but not through a gap
const TIMES = [-60, -45, -30, -15, 0];

const ago = (minute) => (at) => (at - minute.now) / 1000;

// A plot over the last minute with `high` at the top.
function timePlot(canvas, high, words, rows = steps(high, 4)) {
  const plot = new Plot(canvas, [-SPAN_MS / 1000, 0], [0, high]);
  plot.rows(rows, words);
  plot.columns(TIMES, timeInWords);
  return plot;
}

const timeInWords = (s) => ({ "-60": "60 s ago", 0: "now" })[s] ?? `${-s}`;

// The last views: pictures that the worker made something of, shown or not.
const lastViews = ({ frames }) => frames.filter((f) => f.rung !== null && f.stages.length).slice(-WATERFALL_ROWS);

// The top of a scale that holds most of `values` and doesn't jump with each of them.
function roof(values, least) {
  const high = Math.max(least, (percentile(values, 98) ?? 0) * 1.1);
  const step = 10 ** Math.floor(Math.log10(high)) / 2;
  return Math.ceil(high / step) * step;
}

// Each shown picture by its latency, late ones as crosses, the others as marks at the foot, and the budget as a line.
export function drawLatency(canvas, minute) {
  const { live, frames } = minute;
  const when = ago(minute);
  const shown = frames.filter((f) => f.latency !== null);
  const budgets = frames.length ? frames : live.map(({ at, budget_ms }) => ({ at, budget: budget_ms }));
  const budget = budgets.at(-1)?.budget ?? 0;
  const plot = timePlot(canvas, roof([...shown.map((f) => f.latency), ...live.map((l) => l.latency_ms ?? 0)], budget * 1.3 || 100), (v) => `${v}`);
  plot.marks(frames.filter((f) => f.latency === null).map((f) => when(f.at)), "drop", 0.6 * plot.em);
  plot.line(live.map((l) => [when(l.at), l.latency_ms]), "median", { width: 1.2 });
  plot.squares(shown.filter((f) => f.outcome === "shown").map((f) => [when(f.at), f.latency]), "shown", 2.6);
  plot.crosses(shown.filter((f) => f.outcome === "late").map((f) => [when(f.at), f.latency]), "late", 5);
  if (!budget) return;
  plot.line([[-SPAN_MS / 1000, budgets[0].budget], ...budgets.map((f) => [when(f.at), f.budget]), [0, budget]], "drop", { dash: [5, 4] });
}

// The last views, each a row from capture to display; `colours` names the stages' colours. A red line is the deadline.
export function drawWaterfall(canvas, minute, colours) {
  const last = lastViews(minute);
  const ends = last.map((f) => way(f).at(-1).end);
  const end = Math.max(...ends, ...last.map((f) => f.budget), 100) * 1.06;
  const plot = new Plot(canvas, [0, end], [WATERFALL_ROWS, 0]);
  plot.columns(steps(end, 4), (ms) => `${ms} ms`);
  const thick = (plot.bottom - plot.top) / WATERFALL_ROWS - 3;
  last.forEach((frame, i) => {
    const row = i + 0.5;
    for (const part of way(frame)) plot.bar(part.start, part.end, row, thick, colours.get(part.name));
    const [, y] = plot.at(0, row);
    const colour = { shown: "ink", late: "late", dropped: "drop" }[frame.outcome];
    plot.text(frame.latency === null ? "✕" : `${Math.round(ends[i])}`, plot.left - 0.5 * plot.em, y, { colour, align: "right" });
    if (frame.latency === null) plot.crosses([[ends[i] + end / 60, row]], "drop", 6);
    plot.line([[frame.budget, i], [frame.budget, i + 1]], "drop", { width: 2 });
  });
}

// What each part of the last views is drawn in, and its median in ms: [{name, colour, took}], stages as they came first.
export function stageLegend(minute) {
  const times = lastViews(minute).map(spent);
  const names = new Set(times.flatMap((t) => [...t.keys()]));
  names.delete(WAITING);
  names.delete(TO_SCREEN);
  const coloured = [...names].map((name, i) => [name, `s${Math.min(i, STAGE_COLOURS - 1)}`]);
  return [...coloured, [WAITING, "wait"], [TO_SCREEN, "travel"]].map(([name, colour]) => ({
    name,
    colour,
    took: percentile(times.filter((t) => t.has(name)).map((t) => t.get(name)), 50),
  }));
}

// Which rung each picture was made on: a row for each, the best on top. `ladder` has the names from best to worst.
export function drawRungs(canvas, minute, ladder) {
  const made = rungsOf(minute);
  const rank = (rung) => (ladder.includes(rung) ? ladder.indexOf(rung) : ladder.length);
  const names = [...new Set(made.map((m) => m.rung))].sort((a, b) => rank(a) - rank(b));
  canvas.style.height = `${RUNG_EM * Math.max(names.length, 1) + 2.4}em`;
  const plot = new Plot(canvas, [-SPAN_MS / 1000, 0], [Math.max(names.length, 1), 0]);
  plot.columns(TIMES, timeInWords);
  const when = ago(minute);
  names.forEach((name, i) => {
    const row = i + 0.5;
    const [, y] = plot.at(0, row);
    made.forEach(({ at, rung }, n) => {
      if (rung !== name) return;
      const until = Math.min(made[n + 1]?.at ?? minute.now, at + HELD_MS);
      plot.bar(when(at), when(until), row + 0.18, 0.5 * plot.em, "shown");
    });
    plot.text(name, plot.left, y - 0.75 * plot.em, { colour: "ink" });
  });
}

// [{at, rung}]: of every picture since they are told one by one, before that what the live figures said.
export function rungsOf({ live, frames }) {
  const made = frames.filter((f) => f.rung !== null);
  const before = live.filter((l) => l.rung !== null && l.at < (made[0]?.at ?? Infinity));
  return [...before, ...made].map(({ at, rung }) => ({ at, rung }));
}

// The share of due pictures that were shown in time, in the seconds before each instant.
export function drawGoodput(canvas, minute) {
  const plot = timePlot(canvas, 1, (v) => `${Math.round(v * 100)} %`, [0, 0.5, 1]);
  plot.line([[-SPAN_MS / 1000, GOOD], [0, GOOD]], "drop", { width: 1, dash: [5, 4] });
  plot.line(minute.live.map((l) => [ago(minute)(l.at), l.goodput]), "shown", { width: 2 });
}

// How long after its sound each commit left for us.
export function drawSpeech(canvas, minute) {
  const said = minute.passes.filter((p) => p.text && p.lag !== null);
  const lags = said.map((p) => p.lag / 1000);
  const when = ago(minute);
  const plot = timePlot(canvas, roof(lags, SPEECH_LIMIT_S * 1.2), (v) => `${v}`);
  plot.line([[-SPAN_MS / 1000, SPEECH_LIMIT_S], [0, SPEECH_LIMIT_S]], "drop", { width: 1, dash: [5, 4] });
  plot.line(minute.live.map((l) => [when(l.at), l.speech_lag_ms === null ? null : l.speech_lag_ms / 1000]), "median", { width: 1.2 });
  const points = (late) => said.filter((p) => p.lag / 1000 > SPEECH_LIMIT_S === late).map((p) => [when(p.at), p.lag / 1000]);
  plot.squares(points(false), "shown", 5);
  plot.crosses(points(true), "late", 6);
}

export function drawRoundTrip(canvas, minute) {
  const trips = minute.network.map((n) => [ago(minute)(n.at), n.rtt]);
  const plot = timePlot(canvas, roof(trips.map(([, ms]) => ms ?? 0), 20), (v) => `${v}`);
  plot.line(trips, "shown", { width: 2 });
}

// Bitrates in and out; marks at the foot where packets were lost.
export function drawBitrates(canvas, minute) {
  const when = ago(minute);
  const { network } = minute;
  const high = roof(network.flatMap((n) => [n.inBps / 1e6, n.outBps / 1e6]), 0.5);
  const plot = timePlot(canvas, high, (v) => `${v}`);
  plot.marks(network.filter((n) => n.inLost > 0 || n.outLost > 0).map((n) => when(n.at)), "drop", plot.em);
  plot.line(network.map((n) => [when(n.at), n.inBps / 1e6]), "shown", { width: 2 });
  plot.line(network.map((n) => [when(n.at), n.outBps / 1e6]), "out", { width: 2 });
}
