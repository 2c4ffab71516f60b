"""What tests of the interpreter share: sound of the fake translator's words, and a run over it that is checked."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from streamsvc.budget.slices import run_to_end
from streamsvc.speech.events import Commit, Event, InterpretSettings, Passage, TentativeText
from streamsvc.speech.fake import WORD, FakeDetector, FakeTranslator, speak
from streamsvc.speech.interpreter import Interpreter

RATE = 16_000


def silence(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * RATE), np.float32)


def phrases(*plan: tuple[int, float]) -> np.ndarray:
    """Return phrases of (words, seconds of silence after)."""
    parts, first = [silence(0.5)], 0
    for words, pause in plan:
        parts += [speak(first, words), silence(pause)]
        first += words
    return np.concatenate(parts)


@dataclass
class Run:
    interpreter: Interpreter
    commits: list[Commit]
    tentative: list[str]
    passages: list[Passage] = field(default_factory=list)

    def take(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case Commit():
                    self.commits.append(event)
                case Passage():
                    self.passages.append(event)
                case TentativeText():
                    self.tentative.append(event.text)

    @property
    def words(self) -> list[str]:
        return " ".join(c.text for c in self.commits).replace("?", "").split()


def drive(audio, translator=None, block=1600, actions=None, detector=None, **keywords) -> Run:
    """Interpret `audio`; `actions` maps a block number to something done to the interpreter after it was fed."""
    interpreter = Interpreter(translator or FakeTranslator(), InterpretSettings(**keywords), detector or FakeDetector())
    run = Run(interpreter, [], [])

    def turn() -> bool:
        due = interpreter.next_pass()
        run.take(interpreter.news())
        if due is None:
            return False
        run.take(interpreter.finish(due, run_to_end(due.slices())))
        return True

    for number, at in enumerate(range(0, len(audio), block)):
        interpreter.feed(audio[at : at + block])
        if actions and number in actions:
            actions[number](interpreter)
        turn()
    interpreter.end()
    while turn():
        pass
    return run


def positions(audio: np.ndarray) -> dict[str, tuple[float, float]]:
    """Return where each word lies, in ms."""
    number = np.where(audio == 0, -1, np.floor(audio.astype(np.float64) * 1000).astype(int) - 1)
    return {
        f"w{i}": (float(np.flatnonzero(number == i)[0]) / 16, float(np.flatnonzero(number == i)[-1] + 1) / 16)
        for i in dict.fromkeys(int(n) for n in number[number >= 0])
    }


def check(run: Run, audio: np.ndarray) -> None:
    """Every word once and in order, each commit where its words lie and not before they were heard."""
    where = positions(audio)
    assert run.words == list(where)
    end = 0.0
    for number, commit in enumerate(run.commits):
        assert commit.id == number
        assert end <= commit.source_start_ms < commit.source_end_ms <= commit.audio_ms + 1e-6
        end = commit.source_end_ms
        for word in commit.text.replace("?", "").split():
            first, last = where[word]
            assert first < commit.source_end_ms
            assert last > commit.source_start_ms - WORD / 16
            assert (first + last) / 2 <= commit.audio_ms
    assert run.interpreter.finished
