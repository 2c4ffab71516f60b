"""A transcript as a file: every word once, in order, at its time, in four formats."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import Service, open_visit

SAID = [
    ("Ana", "Good morning.", 1000, 2200),
    ("Ben", "Hello <Ana> &", 1500, 2600),
    ("Ben", "how are you?", 2600, 3500),
    ("Ana", "Well. ", 3900, 4300),
    ("Ana", "And we have the whole afternoon", 4300, 6000),
    ("Ana", "for it", 20_000, 20_300),
]


@pytest.fixture(scope="module")
def written(chromium: Any, service: Service) -> Any:
    """Return a function that makes a file of `SAID` in a format."""
    visitor = open_visit(chromium)
    visitor.page.goto(f"{service.url}/favicon.svg")
    commits = [dict(zip(("speaker", "text", "start_ms", "end_ms"), c, strict=True)) for c in SAID]

    def write(format: str) -> str:
        code = "async ([c, f]) => (await import('/transcript.js')).transcriptFile(c, f)"
        return str(visitor.page.evaluate(code, [commits, format]))

    yield write
    visitor.context.close()


def ms(clock: str) -> int:
    h, m, s, part = re.split("[:,.]", clock)
    return ((int(h) * 60 + int(m)) * 60 + int(s)) * 1000 + int(part)


def test_text_has_a_paragraph_a_turn(written: Callable[[str], str]) -> None:
    assert written("txt") == (
        "Ana: Good morning. Well. And we have the whole afternoon\n\nBen: Hello <Ana> & how are you?\n\nAna: for it\n"
    )


@pytest.mark.parametrize("format", ["srt", "vtt"])
def test_subtitles_hold_every_word_in_time(written: Callable[[str], str], format: str) -> None:
    document = written(format)
    assert document.startswith("WEBVTT\n\n" if format == "vtt" else "1\n")
    cues = re.findall(r"(\S+) --> (\S+)\n(.*)\n", document)
    times = [(ms(a), ms(b)) for a, b, _ in cues]
    texts = [re.sub("^<v [^>]*>", "", text) for *_, text in cues]
    if format == "vtt":
        assert "<v Ben>Hello &lt;Ana&gt; &amp; how are you?" in document
        texts = [t.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") for t in texts]
    assert texts == [
        "Good morning.",
        "Hello <Ana> & how are you?",
        "Well.",
        "And we have the whole afternoon",
        "for it",
    ]
    # The last one is kept for a second: nothing flashes by.
    assert times == [(1000, 2200), (1500, 3500), (3900, 4300), (4300, 6000), (20_000, 21_000)]


def test_json_holds_the_words_as_they_came(written: Callable[[str], str]) -> None:
    document = json.loads(written("json"))
    assert document["v"] == 1
    assert [tuple(c.values()) for c in document["captions"]] == SAID
