"""What goes into an interpreter and what comes out of it: settings, commits, tentative text, counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from streamsvc.speech.policies import DEFAULT_POLICY


@dataclass(frozen=True, slots=True)
class InterpretSettings:
    """How to interpret. `parameters` are the policy's, absent ones take their defaults; `prompt_tokens` is the most
    that earlier phrases may prompt the decoder with (0, 32, 64, 128 or 223 are used). The decoder is prompted with the
    names and terms of the `glossary`, too, so that it spells them as they stand there."""

    policy: str = DEFAULT_POLICY
    parameters: Mapping[str, float] = field(default_factory=dict)
    source: str = "auto"
    target: str = "en"
    prompt_tokens: int = 0
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


Event = Commit | TentativeText


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
