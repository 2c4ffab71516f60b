// A worker that finds the irises in camera pictures with MediaPipe's face mesh (the package that `make assets` fetched;
// served below /face_mesh/). The pictures stay here: what leaves is points.
//
// In: {picture: ImageBitmap}, the next one after the answer. Out: {ready} once; {face, ms} for each picture, where `face`
// is null when none is seen, else {eyes, head}: [x, y, z] of EYES and HEAD, x and y in 0..1 of the picture's width and
// height, z (away from the camera, from the head's middle) in its width; {failed} when it can't go on.
//
// The package's glue (Emscripten's embind) writes functions as text for `new Function`, which the content security policy
// forbids for good reasons. Its text is of three kinds; `Function` is replaced, in this worker only, by one that makes
// the same functions without evaluating text, and refuses all else.

/* global importScripts, FaceMesh */

const NAMED = ["body"];
const INVOKER = ["throwBindingError", "invoker", "fn", "runDestructors", "retType", "classParam"];
const CALLER = ["retType"];

function named(text) {
  const name = /^return function ([\w$]+)\(\)/.exec(text)?.[1];
  return (body) => {
    const made = function (...given) {
      return body.apply(this, given);
    };
    return Object.defineProperty(made, "name", { value: name });
  };
}

// A C++ function or method that JavaScript calls.
function invokerOf(text, names) {
  const method = text.includes("thisWired = classParam");
  const stack = text.includes("destructors = []");
  const returns = text.includes("var rv = ");
  const count = names.filter((n) => n.startsWith("argType")).length;
  const order = [...(method ? ["thisWired"] : []), ...Array.from({ length: count }, (_, i) => `arg${i}Wired`)];
  return (throwBindingError, invoker, fn, runDestructors, retType, classParam, ...rest) => {
    const types = [...(method ? [classParam] : []), ...rest.slice(0, count)];
    const free = names.slice(count).map((name, i) => [order.indexOf(name.replace(/_dtor$/, "")), rest[count + i]]);
    return function (...given) {
      if (given.length !== count) throwBindingError(`called with ${given.length} arguments, expected ${count}`);
      const destructors = stack ? [] : null;
      const values = method ? [this, ...given] : given;
      const wired = types.map((type, i) => type.toWireType(destructors, values[i]));
      const result = invoker(fn, ...wired);
      if (stack) runDestructors(destructors);
      else for (const [i, destroy] of free) destroy(wired[i]);
      return returns ? retType.fromWireType(result) : undefined;
    };
  };
}

// A method of a JavaScript object that C++ calls.
function callerOf() {
  return (retType, ...types) => (object, name, destructors, packed) => {
    let at = packed;
    const given = types.map((type) => {
      const value = type.readValueFromPointer(at);
      at += type.argPackAdvance;
      return value;
    });
    const result = object[name](...given);
    types.forEach((type, i) => type.deleteObject?.(given[i]));
    return retType.isVoid ? undefined : retType.toWireType(destructors, result);
  };
}

function Assembled(...names) {
  const text = names.pop();
  const begins = (known) => known.every((name, i) => names[i] === name);
  const onlyTypes = (rest) => rest.every((name) => /^argType\d+$/.test(name));
  if (names.length === 1 && begins(NAMED)) return named(text);
  if (begins(INVOKER)) return invokerOf(text, names.slice(INVOKER.length));
  if (begins(CALLER) && onlyTypes(names.slice(1)) && text.includes("function methodCaller_")) return callerOf();
  throw new EvalError("this worker evaluates no text");
}
Assembled.prototype = Function.prototype; // `instanceof Function` stays true of every function
self.Function = Assembled;

const PLACE = "/face_mesh/";
// Iris of the person's right eye and its corners, then of the left; an iris is its middle and four points around it.
const EYES = [468, 469, 470, 471, 472, 33, 133, 473, 474, 475, 476, 477, 362, 263];
// What moves with the skull alone: corners of the eyes, bridge and tip of the nose, forehead, temples, cheekbones.
const HEAD = [33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 1, 10, 151, 9, 8, 127, 356, 234, 454, 93, 323];

let face = null;
let seen = null;

// The package's own way of starting in a worker forgets its graphics context; with this much of a page it starts as in one.
self.window = self;
self.document = {
  createElement(tag) {
    if (tag === "canvas") return new OffscreenCanvas(1, 1);
    const script = { setAttribute: (name, value) => (script[name] = value) };
    script.addEventListener = (kind, then) => (script[`on${kind}`] = then);
    return script;
  },
  addEventListener() {},
  body: {
    appendChild(script) {
      importScripts(script.src);
      script.onload();
    },
  },
};

// The points [x, y, z] of a NormalizedLandmarkList, a protocol buffer: field 1 is a landmark, whose fields 1 to 3 are floats.
function landmarks(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const points = [];
  for (let at = 0; at < bytes.length; ) {
    const end = at + 2 + bytes[at + 1]; // a landmark is shorter than 128 bytes, so its length is one
    const point = [0, 0, 0];
    for (at += 2; at < end; at += 5) {
      const field = bytes[at] >> 3;
      if (field <= 3) point[field - 1] = view.getFloat32(at + 1, true);
    }
    points.push(point);
  }
  return points;
}

async function begin() {
  importScripts(`${PLACE}face_mesh.js`);
  // Asked for the points alone it needn't draw the picture again, which takes as long as finding them.
  const points = { type: "proto_list", stream: "multi_face_landmarks", transform: (faces) => faces.map(landmarks) };
  face = new FaceMesh({
    locateFile: (file) => PLACE + file,
    listeners: [{ wants: ["multi_face_landmarks"], outs: { points } }],
  });
  // SIMD beside the GPU, which has the view to draw: measured five times faster than drawing in software.
  face.setOptions({ maxNumFaces: 1, refineLandmarks: true, useCpuInference: true });
  face.onResults(({ points: faces }) => (seen = faces?.[0] ?? null));
  await face.initialize();
  postMessage({ ready: true });
}

async function look({ picture }) {
  const start = performance.now();
  seen = null;
  await face.send({ image: picture });
  picture.close();
  const [eyes, head] = seen ? [EYES, HEAD].map((wanted) => wanted.map((i) => seen[i])) : [];
  postMessage({ face: seen && { eyes, head }, ms: performance.now() - start });
}

const fail = (error) => postMessage({ failed: String(error?.message ?? error) });
onmessage = ({ data }) => look(data).catch(fail);
begin().catch(fail);
