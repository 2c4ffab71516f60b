"""What goes into an interpreter and what comes out: settings, commits, tentative text, finished passages, counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from streamsvc.frames.audio import SPEECH_RATE, Samples
from streamsvc.speech.languages import check_languages
from streamsvc.speech.policies import DEFAULT_POLICY, resolve


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

    def changed(
        self,
        policy: str | None = None,
        parameters: Mapping[str, float] | None = None,
        source: str | None = None,
        target: str | None = None,
        glossary: Sequence[str] | None = None,
    ) -> InterpretSettings:
        """Return the settings with these changes, every parameter filled in; None leaves one as it is. Without another
        policy, `parameters` change those there are. Raises PolicyError or SpeechError for a value that isn't accepted.
        """
        name = policy or self.policy
        old = self.parameters if name == self.policy else {}
        new = replace(
            self,
            policy=name,
            parameters=resolve(name, {**old, **(parameters or {})}),
            source=source or self.source,
            target=target or self.target,
            glossary=self.glossary if glossary is None else tuple(glossary),
        )
        check_languages(new.source, new.target)
        return new


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
        prompt, glossary: the tokens and the folded words of the terms of the glossary, as in Terms.
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


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Speech that is not translated because the model was too far behind, in ms since the stream began."""

    start_ms: float
    end_ms: float


Event = Commit | TentativeText | Passage | LeftOut


@dataclass(frozen=True, slots=True)
class InterpreterStatistics:
    """Counts since the start, and how much audio is held; `left_out_s` is the speech of LeftOut events."""

    passes: int
    rejected: int
    buffer_s: float
    left_out_s: float
