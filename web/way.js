// The way of a frame set from capture to display, cut into stages and what lies between them. Pure.

export const WAITING = "waiting";
export const TO_SCREEN = "to the screen";

// [{name, start, end}] in ms since the capture, without overlaps. Slices of one stage are one; before the first stage, and
// between two, a picture waits; after the last it is encoded, sent and displayed.
export function way({ stages, latency }) {
  const parts = [];
  let cursor = 0;
  const add = (name, start, end) => {
    if (end - start <= 0) return;
    if (parts.at(-1)?.name === name) parts.at(-1).end = end;
    else parts.push({ name, start, end });
    cursor = end;
  };
  for (const { name, start, end } of [...stages].sort((a, b) => a.start - b.start)) {
    add(WAITING, cursor, start);
    add(name, Math.max(start, cursor), end);
  }
  if (latency !== null) add(stages.length ? TO_SCREEN : WAITING, cursor, latency);
  return parts;
}

// How long each part took in one frame: Map(name -> ms), in the order in which the parts came first.
export function spent(frame) {
  const times = new Map();
  for (const { name, start, end } of way(frame)) times.set(name, (times.get(name) ?? 0) + end - start);
  return times;
}
