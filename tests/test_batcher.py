"""Decodes of several streams in one call: nobody waits for nothing, and what was given up is not decoded."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from streamsvc.budget.slices import run_to_end
from streamsvc.speech import Interpreter, InterpretSettings, Pass, PassResult
from streamsvc.speech.batcher import Batcher
from streamsvc.speech.fake import FakeDetector, FakeTranslator, speak
from streamsvc.speech.translator import Hypothesis, Request


def passes(batcher: Batcher, translator: FakeTranslator, policies: Sequence[str] = ("greedy",) * 3) -> list[Pass]:
    """One due pass of each speaker; speaker i says three words from number 10 i."""
    found = []
    for i, policy in enumerate(policies):
        interpreter = Interpreter(translator, InterpretSettings(policy, source="es"), FakeDetector(), batcher)
        interpreter.feed(speak(10 * i, 3))
        due = interpreter.next_pass()
        assert due is not None
        found.append(due)
    return found


def said(result: PassResult) -> list[str]:
    return [w.text for w in result.words]


@pytest.mark.parametrize(("width", "batches"), [(1, [1, 1, 1]), (2, [2, 1]), (4, [3])])
def test_passes_that_wait_to_be_decoded_are_decoded_together(width: int, batches: list[int]) -> None:
    translator = FakeTranslator()
    batcher = Batcher(translator, width)
    started = [due.slices() for due in passes(batcher, translator)]
    assert [next(slices) for slices in started] == ["encode"] * 3
    assert [said(run_to_end(slices)) for slices in started] == [[f"w{10 * i + k}" for k in range(3)] for i in range(3)]
    assert translator.batches == batches
    told = batcher.statistics()
    assert (told.calls, told.decodes) == (len(batches), 3)


def test_a_pass_alone_waits_for_nobody() -> None:
    translator = FakeTranslator()
    batcher = Batcher(translator)
    for due in passes(batcher, translator):
        run_to_end(due.slices())
    assert translator.batches == [1, 1, 1]


def test_only_what_is_of_one_kind_is_decoded_together() -> None:
    translator = FakeTranslator()
    batcher = Batcher(translator)
    first, second = passes(batcher, translator, ("greedy", "consensus"))
    wide = [p.slices() for p in (first, second, *passes(batcher, translator, ("greedy",)))]
    assert first.beam == second.beam
    other = Interpreter(translator, InterpretSettings("consensus", {"beam": 3}, source="es"), FakeDetector(), batcher)
    other.feed(speak(50, 3))
    due = other.next_pass()
    assert due is not None
    wide.append(due.slices())
    for slices in wide:
        next(slices)
    for slices in wide:
        run_to_end(slices)
    assert translator.batches == [3, 1]


def test_a_pass_that_was_given_up_is_not_decoded() -> None:
    translator = FakeTranslator()
    batcher = Batcher(translator)
    first, second, third = (due.slices() for due in passes(batcher, translator))
    for slices in (first, second, third):
        next(slices)
    second.close()
    run_to_end(first)
    run_to_end(third)
    assert translator.batches == [2]


class Failing(FakeTranslator):
    """Fails when it is asked for several at once."""

    def decode(self, requests: Sequence[Request]) -> list[Hypothesis]:
        if len(requests) > 1:
            raise MemoryError
        return super().decode(requests)


def test_a_call_that_fails_costs_one_pass_and_the_others_go_on() -> None:
    translator = Failing()
    batcher = Batcher(translator)
    first, second, third = (due.slices() for due in passes(batcher, translator))
    for slices in (first, second, third):
        next(slices)
    for slices in (first, second):
        with pytest.raises(MemoryError):
            run_to_end(slices)
    assert len(said(run_to_end(third))) == 3
