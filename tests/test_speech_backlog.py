"""An interpreter whose model is too slow: it does with less, then leaves speech out and says so; it never piles up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interpreter_run import Run, positions, silence

from streamsvc.budget.slices import run_to_end
from streamsvc.speech.backlog import BACKLOG_S, BEHIND_S
from streamsvc.speech.buffer import SoundBuffer
from streamsvc.speech.events import InterpretSettings, LeftOut
from streamsvc.speech.fake import FakeDetector, FakeTranslator, speak
from streamsvc.speech.interpreter import MAX_BUFFER_S, Interpreter
from streamsvc.speech.passes import FLUSH_BEAM, Pass

RATE, BLOCK = 16_000, 1600


class Slowly:
    """Interprets on a clock on which a pass takes `factor` times the sound that it reads, until `quick_s`."""

    def __init__(self, audio: np.ndarray, factor: float, quick_s: float) -> None:
        self.interpreter = Interpreter(FakeTranslator(), InterpretSettings(source="es"), FakeDetector())
        self.run = Run(self.interpreter, [], [])
        self.left_out: list[LeftOut] = []
        self.passes: list[tuple[float, Pass]] = []
        self.lags: list[tuple[float, float]] = []
        self.held_s = 0.0
        running: tuple[float, Pass] | None = None
        for at in range(0, len(audio), BLOCK):
            self.interpreter.feed(audio[at : at + BLOCK])
            now = (at + BLOCK) / RATE
            self.held_s = max(self.held_s, self.interpreter.statistics().buffer_s)
            while True:
                if running is None:
                    due = self.interpreter.next_pass()
                    self._take(self.interpreter.news(), now)
                    if due is None:
                        break
                    self.passes.append((now, due))
                    running = now + due.seconds * (factor if now < quick_s else 0.05), due
                if running[0] > now:
                    break
                (_, due), running = running, None
                self._take(self.interpreter.finish(due, run_to_end(due.slices())), now)

    def _take(self, events, now: float) -> None:
        said = len(self.run.commits)
        self.run.take(events)
        self.left_out += [e for e in events if isinstance(e, LeftOut)]
        self.lags += [(now, now - c.source_end_ms / 1000) for c in self.run.commits[said:]]


def talk(count: int) -> np.ndarray:
    return np.concatenate(
        [silence(1), *(part for i in range(count) for part in (speak(10 * i, 10), silence(1))), silence(2)]
    )


@pytest.mark.parametrize("audio", [talk(34), np.concatenate([speak(0, 425), silence(2)])], ids=["phrases", "monologue"])
def test_a_model_that_is_too_slow_leaves_speech_out_and_tells_which(audio: np.ndarray) -> None:
    slow = Slowly(audio, factor=3.0, quick_s=110)
    assert slow.held_s < BACKLOG_S + 4 * MAX_BUFFER_S, "what came while the longest pass ran, and the phrase it read"
    assert slow.left_out
    assert slow.interpreter.statistics().left_out_s == pytest.approx(
        sum(e.end_ms - e.start_ms for e in slow.left_out) / 1000
    )
    said = slow.run.words
    where = positions(audio)
    assert said == [w for w in where if w in set(said)], "once each, in order"
    for word in where.keys() - set(said):
        middle = sum(where[word]) / 2
        assert any(e.start_ms <= middle <= e.end_ms for e in slow.left_out), word
    assert max(lag for now, lag in slow.lags if now > 150) < BEHIND_S, "it is as quick as ever when the model is"


def test_who_is_behind_only_flushes_and_greedily() -> None:
    slow = Slowly(talk(30), factor=3.0, quick_s=60)
    late = [p for now, p in slow.passes if 30 < now < 60]
    assert late and all(p.final and p.beam == 1 for p in late)
    soon = [p for now, p in slow.passes if now > 120]
    assert {p.final for p in soon} == {True, False} and {p.beam for p in soon if p.final} == {FLUSH_BEAM}


def test_a_model_that_keeps_up_leaves_nothing_out() -> None:
    slow = Slowly(talk(20), factor=0.2, quick_s=0)
    assert slow.run.words == list(positions(talk(20))) and not slow.left_out


@given(
    blocks=st.lists(st.integers(0, 40), max_size=30),
    forgets=st.lists(st.integers(0, 400), max_size=5),
    start=st.integers(0, 500),
    length=st.integers(0, 500),
)
def test_a_buffer_holds_what_an_array_of_all_sound_would(
    blocks: list[int], forgets: list[int], start: int, length: int
) -> None:
    buffer, everything, kept = SoundBuffer(), np.zeros(0, np.float32), 0
    for i, size in enumerate(blocks):
        block = np.random.default_rng(i).random(size).astype(np.float32)
        buffer.append(block)
        everything = np.concatenate([everything, block])
        if i < len(forgets):
            buffer.forget(forgets[i])
            kept = max(kept, min(forgets[i], len(everything)))
    assert (buffer.start, buffer.end) == (kept, len(everything))
    start = max(start, kept)
    np.testing.assert_array_equal(buffer.read(start, start + length), everything[start : start + length])
