// The WebSocket: tagged JSON messages, `v: 1`. One request may wait for its reply at a time; an `error` about it is its
// answer. Everything else is handed to `onmessage`, the end of the connection to `onclose`. An `error` that the service
// could not assign (a message that it could not read) is about the oldest that has no answer: answers keep the order.

import { Problem } from "./words.js";

const OPEN_MS = 8000;
const REPLY_MS = 20_000;
const BACK = 4000;
const REPLIES = { join: "joined", offer: "answer", configure: "configured" }; // what is always answered, and with what

export const socketUrl = (location) => `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}/ws`;

export class Signalling {
  onmessage = () => {};
  onclose = () => {};
  #socket = null;
  #waiting = null; // {type, resolve, reject} of the request
  #due = []; // types of the messages that have no answer yet
  #heard = null; // takes whether the service closed the socket, after a goodbye

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  // Resolve when open; throws Problem("unreachable").
  open(url, patience = OPEN_MS) {
    const socket = new WebSocket(url);
    this.#socket = socket;
    return new Promise((resolve, reject) => {
      let opened = false;
      let late = false; // closed here, because it did not open in time
      const timer = setTimeout(() => {
        late = true;
        socket.close();
      }, patience);
      socket.onopen = () => {
        opened = true;
        clearTimeout(timer);
        resolve();
      };
      socket.onmessage = (event) => this.#receive(event.data);
      socket.onclose = (event) => {
        clearTimeout(timer);
        this.#heard?.(event.wasClean);
        const problem = new Problem("unreachable", event.reason);
        this.#waiting?.reject(problem);
        this.#waiting = null;
        if (opened) this.onclose(problem);
        else if (late) reject(problem);
        else whyClosed(problem, patience).then(reject);
      };
    });
  }

  #receive(data) {
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      return;
    }
    const about = this.#answered(message);
    const refused = message.type === "error";
    const waiting = this.#waiting;
    if (waiting && waiting.type === about) {
      this.#waiting = null;
      if (refused) waiting.reject(new Problem(message.code, message.message));
      else waiting.resolve(message);
    } else this.onmessage(refused ? { ...message, re: about } : message);
  }

  // The type of the message of ours that this one answers, if it is an answer.
  #answered({ type, re }) {
    const about = type === "error" ? (re ?? this.#due[0]) : Object.keys(REPLIES).find((asked) => REPLIES[asked] === type);
    this.#due.splice(0, this.#due.indexOf(about) + 1);
    return about;
  }

  send(type, fields = {}) {
    if (!this.isOpen) return;
    if (type in REPLIES) this.#due.push(type);
    this.#socket.send(JSON.stringify({ type, v: 1, ...fields }));
  }

  // Send and resolve with the reply; throws the Problem that the service answered, "timeout", or "unreachable" where the
  // socket is not open or closes.
  request(type, fields, patience = REPLY_MS) {
    if (!this.isOpen) return Promise.reject(new Problem("unreachable"));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting = null;
        reject(new Problem("timeout"));
      }, patience);
      const done = (settle) => (value) => {
        clearTimeout(timer);
        settle(value);
      };
      this.#waiting = { type, resolve: done(resolve), reject: done(reject) };
      this.send(type, fields);
    });
  }

  // Say that the call is over and resolve with whether the service has heard it, which it shows by closing.
  leave(patience) {
    if (!this.isOpen) return Promise.resolve(false);
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, patience, false);
      this.#heard = (clean) => {
        clearTimeout(timer);
        resolve(clean);
      };
      this.send("leave");
    });
  }

  // Say goodbye, or with `back` none: then the service keeps the session for a while.
  close(back = false) {
    this.onclose = () => {};
    this.onmessage = () => {};
    this.#socket?.close(back ? BACK : 1000);
  }
}

// A socket that doesn't open gives no reason; a service that is healthy otherwise has refused this page's origin.
async function whyClosed(problem, patience) {
  try {
    const { ok } = await fetch("/healthz", { cache: "no-store", signal: AbortSignal.timeout(patience) });
    return ok ? new Problem("origin-refused") : problem;
  } catch {
    return problem;
  }
}
