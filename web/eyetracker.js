// The tracker: a camera, the worker that finds irises in its pictures, and what they say in metres.
//
// At most one picture is under way, taken when the browser shows one: a slow machine tracks fewer pictures, a hidden page
// none. Pictures go to the worker and no further. Events: `eyes` (detail {eyes: [right, left] as EyeGauge gives them or null,
// at: ms when the light fell, ms: what the worker took}), `failed` (detail: a Problem).

import { EyeGauge, focalLength } from "./irises.js";
import { Problem } from "./words.js";

const MODEL = "/face_mesh/package.json";
const ACROSS = 320; // pixels of what is looked at: eyes are found as exactly as in 640, and a picture takes less

// Throws the Problem that stands in the way of tracking here, if any.
export async function requireTracking() {
  const able =
    typeof OffscreenCanvas !== "undefined" && "requestVideoFrameCallback" in HTMLVideoElement.prototype &&
    new OffscreenCanvas(1, 1).getContext("webgl2");
  if (!able) throw new Problem("tracking-impossible");
  const answer = await fetch(MODEL, { method: "HEAD" }).catch(() => null);
  if (!answer) throw new Problem("unreachable");
  if (!answer.ok) throw new Problem("tracking-missing");
}

export class EyeTracker extends EventTarget {
  degrees; // what the camera sees from left to right
  #gauge = new EyeGauge();
  #worker = null;
  #video = document.createElement("video");
  #frame = null;
  #busy = true; // the worker isn't ready, or has a picture
  #taken = 0;

  // `apart` is the distance between the viewer's eyes in metres where it is known.
  constructor(degrees, apart = null) {
    super();
    this.degrees = degrees;
    this.apart = apart;
    Object.assign(this.#video, { muted: true, playsInline: true });
  }

  set apart(metres) {
    this.#gauge.said = metres;
  }

  // Watch the pictures of a video track; the track stays the caller's.
  start(track) {
    this.#worker = new Worker("/faceworker.js");
    this.#worker.onerror = () => this.#fail("");
    this.#worker.onmessage = ({ data }) => this.#take(data);
    this.#video.srcObject = new MediaStream([track]);
    this.#video.play().catch(() => {}); // muted video may always play; an AbortError means that we stopped
    this.#next();
  }

  stop() {
    this.#worker?.terminate();
    this.#worker = null;
    if (this.#frame !== null) this.#video.cancelVideoFrameCallback(this.#frame);
    this.#frame = null;
    this.#video.srcObject = null;
  }

  #next() {
    this.#frame = this.#video.requestVideoFrameCallback((now, { captureTime }) => {
      this.#next();
      if (!this.#busy && !document.hidden) this.#look(captureTime ?? now);
    });
  }

  async #look(at) {
    this.#busy = true;
    this.#taken = at;
    try {
      const { videoWidth, videoHeight } = this.#video;
      const scale = Math.min(1, ACROSS / videoWidth);
      const [resizeWidth, resizeHeight] = [videoWidth, videoHeight].map((n) => Math.round(n * scale));
      const picture = await createImageBitmap(this.#video, { resizeWidth, resizeHeight, resizeQuality: "medium" });
      this.#worker?.postMessage({ picture }, [picture]);
    } catch {
      this.#busy = false; // the track ended in between
    }
  }

  #take({ ready, failed, face, ms }) {
    if (failed) return this.#fail(failed);
    this.#busy = false;
    if (ready) return;
    const { videoWidth: width, videoHeight: height } = this.#video;
    const eyes = face && this.#gauge.measure(face, width, height, focalLength(this.degrees, width));
    this.dispatchEvent(new CustomEvent("eyes", { detail: { eyes, at: this.#taken, ms } }));
  }

  #fail(message) {
    this.stop();
    this.dispatchEvent(new CustomEvent("failed", { detail: new Problem("tracking-failed", message) }));
  }
}
