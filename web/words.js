// Everything that can go wrong, in plain words with a next step. Pure: codes in, sentences out.
//
// A problem is {code, title, text}; `field` names the form field that has to change, where one does.

export class Problem extends Error {
  constructor(code, message = "") {
    super(message);
    this.code = code;
  }
}

const WORDS = {
  // the service said no
  "not-allowed": {
    title: "This token does not allow that",
    text: "Send fewer cameras, or join only to watch (tick “Viewer only”).",
  },
  "bad-token": {
    field: "token",
    title: "This service asks for an access token",
    text: "Enter the token that you were given, then join again.",
  },
  "bad-room": {
    field: "room",
    title: "A room can't have this name",
    text: "Use 1 to 64 characters without a slash, and not just dots, then join again.",
  },
  "room-full": {
    field: "room",
    title: "This room is full",
    text: "A room holds two people (a mirror room one). Wait until someone leaves, or choose another room name.",
  },
  "name-taken": {
    field: "name",
    title: "Someone in this room already has your name",
    text: "Choose another name and join again. If it was you a moment ago, wait a few seconds and try again.",
  },
  "wrong-kind": {
    field: "room",
    title: "This room is of the other kind",
    text: "Choose another room name, or change the mirror setting.",
  },
  "service-full": {
    title: "The service has no room for another call right now",
    text: "Try again in a minute.",
  },
  "no-room": {
    title: "There is no room for another call beside those that are running",
    text: "Try again when one of them has ended, or join without cameras and with translation off.",
  },
  "too-many-rooms": {
    title: "The service has no room for another call right now",
    text: "Try again in a minute, or join a room that is already open.",
  },
  "bad-message": {
    title: "The service did not accept what this page sent",
    text: "Reload the page: it may be older than the service.",
  },
  "bad-rig": {
    field: "rig",
    title: "The rig file was not accepted",
    text: "Choose another rig.json, or join without one: your first camera then passes through as it is.",
  },
  "bad-settings": {
    title: "A setting was not accepted",
    text: "What was in force before still is: choose something else.",
  },
  "not-recorded": {
    title: "This call is not recorded",
    text: "Press “Record” again when that has changed.",
  },
  internal: {
    title: "The service made a mistake",
    text: "Try again; if it happens again, whoever runs the service finds the cause in its log.",
  },
  unfit: {
    title: "The service is not set up for calls",
    text: "Whoever runs it finds the cause with “streamsvc doctor”.",
  },
  gone: {
    title: "This call has ended",
    text: "Join again.",
  },
  "join-timeout": {
    title: "The service gave up waiting for you",
    text: "Join again.",
  },
  "too-many-messages": {
    title: "This page said too much at once",
    text: "Wait a few seconds, then try again.",
  },
  slow: {
    title: "What this page sent came too slowly",
    text: "Try again on a faster network, or with smaller pictures.",
  },
  // the network said no
  unreachable: {
    title: "The service does not answer",
    text: "Check that it is running and that this device is online, then try again.",
  },
  "origin-refused": {
    title: "The service does not take calls from this address",
    text:
      "It is running, but only for pages under its own name: open the address that it printed when it started. Or a proxy " +
      "before it does not pass WebSockets on: whoever runs it has to allow them for /ws.",
  },
  "media-failed": {
    title: "Picture and sound could not get through",
    text:
      "The page reached the service, but a firewall or router blocks the media connection (UDP). Try another network, " +
      "or ask whoever runs the service to add a TURN server.",
  },
  timeout: {
    title: "The service took too long to answer",
    text: "It may be starting or overloaded. Try again in a moment.",
  },
  "no-webrtc": {
    title: "This browser cannot make calls",
    text: "It has no WebRTC, or WebRTC is switched off. Use a current Chrome, Edge, Firefox or Safari.",
  },
  "test-impossible": {
    title: "This browser can’t test the connection",
    text: "It does not say which picture it shows. Join with “Mirror room” ticked to see for yourself.",
  },
  // the devices said no
  "permission-denied": {
    title: "The browser was not allowed to use your camera or microphone",
    text:
      "Click the camera icon in the address bar, allow access, and press “Try again”. Or join as a viewer: you can " +
      "watch and listen without any device, and add one in the call.",
  },
  "no-camera": {
    title: "No camera found",
    text: "Plug one in, and press “Try again”; or join with your voice only, or as a viewer, and add one in the call.",
  },
  "no-microphone": {
    title: "No microphone found",
    text: "Plug one in, and press “Try again”; or join with your picture only, or as a viewer, and add one in the call.",
  },
  "no-devices": {
    title: "No camera and no microphone found",
    text: "Plug one in, and press “Try again”; or join as a viewer: you can watch and listen without any device, and add one in the call.",
  },
  "device-busy": {
    title: "A device is in use by another program",
    text:
      "Close other calls and camera programs and press “Try again”. Several cameras on one USB hub can also exceed " +
      "what the hub carries: move one to another port.",
  },
  // the eyes can't be followed
  "tracking-missing": {
    title: "Eye tracking isn't installed on this service",
    text: "Whoever runs it installs it with “make assets”. Until then pointer, finger and keys move the eye.",
  },
  "tracking-impossible": {
    title: "This browser can't follow eyes",
    text: "It takes WebGL 2 in workers: a current Chrome, Edge, Firefox or Safari, with hardware acceleration not switched off.",
  },
  "tracking-failed": {
    title: "Eye tracking stopped",
    text: "Press the button to start it again; pointer, finger and keys move the eye as before.",
  },
  "camera-stopped": {
    title: "The camera that watches your eyes is off",
    text: "Start your camera again, or choose another one in the settings.",
  },
  // the headset can't be entered
  "headset-missing": {
    title: "No headset answers",
    text: "Put it on, switch it on and connect it, then press the button again.",
  },
  "headset-busy": {
    title: "The headset is in use",
    text: "Another page or program shows something in it. Close that, then press the button again.",
  },
  "headset-refused": {
    title: "The browser does not let this page into the headset",
    text: "Press the button again and allow it; or allow virtual reality for this page in the browser’s settings.",
  },
  "headset-unserved": {
    title: "The service makes no pictures for headsets now",
    text: "The view goes on here as before.",
  },
  "headset-failed": {
    title: "The headset could not be started",
    text: "Start it anew and press the button again; the view goes on here as before.",
  },
};

