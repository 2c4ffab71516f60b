"""The `interpret` command: a recording in, events, captions and English speech out, on a virtual or the real clock.

`wall_ms` counts from the moment sample 0 was available, input arriving at 1x. At the pace `asap` a pass starts at
the later of the audio it needs and the end of the pass before, and lasts its measured compute; `realtime` waits.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from streamsvc.budget.slices import run_to_end
from streamsvc.frames.audio import OUTPUT_RATE, SPEECH_RATE, Samples
from streamsvc.frames.captions import TimedText, check_captions_path, write_captions
from streamsvc.frames.glossary import parse_glossary
from streamsvc.speech.errors import SpeechError, VoiceError
from streamsvc.speech.events import Commit, Event, InterpretSettings, Passage
from streamsvc.speech.interpreter import Interpreter
from streamsvc.speech.languages import check_languages
from streamsvc.speech.metrics import Output, lags, read_events
from streamsvc.speech.passes import Pass, PassResult
from streamsvc.speech.policies import DEFAULT_POLICY, resolve
from streamsvc.speech.second import second_pass
from streamsvc.speech.soundfile import read_speech, write_speech
from streamsvc.speech.translator import Translator
from streamsvc.speech.vad import Detector
from streamsvc.speech.voice.engine import Engine
from streamsvc.speech.voice.installed import open_voice
from streamsvc.speech.voice.matching import MatchedVoice
from streamsvc.speech.voice.track import joined, speak_track
from streamsvc.speech.voice.voice import SpeechChunk, Voice

BLOCK = SPEECH_RATE // 50
"""Samples that arrive at once: 20 ms, a WebRTC packet."""

PACES = ("asap", "realtime")
Progress = Callable[[float, float], None]


@dataclass(slots=True)
class Said:
    """What came out: commits with their wall time in ms, passages that are over, and how much was computed."""

    commits: list[tuple[Commit, float]] = field(default_factory=list)
    passages: list[Passage] = field(default_factory=list)
    wall_ms: float = 0.0
    compute_s: float = 0.0
    passes: int = 0

    def take(self, events: list[Event], wall_ms: float, tell: Callable[[Commit, float], None]) -> None:
        """Record what a pass gave."""
        self.wall_ms = wall_ms
        self.note(events)
        for event in events:
            if isinstance(event, Commit):
                self.commits.append((event, wall_ms))
                tell(event, wall_ms)

    def note(self, events: list[Event]) -> None:
        """Keep the passages."""
        self.passages += [e for e in events if isinstance(e, Passage)]


def run_asap(
    interpreter: Interpreter,
    samples: Samples,
    tell: Callable[[Commit, float], None],
    progress: Progress | None = None,
    measure: Callable[[], float] = time.perf_counter,
) -> Said:
    """Interpret on a virtual clock, as fast as this machine can; `measure` times the compute, in seconds."""
    said = Said()
    running: tuple[float, Pass, PassResult] | None = None

    def start(now_s: float) -> None:
        nonlocal running
        due = interpreter.next_pass()
        said.note(interpreter.news())
        if due is not None:
            begun = measure()
            result = run_to_end(due.slices())
            took = measure() - begun
            said.compute_s += took
            said.passes += 1
            running = (now_s + took, due, result)

    def settle(until_s: float) -> None:
        nonlocal running
        while running is not None and running[0] <= until_s:
            (done_s, due, result), running = running, None
            said.take(interpreter.finish(due, result), done_s * 1000, tell)
            start(done_s)

    for at in range(0, len(samples), BLOCK):
        block = samples[at : at + BLOCK]
        now_s = (at + len(block)) / SPEECH_RATE
        settle(now_s)
        interpreter.feed(block)
        if running is None:
            start(now_s)
        if progress and at // SPEECH_RATE != (at + len(block)) // SPEECH_RATE:
            progress(now_s, len(samples) / SPEECH_RATE)
    settle(len(samples) / SPEECH_RATE)
    interpreter.end()
    if running is None:
        start(len(samples) / SPEECH_RATE)
    settle(float("inf"))
    said.wall_ms = max(said.wall_ms, len(samples) * 1000 / SPEECH_RATE)
    return said


def run_realtime(
    interpreter: Interpreter,
    samples: Samples,
    tell: Callable[[Commit, float], None],
    progress: Progress | None = None,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Said:
    """Interpret with input arriving at 1x on the clock `now` (seconds)."""
    said, zero, fed = Said(), now(), 0

    def finish(due: Pass) -> None:
        begun = now()
        result = run_to_end(due.slices())
        said.compute_s += now() - begun
        said.passes += 1
        said.take(interpreter.finish(due, result), (now() - zero) * 1000, tell)

    while fed < len(samples):
        arrived = min(int((now() - zero) * SPEECH_RATE) // BLOCK * BLOCK, len(samples))
        if len(samples) - arrived < BLOCK and (now() - zero) * SPEECH_RATE >= len(samples):
            arrived = len(samples)
        if arrived > fed:
            interpreter.feed(samples[fed:arrived])
            if progress and fed // SPEECH_RATE != arrived // SPEECH_RATE:
                progress(arrived / SPEECH_RATE, len(samples) / SPEECH_RATE)
            fed = arrived
        due = interpreter.next_pass()
        said.note(interpreter.news())
        if due is not None:
            finish(due)
        elif fed < len(samples):
            sleep(max(min(fed + BLOCK, len(samples)) / SPEECH_RATE - (now() - zero), 0.001))
    interpreter.end()
    while (due := interpreter.next_pass()) is not None:
        finish(due)
    said.note(interpreter.news())
    said.wall_ms = max(said.wall_ms, (now() - zero) * 1000)
    return said


def _commit_line(commit: Commit, wall_ms: float) -> dict[str, Any]:
    return {
        "v": 1,
        "type": "commit",
        "id": commit.id,
        "text": commit.text,
        "source_start_ms": round(commit.source_start_ms, 3),
        "source_end_ms": round(commit.source_end_ms, 3),
        "audio_ms": round(commit.audio_ms, 3),
        "wall_ms": round(wall_ms, 3),
        "policy": commit.policy,
        "confidence": commit.confidence,
    }


def _speech_line(chunk: SpeechChunk, zero_ns: int) -> dict[str, Any]:
    return {
        "v": 1,
        "type": "speech",
        "ids": list(chunk.ids),
        "start_ms": round((chunk.start_ns - zero_ns) / 1e6, 3),
        "duration_ms": round(len(chunk.samples) * 1000 / OUTPUT_RATE, 3),
    }


def write_instances(folder: Path, wav: Path, output: Output, reference: str | None = None) -> None:
    """Write instances.log and config.yaml as SimulEval 1.1 does, for `simuleval --score-only --output FOLDER`.

    Without a reference SimulEval takes the output's length for the reference's, and its BLEU is 0. It leaves a wrong
    config.yaml behind: write the folder again before a second scoring.
    """
    line = {
        "index": 0,
        "prediction": output.text,
        "delays": output.delays,
        "elapsed": output.elapsed,
        "prediction_length": len(output.words),
        "reference": reference,
        "source": [str(wav), f"samplerate: {SPEECH_RATE}"],
        "source_length": output.source_ms,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "instances.log").write_text(json.dumps(line, ensure_ascii=False) + "\n", "utf-8")
    (folder / "config.yaml").write_text("source_type: speech\ntarget_type: text\n", "utf-8")


def read_reference(path: Path) -> str:
    """Return the words of a text file; raises SpeechError when it isn't one."""
    try:
        return " ".join(path.read_text("utf-8").split())
    except OSError as e:
        raise SpeechError(f"{path} can't be read ({e.strerror})") from None
    except UnicodeDecodeError:
        raise SpeechError(f"{path} isn't UTF-8 text; the reference is what should be said, in words") from None


