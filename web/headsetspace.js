// The window in the room around a headset: pure geometry. Points are [x right, y up, z backwards] in metres of the
// session's space; matrices have 16 numbers, column by column, as WebGL takes them.

const LEVEL = 1e-3; // who looks straight up or down looks nowhere

const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const xyz = ({ x, y, z }) => [x, y, z];

// Where a viewer stands and looks, of an XRRigidTransform: {position, forward (level, of length 1)}.
export function homeOf({ position, orientation: q }) {
  const forward = [-2 * (q.x * q.z + q.w * q.y), 0, -(1 - 2 * (q.x * q.x + q.y * q.y))];
  const length = Math.hypot(...forward);
  return { position: xyz(position), forward: length > LEVEL ? forward.map((v) => v / length) : [0, 0, -1] };
}

// The window upright before a viewer at home, its middle `distance` metres away at the height of the eyes: {centre, right,
// up, out (towards the viewer)}.
export function windowBefore({ position, forward }, distance) {
  return {
    centre: position.map((v, i) => v + distance * forward[i]),
    right: [-forward[2], 0, forward[0]],
    up: [0, 1, 0],
    out: forward.map((v) => -v),
  };
}

// A point seen from the window's middle: [right, up, towards the viewer], metres.
function fromWindow({ centre, right, up, out }, point) {
  const offset = point.map((v, i) => v - centre[i]);
  return [right, up, out].map((axis) => dot(offset, axis));
}

// Both eyes [left, right] of the XRViews of a pose, seen from the window's middle. Where there is one view it lies between
// two eyes `apart` metres from each other.
export function eyesOf(views, placed, apart = 0.063) {
  const eyes = views.map(({ transform }) => fromWindow(placed, xyz(transform.position)));
  const left = views.findIndex(({ eye }) => eye === "left");
  const right = views.findIndex(({ eye }) => eye === "right");
  if (left >= 0 && right >= 0) return [eyes[left], eyes[right]];
  const [x, y, z] = eyes[0];
  return [[x - apart / 2, y, z], [x + apart / 2, y, z]];
}

// From [right, up, out] of the window, metres, to the clip space of an XRView.
export function clipMatrix({ projectionMatrix, transform }, { centre, right, up, out }) {
  const placed = [...right, 0, ...up, 0, ...out, 0, ...centre, 1];
  return multiply(projectionMatrix, multiply(transform.inverse.matrix, placed));
}

function multiply(a, b) {
  return Float32Array.from({ length: 16 }, (_, at) => {
    const [column, row] = [at >> 2, at & 3];
    return [0, 1, 2, 3].reduce((sum, k) => sum + a[4 * k + row] * b[4 * column + k], 0);
  });
}
