// What to expect of a connection, in one line. Pure: what a test measured in, {grade, text} out; `grade` is "good", "fair"
// or "poor".

import { percentile } from "./minute.js";

const IN_TIME_MS = 400; // the latency budget that a call begins with
const SHARES = [0.9, 0.5]; // of the pictures, in time
const LATENCIES = [250, 500]; // ms, of half of them
const LOST = 0.02;
const FAR_MS = 150;
const SLOW = 0.8; // of the pictures that this device should have drawn

// `link`: size [width, height] that was sent and got [width, height] that came back, fps that were meant, seconds, drawn
// (pictures that were sent), trips (ms of each that came back), and of the network rtt (ms), outLost and inLost (shares),
// null where they aren't known.
export function linkVerdict(link) {
  const { size, got, fps, seconds, trips } = link;
  if (!trips.length) {
    return { grade: "poor", text: "No picture came back. Try again in a minute; if it stays so, try another network." };
  }
  const latency = percentile(trips, 50);
  const intime = trips.filter((ms) => ms <= IN_TIME_MS).length;
  const share = intime / (fps * seconds);
  const whole = got[0] * got[1] >= 0.98 * size[0] * size[1];
  const [enough, some] = SHARES.map((least) => share >= least);
  const [quick, usable] = LATENCIES.map((most) => latency <= most);
  const grade = enough && quick && whole ? "good" : some && usable ? "fair" : "poor";
  const found = `${got.join("×")} at ${Math.round(trips.length / seconds)} a second: ${Math.round(latency)} ms from you to a picture.`;
  if (grade === "good") return { grade, text: `Good for ${found}` };
  return { grade, text: `${grade === "fair" ? "Usable" : "Not good"}, ${found} ${adviceFor(link, enough)}` };
}

// What is most likely in the way, and what to do.
function adviceFor({ fps, seconds, drawn, rtt, outLost, inLost }, enough) {
  const lost = Math.max(outLost ?? 0, inLost ?? 0);
  if (lost > LOST) {
    return `The network loses ${(100 * lost).toFixed(0)} % of the packets: use a cable, or come nearer to the Wi-Fi.`;
  }
  if (drawn < SLOW * fps * seconds) {
    return "This device can’t keep up: close other programs, or choose a smaller camera size.";
  }
  if (rtt > FAR_MS) {
    return `The service is far away, ${Math.round(rtt)} ms there and back: it will feel slow, but work.`;
  }
  if (!enough) return "The service or your network carries no more now: choose a smaller camera size, or try again later.";
  return "The service is busy, or the network is slow: try again in a minute.";
}
