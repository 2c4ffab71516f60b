"""The voice of `bench network`: phrases found again, words counted, and a voice that the model understands."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from streamsvc.bench.network_voice import Listener, phrases, speak, word_error, words_of
from streamsvc.bench.speech_spoken import QUIETEST_DBFS, Spoken
from streamsvc.frames import OUTPUT_RATE, SPEECH_RATE


def test_words_are_compared_without_case_and_punctuation() -> None:
    assert words_of("Don't stop, Ana: it's 5!") == ["don't", "stop", "ana", "it's", "5"]
    assert word_error(("a", "b", "c", "d"), ["a", "c", "d"]) == 0.25
    assert word_error(("a", "b"), ["a", "b"]) == 0 and word_error((), ["a"]) is None


def test_sound_is_parted_where_it_is_silent_and_where_it_is_too_long() -> None:
    def tone(seconds: float) -> np.ndarray:
        return (0.3 * np.sin(np.arange(round(seconds * OUTPUT_RATE)) * 0.05)).astype(np.float32)

    pause, breath = np.zeros(OUTPUT_RATE, np.float32), np.zeros(OUTPUT_RATE // 5, np.float32)
    found = phrases(np.concatenate([pause, tone(1), breath, tone(1), pause, tone(0.5)]))
    assert [round(len(p) / SPEECH_RATE, 1) for p in found] == pytest.approx([2.7, 0.6], abs=0.3)
    assert phrases(pause) == []
    assert len(phrases(tone(60))) >= 2


def test_the_model_hears_what_the_voice_says() -> None:
    said = speak(10.0, lambda _: None)
    assert 5 * OUTPUT_RATE < len(said.samples) <= 10 * OUTPUT_RATE and len(said.words) >= 5
    listener = Listener()
    error = word_error(said.words, listener.words(said.samples))
    assert error is not None and error < 0.3
    silent = word_error(said.words, listener.words(np.zeros_like(said.samples)))
    assert silent == 1.0


def test_what_a_voice_said_is_kept_and_compared_with_what_it_had_to_say(tmp_path: Path) -> None:
    said = speak(10.0, lambda _: None)
    spoken = Spoken(tmp_path / "voice.wav")
    half = len(said.samples) // 2
    for clause in (said.samples[:half], np.zeros(0, np.float32), said.samples[half:]):
        spoken.add(clause)
    error = spoken.word_error([" ".join(said.words)], Listener())
    assert error is not None and error < 0.3
    assert spoken.word_error([], Listener()) is None
    with wave.open(str(tmp_path / "voice.wav"), "rb") as file:
        assert (file.getframerate(), file.getnframes()) == (OUTPUT_RATE, len(said.samples))


def test_the_largest_jump_between_clauses_is_told_in_dbfs(tmp_path: Path) -> None:
    spoken = Spoken(tmp_path / "voice.wav")
    assert spoken.jump_dbfs == QUIETEST_DBFS
    for ends in ((0.0, 0.05), (0.04, 0.2), (0.1, 0.0)):
        spoken.add(np.array(ends, np.float32))
    assert spoken.jump_dbfs == pytest.approx(-20)
    spoken.close()
