// The address to hand on, shown to whoever is alone in a room.

const HERE_ONLY = new Set(["localhost", "127.0.0.1", "[::1]"]);

export class Invite {
  #root;
  #address;
  #copy;
  #note;

  // `root` holds an input, a button and a small.
  constructor(root) {
    this.#root = root;
    this.#address = root.querySelector("input");
    this.#copy = root.querySelector("button");
    this.#copy.onclick = () => this.#take();
    this.#address.onfocus = () => this.#address.select();
    this.#note = root.querySelector("small");
  }

  // Show the address of `room`, null: nothing. `token`: whoever comes needs one, which the address doesn't hold.
  show(room, token = false) {
    this.#root.hidden = room === null;
    if (room === null) return;
    this.#address.value = `${location.origin}/room/${encodeURIComponent(room)}`;
    this.#copy.textContent = "Copy";
    const notes = [];
    if (token) notes.push("Your access token is not in it: the other person needs one too, from whoever runs the service.");
    if (HERE_ONLY.has(location.hostname)) {
      notes.push("“localhost” is this computer only: to be reached from others, the service needs an address of its own (HTTPS).");
    }
    this.#note.textContent = notes.join(" ");
  }

  async #take() {
    this.#address.select();
    try {
      await navigator.clipboard.writeText(this.#address.value);
      this.#copy.textContent = "Copied";
    } catch {
      this.#copy.textContent = "Press Ctrl+C"; // no clipboard without HTTPS; the address is selected
    }
  }
}