def _lines(out: TextIO, *lines: dict[str, Any]) -> None:
    out.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    out.flush()


def interpret(
    wav: Path,
    *,
    policy: str = DEFAULT_POLICY,
    parameters: Mapping[str, float] | None = None,
    preset: str = "default",
    source: str = "auto",
    target: str = "en",
    glossary: Sequence[str] = (),
    pace: str = "asap",
    model: str | Path | None = None,
    device: str = "cpu",
    voice: str | None = None,
    events: Path,
    speech: Path | None = None,
    captions: Path | None = None,
    transcript: Path | None = None,
    instances: Path | None = None,
    reference: str | None = None,
    progress: Progress | None = None,
    translator: Translator | None = None,
    engine: Engine | None = None,
    detector: Detector | None = None,
) -> dict[str, Any]:
    """Interpret a recording and write what was said and when.

    Args:
        wav: anything FFmpeg reads. See `read_speech`.
        policy, parameters, preset: see policies.py; source, target: see languages.py; glossary: see frames/glossary.py.
        pace: `asap` (virtual clock) or `realtime`.
        model, device: see weights.py; unused when `translator` is given.
        voice: see `open_voice`; asked for by `speech` too. `auto` is matched to the speaker of the recording.
        events: JSON lines `commit`, `speech` and `end`, in order of time; written in any case.
        speech: 48 kHz mono WAV, on the clock of the events. captions: .srt, .vtt or .json over the source's times;
            transcript: the same with every phrase corrected by a second pass, which the figures don't count.
        instances: folder for SimulEval. reference: what it should have said, for the lags and for SimulEval.
        progress: told (seconds of sound read, seconds in all), about once a second of sound.
        translator, engine, detector: to reuse or replace the model, the voice and the voice activity.

    Returns:
        Figures: source_s, language, policy, parameters, passes, rejected (passes in which no speech was heard),
        commits, words, text, left_out_s (speech that wasn't translated because the model was too far behind),
        compute_s, real_time_factor, mean_lag_ms (wall time less source end, per word), lags (metrics.py, ms), speech_s,
        voice (the one that was matched, or null), trouble (why the voice stopped, or null).

    Raises:
        SpeechError: the input or a setting isn't accepted; said before anything is computed.
    """
    if pace not in PACES:
        raise SpeechError(f"pace {pace!r} isn't known; {' or '.join(PACES)}")
    settings = InterpretSettings(
        policy, resolve(policy, parameters, preset=preset), source, target, glossary=parse_glossary(glossary)
    )
    check_languages(source, target)
    for path in (captions, transcript):
        if path is not None:
            check_captions_path(path)
    samples = read_speech(wav)
    wants_voice = speech is not None or voice is not None
    own_engine = wants_voice and engine is None
    if own_engine:
        engine = open_voice(voice)
    if translator is None:
        from streamsvc.speech.model import Whisper

        translator = Whisper(model, device)
    interpreter = Interpreter(translator, settings, detector)
    if wants_voice and engine is not None:
        engine.start()
        if isinstance(engine, MatchedVoice):
            engine.hear(samples)
    source_s = len(samples) / SPEECH_RATE
    chunks: list[SpeechChunk] = []
    trouble: list[str] = []
    try:
        with events.open("w", encoding="utf-8") as out:
            if pace == "realtime":
                speaker = engine if wants_voice else None
                said = _speaking_live(interpreter, samples, speaker, out, chunks, trouble, progress)
            else:
                said = run_asap(interpreter, samples, lambda *_: None, progress)
                lines = [(wall, _commit_line(c, wall)) for c, wall in said.commits]
                if wants_voice and engine is not None:
                    texts = [(c.id, c.text, wall / 1000) for c, wall in said.commits]
                    try:
                        chunks += speak_track(texts, said.wall_ms / 1000, engine)
                    except VoiceError as e:
                        trouble.append(str(e))
                    lines += [(c.start_ns / 1e6, _speech_line(c, 0)) for c in chunks]
                _lines(out, *(line for _, line in sorted(lines, key=lambda pair: pair[0])))
            _lines(
                out, {"v": 1, "type": "end", "audio_ms": round(source_s * 1000, 3), "wall_ms": round(said.wall_ms, 3)}
            )
        if speech is not None:
            write_speech(speech, joined(chunks, source_s))
        if captions is not None:
            texts_ = [TimedText(c.text, c.source_start_ms, c.source_end_ms) for c, _ in said.commits]
            write_captions(captions, texts_)
        if transcript is not None:
            write_captions(transcript, corrected(said, translator, settings.no_speech_threshold))
        output = read_events(events)
        if instances is not None:
            write_instances(instances, wav, output, reference)
    except OSError as e:
        raise SpeechError(f"{e.filename or events} can't be written ({e.strerror})") from None
    finally:
        if own_engine and engine is not None:
            engine.close()
    if progress:
        progress(source_s, source_s)
    behind = [wall - c.source_end_ms for c, wall in said.commits for _ in c.text.split()]
    told = interpreter.statistics()
    return {
        "source_s": round(source_s, 3),
        "language": interpreter.language,
        "policy": policy,
        "parameters": dict(interpreter.settings.parameters),
        "passes": said.passes,
        "rejected": told.rejected,
        "commits": len(said.commits),
        "words": len(behind),
        "text": " ".join(c.text for c, _ in said.commits),
        "left_out_s": round(told.left_out_s, 3),
        "compute_s": round(said.compute_s, 3),
        "real_time_factor": round(said.compute_s / source_s, 4),
        "mean_lag_ms": round(sum(behind) / len(behind), 1) if behind else None,
        "lags": {name: None if v is None else round(v, 3) for name, v in lags(output, reference).items()},
        "speech_s": round(sum(len(c.samples) for c in chunks) / OUTPUT_RATE, 3) if wants_voice else None,
        "voice": engine.name if isinstance(engine, MatchedVoice) else None,
        "trouble": trouble[0] if trouble else None,
    }


