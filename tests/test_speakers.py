"""Speech streams of a worker: settings that the model refuses cost as little as can be."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from streamsvc.budget import MonotonicClock
from streamsvc.frames import Samples
from streamsvc.frames.link import ConfigureSpeech, OpenSpeech, PassDone, Revised, Said, SoundIn, Trouble
from streamsvc.speech.fake import FakeDetector, FakeTranslator, speak
from streamsvc.speech.second import BEAM
from streamsvc.speech.translator import Encoded, Hypothesis, Request
from streamsvc.worker.lanes import Lanes
from streamsvc.worker.speakers import Speakers

LONG = ["a b c d"] * 50


@pytest.mark.parametrize(
    ("message", "kept", "said"),
    [
        (OpenSpeech(stream="ana", policy="greedy", source="es", glossary=["Cork"]), ("greedy", "es", ("Cork",)), 0),
        (OpenSpeech(stream="ana", policy="greedy", source="es", glossary=LONG), ("greedy", "es", ()), 1),
        (OpenSpeech(stream="ana", policy="nonesuch", source="es"), ("agreement", "es", ()), 1),
        (OpenSpeech(stream="ana", policy="greedy", parameters={"beam": 2.5}, source="es"), ("greedy", "es", ()), 1),
        (OpenSpeech(stream="ana", policy="greedy", source="tlh", glossary=["Cork"]), ("greedy", "auto", ("Cork",)), 1),
    ],
    ids=["accepted", "glossary", "policy", "parameters", "source"],
)
def test_what_is_refused_is_reported_and_alone_left_out(message: OpenSpeech, kept: tuple[Any, ...], said: int) -> None:
    sent: list[Any] = []
    clock = MonotonicClock()
    speakers = Speakers(FakeTranslator(), None, Lanes(1, clock), clock, sent.append)
    speakers.open(message)
    settings = speakers._speakers["ana"]._interpreter.settings
    assert (settings.policy, settings.source, settings.glossary) == kept
    assert [m.code for m in sent if isinstance(m, Trouble)] == ["bad-settings"] * said


def test_what_was_said_is_corrected_by_a_second_pass_when_the_phrase_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamsvc.speech.interpreter.VoiceActivity", FakeDetector)
    sent: queue.Queue[Any] = queue.Queue()
    clock = MonotonicClock()
    lanes = Lanes(1, clock)
    speakers = Speakers(FakeTranslator(wide="indeed"), None, lanes, clock, sent.put)
    lanes.start()
    speakers.open(OpenSpeech(stream="ana", policy="greedy", source="es"))
    sound = np.concatenate([speak(0, 5), np.zeros(16_000, np.float32)])
    for at in range(0, len(sound), 1600):
        block = sound[at : at + 1600].astype("<f4").tobytes()
        speakers.sound(SoundIn(stream="ana", samples=block, end_ns=clock.now_ns()))
    said: dict[int, str] = {}
    revised: list[Revised] = []
    while not revised:
        message = sent.get(timeout=20)
        if isinstance(message, Said):
            said[message.id] = message.text
        elif isinstance(message, Revised):
            assert set(message.ids) <= said.keys(), "what is corrected was said before"
            revised.append(message)
    assert [i for r in revised for i in r.ids] == list(said)
    assert [r.text.replace(" indeed", "") for r in revised] == [" ".join(said[i] for i in r.ids) for r in revised]
    speakers.close_all()
    lanes.stop()


class Slow(FakeTranslator):
    """Waits in a second pass until it is told to go on."""

    def __init__(self) -> None:
        super().__init__(wide="indeed")
        self.begun, self.go = threading.Event(), threading.Event()

    def decode(self, requests: Sequence[Request]) -> list[Hypothesis]:
        if requests[0].beam == BEAM:
            self.begun.set()
            assert self.go.wait(20)
        return super().decode(requests)


def test_a_correction_that_comes_after_the_stream_was_closed_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamsvc.speech.interpreter.VoiceActivity", FakeDetector)
    sent: list[Any] = []
    clock, translator = MonotonicClock(), Slow()
    lanes = Lanes(1, clock)
    speakers = Speakers(translator, None, lanes, clock, sent.append)
    lanes.start()
    speakers.open(OpenSpeech(stream="ana", policy="greedy", source="es"))
    sound = np.concatenate([speak(0, 5), np.zeros(16_000, np.float32)])
    for at in range(0, len(sound), 1600):
        block = sound[at : at + 1600].astype("<f4").tobytes()
        speakers.sound(SoundIn(stream="ana", samples=block, end_ns=clock.now_ns()))
    assert translator.begun.wait(20)
    speakers.close("ana")
    translator.go.set()
    lanes.stop()
    assert any(isinstance(m, Said) for m in sent)
    assert not any(isinstance(m, Revised) for m in sent)


def test_a_glossary_that_is_too_long_costs_no_later_change_either() -> None:
    sent: list[Any] = []
    clock = MonotonicClock()
    speakers = Speakers(FakeTranslator(), None, Lanes(1, clock), clock, sent.append)
    speakers.open(OpenSpeech(stream="ana", source="auto", glossary=LONG))
    speakers.configure(ConfigureSpeech(stream="ana", source="de", glossary=LONG))
    assert speakers._speakers["ana"]._interpreter.settings.source == "de"
    assert [m.code for m in sent if isinstance(m, Trouble)] == ["bad-settings"] * 2


def test_a_parameter_that_is_refused_costs_no_other_setting() -> None:
    sent: list[Any] = []
    clock = MonotonicClock()
    speakers = Speakers(FakeTranslator(), None, Lanes(1, clock), clock, sent.append)
    speakers.open(OpenSpeech(stream="ana", parameters={"n": 3}, source="es"))
    speakers.configure(ConfigureSpeech(stream="ana", policy="agreement", parameters={"n": 2.5}, source="fr"))
    settings = speakers._speakers["ana"]._interpreter.settings
    assert (settings.parameters["n"], settings.source) == (3, "fr")
    assert [m.message for m in sent if isinstance(m, Trouble)] == [
        "n = 2.5 isn't accepted: a whole number from 2 to 5 (passes that must agree)"
    ]


class Failing(FakeTranslator):
    """Can't encode what begins with the first word."""

    def encode(self, audio: Samples, *, final: bool = False) -> Encoded:
        if np.isin(np.floor(audio.astype(np.float64) * 1000).astype(int), [1]).any():
            raise RuntimeError("no device")
        return super().encode(audio, final=final)


def test_a_phrase_that_the_model_fails_on_is_left_out_and_told_and_the_next_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streamsvc.speech.interpreter.VoiceActivity", FakeDetector)
    sent: queue.Queue[Any] = queue.Queue()
    clock = MonotonicClock()
    lanes = Lanes(1, clock)
    speakers = Speakers(Failing(), None, lanes, clock, sent.put)
    lanes.start()
    speakers.open(OpenSpeech(stream="ana", policy="offline", source="es"))
    pause = np.zeros(40_000, np.float32)
    sound = np.concatenate([speak(0, 5), pause, speak(5, 3), pause])
    speakers.sound(SoundIn(stream="ana", samples=sound.astype("<f4").tobytes(), end_ns=clock.now_ns()))
    told: list[str] = []
    reasons: list[str | None] = []
    while not isinstance(message := sent.get(timeout=20), Said):
        told += [message.message] if isinstance(message, Trouble) else []
        reasons += [message.reason] if isinstance(message, PassDone) else []
    assert message.text == "w5 w6 w7"
    assert len(told) == 3 and "the rest of a phrase can't be translated" in told[-1]
    assert reasons == ["failed"] * 3, "a pass that failed isn't one that was shown"
    speakers.close_all()
    lanes.stop()
