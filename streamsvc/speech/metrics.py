"""How far a translation comes behind its source: AL, LAAL, AP, DAL, offsets and ATD, computed from the events file.

Times in ms. A word's *delay* is the source that had been read when it came out; *elapsed* the wall clock then, input
arriving at 1x, so that it holds the compute too (the `_CA` metrics). Formulas: AL, Ma et al. (ACL 2019); LAAL, Papi et
al. (AutoSimTrans 2022); AP, Cho and Esipova (2016); DAL, Arivazhagan et al. (ACL 2019); ATD, Kano et al. (Interspeech
2023): what SimulEval 1.1.4 computes. StreamLAAL is LAAL of the phrases of a stream that was cut at its references (Papi
et al., ACL 2024). Pure.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

from rapidfuzz.distance import Levenshtein

from streamsvc.speech.errors import SpeechError
from streamsvc.speech.text import fold

TOKEN_MS = 300.0
"""ATD takes 300 ms of speech for one token."""

Delays = Sequence[float]


@dataclass(frozen=True, slots=True)
class Output:
    """What came out of one source of `source_ms`: words with their delays and elapsed times; speech, if any, in pieces
    of (delay, start, duration), start on the wall clock."""

    words: tuple[str, ...]
    delays: tuple[float, ...]
    elapsed: tuple[float, ...]
    source_ms: float
    speech: tuple[tuple[float, float, float], ...] = ()

    @property
    def text(self) -> str:
        """The words, joined by spaces."""
        return " ".join(self.words)


@dataclass(frozen=True, slots=True)
class Phrase:
    """A stretch of a stream [start, end) ms with what it means."""

    start_ms: float
    end_ms: float
    reference: str


def from_events(events: Iterable[dict[str, Any]]) -> Output:
    """Return what the events of `interpret` say came out; raises SpeechError when they have no end or lack a field."""
    words: list[str] = []
    delays: list[float] = []
    elapsed: list[float] = []
    read: dict[int, float] = {}
    speech: list[tuple[float, float, float]] = []
    source_ms = None
    try:
        for event in events:
            if event["type"] == "commit":
                own = event["text"].split()
                words += own
                delays += [event["audio_ms"]] * len(own)
                elapsed += [event["wall_ms"]] * len(own)
                read[event["id"]] = event["audio_ms"]
            elif event["type"] == "speech":
                delay = max(read[i] for i in event["ids"])
                speech.append((delay, event["start_ms"], event["duration_ms"]))
            elif event["type"] == "end":
                source_ms = event["audio_ms"]
    except (KeyError, TypeError, ValueError) as e:
        raise SpeechError(f"an event lacks what it must say ({e!r}); events come from `streamsvc interpret`") from None
    if source_ms is None:
        raise SpeechError("the events have no end; the interpretation was broken off")
    return Output(tuple(words), tuple(delays), tuple(elapsed), source_ms, tuple(speech))


def read_events(path: Path) -> Output:
    """Return what an events file says came out; raises SpeechError when it isn't one."""
    try:
        with path.open(encoding="utf-8") as lines:
            return from_events([json.loads(line) for line in lines])
    except OSError as e:
        raise SpeechError(f"{path} can't be read ({e.strerror})") from None
    except ValueError as e:
        raise SpeechError(f"{path} doesn't hold JSON lines ({e})") from None


def _average_lagging(delays: Delays, source_ms: float, units: int) -> float:
    if delays[0] > source_ms:
        return delays[0]
    last = next((i for i, d in enumerate(delays) if d >= source_ms), len(delays) - 1)
    step = source_ms / units
    return fmean(d - i * step for i, d in enumerate(delays[: last + 1]))


def al(delays: Delays, source_ms: float, reference_words: int) -> float:
    """Average Lagging: behind an ideal that reads evenly and writes the reference's words."""
    return _average_lagging(delays, source_ms, reference_words)


def laal(delays: Delays, source_ms: float, reference_words: int) -> float:
    """Length-Adaptive Average Lagging: AL that words beyond the reference's number don't lower."""
    return _average_lagging(delays, source_ms, max(reference_words, len(delays)))


def ap(delays: Delays, source_ms: float, reference_words: int) -> float:
    """Average Proportion, without a unit."""
    return sum(delays) / (source_ms * reference_words)


def dal(delays: Delays, source_ms: float) -> float:
    """Differentiable Average Lagging: a word costs the time that its share of the source lasts."""
    step = source_ms / len(delays)
    at, total = 0.0, 0.0
    for i, d in enumerate(delays):
        at = max(d, at + step) if i else d
        total += at - i * step
    return total / len(delays)


