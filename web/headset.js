// Output mode "in a headset" (WebXR): the window of the person shown stands in the room before the viewer, as large and as
// far away as it is from their cameras, and each eye sees through it what it would see there.
//
// States: off, starting, on. The eyes that the headset tells move the eye of the view, as tracked ones do. The service is
// asked for `packed` where the browser says which picture it shows, so that each eye's view is made anew at every display
// frame; elsewhere for `stereo`, whose halves are a round trip old. Whatever ends the session, the mode of before is back.

import { screenAxes, windowFrame } from "./eye.js";
import { HeadsetPicture } from "./headsetpicture.js";
import { clipMatrix, eyesOf, homeOf, windowBefore } from "./headsetspace.js";
import { shownHalf } from "./warp.js";
import { explain, Problem } from "./words.js";

const KINDS = ["immersive-vr", "immersive-ar"];
const WORDS = { off: "", starting: "The headset starts…", on: "You see this in your headset" };
const PROBLEMS = {
  NotSupportedError: "headset-missing",
  InvalidStateError: "headset-busy",
  NotAllowedError: "headset-refused",
  SecurityError: "headset-refused",
};

// The kind of session that a headset here supports, or null.
export async function headsetKind() {
  for (const kind of KINDS) {
    if (await navigator.xr?.isSessionSupported(kind).catch(() => false)) return kind;
  }
  return null;
}

export class HeadsetView {
  state = "off";
  drawn = 0; // frames
  #ui;
  #look;
  #say;
  #session = null;
  #space = null;
  #layer = null;
  #gl = null;
  #picture = null;
  #message = null; // of the packed picture that is drawn
  #counted = -1; // pictures of the video when the last one was taken
  #home = null;
  #mode = null; // that was asked for,
  #before = null; // and the one in force until then

