// The last-moment warp: output mode `packed` brings a view wider than the window with its inverse depth below; every
// display frame it is redrawn here for where the eye is now, not where it was a round trip ago (docs/wire.md).
//
// Backwards: each pixel's ray from the new eye is followed through the depth picture from near to far until it meets the
// surface there. What it passes behind doesn't stop it, so what opens up beside a person is the wall behind.

import { screenAxes } from "./eye.js";
import { wholeCanvas } from "./gl.js";

const KEPT = 64; // messages whose picture hasn't come yet
const SILENCE_MS = 1000;
// GLSL: what the eye `now` sees at a point of the window, metres right and up from its middle.
export const WARPED = `
uniform sampler2D picture;
uniform vec2 size, wide, range; // pixels; half-extents in metres; inverse depth: far, near
uniform vec3 then, now; // eyes from the window's centre in metres: right, up, towards the viewer
const int STEPS = 24;
// Where the ray to the window's point p, followed to what has inverse depth q, lay in the picture: 0..1, from the top.
vec2 place(vec2 p, float q) {
  vec2 behind = p + (p - now.xy) * (1.0 / q - then.z) / now.z;
  vec2 s = (then.xy + (behind - then.xy) * then.z * q) / wide;
  return vec2(0.5 + 0.5 * s.x, 0.5 - 0.5 * s.y);
}
float depth(vec2 at) {
  ivec2 texel = ivec2(floor(at.x * size.x), round((at.y * size.y - 0.5) / 2.0));
  texel = clamp(texel, ivec2(0), ivec2(int(size.x) - 1, int(size.y) / 2 - 1));
  return mix(range.x, range.y, texelFetch(picture, texel + ivec2(0, int(size.y)), 0).g);
}
vec4 warped(vec2 p) {
  float pace = (range.y - range.x) / float(STEPS), rounding = (range.y - range.x) / 400.0;
  vec2 at;
  for (int i = 0; i <= STEPS; i++) {
    float q = max(range.y - pace * float(i), 1e-4);
    at = place(p, q);
    float there = depth(at);
    if (there < q - rounding || there > q + 2.0 * pace) continue;
    float near = q + pace;
    for (int j = 0; j < 6; j++) {
      float middle = 0.5 * (q + near);
      if (depth(place(p, middle)) >= middle - rounding) q = middle; else near = middle;
    }
    at = place(p, q);
    break;
  }
  if (any(lessThan(at, vec2(0))) || any(greaterThan(at, vec2(1)))) return vec4(vec3(24.0 / 255.0), 1.0);
  float row = clamp(at.y * size.y, 0.5, size.y - 0.5);
  return vec4(texture(picture, vec2(at.x, row / (1.5 * size.y))).rgb, 1.0);
}`;
const FRAGMENT = `#version 300 es
precision highp float;
precision highp int;
${WARPED}
uniform vec2 canvas, window; // pixels; half-extents in metres
out vec4 colour;
void main() {
  colour = warped((gl_FragCoord.xy / canvas * 2.0 - 1.0) * window);
}`;
export const WARPED_NAMES = ["size", "wide", "range", "then", "now"];

// The half-extents in metres of what is shown of the picture of `message` through `window` (null: all of it). A picture
// that passed through fills the window and has no margin: never more than there is.
export function shownHalf(message, window) {
  const wide = screenAxes(message.screen).half;
  const shown = window ? screenAxes(window).half : wide;
  return [Math.min(shown[0], wide[0]), Math.min(shown[1], wide[1])];
}

// Tell the program in use of the picture of `message`, and that `eye` looks at it; `places` are those of WARPED_NAMES.
export function tellWarp(gl, places, message, eye) {
  const wide = screenAxes(message.screen);
  gl.uniform2f(places.size, message.width, message.height);
  gl.uniform2f(places.wide, ...wide.half);
  gl.uniform2f(places.range, message.inverse_far, message.inverse_near);
  gl.uniform3f(places.then, ...wide.from(message.eye));
  gl.uniform3f(places.now, ...wide.from(eye));
}

// Draws packed pictures into a canvas. Throws where there is no WebGL 2.
export class Warp {
  #gl;
  #places;
  #lost;

  static get possible() {
    const told = "requestVideoFrameCallback" in HTMLVideoElement.prototype; // which picture comes when
    return told && Boolean(document.createElement("canvas").getContext("webgl2"));
  }

