// What a connection did, from the statistics that the browser keeps of it (W3C webrtc-stats). Pure.

// The totals of one RTCStatsReport, taken at `at` (ms); null before a pair of candidates was chosen.
export function totals(report, at) {
  const of = (type) => [...report.values()].filter((s) => s.type === type);
  const chosen = of("transport")[0]?.selectedCandidatePairId;
  const pair = report.get(chosen) ?? of("candidate-pair").find((p) => p.nominated && p.state === "succeeded");
  if (!pair) return null;
  const received = of("inbound-rtp");
  const reported = of("remote-inbound-rtp").map((r) => ({ lost: r.fractionLost ?? 0, sent: report.get(r.localId)?.packetsSent ?? 0 }));
  return {
    at,
    pair: pair.id,
    rtt: pair.currentRoundTripTime === undefined ? null : pair.currentRoundTripTime * 1000,
    bytesIn: pair.bytesReceived,
    bytesOut: pair.bytesSent,
    received: sum(received, (s) => s.packetsReceived),
    missed: sum(received, (s) => s.packetsLost),
    // What the service last reported of each stream, by how much is sent of it.
    outLost: share(sum(reported, (r) => r.lost * r.sent), sum(reported, (r) => r.sent)),
  };
}

// What happened between two totals: {at, period, rtt} in ms, {inBps, outBps} and {inLost, outLost} as shares; null when
// they are of different connections.
export function between(before, after) {
  if (before?.pair !== after?.pair || !before || after.at <= before.at) return null;
  const rate = (field) => ((after[field] - before[field]) * 8000) / (after.at - before.at);
  // A packet that was counted as lost and comes after all takes the count back.
  const missed = Math.max(after.missed - before.missed, 0);
  return {
    at: after.at,
    period: after.at - before.at,
    rtt: after.rtt,
    inBps: rate("bytesIn"),
    outBps: rate("bytesOut"),
    inLost: share(missed, missed + after.received - before.received),
    outLost: after.outLost,
  };
}

const sum = (items, value) => items.reduce((total, item) => total + (value(item) ?? 0), 0);
const share = (part, whole) => (whole > 0 ? part / whole : null);
