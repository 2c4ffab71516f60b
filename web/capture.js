// A capture: what a snapshot of the last minute was made of, as a ledger (streamsvc/ledger/records.py), a JSON object a
// line, which `streamsvc report` reads. Times are the service's own, on its monotonic clock. Pure.

// `minute` is what Minute.until gave, `session` names the call, `toServer` turns the page's ms into the service's ns.
export function captureFile(minute, session, toServer) {
  const spans = ({ stages }) => stages.map(([name, start_ns, end_ns]) => ({ name, start_ns, end_ns }));
  const views = minute.frames.map(({ trace }, i) => ({
    v: 1,
    kind: "view",
    session,
    stream: "view",
    id: i + 1,
    ...trace,
    stages: spans(trace),
  }));
  const speech = minute.passes.map(({ trace }, i) => ({
    v: 1,
    kind: "speech",
    session,
    stream: "speech",
    id: i + 1,
    ...trace,
    stages: spans(trace),
  }));
  const network = minute.network.map(({ at, period, rtt, inBps, outBps, inLost, outLost }) => ({
    v: 1,
    kind: "network",
    session,
    at_ns: toServer(at),
    period_ns: Math.round(period * 1e6),
    rtt_ns: rtt === null ? null : Math.round(rtt * 1e6),
    in_bps: inBps,
    out_bps: outBps,
    in_lost: inLost,
    out_lost: outLost,
  }));
  return [...views, ...speech, ...network].map((line) => `${JSON.stringify(line)}\n`).join("");
}
