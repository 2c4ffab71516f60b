"""One interpretation for `bench speech`: the interpreter as it is, its compute remembered, every word watched.

The same sound is encoded once for all policies and settings, the same decode done once: what is remembered comes with
what it cost, so the virtual clock runs as if it had been computed again. Cost is this process's CPU time: on an idle
core that is what one thread takes, and other programs on the machine don't lengthen it (though they slow its caches).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from streamsvc.bench.speech_data import Source
from streamsvc.frames.audio import Samples
from streamsvc.speech import Commit, Event, Interpreter, InterpretSettings, Pass, PassResult, Translator
from streamsvc.speech.interpret import run_asap
from streamsvc.speech.metrics import Output
from streamsvc.speech.translator import Encoded, Hypothesis, Request, Word
from streamsvc.speech.vad import Detector

R = TypeVar("R")


class Remembered:
    """A translator that computes nothing twice; `now` is its virtual clock, in seconds of compute."""

    def __init__(self, translator: Translator, measure: Callable[[], float] = time.process_time) -> None:
        self._translator, self._measure = translator, measure
        self._known: dict[Any, tuple[Any, float]] = {}
        self._spent = 0.0

    def now(self) -> float:
        """Return the compute so far, remembered or done."""
        return self._spent

    def _once(self, key: Any, compute: Callable[[], R]) -> R:
        if key not in self._known:
            begun = self._measure()
            result = compute()
            self._known[key] = (result, self._measure() - begun)
        found, cost = self._known[key]
        self._spent += cost
        answer: R = found
        return answer

    def encode(self, audio: Samples, *, final: bool = False) -> Encoded:
        """See Translator. The handle holds the key that later calls are remembered by."""
        key = (audio.tobytes(), final)

        def compute() -> Encoded:
            encoded = self._translator.encode(audio, final=final)
            return replace(encoded, handle=(len(self._known), encoded.handle))

        return self._once(key, compute)

    def tokens(self, text: str) -> tuple[int, ...]:
        """See Translator."""
        return self._translator.tokens(text)

    def identify(self, encoded: Encoded) -> dict[str, float]:
        """See Translator."""
        return self._once(("identify", encoded.handle[0]), lambda: self._translator.identify(_bare(encoded)))

    def decode(self, requests: Sequence[Request]) -> list[Hypothesis]:
        """See Translator; each by itself, as one call has it."""
        return [self._decode(request) for request in requests]

    def _decode(self, request: Request) -> Hypothesis:
        bare = replace(request, encoded=_bare(request.encoded))
        key = ("decode", request.encoded.handle[0], request.language, request.prefix, *request.kind, request.prompt)
        return self._once(key, lambda: self._translator.decode([bare])[0])

    def align(
        self, encoded: Encoded, language: str, words: Sequence[Word], *, prefix: Sequence[Word] = ()
    ) -> tuple[Word, ...]:
        """See Translator."""
        key = ("align", encoded.handle[0], language, tuple(words), tuple(prefix))
        return self._once(key, lambda: self._translator.align(_bare(encoded), language, words, prefix=prefix))


def _bare(encoded: Encoded) -> Encoded:
    return replace(encoded, handle=encoded.handle[1])


class Watched(Interpreter):
    """An interpreter whose every pass is checked; `faults` says which committed word was lost, repeated or changed."""

    def __init__(
        self, translator: Translator, settings: InterpretSettings | None = None, detector: Detector | None = None
    ) -> None:
        super().__init__(translator, settings, detector)
        self.faults: list[str] = []
        self._told: list[str] = []
        self._told_to_ms = 0.0
        self._commits = 0

    def finish(self, pass_: Pass, result: PassResult) -> list[Event]:
        """See Interpreter."""
        events = super().finish(pass_, result)
        heard = _words(result.words)
        prefix = _words(pass_.prefix)
        if prefix != self._told[len(self._told) - len(prefix) :]:
            self.faults.append(f"pass {pass_.id} goes on from {' '.join(prefix)!r}, which is not what was said last")
        said: list[str] = []
        for event in events:
            if isinstance(event, Commit):
                if event.id != self._commits or event.source_start_ms < self._told_to_ms - 1e-6:
                    self.faults.append(f"commit {event.id} is out of order")
                self._commits, self._told_to_ms = event.id + 1, event.source_end_ms
                said += event.text.split()
        # Where a phrase was cut the interpreter drops what it hears twice.
        dropped = next((k for k in range(len(heard) + 1) if heard[k : k + len(said)] == said), None)
        rejected = result.no_speech > pass_.no_speech_threshold
        if dropped is None:
            self.faults.append(f"pass {pass_.id} said {' '.join(said)!r}, which the model did not")
        elif pass_.final and not rejected and dropped + len(said) != len(heard):
            self.faults.append(f"the end of pass {pass_.id} was lost: {' '.join(heard[dropped + len(said) :])!r}")
        self._told += said
        return events


def _words(words: Sequence[Word]) -> list[str]:
    return " ".join(w.text for w in words).split()


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one recording under one setting."""

    output: Output
    compute_s: float
    passes: int
    faults: tuple[str, ...]


def interpret(
    translator: Remembered,
    source: Source,
    policy: str,
    parameters: Mapping[str, float],
    detector: Detector | None = None,
) -> Run:
    """Interpret a recording on the virtual clock."""
    settings = InterpretSettings(policy, parameters, source.language)
    interpreter = Watched(translator, settings, detector)
    said = run_asap(interpreter, source.samples, lambda *_: None, measure=translator.now)
    words = [(w, c.audio_ms, wall) for c, wall in said.commits for w in c.text.split()]
    texts, delays, elapsed = zip(*words, strict=True) if words else ((), (), ())
    output = Output(texts, delays, elapsed, source.seconds * 1000)
    return Run(output, said.compute_s, said.passes, tuple(interpreter.faults))
