"""The figures that are computed from records, each defined once: percentiles, goodput, gaps, switches, lag.

Pure. Goodput is frames displayed by capture + budget with quality at or above the floor, over all frames due; due is
every capture, so dropped ones count, and an unknown display time is a miss.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from streamsvc.ledger.records import Record

SPEECH_LIMIT_NS = 5_000_000_000
"""A committed word is good when it leaves within this time of the end of its audio."""


def percentile(values: Iterable[float], q: float) -> float | None:
    """Return the q-th percentile (0..100) by linear interpolation, None of nothing."""
    ordered = sorted(values)
    if not ordered:
        return None
    at = (len(ordered) - 1) * q / 100
    low, high = ordered[math.floor(at)], ordered[math.ceil(at)]
    return low + (high - low) * (at - math.floor(at))


def latency_ns(record: Record) -> int | None:
    """Return capture to display, None when the display time is unknown."""
    return None if record.displayed_ns is None else record.displayed_ns - record.capture_ns


def is_good(record: Record, q_min: float | None = None) -> bool:
    """Was it displayed in time, and well enough? Unknown quality passes only where no floor (dB) is asked for."""
    if record.outcome != "shown":
        return False
    return q_min is None or (record.quality is not None and record.quality >= q_min)


def goodput(records: Sequence[Record], q_min: float | None = None) -> float | None:
    """Return good frames over due frames, None when none was due."""
    return sum(is_good(r, q_min) for r in records) / len(records) if records else None


def longest_gap_ns(records: Iterable[Record]) -> int | None:
    """Return the longest time for which one stream displayed no new frame, None where there is no such time.

    It lasts from one displayed frame to the next, or to the last capture: nothing newer was displayed by then. (Not to
    that one's deadline: what was on its way when a call ended would be a gap.)
    """
    shown: dict[tuple[str, str], list[int]] = defaultdict(list)
    ended: dict[tuple[str, str], int] = {}
    for r in records:
        stream = r.session, r.stream
        ended[stream] = max(r.capture_ns, ended.get(stream, r.capture_ns))
        if r.displayed_ns is not None:
            shown[stream].append(r.displayed_ns)
    gaps = [
        b - a
        for stream, times in shown.items()
        for a, b in pairwise([*sorted(times), *([ended[stream]] if ended[stream] > max(times) else [])])
    ]
    return max(gaps, default=None)


def rung_switches(records: Iterable[Record]) -> int:
    """Count how often consecutive processed frames of one stream ran on different rungs."""
    by_stream: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    for r in records:
        if r.rung is not None:
            by_stream[r.session, r.stream].append((r.capture_ns, r.rung))
    return sum(a[1] != b[1] for frames in by_stream.values() for a, b in pairwise(sorted(frames)))


def misses(records: Iterable[Record]) -> dict[str, int]:
    """Count what was not displayed in time by its reason ("late" for what was displayed too late), commonest first."""
    counts = Counter("late" if r.outcome == "late" else r.reason or "unknown" for r in records if r.outcome != "shown")
    return dict(counts.most_common())


def duration_s(records: Sequence[Record]) -> float:
    """Return the time from the first capture to the last, in seconds."""
    if not records:
        return 0.0
    captures = [r.capture_ns for r in records]
    return (max(captures) - min(captures)) / 1e9


@dataclass(frozen=True, slots=True)
class ViewFigures:
    """One view stream, or several taken together. Latencies in ms from capture to display; `fps` (displayed) and
    `rung_switches_per_s` are of the time that streams lasted, each from its first capture to its last."""

    due: int = 0
    shown: int = 0
    late: int = 0
    dropped: int = 0
    goodput: float | None = None
    fps: float = 0.0
    budget_ms: float | None = None
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    latency_p99_ms: float | None = None
    latency_max_ms: float | None = None
    longest_gap_ms: float | None = None
    clock_error_ms: float | None = None
    rung_switches_per_s: float = 0.0
    misses: Mapping[str, int] = field(default_factory=dict)
    rungs: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SpeechFigures:
    """All speech passes. Lags in ms from the end of the audio to the commit leaving for the viewer, per commit;
    `words_in_time` is the share of committed words whose lag is at most five seconds."""

    passes: int = 0
    commits: int = 0
    words: int = 0
    words_in_time: float | None = None
    lag_p50_ms: float | None = None
    lag_p95_ms: float | None = None
    lag_max_ms: float | None = None
    pass_p50_ms: float | None = None
    pass_p95_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """What a ledger says; `streams` has the view figures of each `session/stream`."""

    duration_s: float
    sessions: int
    records: int
    truncated: int
    view: ViewFigures
    speech: SpeechFigures
    streams: Mapping[str, ViewFigures]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain JSON values."""
        return asdict(self)

    def in_one_line(self) -> str:
        """Return what a call was like: how much arrived in time, how late the picture and the words were."""
        view, speech = self.view, self.speech
        parts = []
        if view.goodput is not None and view.latency_p50_ms is not None:
            parts.append(
                f"{view.goodput:.1%} of the views in time ({view.budget_ms:.0f} ms), latency p50 "
                f"{view.latency_p50_ms:.0f} ms, p95 {view.latency_p95_ms:.0f} ms, {view.fps:.1f} a second"
            )
        if speech.words and speech.lag_p50_ms is not None and speech.lag_p95_ms is not None:
            median, high = speech.lag_p50_ms / 1000, speech.lag_p95_ms / 1000
            parts.append(f"words {median:.1f} s after they were spoken (p95 {high:.1f} s)")
        return "; ".join(parts) or "nothing arrived"


def _ms(ns: float | None) -> float | None:
    return None if ns is None else round(ns / 1e6, 3)


def view_figures(records: Sequence[Record], q_min: float | None = None) -> ViewFigures:
    """Return the figures of view records; `q_min` is the quality floor in dB."""
    if not records:
        return ViewFigures()
    latencies = [x for r in records if (x := latency_ns(r)) is not None]
    outcomes = Counter(r.outcome for r in records)
    stream_s = sum(map(duration_s, by_stream(records).values()))
    return ViewFigures(
        due=len(records),
        shown=outcomes["shown"],
        late=outcomes["late"],
        dropped=outcomes["dropped"],
        goodput=goodput(records, q_min),
        fps=round(len(latencies) / stream_s, 3) if stream_s else 0.0,
        budget_ms=_ms(percentile((r.deadline_ns - r.capture_ns for r in records), 50)),
        latency_p50_ms=_ms(percentile(latencies, 50)),
        latency_p95_ms=_ms(percentile(latencies, 95)),
        latency_p99_ms=_ms(percentile(latencies, 99)),
        latency_max_ms=_ms(max(latencies, default=None)),
        longest_gap_ms=_ms(longest_gap_ns(records)),
        clock_error_ms=_ms(max((r.clock_error_ns for r in records if r.displayed_ns is not None), default=None)),
        rung_switches_per_s=round(rung_switches(records) / stream_s, 4) if stream_s else 0.0,
        misses=misses(records),
        rungs=dict(Counter(r.rung for r in records if r.rung is not None).most_common()),
    )


def speech_figures(records: Sequence[Record]) -> SpeechFigures:
    """Return the figures of speech records."""
    commits = [(len(r.text.split()), lag) for r in records if r.text and (lag := latency_ns(r)) is not None]
    words = sum(n for n, _ in commits)
    passes = [r.stages[-1].end_ns - r.stages[0].start_ns for r in records if r.stages]
    lags = [lag for _, lag in commits]
    return SpeechFigures(
        passes=len(records),
        commits=len(commits),
        words=words,
        words_in_time=sum(n for n, lag in commits if lag <= SPEECH_LIMIT_NS) / words if words else None,
        lag_p50_ms=_ms(percentile(lags, 50)),
        lag_p95_ms=_ms(percentile(lags, 95)),
        lag_max_ms=_ms(max(lags, default=None)),
        pass_p50_ms=_ms(percentile(passes, 50)),
        pass_p95_ms=_ms(percentile(passes, 95)),
    )


def by_stream(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Group records by `session/stream`, each group in the order of capture."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for r in sorted(records, key=lambda r: r.capture_ns):
        groups[f"{r.session}/{r.stream}"].append(r)
    return dict(groups)


def summarise(records: Sequence[Record], *, q_min: float | None = None, truncated: int = 0) -> Summary:
    """Return the figures of a whole ledger."""
    views = [r for r in records if r.kind == "view"]
    return Summary(
        duration_s=round(duration_s(records), 3),
        sessions=len({r.session for r in records}),
        records=len(records),
        truncated=truncated,
        view=view_figures(views, q_min),
        speech=speech_figures([r for r in records if r.kind == "speech"]),
        streams={name: view_figures(group, q_min) for name, group in by_stream(views).items()},
    )
