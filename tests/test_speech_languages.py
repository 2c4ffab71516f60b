"""Which language is being spoken: decided late, locked, slow to switch."""

from __future__ import annotations

import pytest

from streamsvc.speech.errors import SpeechError
from streamsvc.speech.languages import LANGUAGES, LanguageState, check_languages, choose_language, phrase_ended

SPANISH = {"es": 0.8, "pt": 0.2}
FRENCH = {"fr": 0.9, "es": 0.1}


def test_there_are_the_57_languages_of_the_paper() -> None:
    assert len(LANGUAGES) == 57
    assert LANGUAGES["mi"] == "Maori"


def test_before_three_seconds_the_best_guess_is_used_and_nothing_is_decided() -> None:
    assert choose_language(LanguageState(), SPANISH, 2.9) == ("es", LanguageState())


def test_at_three_seconds_a_clear_language_is_locked() -> None:
    assert choose_language(LanguageState(), SPANISH, 3.0) == ("es", LanguageState("es", True))
    assert choose_language(LanguageState(), {"es": 0.5, "pt": 0.4}, 5.0) == ("es", LanguageState())


def test_a_known_language_is_kept_until_two_passes_hear_another() -> None:
    state = phrase_ended(LanguageState("es", True))
    assert choose_language(state, FRENCH, 2.0) == ("es", state)
    language, state = choose_language(state, FRENCH, 3.0)
    assert (language, state) == ("es", LanguageState("es", False, "fr"))
    assert choose_language(state, FRENCH, 4.0) == ("fr", LanguageState("fr", True))


def test_a_rival_that_was_heard_once_is_forgotten_when_the_known_language_is_heard() -> None:
    assert choose_language(LanguageState("es", False, "fr"), SPANISH, 4.0) == ("es", LanguageState("es", True))


def test_languages_outside_the_table_are_not_considered() -> None:
    assert choose_language(LanguageState(), {"nn": 0.9, "es": 0.1}, 1.0)[0] == "es"
    assert choose_language(LanguageState("fr"), {"nn": 0.9}, 5.0)[0] == "fr"


@pytest.mark.parametrize(("source", "target"), [("xx", "en"), ("es", "de"), ("", "en")])
def test_unknown_languages_are_refused(source: str, target: str) -> None:
    with pytest.raises(SpeechError):
        check_languages(source, target)
