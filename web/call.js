// One peer connection: cameras and microphone up, one view and one voice down, three data channels.
//
// Channels are opened before the offer: `viewpoint` (unordered, no retransmits), `captions` (ordered), `ledger`
// (unordered). Candidates are gathered first, so the offer is whole; those that take over 2 s follow it.

import { Problem } from "./words.js";

const GATHER_MS = 2000;
const CONNECT_MS = 20_000;
const DISCONNECTED_MS = 1000;
// A viewpoint that can't leave at once is stale by the time it could.
const STALE_BYTES = 16_384;

export class Call {
  onview = () => {};
  onvoice = () => {};
  onchannel = () => {};
  onmessage = () => {};
  onlost = () => {};
  oncandidate = () => {}; // {candidate, sdp_mid}: one that the offer lacks, or null after the last
  #pc;
  #channels = {};
  #cameras = [];
  #microphone = null;
  #lostTimer = null;
  #connected;

  constructor(iceServers, patience = CONNECT_MS) {
    if (typeof RTCPeerConnection === "undefined") throw new Problem("no-webrtc");
    const pc = new RTCPeerConnection({ iceServers, bundlePolicy: "max-bundle" });
    this.#pc = pc;
    this.#open("viewpoint", { ordered: false, maxRetransmits: 0 });
    this.#open("captions", { ordered: true });
    this.#open("ledger", { ordered: false });
    pc.ontrack = ({ track, receiver }) => {
      if (track.kind === "audio") this.onvoice(track);
      else {
        if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
        this.onview(track);
      }
    };
    this.#connected = new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Problem("media-failed")), patience);
      pc.onconnectionstatechange = () => {
        clearTimeout(this.#lostTimer);
        if (pc.connectionState === "connected") {
          clearTimeout(timer);
          resolve();
        } else if (pc.connectionState === "failed") {
          clearTimeout(timer);
          reject(new Problem("media-failed"));
          this.onlost();
        } else if (pc.connectionState === "disconnected") {
          this.#lostTimer = setTimeout(() => this.onlost(), DISCONNECTED_MS);
        }
      };
    });
    this.#connected.catch(() => {}); // whoever waits is told; nobody may be waiting
  }

  get connected() {
    return this.#pc.connectionState === "connected";
  }

  #open(label, options) {
    const channel = this.#pc.createDataChannel(label, options);
    channel.onopen = () => this.onchannel(label);
    channel.onmessage = ({ data }) => {
      try {
        this.onmessage(label, JSON.parse(data));
      } catch (error) {
        if (!(error instanceof SyntaxError)) throw error;
      }
    };
    this.#channels[label] = channel;
  }

  // Return {sdp, cameras: [{name, mid}]}. `cameras` is [{name, track or null}] in rig order, `microphone` a track or null.
  async offer(cameras, microphone) {
    const pc = this.#pc;
    this.#cameras = cameras.map(({ name, track }) => {
      const { width = 640, height = 480 } = track?.getSettings() ?? {};
      const transceiver = pc.addTransceiver(track ?? "video", {
        direction: "sendonly",
        sendEncodings: [{ maxBitrate: Math.round(Math.max(1.5e6, width * height * 6)) }],
      });
      return { name, transceiver };
    });
    pc.addTransceiver("video", { direction: "recvonly" });
    const audio = pc.addTransceiver(microphone ?? "audio", { direction: microphone ? "sendrecv" : "recvonly" });
    this.#microphone = microphone && audio.sender;
    await pc.setLocalDescription(await pc.createOffer());
    await this.#gathered();
    return {
      sdp: pc.localDescription.sdp,
      cameras: this.#cameras.map(({ name, transceiver }) => ({ name, mid: transceiver.mid })),
    };
  }

  #gathered() {
    const pc = this.#pc;
    return new Promise((resolve) => {
      if (pc.iceGatheringState === "complete") return resolve();
      const timer = setTimeout(() => {
        pc.onicecandidate = ({ candidate }) => {
          // an empty one ends those of one network only
          if (candidate?.candidate === "") return;
          this.oncandidate({ candidate: candidate?.candidate ?? null, sdp_mid: candidate?.sdpMid ?? null });
        };
        resolve();
      }, GATHER_MS);
      pc.onicegatheringstatechange = () => {
        if (pc.iceGatheringState !== "complete") return;
        clearTimeout(timer);
        resolve();
      };
    });
  }

  // Take the answer and resolve when media flows; throws Problem("media-failed").
  async accept(sdp) {
    try {
      await this.#pc.setRemoteDescription({ type: "answer", sdp });
    } catch (error) {
      throw new Problem("media-failed", error.message);
    }
    for (const { transceiver } of this.#cameras) await keepResolution(transceiver.sender);
    await this.#connected;
  }

  async candidate({ candidate, sdp_mid }) {
    try {
      await this.#pc.addIceCandidate(candidate ? { candidate, sdpMid: sdp_mid } : undefined);
    } catch {
      // a candidate of a kind this browser doesn't know is no loss
    }
  }

  get sends() {
    return [this.#cameras.length, this.#microphone !== null];
  }

  // Send these instead, given as to offer(); say whether that was possible: there must have been as many in the offer.
  replace(cameras, microphone) {
    if (cameras.length > this.#cameras.length || (microphone && !this.#microphone)) return false;
    const replaced = cameras.map(({ track }, i) => this.#cameras[i].transceiver.sender.replaceTrack(track));
    if (microphone) replaced.push(this.#microphone.replaceTrack(microphone));
    for (const done of replaced) done.catch(() => {}); // the connection was closed meanwhile
    return true;
  }

  // Send on a data channel; say whether it left.
  send(label, message) {
    const channel = this.#channels[label];
    if (channel.readyState !== "open" || channel.bufferedAmount > STALE_BYTES) return false;
    channel.send(JSON.stringify(message));
    return true;
  }

  stats() {
    return this.#pc.getStats();
  }

  close() {
    clearTimeout(this.#lostTimer);
    this.onlost = this.onview = this.onvoice = this.onchannel = this.onmessage = () => {};
    this.#pc.onconnectionstatechange = this.#pc.onicecandidate = null;
    this.#pc.close();
  }
}

// Calibrated cameras are worth more whole and seldom than small and often.
async function keepResolution(sender) {
  try {
    await sender.setParameters({ ...sender.getParameters(), degradationPreference: "maintain-resolution" });
  } catch {
    // not every browser has it
  }
}
