"""What the interpreter needs of a model: encode, identify, decode and align as separate calls, and their value types.

One call is one slice: the largest piece of compute that can't be interrupted. Every model stands behind `Translator`,
so that another target language or another engine changes nothing else. A simple fake lives in `fake.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from streamsvc.frames.audio import Samples


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a hypothesis, without the space before it.

    `tokens` are its text tokens, `lead` what stands before it and isn't said (timestamps, a point that the word before
    was committed without): together they are what continues a decode after this word. Times are seconds from the start
    of the encoded audio. `probability` is the mean of its tokens' probabilities and `attended_s` the moment that it
    attends to, both None until it is aligned.
    """

    text: str
    start_s: float
    end_s: float
    lead: tuple[int, ...] = ()
    tokens: tuple[int, ...] = ()
    probability: float | None = None
    attended_s: float | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of words between two timestamps, seconds from the start of the encoded audio."""

    words: tuple[Word, ...]
    start_s: float
    end_s: float

    @property
    def text(self) -> str:
        """The words, joined by spaces."""
        return " ".join(w.text for w in self.words)


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What one decode says after its prefix. `no_speech` belongs to the whole pass (Whisper has one for a window);
    `log_probability` is the mean over its tokens."""

    segments: tuple[Segment, ...]
    no_speech: float
    log_probability: float

    @property
    def words(self) -> tuple[Word, ...]:
        """The words of all segments."""
        return tuple(w for s in self.segments for w in s.words)


@dataclass(frozen=True, slots=True)
class Encoded:
    """Audio after the encoder; `handle` belongs to the translator that made it."""

    handle: Any
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One decode that is asked for: translate `encoded` from `language`, continuing after `prefix` (words of the same
    audio), with text tokens of what was said before as `prompt`. Without `timestamps` all words are one segment and
    their times are rough."""

    encoded: Encoded
    language: str
    prefix: tuple[Word, ...] = ()
    prompt: tuple[int, ...] = ()
    beam: int = 1
    timestamps: bool = True

    @property
    def kind(self) -> tuple[int, int, bool]:
        """What requests must have in common to be decoded together: a batch has one beam, and prompts of one length
        (CTranslate2 refuses others)."""
        return self.beam, len(self.prompt), self.timestamps


class Translator(Protocol):
    """A model that turns 16 kHz mono speech into words of the target language."""

    def encode(self, audio: Samples, *, final: bool = False) -> Encoded:
        """Encode (n,) float32 16 kHz mono, n at most 27 s; `final`: the phrase ends with it."""
        ...

    def tokens(self, text: str) -> tuple[int, ...]:
        """Return the text tokens of `text`, for prompts."""
        ...

    def identify(self, encoded: Encoded) -> dict[str, float]:
        """Return the probability of each source language by its code."""
        ...

    def decode(self, requests: Sequence[Request]) -> list[Hypothesis]:
        """Answer one or more requests of one kind in one call, in their order."""
        ...

    def align(
        self, encoded: Encoded, language: str, words: Sequence[Word], *, prefix: Sequence[Word] = ()
    ) -> tuple[Word, ...]:
        """Return `words` with times, probabilities and moments attended to, from one teacher-forced run over both."""
        ...
