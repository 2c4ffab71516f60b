"""`bench speech --sessions`: calls through a worker's own speech half, on a clock that the test turns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamsvc.bench.speech_calls import COLUMNS, CallsBench, run_calls
from streamsvc.bench.speech_data import faster, prompts
from streamsvc.budget import MockClock
from streamsvc.errors import StreamsvcError
from streamsvc.frames.audio import SPEECH_RATE, Samples
from streamsvc.speech.translator import Encoded, Hypothesis, Request, Segment, Word
from streamsvc.worker.warm import SpeechParts


class Seconds:
    """Hears one word in each second of sound."""

    def encode(self, audio: Samples, *, final: bool = False) -> Encoded:
        return Encoded(None, len(audio) / SPEECH_RATE)

    def tokens(self, text: str) -> tuple[int, ...]:
        return ()

    def identify(self, encoded: Encoded) -> dict[str, float]:
        return {"es": 1.0}

    def decode(self, requests: Sequence[Request]) -> list[Hypothesis]:
        found = []
        for request in requests:
            first, count = len(request.prefix), int(request.encoded.seconds)
            words = tuple(Word(f"word{i}", float(i), i + 1.0, (), (i,)) for i in range(first, count))
            found.append(Hypothesis((Segment(words, float(first), float(count)),) if words else (), 0.0, -0.1))
        return found

    def align(
        self, encoded: Encoded, language: str, words: Sequence[Word], *, prefix: Sequence[Word] = ()
    ) -> tuple[Word, ...]:
        return tuple(replace(w, probability=0.9, attended_s=w.start_s) for w in words)


class Turning(MockClock):
    def wait(self, seconds: float) -> None:
        self.advance(round(seconds * 1e9))


def test_calls_of_several_are_measured_beside_one_and_by_tenths(tmp_path: Path) -> None:
    clock = Turning()
    told: list[str] = []
    options = CallsBench(tmp_path / "out", sessions=2, minutes=0.5)
    result = run_calls(options, told.append, None, SpeechParts(Seconds()), clock, clock.wait)
    assert [r["sessions"] for r in result["rows"]] == ["one", "2, batched", "2, one by one"]
    one, batched, apart = result["rows"]
    assert one["words"] and batched["words"] > one["words"] and one["lag_p95_s"] > 0
    assert one["p95_against_one"] == 1
    assert all(r["batch"] >= 1 for r in (one, batched)) and apart["batch"] == 1
    assert [len(d["parts"]) for d in result["deciles"]] == [10, 10, 10]
    assert json.loads((tmp_path / "out" / "calls.json").read_text()) == json.loads(json.dumps(result))
    table = (tmp_path / "out" / "calls.md").read_text()
    assert all(heading in table for heading, _, _ in COLUMNS) and "| 2, batched" in table


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sessions": 0}, "at least one session"),
        ({"minutes": 0.0}, "up to 1440 minutes"),
        ({"speed": 3.0}, "a speed of 0.5 to 2"),
        ({"policy": "nonesuch"}, "nonesuch"),
        ({"parameters": {"n": 99.0}}, "99"),
        ({"languages": ("xx",)}, "xx"),
    ],
)
def test_what_cannot_be_run_is_refused(tmp_path: Path, options: dict[str, object], says: str) -> None:
    with pytest.raises(StreamsvcError, match=says):
        run_calls(CallsBench(tmp_path, **options), print, None, SpeechParts(Seconds()))  # type: ignore[arg-type]


def test_faster_speech_keeps_its_pitch_and_its_phrases() -> None:
    slow = prompts("es")[0]
    fast = faster(slow, 1.25)
    assert fast.seconds == pytest.approx(slow.seconds / 1.25, rel=0.02)
    assert fast.phrases[0].end_ms == pytest.approx(slow.phrases[0].end_ms / 1.25)

    def pitch(samples: Samples) -> float:
        spectrum = np.abs(np.fft.rfft(samples)) ** 2
        return float((spectrum * np.fft.rfftfreq(len(samples), 1 / SPEECH_RATE)).sum() / spectrum.sum())

    assert pitch(fast.samples) == pytest.approx(pitch(slow.samples), rel=0.05)
