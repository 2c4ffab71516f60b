// The chosen cameras as live tiles that can be moved and taken away, then those that could be added. What is chosen
// lives in LocalMedia; this file only shows it.

import { element } from "./dom.js";

export class CameraList {
  #list;
  #media;
  #attempt;
  #nameOf;

  // `list` is filled; `attempt` runs what may throw a Problem; `nameOf` takes a place in the order and returns
  // {text, warn}.
  constructor(list, media, attempt, nameOf) {
    this.#list = list;
    this.#media = media;
    this.#attempt = attempt;
    this.#nameOf = nameOf;
  }

  // Show everything anew; of `devices`, those that aren't chosen are offered. The keyboard stays at its camera.
  draw(devices) {
    const before = this.#focused();
    const { slots } = this.#media;
    const rest = devices.filter((d) => !slots.some((s) => s.deviceId === d.deviceId));
    this.#list.replaceChildren(...slots.map((s, i) => this.#tile(s, i)), ...rest.map((d) => this.#offer(d)));
    if (before) this.#focus(before);
  }

  // The button of this list that the keyboard is at: {device, does, at (its place)}, or null.
  #focused() {
    const item = document.activeElement?.closest("li");
    if (item?.parentElement !== this.#list) return null;
    return { device: item.dataset.device, does: document.activeElement.dataset.does, at: [...this.#list.children].indexOf(item) };
  }

  #focus({ device, does, at }) {
    const items = [...this.#list.children];
    const item = items.find((i) => i.dataset.device === device) ?? items[Math.min(at, items.length - 1)];
    const button = item?.querySelector(`[data-does="${does}"]:enabled`) ?? item?.querySelector("button:enabled");
    button?.focus({ preventScroll: true });
  }

  #tile(slot, index) {
    const { slots } = this.#media;
    const video = element("video", { muted: true, autoplay: true, playsInline: true });
    video.srcObject = slot.track ? new MediaStream([slot.track]) : null;
    const { text, warn } = this.#nameOf(index);
    const button = (does, text, label, action, disabled = false) => {
      const made = element("button", { type: "button", className: "small", textContent: text, ariaLabel: label, title: label, disabled, onclick: action });
      made.dataset.does = does;
      return made;
    };
    const bar = element("div", { className: "tile-bar" });
    bar.append(
      element("span", { className: warn ? "badge warn" : "badge", textContent: text }),
      element("span", { className: "tile-label", textContent: slot.label, title: slot.label }),
    );
    if (slots.length > 1) {
      bar.append(
        button("up", "↑", `Move ${slot.label} up`, () => this.#media.moveCamera(slot.deviceId, -1), index === 0),
        button("down", "↓", `Move ${slot.label} down`, () => this.#media.moveCamera(slot.deviceId, 1), index === slots.length - 1),
      );
    }
    bar.append(button("remove", "✕", `Do not use ${slot.label}`, () => this.#media.removeCamera(slot.deviceId)));
    const tile = element("li", { className: "tile" });
    tile.dataset.device = slot.deviceId;
    tile.append(video, bar);
    return tile;
  }

  #offer(device) {
    const item = element("li", { className: "tile unused" });
    item.dataset.device = device.deviceId;
    item.append(
      element("button", {
        type: "button",
        className: "add",
        textContent: `+ ${device.label}`,
        onclick: () => this.#attempt(() => this.#media.addCamera(device)),
      }),
    );
    return item;
  }
}
