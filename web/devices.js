// The participant's own cameras and microphone: who may use them, which are open, in which order.
//
// Invariants: `slots` are the chosen cameras in rig order; a slot's track is live, or null while the camera is stopped,
// unplugged or being opened. Opening takes time, and much may change meanwhile: what is no longer wanted when it has come
// is stopped at once. A viewer has no device open. Events: `change`; of a device that ended by itself `gone` when it was
// unplugged and `ended` when not (detail: its label); `back` when something that had gone is open again.

import { deviceProblem, Problem } from "./words.js";

const MOST_FPS = 240; // the most that a join may say
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
    throw deviceProblem(error, wanted);
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
  #choice = null; // of a microphone, while it is being opened
  #adding = null; // what add() waits for
  #revived = Promise.resolve();

  constructor() {
    super();
    navigator.mediaDevices?.addEventListener?.("devicechange", () => {
      this.#revived = this.#revived.then(() => this.#revive());
    });
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
    if (this.viewer || this.slots.some((s) => s.deviceId === device.deviceId)) return;
    const slot = { ...device, track: null };
    this.slots.push(slot);
    try {
      await this.#fill(slot);
    } catch (problem) {
      this.slots = this.slots.filter((s) => s !== slot);
      throw problem;
    } finally {
      this.#changed();
    }
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

  // Put another camera in the place of a chosen one, or open the same anew; throws a Problem where it doesn't open, and then
  // the one of before is back. Of two cameras only one may be able to be open (phones), so the old one goes first.
  async swapCamera(deviceId, device) {
    const slot = this.slots.find((s) => s.deviceId === deviceId);
    if (!slot || this.slots.some((s) => s !== slot && s.deviceId === device.deviceId)) return;
    const before = { deviceId, label: slot.label };
    slot.track?.stop();
    Object.assign(slot, { deviceId: device.deviceId, label: device.label, track: null });
    try {
      await this.#fill(slot);
    } catch (problem) {
      Object.assign(slot, before);
      if (device.deviceId !== deviceId) await this.#fill(slot).catch(() => {}); // the first problem says it best
      throw problem;
    } finally {
      this.#changed();
    }
  }

  // Open all cameras again, at the size that the rig or the user now wants.
  async reopenCameras() {
    this.#closeCameras();
    await this.openCameras();
  }

  // Open the chosen cameras that aren't open; throws the first Problem when all were tried.
  async openCameras() {
    const dark = this.slots.filter((s) => !s.track);
    if (!dark.length) return;
    let first = null;
    for (const slot of dark) {
      if (!slot.track) await this.#fill(slot).catch((problem) => (first ??= problem));
    }
    this.#changed();
    if (first) throw first;
  }

  // Open what is missing of `found` (what findDevices or listDevices returned): the first microphone that opens, and cameras
  // in their order until `count` are chosen. Throws the first Problem when all were tried.
  async openFound({ cameras, microphones, problem = null }, count) {
    const problems = [];
    const attempt = (opens) => opens.catch((failed) => problems.push(failed));
    if (!this.microphone || this.microphone.track?.readyState === "ended") await attempt(this.#openMicrophone(microphones));
    await attempt(this.openCameras());
    for (const device of cameras) {
      if (this.slots.length >= count) break;
      if (!this.slots.some((s) => s.deviceId === device.deviceId)) await attempt(this.addCamera(device));
    }
    if (problem?.code === "permission-denied") problems.push(problem);
    else if (!cameras.length) problems.push(new Problem("no-camera"));
    if (problems.length) throw problems[0];
  }

  // Open the microphone that ended or else the first of `microphones` that opens; throws the first Problem where none does.
  // Who says no is asked once.
  async #openMicrophone(microphones) {
    const own = microphones.filter((d) => d.deviceId === this.microphone?.deviceId);
    let first = null;
    for (const device of new Set([...own, ...microphones])) {
      try {
        return await this.chooseMicrophone(device);
      } catch (problem) {
        first ??= problem;
        if (problem.code === "permission-denied") break;
      }
    }
    if (first) throw first;
  }

  // In mid-call: open a "microphone" or a "camera", whichever opens first; who only watched doesn't any longer. Throws a Problem.
  async add(kind) {
    const adding = (this.#adding = Symbol());
    await ask(kind === "microphone" ? { audio: true } : { video: true }); // names are told only after it
    const { cameras, microphones } = await listDevices();
    if (this.#adding !== adding) return;
    this.viewer = false;
    if (kind === "camera") return this.openFound({ cameras, microphones: [] }, 1);
    if (!microphones.length) throw new Problem("no-microphone");
    await this.#openMicrophone(microphones);
  }

  // Close the cameras after the first `count`, and the microphone unless it is `heard`.
  keep(count, heard) {
    this.slots.splice(count).forEach((slot) => slot.track?.stop());
    if (!heard) {
      this.microphone?.track?.stop();
      this.microphone = null;
    }
    this.#changed();
  }

  async chooseMicrophone(device) {
    if (this.viewer) return;
    const choice = (this.#choice = Symbol());
    let track = null;
    try {
      if (device) track = await getTrack({ audio: { ...SOUND, deviceId: { exact: device.deviceId } } });
    } catch (problem) {
      if (this.#choice !== choice) return;
      this.#choice = null;
      throw problem;
    }
    if (this.#choice !== choice) {
      track?.stop();
      return;
    }
    this.#choice = null;
    this.microphone?.track?.stop();
    this.microphone = device && { deviceId: device.deviceId, label: device.label, track };
    if (track) {
      track.enabled = !this.muted;
      track.onended = () => this.#ended("audioinput", device);
    }
    this.#changed();
  }

  mute(on) {
    this.muted = on;
    if (this.microphone?.track) this.microphone.track.enabled = !on;
    this.#changed();
  }

  // Really switch the cameras off (their lights go out), or on again; throws a Problem where one doesn't start, and where
  // none does they are still stopped.
  async stopCameras(on) {
    this.stopped = on;
    if (on) {
      this.#closeCameras();
      this.#changed();
      return;
    }
    try {
      await this.openCameras();
    } catch (problem) {
      this.stopped ||= this.slots.length > 0 && !this.slots.some((s) => s.track);
      this.#changed();
      throw problem;
    }
  }

  release() {
    for (const device of [...this.slots, this.microphone]) device?.track?.stop();
    this.slots = [];
    this.microphone = this.#choice = this.#adding = null;
    this.stopped = this.muted = false;
    this.#changed();
  }

  #closeCameras() {
    for (const slot of this.slots) {
      slot.track?.stop();
      slot.track = null;
    }
  }

  // Open the camera of a slot, if it is wanted. Of several attempts at once the last counts: it knows the size that is
  // wanted now. Throws a Problem.
  async #fill(slot) {
    const attempt = (slot.attempt = Symbol());
    try {
      await this.#open(slot, () => slot.attempt === attempt && this.slots.includes(slot) && !this.stopped);
    } finally {
      if (slot.attempt === attempt) slot.attempt = null;
    }
  }

  async #open(slot, wanted) {
    if (!wanted()) return;
    const { width, height } = this.rig?.cameras[this.slots.indexOf(slot)] ?? this.size;
    let track;
    try {
      track = await getTrack({
        video: { deviceId: { exact: slot.deviceId }, width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: 30 } },
      });
    } catch (problem) {
      if (wanted()) throw problem;
      return;
    }
    if (!wanted()) {
      track.stop();
      return;
    }
    track.onended = () => {
      slot.track = null;
      this.#ended("videoinput", slot);
    };
    slot.track = track;
  }

  async #ended(kind, { deviceId, label }) {
    this.#changed();
    const all = await navigator.mediaDevices.enumerateDevices().catch(() => []);
    // without permission the browser keeps the ids to itself
    const unplugged = all.filter((d) => d.kind === kind).every((d) => d.deviceId && d.deviceId !== deviceId);
    this.dispatchEvent(new CustomEvent(unplugged ? "gone" : "ended", { detail: label }));
  }

  // Something was plugged in: open again what had gone, unless somebody is choosing another one.
  async #revive() {
    const present = new Set((await listDevices().catch(() => ({ cameras: [] }))).cameras.map((d) => d.deviceId));
    let back = false;
    for (const slot of [...this.slots]) {
      if (slot.track || slot.attempt || !present.has(slot.deviceId)) continue;
      await this.#fill(slot).catch(() => {});
      back ||= Boolean(slot.track);
    }
    if (this.microphone?.track?.readyState === "ended" && !this.#choice) {
      back = await this.chooseMicrophone(this.microphone).then(() => true, () => back);
    }
    if (back) this.dispatchEvent(new Event("back"));
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

