// The One-Euro filter (Casiez, Roussel and Vogel 2012) for positions, and where they will be a little later.
//
// A low-pass filter whose cutoff grows with speed: a still head is steady, a moving one isn't late.

// At rest (Hz), per m/s of speed (Hz), of the speed itself (Hz). Depth is the noisiest and matters least.
const SIDEWAYS = { rest: 1.5, pace: 80, speed: 4 };
const DEPTH = { rest: 0.7, pace: 12, speed: 1 };

// The weight of a new value `seconds` after the last, at cutoff `hertz`.
const weight = (hertz, seconds) => 1 / (1 + 1 / (2 * Math.PI * hertz * seconds));

class OneEuro {
  value = null;
  speed = 0;
  #raw; // the last value that was taken
  #tune;

  constructor(tune) {
    this.#tune = tune;
  }

  // Take a value `seconds` after the last.
  add(value, seconds) {
    if (this.value === null) this.value = this.#raw = value;
    if (!(seconds > 0)) return;
    const { rest, pace, speed } = this.#tune;
    this.speed += weight(speed, seconds) * ((value - this.#raw) / seconds - this.speed);
    this.#raw = value;
    this.value += weight(rest + pace * Math.abs(this.speed), seconds) * (value - this.value);
  }
}

// A pair of eyes, [[right, up, out], [right, up, out]] in metres: their middle is filtered and predicted, the vector
// between them filtered. Times are in ms, of any one clock.
export class EyeMotion {
  #middle;
  #between;
  #at = null;

  constructor() {
    this.clear();
  }

  // What was seen before has nothing to do with what comes.
  clear() {
    this.#middle = [SIDEWAYS, SIDEWAYS, DEPTH].map((tune) => new OneEuro(tune));
    this.#between = [DEPTH, DEPTH, DEPTH].map((tune) => new OneEuro(tune));
    this.#at = null;
  }

  // Take eyes that were seen at `at`.
  add([a, b], at) {
    const seconds = this.#at === null ? 0 : (at - this.#at) / 1000;
    this.#at = at;
    this.#middle.forEach((filter, i) => filter.add((a[i] + b[i]) / 2, seconds));
    this.#between.forEach((filter, i) => filter.add(b[i] - a[i], seconds));
  }

  // The eyes at `at`, at most `limit` ms after they were seen; null before the first.
  predict(at, limit = 100) {
    if (this.#at === null) return null;
    const ahead = Math.min(Math.max(at - this.#at, 0), limit) / 1000;
    const middle = this.#middle.map(({ value, speed }) => value + speed * ahead);
    const between = this.#between.map(({ value }) => value);
    return [-0.5, 0.5].map((side) => middle.map((v, i) => v + side * between[i]));
  }
}
