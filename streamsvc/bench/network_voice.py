"""A voice for `bench network`: English sentences spoken by the installed voice, and how many of their words a model
still hears in what arrived."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle

import numpy as np
from rapidfuzz.distance import Levenshtein

from streamsvc.frames import OUTPUT_RATE, SPEECH_RATE, Samples
from streamsvc.scene.talk import texts
from streamsvc.speech.model import Whisper
from streamsvc.speech.translator import Request, Translator
from streamsvc.speech.voice import open_voice

PAUSE_S = 0.6
SILENT_S = 0.4
"""So much silence, or more, parts two phrases."""

SILENT = 0.004
WINDOW_S = 0.02
LONGEST_S = 24.0
WORDS = (5, 14)


@dataclass(frozen=True, slots=True, eq=False)
class Speech:
    """(n,) float32 mono at 48 kHz, and the words that are said in it."""

    samples: Samples
    words: tuple[str, ...]


def words_of(text: str) -> list[str]:
    """Return the words of a text without case and punctuation."""
    return re.sub(r"[^\w' ]", " ", text.lower()).split()


def speak(seconds: float, progress: Callable[[str], None]) -> Speech:
    """Return sentences with pauses between them, `seconds` long or a little less. Raises VoiceError, SceneError."""
    usable = [
        t for t in texts("en").values() if WORDS[0] <= len(t.split()) <= WORDS[1] and not set("[(0123456789") & set(t)
    ]
    pause = np.zeros(round(PAUSE_S * OUTPUT_RATE), np.float32)
    parts, said, length = [pause], list[str](), len(pause)
    progress("speaking")
    engine = open_voice()
    try:
        for text in cycle(usable):
            spoken = np.concatenate([*engine.synthesise(text, 1.0), pause])
            if length + len(spoken) > seconds * OUTPUT_RATE:
                break
            parts.append(spoken)
            said += words_of(text)
            length += len(spoken)
    finally:
        engine.close()
    return Speech(np.concatenate(parts), tuple(said))


def phrases(samples: Samples) -> list[Samples]:
    """Return (n,) float32 48 kHz mono as 16 kHz pieces, parted where it is silent."""
    three = len(samples) // 3 * 3
    down = samples[:three].reshape(-1, 3).mean(1, dtype=np.float32)
    window = round(WINDOW_S * SPEECH_RATE)
    whole = len(down) // window * window
    loud = np.abs(down[:whole]).reshape(-1, window).max(1) > SILENT
    found: list[Samples] = []
    start: int | None = None
    quiet = 0
    for i, sounds in enumerate([*loud.tolist(), *[False] * round(SILENT_S / WINDOW_S)]):
        if sounds and start is None:
            start = i
        quiet = 0 if sounds else quiet + 1
        if start is not None and (quiet >= SILENT_S / WINDOW_S or (i - start) * WINDOW_S > LONGEST_S):
            found.append(down[max(0, start - 5) * window : (i + 1) * window])
            start = None
    return found


class Listener:
    """Whisper, or another `model`, which writes down what it hears. Raises SpeechError when there is none."""

    def __init__(self, model: Translator | None = None) -> None:
        self._model = model or Whisper()

    def words(self, samples: Samples) -> list[str]:
        """Return the words in (n,) float32 48 kHz mono."""
        heard: list[str] = []
        for phrase in phrases(samples):
            (found,) = self._model.decode([Request(self._model.encode(phrase, final=True), "en", beam=5)])
            heard += words_of(" ".join(w.text for w in found.words))
        return heard


def word_error(said: tuple[str, ...], heard: list[str]) -> float | None:
    """Return the word error rate: substitutions, insertions and deletions over the words that were said."""
    return Levenshtein.distance(said, heard) / len(said) if said else None
