"""Recorded people: the same talk everywhere, its parts where it says, absent recordings said plainly."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from streamsvc.scene.base import SceneError
from streamsvc.scene.talk import PAUSE_S, talk


@pytest.mark.parametrize("language", ["es", "fr"])
def test_a_talk_has_the_length_asked_for_and_natural_pauses(language: str) -> None:
    spoken = talk(language, 60)
    assert len(spoken.samples) == 60 * spoken.rate
    assert spoken.samples.dtype == np.float32
    assert {s.language for s in spoken.segments} == {language}
    for before, after in pairwise(spoken.segments):
        assert PAUSE_S[0] - 1e-3 <= after.start_s - before.end_s <= PAUSE_S[1] + 1e-3
    for s in spoken.segments:
        part = spoken.samples[int(s.start_s * spoken.rate) : int(s.end_s * spoken.rate)]
        assert np.abs(part).max() > 0.05
        assert len(s.english.split()) >= 4
        assert s.text


def test_languages_have_their_own_clips_and_a_mixed_talk_has_both() -> None:
    assert [s.english for s in talk("es", 30).segments] != [s.english for s in talk("fr", 30).segments]
    mixed = talk("mixed", 40).segments
    assert [s.language for s in mixed[:6]] == ["es"] * 3 + ["fr"] * 3


def test_no_clip_comes_twice_before_all_have_come() -> None:
    segments = talk("fr", 200).segments
    different = len({s.english for s in segments})
    assert len({s.english for s in segments[:different]}) == different


def test_the_same_talk_comes_out_again() -> None:
    assert np.array_equal(talk("es", 10).samples, talk("es", 10).samples)


def test_what_cannot_be_had_is_refused_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SceneError, match="es, fr or mixed"):
        talk("de")
    with pytest.raises(SceneError, match="more than 0"):
        talk("es", 0)
    monkeypatch.setenv("STREAMSVC_CACHE", str(tmp_path))
    with pytest.raises(SceneError, match="make assets"):
        talk("es", 5)
