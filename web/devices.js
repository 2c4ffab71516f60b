// The participant's own cameras and microphone: who may use them, which are open, in which order.
//
// Invariants: `slots` are the chosen cameras in rig order; a slot's track is live, or null while the camera is stopped
// or unplugged. Opening never leaves a half-open device behind. Events: `change`, `gone` (detail: the device's label),
// `back`.

import { deviceProblem } from "./words.js";

const MOST_FPS = 240; // more than the service believes
const SOUND = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

// Does this page get at devices at all? Off localhost without HTTPS the browser hides them.
export const devicesBlocked = () => !window.isSecureContext || !navigator.mediaDevices?.getUserMedia;

// "granted", "denied" or "prompt", of "camera" or "microphone"; "prompt" where the browser doesn't tell.
export async function permission(name) {
  try {
    return (await navigator.permissions.query({ name })).state;
  } catch {
    return "prompt";
  }
}

// The track of one device; throws a Problem.
export async function getTrack(constraints) {
  const wanted = { video: Boolean(constraints.video), audio: Boolean(constraints.audio) };
  try {
    const stream = await navigator.mediaDevices.getUserMedia(constraints);
    return stream.getTracks()[0];
  } catch (error) {
    throw deviceProblem(error, wanted);
  }
}

// Ask for permission and return {cameras, microphones, problem}: lists of {deviceId, label}, and the Problem of the
// kind that is not to be had when the other is. Throws a Problem when there is neither, or when the answer was no.
export async function findDevices() {
  try {
    await ask({ video: true, audio: true });
    return { ...(await listDevices()), problem: null };
  } catch (problem) {
    for (const wanted of await worthAsking(problem)) {
      try {
        await ask(wanted);
        return { ...(await listDevices()), problem };
      } catch {
        // the first problem says it best
      }
    }
    throw problem;
  }
}

async function ask(wanted) {
  try {
    const stream = await navigator.mediaDevices.getUserMedia(wanted);
    stream.getTracks().forEach((t) => t.stop());
  } catch (error) {
    throw deviceProblem(error, { video: true, audio: true, ...wanted });
  }
}

// What to ask for after both were refused together; a person who said no is not asked again.
async function worthAsking({ code }) {
  const [video, audio] = [{ video: true }, { audio: true }];
  if (code === "no-devices" || code === "device-busy") return [video, audio];
  if (code !== "permission-denied") return [];
  const noCamera = (await permission("camera")) === "denied";
  const noMicrophone = (await permission("microphone")) === "denied";
  if (noCamera === noMicrophone) return [];
  return noCamera ? [audio] : [video];
}

export async function listDevices() {
  const all = await navigator.mediaDevices.enumerateDevices();
  const of = (kind, word) =>
    all
      .filter((d) => d.kind === kind && d.deviceId)
      .map((d, i) => ({ deviceId: d.deviceId, label: d.label || `${word} ${i + 1}` }));
  // Chromium lists its default microphone twice more, under aliases
  const microphones = of("audioinput", "Microphone").filter((d) => !["default", "communications"].includes(d.deviceId));
  return { cameras: of("videoinput", "Camera"), microphones };
}

export class LocalMedia extends EventTarget {
  slots = []; // {deviceId, label, track}
  microphone = null; // {deviceId, label, track}
  viewer = false;
  muted = false;
  stopped = false;
  rig = null;
  size = { width: 640, height: 480 };

