// What was said, in English: committed text is final, tentative text may still change.
//
// The channel is ordered and reliable, so commits are kept as they come; tentative text belongs to a speaker and is
// replaced by the next tentative, or emptied by a commit or when the speaker leaves. The band under the picture shows the end of it, the
// transcript all; a screen reader is told commits only, because tentative text would make it stammer.

import { element } from "./dom.js";

const BAND_CHARACTERS = 180;
const PARAGRAPH_GAP_MS = 4000;
const SPOKEN_LINES = 20;

export class Captions {
  commits = []; // {speaker, id, text, source_start_ms, source_end_ms, wall_ms, start_ms, end_ms}: the last two since now
  tentative = new Map(); // speaker -> text
  #band;
  #transcript;
  #spoken;
  #speakers = new Set(); // whoever has said anything
  #paragraph = null; // {speaker, end, element}
  #began; // performance.now()
  #corrected = true;
  #runs = new Map(); // speaker -> {zero, last, commits: id -> commit}: since their ids began last
  #spans = new Map(); // commit -> its element in the transcript
  #passages = new Map(); // commit -> {commits, text} that a second pass has corrected

  constructor(band, transcript, spoken) {
    this.#began = performance.now();
    this.#band = band;
    this.#transcript = transcript;
    this.#spoken = spoken;
  }

  // Forget the tentative text of all but these speakers.
  keepTentative(speakers) {
    for (const speaker of [...this.tentative.keys()]) if (!speakers.includes(speaker)) this.tentative.delete(speaker);
    this.#drawBand();
  }

  clear() {
    this.commits = [];
    this.#runs.clear();
    this.#spans.clear();
    this.#passages.clear();
    this.#began = performance.now();
    this.#speakers.clear();
    this.#paragraph = null;
    this.#transcript.replaceChildren();
    this.#spoken.replaceChildren();
    this.keepTentative([]);
  }

  take(message) {
    if (message.type === "tentative") {
      this.tentative.set(message.speaker, message.text);
    } else if (message.type === "commit") {
      const before = this.commits.at(-1)?.speaker;
      this.#speakers.add(message.speaker);
      this.tentative.delete(message.speaker);
      const commit = { ...message };
      this.#date(commit);
      this.commits.push(commit);
      this.#spans.set(commit, this.#write(message));
      const named = this.#speakers.size > 1 && message.speaker !== before;
      this.#spoken.append(element("p", { textContent: named ? `${message.speaker}: ${message.text}` : message.text }));
      if (this.#spoken.childElementCount > SPOKEN_LINES) this.#spoken.firstChild.remove();
    } else if (message.type === "revision") {
      this.#revise(message);
      return;
    } else return;
    this.#drawBand();
  }

  // Show the transcript as it was said, or corrected by the second pass over each phrase.
  set corrected(corrected) {
    this.#corrected = corrected;
    this.#transcript.classList.toggle("as-said", !corrected);
  }

  // The transcript comes into sight: show its end, and follow it from there.
  open() {
    this.#transcript.scrollTop = this.#transcript.scrollHeight;
  }

  // The commits for a file; a corrected passage is one of them, with its words as_said.
  saved() {
    if (!this.#corrected) return this.commits;
    return this.commits.flatMap((commit) => {
      const passage = this.#passages.get(commit);
      if (!passage) return [commit];
      if (passage.commits[0] !== commit) return [];
      const as_said = passage.commits.map((c) => c.text).reduce(join);
      return [{ ...commit, text: passage.text, as_said, end_ms: passage.commits.at(-1).end_ms }];
    });
  }

  // Each speaker's voice has a zero of its own, and a new one with its ids when they come again. That it took until now is
  // known of all, but what was said in an outage comes late: the least is nearest to the truth, for what came before too.
  #date(commit) {
    const { speaker, id, wall_ms } = commit;
    let run = this.#runs.get(speaker);
    if (!run || id <= run.last.id || wall_ms < run.last.wall_ms) {
      run = { zero: Infinity, last: commit, commits: new Map() };
      this.#runs.set(speaker, run);
    }
    run.last = commit;
    run.commits.set(id, commit);
    const zero = performance.now() - this.#began - wall_ms;
    const changed = zero < run.zero ? run.commits.values() : [commit];
    run.zero = Math.min(zero, run.zero);
    for (const each of changed) {
      each.start_ms = Math.round(run.zero + each.source_start_ms);
      each.end_ms = Math.round(run.zero + each.source_end_ms);
    }
  }

  #revise({ speaker, ids, text }) {
    // A worker that was replaced may correct what was said before this page came.
    const commits = ids.map((id) => this.#runs.get(speaker)?.commits.get(id));
    if (!commits.every(Boolean)) return;
    for (const commit of commits) {
      this.#passages.set(commit, { commits, text });
      this.#spans.get(commit).classList.add("superseded");
    }
    this.#spans.get(commits[0]).before(element("span", { className: "corrected", textContent: `${text} ` }));
  }

  #write({ speaker, text, source_start_ms, source_end_ms }) {
    const open = this.#paragraph;
    if (!open || open.speaker !== speaker || source_start_ms - open.end > PARAGRAPH_GAP_MS || source_end_ms < open.end) {
      const paragraph = element("p");
      paragraph.append(element("b", { textContent: speaker }), element("span"));
      this.#transcript.append(paragraph);
      this.#paragraph = { speaker, element: paragraph.lastChild };
    }
    this.#paragraph.end = source_end_ms;
    const span = element("span", { textContent: `${text.trim()} ` });
    this.#paragraph.element.append(span);
    const scroller = this.#transcript;
    if (scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 120) scroller.scrollTop = scroller.scrollHeight;
    return span;
  }

  #drawBand() {
    const last = this.commits.at(-1)?.speaker;
    const speakers = new Set([...this.tentative].filter(([, t]) => t).map(([s]) => s));
    if (last !== undefined) speakers.add(last);
    const several = new Set([...this.#speakers, ...speakers]).size > 1;
    const lines = [...speakers].sort().map((speaker) => {
      const line = element("p", { className: "caption" });
      if (several) line.append(element("b", { textContent: speaker }));
      const said = this.#tail(speaker);
      const next = this.tentative.get(speaker) ?? "";
      if (said) line.append(element("span", { className: "committed", textContent: said }));
      if (said && next) line.append(" ");
      if (next) line.append(element("span", { className: "tentative", textContent: next }));
      return line;
    });
    this.#band.replaceChildren(...lines);
  }

  // The end of what a speaker said, whole words, at most a few lines long.
  #tail(speaker) {
    let text = "";
    for (let i = this.commits.length - 1; i >= 0 && text.length < BAND_CHARACTERS; i -= 1) {
      if (this.commits[i].speaker === speaker) text = join(this.commits[i].text, text);
    }
    if (text.length <= BAND_CHARACTERS) return text;
    return `… ${text.slice(text.indexOf(" ", text.length - BAND_CHARACTERS) + 1)}`;
  }
}

function join(before, after) {
  return before && after ? `${before.trimEnd()} ${after.trimStart()}` : before || after;
}
