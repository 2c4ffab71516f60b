// What a set-up says, in words. Pure. Pictures are shown mirrored, as in a mirror, so left and right are swapped.

import { sentence as whole } from "./words.js";

const ZONES = ["upper left", "top", "upper right", "left", "middle", "right", "lower left", "bottom", "lower right"];

export const cameraName = (index) => `camera ${index + 1}`;
const mirroredZone = (zone) => zone - (zone % 3) + (2 - (zone % 3));

const STATES = {
  unseen: "No camera sees the board.",
  blurred: "The board is blurred: hold it still, with more light.",
  moving: "Hold it still…",
  known: "Seen there already.",
  kept: "Good, that one counts.",
};

// What helps next, from `seen.next`.
export function nextWords({ do: what, cameras, zone }) {
  switch (what) {
    case "show":
      return "Hold the board before the cameras: flat, all of it, no glare.";
    case "together":
      return `Hold it where ${cameras[0]} and ${cameras[1]} both see it.`;
    case "tilt":
      return "Tilt it more, about a third of the way to lying flat: to each side, up and down.";
    case "place":
      return `Now, a little tilted, take it to the ${ZONES[mirroredZone(zone)]} of the picture of ${cameras[0]}.`;
    default:
      return "Nothing more helps: press “Make the rig”.";
  }
}

// One sentence or two on a `seen`.
export function seenWords(seen) {
  if (seen.state === "moving" || seen.state === "blurred") return STATES[seen.state];
  if (seen.why) return sentence(seen.why);
  if (seen.state === "unseen" && seen.next.do === "show") return `${STATES.unseen} ${nextWords(seen.next)}`;
  if (!seen.enough) return `${STATES[seen.state]} ${nextWords(seen.next)}`;
  if (seen.next.do !== "place") return `That is enough. ${nextWords(seen.next)}`;
  return `That is enough. For a still better rig ${nextWords(seen.next).replace("Now, a little tilted, ", "")}`;
}

// A reprojection error in pixels: {grade, text}.
export function errorWords(px) {
  const figure = `${px.toFixed(2)} pixels off on average`;
  if (px <= 0.3) return { grade: "good", text: `${figure}: very good` };
  if (px <= 0.5) return { grade: "good", text: `${figure}: good` };
  if (px <= 1) return { grade: "fair", text: `${figure}: usable` };
  return { grade: "poor", text: `${figure}: is the board flat, and do the cameras stand still?` };
}

// How long a rig is there for; `kept`: this browser has stored it.
export const keptWords = (kept) =>
  kept
    ? "It is kept in this browser and used when you join, as long as the cameras stand where they stand. The file is for use elsewhere."
    : "This browser stores nothing, so it is used until you close this page: save the file, and choose it next time.";

// A sentence of the service, with the names that the page has for cameras.
export function sentence(text) {
  return whole(text.replace(/\b(?:the )?cameras? (?=camera \d)/g, ""));
}

// What stands in the way, and what to do: {title, text}; `own` keeps the service's own sentence before ours.
const PROBLEMS = {
  "two-cameras": {
    title: "A rig takes two to four cameras",
    text: "Plug in another one, or choose it in the list, then go on. One camera alone needs no set-up: its picture is shown as it is.",
  },
  "no-size": {
    title: "How large is one square?",
    text: "Measure one square of the board as it is shown, from edge to edge, and enter the millimetres.",
  },
  "setups-full": {
    title: "Others are setting up their cameras right now",
    text: "The service takes only a few at once. Try again in some minutes; nothing that you chose is lost.",
  },
  "not-found": {
    title: "The service has given up waiting",
    text: "It forgets a set-up after two minutes without pictures. Begin again: cameras and board are still chosen.",
  },
  "setup-failed": { title: "The service could not look at the pictures", text: "Begin again; if it happens again, choose a smaller camera size." },
  "no-still": {
    title: "The browser can’t keep the pictures of your cameras",
    text: "It may be short of memory: close other pages and programs, then begin again.",
  },
  "setup-over": { title: "This set-up has gone on for too long", text: "Begin again: a rig takes three to five minutes." },
  "too-few-views": { own: true, title: "That is not enough yet", text: "Go on: hold the board still in other places until the counts have grown." },
  degenerate: { own: true, title: "The board was always held the same way", text: "Go on, and tilt it each time: to the left, to the right, up and down." },
  apart: { own: true, title: "Two cameras never see the board together", text: "Go on, and hold the board in the middle, where both see it." },
  disagree: {
    own: true,
    title: "The cameras contradict each other",
    text: "Something moved. Fix the cameras, hold the board still each time, and begin again.",
  },
  mirrored: { own: true, title: "One camera sends mirrored pictures", text: "Switch that off in its own program or driver, then begin again." },
  "bad-fit": { own: true, title: "The board does not fit the pictures", text: "Glue it to something flat, check its figures in the step before, and begin again." },
  "no-board": { own: true, title: "One camera has never seen the board", text: "Show the board to it, or check that the board is the one that was chosen." },
  "other-board": { own: true, title: "This is another board", text: "Choose the board that you hold in the step before." },
  "other-size": { own: true, title: "A camera changed its pictures", text: "Begin again." },
  "bad-picture": { own: true, title: "A picture could not be read", text: "Begin again; if it happens again, use another browser." },
  "bad-calibration": { own: true, title: "That did not work", text: "Check the figures of the board." },
};

// The same for any problem of a set-up that has words of its own here; null for others.
export function setupProblem({ code, message }) {
  const known = PROBLEMS[code];
  if (!known) return null;
  return { code, title: known.title, text: known.own && message ? `${sentence(message)} ${known.text}` : known.text };
}
