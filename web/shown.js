// Which pictures were displayed, and when: requestVideoFrameCallback's RTP timestamps on the server's clock,
// reported every 250 ms. Before the clock is known pictures are kept, at most one message full.

const BATCH_MS = 250;
const MAX_FRAMES = 64;
// Three refreshes of a screen: a picture that was composed is seen by then.
const ON_SCREEN_MS = 50;

// When a picture was seen (ms), by what requestVideoFrameCallback said of it at `now`. What a busy browser expects lies up
// to half a second off, to either side of when it did hand the picture to its compositor.
export function seenAt({ presentationTime = null, expectedDisplayTime }, now) {
  const composed = presentationTime ?? now;
  return Math.min(Math.max(expectedDisplayTime ?? composed, composed), composed + ON_SCREEN_MS);
}

export class ShownReporter {
  framesShown = 0;
  recent = []; // the last [rtp, server_ns] that were reported, for tests and the probe
  #video;
  #clock;
  #send;
  #pending = [];
  #handle = null;
  #timer = null;

  // `clock` is a ClockEstimator, `send` takes a ledger message.
  constructor(video, clock, send) {
    this.#video = video;
    this.#clock = clock;
    this.#send = send;
  }

  start() {
    if (this.#video.requestVideoFrameCallback) {
      const onFrame = (now, metadata) => {
        this.framesShown += 1;
        if (metadata.rtpTimestamp !== undefined) {
          this.#pending.push([metadata.rtpTimestamp, seenAt(metadata, now)]);
          if (this.#pending.length > MAX_FRAMES) this.#pending.shift();
        }
        this.#handle = this.#video.requestVideoFrameCallback(onFrame);
      };
      this.#handle = this.#video.requestVideoFrameCallback(onFrame);
    }
    this.#timer = setInterval(() => this.#flush(), BATCH_MS);
  }

  #flush() {
    const best = this.#clock.best;
    if (!best || !this.#pending.length) return;
    const frames = this.#pending.map(([rtp, ms]) => [rtp >>> 0, this.#clock.toServer(ms)]);
    if (this.#send({ type: "shown", frames, error_ns: best.errorNs })) {
      this.#pending = [];
      this.recent = this.recent.concat(frames).slice(-MAX_FRAMES);
    }
  }

  stop() {
    if (this.#handle !== null) this.#video.cancelVideoFrameCallback(this.#handle);
    clearInterval(this.#timer);
    this.#flush();
  }
}
