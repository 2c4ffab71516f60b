"""Speech streams of a worker: settings that the model refuses cost as little as can be."""

from __future__ import annotations

from typing import Any

import pytest

from streamsvc.budget import MonotonicClock
from streamsvc.frames.link import OpenSpeech, Trouble
from streamsvc.speech.fake import FakeTranslator
from streamsvc.worker.lanes import Lanes
from streamsvc.worker.speakers import Speakers

LONG = ["a b c d"] * 50


@pytest.mark.parametrize(
    ("message", "kept", "said"),
    [
        (OpenSpeech(stream="ana", policy="greedy", source="es", glossary=["Cork"]), ("greedy", "es", ("Cork",)), 0),
        (OpenSpeech(stream="ana", policy="greedy", source="es", glossary=LONG), ("greedy", "es", ()), 1),
        (OpenSpeech(stream="ana", policy="nonesuch", source="es"), ("agreement", "auto", ()), 1),
    ],
    ids=["accepted", "glossary", "policy"],
)
def test_what_is_refused_is_reported_and_alone_left_out(message: OpenSpeech, kept: tuple[Any, ...], said: int) -> None:
    sent: list[Any] = []
    clock = MonotonicClock()
    speakers = Speakers(FakeTranslator(), None, Lanes(1, clock), clock, sent.append)
    speakers.open(message)
    settings = speakers._speakers["ana"]._interpreter.settings
    assert (settings.policy, settings.source, settings.glossary) == kept
    assert [m.code for m in sent if isinstance(m, Trouble)] == ["bad-settings"] * said
