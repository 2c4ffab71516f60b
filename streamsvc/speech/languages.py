"""Source languages, and which one is being spoken: decided at 3 s, locked until the phrase ends, slow to switch.

Whisper's identification is right in 288 of 300 three-second pieces and poor on shorter ones, so before three seconds of
speech nothing is decided: the language of the phrase before goes on, or the best guess where there is none yet. A
switch away from a known language needs two passes that say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from streamsvc.speech.errors import SpeechError

DECIDE_S = 3.0
DECIDE_P = 0.6

_TABLE = """
af Afrikaans, ar Arabic, hy Armenian, az Azerbaijani, be Belarusian, bs Bosnian, bg Bulgarian, ca Catalan, zh Chinese,
hr Croatian, cs Czech, da Danish, nl Dutch, en English, et Estonian, fi Finnish, fr French, gl Galician, de German,
el Greek, he Hebrew, hi Hindi, hu Hungarian, is Icelandic, id Indonesian, it Italian, ja Japanese, kn Kannada,
kk Kazakh, ko Korean, lv Latvian, lt Lithuanian, mk Macedonian, ms Malay, mr Marathi, mi Maori, ne Nepali, no Norwegian,
fa Persian, pl Polish, pt Portuguese, ro Romanian, ru Russian, sr Serbian, sk Slovak, sl Slovenian, es Spanish,
sw Swahili, sv Swedish, tl Tagalog, ta Tamil, th Thai, tr Turkish, uk Ukrainian, ur Urdu, vi Vietnamese, cy Welsh
"""

LANGUAGES: dict[str, str] = {entry.split()[0]: entry.split()[1] for entry in _TABLE.split(",")}
"""The 57 source languages of Learning When to Speak (Interspeech 2023), table 1: code -> name."""

TARGETS = ("en",)


def check_languages(source: str, target: str) -> None:
    """Raise SpeechError unless `source` is `auto` or a known code and `target` can be produced."""
    if source != "auto" and source not in LANGUAGES:
        raise SpeechError(f"source language {source!r} isn't known; auto or one of {', '.join(sorted(LANGUAGES))}")
    if target not in TARGETS:
        raise SpeechError(f"target language {target!r} can't be produced; accepted: {', '.join(TARGETS)}")


@dataclass(frozen=True, slots=True)
class LanguageState:
    """`known` is the language of the speaker as far as decided, `rival` a different one that one pass has heard."""

    known: str | None = None
    locked: bool = False
    rival: str | None = None


def phrase_ended(state: LanguageState) -> LanguageState:
    """Open the decision again, keeping what is known."""
    return replace(state, locked=False)


def choose_language(
    state: LanguageState, probabilities: Mapping[str, float], seconds: float
) -> tuple[str, LanguageState]:
    """Return the language to decode this pass in and the next state; `seconds` is the speech that was heard.

    Only the 57 languages of the table are considered. A locked state isn't asked again by the interpreter.
    """
    heard = {code: p for code, p in probabilities.items() if code in LANGUAGES}
    if not heard:
        return state.known or "en", state
    best = max(heard, key=lambda code: heard[code])
    if seconds < DECIDE_S or heard[best] < DECIDE_P:
        return state.known or best, state
    if state.known is None or best in (state.known, state.rival):
        return best, LanguageState(known=best, locked=True)
    return state.known, replace(state, rival=best)
