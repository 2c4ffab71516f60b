// Composition: the join screen, the set-up of a rig, the call screen, and what connects them to a Session.

import { CallScreen } from "./callscreen.js";
import { LocalMedia } from "./devices.js";
import { exposeHook } from "./hook.js";
import { JoinScreen } from "./joinscreen.js";
import { LeftTranscript } from "./lefttranscript.js";
import { Session } from "./session.js";
import { SetupScreen } from "./setupscreen.js";
import { Problem } from "./words.js";

const media = new LocalMedia();
let session = null;

const call = new CallScreen(
  document.getElementById("call"),
  media,
  () => session?.leave(),
  () => {
    session?.leave();
    join.setUp();
  },
);
const join = new JoinScreen(document.getElementById("join"), media, enter, (token) => {
  show("setup");
  setup.open(token);
});
const setup = new SetupScreen(document.getElementById("setup"), media, {
  leave: (made, problem) => {
    show("join");
    join.resume(made, problem);
  },
  late: (made) => join.late(made),
});

const transcript = new LeftTranscript(document.getElementById("left-transcript"));

exposeHook({
  state: () => (session && session.state !== "ended" ? session.state : "idle"),
  stats: () => call.stats,
});

async function enter(wish) {
  if (typeof RTCPeerConnection === "undefined") throw new Problem("no-webrtc");
  await session?.left();
  session = new Session(media);
  call.attach(session, wish);
  session.addEventListener("state", ({ detail }) => {
    if (detail.state === "in-call") {
      // the address to hand on; without the token, which is not for handing on
      history.replaceState(null, "", `/room/${encodeURIComponent(wish.room)}`);
      show("call");
    }
    if (detail.state === "ended") leave(detail.problem);
  });
  try {
    await session.join(wish);
  } catch (problem) {
    call.detach();
    throw problem;
  }
}

function leave(problem) {
  transcript.keep(call.commits);
  call.detach();
  show("join");
  join.again(problem);
}

function show(screen) {
  if (document.body.dataset.screen === screen) return;
  document.body.dataset.screen = screen;
  document.getElementById("join").hidden = screen !== "join";
  document.getElementById("setup").hidden = screen !== "setup";
  document.getElementById("call").hidden = screen !== "call";
  if (screen === "call") {
    join.away();
    document.getElementById("stage").focus({ preventScroll: true });
  }
}

addEventListener("pagehide", () => {
  session?.leave();
  setup.halt();
});
join.begin();
