// Which microphone and which cameras a call sends, in its settings. What is chosen lives in LocalMedia; this file shows it.
//
// One that ended by itself is shown as ended, so that choosing it opens it anew; what is missing can be added. Another camera
// in the place of one that a rig was made with is warned about.

import { devicesBlocked, listDevices } from "./devices.js";
import { element, fillSelect } from "./dom.js";
import { deviceProblem, explain } from "./words.js";

const ADVICE = {
  "permission-denied": "Allow it at the icon in the address bar, then try again.",
  "device-busy": "Close other calls and camera programs, then choose it again in the settings, or another one.",
};
const CHOOSE = "Plug one in, or choose another one in the settings.";

// What to say in a call of a device that doesn't open: {code, message}.
export function toldInCall(error) {
  const problem = error.code ? error : deviceProblem(error);
  return { code: problem.code, message: `${explain(problem.code, problem.message).title}. ${ADVICE[problem.code] ?? CHOOSE}` };
}

export class DeviceChoice {
  #panel;
  #ui;
  #microphone;
  #cameras;
  #media;
  #notice;
  #busy = false;
  #rigged = []; // the ids of the cameras with which the call began, in the order of the rig

  // `actions`: notice(code, message), add(kind) -> promise, setUp().
  constructor(panel, media, { notice, add, setUp }) {
    this.#panel = panel;
    this.#ui = Object.fromEntries([...panel.querySelectorAll("[data-device]")].map((e) => [e.dataset.device, e]));
    this.#microphone = this.#ui.microphone;
    this.#cameras = this.#ui.cameras;
    this.#media = media;
    this.#notice = notice;
    for (const button of panel.querySelectorAll("[data-add]")) button.onclick = () => add(button.dataset.add);
    this.#ui.setup.onclick = setUp;
    media.addEventListener("change", () => this.draw());
    media.addEventListener("ended", ({ detail }) => {
      notice("device-ended", `${detail} stopped. Choose it again in the settings, or another one.`);
    });
    navigator.mediaDevices?.addEventListener?.("devicechange", () => this.draw());
  }

  begin() {
    this.#rigged = this.#media.slots.map((slot) => slot.deviceId);
  }

  // Show what is chosen, if the panel is open.
  async draw() {
    if (this.#panel.hidden) return;
    const found = await listDevices().catch(() => ({ cameras: [], microphones: [] }));
    if (this.#busy) return;
    const { microphone, slots, stopped, rig } = this.#media;
    this.#microphone.closest("label").hidden = !microphone;
    this.#ui.deaf.hidden = devicesBlocked() || Boolean(microphone);
    this.#ui.blind.hidden = devicesBlocked() || slots.length > 0;
    this.#ui.blocked.hidden = !devicesBlocked();
    if (microphone) {
      const over = microphone.track.readyState === "ended";
      this.#fill(this.#microphone, found.microphones, microphone, over, (device) => this.#media.chooseMicrophone(device));
    }
    const sent = this.#media.cameras();
    this.#cameras.hidden = !sent.length;
    this.#ui.moved.hidden = !rig || sent.every((_, i) => [undefined, slots[i].deviceId].includes(this.#rigged[i]));
    while (this.#cameras.children.length > sent.length) this.#cameras.lastChild.remove();
    sent.forEach(({ name, track }, i) => {
      const field = this.#cameras.children[i] ?? this.#cameras.appendChild(newField());
      const [label, select] = field.children;
      label.textContent = sent.length > 1 ? `Camera ${name}` : "Camera";
      const { deviceId } = slots[i];
      const others = slots.filter((s) => s !== slots[i]).map((s) => s.deviceId);
      const free = found.cameras.filter((d) => !others.includes(d.deviceId));
      this.#fill(select, free, slots[i], !track && !stopped, (device) => this.#media.swapCamera(deviceId, device));
    });
  }

  #fill(select, devices, { deviceId, label }, over, choose) {
    const known = devices.some((d) => d.deviceId === deviceId);
    const all = known ? devices : [{ deviceId, label }, ...devices];
    const choices = all.map((d) => [d.deviceId, d.label]);
    fillSelect(select, over ? [["", `${label} (ended)`], ...choices] : choices, over ? "" : deviceId);
    select.onchange = () => this.#choose(select, () => choose(all.find((d) => d.deviceId === select.value)));
  }

  async #choose(select, open) {
    this.#busy = select.disabled = true;
    try {
      await open();
    } catch (error) {
      const { code, message } = toldInCall(error);
      this.#notice(code, message);
    } finally {
      this.#busy = select.disabled = false;
      await this.draw();
      select.focus({ preventScroll: true }); // a field that was disabled has lost it
    }
  }
}

function newField() {
  const field = element("label", { className: "field" });
  field.append(element("span"), element("select"));
  return field;
}
