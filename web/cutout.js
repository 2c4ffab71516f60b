// Output mode `cutout`: the person over the viewer's own backdrop. The picture brings the person's colours with their
// matte below (docs/wire.md); they are drawn here into a canvas that is transparent elsewhere, over whatever lies behind.

import { wholeCanvas } from "./gl.js";

const FRAGMENT = `#version 300 es
precision highp float;
uniform sampler2D picture;
uniform vec2 size; // of the view in pixels
out vec4 colour;
void main() {
  vec2 at = vec2(gl_FragCoord.x, size.y - gl_FragCoord.y);
  float whole = 1.5 * size.y;
  // Never across the line between colours and matte.
  float row = min(at.y, size.y - 0.5), half_row = size.y + max(at.y / 2.0 + 0.25, 0.5);
  float matte = texture(picture, vec2(at.x / size.x, half_row / whole)).g;
  matte = clamp((matte - 0.03) / 0.94, 0.0, 1.0); // an encoder's noise is nobody
  colour = vec4(texture(picture, vec2(at.x / size.x, row / whole)).rgb * matte, matte);
}`;

// Draws cutout pictures into a canvas. Throws where there is no WebGL 2.
export class Cutout {
  #gl;
  #places;
  #lost;

  constructor(canvas) {
    const options = { premultipliedAlpha: true };
    ({ gl: this.#gl, places: this.#places, lost: this.#lost } = wholeCanvas(canvas, FRAGMENT, ["size"], options));
  }

  get lost() {
    return this.#lost();
  }

  // Draw `source`, anything that texImage2D takes, whose upper two thirds are `width` x `height` pixels of the view.
  draw(source, width, height) {
    const gl = this.#gl;
    if (gl.canvas.width !== width || gl.canvas.height !== height) Object.assign(gl.canvas, { width, height });
    gl.viewport(0, 0, width, height);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, gl.RGB, gl.UNSIGNED_BYTE, source);
    gl.uniform2f(this.#places.size, width, height);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }
}

// Shows the pictures of `video` that are cut out in `canvas` instead of it, over `backdrop`, a canvas with the viewer's
// own picture; none of them otherwise.
export class CutoutView {
  drawn = 0;
  #video;
  #canvas;
  #backdrop;
  #cutout = null;
  #view = null;
  #frame = null;

  constructor(video, canvas, backdrop) {
    this.#video = video;
    this.#canvas = canvas;
    this.#backdrop = backdrop;
  }

  // Take the view settings in force.
  set view(view) {
    this.#view = view;
    if (view?.mode !== "cutout") this.#show(false);
  }

  // Put a picture file of the viewer's behind the person, null: nothing. It doesn't leave the page. Throws where it
  // isn't a picture.
  async put(file) {
    const backdrop = this.#backdrop;
    if (!file) {
      Object.assign(backdrop, { width: 0, height: 0 });
      return;
    }
    const picture = await createImageBitmap(file);
    const scale = Math.min(1, 2048 / Math.max(picture.width, picture.height));
    Object.assign(backdrop, { width: Math.round(picture.width * scale), height: Math.round(picture.height * scale) });
    backdrop.getContext("2d").drawImage(picture, 0, 0, backdrop.width, backdrop.height);
    picture.close();
  }

  start() {
    if (!this.#video.requestVideoFrameCallback) return;
    const onFrame = () => {
      this.#take();
      this.#frame = this.#video.requestVideoFrameCallback(onFrame);
    };
    this.#frame = this.#video.requestVideoFrameCallback(onFrame);
  }

  stop() {
    if (this.#frame !== null) this.#video.cancelVideoFrameCallback(this.#frame);
    this.#frame = null;
    this.#show(false);
  }

  #take() {
    const { videoWidth: width, videoHeight } = this.#video;
    const view = this.#view;
    // Pictures of the mode before may still come; other modes have another shape.
    const height = (videoHeight * 2) / 3;
    const alike = view?.mode === "cutout" && Math.abs(width - view.width) <= 1 && Math.abs(height - view.height) <= 2;
    if (!alike) return this.#show(false);
    try {
      if (this.#cutout?.lost) this.#cutout = null;
      this.#cutout ??= new Cutout(this.#canvas);
      this.#cutout.draw(this.#video, width, height);
    } catch {
      return this.#show(false); // no WebGL after all, or not now: the picture is shown as it comes
    }
    this.drawn += 1;
    this.#show(true);
  }

  #show(on) {
    this.#canvas.hidden = this.#backdrop.hidden = !on;
    this.#video.classList.toggle("behind", on);
  }
}
