// The button "Test the connection" of the join screen, and the line that says what to expect of a call.

import { LinkTest } from "./linktest.js";
import { linkVerdict } from "./linkverdict.js";
import { explain, Problem } from "./words.js";

const SAYS = "Your picture goes to the service and back for six seconds…";
const TAKEN = new Set(["wrong-kind", "room-full"]); // of a room that isn't the test's own

export class ConnectionTest {
  #ui;
  #media;
  #wish;
  #test = null;

  // `ui` is {button, told}; `wish` returns {room, token}. The test has a room of its own, so that it is in nobody's way; a
  // token may open one room only, which is then where it is.
  constructor(ui, media, wish) {
    this.#ui = ui;
    this.#media = media;
    this.#wish = wish;
    ui.button.onclick = () => (this.#test ? this.stop() : this.#run());
  }

  stop() {
    this.#test?.stop();
  }

  async #run() {
    const camera = this.#media.cameras()[0]?.track ?? null;
    const { width, height } = { ...this.#media.size, ...camera?.getSettings() };
    this.#say("", SAYS);
    this.#ui.button.textContent = "Stop the test";
    try {
      if (typeof RTCPeerConnection === "undefined") throw new Problem("no-webrtc");
      const { room, token } = this.#wish();
      const test = (where) => {
        this.#test = new LinkTest(camera, [width, height]);
        return this.#test.run({ room: where, name: "Connection test", ...(token && { token }) });
      };
      const own = `test-${crypto.getRandomValues(new Uint32Array(1))[0].toString(16)}`;
      const link = await test(own).catch((problem) => {
        if (problem?.code !== "bad-token" || !token || !room) throw problem;
        return test(room);
      });
      const { grade, text } = linkVerdict(link);
      this.#say(grade, text);
    } catch (problem) {
      if (problem === null) this.#say("", "");
      else if (TAKEN.has(problem.code)) this.#say("fair", "Somebody is in this room: just join.");
      else if (problem instanceof Problem) {
        const { title, text } = explain(problem.code, problem.message);
        this.#say("poor", `${title}. ${text}`);
      } else throw problem;
    } finally {
      this.#test?.stop();
      this.#test = null;
      this.#ui.button.textContent = "Test the connection";
    }
  }

  #say(grade, text) {
    this.#ui.told.dataset.grade = grade;
    this.#ui.told.textContent = text;
  }
}
