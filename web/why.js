// Why it stutters, in one line, and what to do about it. Pure: a minute in, a sentence or two out.

import { misses } from "./reasons.js";

const FINE = 0.95; // of the pictures in time
const LOST = 0.02;
const FAR_MS = 150;

const BUSY = [
  "the service has no time for more",
  "Choose a smaller picture size in the settings, or allow a larger latency budget there.",
];
const NETWORK = ["your network loses or delays them", "Use a cable, or come nearer to the Wi-Fi."];
const FAULT = ["something on the service’s side failed", "Tell whoever runs it; “Save capture” keeps what they need."];
const CAUSES = {
  thinned: BUSY,
  hopeless: BUSY,
  superseded: BUSY,
  "ring-full": BUSY,
  "no-slot": BUSY,
  late: ["they came too late", "Allow a larger latency budget in the settings, or choose a smaller picture size."],
  unreported: ["they were sent, but this device did not show them", "Close other programs and pages on this device."],
  closed: ["the view was being set up anew", "That is over by itself."],
};
const OF_NETWORK = new Set(["late", "unreported"]);

// `minute` is that of Minute.until.
export function whySays({ frames, network }) {
  const due = frames.filter((f) => !f.unseen);
  const hidden = due.length < frames.length ? "While this page was hidden its pictures were not shown. " : "";
  if (!due.length) return hidden.trim();
  const missed = due.filter((f) => f.outcome !== "shown").length;
  const share = missed / due.length;
  const percent = (x) => `${Math.round(x * 100)} %`;
  if (share <= 1 - FINE) return `${hidden}All is well: ${percent(1 - share)} of the pictures were shown in time.`;
  const [worst] = misses(due)[0];
  const lost = Math.max(0, ...network.map((n) => Math.max(n.inLost ?? 0, n.outLost ?? 0)));
  const far = Math.max(0, ...network.map((n) => n.rtt ?? 0)) > FAR_MS;
  const [cause, advice] = OF_NETWORK.has(worst) && (lost > LOST || far) ? NETWORK : (CAUSES[worst] ?? FAULT);
  return `${hidden}It stutters: ${percent(share)} of the pictures were missing or late, mostly because ${cause}. ${advice}`;
}
