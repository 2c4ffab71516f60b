// The eye follows the pointer, a finger, the keys and the wheel; every change leaves at most 60 times a second.
//
// Mouse: the eye stands where the pointer is over the picture. Touch: drag moves, two fingers pinch. Keys: arrows move,
// + and - change the distance, R goes home. The eye glides to its goal with a 40 ms time constant, so that a pointer
// that enters elsewhere doesn't make the picture jump. While the viewer's own eyes are followed the others rest; then a
// viewpoint has both eyes. The channel loses messages, so an eye at rest says where it is every now and then.

import { HOME, clampPose, eyeOf, moved, poseOf, windowFrame } from "./eye.js";

const MIN_INTERVAL_MS = 1000 / 60;
const GLIDE_MS = 40;
const AGAIN_MS = 1500;
const KEY_STEP = 0.08;
const NEAR = 1e-3;
const KEYS = {
  ArrowLeft: { across: -KEY_STEP },
  ArrowRight: { across: KEY_STEP },
  ArrowUp: { rise: KEY_STEP },
  ArrowDown: { rise: -KEY_STEP },
  "+": { depth: -KEY_STEP },
  "=": { depth: -KEY_STEP },
  "-": { depth: KEY_STEP },
  _: { depth: KEY_STEP },
};

export class ViewpointControl {
  sent = 0;
  #send;
  #stage;
  #frame = windowFrame(null);
  #known = false;
  #moved = false;
  #pose = { ...HOME };
  #goal = { ...HOME };
  #running = null;
  #again = null; // the timer of an eye at rest
  #lastTick = 0;
  #lastSent = -Infinity;
  #between = null; // from one eye to the other, half-heights of the window, while eyes are followed
  #touches = new Map();
  #listening = new AbortController();
  #pace = window; // whose display frames are the beat

  // `send` takes a viewpoint message and says whether it left.
  constructor(stage, send) {
    this.#stage = stage;
    this.#send = send;
    const on = (target, type, handler, options = {}) =>
      target.addEventListener(type, handler, { signal: this.#listening.signal, ...options });
    on(stage, "pointerdown", (e) => this.#down(e));
    on(stage, "pointermove", (e) => this.#move(e));
    on(stage, "pointerup", (e) => this.#touches.delete(e.pointerId));
    on(stage, "pointercancel", (e) => this.#touches.delete(e.pointerId));
    on(stage, "wheel", (e) => this.#wheel(e), { passive: false });
    on(document, "keydown", (e) => this.#key(e));
  }

  get eye() {
    return eyeOf(this.#frame, this.#pose);
  }

  // The eye, or both [left, right] while eyes are followed, as they are sent: world metres.
  get eyes() {
    const { eye } = this;
    return this.#between ? [-0.5, 0.5].map((side) => moved(this.#frame, eye, this.#between, side)) : [eye];
  }

  // Follow the display frames of `pace` (a window or an XRSession: the page's own stand still during a session).
  paceBy(pace) {
    this.#pace.cancelAnimationFrame(this.#running);
    this.#running = null;
    this.#pace = pace;
    this.#wake();
  }

  // `screen` is the window of a `peers` message, or null: then the service has a better idea of where the eye belongs
  // than we have, until somebody moves it.
  setScreen(screen) {
    this.#frame = windowFrame(screen);
    this.#known = Boolean(screen);
    this.announce();
  }

  // Say where the eye is although it didn't move: the channel is new, or the window is.
  announce() {
    if (!this.#known && !this.#moved) return;
    this.#lastSent = -Infinity;
    this.#wake();
  }

  home() {
    this.#aim(HOME);
  }

  // Put the eyes [[right, up, out], [right, up, out]], from the window's middle in half-heights of it, where they are now;
  // null: they are lost, and what else moves the eye may do so again.
  follow(eyes) {
    this.#between = null;
    if (!eyes) return;
    const [a, b] = eyes;
    this.#aim(poseOf(this.#frame, a.map((v, i) => (v + b[i]) / 2)));
    this.#pose = { ...this.#goal }; // filtered already
    this.#between = a.map((v, i) => b[i] - v);
  }

  stop() {
    this.#listening.abort();
    clearTimeout(this.#again);
    this.#pace.cancelAnimationFrame(this.#running);
  }

  #aim(goal) {
    if (this.#between) return;
    this.#moved = true;
    this.#goal = clampPose({ ...this.#goal, ...goal });
    this.#wake();
  }

  #nudge(step) {
    const goal = { ...this.#goal };
    for (const [axis, amount] of Object.entries(step)) goal[axis] += amount;
    this.#aim(goal);
  }

  #wake() {
    if (this.#running !== null) return;
    clearTimeout(this.#again);
    this.#lastTick = performance.now();
    this.#next();
  }

  #next() {
    this.#running = this.#pace.requestAnimationFrame((t) => this.#tick(t));
  }

  #tick(now) {
    this.#running = null;
    const ease = 1 - Math.exp(-Math.max(now - this.#lastTick, 0) / GLIDE_MS);
    this.#lastTick = now;
    let moving = false;
    for (const axis of Object.keys(this.#pose)) {
      const rest = this.#goal[axis] - this.#pose[axis];
      if (Math.abs(rest) <= NEAR) this.#pose[axis] = this.#goal[axis];
      else {
        this.#pose[axis] += rest * ease;
        moving = true;
      }
    }
    // too soon after the last: the newest still has to leave
    if (now - this.#lastSent < MIN_INTERVAL_MS - 1) moving = true;
    else if (this.#send({ t_us: Math.round(now * 1000), eyes: this.eyes })) {
      this.#lastSent = now;
      this.sent += 1;
    }
    if (moving) this.#next();
    else this.#again = setTimeout(() => this.#wake(), AGAIN_MS);
  }

  #down(event) {
    if (event.pointerType === "mouse" || event.target.closest("button, input")) return;
    this.#touches.set(event.pointerId, [event.clientX, event.clientY]);
    this.#stage.setPointerCapture(event.pointerId);
  }

  #move(event) {
    const box = this.#stage.getBoundingClientRect();
    if (event.pointerType === "mouse") {
      this.#aim({
        across: ((event.clientX - box.left) / box.width) * 2 - 1,
        rise: 1 - ((event.clientY - box.top) / box.height) * 2,
      });
      return;
    }
    const before = this.#touches.get(event.pointerId);
    if (!before) return;
    const here = [event.clientX, event.clientY];
    if (this.#touches.size === 1) {
      this.#nudge({ across: (2.5 * (here[0] - before[0])) / box.width, rise: (-2.5 * (here[1] - before[1])) / box.height });
    } else {
      const other = [...this.#touches].find(([id]) => id !== event.pointerId)[1];
      const apart = (p) => Math.max(Math.hypot(p[0] - other[0], p[1] - other[1]), 1);
      this.#aim({ depth: (this.#goal.depth * apart(before)) / apart(here) });
    }
    this.#touches.set(event.pointerId, here);
  }

  #wheel(event) {
    event.preventDefault();
    this.#aim({ depth: this.#goal.depth * Math.exp(Math.sign(event.deltaY) * 0.06) });
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target !== document.body && event.target !== this.#stage) return;
    if (event.key === "r" || event.key === "R") this.home();
    else if (KEYS[event.key]) this.#nudge(KEYS[event.key]);
    else return;
    event.preventDefault();
  }
}
