"""`bench speech --sessions N`: calls in real time through a worker's own speech half: one, many at once, and for long.

What runs is what a worker runs: `Speakers` over `Lanes`, one model for all, a voice each. Recorded prompts, joined to
streams of any length (they begin again when all were heard). With several sessions the same is run for one alone, and
for all of them decoded one by one, so that what sharing costs and saves is a ratio from one run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from streamsvc.bench.network_voice import Listener
from streamsvc.bench.speech_data import LANGUAGES, Source, faster, streams
from streamsvc.bench.speech_score import Quality
from streamsvc.bench.speech_spoken import Spoken, at_leisure
from streamsvc.bench.view_report import Column, table
from streamsvc.budget.clock import Clock, MonotonicClock
from streamsvc.budget.dispatcher import OURS
from streamsvc.frames import link
from streamsvc.frames.audio import OUTPUT_RATE, SPEECH_RATE
from streamsvc.ledger.conditions import conditions, resident_bytes
from streamsvc.scene.talk import PAUSE_S
from streamsvc.speech.batcher import WIDTH, Batcher
from streamsvc.speech.errors import SpeechError
from streamsvc.speech.metrics import Output, by_phrase
from streamsvc.speech.policies import DEFAULT_POLICY, resolve
from streamsvc.worker.lanes import Lanes
from streamsvc.worker.speakers import Speakers
from streamsvc.worker.warm import SpeechParts, load_speech

BLOCK = SPEECH_RATE // 50
"""Samples that arrive at once: 20 ms, a WebRTC packet."""

PARTS = 10
"""A long call is told in ten parts."""

SETTLE_S = 8.0
"""What the last words may take after the last sound."""


@dataclass(frozen=True, slots=True)
class CallsBench:
    """What to run: `sessions` speakers at once for `minutes`, under `policy` and its `parameters`. `speed` is how much
    faster than recorded they speak, pitch kept; `lanes` as a worker has."""

    out: Path
    sessions: int = 4
    minutes: float = 2.0
    languages: tuple[str, ...] = LANGUAGES
    policy: str = DEFAULT_POLICY
    parameters: dict[str, float] = field(default_factory=dict)
    speed: float = 1.0
    model: str | None = None
    lanes: int = 2


@dataclass(slots=True)
class _Commit:
    said_s: float
    end_s: float
    read_s: float
    text: str


@dataclass(slots=True)
class _Session:
    """What one speaker was heard to say; seconds since its first sample."""

    source: Source
    commits: dict[int, _Commit] = field(default_factory=dict)
    revised: dict[int, str] = field(default_factory=dict)
    """The words of each commit that a second pass has corrected; those of a passage stand with its first."""
    heard: dict[int, float] = field(default_factory=dict)
    """When the voice began with each commit."""
    playing_to: float = 0.0
    troubles: list[str] = field(default_factory=list)


def run_calls(
    options: CallsBench,
    tell: Callable[[str], None],
    progress: Callable[[float, float], None] | None = None,
    parts: SpeechParts | None = None,
    clock: Clock | None = None,
    wait: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """Run the calls and return their figures; `tell` gets lines to read, `progress` (seconds gone, and in all).

    `parts`, `clock` and `wait` replace the model and its voice, and time. Raises SpeechError or PolicyError for options
    that can't be run, SceneError when the recordings are missing.
    """
    if options.sessions < 1 or not 0 < options.minutes <= 24 * 60 or not 0.5 <= options.speed <= 2:
        raise SpeechError(
            f"at least one session, up to 1440 minutes and a speed of 0.5 to 2 are accepted, got {options.sessions}, "
            f"{options.minutes:g} and {options.speed:g}"
        )
    resolve(options.policy, options.parameters)
    speakers = streams(options.sessions, options.minutes * 60 * options.speed, options.languages)
    if options.speed != 1:
        speakers = [faster(s, options.speed) for s in speakers]
    if parts is None:
        parts = load_speech(link.WorkerSettings(model=options.model))
        if parts.translator is None:
            raise SpeechError("; ".join(parts.notes) or "no speech translation here")
    plan = [("one", 1, 1)]
    if options.sessions > 1:
        count = options.sessions
        plan += [(f"{count}, batched", count, WIDTH), (f"{count}, one by one", count, 1)]
    total, done = len(plan) * options.minutes * 60, 0.0
    quality = Quality()
    rows: list[dict[str, Any]] = []
    deciles: list[dict[str, Any]] = []
    for name, count, width in plan:
        tell(f"{name}: {options.minutes:g} minutes")
        spoken = Spoken(options.out / f"voice-{len(rows)}.wav")
        call = _Call(options, parts, width, clock or MonotonicClock(), wait, spoken)
        for gone in call.run(speakers[:count]):
            if progress:
                progress(done + gone, total)
        done += options.minutes * 60
        rows.append({"sessions": name, **call.figures(quality), **call.voice(Listener(parts.translator))})
        deciles.append({"sessions": name, "parts": call.parts()})
    one = rows[0]
    for row in rows:
        row["p95_against_one"] = _ratio(row["lag_p95_s"], one["lag_p95_s"])
        row["compute_against_one"] = _ratio(row["compute"], one["compute"])
    result = {
        "conditions": conditions() | _conditions(options),
        "signatures": quality.signatures(),
        "rows": rows,
        "deciles": deciles,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "calls.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", "utf-8")
    text = _report(result)
    (options.out / "calls.md").write_text("\n".join(text) + "\n", "utf-8")
    for line in text:
        tell(line)
    tell(f"wrote {options.out}/calls.md and calls.json")
    return result


class _Call:
    """One run of some speakers, on a worker of their own."""

    def __init__(
        self,
        options: CallsBench,
        parts: SpeechParts,
        width: int,
        clock: Clock,
        wait: Callable[[float], None],
        spoken: Spoken,
    ) -> None:
        self._spoken = spoken
        self._options, self._parts, self._clock, self._wait = options, parts, clock, wait
        assert parts.translator is not None
        self._batcher = Batcher(parts.translator, width)
        self._lanes = Lanes(options.lanes, clock, replace(OURS, together=width))
        self._speakers = Speakers(parts.translator, parts.voice, self._lanes, clock, self._heard, self._batcher)
        self._sessions: dict[str, _Session] = {}
        self._memory: list[int] = []
        self._compute_s = 0.0
        self._start_ns = 0

    def run(self, sources: Sequence[Source]) -> Iterator[float]:
        """Feed the sources as they would arrive; yield the seconds gone, once a second."""
        self._lanes.start()
        for number, source in enumerate(sources):
            name = f"s{number}"
            self._sessions[name] = _Session(source)
            self._speakers.open(
                link.OpenSpeech(
                    stream=name,
                    policy=self._options.policy,
                    parameters=self._options.parameters,
                    source=source.language,
                )
            )
        begun = time.process_time()
        self._start_ns = self._clock.now_ns()
        seconds = self._options.minutes * 60
        blocks = round(seconds * SPEECH_RATE / BLOCK)
        for number in range(1, blocks + 1):
            due_s = number * BLOCK / SPEECH_RATE
            self._until(due_s)
            end_ns = self._start_ns + round(due_s * 1e9)
            for name, session in self._sessions.items():
                block = session.source.samples[(number - 1) * BLOCK : number * BLOCK]
                self._speakers.sound(link.SoundIn(stream=name, samples=block.astype("<f4").tobytes(), end_ns=end_ns))
            if number % 50 == 0:
                yield due_s
            if number % max(1, blocks // PARTS) == 0:
                self._memory.append(resident_bytes())
        self._compute_s = time.process_time() - begun
        self._until(seconds + SETTLE_S)
        self._speakers.close_all()
        self._lanes.stop()

    def _until(self, due_s: float) -> None:
        left = due_s - self._now_s()
        if left > 0:
            self._wait(left)

    def _now_s(self) -> float:
        return (self._clock.now_ns() - self._start_ns) / 1e9

    def _heard(self, message: link.FromWorker) -> None:
        now = self._now_s()
        match message:
            case link.Said():
                commit = _Commit(now, message.source_end_ms / 1000, message.audio_ms / 1000, message.text)
                self._sessions[message.stream].commits[message.id] = commit
            case link.Revised():
                words = dict.fromkeys(message.ids, "") | {message.ids[0]: message.text}
                self._sessions[message.stream].revised |= words
            case link.SoundOut():
                session = self._sessions[message.stream]
                if session is next(iter(self._sessions.values())):
                    self._spoken.add(np.frombuffer(message.samples, "<f4"))
                start = max(session.playing_to, now)
                session.playing_to = start + len(message.samples) / 4 / OUTPUT_RATE
                for id in message.ids:
                    session.heard.setdefault(id, start)
            case link.Trouble():
                self._sessions[message.stream].troubles.append(f"{message.code}: {message.message}")
            case _:
                pass

    def figures(self, quality: Quality) -> dict[str, Any]:
        """Return what came of it: lags in s, quality, CPU seconds for a second of speech, decodes for a call."""
        lags = self._lags()
        voice = self._voice_lags()
        scores: dict[str, float] = {}
        for prefix, revised in (("", False), ("transcript_", True)):
            texts, references = [], []
            for session in self._sessions.values():
                outputs, phrases = self._phrases(session, revised)
                texts += [o.text for o in outputs]
                references += phrases
            counts = quality.counts(texts, references) if references else {}
            scores |= {prefix + name: quality.score(name, count) for name, count in counts.items()}
        told = self._batcher.statistics()
        speech_s = self._options.minutes * 60 * len(self._sessions)
        return {
            "words": len(lags),
            "lag_p50_s": _percentile(lags, 50),
            "lag_p95_s": _percentile(lags, 95),
            "voice_p50_s": _percentile(voice, 50),
            "voice_p95_s": _percentile(voice, 95),
            **scores,
            "compute": self._compute_s / speech_s,
            "batch": told.decodes / told.calls if told.calls else None,
            "memory_mib": self._memory[-1] / 2**20 if self._memory else None,
            "troubles": sorted({t for s in self._sessions.values() for t in s.troubles}),
        }

    def voice(self, listener: Listener) -> dict[str, float | None]:
        """Return how well the first speaker's voice is understood, beside the same words said without haste, and the
        largest jump between two of its clauses."""
        first = next(iter(self._sessions.values()))
        texts = [c.text for i, c in sorted(first.commits.items()) if i in first.heard]
        error = self._spoken.word_error(texts, listener)
        figures = {"voice_word_error": error, "voice_jump_dbfs": self._spoken.jump_dbfs}
        if error is not None and self._parts.engine is not None:
            figures["leisurely_word_error"] = at_leisure(texts, self._parts.engine, listener)
        return figures

    def parts(self) -> list[dict[str, Any]]:
        """Return lags and memory of each tenth of the call."""
        length = self._options.minutes * 60 / PARTS
        return [
            {
                "from_s": i * length,
                "lag_p50_s": _percentile(self._lags(i * length, (i + 1) * length), 50),
                "lag_p95_s": _percentile(self._lags(i * length, (i + 1) * length), 95),
                "voice_p95_s": _percentile(self._voice_lags(i * length, (i + 1) * length), 95),
                "memory_mib": memory / 2**20,
            }
            for i, memory in enumerate(self._memory[:PARTS])
        ]

    def _lags(self, from_s: float = 0, to_s: float = float("inf")) -> list[float]:
        """For each word, from the end of the sound that its commit translates to the commit."""
        return [
            c.said_s - c.end_s
            for s in self._sessions.values()
            for c in s.commits.values()
            for _ in c.text.split()
            if from_s <= c.end_s < to_s
        ]

    def _voice_lags(self, from_s: float = 0, to_s: float = float("inf")) -> list[float]:
        return [
            s.heard[i] - c.said_s
            for s in self._sessions.values()
            for i, c in s.commits.items()
            if i in s.heard and from_s <= c.end_s < to_s
        ]

    def _phrases(self, session: _Session, revised: bool) -> tuple[list[Output], list[str]]:
        """Return what was said in each phrase that was heard to its end, or its correction, and the references."""
        phrases = [p for p in session.source.phrases if p.end_ms <= self._options.minutes * 60_000]
        if not phrases:
            return [], []
        # What was said of the phrase that the end of the call cut off isn't counted to the one before.
        texts_of = {i: c.text for i, c in session.commits.items()} | (session.revised if revised else {})
        kept = [(i, c) for i, c in session.commits.items() if c.end_s * 1000 <= phrases[-1].end_ms + PAUSE_S[0] * 1000]
        words = [(w, c.read_s * 1000, c.said_s * 1000) for i, c in kept for w in texts_of[i].split()]
        texts, read, said = zip(*words, strict=True) if words else ((), (), ())
        found = by_phrase(Output(texts, read, said, phrases[-1].end_ms), phrases)
        return found, [p.reference for p in phrases]


def _percentile(values: Sequence[float], percent: float) -> float | None:
    return float(np.percentile(values, percent)) if values else None


def _ratio(value: float | None, other: float | None) -> float | None:
    return value / other if value is not None and other else None


def _conditions(options: CallsBench) -> dict[str, str]:
    settings = ", ".join(f"{k} {v:g}" for k, v in resolve(options.policy, options.parameters).items())
    return {
        "speech": f"{', '.join(options.languages)}, recorded prompts joined, {options.speed:g} times as fast",
        "policy": f"{options.policy}: {settings}",
        "model": options.model or "Whisper base, int8",
        "time": "real; lag from the end of the sound that a commit translates to the commit, for each word",
        "compute": "CPU seconds of the worker's process for a second of one speaker; the voice's process is apart",
    }


def _two(value: float) -> str:
    return f"{value:.2f}"


def _one(value: float) -> str:
    return f"{value:.1f}"


COLUMNS: tuple[Column, ...] = (
    ("words", "words", str),
    ("lag p50 s", "lag_p50_s", _two),
    ("p95", "lag_p95_s", _two),
    ("against one", "p95_against_one", _two),
    ("chrF", "chrf", _one),
    ("BLEU", "bleu", _one),
    ("transcript chrF", "transcript_chrf", _one),
    ("BLEU", "transcript_bleu", _one),
    ("voice after commit p50 s", "voice_p50_s", _two),
    ("p95", "voice_p95_s", _two),
    ("its words wrong", "voice_word_error", lambda v: f"{100 * v:.1f} %"),
    ("said without haste", "leisurely_word_error", lambda v: f"{100 * v:.1f} %"),
    ("jumps dBFS", "voice_jump_dbfs", _one),
    ("compute a second", "compute", _two),
    ("against one", "compute_against_one", _two),
    ("decodes a call", "batch", _two),
)
PART_COLUMNS: tuple[Column, ...] = (
    ("lag p50 s", "lag_p50_s", _two),
    ("p95", "lag_p95_s", _two),
    ("voice after commit p95 s", "voice_p95_s", _two),
    ("memory MiB", "memory_mib", lambda v: f"{v:.0f}"),
)


def _report(result: dict[str, Any]) -> list[str]:
    out = ["# bench speech: calls", ""]
    out += [f"- {label}: {value}" for label, value in result["conditions"].items()]
    out += ["", *table(result["rows"], COLUMNS, ("sessions",))]
    for row in result["rows"]:
        out += [f"- {row['sessions']}: {trouble}" for trouble in row["troubles"]]
    for found in result["deciles"]:
        rows = [{"from": f"{p['from_s'] / 60:.1f} min", **p} for p in found["parts"]]
        if rows:
            out += ["", f"## {found['sessions']}, by tenths", "", *table(rows, PART_COLUMNS, ("from",))]
    return out
