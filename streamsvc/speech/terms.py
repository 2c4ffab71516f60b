"""A glossary as the model is given it: the tokens that it is prompted with, and the words it may recite them in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streamsvc.speech.errors import SpeechError
from streamsvc.speech.text import fold
from streamsvc.speech.translator import Translator

GLOSSARY_TOKENS = 128


@dataclass(frozen=True, slots=True)
class Terms:
    """`tokens` of all terms together, and the folded `words` of each."""

    tokens: tuple[int, ...] = ()
    words: tuple[tuple[str, ...], ...] = ()


def terms_of(glossary: Sequence[str], translator: Translator) -> Terms:
    """Return the terms; raises SpeechError when the model has no room for them."""
    tokens = translator.tokens(", ".join(glossary) + ".") if glossary else ()
    if len(tokens) > GLOSSARY_TOKENS:
        raise SpeechError(
            f"a glossary of {len(tokens)} tokens isn't accepted: about {GLOSSARY_TOKENS // 4} short names fit into "
            f"the {GLOSSARY_TOKENS} that the model is given; leave some of the {len(glossary)} terms out"
        )
    return Terms(tokens, tuple(tuple(map(fold, term.split())) for term in glossary))
