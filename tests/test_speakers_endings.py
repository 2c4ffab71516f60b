"""A worker's speakers when sound ends, fails to come or is too much: last words are said, and times stay true."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from streamsvc.budget import MockClock
from streamsvc.frames import Samples
from streamsvc.frames.link import (
    ConfigureSpeech,
    OpenSpeech,
    PassDone,
    Said,
    SoundIn,
    SoundOut,
    SpeechOver,
    Trouble,
)
from streamsvc.speech.fake import FakeDetector, FakeTranslator, speak
from streamsvc.speech.voice import Voice
from streamsvc.worker.lanes import Lanes
from streamsvc.worker.soundclock import SoundClock
from streamsvc.worker.speakers import Speakers

RATE, SECOND = 16_000, 1_000_000_000


class Buzz:
    """A voice that says half a second for every text."""

    def start(self) -> None: ...

    def synthesise(self, text: str, rate: float) -> Iterator[np.ndarray]:
        yield np.full(24_000, 0.1, np.float32)

    def close(self) -> None: ...


@dataclass
class Worker:
    """One speaker of a worker; `heard` is what it told, `now_s` how far its sound has come."""

    voice: bool = False
    clock: MockClock = field(default_factory=MockClock)
    sent: queue.Queue[Any] = field(default_factory=queue.Queue)
    heard: list[Any] = field(default_factory=list)
    now_s: float = 0.0

    def __post_init__(self) -> None:
        self.lanes = Lanes(1, self.clock)
        make = (lambda speech, trouble: Voice(speech, trouble, engine=Buzz())) if self.voice else None
        self.speakers = Speakers(FakeTranslator(), make, self.lanes, self.clock, self.sent.put)
        self.speakers.open(OpenSpeech(stream="ana", source="es"))

    def say(self, samples: Samples) -> None:
        for at in range(0, len(samples), 1600):
            block = samples[at : at + 1600]
            self.now_s += len(block) / RATE
            self.clock.advance(round(self.now_s * SECOND) - self.clock.now_ns())
            self.speakers.sound(
                SoundIn(stream="ana", samples=block.astype("<f4").tobytes(), end_ns=self.clock.now_ns())
            )

    def skip(self, seconds: float) -> None:
        self.now_s += seconds

    def until(self, kind: type, text: str = "") -> Any:
        """Return the first message of the kind from now on, in whose text there is `text`."""
        while True:
            message = self.sent.get(timeout=20)
            self.heard.append(message)
            if isinstance(message, kind) and text in getattr(message, "text", ""):
                return message

    @property
    def words(self) -> list[str]:
        return " ".join(m.text for m in self.heard if isinstance(m, Said)).split()


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    monkeypatch.setattr("streamsvc.speech.interpreter.VoiceActivity", FakeDetector)
    made = Worker()
    made.lanes.start()
    yield made
    made.speakers.close_all()
    made.lanes.stop()


EIGHT = [f"w{i}" for i in range(8)]


def test_the_last_words_of_who_leaves_are_said_and_then_it_is_over(worker: Worker) -> None:
    worker.say(speak(0, 8))
    worker.speakers.close("ana")
    worker.until(SpeechOver)
    assert worker.words == EIGHT
    assert worker.sent.empty()
    worker.say(speak(8, 3))
    assert worker.sent.empty(), "nobody of that name is open"


def test_it_is_over_only_when_what_a_pass_gave_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamsvc.speech.interpreter.VoiceActivity", FakeDetector)
    telling, go = threading.Event(), threading.Event()
    sent: queue.Queue[Any] = queue.Queue()

    def send(message: Any) -> None:
        if isinstance(message, Said):
            telling.set()
            assert go.wait(20)
        sent.put(message)

    clock = MockClock()
    lanes = Lanes(1, clock)
    speakers = Speakers(FakeTranslator(), None, lanes, clock, send)
    lanes.start()
    speakers.open(OpenSpeech(stream="ana", source="es", policy="offline"))
    sound = np.concatenate([speak(0, 3), np.zeros(3 * RATE, np.float32)]).astype("<f4")
    speakers.sound(SoundIn(stream="ana", samples=sound.tobytes(), end_ns=0))
    assert telling.wait(20)
    speakers.close("ana")
    go.set()
    told = []
    while not told or not isinstance(told[-1], SpeechOver):
        told.append(sent.get(timeout=20))
    assert [m.text for m in told if isinstance(m, Said | PassDone)] == ["w0 w1 w2"] * 2
    lanes.stop()


def test_who_leaves_in_silence_is_over_at_once(worker: Worker) -> None:
    worker.say(np.zeros(RATE, np.float32))
    worker.speakers.close("ana")
    worker.until(SpeechOver)
    assert worker.words == []


def test_a_stream_that_is_opened_again_says_nothing_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamsvc.speech.interpreter.VoiceActivity", FakeDetector)
    worker = Worker()
    worker.say(speak(0, 8))
    worker.speakers.close("ana")
    worker.speakers.open(OpenSpeech(stream="ana", source="es"))
    worker.lanes.start()
    worker.say(np.concatenate([speak(8, 3), np.zeros(2 * RATE, np.float32)]))
    while "w10" not in worker.words:
        worker.until(Said)
    assert worker.words == ["w8", "w9", "w10"]
    assert not any(isinstance(m, SpeechOver) for m in worker.heard)
    worker.speakers.close_all()
    worker.lanes.stop()


def test_the_last_words_are_spoken_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamsvc.speech.interpreter.VoiceActivity", FakeDetector)
    worker = Worker(voice=True)
    worker.lanes.start()
    worker.say(speak(0, 8))
    worker.speakers.close("ana")
    worker.until(SpeechOver)
    spoken = {i for m in worker.heard if isinstance(m, SoundOut) for i in m.ids}
    assert spoken == {m.id for m in worker.heard if isinstance(m, Said)} != set()
    worker.lanes.stop()


def test_nothing_is_spoken_for_who_only_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamsvc.speech.interpreter.VoiceActivity", FakeDetector)
    worker = Worker(voice=True)
    worker.lanes.start()
    worker.speakers.configure(ConfigureSpeech(stream="ana", spoken=False))
    worker.say(speak(0, 8))
    worker.speakers.close("ana")
    worker.until(SpeechOver)
    assert worker.words == EIGHT and not any(isinstance(m, SoundOut) for m in worker.heard)
    worker.lanes.stop()


def test_a_phrase_is_over_when_sound_stops_coming_as_when_it_is_silent(worker: Worker) -> None:
    worker.say(speak(0, 8))
    worker.clock.advance(SECOND * 6 // 10)
    worker.speakers.look()
    (phrase,) = worker.speakers._speakers["ana"]._interpreter._phrases
    assert phrase.end is None
    worker.clock.advance(SECOND * 2 // 10)
    worker.speakers.look()
    worker.until(Said, "w7")
    assert worker.words == EIGHT


def test_words_keep_the_time_at_which_they_were_spoken_across_an_outage(worker: Worker) -> None:
    worker.say(np.concatenate([np.zeros(RATE, np.float32), speak(0, 6)]))
    worker.skip(20)
    worker.say(np.zeros(2 * RATE, np.float32))
    last = worker.until(PassDone, "w5")
    assert last.source_end_ns == pytest.approx(3.4 * SECOND, abs=0.1 * SECOND)
    worker.say(np.concatenate([speak(6, 3), np.zeros(2 * RATE, np.float32)]))
    worker.until(PassDone, "w8")
    said = [m for m in worker.heard if isinstance(m, Said)]
    assert worker.words == [f"w{i}" for i in range(9)]
    before, after = (next(m for m in said if word in m.text) for word in ("w5", "w6"))
    assert before.end_ns == pytest.approx(3.4 * SECOND, abs=0.1 * SECOND)
    assert after.start_ns == pytest.approx(25.4 * SECOND, abs=0.4 * SECOND)
    assert said[-1].end_ns == pytest.approx(26.6 * SECOND, abs=0.1 * SECOND)


def test_an_outage_in_mid_phrase_ends_the_phrase(worker: Worker) -> None:
    worker.say(speak(0, 4))
    worker.skip(5)
    worker.say(np.concatenate([speak(4, 4), np.zeros(2 * RATE, np.float32)]))
    worker.until(PassDone, "w7")
    said = [m for m in worker.heard if isinstance(m, Said)]
    assert worker.words == EIGHT
    assert all(m.end_ns < 2 * SECOND or m.start_ns > 6 * SECOND for m in said)


def test_speech_that_is_too_far_behind_is_left_out_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamsvc.speech.interpreter.VoiceActivity", FakeDetector)
    worker = Worker()
    pause = np.zeros(RATE, np.float32)
    worker.say(np.concatenate([part for i in range(20) for part in (speak(10 * i, 10), pause)]))
    worker.lanes.start()
    worker.speakers.close("ana")
    worker.until(SpeechOver)
    numbers = [int(w[1:]) for w in worker.words]
    assert numbers == sorted(set(numbers)) and numbers[-1] == 199 and len(numbers) < 60
    lost = [m for m in worker.heard if isinstance(m, PassDone) and m.reason == "left-out"]
    told = [m for m in worker.heard if isinstance(m, Trouble) and m.code == "left-out"]
    assert len(lost) == len(told) > 10
    assert told[1].message == "4 s of speech were not translated: the translation was too far behind"
    worker.lanes.stop()


def test_a_sound_clock_tells_when_each_stretch_was_captured() -> None:
    clock = SoundClock()
    with pytest.raises(ValueError, match="no sound"):
        clock.instant(0)
    assert clock.missing_ns(RATE, 5 * SECOND) == 0
    for second in range(1, 5):
        clock.took(RATE, second * SECOND + 3_000_000 * (second % 2))
    assert clock.missing_ns(RATE, 25 * SECOND) == 20 * SECOND
    clock.took(RATE, 25 * SECOND)
    clock.took(RATE, 24 * SECOND)
    assert [clock.instant(s * RATE) / SECOND for s in (0, 2, 4, 4.5, 5, 5.5, 6)] == [0, 2, 4, 24.5, 25, 23.5, 24]
