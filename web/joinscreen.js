// The join screen: who, where and with which devices; and, in plain words, what stood in the way.
//
// The room comes from /room/NAME or ?room=NAME, the name from the last visit or ?name=, the token from #token=... (a
// fragment is never sent to a server or written into its log). ?viewer and ?mirror tick their boxes.

import { Chooser } from "./chooser.js";
import { ConnectionTest } from "./connectiontest.js";
import { devicesBlocked } from "./devices.js";
import { element, fillSelect } from "./dom.js";
import { LANGUAGES } from "./languages.js";
import { recall, remember } from "./memory.js";
import { explain, insecureAdvice } from "./words.js";

const DEVICE_CODES = new Set(["permission-denied", "no-camera", "no-microphone", "no-devices", "device-busy", "device-error"]);

export class JoinScreen {
  #form;
  #problem;
  #chooser;
  #media;
  #enter;
  #setUp;
  #test;
  #columns; // all that may be filled in
  #busy = false;
  #late = null; // a rig that waits until it may be used

  // `enter` takes what `join` says and rejects with a Problem; `setUp` takes the token and shows the set-up of a rig.
  constructor(root, media, enter, setUp) {
    this.#media = media;
    this.#enter = enter;
    this.#form = root.querySelector("#form");
    this.#problem = root.querySelector("#problem");
    this.#columns = this.#form.parentElement;
    this.#chooser = new Chooser(root.querySelector("#devices"), media, (problem) => this.tell(problem));
    this.#test = new ConnectionTest(
      { button: root.querySelector("#test"), told: root.querySelector("#test-told") },
      media,
      () => ({ room: this.#fields.room.value.trim(), token: this.#fields.token.value }),
    );
    this.#fill();
    this.#form.onsubmit = (event) => {
      event.preventDefault();
      this.#submit();
    };
    this.#fields.viewer.onchange = () => this.#chooseViewer();
    this.#setUp = setUp;
    for (const button of root.querySelectorAll("[data-ui=setup], [data-ui=mend]")) button.onclick = () => this.setUp();
    this.#part("again").onclick = () => this.#retry();
    this.#draw();
  }

  // Look for devices where that needs no question; say why they are blocked where they are.
  begin() {
    if (devicesBlocked()) {
      this.#fields.viewer.checked = true;
      this.#draw();
      this.#show({ code: "insecure", ...insecureAdvice(location) });
      return;
    }
    if (!this.#fields.viewer.checked) this.#chooser.begin();
  }

  // Go to the set-up of a rig.
  setUp() {
    this.away();
    this.#setUp(this.#fields.token.value);
  }

  // The call has begun; the devices stay open, for it.
  away() {
    this.#test.stop();
    this.#chooser.stopLevel();
    this.tell(null);
  }

  // Back from a call, perhaps because of a problem.
  again(problem) {
    this.#media.release();
    this.#chooser.close();
    this.#draw();
    this.tell(problem ?? null);
    if (!problem && devicesBlocked()) this.begin();
    this.#useLate();
    this.#takeFocus();
  }

  // Back from a set-up, with the rig that it made ({rig, devices, name}) or none, or a problem.
  async resume(made, problem) {
    const rig = made ?? this.#late;
    this.#late = null;
    if (rig) this.#chooser.useRig(rig);
    if (this.#media.slots.length || this.#media.microphone) await this.#chooser.find();
    if (problem) this.tell(problem);
  }

  // A rig came when its set-up had been left. A call goes on with what it began with; the next one uses it.
  late(made) {
    this.#late = made;
    this.#useLate();
  }

  #useLate() {
    if (this.#late && !this.#busy && document.body.dataset.screen === "join") this.resume(null);
  }

  tell(problem) {
    for (const input of this.#form.querySelectorAll("[aria-invalid]")) {
      input.removeAttribute("aria-invalid");
      input.removeAttribute("aria-describedby");
    }
    if (!problem) this.#problem.hidden = true;
    else this.#show(explain(problem.code, problem.message));
  }

  get #fields() {
    return this.#form.elements;
  }

  #part(name) {
    return this.#problem.querySelector(`[data-problem="${name}"]`);
  }

