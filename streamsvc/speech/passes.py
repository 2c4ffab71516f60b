"""One pass over the buffer: encode, identify, decode, align, as slices that a dispatcher can put others between.

A pass holds a snapshot of everything it needs, so it may run in another thread while audio is being fed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from streamsvc.budget.slices import Slices
from streamsvc.frames.audio import SPEECH_RATE, Samples
from streamsvc.speech.batcher import Batcher
from streamsvc.speech.languages import LanguageState, choose_language
from streamsvc.speech.policies import FRAME_S, Unit
from streamsvc.speech.text import copies, echo, fold, recites
from streamsvc.speech.translator import Request, Segment, Translator, Word

FLUSH_BEAM = 5
MADE_UP = 3
TOGETHER_S = 0.1
PROMPT_LENGTHS = (0, 32, 64, 128, 223)
"""A batch whose prompts put the start token at different positions is refused, so lengths are few."""


def quantised_prompt(history: Sequence[Word], limit: int) -> tuple[tuple[int, ...], tuple[Word, ...]]:
    """Return the last tokens of `history`, as many as the largest allowed length <= `limit`, and their words."""
    available = sum(len(w.tokens) for w in history)
    length = max(n for n in PROMPT_LENGTHS if n <= min(limit, available))
    words: list[Word] = []
    tokens: list[int] = []
    for word in reversed(history):
        if len(tokens) >= length:
            break
        words.insert(0, word)
        tokens[:0] = word.tokens
    return tuple(tokens[len(tokens) - length :]), tuple(words)


def heard(words: Sequence[Word]) -> int:
    """Return how many aligned words from the front lie in the sound. For what the model makes up after the end of it
    the alignment has no sound left: `MADE_UP` words or more then attend to one moment."""
    count = len(words)
    last_s = words[-1].attended_s if words else None
    if last_s is None:
        return count
    while count and last_s - (words[count - 1].attended_s or 0.0) < TOGETHER_S:
        count -= 1
    return count if len(words) - count >= MADE_UP else len(words)


def moved(words: Sequence[Word], seconds: float, lead: tuple[int, ...]) -> tuple[Word, ...]:
    """Return the words as they lie in sound that begins `seconds` later; the first of them has that `lead`."""
    return tuple(
        replace(
            w,
            start_s=max(w.start_s - seconds, 0.0),
            end_s=max(w.end_s - seconds, 0.0),
            lead=() if i else lead,
        )
        for i, w in enumerate(words)
    )


def without(segments: Sequence[Segment], count: int) -> tuple[Segment, ...]:
    """Return the segments without their first `count` words, and without those that had no others."""
    left = []
    for segment in segments:
        words, count = segment.words[count:], max(count - len(segment.words), 0)
        if words:
            left.append(replace(segment, words=words))
    return tuple(left)


@dataclass(frozen=True, slots=True)
class PassResult:
    """What the model said after the prefix. `segments` carry aligned words where the pass was aligned."""

    segments: tuple[Segment, ...]
    no_speech: float
    log_probability: float
    language: str
    language_state: LanguageState
    prompt_dropped: bool = False

    @property
    def words(self) -> tuple[Word, ...]:
        """The words of all segments."""
        return tuple(w for s in self.segments for w in s.words)

    def units(self, seconds: float, by_segment: bool) -> tuple[Unit, ...]:
        """Return what a policy decides on, in a pass over so many seconds."""
        if by_segment:
            return tuple(Unit(s.text, None, self.no_speech) for s in self.segments)
        return tuple(
            Unit(
                w.text,
                w.probability,
                self.no_speech,
                None if w.attended_s is None else (seconds - w.attended_s) / FRAME_S,
            )
            for w in self.words
        )


@dataclass(frozen=True, slots=True)
class Pass:
    """A pass that is due. `final` flushes a phrase, others are partial.

    Attributes:
        id: counts the interpreter's passes from 0.
        audio: (n,) float32 16 kHz mono, the whole buffer.
        start, end: its position in samples since the stream began; `end` is when its audio was captured.
        read: samples of the stream that had been fed when it was issued; a flush has heard the silence after `end` too.
        seconds: its length, the x of the cost model.
        glossary: the folded words of each of its terms, whose tokens `prompt` begins with.
        said: where the audio was cut through running speech, the folded words before the cut, which may be heard again.
    """

    id: int
    final: bool
    audio: Samples = field(repr=False)
    start: int
    end: int
    read: int
    translator: Translator = field(repr=False)
    batcher: Batcher = field(repr=False)
    source: str
    language_state: LanguageState
    prefix: tuple[Word, ...] = field(repr=False)
    prompt: tuple[int, ...] = field(repr=False)
    prompt_words: tuple[Word, ...] = field(repr=False)
    glossary: tuple[tuple[str, ...], ...] = field(repr=False)
    said: tuple[str, ...] = field(repr=False)
    no_speech_threshold: float
    beam: int
    commits: Callable[[tuple[Unit, ...]], int] = field(repr=False)
    by_segment: bool
    aligned: bool

    @property
    def seconds(self) -> float:
        """Length of the audio."""
        return len(self.audio) / SPEECH_RATE

    @property
    def audio_ms(self) -> float:
        """Source that has been read when this pass starts."""
        return self.read * 1000 / SPEECH_RATE

    def slices(self) -> Slices[PassResult]:
        """Run the pass; one step is one call of the model and yields `encode`, `identify`, `decode` or `align`. While
        it waits to be decoded another pass may decode it along with its own."""
        encoded = self.translator.encode(self.audio, final=self.final)
        stage = "encode"
        state = self.language_state
        if self.source != "auto":
            language = self.source
        elif state.locked and state.known:
            language = state.known
        else:
            yield stage
            language, state = choose_language(state, self.translator.identify(encoded), self.seconds)
            stage = "identify"
        request = Request(encoded, language, self.prefix, self.prompt, self.beam, timestamps=self.by_segment)
        with self.batcher.asked(request) as answer:
            yield stage
            hypothesis = answer()
        yield "decode"
        says = [fold(w.text) for w in hypothesis.words]
        dropped = copies(says, [fold(w.text) for w in self.prompt_words])
        # A short piece of sound may recite the glossary where a longer one won't: it stays for the next pass.
        if dropped or recites(says, self.glossary):
            with self.batcher.asked(replace(request, prompt=())) as answer:
                hypothesis = answer()
            yield "decode"
            says = [fold(w.text) for w in hypothesis.words]
        segments = hypothesis.segments
        words = hypothesis.words
        again = echo(self.said, says)
        rejected = hypothesis.no_speech > self.no_speech_threshold
        if words and not rejected and not self.by_segment:
            units = tuple(Unit(w.text, None, hypothesis.no_speech) for w in words[again:])
            # Words that won't be committed need no times, unless the decision is made from what aligning finds.
            if self.final or self.aligned or self.commits(units):
                words = self.translator.align(encoded, language, words, prefix=self.prefix)
                words = words[: heard(words)]
                segments = (Segment(words, words[0].start_s, words[-1].end_s),) if words else ()
                yield "align"
        return PassResult(
            without(segments, again), hypothesis.no_speech, hypothesis.log_probability, language, state, dropped
        )