  constructor() {
    super();
    navigator.mediaDevices?.addEventListener?.("devicechange", () => this.#revive());
  }

  // What a call sends: [{name, track}] in rig order; names are the rig's, or cam0, cam1, ... Cameras that the rig
  // doesn't know stay at home.
  cameras() {
    if (this.viewer) return [];
    const sent = this.slots.slice(0, this.rig?.cameras.length);
    return sent.map((slot, i) => ({ name: this.nameOf(i), track: slot.track }));
  }

  // Pictures a second that the quickest of these cameras delivers: 0 without any, null where the browser doesn't say.
  get fps() {
    const cameras = this.cameras();
    if (!cameras.length) return 0;
    const rates = cameras.map(({ track }) => track?.getSettings().frameRate ?? 0);
    return Math.min(Math.max(...rates), MOST_FPS) || null;
  }

  nameOf(index) {
    return this.rig?.cameras[index]?.name ?? `cam${index}`;
  }

  // The microphone's track, or null.
  voice() {
    return this.viewer ? null : (this.microphone?.track ?? null);
  }

  async addCamera(device) {
    const slot = { ...device, track: null };
    slot.track = await this.#openCamera(slot, this.slots.length);
    this.slots.push(slot);
    this.#changed();
  }

  removeCamera(deviceId) {
    const slot = this.slots.find((s) => s.deviceId === deviceId);
    slot?.track?.stop();
    this.slots = this.slots.filter((s) => s !== slot);
    this.#changed();
  }

  // Move a camera one place up (-1) or down (+1).
  moveCamera(deviceId, by) {
    const from = this.slots.findIndex((s) => s.deviceId === deviceId);
    const to = from + by;
    if (from < 0 || to < 0 || to >= this.slots.length) return;
    [this.slots[from], this.slots[to]] = [this.slots[to], this.slots[from]];
    this.#changed();
  }

  // Open all cameras again, at the size that the rig or the user now wants.
  async reopenCameras() {
    for (const [i, slot] of this.slots.entries()) {
      slot.track?.stop();
      slot.track = null;
      slot.track = await this.#openCamera(slot, i);
    }
    this.#changed();
  }

  async chooseMicrophone(device) {
    const track = device && (await getTrack({ audio: { ...SOUND, deviceId: { exact: device.deviceId } } }));
    this.microphone?.track?.stop();
    this.microphone = device && { deviceId: device.deviceId, label: device.label, track };
    if (track) {
      track.enabled = !this.muted;
      track.onended = () => this.#ended(device.label);
    }
    this.#changed();
  }

  mute(on) {
    this.muted = on;
    if (this.microphone?.track) this.microphone.track.enabled = !on;
    this.#changed();
  }

  // Really switch the cameras off (their lights go out), or on again.
  async stopCameras(on) {
    this.stopped = on;
    for (const [i, slot] of this.slots.entries()) {
      if (on) {
        slot.track?.stop();
        slot.track = null;
      } else slot.track ??= await this.#openCamera(slot, i);
    }
    this.#changed();
  }

  release() {
    for (const device of [...this.slots, this.microphone]) device?.track?.stop();
    this.slots = [];
    this.microphone = null;
    this.stopped = this.muted = false;
    this.#changed();
  }

  async #openCamera(slot, index) {
    const { width, height } = this.rig?.cameras[index] ?? this.size;
    const track = await getTrack({
      video: { deviceId: { exact: slot.deviceId }, width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: 30 } },
    });
    track.onended = () => {
      slot.track = null;
      this.#ended(slot.label);
    };
    return track;
  }

  #ended(label) {
    this.dispatchEvent(new CustomEvent("gone", { detail: label }));
    this.#changed();
  }

  // Something was plugged in: open again what had gone.
  async #revive() {
    const present = new Set((await listDevices().catch(() => ({ cameras: [] }))).cameras.map((d) => d.deviceId));
    let back = false;
    for (const [i, slot] of this.slots.entries()) {
      if (slot.track || this.stopped || !present.has(slot.deviceId)) continue;
      slot.track = await this.#openCamera(slot, i).catch(() => null);
      back ||= Boolean(slot.track);
    }
    if (this.microphone?.track?.readyState === "ended") {
      back = await this.chooseMicrophone(this.microphone).then(() => true, () => back);
    }
    if (back) this.dispatchEvent(new Event("back"));
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