// Codes that mean the same to whoever reads them.
const ALIKE = Object.entries({
  "bad-message": [
    "not-json", "too-large", "bad-input", "unexpected", "out-of-order", "already-joined", "bad-sdp", "bad-candidate", "bad-cameras",
    "bad-state", "bad-content-type", "bad-method",
  ],
  "bad-settings": ["bad-mode", "bad-backdrop"],
  "not-recorded": ["not-recording", "not-ready", "recording-full"],
  "origin-refused": ["foreign-origin"],
  timeout: ["out-of-date"],
  "too-many-messages": ["busy"],
  unfit: ["bad-ice-server", "unsupported-aiortc"],
}).flatMap(([code, same]) => same.map((other) => [other, code]));
const SAME = new Map(ALIKE);

// Where the service's own sentence says more than ours.
const TELLING = new Set([
  "bad-token", "not-allowed", "bad-rig", "no-room", "bad-message", "wrong-kind", "bad-settings", "not-recorded", "unfit",
  "headset-unserved",
]);

// Return {code, title, text, field?} for a code; the service's own sentence is kept, because it knows the details.
export function explain(told, message = "") {
  const code = SAME.get(told) ?? told;
  const known = WORDS[code];
  if (!known) return { code, title: "That did not work", text: message || `The service answered “${code}”.` };
  const details = TELLING.has(code) && message ? `${sentence(message)} ` : "";
  return { code, ...known, text: details + known.text };
}

export function sentence(message) {
  if (!message) return "";
  const text = message[0].toUpperCase() + message.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

// The problem behind an exception of getUserMedia (Media Capture and Streams, section 10.3).
export function deviceProblem(error, wanted = { video: true, audio: true }) {
  switch (error?.name) {
    case "NotAllowedError":
    case "SecurityError":
      return new Problem("permission-denied", error.message);
    case "NotFoundError":
    case "OverconstrainedError":
      if (wanted.video && wanted.audio) return new Problem("no-devices", error.message);
      return new Problem(wanted.video ? "no-camera" : "no-microphone", error.message);
    case "NotReadableError":
    case "AbortError":
      return new Problem("device-busy", error.message);
    default:
      return new Problem("device-error", error?.message ?? String(error));
  }
}

// Why the browser blocks cameras here, and what mends it: {title, text, steps}. `location` is window.location.
export function insecureAdvice(location) {
  const port = location.port || "80";
  return {
    title: "Cameras and microphones are blocked on this address",
    text:
      `This page came over plain HTTP from ${location.hostname}. Browsers hand out cameras and microphones only over ` +
      "HTTPS, or on the computer itself (localhost). Any one of these helps:",
    steps: [
      ["Have the service started with a certificate, then open the https:// address:",
        "streamsvc serve --tls-cert cert.pem --tls-key key.pem"],
      ["Or forward the port to your own computer and open the localhost address:",
        `ssh -L ${port}:localhost:${port} ${location.hostname}`, `http://localhost:${port}${location.pathname}`],
      ["Or join as a viewer: watching and listening works right here."],
    ],
  };
}