def playout(pieces: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return (start, end) of each piece of speech (earliest start, duration), played one after another."""
    spans: list[tuple[float, float]] = []
    for earliest, duration in pieces:
        start = max(earliest, spans[-1][1]) if spans else earliest
        spans.append((start, start + duration))
    return spans


def _tokens(duration: float) -> list[float]:
    whole, rest = divmod(duration, TOKEN_MS)
    return [TOKEN_MS] * int(whole) + ([rest] if rest else [])


def atd(delays: Delays, compute: Sequence[float] | None = None, durations: Sequence[float] | None = None) -> float:
    """Average Token Delay: ends of output tokens less ends of the source tokens that they stand for.

    Args:
        delays: of each word, or of each piece of speech where `durations` are given.
        compute: ms of compute that each has waited for; None leaves compute out.
        durations: of the pieces of speech; None for words, which take no time.
    """
    costs = compute or [0.0] * len(delays)
    source_end: list[float] = [0.0]
    outputs: list[tuple[float, int]] = []  # end of the output token, number of the source token
    done, written, before = 0.0, 0, 0
    previous = 0.0
    number = 0
    for delay, group in groupby(range(len(delays)), key=lambda i: delays[i]):
        chunk = list(group)
        for length in _tokens(delay - previous):
            source_end.append(source_end[-1] + length)
        previous = delay
        if durations is None:
            lengths = [(0.0, costs[i]) for i in chunk]
        else:
            pieces = _tokens(sum(durations[i] for i in chunk))
            lengths = [(p, sum(costs[i] for i in chunk) / len(pieces)) for p in pieces]
        ahead = max(0, written - before)
        for length, cost in lengths:
            number += 1
            done = max(delay, done) + length + cost
            outputs.append((done, min(number - ahead, len(source_end) - 1)))
        written, before = number, len(source_end) - 1
    return fmean(end - source_end[s] for end, s in outputs)


def _compute(output: Output) -> list[float]:
    behind = [e - d for e, d in zip(output.elapsed, output.delays, strict=True)]
    return [b - a for a, b in zip([0.0, *behind[:-1]], behind, strict=True)]


def lags(output: Output, reference: str | None = None) -> dict[str, float | None]:
    """Return AL, LAAL, AP, DAL, StartOffset, EndOffset and ATD, each also as `_CA`; `SpeechEndOffset`, `SpeechATD`
    where there is speech. Without a reference its number of words is taken to be the output's; None where no word
    came out."""
    words = len(reference.split()) if reference is not None else len(output.words)
    names = ("AL", "LAAL", "AP", "DAL", "StartOffset", "EndOffset", "ATD")
    if not output.words or not words:
        return {name + suffix: None for suffix in ("", "_CA") for name in names}
    found: dict[str, float | None] = {}
    for suffix, delays, compute in (("", output.delays, None), ("_CA", output.elapsed, _compute(output))):
        values = (
            al(delays, output.source_ms, words),
            laal(delays, output.source_ms, words),
            ap(delays, output.source_ms, words),
            dal(delays, output.source_ms),
            delays[0],
            delays[-1] - output.source_ms,
            atd(output.delays, compute),
        )
        found |= {name + suffix: value for name, value in zip(names, values, strict=True)}
    if output.speech:
        delays, starts, durations = zip(*output.speech, strict=True)
        found["SpeechEndOffset"] = playout(list(zip(delays, durations, strict=True)))[-1][1] - output.source_ms
        found["SpeechEndOffset_CA"] = starts[-1] + durations[-1] - output.source_ms
        found["SpeechATD"] = atd(delays, None, durations)
    return found


def resegment(words: Sequence[str], available: Delays, phrases: Sequence[Phrase]) -> list[range]:
    """Cut the words of a stream at its references by the least word edit distance (Matusov et al., IWSLT 2005), case
    and punctuation folded.

    A word that matches nothing stays with the word before it. No word belongs to a phrase that had not begun when it
    came out (`available`, ms of the source): such a match would be chance, and make the lag negative.
    """
    owners = [number for number, phrase in enumerate(phrases) for _ in phrase.reference.split()]
    reference = [fold(w) for phrase in phrases for w in phrase.reference.split()]
    numbers: list[int] = []
    current = 0
    for block in Levenshtein.opcodes([fold(w) for w in words], reference):
        for i in range(block.src_start, block.src_end):
            if block.dest_end > block.dest_start:
                current = owners[block.dest_start + i - block.src_start]
            begun = bisect_left(phrases, available[i], key=lambda p: p.start_ms) - 1
            numbers.append(max(min(current, begun), 0))
    cuts = [bisect_left(numbers, n) for n in range(len(phrases) + 1)]
    return [range(a, b) for a, b in pairwise(cuts)]


def by_phrase(output: Output, phrases: Sequence[Phrase]) -> list[Output]:
    """Return the output of a stream in its phrases, times counted from each one's start: LAAL of these, averaged, is
    StreamLAAL."""
    parts = []
    for phrase, at in zip(phrases, resegment(output.words, output.delays, phrases), strict=True):
        cut = slice(at.start, at.stop)
        parts.append(
            Output(
                output.words[cut],
                tuple(d - phrase.start_ms for d in output.delays[cut]),
                tuple(e - phrase.start_ms for e in output.elapsed[cut]),
                phrase.end_ms - phrase.start_ms,
            )
        )
    return parts
