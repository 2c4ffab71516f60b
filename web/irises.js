// Eyes in metres from the irises in a picture: pure geometry.
//
// An iris is 11.7 mm wide (sd 0.42 mm over people: Hashemi 2015), eyes are 63.4 mm apart (sd 3.8 mm: Dodgson 2004). The
// distance between the eyes in the picture is measured five times better than a small iris, so it gives the depth of each
// picture; how far this person's eyes are apart is learned from the irises, slowly, and weighed against the mean of
// people. Who knows the distance (it is on every prescription for glasses) may say it instead.

const IRIS_M = 0.0117;
const IRIS_ERROR = 0.06; // of what the irises say: people differ by 3.6 %, the points around an iris by about 5 %
const APART_M = 0.0634;
const APART_ERROR = 0.06;
const LEARNED = 90; // pictures that are remembered
const MAX_TURN = 0.35; // the iris of a head turned further is too narrow to learn from

const mean = (a, b) => a.map((v, i) => (v + b[i]) / 2);
const minus = (a, b) => a.map((v, i) => v - b[i]);

// The focal length in pixels of a camera that sees `degrees` across `width` pixels.
export const focalLength = (degrees, width) => width / 2 / Math.tan((degrees * Math.PI) / 360);

// One eye's seven points as {middle: [x, y, z] pixels, wide: the iris's diameter in pixels}.
function eyeIn(points, width, height) {
  const [middle, a, b, c, d, outer, inner] = points.map(([x, y, z]) => [x * width, y * height, z * width]);
  const across = (p, q) => Math.hypot(p[0] - q[0], p[1] - q[1]);
  // the corners know better than the iris how far away an eye is
  return { middle: [middle[0], middle[1], mean(outer, inner)[2]], wide: (across(a, c) + across(b, d)) / 2 };
}

// Keeps what it learned of one person.
export class EyeGauge {
  said = null; // metres between the eyes, where the person says it
  #ratios = []; // between the eyes over across an iris, in pictures in which the head faces the camera

  // The distance between the eyes in metres, as far as it is known.
  get apart() {
    if (this.said) return this.said;
    if (!this.#ratios.length) return APART_M;
    const sorted = [...this.#ratios].sort((a, b) => a - b);
    const told = IRIS_M * sorted[sorted.length >> 1];
    const weight = IRIS_ERROR ** -2 / (IRIS_ERROR ** -2 + APART_ERROR ** -2);
    return weight * told + (1 - weight) * APART_M;
  }

  // The person's eyes [right, left] in metres, as the camera sees them: [x right, y down, z away] in the picture. `points`
  // are those of faceworker.js in a picture of `width` x `height` pixels, `focal` its focal length in pixels.
  measure(points, width, height, focal) {
    const half = points.length / 2;
    const right = eyeIn(points.slice(0, half), width, height);
    const left = eyeIn(points.slice(half), width, height);
    const further = (left.middle[2] - right.middle[2]) / 2 / focal; // than their middle, of its depth
    // at depth 1, and so in metres once the depth is known
    const ray = ([x, y], z) => [((x - width / 2) * z) / focal, ((y - height / 2) * z) / focal, z];
    const eyes = [ray(right.middle, 1 - further), ray(left.middle, 1 + further)];
    const between = minus(eyes[1], eyes[0]);
    const wide = Math.hypot(...between);
    if (Math.abs(between[2]) < MAX_TURN * wide) {
      this.#ratios.push((2 * wide * focal) / (right.wide + left.wide));
      if (this.#ratios.length > LEARNED) this.#ratios.shift();
    }
    const depth = this.apart / wide;
    return eyes.map((eye) => eye.map((v) => v * depth));
  }
}
