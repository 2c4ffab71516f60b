"""A transcript as a file: every word once, in order, at its time, in four formats."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from itertools import pairwise
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
def written_of(chromium: Any, service: Service) -> Any:
    """Return a function that makes a file of commits in a format."""
    visitor = open_visit(chromium)
    visitor.page.goto(f"{service.url}/favicon.svg")

    def write(said: list[Any], format: str) -> str:
        commits = [dict(zip(("speaker", "text", "start_ms", "end_ms"), c, strict=True)) for c in said]
        code = "async ([c, f]) => (await import('/transcript.js')).transcriptFile(c, f)"
        return str(visitor.page.evaluate(code, [commits, format]))

    yield write
    visitor.context.close()


@pytest.fixture(scope="module")
def written(written_of: Callable[[list[Any], str], str]) -> Callable[[str], str]:
    """Return a function that makes a file of `SAID` in a format."""
    return partial(written_of, SAID)


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
    speaker = "^<v (Ana|Ben)>" if format == "vtt" else "^(Ana|Ben): "
    assert [re.match(speaker, text)[1] for *_, text in cues] == ["Ana", "Ben", "Ana", "Ana", "Ana"]
    texts = [re.sub(speaker, "", text) for *_, text in cues]
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


def test_a_long_passage_becomes_cues_that_can_be_read(written_of: Callable[[list[Any], str], str]) -> None:
    text = " ".join(f"word{i}" for i in range(60))
    document = written_of([("Ana", text, 1000, 25_000)], "srt")
    cues = re.findall(r"(\S+) --> (\S+)\n(.*)\n", document)
    assert " ".join(text for *_, text in cues) == text
    assert all(len(text) <= 90 for *_, text in cues)
    times = [(ms(a), ms(b)) for a, b, _ in cues]
    assert times[0][0] == 1000 and times[-1][1] == 25_000
    assert all(a < b <= c for (a, b), (c, _) in pairwise(times))


def test_json_holds_the_words_as_they_came(written: Callable[[str], str]) -> None:
    document = json.loads(written("json"))
    assert document["v"] == 1
    assert [tuple(c.values()) for c in document["captions"]] == SAID


CAPTIONS = """
const elements = [0, 1, 2].map(() => document.createElementNS("http://www.w3.org/1999/xhtml", "div"));
let now = 0;
const clock = performance.now;
performance.now = () => now;
const captions = new m.Captions(...elements);
const say = (at, id, start, end, wall) => {
  now = at;
  const times = { source_start_ms: start, source_end_ms: end, wall_ms: wall };
  captions.take({ type: "commit", speaker: "Ana", id, text: `${at}`, ...times });
};
const correct = (ids, text) => captions.take({ type: "revision", speaker: "Ana", ids, text });
"""


def test_a_screen_reader_is_told_who_speaks_when_that_changes(run: Callable[..., Any]) -> None:
    body = """
      for (const [speaker, text] of [["Ana", "Hello"], ["Ben", "Hi"], ["Ben", "there"], ["Ana", "Well"]]) {
        captions.take({ type: "commit", speaker, id: 0, text, source_start_ms: 0, source_end_ms: 1, wall_ms: 1 });
      }
      performance.now = clock;
      return [...elements[2].children].map((line) => line.textContent);
    """
    assert run("captions", CAPTIONS + body) == ["Hello", "Ben: Hi", "there", "Ana: Well"]


def test_who_comes_again_is_corrected_as_before(run: Callable[..., Any]) -> None:
    body = """
      say(1000, 0, 0, 500, 900);
      correct([0], "first");
      say(5000, 0, 0, 500, 900);
      correct([0], "second");
      performance.now = clock;
      return captions.saved().map((c) => c.text);
    """
    assert run("captions", CAPTIONS + body) == ["first", "second"]


def test_what_was_said_in_an_outage_keeps_its_time_and_who_comes_again_begins_anew(run: Callable[..., Any]) -> None:
    body = """
      say(9000, 0, 0, 500, 1000);
      say(4000 + 6000, 1, 3000, 4000, 6000);
      say(30000, 2, 10000, 11000, 12000);
      say(60000, 0, 500, 1500, 2000);
      performance.now = clock;
      return captions.commits.map((c) => [c.start_ms, c.end_ms]);
    """
    times = [[4000, 4500], [7000, 8000], [14_000, 15_000], [58_500, 59_500]]
    assert run("captions", CAPTIONS + body) == times
