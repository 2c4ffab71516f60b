// A canvas with scales and axes, for one drawing: sharp on every screen, in the colours and letters that CSS gives it.
// Lengths are CSS pixels.

const LEFT_EM = 3.6;
const RIGHT = 12;
const TOP_EM = 0.7;
const BOTTOM_EM = 1.7;

// Round values from 0 to at most `high`, about `count` of them.
export function steps(high, count) {
  const raw = high / count;
  const magnitude = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * magnitude).find((m) => m >= raw);
  return Array.from({ length: Math.floor(high / step + 1e-9) + 1 }, (_, i) => i * step);
}

export class Plot {
  #g;
  #style;
  #x;
  #y;

  // `x` and `y` are [low, high] of the scales.
  constructor(canvas, x, y) {
    const ratio = devicePixelRatio;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    const [columns, rows] = [Math.round(width * ratio), Math.round(height * ratio)];
    // Giving a canvas a size clears it, and costs more than clearing it.
    if (canvas.width !== columns || canvas.height !== rows) Object.assign(canvas, { width: columns, height: rows });
    this.#style = getComputedStyle(canvas);
    this.em = parseFloat(this.#style.fontSize);
    this.left = LEFT_EM * this.em;
    this.right = width - RIGHT;
    this.top = TOP_EM * this.em;
    this.bottom = height - BOTTOM_EM * this.em;
    const scale = ([low, high], start, end) => (v) => start + ((v - low) / (high - low || 1)) * (end - start);
    this.#x = scale(x, this.left, this.right);
    this.#y = scale(y, this.bottom, this.top);
    const g = canvas.getContext("2d");
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, width, height);
    g.font = `${this.#style.fontSize} ${this.#style.fontFamily}`;
    g.textBaseline = "middle";
    this.#g = g;
  }

  colour(name) {
    return this.#style.getPropertyValue(`--${name}`);
  }

  text(words, x, y, { colour = "soft", align = "left" } = {}) {
    this.#g.textAlign = align;
    this.#g.fillStyle = this.colour(colour);
    this.#g.fillText(words, x, y);
  }

  // Lines across, each with its words on the left.
  rows(values, words) {
    for (const v of values) {
      const y = Math.round(this.#y(v)) + 0.5;
      this.#stroke("line", 1, [], () => this.#path([[this.left, y], [this.right, y]]));
      this.text(words(v), this.left - 0.5 * this.em, y, { align: "right" });
    }
  }

  // Words under the drawing; the first and the last stay inside, those between are left out where they would touch others.
  columns(values, words) {
    const placed = values.map((v, i) => {
      const align = i === values.length - 1 ? "right" : i ? "center" : "left";
      const wide = this.#g.measureText(words(v)).width;
      const from = this.#x(v) - { left: 0, center: wide / 2, right: wide }[align];
      return { text: words(v), x: this.#x(v), align, from, to: from + wide };
    });
    const last = placed.at(-1);
    let end = -Infinity;
    for (const { text, x, align, from, to } of placed) {
      if (align === "center" && (from < end || to + 0.5 * this.em > last.from)) continue;
      this.text(text, x, this.bottom + 0.95 * this.em, { align });
      end = to + 0.5 * this.em;
    }
  }

  // A line through [x, y] in the units of the scales, broken where y is null.
  line(points, colour, { width = 1.6, dash = [] } = {}) {
    this.#stroke(colour, width, dash, () => {
      let open = [];
      for (const [x, y] of [...points, [0, null]]) {
        if (y !== null) open.push([this.#x(x), this.#within(y)]);
        else {
          this.#path(open);
          open = [];
        }
      }
    });
  }

  // Small squares at [x, y]; what lies beyond the scale stands at its edge.
  squares(points, colour, size) {
    this.#g.fillStyle = this.colour(colour);
    for (const [x, y] of points) this.#g.fillRect(this.#x(x) - size / 2, this.#within(y) - size / 2, size, size);
  }

  // Crosses at [x, y].
  crosses(points, colour, size) {
    const half = size / 2;
    this.#stroke(colour, 1.8, [], () => {
      for (const [x, y] of points) {
        const [at, up] = [this.#x(x), this.#within(y)];
        this.#path([[at - half, up - half], [at + half, up + half]]);
        this.#path([[at - half, up + half], [at + half, up - half]]);
      }
    });
  }

  // Upright marks on the foot of the drawing, `length` high.
  marks(xs, colour, length) {
    this.#g.fillStyle = this.colour(colour);
    for (const x of xs) this.#g.fillRect(this.#x(x) - 0.5, this.bottom - length, 1, length);
  }

  // A bar from x to x around the height y, `thick` pixels thick.
  bar(from, to, y, thick, colour) {
    this.#g.fillStyle = this.colour(colour);
    this.#g.fillRect(this.#x(from), this.#y(y) - thick / 2, Math.max(this.#x(to) - this.#x(from), 0.75), thick);
  }

  // Where a value lies, for words beside it.
  at(x, y) {
    return [this.#x(x), this.#within(y)];
  }

  #within(y) {
    return Math.min(Math.max(this.#y(y), this.top), this.bottom);
  }

  #path(points) {
    points.forEach(([x, y], i) => (i ? this.#g.lineTo(x, y) : this.#g.moveTo(x, y)));
  }

  #stroke(colour, width, dash, draw) {
    const g = this.#g;
    g.strokeStyle = this.colour(colour);
    g.lineWidth = width;
    g.setLineDash(dash);
    g.beginPath();
    draw();
    g.stroke();
  }
}
