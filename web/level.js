// How loud the microphone is: 0..1 sixty times a second, while somebody watches.

export class LevelMeter {
  #context = null;
  #frame = null;

  // Watch `track` and hand levels to `show`; null stops.
  watch(track, show) {
    this.stop();
    show(0);
    if (!track) return;
    const context = new AudioContext();
    this.#context = context;
    const analyser = context.createAnalyser();
    analyser.fftSize = 512;
    context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    const tick = () => {
      analyser.getFloatTimeDomainData(samples);
      const power = samples.reduce((sum, x) => sum + x * x, 0) / samples.length;
      show(Math.min(1, Math.max(0, 1 + Math.log10(power + 1e-9) / 5))); // -50 dB .. 0 dB
      this.#frame = requestAnimationFrame(tick);
    };
    tick();
  }

  get watches() {
    return this.#context !== null;
  }

  stop() {
    cancelAnimationFrame(this.#frame);
    this.#context?.close();
    this.#context = null;
  }
}
