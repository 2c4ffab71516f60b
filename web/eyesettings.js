// What following the eyes has to know: which camera, where it stands and how much it sees, how large the screen is. Settings
// of the panel, remembered on this device.

import { getTrack, listDevices } from "./devices.js";
import { fillSelect } from "./dom.js";
import { recall, remember } from "./memory.js";
import { CAMERA_PLACES, CARD_M, PIXEL_M } from "./screen.js";
import { Problem } from "./words.js";

const DEGREES = 65; // most webcams and laptops: 55 to 78
const APART_MM = [40, 80];
const SENT = "sent:";

export class EyeSettings extends EventTarget {
  #ui;
  #media;
  #remembered = recall("eyes.camera") ?? "";

  // Events: `camera` when another camera is to watch, `change` when another figure is known.
  constructor(root, media) {
    super();
    this.#media = media;
    this.#ui = Object.fromEntries([...root.querySelectorAll("[data-eyes]")].map((e) => [e.dataset.eyes, e]));
    const ui = this.#ui;
    fillSelect(ui.place, CAMERA_PLACES, recall("eyes.place") ?? "above");
    ui.degrees.value = Number(recall("eyes.degrees")) || DEGREES;
    ui.apart.value = recall("eyes.apart") ?? "";
    ui.card.value = Number(recall("eyes.card")) || CARD_M[1] / PIXEL_M;
    for (const name of ["place", "degrees", "apart", "card"]) {
      ui[name].addEventListener("input", () => {
        remember(`eyes.${name}`, ui[name].value);
        this.#draw();
        this.dispatchEvent(new Event("change"));
      });
    }
    ui.camera.onchange = () => {
      this.#remembered = ui.camera.value;
      remember("eyes.camera", ui.camera.value);
      this.#draw();
      this.dispatchEvent(new Event("camera"));
    };
    this.#draw();
  }

  get degrees() {
    return Number(this.#ui.degrees.value);
  }

  get place() {
    return this.#ui.place.value;
  }

  // Metres between the eyes, or null: to be measured.
  get apart() {
    const mm = Number(this.#ui.apart.value.replace(",", "."));
    return mm >= APART_MM[0] && mm <= APART_MM[1] ? mm / 1000 : null;
  }

  // Metres a CSS pixel.
  get pixel() {
    return CARD_M[1] / Number(this.#ui.card.value);
  }

  // Say how far away the eyes are, in metres, or null.
  tell(distance) {
    const found = distance === null ? "" : ` Now: ${Math.round(distance * 100)} cm.`;
    this.#ui.distance.textContent = `From left to right. Right when the distance to your eyes is.${found}`;
  }

  // List the cameras: those that are sent first.
  async refresh() {
    const { cameras } = await listDevices().catch(() => ({ cameras: [] }));
    const sent = this.#media.viewer ? [] : this.#media.slots;
    const others = cameras.filter((d) => !sent.some((s) => s.deviceId === d.deviceId));
    const choices = [
      ...sent.map((s) => [SENT + s.deviceId, s.label]),
      ...others.map((d) => [d.deviceId, `${d.label} (only for this)`]),
    ];
    if (!choices.length) choices.push(["", "The browser's choice"]);
    const chosen = choices.find(([value]) => value === this.#remembered) ?? choices[0];
    fillSelect(this.#ui.camera, choices, chosen[0]);
    this.#draw();
  }

  // The track that is to be watched, {track, own}: `own` if it was opened for this. Throws a Problem.
  async open() {
    await this.refresh();
    const { value } = this.#ui.camera;
    if (value.startsWith(SENT)) {
      const { track } = this.#sent(value);
      if (!track) throw new Problem("camera-stopped");
      return { track, own: false };
    }
    const device = value && { deviceId: { exact: value } };
    const track = await getTrack({ video: { ...device, width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } } });
    await this.refresh(); // names are known once a camera was allowed
    return { track, own: true };
  }

  // The sent camera that is chosen, or undefined.
  #sent(value) {
    return this.#media.slots.find((s) => SENT + s.deviceId === value);
  }

  #draw() {
    const ui = this.#ui;
    ui.degrees.nextElementSibling.textContent = `${ui.degrees.value}°`;
    ui.card.nextElementSibling.textContent = `${(this.pixel * screen.width * 100).toFixed(0)} × ${(this.pixel * screen.height * 100).toFixed(0)} cm`;
    const wrong = ui.apart.value.trim() !== "" && this.apart === null;
    ui.apart.setAttribute("aria-invalid", wrong);
    ui.told.textContent = wrong ? `People’s are ${APART_MM.join(" to ")} mm apart; until then it is measured.` : "";
    ui.bar.style.width = `${ui.card.value}px`;
    ui.privacy.textContent = ui.camera.value.startsWith(SENT)
      ? "It is sent to the service anyway; for this, its pictures are looked at in your browser alone."
      : "It is on for this only: its pictures never leave your browser.";
  }
}
