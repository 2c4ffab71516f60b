// The row of buttons under the call, the panels that they and the meter open, and the volume.

import { DeviceChoice, toldInCall } from "./devicechoice.js";
import { devicesBlocked } from "./devices.js";
import { fillSelect } from "./dom.js";
import { FORMATS, saveTranscript } from "./transcript.js";

const PANELS = ["transcript", "settings", "budget"];

export class Toolbar {
  #root;
  #media;
  #actions;
  #buttons;
  #devices;

  // `actions`: leave(), setUp(), home(), commits() -> those of the transcript, correct(on), camera(stopped) -> promise,
  // add("camera" or "microphone") -> promise, notice(code, message), opened(panel or null).
  constructor(root, media, actions) {
    this.#root = root;
    this.#media = media;
    this.#actions = actions;
    this.#buttons = Object.fromEntries([...root.querySelectorAll("button[data-call]")].map((b) => [b.dataset.call, b]));
    const buttons = this.#buttons;
    buttons.leave.onclick = actions.leave;
    buttons.home.onclick = actions.home;
    buttons.mute.onclick = () => (media.microphone ? media.mute(!media.muted) : this.#add("microphone"));
    buttons.camera.onclick = () => (media.slots.length ? this.#toggleCamera() : this.#add("camera"));
    buttons.full.onclick = () => this.#toggleFull();
    const formats = root.querySelector("#save-format");
    fillSelect(formats, FORMATS, FORMATS[0][0]);
    buttons.save.onclick = () => actions.notice("saved", saveTranscript(actions.commits(), formats.value));
    const corrected = root.querySelector("#corrected");
    corrected.onchange = () => actions.correct(corrected.checked);
    buttons.full.hidden = !document.fullscreenEnabled;
    for (const name of PANELS) {
      buttons[name].onclick = () => this.#open(this.#panel(name).hidden ? name : null);
      this.#panel(name).querySelector("[data-close]").onclick = () => {
        this.#open(null);
        buttons[name].focus();
      };
      this.#panel(name).onkeydown = (event) => {
        if (event.key !== "Escape") return;
        this.#open(null);
        buttons[name].focus();
      };
    }
    this.#devices = new DeviceChoice(this.#panel("settings"), media, {
      notice: actions.notice,
      add: (kind) => this.#add(kind),
      setUp: actions.setUp,
    });
    const volume = root.querySelector("#volume");
    const setVolume = () => {
      root.querySelector("#voice").volume = Number(volume.value);
      volume.nextElementSibling.textContent = `${Math.round(volume.value * 100)} %`;
    };
    volume.oninput = setVolume;
    setVolume();
    media.addEventListener("change", () => this.#draw());
    document.addEventListener("fullscreenchange", () => this.#draw());
  }

  begin() {
    this.#devices.begin();
    this.#open(null);
    this.#draw();
  }

  end() {
    if (document.fullscreenElement) document.exitFullscreen().catch(() => {}); // has ended already
  }

  #panel(name) {
    return this.#root.querySelector(`#${name}-panel`);
  }

  #open(name) {
    for (const each of PANELS) {
      this.#panel(each).hidden = each !== name;
      this.#buttons[each].setAttribute("aria-expanded", String(each === name));
    }
    this.#devices.draw();
    this.#actions.opened(name);
    if (name) this.#panel(name).querySelector("select, input, [tabindex]")?.focus({ preventScroll: true });
  }

  #draw() {
    const { mute, camera, full } = this.#buttons;
    const { muted, stopped, slots, microphone } = this.#media;
    const set = (button, on, text) => {
      button.classList.toggle("off", on); // its name says what it does; that it is pressed would say the opposite
      button.querySelector("span").textContent = text;
    };
    mute.hidden = devicesBlocked();
    camera.hidden = devicesBlocked();
    set(mute, muted || !microphone, !microphone ? "Add microphone" : muted ? "Unmute" : "Mute");
    set(camera, stopped || !slots.length, !slots.length ? "Add camera" : stopped ? "Start camera" : "Stop camera");
    full.querySelector("span").textContent = document.fullscreenElement ? "Window" : "Full screen";
  }

  #toggleCamera() {
    return this.#busy(this.#buttons.camera, () => this.#actions.camera(!this.#media.stopped));
  }

  #add(kind) {
    return this.#busy(this.#buttons[kind === "camera" ? "camera" : "mute"], () => this.#actions.add(kind));
  }

  async #busy(button, action) {
    const { activeElement } = document;
    button.disabled = true;
    try {
      await action();
    } catch (error) {
      const { code, message } = toldInCall(error);
      this.#actions.notice(code, message);
    } finally {
      button.disabled = false;
      // a button that was disabled has lost the focus
      if (activeElement === button && document.activeElement === document.body) button.focus({ preventScroll: true });
    }
  }

  async #toggleFull() {
    try {
      if (document.fullscreenElement) await document.exitFullscreen();
      else await this.#root.requestFullscreen();
    } catch {
      this.#actions.notice("full-screen", "The browser does not allow full screen here.");
    }
  }
}
