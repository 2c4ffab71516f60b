// Notices over the call, one after another, each long enough to be read. Their clock runs only while they can be seen.

const ALONE_MS = 7000;
const BUSY_MS = 3000; // while others wait

export class Toast {
  #root;
  #waiting = []; // {code, message}; the first is shown
  #on = false;
  #since = 0;
  #timer = null;

  constructor(root) {
    this.#root = root;
    document.addEventListener("visibilitychange", () => this.#show());
  }

  // The call comes into sight.
  begin() {
    if (this.#on) return;
    this.#on = true;
    this.#show();
  }

  // The call is over, and what was to be said in it.
  end() {
    this.#on = false;
    this.#waiting = [];
    this.#show();
  }

  // Show a notice once those before it have been seen; one that still waits, or is seen, isn't said twice.
  add(code, message) {
    const at = this.#waiting.findIndex((notice) => notice.code === code && notice.message === message);
    if (at < 0) this.#waiting.push({ code, message });
    if (at === 0 || this.#waiting.length === 1) this.#show();
    else this.#arm();
  }

  #show() {
    const notice = this.#waiting[0];
    const shown = Boolean(notice) && this.#on;
    this.#root.textContent = shown ? notice.message : "";
    this.#root.dataset.code = shown ? notice.code : "";
    this.#root.hidden = !shown;
    this.#since = performance.now();
    this.#arm();
  }

  #arm() {
    clearTimeout(this.#timer);
    if (this.#root.hidden || document.hidden) return;
    const whole = this.#waiting.length > 1 ? BUSY_MS : ALONE_MS;
    this.#timer = setTimeout(() => {
      this.#waiting.shift();
      this.#show();
    }, this.#since + whole - performance.now());
  }
}
