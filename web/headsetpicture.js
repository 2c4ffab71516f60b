// The picture of a call as a rectangle in the room, drawn for one eye at a time: a part of it as it is (an eye's half of a
// stereo picture), or a packed one warped to where that eye is.

import { bindPicture, programOf } from "./gl.js";
import { tellWarp, WARPED, WARPED_NAMES } from "./warp.js";

const VERTEX = `#version 300 es
uniform mat4 matrix; // from the window's metres to clip space
uniform vec2 half_size; // of the window, metres
out vec2 at; // metres from the window's middle: right, up
void main() {
  at = (vec2(gl_VertexID & 1, gl_VertexID >> 1) * 2.0 - 1.0) * half_size;
  gl_Position = matrix * vec4(at, 0.0, 1.0);
}`;
const HEAD = `#version 300 es
precision highp float;
precision highp int;
in vec2 at;
out vec4 colour;
`;
// An eye's part never takes in the last pixel of the other's.
const PART = `${HEAD}
uniform sampler2D picture;
uniform vec2 half_size, part; // metres; from and to, 0..1 of the picture's width
void main() {
  vec2 s = 0.5 + 0.5 * at / half_size;
  float rim = 0.5 / float(textureSize(picture, 0).x);
  colour = vec4(texture(picture, vec2(clamp(mix(part.x, part.y, s.x), part.x + rim, part.y - rim), 1.0 - s.y)).rgb, 1.0);
}`;
const SEEN = `${HEAD}
${WARPED}
void main() {
  colour = warped(at);
}`;

export class HeadsetPicture {
  #gl;
  #part;
  #seen;

  // Throws where the programs can't be made.
  constructor(gl) {
    this.#gl = gl;
    this.#part = programOf(gl, VERTEX, PART, ["matrix", "half_size", "part"]);
    this.#seen = programOf(gl, VERTEX, SEEN, ["matrix", "half_size", ...WARPED_NAMES]);
    bindPicture(gl);
  }

  // Take a new picture: anything that texImage2D takes.
  upload(source) {
    const gl = this.#gl;
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, gl.RGB, gl.UNSIGNED_BYTE, source);
  }

  // Draw what lies from `from` to `to` (0..1 of the picture's width) on a window of `half` metres; `matrix` is clipMatrix's.
  drawPart(matrix, half, from, to) {
    this.#gl.useProgram(this.#part.program);
    this.#gl.uniform2f(this.#part.places.part, from, to);
    this.#draw(this.#part.places, matrix, half);
  }

  // Draw the packed picture of `message` as `eye` (world metres) sees it.
  drawWarped(matrix, half, message, eye) {
    this.#gl.useProgram(this.#seen.program);
    tellWarp(this.#gl, this.#seen.places, message, eye);
    this.#draw(this.#seen.places, matrix, half);
  }

  #draw(places, matrix, half) {
    const gl = this.#gl;
    gl.uniformMatrix4fv(places.matrix, false, matrix);
    gl.uniform2f(places.half_size, ...half);
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
  }
}
