"""What goes into an interpreter and what comes out: settings, commits, tentative text, finished passages, counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from streamsvc.frames.audio import SPEECH_RATE, Samples
from streamsvc.speech.policies import DEFAULT_POLICY


@dataclass(frozen=True, slots=True)
class InterpretSettings:
    """How to interpret. `parameters` are the policy's, absent ones take their defaults. The decoder is prompted with
    the names and terms of the `glossary`, so that it spells them as they stand there."""

    policy: str = DEFAULT_POLICY
    parameters: Mapping[str, float] = field(default_factory=dict)
    source: str = "auto"
    target: str = "en"
    no_speech_threshold: float = 0.9
    glossary: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Commit:
    """Final words. Source times are ms since the stream began, half-open; `audio_ms` is the source that had been read;
    `confidence` is the mean probability of the words."""

    id: int
    text: str
    source_start_ms: float
    source_end_ms: float
    audio_ms: float
    policy: str
    confidence: float


@dataclass(frozen=True, slots=True)
class TentativeText:
    """What may come next; replaces the tentative text before it, and may be empty."""

    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Passage:
    """A stretch of speech that is over, as it was said in the commits `ids`, with its sound.

    Attributes:
        text: what the commits said.
        audio: (n,) float32 16 kHz mono, at most 27 s.
        language: of the speech.
        prompt, glossary: as in Pass.
    """

    ids: tuple[int, ...]
    text: str
    audio: Samples = field(repr=False)
    language: str
    prompt: tuple[int, ...]
    glossary: tuple[tuple[str, ...], ...]

    @property
    def seconds(self) -> float:
        """Length of the sound."""
        return len(self.audio) / SPEECH_RATE


Event = Commit | TentativeText | Passage


@dataclass(frozen=True, slots=True)
class InterpreterStatistics:
    """Counts since the start, and how much audio is held."""

    passes: int
    flushes: int
    abandoned: int
    rejected: int
    words: int
    buffer_s: float
    language: str | None
