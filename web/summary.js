// What each chart says, in a sentence: for who can't see it, and for the exact figures. Pure.

import { rungsOf } from "./charts.js";
import { SPAN_MS, percentile } from "./minute.js";
import { misses, reasonInWords } from "./reasons.js";
import { TO_SCREEN, WAITING, spent } from "./way.js";

const SPEECH_LIMIT_MS = 5000;
const ms = (x) => `${Math.round(x)} ms`;
const percent = (x) => `${Math.round(x * 100)} %`;
const seconds = (x) => `${(x / 1000).toFixed(1)} s`;
const count = (n, one, many) => `${n} ${n === 1 ? one : many}`;

// How long the pictures were told one by one, in words.
function since({ now, frames }) {
  const told = now - (frames[0]?.at ?? now);
  return told > SPAN_MS - 2000 ? "in the last minute" : `in the last ${Math.round(told / 1000)} s`;
}

export function latencySays(minute) {
  const { live, frames } = minute;
  const latencies = frames.filter((f) => f.latency !== null).map((f) => f.latency);
  if (!latencies.length) {
    const last = live.findLast((l) => l.latency_ms !== null);
    return last ? `Lately ${ms(last.latency_ms)}, with a budget of ${ms(last.budget_ms)}.` : "No picture was shown yet.";
  }
  const late = frames.filter((f) => f.outcome === "late").length;
  const [half, most] = [50, 95].map((q) => ms(percentile(latencies, q)));
  return (
    `Half within ${half}, 95 % within ${most}, the slowest ${ms(Math.max(...latencies))}; the budget is ${ms(frames.at(-1).budget)}. ` +
    `${late || "None"} of ${count(latencies.length, "picture", "pictures")} shown ${since(minute)} ${late === 1 ? "was" : "were"} late.`
  );
}

export function waterfallSays({ frames }) {
  const last = frames.findLast((f) => f.latency !== null && f.stages.length);
  if (!last) return "No picture was shown yet.";
  const left = last.budget - last.latency;
  const times = spent(last);
  const longest = [...times].filter(([name]) => name !== WAITING && name !== TO_SCREEN).sort((a, b) => b[1] - a[1]);
  const named = longest.slice(0, 3).map(([name, took]) => `${name} ${ms(took)}`);
  return (
    `The last picture took ${ms(last.latency)}, ${ms(Math.abs(left))} ${left >= 0 ? "before" : "after"} its deadline. ` +
    `Longest: ${named.join(", ")}; waiting ${ms(times.get(WAITING) ?? 0)}, ${TO_SCREEN} ${ms(times.get(TO_SCREEN) ?? 0)}.`
  );
}

// `qualities`: Map(rung -> dB).
export function rungSays(minute, qualities) {
  const made = rungsOf(minute);
  if (!made.length) return "No picture was made yet.";
  const changes = made.filter(({ rung }, i) => i && rung !== made[i - 1].rung).length;
  const now = made.at(-1).rung;
  const quality = qualities.get(now);
  return `Now ${now}${quality ? ` (${quality.toFixed(1)} dB)` : ""}; ${count(changes, "change", "changes")} in the last minute.`;
}

export function goodputSays({ live }) {
  const known = live.map((l) => l.goodput).filter((g) => g !== null);
  if (!known.length) return "No picture was due yet.";
  const mean = known.reduce((a, b) => a + b, 0) / known.length;
  const worst = Math.min(...known);
  return `Now ${percent(known.at(-1))} of the pictures in time; in the last minute ${percent(mean)} on average, ${percent(worst)} at worst.`;
}

export function missesSay(minute) {
  const { frames } = minute;
  if (!frames.length) return "No picture was told yet.";
  const shown = frames.filter((f) => f.outcome === "shown").length;
  const worst = misses(frames)[0];
  const most = worst ? ` Commonest reason why others were not: ${reasonInWords(worst[0])}.` : "";
  return `${shown} of ${count(frames.length, "picture", "pictures")} due ${since(minute)} were shown in time.${most}`;
}

export function speechSays({ live, passes }) {
  const lags = passes.filter((p) => p.text && p.lag !== null).map((p) => p.lag);
  if (!lags.length) {
    const last = live.findLast((l) => l.speech_lag_ms !== null);
    return last ? `Lately words came ${seconds(last.speech_lag_ms)} after they were spoken.` : "Nothing was said yet.";
  }
  const late = lags.filter((lag) => lag > SPEECH_LIMIT_MS).length;
  return (
    `Words came ${seconds(percentile(lags, 50))} after they were spoken (half of ${count(lags.length, "piece", "pieces")}), ` +
    `at most ${seconds(Math.max(...lags))}; ${late || "none"} after more than 5 s.`
  );
}

export function roundTripSays({ network }) {
  const trips = network.map((n) => n.rtt).filter((rtt) => rtt !== null);
  return trips.length ? `Round trip ${ms(trips.at(-1))} now, ${ms(Math.max(...trips))} at most.` : "The round trip is not known yet.";
}

export function bitratesSay({ network }) {
  const last = network.at(-1);
  if (!last) return "Nothing is known of the network yet.";
  const rate = (bps) => `${(bps / 1e6).toFixed(1)} Mb/s`;
  const lost = (field) => {
    const worst = Math.max(...network.map((n) => n[field] ?? 0));
    return worst ? `${(worst * 100).toFixed(1)} % lost at worst` : "nothing lost";
  };
  return `Now ${rate(last.inBps)} in, ${lost("inLost")}; ${rate(last.outBps)} out, ${lost("outLost")}.`;
}
