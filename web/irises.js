// Eyes in metres from the irises in a picture: pure geometry.
//
// An iris is 11.7 mm wide (sd 0.42 mm over people: Hashemi 2015), eyes are 63.4 mm apart (sd 3.8 mm: Dodgson 2004). The
// distance between the eyes in the picture is measured five times better than a small iris, and the size of the whole head
// better again, because one eye that blinks or looks aside spoils little of it. So the head gives the depth of each
// picture; how many times the distance between the eyes it is, and how far this person's eyes are apart, is learned, the
// latter from the irises, weighed against the mean of people. Who knows the distance (it is on every prescription for
// glasses) may say it instead.

const IRIS_M = 0.0117;
const IRIS_ERROR = 0.06; // of what the irises say: people differ by 3.6 %, the points around an iris by about 5 %
const APART_M = 0.0634;
const APART_ERROR = 0.06;
const LEARNED = 90; // pictures that are remembered
const MAX_TURN = 0.35; // the iris of a head turned further is too narrow to learn from

const mean = (a, b) => a.map((v, i) => (v + b[i]) / 2);
const minus = (a, b) => a.map((v, i) => v - b[i]);
const inPixels = (points, width, height) => points.map(([x, y, z]) => [x * width, y * height, z * width]);

// The last values of something that stays the same, and their median.
class Settled {
  #values = [];

  add(value) {
    this.#values.push(value);
    if (this.#values.length > LEARNED) this.#values.shift();
  }

  // null before the first
  get median() {
    const sorted = [...this.#values].sort((a, b) => a - b);
    return sorted.length ? sorted[sorted.length >> 1] : null;
  }
}

// The focal length in pixels of a camera that sees `degrees` across `width` pixels.
export const focalLength = (degrees, width) => width / 2 / Math.tan((degrees * Math.PI) / 360);

// One eye's seven points, in pixels, as {middle: [x, y, z], wide: the iris's diameter}.
function eyeIn([middle, a, b, c, d, outer, inner]) {
  const across = (p, q) => Math.hypot(p[0] - q[0], p[1] - q[1]);
  // the corners know better than the iris how far away an eye is
  return { middle: [middle[0], middle[1], mean(outer, inner)[2]], wide: (across(a, c) + across(b, d)) / 2 };
}

// How large a head is in pixels, however it is turned: the length of all its points together, from their middle.
function sizeOf(points) {
  const middle = [0, 1, 2].map((i) => points.reduce((sum, p) => sum + p[i], 0) / points.length);
  return Math.hypot(...points.flatMap((p) => minus(p, middle)));
}

// Keeps what it learned of one person.
export class EyeGauge {
  said = null; // metres between the eyes, where the person says it
  #irises = new Settled(); // between the eyes over across an iris, in pictures in which the head faces the camera
  #heads = new Settled(); // between the eyes over the size of the head

  // The distance between the eyes in metres, as far as it is known.
  get apart() {
    if (this.said) return this.said;
    const irises = this.#irises.median;
    if (irises === null) return APART_M;
    const weight = IRIS_ERROR ** -2 / (IRIS_ERROR ** -2 + APART_ERROR ** -2);
    return weight * IRIS_M * irises + (1 - weight) * APART_M;
  }

  // The person's eyes [right, left] in metres, as the camera sees them: [x right, y down, z away] in the picture. `eyes`
  // and `head` are the points of faceworker.js in a picture of `width` x `height` pixels, `focal` its focal length in
  // pixels.
  measure({ eyes: points, head }, width, height, focal) {
    const around = inPixels(points, width, height);
    const half = around.length / 2;
    const right = eyeIn(around.slice(0, half));
    const left = eyeIn(around.slice(half));
    const further = (left.middle[2] - right.middle[2]) / 2 / focal; // than their middle, of its depth
    // at depth 1, and so in metres once the depth is known
    const ray = ([x, y], z) => [((x - width / 2) * z) / focal, ((y - height / 2) * z) / focal, z];
    const eyes = [ray(right.middle, 1 - further), ray(left.middle, 1 + further)];
    const between = minus(eyes[1], eyes[0]);
    const wide = Math.hypot(...between);
    if (Math.abs(between[2]) < MAX_TURN * wide) this.#irises.add((2 * wide * focal) / (right.wide + left.wide));
    const size = sizeOf(inPixels(head, width, height));
    this.#heads.add(wide / size);
    const depth = this.apart / (this.#heads.median * size);
    return eyes.map((eye) => eye.map((v) => v * depth));
  }
}
