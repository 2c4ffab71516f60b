// The left half of the join screen: find devices, choose and order cameras with live previews, choose a microphone,
// load a rig, or use the one that is remembered. What is chosen lives in LocalMedia; this file only shows it.

import { CameraList } from "./cameralist.js";
import { devicesBlocked, findDevices, listDevices, permission } from "./devices.js";
import { fillSelect } from "./dom.js";
import { drawLevel, LevelMeter } from "./level.js";
import { readRig } from "./rig.js";
import { forgetRig, recallRig, rememberRig } from "./rigstore.js";
import { Problem } from "./words.js";

const SIZES = ["320×240", "640×480", "1280×720"];

export class Chooser {
  #ui;
  #media;
  #tell;
  #list;
  #devices = { cameras: [], microphones: [] };
  #rigDevices = []; // the remembered rig's, in its order
  #level = new LevelMeter();
  #found = false;
  #finding = null; // the promise of a search that runs
  #ask = false; // only once it is known that devices don't open by themselves

  // `tell` shows a Problem (or null, to clear it).
  constructor(root, media, tell) {
    this.#media = media;
    this.#tell = tell;
    this.#ui = Object.fromEntries([...root.querySelectorAll("[data-ui]")].map((e) => [e.dataset.ui, e]));
    const ui = this.#ui;
    this.#list = new CameraList(ui.cameras, media, (action) => this.#try(action), (i) => this.#nameOf(i));
    ui.find.onclick = () => this.find();
    ui.microphone.onchange = () => this.#try(() => this.#pickMicrophone(ui.microphone.value));
    fillSelect(ui.size, SIZES.map((s) => [s, s]), "640×480");
    ui.size.onchange = () => this.#try(() => this.#resize(ui.size.value));
    ui.rig.onchange = () => this.#try(() => this.#loadRig(ui.rig.files[0]));
    ui.norig.onclick = () => this.#try(() => this.#loadRig(null));
    media.addEventListener("change", () => this.#draw());
    media.addEventListener("back", () => this.#level.watches && this.#listen());
    navigator.mediaDevices?.addEventListener?.("devicechange", () => this.#refresh());
    this.useRig(recallRig() ?? { rig: null, devices: [], name: "" });
  }

  // Use a rig, or none; `devices` are the ids of its cameras, as far as they are known.
  useRig({ rig, devices, name }) {
    this.#media.rig = rig;
    this.#rigDevices = devices;
    this.#ui.rigname.textContent = name;
    this.#draw();
  }

  // Start at once where permission was given before; say what is wrong where it was refused.
  async begin() {
    if (devicesBlocked()) return;
    if ((await permission("camera")) === "granted") await this.find();
    this.#ask = true;
    this.#draw();
  }

  get searching() {
    return this.#finding !== null;
  }

  // Find devices and open what is missing: the first microphone that opens, and as many cameras as the rig has, or one.
  find() {
    this.#finding ??= this.#find().finally(() => (this.#finding = null));
    return this.#finding;
  }

  async #find() {
    await this.#try(async () => {
      this.#ui.find.disabled = true;
      try {
        this.#devices = await findDevices();
      } finally {
        this.#ui.find.disabled = false;
      }
      this.#found = true;
      try {
        await this.#open(this.#devices);
      } finally {
        this.#fillMicrophones();
        this.#listen();
      }
      if (!this.#devices.microphones.length) throw new Problem("no-microphone");
    });
    this.#draw();
  }

  // Close the devices and forget them; the next call begins with a fresh look.
  close() {
    this.#found = false;
    this.#level.stop();
    this.#draw();
  }

  stopLevel() {
    this.#level.stop();
  }

  // Open what is missing of `found`, the rig's own cameras first.
  async #open(found) {
    const place = (d) => (this.#rigDevices.indexOf(d.deviceId) + 1 || Infinity);
    const cameras = [...found.cameras].sort((a, b) => Math.sign(place(a) - place(b)) || 0);
    await this.#media.openFound({ ...found, cameras }, this.#media.rig?.cameras.length ?? 1);
  }

  async #pickMicrophone(deviceId) {
    const device = this.#devices.microphones.find((d) => d.deviceId === deviceId) ?? null;
    try {
      await this.#media.chooseMicrophone(device);
    } finally {
      this.#ui.microphone.value = this.#heard;
      this.#listen();
    }
  }

