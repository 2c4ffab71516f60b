// The live figures, coloured against the budget. Grades are pure; `draw` writes them into the page.

const DASH = "–";

// "good", "fair" or "poor" for each figure of a `live` message; "" where there is none.
export function grade(live) {
  const up = (x, fair, poor) => (x == null ? "" : x <= fair ? "good" : x <= poor ? "fair" : "poor");
  const down = (x, fair, poor) => (x == null ? "" : x >= fair ? "good" : x >= poor ? "fair" : "poor");
  return {
    latency: up(live.latency_ms, 0.85 * live.budget_ms, live.budget_ms),
    goodput: down(live.goodput, 0.95, 0.85),
    lag: up(live.speech_lag_ms, 3000, 5000),
  };
}

export function figures(live) {
  const whole = (x, unit) => (x == null ? DASH : `${Math.round(x)} ${unit}`);
  return {
    latency: whole(live.latency_ms, "ms"),
    goodput: live.goodput == null ? DASH : `${Math.round(live.goodput * 100)} %`,
    fps: `${Math.round(live.fps)}`,
    rung: live.rung ?? DASH,
    cameras: `${live.cameras}`,
    lag: live.speech_lag_ms == null ? DASH : `${(live.speech_lag_ms / 1000).toFixed(1)} s`,
  };
}

export class Meter {
  live = null;
  #cells;
  #root;

  // `root` holds an element with data-figure for each figure, and one that asks why it stutters.
  constructor(root) {
    this.#root = root;
    this.#cells = Object.fromEntries([...root.querySelectorAll("[data-figure]")].map((e) => [e.dataset.figure, e]));
    this.clear();
  }

  clear() {
    this.live = null;
    this.#asks(false);
    for (const cell of Object.values(this.#cells)) {
      cell.textContent = DASH;
      cell.dataset.grade = "";
    }
  }

  draw(live) {
    this.live = live;
    const grades = grade(live);
    this.#asks(grades.goodput === "poor");
    for (const [name, text] of Object.entries(figures(live))) {
      const cell = this.#cells[name];
      cell.textContent = text;
      cell.dataset.grade = grades[name] ?? "";
    }
    const dropped = Object.entries(live.dropped ?? {}).map(([why, n]) => `${n} ${why}`);
    this.#root.title =
      `Budget ${Math.round(live.budget_ms)} ms from capture to display.` +
      (dropped.length ? ` Left out lately: ${dropped.join(", ")}.` : "");
  }

  #asks(on) {
    this.#root.querySelector("[data-call=stutters]").hidden = !on;
  }
}
