// Why a picture that was due was not shown in time, in plain words: the reasons of the ledger.

const WORDS = {
  late: "shown after the deadline",
  superseded: "a newer picture came first",
  thinned: "left out evenly: no time for all of them even at the lowest detail",
  hopeless: "could not have been ready in time",
  "out-of-order": "ready after a newer picture",
  unreported: "sent, but never seen on this screen",
  failed: "the view could not be made from it",
  "out-of-memory": "the service ran out of memory",
  "bad-picture": "a camera's picture could not be used",
  "ring-full": "too many pictures were waiting for the worker",
  "no-slot": "too many views were waiting to be sent",
  "worker-down": "the worker was starting again",
  closed: "the view was being set up anew",
};

export const reasonInWords = (reason) => WORDS[reason] ?? reason;

// Count what was not shown in time: [[reason, number]], commonest first.
export function misses(frames) {
  const counts = new Map();
  for (const { outcome, reason } of frames) {
    if (outcome === "shown") continue;
    const why = outcome === "late" ? "late" : (reason ?? "unknown");
    counts.set(why, (counts.get(why) ?? 0) + 1);
  }
  return [...counts].sort((a, b) => b[1] - a[1]);
}
