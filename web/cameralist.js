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

  // Show everything anew; of `devices`, those that aren't chosen are offered.
  draw(devices) {
    const { slots } = this.#media;
    const rest = devices.filter((d) => !slots.some((s) => s.deviceId === d.deviceId));
    this.#list.replaceChildren(...slots.map((s, i) => this.#tile(s, i)), ...rest.map((d) => this.#offer(d)));
  }

  #tile(slot, index) {
    const { slots } = this.#media;
    const video = element("video", { muted: true, autoplay: true, playsInline: true });
    video.srcObject = slot.track ? new MediaStream([slot.track]) : null;
    const { text, warn } = this.#nameOf(index);
    const button = (text, label, action, disabled = false) =>
      element("button", { type: "button", className: "small", textContent: text, ariaLabel: label, title: label, disabled, onclick: action });
    const bar = element("div", { className: "tile-bar" });
    bar.append(
      element("span", { className: warn ? "badge warn" : "badge", textContent: text }),
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
        onclick: () => this.#attempt(() => this.#media.addCamera(device)),
      }),
    );
    return item;
  }
}
