// How loud the microphone is: 0..1 sixty times a second, while somebody watches; null as long as that can't be known.

export class LevelMeter {
  #context = null;
  #frame = null;
  #watching = new AbortController();

  // Watch `track` and hand levels to `show`; null stops.
  watch(track, show) {
    this.stop();
    show(null);
    if (!track) return;
    let measure;
    try {
      this.#context = new AudioContext();
      measure = powerOf(this.#context, track);
    } catch {
      return; // a browser may have no sound to give, or no more of it
    }
    const context = this.#context;
    // some browsers let a page listen only once somebody has touched it
    const wake = () => context.resume().catch(() => {});
    const { signal } = this.#watching;
    for (const touch of ["click", "keydown"]) addEventListener(touch, wake, { signal });
    wake();
    const tick = () => {
      const heard = context.state === "running" && track.readyState === "live";
      show(heard ? Math.min(1, Math.max(0, 1 + Math.log10(measure() + 1e-9) / 5)) : null); // -50 dB .. 0 dB
      this.#frame = requestAnimationFrame(tick);
    };
    tick();
  }

  get watches() {
    return this.#context !== null;
  }

  stop() {
    cancelAnimationFrame(this.#frame);
    this.#watching.abort();
    this.#watching = new AbortController();
    this.#context?.close();
    this.#context = null;
  }
}

// Show a level, or none, in a bar (`.level`).
export function drawLevel(bar, level) {
  bar.style.visibility = level === null ? "hidden" : "";
  bar.style.setProperty("--level", level ?? 0);
}

// A function that returns the power of what `track` has now.
function powerOf(context, track) {
  const analyser = context.createAnalyser();
  analyser.fftSize = 512;
  context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  return () => {
    analyser.getFloatTimeDomainData(samples);
    return samples.reduce((sum, x) => sum + x * x, 0) / samples.length;
  };
}