  #listen() {
    this.#level.watch(this.#media.microphone?.track ?? null, (level) => drawLevel(this.#ui.level, level));
  }

  async #resize(value) {
    const [width, height] = value.split("×").map(Number);
    this.#media.size = { width, height };
    await this.#media.reopenCameras();
  }

  async #loadRig(file) {
    let rig = null;
    try {
      if (file) rig = await readRig(file);
    } finally {
      this.#ui.rig.value = ""; // the same file may be chosen again
    }
    const made = { rig, devices: [], name: rig ? file.name : "" };
    this.useRig(made);
    if (rig) rememberRig(made);
    else forgetRig();
    if (this.#found) {
      await this.#media.reopenCameras();
      if (rig) await this.#open({ ...this.#devices, microphones: [] });
    }
  }

  async #try(action) {
    try {
      this.#tell(null);
      await action();
    } catch (problem) {
      this.#tell(problem);
    }
  }

  async #refresh() {
    if (!this.#found) return;
    this.#devices = await listDevices();
    this.#fillMicrophones();
    this.#draw();
  }

  #fillMicrophones() {
    const choices = this.#devices.microphones.map((d) => [d.deviceId, d.label]);
    fillSelect(this.#ui.microphone, [["", "No microphone"], ...choices], this.#heard);
  }

  // The id of the microphone that is on: one that ended can be chosen again.
  get #heard() {
    const { microphone } = this.#media;
    return microphone?.track.readyState === "live" ? microphone.deviceId : "";
  }

  // Draw anew; not under a call, which begins and ends with devices that change: then nobody sees it.
  #draw() {
    if (document.body.dataset.screen === "call") return;
    const ui = this.#ui;
    const { rig } = this.#media;
    ui.find.hidden = this.#found || !this.#ask;
    ui.chosen.hidden = !this.#found;
    ui.microphone.value = this.#heard;
    ui.norig.hidden = !rig;
    ui.size.disabled = Boolean(rig);
    this.#list.draw(this.#devices.cameras);
    const { text, mend = false } = this.#advice();
    if (ui.advice.textContent !== text) ui.advice.textContent = text; // it is read out when it changes
    ui.mend.hidden = !mend;
  }

  #nameOf(index) {
    const { rig } = this.#media;
    const warn = Boolean(rig && index >= rig.cameras.length);
    return { text: warn ? "not in the rig" : this.#media.nameOf(index), warn };
  }

  // {text, mend}: what others will see, and whether a set-up would mend it.
  #advice() {
    const { slots, rig } = this.#media;
    if (!slots.length) return { text: "No camera chosen: you are heard, not seen." };
    if (!rig && slots.length === 1) {
      return { text: "Without a rig file your first camera is shown as it is, and your voice is translated." };
    }
    if (!rig) {
      const text = "The page does not know how your cameras stand: others see only the first, as it is. Set them up, or choose a rig file.";
      return { text, mend: true };
    }
    const { length } = rig.cameras;
    const moved = slots.slice(0, length).some((s, i) => ![undefined, s.deviceId].includes(this.#rigDevices[i]));
    if (moved) {
      const text = "These are not the cameras that your rig was made with, or not in its order: others would see you bent. Put them right, or set them up anew.";
      return { text, mend: true };
    }
    if (slots.length < length) {
      return { text: `The rig has ${length} cameras; ${slots.length} chosen. Missing cameras are left out of the view.`, mend: true };
    }
    if (slots.length > length) {
      const text = `The rig has ${length} cameras: what is chosen beyond them is not sent. Set all of them up to use them.`;
      return { text, mend: true };
    }
    return { text: `${length} calibrated cameras: others can look at you from their own eye position.` };
  }
}
