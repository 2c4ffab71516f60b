// The transcript of a call that has ended, offered on the join screen until another one takes its place.

import { fillSelect } from "./dom.js";
import { FORMATS, saveTranscript } from "./transcript.js";

export class LeftTranscript {
  #root;
  #commits = [];

  // `root` holds a select, a button and an element that says where the file is.
  constructor(root) {
    this.#root = root;
    const formats = root.querySelector("select");
    fillSelect(formats, FORMATS, FORMATS[0][0]);
    root.querySelector("button").onclick = () => {
      root.querySelector("[role=status]").textContent = saveTranscript(this.#commits, formats.value);
    };
  }

  // A call has ended with these commits; where there are none, those of the call before stay.
  keep(commits) {
    if (!commits.length) return;
    this.#commits = commits;
    this.#root.querySelector("[role=status]").textContent = "It is kept until you close this page.";
    this.#root.hidden = false;
  }
}
