// The server's monotonic clock, seen from this page.
//
// Clocks here: `mono` is performance.now(), `wall` is performance.timeOrigin + performance.now() (the clock of the
// browser's RTCP sender reports), both turned into nanoseconds. An exchange with the shortest round trip of the last
// 30 s wins; the error is half that round trip (RFC 5905, section 8).

const WINDOW_MS = 30_000;
const QUICK_PINGS = 5;
const QUICK_MS = 120;
const STEADY_MS = 1000;

export const ns = (ms) => Math.round(ms * 1e6);

export class ClockEstimator {
  #samples = [];

  // Take one exchange: sent and received on the mono clock (ms), the server's answer in ns.
  add(sentMs, serverNs, receivedMs) {
    const trip = receivedMs - sentMs;
    if (!(trip >= 0)) return;
    this.#samples.push({ at: receivedMs, trip, offsetNs: serverNs - ns((sentMs + receivedMs) / 2) });
    this.#samples = this.#samples.filter((s) => s.at >= receivedMs - WINDOW_MS);
  }

  // {offsetNs: server = mono + offsetNs, errorNs}, or null before the first answer.
  get best() {
    if (!this.#samples.length) return null;
    const best = this.#samples.reduce((a, b) => (b.trip < a.trip ? b : a));
    return { offsetNs: best.offsetNs, errorNs: ns(best.trip / 2) };
  }

  // The server's clock (ns) at a mono instant (ms), or null.
  toServer(monoMs) {
    const best = this.best;
    return best && ns(monoMs) + best.offsetNs;
  }
}

// Pings over the ledger channel (five quickly, then one a second) and reports the offset up after each answer.
export class ClockSync {
  estimator = new ClockEstimator();
  #send;
  #timer = null;
  #sent = 0;

  constructor(send) {
    this.#send = send;
  }

  start() {
    const tick = () => {
      const now = performance.now();
      this.#send({ type: "ping", sent_ns: ns(now) });
      this.#sent += 1;
      this.#timer = setTimeout(tick, this.#sent < QUICK_PINGS ? QUICK_MS : STEADY_MS);
    };
    tick();
  }

  pong(message) {
    this.estimator.add(message.sent_ns / 1e6, message.server_ns, performance.now());
    const best = this.estimator.best;
    if (!best) return;
    // server = wall + offset, where wall = mono + timeOrigin
    this.#send({ type: "clocks", offset_ns: best.offsetNs - ns(performance.timeOrigin), error_ns: best.errorNs });
  }

  stop() {
    clearTimeout(this.#timer);
  }
}
