"""A glossary: names and terms that a translation should spell as they stand here."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from streamsvc.errors import StreamsvcError

MAX_TERMS = 60
MAX_TERM = 60
"""Characters of a term."""


class GlossaryError(StreamsvcError):
    """A glossary that isn't accepted."""


def parse_glossary(terms: Iterable[str]) -> tuple[str, ...]:
    """Return the terms, each once, without the space around them and without empty ones.

    Raises GlossaryError for more than `MAX_TERMS`, and for a term that is longer than `MAX_TERM`, holds a comma, or
    can't be printed.
    """
    found: dict[str, None] = {}
    for term in terms:
        tidy = " ".join(term.split())
        if not tidy:
            continue
        if len(tidy) > MAX_TERM or not tidy.isprintable() or "," in tidy:
            raise GlossaryError(
                f"the glossary's term {tidy[:MAX_TERM]!r} isn't accepted: at most {MAX_TERM} characters, without commas"
            )
        found[tidy] = None
    if len(found) > MAX_TERMS:
        raise GlossaryError(f"a glossary of {len(found)} terms isn't accepted; at most {MAX_TERMS} are")
    return tuple(found)


def read_glossary(path: Path) -> tuple[str, ...]:
    """Return the terms of a UTF-8 text file, one a line or between commas; raises GlossaryError."""
    try:
        text = path.read_text("utf-8")
    except OSError as e:
        raise GlossaryError(f"the glossary {path} can't be read ({e.strerror})") from None
    except UnicodeDecodeError:
        raise GlossaryError(f"the glossary {path} isn't UTF-8 text: one term a line") from None
    return parse_glossary(term for line in text.splitlines() for term in line.split(","))
