"""People talking: recorded prompts in Spanish and French, joined with natural pauses, with their English references.

The clips were chosen by measure (models/choose_clips.py) so that the default model understands them; which ones is in
clips.json, the recordings are assets. The same language and length give the same talk on every machine.
"""

from __future__ import annotations

import gzip
import json
import wave
from dataclasses import dataclass
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from streamsvc.frames.audio import Samples
from streamsvc.scene.assets import asset
from streamsvc.scene.base import SceneError

RATE = 8000
"""Samples per second of the recordings."""

PAUSE_S = (0.8, 1.2)
_IN_A_ROW = 3


@dataclass(frozen=True, slots=True)
class Spoken:
    """One clip in a talk: where it lies (seconds), what is said and what that means."""

    start_s: float
    end_s: float
    language: str
    text: str
    english: str


@dataclass(frozen=True, slots=True, eq=False)
class Talk:
    """`samples` (n,) float32 mono at `rate`; `segments` in order."""

    samples: Samples
    rate: int
    segments: tuple[Spoken, ...]

    @property
    def english(self) -> str:
        """The whole reference translation."""
        return " ".join(s.english for s in self.segments)


@cache
def _clips() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((Path(__file__).parent / "clips.json").read_text("utf-8"))
    return document


def texts(language: str) -> dict[str, str]:
    """Return what the prompts of a language (or `en`) say by id; raises SceneError when they aren't there."""
    return _texts(asset(f"speech/{language}/core-sounds-{language}.txt.gz"))


@cache
def _texts(path: Path) -> dict[str, str]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        pairs = (line.split(":", 1) for line in lines if ":" in line and not line.startswith(";"))
        return {name.strip(): " ".join(text.split()) for name, text in pairs}


def _read(language: str, name: str) -> Samples:
    path = asset(f"speech/{language}/{name}.wav")
    try:
        with wave.open(str(path)) as file:
            if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (RATE, 1, 2):
                raise SceneError(f"{path} isn't 8 kHz, mono, 16 bit; delete {path.parent} and run `make assets`")
            return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) * np.float32(1 / 32768)
    except (wave.Error, EOFError) as e:
        raise SceneError(f"{path} is damaged ({e}); delete {path.parent} and run `make assets`") from None


def talk(language: str = "es", seconds: float = 60.0) -> Talk:
    """Join clips to a talk of about `seconds`: the last clip ends at or before that; at least one clip.

    Args:
        language: `es`, `fr`, or `mixed` (three clips of each in turn). Every clip comes before one comes again.
        seconds: from the first sample to the last; the rest after the last clip is silence.

    Raises:
        SceneError: a language that isn't there, or recordings that aren't (`make assets`).
    """
    known = [name for name in _clips() if name != "model"]
    if language not in (*known, "mixed"):
        raise SceneError(f"nobody talks {language!r}; {', '.join(known)} or mixed")
    if not 0 < seconds <= 36_000:
        raise SceneError(f"a talk can't last {seconds:g} s; more than 0 and at most 36000")
    queues = {name: cycle(_clips()[name]) for name in known}
    random = np.random.default_rng(2023)
    parts: list[Samples] = []
    segments: list[Spoken] = []
    at, number = 0, 0
    while True:
        spoken = known[number // _IN_A_ROW % len(known)] if language == "mixed" else language
        clip = next(queues[spoken])
        samples = _read(spoken, clip["id"])
        pause = round(random.uniform(*PAUSE_S) * RATE)
        if segments and at + len(samples) > seconds * RATE:
            break
        text = texts(spoken).get(clip["id"], "")
        segments.append(Spoken(at / RATE, (at + len(samples)) / RATE, spoken, text, clip["english"]))
        # The recordings are silent at their ends, so plain silence joins them without a click.
        parts += [samples, np.zeros(pause, np.float32)]
        at += len(samples) + pause
        number += 1
    joined = np.concatenate(parts)
    wanted = max(round(seconds * RATE), round(segments[-1].end_s * RATE))
    joined = joined[:wanted] if len(joined) >= wanted else np.pad(joined, (0, wanted - len(joined)))
    return Talk(joined, RATE, tuple(segments))