  constructor(canvas) {
    const names = ["canvas", "window", ...WARPED_NAMES];
    ({ gl: this.#gl, places: this.#places, lost: this.#lost } = wholeCanvas(canvas, FRAGMENT, names, { alpha: false }));
  }

  get lost() {
    return this.#lost();
  }

  // Take a new picture: anything that texImage2D takes.
  upload(source) {
    const gl = this.#gl;
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, gl.RGB, gl.UNSIGNED_BYTE, source);
  }

  // Draw the last picture, that of `message`, as seen by `eye` through `window` (null: all that it shows).
  draw(message, eye, window) {
    const gl = this.#gl;
    const places = this.#places;
    const half = shownHalf(message, window);
    const wide = screenAxes(message.screen).half;
    const [w, h] = [message.width, message.height].map((pixels, i) => Math.round((pixels * half[i]) / wide[i]));
    if (gl.canvas.width !== w || gl.canvas.height !== h) Object.assign(gl.canvas, { width: w, height: h });
    gl.viewport(0, 0, w, h);
    gl.uniform2f(places.canvas, w, h);
    gl.uniform2f(places.window, ...half);
    tellWarp(gl, places, message, eye);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }
}

// Shows the pictures of `video` that are packed in `canvas` over it, and hides that when others come.
export class WarpedView {
  drawn = 0;
  dated = false; // the browser says which picture it shows
  ontake = () => {}; // told of every picture as the video shows it: its packed message, or null
  #video;
  #canvas;
  #look;
  #warp = null;
  #messages = new Map(); // RTP timestamp -> packed message
  #current = null;
  #shown = { picture: null, eye: [] };
  #lastMatch = -Infinity;
  #frame = null;
  #tick = null;

  // `look` returns {eye, window}: where the eye is now, and the window's rectangle or null.
  constructor(video, canvas, look) {
    this.#video = video;
    this.#canvas = canvas;
    this.#look = look;
  }

  start() {
    if (!this.#video.requestVideoFrameCallback) return;
    const onFrame = (now, { rtpTimestamp }) => {
      this.#take(now, rtpTimestamp);
      this.#frame = this.#video.requestVideoFrameCallback(onFrame);
    };
    this.#frame = this.#video.requestVideoFrameCallback(onFrame);
  }

  // Take a `packed` message; it comes before its picture.
  told(message) {
    this.#messages.set(message.rtp, message);
    if (this.#messages.size > KEPT) this.#messages.delete(this.#messages.keys().next().value);
  }

  stop() {
    if (this.#frame !== null) this.#video.cancelVideoFrameCallback(this.#frame);
    this.#frame = null;
    this.#messages.clear();
    this.#hide();
  }

  #take(now, rtp) {
    this.dated = rtp !== undefined;
    const message = this.#messages.get(rtp >>> 0) ?? null;
    this.ontake(message);
    if (!message) {
      // Messages may be lost: the picture before stands, unless this one is clearly of another mode.
      const last = this.#current;
      const alike = last && this.#video.videoWidth === last.width && this.#video.videoHeight === 1.5 * last.height;
      if (!alike || now - this.#lastMatch > SILENCE_MS) this.#hide();
      return;
    }
    try {
      if (this.#warp?.lost) this.#warp = null;
      this.#warp ??= new Warp(this.#canvas);
      this.#warp.upload(this.#video);
    } catch {
      this.#hide(); // no WebGL after all, or not now: the picture is shown as it comes
      return;
    }
    this.#messages.delete(message.rtp);
    this.#current = message;
    this.#lastMatch = now;
    this.#canvas.hidden = false;
    this.#tick ??= requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    if (this.#warp.lost) return this.#hide();
    const { eye, window } = this.#look();
    if (this.#current !== this.#shown.picture || eye.some((v, i) => v !== this.#shown.eye[i])) {
      this.#warp.draw(this.#current, eye, window);
      this.#shown = { picture: this.#current, eye };
      this.drawn += 1;
    }
    this.#tick = requestAnimationFrame(() => this.#draw());
  }

  #hide() {
    cancelAnimationFrame(this.#tick);
    this.#tick = this.#current = null;
    this.#canvas.hidden = true;
  }
}
