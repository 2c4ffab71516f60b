// The last minute of a call, for charts and captures: what the service told of it, and what the network did. Pure.
//
// Instants are ms on the page's clock (performance.now()) and passed in; what the service tells in ns of its own clock is
// turned into them when it comes. Holds a minute of each kind, and never more than MOST.

export const SPAN_MS = 60_000;
const MOST = 8000;

export class Minute {
  #kept = { live: [], frames: [], passes: [], network: [] };
  #hidden = []; // {from, to}: when the page was hidden; to Infinity while it is

  live(message, now) {
    this.#keep("live", [{ at: now, ...message }], now);
  }

  // Take the frame sets of a `frames` message; `toPage` turns the service's ns into the page's ms.
  frames(traces, now, toPage) {
    this.#keep("frames", traces.map((trace) => this.#frame(trace, toPage(trace.capture_ns))), now);
  }

  // The page comes out of sight, or back.
  hide(hidden, now) {
    const last = this.#hidden.at(-1);
    if (hidden) this.#hidden.push({ from: now, to: Infinity });
    else if (last) last.to = Math.min(last.to, now);
    this.#hidden = this.#hidden.filter(({ to }) => to > now - 2 * SPAN_MS);
  }

  // Whether a picture could not be seen in time because the page was hidden is known when it is told of.
  #frame(trace, at) {
    const frame = frameOf(trace, at);
    const unseen = this.#hidden.some(({ from, to }) => from < at + frame.budget && at < to);
    return { ...frame, unseen: unseen && frame.outcome !== "shown" };
  }

  // Take the speech passes of a `passes` message; `at` becomes the end of their sound.
  passes(traces, now, toPage) {
    const pass = (trace) => ({ at: toPage(trace.capture_ns), lag: since(trace, trace.displayed_ns), text: trace.text, trace });
    this.#keep("passes", traces.map(pass), now);
  }

  network(sample, now) {
    this.#keep("network", [sample], now);
  }

  #keep(kind, more, now) {
    this.#kept[kind] = [...this.#kept[kind], ...more].filter(({ at }) => at > now - SPAN_MS).slice(-MOST);
  }

  // What there is at `now`, each kind in the order of its instants; it doesn't change any more.
  until(now) {
    const kinds = Object.entries(this.#kept).map(([kind, kept]) => [
      kind,
      kept.filter(({ at }) => at > now - SPAN_MS && at <= now).sort((a, b) => a.at - b.at),
    ]);
    return { now, ...Object.fromEntries(kinds) };
  }
}

// Latency (null: never shown), budget and stages in ms since the capture `at`.
function frameOf(trace, at) {
  const { outcome, reason, rung } = trace;
  const stages = trace.stages.map(([name, start, end]) => ({ name, start: since(trace, start), end: since(trace, end) }));
  return { at, latency: since(trace, trace.displayed_ns), budget: since(trace, trace.deadline_ns), outcome, reason, rung, stages, trace };
}

const since = (trace, ns) => (ns === null ? null : (ns - trace.capture_ns) / 1e6);

// The q-th percentile (0..100) by linear interpolation; null of nothing.
export function percentile(values, q) {
  if (!values.length) return null;
  const ordered = [...values].sort((a, b) => a - b);
  const at = ((ordered.length - 1) * q) / 100;
  const low = ordered[Math.floor(at)];
  return low + (ordered[Math.ceil(at)] - low) * (at - Math.floor(at));
}
