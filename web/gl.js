// Programs that colour something from one picture: all that the page asks of WebGL.

const VERTEX = `#version 300 es
void main() {
  gl_Position = vec4(vec2(gl_VertexID & 1, gl_VertexID >> 1) * 4.0 - 1.0, 0.0, 1.0);
}`;

// Return {program, places}: a program in use, and the places of the uniforms `names`. Throws where it can't be made.
export function programOf(gl, vertex, fragment, names) {
  const program = gl.createProgram();
  for (const [type, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program) ?? "no shader");
  gl.useProgram(program);
  return { program, places: Object.fromEntries(names.map((name) => [name, gl.getUniformLocation(program, name)])) };
}

// Bind a texture for pictures of any size.
export function bindPicture(gl) {
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  for (const side of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, side, gl.CLAMP_TO_EDGE);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
}

// Return {gl, places, lost}: a context of `canvas` with a program of `fragment` and a texture in use, ready for
// drawArrays(TRIANGLES, 0, 3), one triangle over the whole canvas, and the places of the uniforms `names`. `lost()` says
// that all this is gone, also after the browser has given the context back: then it has to be made anew. Throws where
// there is no WebGL 2, or while the context is lost.
export function wholeCanvas(canvas, fragment, names, options) {
  const gl = canvas.getContext("webgl2", { antialias: false, ...options });
  if (!gl || gl.isContextLost()) throw new Error("no WebGL 2");
  canvas.addEventListener("webglcontextlost", wantBack);
  const { places } = programOf(gl, VERTEX, fragment, names);
  bindPicture(gl);
  let gone = false;
  canvas.addEventListener("webglcontextlost", () => (gone = true), { once: true });
  return { gl, places, lost: () => gone || gl.isContextLost() };
}

const wantBack = (event) => event.preventDefault();