  #fill() {
    const fields = this.#fields;
    const query = new URLSearchParams(location.search);
    fields.room.value = roomOfPath(location.pathname) ?? query.get("room") ?? "";
    fields.name.value = query.get("name") ?? recall("name") ?? "";
    const token = new URLSearchParams(location.hash.slice(1)).get("token") ?? recall("token", "sessionStorage") ?? "";
    fields.token.value = token;
    document.getElementById("token-field").hidden = !token;
    fields.viewer.checked = query.has("viewer");
    fields.mirror.checked = query.has("mirror");
    fillSelect(fields.source, [["auto", "Detect the language"], ...LANGUAGES], recall("source") ?? "auto");
    if (!fields.source.value) fields.source.value = "auto";
  }

  #draw() {
    const { viewer, mirror, source } = this.#fields;
    this.#media.viewer = viewer.checked;
    viewer.disabled = devicesBlocked();
    document.querySelector("#devices .without span").hidden = devicesBlocked();
    mirror.disabled = viewer.checked;
    source.disabled = viewer.checked;
    document.getElementById("devices").classList.toggle("off", viewer.checked);
    document.getElementById("devices").inert = viewer.checked;
  }

  // Who only watches has no device on.
  #chooseViewer() {
    this.#draw();
    if (this.#media.viewer) {
      this.#media.release();
      this.#chooser.close();
    } else this.#chooser.begin();
  }

  get #ready() {
    const { viewer, slots, microphone } = this.#media;
    return viewer || (!this.#chooser.searching && (slots.length > 0 || microphone !== null));
  }

  async #submit() {
    if (this.#busy) return;
    this.#setBusy(true);
    try {
      if (!this.#ready) await this.#chooser.find();
      if (this.#ready) await this.#join();
    } catch (problem) {
      this.tell(problem);
    } finally {
      this.#setBusy(false);
      this.#useLate();
      this.#takeFocus();
    }
  }

  // What had the focus has gone or was locked.
  #takeFocus() {
    const { activeElement, body } = document;
    if (activeElement !== body && !activeElement.closest("[hidden]")) return;
    this.#form.querySelector("[type=submit]").focus({ preventScroll: true }); // in vain where another screen is shown
  }

  async #join() {
    const fields = this.#fields;
    const { viewer } = this.#media;
    const { rig } = this.#media; // also of who only watches, and may add cameras later
    const wish = {
      room: fields.room.value.trim(),
      name: fields.name.value.trim(),
      mirror: fields.mirror.checked && !viewer,
      fps: this.#media.fps,
      speech: viewer ? { enabled: false } : { source: fields.source.value },
      ...(fields.token.value && { token: fields.token.value }),
      ...(rig && { rig }),
    };
    remember("name", wish.name);
    remember("source", fields.source.value);
    this.#test.stop();
    this.tell(null);
    this.#columns.inert = true;
    try {
      await this.#enter(wish);
    } finally {
      this.#columns.inert = false;
    }
    if (wish.token) remember("token", wish.token, "sessionStorage");
  }

  #setBusy(on) {
    this.#busy = on;
    const button = this.#form.querySelector("[type=submit]");
    button.disabled = on;
    button.textContent = on ? "Joining…" : "Join";
  }

  #retry() {
    if (DEVICE_CODES.has(this.#problem.dataset.code)) this.#chooser.find();
    else this.#form.requestSubmit();
  }

  #show({ code, title, text, steps, field }) {
    this.#problem.dataset.code = code;
    this.#part("title").textContent = title;
    this.#part("text").textContent = text;
    const list = this.#part("steps");
    list.hidden = !steps;
    list.replaceChildren(
      ...(steps ?? []).map(([what, ...codes]) => {
        const item = element("li", { textContent: what });
        for (const c of codes) item.append(element("code", { textContent: c }));
        return item;
      }),
    );
    // a field that must change first makes “Try again” pointless
    this.#part("again").hidden = Boolean(field && field !== "rig") || code === "insecure" || code === "no-webrtc";
    this.#problem.hidden = false;
    if (field === "token") document.getElementById("token-field").hidden = false;
    if (field && this.#fields[field]) {
      const input = this.#fields[field];
      input.focus({ preventScroll: true });
      input.select();
      input.setAttribute("aria-invalid", "true");
      input.setAttribute("aria-describedby", "problem");
    }
    this.#problem.scrollIntoView({ block: "nearest" });
  }
}

// The NAME of /room/NAME, or null.
function roomOfPath(path) {
  try {
    return decodeURIComponent(path.match(/^\/room\/([^/]+)/)?.[1] ?? "") || null;
  } catch {
    return null; // a stray % is no name
  }
}