  // `ui` is {button, told}; `look` returns {video, viewpoint (null without a call), window (a rectangle or null), mode (in
  // force), dated (the browser says which picture it shows)}; `say` has begin(mode that is wanted) and end(mode of before).
  constructor(ui, look, say) {
    this.#ui = ui;
    this.#look = look;
    this.#say = say;
    ui.button.onclick = () => (this.#session ? this.stop() : this.#start());
  }

  // Another mode was chosen on the page.
  leaveFor(mode) {
    if (this.state === "starting") return;
    this.#before = mode;
    this.stop();
  }

  // The service doesn't make pictures of this mode; `message` says why.
  refused(mode, message) {
    if (this.state === "on" && mode === this.#mode) this.#abandon(new Problem("headset-unserved", message));
  }

  // Leave the headset, or forget what was told of an attempt to enter it.
  stop() {
    if (this.state === "off") this.#enter("off");
    this.#session?.end().catch(() => {}); // has ended already
  }

  // Take what the video shows now; `message` is that of a packed picture, else null.
  take(message) {
    if (this.state !== "on" || !message) return;
    this.#picture.upload(this.#look().video);
    this.#message = message;
  }

  async #start() {
    if (this.state !== "off") return;
    this.#enter("starting");
    const { viewpoint } = this.#look();
    let session = null;
    try {
      const kind = await headsetKind();
      if (!kind) throw new Problem("headset-missing");
      session = await navigator.xr.requestSession(kind);
      this.#session = session;
      session.addEventListener("end", () => this.#ended(session));
      await this.#prepare(session, kind);
    } catch (error) {
      if (session && session !== this.#session) return; // it has ended, which was told
      this.#session = null;
      session?.end().catch(() => {});
      this.#fail(error);
      return;
    }
    if (session !== this.#session) return;
    if (viewpoint && this.#look().viewpoint === viewpoint) this.#begin(session);
    else this.stop(); // the call ended in between
  }

  async #prepare(session, kind) {
    const canvas = document.createElement("canvas");
    canvas.addEventListener("webglcontextlost", () => {
      if (session === this.#session) this.#abandon(new Problem("headset-failed", "the drawing context was lost"));
    });
    const gl = canvas.getContext("webgl2", { xrCompatible: true, antialias: false });
    if (!gl) throw new Error("no WebGL 2");
    this.#picture = new HeadsetPicture(gl);
    this.#gl = gl;
    this.#space = await session.requestReferenceSpace("local");
    this.#layer = new XRWebGLLayer(session, gl, { alpha: kind === "immersive-ar", depth: false, stencil: false });
    session.updateRenderState({ baseLayer: this.#layer });
  }

  #begin(session) {
    const { viewpoint, mode, dated } = this.#look();
    this.#home = this.#message = null;
    this.#counted = -1;
    this.#before = mode;
    this.#mode = dated ? "packed" : "stereo";
    this.#enter("on");
    viewpoint.paceBy(session);
    this.#say.begin(this.#mode);
    // the trigger puts the window before the viewer again
    session.addEventListener("select", () => (this.#home = null));
    session.requestAnimationFrame((now, frame) => this.#frame(frame));
  }

  #frame(frame) {
    if (this.state !== "on") return;
    this.#session.requestAnimationFrame((now, next) => this.#frame(next));
    const pose = frame.getViewerPose(this.#space);
    if (!pose) return; // the headset has lost its way for a moment
    const { viewpoint, window } = this.#look();
    this.#home ??= homeOf(pose.transform);
    const { half, distance } = windowFrame(window);
    const placed = windowBefore(this.#home, distance);
    viewpoint.follow(eyesOf(pose.views, placed).map((eye) => eye.map((v) => v / half)));
    this.#draw(pose.views, placed, viewpoint.eyes, window);
    this.drawn += 1;
  }

  #draw(views, placed, eyes, window) {
    const gl = this.#gl;
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.#layer.framebuffer);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    const kind = this.#kind(window);
    if (!kind) return;
    for (const view of views) {
      const { x, y, width, height } = this.#layer.getViewport(view);
      gl.viewport(x, y, width, height);
      const matrix = clipMatrix(view, placed);
      const right = view.eye === "right";
      if (kind === "warped") {
        const middle = eyes[0].map((v, i) => (v + eyes[1][i]) / 2);
        const eye = view.eye === "none" ? middle : eyes[right ? 1 : 0];
        this.#picture.drawWarped(matrix, shownHalf(this.#message, window), this.#message, eye);
      } else if (kind === "stereo") this.#picture.drawPart(matrix, this.#half(window, 2), right ? 0.5 : 0, right ? 1 : 0.5);
      else this.#picture.drawPart(matrix, this.#half(window, 1), 0, 1);
    }
  }

  // How what the texture holds is to be drawn, or null before the first picture of the mode; takes a new one where no
  // message has to come with it. Whoever has no rig has no window either: their camera passes through in every mode.
  #kind(window) {
    if (window && this.#mode === "packed") return this.#message && "warped";
    const { video } = this.#look();
    const stereo = window && video.videoWidth / video.videoHeight > 1.5 * aspectOf(window);
    const pictures = video.getVideoPlaybackQuality().totalVideoFrames;
    if (pictures !== this.#counted && video.readyState >= 2 && Boolean(window) === Boolean(stereo)) {
      this.#picture.upload(video);
      this.#counted = pictures;
    }
    if (this.#counted < 0) return null;
    return window ? "stereo" : "flat";
  }

  // The half-extents of the window in metres; what has no window is as high as one, with the shape of its picture.
  #half(window, views) {
    if (window) return screenAxes(window).half;
    const { video } = this.#look();
    const { half } = windowFrame(null);
    return [(half * video.videoWidth) / video.videoHeight / views, half];
  }

  // Nothing can be drawn any more.
  #abandon(problem) {
    const session = this.#session;
    this.#ended(session, wordsOf(problem));
    session.end().catch(() => {});
  }

  #ended(session, words = "") {
    if (session !== this.#session) return;
    const began = this.state === "on";
    this.#session = this.#gl = this.#picture = this.#layer = this.#message = null;
    this.#enter("off", words);
    const { viewpoint } = this.#look();
    if (!began || !viewpoint) return;
    viewpoint.paceBy(window);
    viewpoint.follow(null);
    this.#say.end(this.#before);
  }

  #fail(error) {
    this.#enter("off", wordsOf(error instanceof Problem ? error : new Problem(PROBLEMS[error?.name] ?? "headset-failed", error?.message)));
  }

  #enter(state, words = WORDS[state]) {
    this.state = state;
    this.#ui.told.textContent = words;
    this.#ui.button.textContent = state === "on" ? "Leave the headset" : "Enter the headset";
    this.#ui.button.disabled = state === "starting";
  }
}

function aspectOf(window) {
  const [across, up] = screenAxes(window).half;
  return across / up;
}

function wordsOf({ code, message }) {
  const { title, text } = explain(code, message);
  return `${title}. ${text}`;
}
