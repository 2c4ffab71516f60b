// Where the eye is: pure geometry in the shown person's world (metres; x right, y down, z away from the viewer).
//
// A pose is {across, rise, depth}: across and rise in -1..1 of what the window allows, depth as a multiple of the
// default distance. It survives a change of window, because it carries no metres.

export const HOME = Object.freeze({ across: 0, rise: 0, depth: 1 });
const DEPTH_RANGE = [0.5, 2];
// Sideways 24 degrees, up and down 14: a little beyond cameras that stand 40 degrees apart.
const ACROSS = 0.45;
const RISE = 0.25;
// A window half a metre high, one metre from the origin where cameras usually stand.
const NO_SCREEN = { centre: [0, 0, 1], right: [0.44, 0, 0], up: [0, -0.33, 0] };

const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const add = (a, b, s) => [a[0] + s * b[0], a[1] + s * b[1], a[2] + s * b[2]];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const unit = (a) => add([0, 0, 0], a, 1 / Math.hypot(...a));
const isVector = (a) => Array.isArray(a) && a.length === 3 && a.every(Number.isFinite);

export const clamp = (x, low, high) => Math.min(high, Math.max(low, x));

export function clampPose({ across, rise, depth }) {
  return { across: clamp(across, -1, 1), rise: clamp(rise, -1, 1), depth: clamp(depth, ...DEPTH_RANGE) };
}

// The window as an orthonormal frame: {centre, right, up, normal (towards the viewer), half (its height / 2, metres),
// distance (default, metres)}.
// `screen` is {centre, right, up} with half-extents, or null when none is known. The default distance is that of the
// world's origin, where the cameras stand, kept between 1.5 and 8 half-heights.
export function windowFrame(screen) {
  const usable =
    screen && isVector(screen.centre) && isVector(screen.right) && isVector(screen.up) &&
    Math.hypot(...cross(screen.right, screen.up)) > 1e-6;
  const { centre, right, up } = usable ? screen : NO_SCREEN;
  const x = unit(right);
  const y = unit(add(up, x, -dot(up, x)));
  const normal = cross(x, y);
  const half = Math.hypot(...up);
  return { centre, right: x, up: y, normal, half, distance: clamp(-dot(centre, normal), 1.5 * half, 8 * half) };
}

// A rectangle as {half: [across, up] in metres, from(point): [right, up, towards the viewer] of a world point, metres from
// the rectangle's centre}; the last is at least 5 cm, as for the service.
export function screenAxes({ centre, right, up }) {
  const x = unit(right);
  const y = unit(add(up, x, -dot(up, x)));
  const normal = cross(x, y);
  const from = (point) => {
    const offset = add(point, centre, -1);
    return [dot(offset, x), dot(offset, y), Math.max(dot(offset, normal), 0.05)];
  };
  return { half: [Math.hypot(...right), Math.hypot(...up)], from };
}

// The pose of an eye at `offset` from the window's middle: right, up, towards the viewer, in half-heights of the window. An
// eye that is too far away or aside is brought along its line of sight, as far as may be: it keeps seeing from that side.
export function poseOf({ half, distance }, offset) {
  const [x, y, z] = offset.map((v) => (v * half) / distance);
  const aside = Math.max(Math.abs(x) / ACROSS, Math.abs(y) / RISE, 1);
  const depth = clamp(z / aside, ...DEPTH_RANGE);
  const near = depth / Math.max(z, 1e-3);
  return clampPose({ across: (x * near) / ACROSS, rise: (y * near) / RISE, depth });
}

// The eye of a pose, [x, y, z] world metres.
export function eyeOf(frame, pose) {
  const d = frame.distance;
  let eye = add(frame.centre, frame.right, pose.across * ACROSS * d);
  eye = add(eye, frame.up, pose.rise * RISE * d);
  return add(eye, frame.normal, pose.depth * d);
}

// A world point moved by `side` times `offset`: right, up, towards the viewer, in half-heights of the window.
export function moved({ right, up, normal, half }, point, offset, side) {
  return [right, up, normal].reduce((at, axis, i) => add(at, axis, side * half * offset[i]), point);
}
