"""A translator and a detector for tests: words are written into the samples, so that what was heard is known exactly.

Word i is `WORD` samples that rise from (i + 1.1) to (i + 1.9) thousandths. A piece of a word is heard as the word when
it holds the word's middle, so cutting the audio anywhere neither loses nor doubles one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from streamsvc.frames.audio import SPEECH_RATE, Samples
from streamsvc.speech.translator import Encoded, Hypothesis, Request, Segment, Word
from streamsvc.speech.vad import CHUNK

WORD = 6400
SCALE = 1000.0


def speak(first: int, count: int) -> Samples:
    """Return `count` words from number `first`, each 0.4 s, without a pause between them."""
    phase = 0.1 + 0.8 * np.arange(WORD) / WORD
    return np.concatenate([(i + 1 + phase) / SCALE for i in range(first, first + count)]).astype(np.float32)


class FakeDetector:
    """Whatever isn't zero is speech."""

    def __init__(self) -> None:
        self._rest = np.zeros(0, np.float32)

    def feed(self, samples: Samples) -> list[float]:
        """See Detector."""
        audio = np.concatenate([self._rest, samples])
        count = len(audio) // CHUNK
        self._rest = audio[count * CHUNK :]
        return [float(np.any(audio[i * CHUNK : (i + 1) * CHUNK])) for i in range(count)]


class FakeTranslator:
    """Hears `w0 w1 ...`. With `unsure`, a word whose end isn't in the audio yet comes out with a question mark. A
    segment is three words. `language` is what `identify` hears. `wide` is a word that a wide beam that goes on from
    nothing hears after every segment."""

    def __init__(
        self, *, unsure: bool = False, language: str = "es", no_speech: float = 0.0, wide: str | None = None
    ) -> None:
        self.unsure, self.language, self.no_speech, self.wide = unsure, language, no_speech, wide
        self.decoded: list[str] = []
        """The language of every decode."""
        self.prompts: list[tuple[int, ...]] = []
        """The prompt of every decode."""
        self.batches: list[int] = []
        """How many requests every call of `decode` had."""

    def encode(self, audio: Samples, *, final: bool = False) -> Encoded:
        """Keep the audio."""
        return Encoded(np.array(audio), len(audio) / SPEECH_RATE)

    def tokens(self, text: str) -> tuple[int, ...]:
        """Return one token a word, which no word of the sound has."""
        return tuple(1000 + len(word) for word in text.split())

    def identify(self, encoded: Encoded) -> dict[str, float]:
        """Return the one language that is set."""
        return {self.language: 0.9, "en": 0.1}

    def decode(self, requests: Sequence[Request]) -> list[Hypothesis]:
        """Read the words after the first len(prefix)."""
        assert len({r.kind for r in requests}) == 1
        self.batches.append(len(requests))
        return [self._decode(r) for r in requests]

    def _decode(self, request: Request) -> Hypothesis:
        prefix = request.prefix
        self.decoded.append(request.language)
        self.prompts.append(request.prompt)
        heard = self._hear(request.encoded.handle)
        assert [w.text.rstrip("?") for w in heard[: len(prefix)]] == [w.text.rstrip("?") for w in prefix]
        segments: list[list[Word]] = []
        for word in heard[len(prefix) :]:
            if segments and word.tokens[0] // 3 == segments[-1][-1].tokens[0] // 3:
                segments[-1].append(word)
            else:
                segments.append([word])
        if self.wide and request.beam > 1 and not prefix:
            for segment in segments:
                segment.append(replace(segment[-1], text=self.wide))
        return Hypothesis(tuple(Segment(tuple(s), s[0].start_s, s[-1].end_s) for s in segments), self.no_speech, -0.1)

    def align(
        self, encoded: Encoded, language: str, words: Sequence[Word], *, prefix: Sequence[Word] = ()
    ) -> tuple[Word, ...]:
        """Fill in a probability, 0.3 for a word with a question mark, else 0.95; a word attends to its middle."""
        return tuple(
            replace(w, probability=0.3 if w.text.endswith("?") else 0.95, attended_s=(w.start_s + w.end_s) / 2)
            for w in words
        )

    def _hear(self, audio: Samples) -> list[Word]:
        words: list[Word] = []
        scaled = audio.astype(np.float64) * SCALE
        number = np.where(audio == 0, -1, np.floor(scaled).astype(int) - 1)
        phase = scaled - np.floor(scaled)
        for i in dict.fromkeys(int(n) for n in number[number >= 0]):
            at = np.flatnonzero(number == i)
            first, last = float(phase[at[0]]), float(phase[at[-1]])
            if first <= 0.5 < last:
                mark = "?" if self.unsure and last < 0.88 else ""
                words.append(Word(f"w{i}{mark}", at[0] / SPEECH_RATE, (at[-1] + 1) / SPEECH_RATE, (), (i,)))
        return words
