"""What `bench speech` listens to: recorded prompts by themselves and joined to streams, in two halves.

A prompt is one whose English of the same id has four words or more, that lasts 4 to 15 s (in a shorter one waiting for
its end costs less than any policy), whose text isn't much longer or shorter than the English, and whose English isn't
nearly that of another. Every other one belongs to the half that settings are chosen on, the rest to the one that is
reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from streamsvc.frames import SPEECH_RATE
from streamsvc.frames.audio import Samples
from streamsvc.scene.assets import asset
from streamsvc.scene.talk import PAUSE_S, texts
from streamsvc.speech.metrics import Phrase
from streamsvc.speech.soundfile import read_speech
from streamsvc.speech.text import ratio

LANGUAGES = ("es", "fr")
CHOOSE, REPORT = "choose", "report"
PROMPTS, STREAMS = "prompts", "streams"
MIN_WORDS = 4
LENGTH_S = (4.0, 15.0)
ALIKE = 0.9
IN_A_STREAM = 12
"""Prompts: about a minute and a half."""


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One recording to interpret: (n,) float32 16 kHz mono, its language, and its phrases in order."""

    name: str
    language: str
    samples: Samples
    phrases: tuple[Phrase, ...]

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return len(self.samples) / SPEECH_RATE


def _usable(own: str, english: str) -> bool:
    count = len(english.split())
    # In brackets stand sounds and remarks; a translation half or twice as long says something else.
    return count >= MIN_WORDS and not set("[(") & set(own + english) and 0.5 <= len(own.split()) / count <= 2


def prompts(language: str) -> list[Source]:
    """Return the prompts of a language by name; raises SceneError when the recordings are missing."""
    english, own = texts("en"), texts(language)
    folder = Path(asset(f"speech/{language}"))
    found: list[Source] = []
    for name in sorted(english.keys() & own.keys()):
        wav = folder / f"{name}.wav"
        reference = english[name]
        if not wav.is_file() or not _usable(own[name], reference):
            continue
        samples = read_speech(wav)
        seconds = len(samples) / SPEECH_RATE
        if not LENGTH_S[0] <= seconds <= LENGTH_S[1]:
            continue
        if all(ratio(reference.lower(), f.phrases[0].reference.lower()) < ALIKE for f in found):
            found.append(Source(name, language, samples, (Phrase(0.0, seconds * 1000, reference),)))
    return found


def join(name: str, parts: Sequence[Source]) -> Source:
    """Return prompts one after another with pauses between them as `synthetic:` voices have; the same for the same
    name and parts."""
    random = np.random.default_rng([len(name), *name.encode()])
    pieces: list[Samples] = []
    phrases: list[Phrase] = []
    at = 0
    for part in parts:
        pause = np.zeros(round(random.uniform(*PAUSE_S) * SPEECH_RATE), np.float32)
        start = at * 1000 / SPEECH_RATE
        phrases.append(Phrase(start, start + part.seconds * 1000, part.phrases[0].reference))
        pieces += [part.samples, pause]
        at += len(part.samples) + len(pause)
    return Source(name, parts[0].language, np.concatenate(pieces), tuple(phrases))


def streams(count: int, seconds: float, languages: Sequence[str]) -> list[Source]:
    """Return `count` streams of at least `seconds`, in the languages by turns, each from another prompt on; prompts
    begin again when all were heard."""
    found = []
    for number in range(count):
        language = languages[number % len(languages)]
        halves = sources(language)
        every = [*halves[REPORT, PROMPTS], *halves[CHOOSE, PROMPTS]]
        first = number * len(every) // count
        every = every[first:] + every[:first]
        times = int(seconds / sum(s.seconds + 1 for s in every)) + 1
        found.append(join(f"{language}-call-{number}", every * times))
    return found


def sources(language: str, limit: int | None = None) -> dict[tuple[str, str], list[Source]]:
    """Return what is listened to by (half, kind), from at most `limit` prompts in each half."""
    every = prompts(language)
    found: dict[tuple[str, str], list[Source]] = {}
    for half, parts in ((CHOOSE, every[0::2][:limit]), (REPORT, every[1::2][:limit])):
        found[half, PROMPTS] = parts
        found[half, STREAMS] = [
            join(f"{language}-{half}-{at // IN_A_STREAM}", parts[at : at + IN_A_STREAM])
            for at in range(0, len(parts), IN_A_STREAM)
        ]
    return found


def faster(source: Source, speed: float) -> Source:
    """Return the recording spoken `speed` times as fast at the same pitch (FFmpeg's atempo)."""
    import av

    graph = av.filter.Graph()
    into = graph.add_abuffer(sample_rate=SPEECH_RATE, format="flt", layout="mono")
    tempo = graph.add("atempo", f"{speed:.4f}")
    out = graph.add("abuffersink")
    into.link_to(tempo)
    tempo.link_to(out)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(source.samples[None]), format="flt", layout="mono")
    frame.sample_rate = SPEECH_RATE
    graph.push(frame)
    graph.push(None)
    pieces = []
    while True:
        try:
            pieces.append(graph.pull().to_ndarray().reshape(-1))
        except (av.error.EOFError, av.error.BlockingIOError):
            break
    phrases = tuple(replace(p, start_ms=p.start_ms / speed, end_ms=p.end_ms / speed) for p in source.phrases)
    return replace(source, samples=np.concatenate(pieces).astype(np.float32), phrases=phrases)
