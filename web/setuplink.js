// One set-up at the service (docs/wire.md, "Setting up a rig"): what is refused is thrown as a Problem.

import { Problem } from "./words.js";

export class SetupLink {
  #token;
  #where = null;
  wanted = 0; // views of each camera

  constructor(token) {
    this.#token = token;
  }

  // Begin with a board ("charuco:7x5:0.029:0.022:4X4_50") and the cameras' names.
  async begin(board, cameras) {
    const body = JSON.stringify({ type: "begin", board, cameras });
    const response = await this.#ask("/setup", { method: "POST", body, type: "application/json" });
    this.#where = response.headers.get("Location");
    this.wanted = (await response.json()).wanted;
  }

  // Let the service look at one JPEG blob of each camera; returns `seen`.
  async look(pictures) {
    const query = pictures.map((p) => p.size).join(",");
    const body = new Blob(pictures);
    const at = `${this.#where}/look?bytes=${query}`;
    return (await this.#ask(at, { method: "POST", body, type: "application/octet-stream" })).json();
  }

  // The board as a blob, `form` "svg" or "png".
  async sheet(form) {
    return (await this.#ask(`${this.#where}/sheet?form=${form}`)).blob();
  }

  // Make the rig; returns `solved`.
  async finish() {
    return (await this.#ask(`${this.#where}/finish`, { method: "POST" })).json();
  }

  // End it; may be called at any time, also as the page goes away.
  end() {
    const where = this.#where;
    this.#where = null;
    if (where) this.#ask(where, { method: "DELETE", keepalive: true }).catch(() => {});
  }

  async #ask(address, { method = "GET", body, type, keepalive } = {}) {
    const headers = { ...(this.#token && { Authorization: `Bearer ${this.#token}` }), ...(type && { "Content-Type": type }) };
    let response;
    try {
      response = await fetch(address, { method, body, headers, keepalive, cache: "no-store" });
    } catch {
      throw new Problem("unreachable");
    }
    if (response.ok) return response;
    const { code = "setup-failed", message = "" } = await response.json().catch(() => ({}));
    throw new Problem(code, message);
  }
}
