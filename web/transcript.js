// A transcript as a file: text, SubRip, WebVTT or JSON, made of commits {speaker, text, start_ms, end_ms, as_said} in ms
// since the call began, in the order in which they came; as_said where a second pass corrected what was said.

import { save } from "./save.js";

const CUE_CHARACTERS = 84;
const CUE_MS = 6000;
const GAP_MS = 1500;
const SHORTEST_MS = 1000;
const PARAGRAPH_GAP_MS = 4000;

export const FORMATS = [
  ["txt", "Text", "text/plain"],
  ["srt", "Subtitles (SRT)", "application/x-subrip"],
  ["vtt", "Subtitles (WebVTT)", "text/vtt"],
  ["json", "JSON", "application/json"],
];

// Have the browser save a transcript; return what to tell of it.
export function saveTranscript(commits, format) {
  const [suffix, , type] = FORMATS.find(([name]) => name === format);
  const name = `transcript.${suffix}`;
  save(new Blob([transcriptFile(commits, format)], { type }), name);
  return `Saved as ${name}, where your browser keeps downloads.`;
}

export function transcriptFile(commits, format) {
  const said = commits.filter((c) => c.text.trim());
  if (format === "json") {
    const captions = said.map(({ speaker, text, start_ms, end_ms, as_said }) => ({ speaker, text, start_ms, end_ms, as_said }));
    return `${JSON.stringify({ v: 1, captions }, null, 1)}\n`;
  }
  if (format === "srt") {
    // SubRip knows no speakers
    const several = new Set(said.map((c) => c.speaker)).size > 1;
    const named = (c) => (several ? `${c.speaker}: ${c.text}` : c.text);
    const blocks = cues(said).map((c, i) => `${i + 1}\n${clock(c.start_ms, ",")} --> ${clock(c.end_ms, ",")}\n${named(c)}\n`);
    return blocks.join("\n");
  }
  if (format === "vtt") {
    const blocks = cues(said).map((c) => `${clock(c.start_ms, ".")} --> ${clock(c.end_ms, ".")}\n<v ${escaped(c.speaker)}>${escaped(c.text)}\n`);
    return ["WEBVTT\n", ...blocks].join("\n");
  }
  const turns = joined(said, (turn, c) => c.start_ms - turn.end_ms <= PARAGRAPH_GAP_MS);
  return turns.map((t) => `${t.speaker}: ${t.text}\n`).join("\n");
}

// Commits of one speaker that belong together, in the order of their starts; no cue of a speaker overlaps the next.
function cues(commits) {
  const found = joined(
    commits.flatMap(pieces),
    (cue, c) =>
      c.start_ms - cue.end_ms <= GAP_MS &&
      cue.text.length + c.text.length < CUE_CHARACTERS &&
      c.end_ms - cue.start_ms <= CUE_MS &&
      !/[.?!]$/.test(cue.text),
  ).sort((a, b) => a.start_ms - b.start_ms);
  const last = new Map();
  for (const cue of found) {
    const before = last.get(cue.speaker);
    if (before) {
      cue.start_ms = Math.max(cue.start_ms, before.start_ms + 1);
      before.end_ms = Math.min(Math.max(before.end_ms, before.start_ms + SHORTEST_MS), cue.start_ms);
    }
    last.set(cue.speaker, cue);
  }
  for (const cue of last.values()) cue.end_ms = Math.max(cue.end_ms, cue.start_ms + SHORTEST_MS);
  return found;
}

// A long passage in pieces that fit a cue, its time shared out by characters.
function pieces({ speaker, text, start_ms, end_ms }) {
  const found = [];
  const step = (end_ms - start_ms) / text.length;
  for (let at = 0; at < text.length; ) {
    const fits = at + CUE_CHARACTERS / 2;
    const before = text.lastIndexOf(" ", fits);
    const after = text.indexOf(" ", fits);
    const end = fits >= text.length ? text.length : before > at ? before : after > 0 ? after : text.length;
    const part = text.slice(at, end).trim();
    if (part) found.push({ speaker, text: part, start_ms: Math.round(start_ms + at * step), end_ms: Math.round(start_ms + end * step) });
    at = end;
  }
  return found;
}

function joined(commits, together) {
  const runs = [];
  const open = new Map(); // speaker -> their last run
  for (const { speaker, text, start_ms, end_ms } of commits) {
    const run = open.get(speaker);
    if (run && together(run, { text, start_ms, end_ms })) {
      run.text = `${run.text} ${text.trim()}`;
      run.end_ms = Math.max(run.end_ms, end_ms);
    } else {
      const begun = { speaker, text: text.trim(), start_ms, end_ms };
      open.set(speaker, begun);
      runs.push(begun);
    }
  }
  return runs;
}

function clock(ms, mark) {
  const total = Math.max(Math.round(ms), 0);
  const two = (value) => String(value).padStart(2, "0");
  const seconds = `${two(Math.floor(total / 3_600_000))}:${two(Math.floor(total / 60_000) % 60)}:${two(Math.floor(total / 1000) % 60)}`;
  return `${seconds}${mark}${String(total % 1000).padStart(3, "0")}`;
}

function escaped(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
