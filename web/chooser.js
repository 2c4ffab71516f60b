// The left half of the join screen: find devices, choose and order cameras with live previews, choose a microphone,
// load a rig. What is chosen lives in LocalMedia; this file only shows it.

import { devicesBlocked, findDevices, listDevices, permission } from "./devices.js";
import { element, fillSelect } from "./dom.js";
import { LevelMeter } from "./level.js";
import { readRig } from "./rig.js";
import { Problem } from "./words.js";

const SIZES = ["320×240", "640×480", "1280×720"];

export class Chooser {
  #ui;
  #media;
  #tell;
  #devices = { cameras: [], microphones: [] };
  #level = new LevelMeter();
  #found = false;
  #ask = false; // only once it is known that devices don't open by themselves

  // `tell` shows a Problem (or null, to clear it).
  constructor(root, media, tell) {
    this.#media = media;
    this.#tell = tell;
    this.#ui = Object.fromEntries([...root.querySelectorAll("[data-ui]")].map((e) => [e.dataset.ui, e]));
    const ui = this.#ui;
    ui.find.onclick = () => this.find();
    ui.microphone.onchange = () => this.#try(() => this.#pickMicrophone(ui.microphone.value));
    fillSelect(ui.size, SIZES.map((s) => [s, s]), "640×480");
    ui.size.onchange = () => this.#try(() => this.#resize(ui.size.value));
    ui.rig.onchange = () => this.#try(() => this.#loadRig(ui.rig.files[0]));
    ui.norig.onclick = () => this.#try(() => this.#loadRig(null));
    media.addEventListener("change", () => this.#draw());
    navigator.mediaDevices?.addEventListener?.("devicechange", () => this.#refresh());
    this.#draw();
  }

  // Start at once where permission was given before; say what is wrong where it was refused.
  async begin() {
    if (devicesBlocked()) return;
    if ((await permission("camera")) === "granted") await this.find();
    this.#ask = true;
    this.#draw();
  }

  async find() {
    await this.#try(async () => {
      this.#ui.find.disabled = true;
      try {
        this.#devices = await findDevices();
      } finally {
        this.#ui.find.disabled = false;
      }
      this.#found = true;
      this.#fillMicrophones();
      const { cameras, microphones, problem } = this.#devices;
      if (microphones.length && !this.#media.microphone) await this.#pickMicrophone(microphones[0].deviceId);
      await this.#open(this.#media.rig?.cameras.length ?? 1);
      if (problem?.code === "permission-denied") throw problem;
      if (!cameras.length) throw new Problem("no-camera");
      if (!microphones.length) throw new Problem("no-microphone");
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

  async #open(count) {
    for (const device of this.#devices.cameras) {
      if (this.#media.slots.length >= count) break;
      if (!this.#media.slots.some((s) => s.deviceId === device.deviceId)) await this.#media.addCamera(device);
    }
  }

  async #pickMicrophone(deviceId) {
    const device = this.#devices.microphones.find((d) => d.deviceId === deviceId) ?? null;
    await this.#media.chooseMicrophone(device);
    this.#ui.microphone.value = device?.deviceId ?? "";
    this.#level.watch(this.#media.microphone?.track ?? null, (x) => this.#ui.level.style.setProperty("--level", x));
  }

  async #resize(value) {
    const [width, height] = value.split("×").map(Number);
    this.#media.size = { width, height };
    await this.#media.reopenCameras();
  }

  async #loadRig(file) {
    try {
      this.#media.rig = file ? await readRig(file) : null;
    } catch (problem) {
      this.#media.rig = null;
      throw problem;
    } finally {
      this.#ui.rig.value = "";
      this.#ui.rigname.textContent = this.#media.rig ? file.name : "";
      this.#draw();
    }
    if (this.#found) {
      await this.#media.reopenCameras();
      if (this.#media.rig) await this.#open(this.#media.rig.cameras.length);
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
    fillSelect(this.#ui.microphone, [["", "No microphone"], ...choices], this.#media.microphone?.deviceId ?? "");
  }

  #draw() {
    const ui = this.#ui;
    const { slots, rig } = this.#media;
    ui.find.hidden = this.#found || !this.#ask;
    ui.chosen.hidden = !this.#found;
    ui.norig.hidden = !rig;
    ui.size.disabled = Boolean(rig);
    const rest = this.#devices.cameras.filter((d) => !slots.some((s) => s.deviceId === d.deviceId));
    ui.cameras.replaceChildren(...slots.map((s, i) => this.#tile(s, i)), ...rest.map((d) => this.#offer(d)));
    ui.advice.textContent = this.#advice();
  }

  #advice() {
    const { slots, rig } = this.#media;
    if (rig && slots.length < rig.cameras.length) {
      return `The rig has ${rig.cameras.length} cameras; ${slots.length} chosen. Missing cameras are left out of the view.`;
    }
    if (rig) return `${rig.cameras.length} calibrated cameras: others can look at you from their own eye position.`;
    if (!slots.length) return "No camera chosen: you are heard, not seen.";
    return "Without a rig file your first camera is shown as it is, and your voice is translated.";
  }

  #tile(slot, index) {
    const { slots, rig } = this.#media;
    const video = element("video", { muted: true, autoplay: true, playsInline: true });
    video.srcObject = slot.track ? new MediaStream([slot.track]) : null;
    const surplus = rig && index >= rig.cameras.length;
    const name = surplus ? "not in the rig" : this.#media.nameOf(index);
    const button = (text, label, action, disabled = false) =>
      element("button", { type: "button", className: "small", textContent: text, ariaLabel: label, title: label, disabled, onclick: action });
    const bar = element("div", { className: "tile-bar" });
    bar.append(
      element("span", { className: surplus ? "badge warn" : "badge", textContent: name }),
      element("span", { className: "tile-label", textContent: slot.label, title: slot.label }),
    );
    if (slots.length > 1) {
      bar.append(
        button("↑", `Move ${slot.label} up`, () => this.#media.moveCamera(slot.deviceId, -1), index === 0),
        button("↓", `Move ${slot.label} down`, () => this.#media.moveCamera(slot.deviceId, 1), index === slots.length - 1),
      );
    }
    bar.append(button("✕", `Do not use ${slot.label}`, () => this.#media.removeCamera(slot.deviceId)));
    const tile = element("li", { className: "tile" });
    tile.append(video, bar);
    return tile;
  }

  #offer(device) {
    const item = element("li", { className: "tile unused" });
    item.append(
      element("button", {
        type: "button",
        className: "add",
        textContent: `+ ${device.label}`,
        onclick: () => this.#try(() => this.#media.addCamera(device)),
      }),
    );
    return item;
  }
}
