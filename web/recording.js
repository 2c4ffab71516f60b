// Recording the call: the button that asks for it, the question to the other, and the red mark while it is on.
//
// The service tells everybody in the room how things stand (`recording`); nothing is shown that it did not say.

import { sentence } from "./words.js";

const WORDS = { off: "Record", asked: "Cancel", on: "Stop recording" };

export class RecordingControl {
  #state = "off";
  #actions;
  #button;
  #mark;
  #said;
  #dialog;
  #left = null; // the timer that counts down

  // `actions`: say(action), notice(code, message).
  constructor(root, actions) {
    this.#actions = actions;
    this.#button = root.querySelector("[data-call=record]");
    this.#mark = root.querySelector("#recorded");
    this.#said = root.querySelector("#recorded-said");
    this.#dialog = root.querySelector("#consent");
    this.#button.onclick = () => actions.say(this.#state === "off" ? "ask" : "stop");
    for (const answer of this.#dialog.querySelectorAll("[data-answer]")) {
      answer.onclick = () => this.#answer(answer.dataset.answer);
    }
    this.#dialog.oncancel = (event) => {
      event.preventDefault(); // Escape is an answer too
      this.#answer("refuse");
    };
  }

  // A call begins, or goes on: `possible` where the service records calls.
  begin(possible) {
    this.#button.hidden = !possible;
    this.take({ state: "off" });
  }

  end() {
    this.begin(false);
  }

  take({ state, by = null, asks_you = false, left_s = null, missing = 0, code = null, message = null }) {
    const before = this.#state;
    this.#state = state;
    this.#button.setAttribute("aria-pressed", String(state === "on"));
    this.#button.querySelector("span").textContent = WORDS[state];
    this.#button.title = WORDS[state];
    this.#ask(asks_you ? by : null, left_s);
    this.#mark.hidden = state === "off";
    this.#mark.classList.toggle("on", state === "on");
    const lost = missing ? ` · ${missing} ${missing === 1 ? "picture" : "pictures"} missing` : "";
    this.#mark.textContent = state === "on" ? `Recording${lost}` : "Asking to record…";
    if (state === before) return;
    this.#said.textContent = { off: "", asked: asks_you ? "" : "Asking to record this call.", on: "This call is being recorded." }[state];
    if (message) this.#actions.notice(code, sentence(message));
  }

  #answer(answer) {
    this.#ask(null);
    this.#actions.say(answer);
  }

  #ask(who, left_s) {
    clearInterval(this.#left);
    if (who === null) return this.#dialog.close();
    this.#dialog.querySelector("h2").textContent = `${who} asks to record this call`;
    const until = performance.now() + left_s * 1000;
    const count = () => {
      const left = Math.max(0, Math.ceil((until - performance.now()) / 1000));
      this.#dialog.querySelector(".hint").textContent = `Without an answer within ${left} s nothing is recorded.`;
    };
    count();
    this.#left = setInterval(count, 1000);
    if (!this.#dialog.open) this.#dialog.showModal();
  }
}
