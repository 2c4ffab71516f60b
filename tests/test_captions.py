"""Captions as files: cues that can be read however their words came, and documents that players accept."""

import re
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from streamsvc.frames.captions import CUE_CHARACTERS, CUE_MS, SHORTEST_MS, TimedText, cues, srt, vtt

CLOCK = r"(\d\d+):(\d\d):(\d\d)[.,](\d{3})"
WORDS = st.lists(st.sampled_from(["yes.", "no", "we", "call", "back.", "-->", "&"]), min_size=1, max_size=12)
PIECES = st.lists(
    st.tuples(WORDS, st.sampled_from([0.0, 0.0625, 1, 20, 333.4, 1500, 9000]), st.sampled_from([0, 0, 0.3, 300, 4000])),
    max_size=12,
)


def spoken(pieces: list[tuple[list[str], float, float]]) -> list[TimedText]:
    """Words over so many ms each, and so many ms of silence before the next."""
    texts, at = [], 0.0
    for words, ms, pause in pieces:
        texts.append(TimedText(" ".join(words), at, at + ms))
        at += ms + pause
    return texts


@given(PIECES)
def test_cues_last_long_enough_to_be_read_and_lose_no_word(pieces: list[tuple[list[str], float, float]]) -> None:
    texts = spoken(pieces)
    made = cues(texts)
    assert " ".join(c.text for c in made).split() == [w for words, _, _ in pieces for w in words]
    for cue in made:
        assert cue.end_ms - cue.start_ms >= SHORTEST_MS and len(cue.text) <= CUE_CHARACTERS
        assert cue.start_ms == round(cue.start_ms) and cue.end_ms == round(cue.end_ms)
    assert all(a.end_ms <= b.start_ms for a, b in pairwise(made))


@given(PIECES)
@example([(["yes."], 1.5, 0), (["no."], 1, 0), (["we"], 4000, 0)])
def test_documents_have_cues_in_order_each_with_a_length(pieces: list[tuple[list[str], float, float]]) -> None:
    for document in (vtt(spoken(pieces)), srt(spoken(pieces))):
        times = [
            [int(h) * 3_600_000 + int(m) * 60_000 + int(s) * 1000 + int(ms) for h, m, s, ms in re.findall(CLOCK, line)]
            for line in document.splitlines()
            if re.match(CLOCK, line)
        ]
        assert all(start < end for start, end in times)
        assert all(a[1] <= b[0] for a, b in pairwise(times))


def test_sentences_that_are_over_at_once_share_a_cue() -> None:
    said = [
        TimedText("We will call you back.", 0, 3000),
        TimedText("Thank you very much. Good bye. Yes.", 3000, 3020),
        TimedText("Please hold the line.", 4000, 6000),
    ]
    assert cues(said) == [
        TimedText("We will call you back.", 0, 3000),
        TimedText("Thank you very much. Good bye. Yes.", 3000, 4000),
        TimedText("Please hold the line.", 4000, 6000),
    ]


def test_what_comes_at_once_after_an_outage_is_shown_one_after_the_other() -> None:
    burst = [
        TimedText(f"This is sentence number {k}, and a long one.", 12_000 + 0.4 * k, 12_000.4 + 0.4 * k)
        for k in range(5)
    ]
    assert [(c.start_ms, c.end_ms) for c in cues(burst)] == [(12_000 + 1000 * k, 13_000 + 1000 * k) for k in range(5)]


def test_who_speaks_on_catches_up_with_the_time_of_the_words() -> None:
    said = [
        TimedText("Yes.", 0, 300),
        TimedText("It " + "is " * 24 + "late.", 300, 3000),
        TimedText("Good.", 3000, 4500),
    ]
    made = cues(said)
    assert [(c.start_ms, c.end_ms) for c in made] == [(0, 1000), (1000, 3000), (3000, 4500)]
    assert all(c.end_ms - c.start_ms <= CUE_MS for c in made)