def corrected(said: Said, translator: Translator, no_speech_threshold: float) -> list[TimedText]:
    """Return what was said with every passage as a second pass has it."""
    commits = {c.id: c for c, _ in said.commits}
    texts = {c.id: TimedText(c.text, c.source_start_ms, c.source_end_ms) for c in commits.values()}
    for passage in said.passages:
        text = run_to_end(second_pass(translator, passage, no_speech_threshold))
        if text is not None:
            first, last = commits[passage.ids[0]], commits[passage.ids[-1]]
            for id in passage.ids[1:]:
                del texts[id]
            texts[first.id] = TimedText(text, first.source_start_ms, last.source_end_ms)
    return [texts[id] for id in sorted(texts)]


def _speaking_live(
    interpreter: Interpreter,
    samples: Samples,
    engine: Engine | None,
    out: TextIO,
    chunks: list[SpeechChunk],
    trouble: list[str],
    progress: Progress | None,
) -> Said:
    """Interpret in real time with the live voice; chunk times become relative to sample 0."""
    voice = Voice(chunks.append, trouble.append, engine=engine) if engine is not None else None
    if voice is not None:
        voice.start()
    written = 0

    def tell(commit: Commit, wall_ms: float) -> None:
        nonlocal written
        if voice is not None:
            voice.say(commit.id, commit.text)
        ready = len(chunks)
        _lines(out, *(_speech_line(c, zero_ns) for c in chunks[written:ready]), _commit_line(commit, wall_ms))
        written = ready

    zero_ns = time.monotonic_ns()
    said = run_realtime(interpreter, samples, tell, progress)
    if voice is not None:
        voice.end()
        voice.join()
        _lines(out, *(_speech_line(c, zero_ns) for c in chunks[written:]))
        chunks[:] = [SpeechChunk(c.ids, c.text, c.samples, c.start_ns - zero_ns, c.rate) for c in chunks]
    return said
