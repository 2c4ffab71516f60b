"""Metrics agree with SimulEval on stored figures, and streams are cut where their references are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsvc.speech.errors import SpeechError
from streamsvc.speech.metrics import (
    Output,
    Phrase,
    atd,
    by_phrase,
    from_events,
    laal,
    lags,
    playout,
    read_events,
    resegment,
)

FIXTURE = [json.loads(s) for s in (Path(__file__).parent / "simuleval" / "scores.jsonl").read_text().splitlines()]
"""Made by simuleval/make_fixture.py."""


@pytest.mark.parametrize("case", [c for c in FIXTURE if c["kind"] == "text"])
def test_lags_of_words_are_simulevals(case) -> None:
    output = Output(
        tuple(case["prediction"].split()), tuple(case["delays"]), tuple(case["elapsed"]), case["source_length"]
    )
    assert lags(output, case["reference"]) == pytest.approx(case["scores"])


@pytest.mark.parametrize("case", [c for c in FIXTURE if c["kind"] == "speech"])
def test_lags_of_speech_are_simulevals(case) -> None:
    spans = playout(list(zip(case["delays"], case["durations"], strict=True)))
    assert spans[-1][1] - case["source_length"] == pytest.approx(case["scores"]["EndOffset"])
    assert atd(case["delays"], None, case["durations"]) == pytest.approx(case["scores"]["ATD"])


def commit(number: int, text: str, audio_ms: float, wall_ms: float) -> dict:
    return {"type": "commit", "id": number, "text": text, "audio_ms": audio_ms, "wall_ms": wall_ms}


EVENTS = [
    commit(0, "hello there", 1000, 1100),
    {"type": "speech", "ids": [0], "start_ms": 1200, "duration_ms": 600},
    commit(1, "you", 2000, 2200),
    {"type": "speech", "ids": [1], "start_ms": 2300, "duration_ms": 300},
    {"type": "end", "audio_ms": 3000, "wall_ms": 3000},
]


def test_everything_comes_from_the_events(tmp_path: Path) -> None:
    output = from_events(EVENTS)
    assert output.text == "hello there you"
    assert output.delays == (1000, 1000, 2000)
    assert output.elapsed == (1100, 1100, 2200)
    assert output.speech == ((1000, 1200, 600), (2000, 2300, 300))
    found = lags(output, "hello to you")
    assert found["LAAL"] == pytest.approx((1000 + 0 + 0) / 3)
    assert found["StartOffset_CA"] == 1100
    assert found["SpeechEndOffset"] == 2300 - 3000
    assert found["SpeechEndOffset_CA"] == 2600 - 3000
    file = tmp_path / "e.jsonl"
    file.write_text("".join(json.dumps(e) + "\n" for e in EVENTS))
    assert read_events(file) == output


def test_events_that_say_nothing_have_no_lag() -> None:
    found = lags(from_events(EVENTS[-1:]), "hello")
    assert set(found.values()) == {None}


@pytest.mark.parametrize(
    ("content", "says"),
    [("", "no end"), ("{}\n", "lacks"), ("nonsense\n", "JSON lines"), ('{"type": "commit"}\n', "lacks")],
)
def test_files_that_hold_no_events_are_refused_plainly(tmp_path: Path, content: str, says: str) -> None:
    file = tmp_path / "e.jsonl"
    file.write_text(content)
    with pytest.raises(SpeechError, match=says):
        read_events(file)
    with pytest.raises(SpeechError, match="can't be read"):
        read_events(tmp_path / "none.jsonl")


def test_words_beyond_the_references_number_do_not_lower_laal() -> None:
    delays = [1000.0] * 8
    assert laal(delays, 4000, 4) == laal(delays, 4000, 8) == 1000 - 3.5 * 500


PHRASES = (Phrase(0, 2000, "Press one."), Phrase(3000, 5000, "Goodbye, and thank you."))


def cut(text: str, *available: float) -> list[str]:
    words = text.split()
    return [" ".join(words[r.start : r.stop]) for r in resegment(words, available or [9000.0] * len(words), PHRASES)]


def test_a_stream_is_cut_at_its_references() -> None:
    assert cut("press One goodbye and thank you") == ["press One", "goodbye and thank you"]
    assert cut("press thank you") == ["press", "thank you"]
    assert cut("dial one now please goodbye then thanks you")[0] == "dial one now please"
    assert cut("") == ["", ""]


def test_no_word_is_put_into_a_phrase_that_had_not_begun() -> None:
    assert cut("press one thank you", 1000, 2000, 2900, 3100) == ["press one thank", "you"]


@given(st.lists(st.sampled_from(["press", "one", "goodbye", "x", "you"]), max_size=12), st.data())
def test_every_word_is_in_one_phrase_and_in_order(words: list[str], data) -> None:
    available = sorted(data.draw(st.lists(st.floats(0, 9000), min_size=len(words), max_size=len(words))))
    parts = resegment(words, available, PHRASES)
    assert [w for r in parts for w in words[r.start : r.stop]] == words
    assert all(available[i] > PHRASES[1].start_ms for i in parts[1])


def test_times_of_a_phrase_count_from_its_start() -> None:
    words = ("press", "one", "goodbye")
    output = Output(words, (1500, 2500, 4000), (1600, 2600, 4100), 6000)
    first, second = by_phrase(output, PHRASES)
    assert first == Output(words[:2], (1500, 2500), (1600, 2600), 2000)
    assert second == Output(words[2:], (1000,), (1100,), 2000)
