"""Where the interpreter cuts sound: no word is lost or said twice, passages are whole, times are those of speech."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from interpreter_run import Run, drive, phrases, positions, silence

from streamsvc.budget.slices import run_to_end
from streamsvc.frames import Samples
from streamsvc.speech.events import Commit, InterpretSettings
from streamsvc.speech.fake import FakeDetector, FakeTranslator, speak
from streamsvc.speech.interpreter import Interpreter
from streamsvc.speech.passages import PASSAGE_S
from streamsvc.speech.second import BEAM, second_pass
from streamsvc.speech.translator import Hypothesis, Request, Segment, Word
from streamsvc.speech.vad import CHUNK

RATE = 16_000


class Dip(FakeDetector):
    """Hears speech wherever there is any, less clearly for 0.12 s from `at_s` on."""

    def __init__(self, at_s: float) -> None:
        super().__init__()
        self._at_s, self._chunks = at_s, 0

    def feed(self, samples: Samples) -> list[float]:
        heard = super().feed(samples)
        times = (np.arange(len(heard)) + self._chunks) * CHUNK / RATE
        self._chunks += len(heard)
        return [0.4 if self._at_s <= t < self._at_s + 0.12 else p for t, p in zip(times, heard, strict=True)]


class Sentences(FakeTranslator):
    """Every word is a sentence; goes on after the prefix whatever of it is still heard."""

    def _decode(self, request: Request) -> Hypothesis:
        last = request.prefix[-1].tokens[0] if request.prefix else -1
        words = [replace(w, text=f"{w.text}.") for w in self._hear(request.encoded.handle) if w.tokens[0] > last]
        return Hypothesis((Segment(tuple(words), words[0].start_s, words[-1].end_s),) if words else (), 0.0, -0.1)


@pytest.mark.parametrize("dip_s", [10.48, 10.6, 10.72, 10.84, 10.96, 11.08])
def test_a_long_phrase_is_cut_in_a_dip_that_loses_and_repeats_no_word(dip_s: float) -> None:
    audio = np.concatenate([speak(0, 50), silence(2)])
    run = drive(audio, Sentences(), detector=Dip(dip_s), source="es")
    assert [w.rstrip(".") for w in run.words] == list(positions(audio))


class Named(FakeTranslator):
    """Some words are known by another text."""

    def __init__(self, texts: dict[int, str]) -> None:
        super().__init__()
        self.texts = texts

    def _hear(self, audio: Samples) -> list[Word]:
        return [replace(w, text=self.texts.get(w.tokens[0], w.text)) for w in super()._hear(audio)]


@pytest.mark.parametrize("late_s", [0.05, 0.3])
def test_a_word_that_is_repeated_after_a_pause_is_said_again_however_late_the_flush_is(late_s: float) -> None:
    translator = Named({3: "no", 4: "no"})
    settings = InterpretSettings(parameters={"phrase_timeout": 0.3}, source="es")
    interpreter = Interpreter(translator, settings, FakeDetector())
    audio = np.concatenate([silence(1), speak(0, 4), silence(0.42), speak(4, 3), silence(2)])
    run, outstanding, done_s = Run(interpreter, [], []), None, 0.0
    for at in range(0, len(audio), 320):
        interpreter.feed(audio[at : at + 320])
        now = (at + 320) / RATE
        if outstanding is None and (outstanding := interpreter.next_pass()) is not None:
            done_s = now + (late_s if outstanding.final else 0.02)
        if outstanding is not None and done_s <= now:
            run.take(interpreter.finish(outstanding, run_to_end(outstanding.slices())))
            outstanding = None
    assert run.words == ["w0", "w1", "w2", "no", "no", "w5", "w6"]


def test_words_that_stop_in_mid_speech_and_go_on_at_once_are_one_stretch_for_what_is_heard_twice() -> None:
    interpreter = Interpreter(FakeTranslator(), InterpretSettings(source="es"), FakeDetector())
    interpreter.feed(np.concatenate([silence(0.5), speak(0, 4)]))
    assert interpreter.pause() and not interpreter.pause()
    interpreter.feed(np.concatenate([speak(4, 4), silence(2)]))
    first = interpreter.next_pass()
    assert first is not None and first.final
    interpreter.finish(first, run_to_end(first.slices()))
    second = interpreter.next_pass()
    assert second is not None and second.said == ("w0", "w1", "w2", "w3") and second.start == first.end


def test_a_flush_ends_where_the_speech_does() -> None:
    audio = np.concatenate([silence(1), speak(0, 6), silence(2)])
    run = drive(audio, source="es", block=320)
    assert run.commits[-1].source_end_ms == pytest.approx(3400, abs=CHUNK / 16)


class Hesitant(FakeTranslator):
    """Is sure for eleven passes, and then not before there are 17.5 s of sound."""

    def _decode(self, request: Request) -> Hypothesis:
        sure = len(self.decoded) < 11 or request.encoded.seconds > 17.5
        return replace(super()._decode(request), no_speech=0.2 if sure else 0.7)


def test_a_passage_is_never_longer_than_what_a_second_pass_hears() -> None:
    translator = Hesitant()
    run = drive(
        np.concatenate([speak(0, 90), silence(2)]),
        translator,
        block=320,
        policy="confidence",
        parameters={"threshold": 0.5, "segments": 1},
        source="es",
    )
    assert [i for p in run.passages for i in p.ids] == [c.id for c in run.commits]
    assert max(p.seconds for p in run.passages) <= PASSAGE_S
    for passage in run.passages:
        assert [w.text for w in translator._hear(passage.audio)] == passage.text.split()


@pytest.mark.parametrize("count", range(1, 9))
def test_a_phrase_that_ends_at_a_cut_is_corrected_too_and_leaves_nothing_tentative(count: int) -> None:
    settings = {"policy": "greedy", "parameters": {"segments": 1}, "source": "es"}
    run = drive(phrases((count, 1.0), (3, 1.0)), **settings)
    assert [i for p in run.passages for i in p.ids] == [c.id for c in run.commits]
    assert not run.tentative or run.tentative[-1] == ""


class Reciting(FakeTranslator):
    """Copies what it is reminded of in a pass, and recites the glossary in a second one."""

    copied = False

    def _decode(self, request: Request) -> Hypothesis:
        if request.beam == BEAM and request.prompt:
            return self._said(["Ann", "Bob", "Cid", "Dan", "Eve"])
        if len(request.prompt) > 20 and not request.prefix:
            self.copied = True
            return self._said([f"w{k}" for k in range(8, 14)])
        return super()._decode(request)

    @staticmethod
    def _said(texts: Sequence[str]) -> Hypothesis:
        words = tuple(Word(text, 0, 1, (), (i,)) for i, text in enumerate(texts))
        return Hypothesis((Segment(words, 0, 1),), 0.0, -0.1)


def test_the_glossary_is_not_recited_in_a_transcript_when_a_prompt_was_dropped() -> None:
    translator = Reciting()
    run = drive(
        np.concatenate([speak(0, 40), silence(1), speak(40, 8), silence(2)]),
        translator,
        parameters={"context": 32},
        source="es",
        glossary=("Ann", "Bob", "Cid", "Dan", "Eve"),
    )
    assert translator.copied
    assert [run_to_end(second_pass(translator, p, 0.9)) for p in run.passages] == [None] * len(run.passages)


def test_a_glossary_that_changes_in_mid_phrase_changes_for_a_second_pass_as_a_whole() -> None:
    translator = FakeTranslator()
    interpreter = Interpreter(translator, InterpretSettings(source="es", glossary=("Ann Lee",)), FakeDetector())
    interpreter.feed(phrases((8, 1.0)))
    due = interpreter.next_pass()
    assert due is not None
    interpreter.configure(glossary=("Bob",))
    run = Run(interpreter, [], [])
    run.take(interpreter.finish(due, run_to_end(due.slices())))
    (passage,) = run.passages
    assert (passage.prompt, passage.glossary) == (translator.tokens("Ann Lee."), (("ann", "lee"),))
    assert all(isinstance(c, Commit) for c in run.commits) and interpreter.settings.glossary == ("Bob",)
