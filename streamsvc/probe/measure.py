"""From what was captured and what was seen to records and figures. Pure; all times are ns on the card's clock."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from streamsvc.ledger import Record, Stage
from streamsvc.ledger.figures import percentile
from streamsvc.ledger.report import segments
from streamsvc.scene.card import PERIOD_MS
from streamsvc.signalling.channels import FrameTrace

MS = 1_000_000
SETTLE_NS = 2_500_000_000
"""What was captured this long before the end had time to come back, and the server to tell what became of it."""

TOLERANCE_NS = 750_000
"""Between the instant on a card, which is in whole milliseconds, and the capture it means."""

FAR_NS = 10_000_000_000
"""A card that is further from its display than this was misread: its check fits one in 4096 of such by chance."""

FREEZE_NS = 150 * MS
FREEZE_FRAMES = 30


@dataclass(frozen=True, slots=True)
class Sighting:
    """One picture that came: when it was shown, the `number` on its card (None: not readable), and the capture instant
    that its RTP timestamp claims (None: nothing is claimed)."""

    shown_ns: int
    number: int | None
    claimed_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Joined:
    """What the pictures amount to: a record for every capture that was due, in order; `unreadable` pictures, and
    `strange` ones whose card shows no instant that was captured; claimed minus true capture instants; all instants at
    which pictures were shown; instants of display as the server's ledger has them minus ours."""

    records: tuple[Record, ...]
    unreadable: int
    strange: int
    claims: tuple[int, ...]
    shown: tuple[int, ...]
    told: tuple[int, ...] = ()


def instant_of(number: int, near_ns: int) -> int:
    """Return the instant, in whole milliseconds, nearest to `near_ns` that a card's number stands for, in ns."""
    near_ms = near_ns // MS
    away = (number - near_ms + PERIOD_MS // 2) % PERIOD_MS - PERIOD_MS // 2
    return (near_ms + away) * MS


def due_elsewhere(sightings: Sequence[Sighting], fps: float, end_ns: int) -> list[int]:
    """Return the captures that were due until `end_ns` where the cameras are elsewhere: at their rate, from the first
    on whose card was read.

    They are at the instants in a period at which most cards say so: the first may be of a clock that was hardly known.
    A card that is beyond `FAR_NS` from its display was misread.
    """
    read = [(s.number, s.shown_ns) for s in sightings if s.number is not None]
    instants = [at for number, shown in read if abs((at := instant_of(number, shown)) - shown) <= FAR_NS]
    if not instants:
        return []
    period = 1e9 / fps
    off = percentile(((at - instants[0] + period / 2) % period - period / 2 for at in instants), 50) or 0.0
    first = instants[0] + off
    return [round(first + i * period) for i in range(int((end_ns - first) / period) + 1)]


def join(
    captures: Sequence[int],
    sightings: Sequence[Sighting],
    *,
    budget_ns: int,
    warm_up_ns: int,
    traces: Iterable[FrameTrace] = (),
    trace_offset_ns: int = 0,
    tolerance_ns: int = TOLERANCE_NS,
    error_ns: int = 0,
) -> Joined:
    """Return what became of every capture after the warm-up that had time to come back.

    `captures` in order; `traces` say what the server knows of them, on its clock, which is the card's plus
    `trace_offset_ns`. A trace is found by the capture instant that the picture's RTP timestamp claims; where there is
    no picture, by the capture itself as far off as claims usually are.
    """
    if not captures:
        return Joined((), 0, 0, (), ())
    start, end = captures[0] + warm_up_ns, captures[-1] - max(budget_ns, SETTLE_NS)
    shown: dict[int, int] = {}
    claimed: dict[int, int] = {}
    claims: list[int] = []
    unreadable = strange = 0
    times = []
    for s in sightings:
        if not start <= s.shown_ns <= captures[-1]:
            continue
        times.append(s.shown_ns)
        if s.number is None:
            unreadable += 1
            continue
        capture = _nearest(captures, instant_of(s.number, s.shown_ns), tolerance_ns)
        if capture is None:
            strange += 1
            continue
        if s.claimed_ns is not None:
            claims.append(s.claimed_ns - capture)
            claimed.setdefault(capture, s.claimed_ns)
        shown.setdefault(capture, s.shown_ns)
    told = sorted(traces, key=lambda t: t.capture_ns)
    told_at = [t.capture_ns - trace_offset_ns for t in told]
    usual = round(percentile(claims, 50) or 0)
    records = []
    differences = []
    for number, capture in enumerate(c for c in captures if start <= c <= end):
        at = _nearest_index(told_at, claimed.get(capture, capture + usual), 5 * MS)
        trace = None if at is None else told[at]
        if trace is not None and trace.displayed_ns is not None and capture in shown:
            differences.append(trace.displayed_ns - trace_offset_ns - shown[capture])
        records.append(_record(number, capture, shown.get(capture), budget_ns, trace, trace_offset_ns, error_ns))
    return Joined(tuple(records), unreadable, strange, tuple(claims), tuple(sorted(times)), tuple(differences))


def _nearest_index(ordered: Sequence[int], value: int, within: int) -> int | None:
    at = bisect_left(ordered, value)
    best = min((i for i in (at - 1, at) if 0 <= i < len(ordered)), key=lambda i: abs(ordered[i] - value), default=None)
    return best if best is not None and abs(ordered[best] - value) <= within else None


def _nearest(ordered: Sequence[int], value: int, within: int) -> int | None:
    at = _nearest_index(ordered, value, within)
    return None if at is None else ordered[at]


def _record(
    number: int,
    capture_ns: int,
    shown_ns: int | None,
    budget_ns: int,
    trace: FrameTrace | None,
    offset_ns: int,
    error_ns: int,
) -> Record:
    deadline = capture_ns + budget_ns
    reason = None
    if shown_ns is None:
        reason = (trace.reason if trace is not None else None) or "never seen"
    stages = (
        ()
        if trace is None
        else tuple(Stage(n, max(a - offset_ns, capture_ns), max(b - offset_ns, capture_ns)) for n, a, b in trace.stages)
    )
    return Record(
        session="probe",
        stream="view",
        id=number,
        capture_ns=capture_ns,
        deadline_ns=deadline,
        clock_error_ns=error_ns,
        rung=None if trace is None else trace.rung,
        stages=stages,
        outcome="dropped" if shown_ns is None else "shown" if shown_ns <= deadline else "late",
        reason=reason,
        displayed_ns=shown_ns,
        cameras=0 if trace is None else trace.cameras,
    )


def freezes(shown: Sequence[int]) -> tuple[int, float]:
    """Return how often the picture froze and for how many ms in all; the last of `shown` is the end of looking, where
    that is no picture.

    A freeze is a picture shown for longer than three times, and 150 ms more than, the mean of the last 30 (W3C
    webrtc-stats, `freezeCount`).
    """
    last: deque[int] = deque(maxlen=FREEZE_FRAMES)
    count, total = 0, 0
    for gap in (b - a for a, b in pairwise(shown)):
        mean = sum(last) / len(last) if last else None
        if mean is not None and gap > max(3 * mean, mean + FREEZE_NS):
            count, total = count + 1, total + gap
        last.append(gap)
    return count, total / MS


@dataclass(frozen=True, slots=True)
class Stream:
    """Delays in ms of what was heard: `n` of them, and how many were lost. None: of nothing, or of what was lost."""

    n: int = 0
    lost: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None
    max_ms: float | None = None


def stream_of(delays_ms: Sequence[float | None], *, ranked: bool = False) -> Stream:
    """Return the figures of some delays, None for what was lost: left out of the percentiles or, `ranked`, the longest
    of all."""
    heard = [d for d in delays_ms if d is not None]
    lost = len(delays_ms) - len(heard)
    ordered = [*heard, *[math.inf] * lost] if ranked else heard
    found = [percentile(ordered, q) for q in (50, 95, 100)]
    return Stream(len(heard), lost, *(x if x is not None and math.isfinite(x) else None for x in found))


def skews_ms(heard: Iterable[tuple[int, int | None]], records: Sequence[Record]) -> list[float]:
    """Return by how many ms sound came later than the picture of the same instant (negative: sooner), per chirp."""
    seen = [(r.capture_ns, r.displayed_ns - r.capture_ns) for r in records if r.displayed_ns is not None]
    captures = [c for c, _ in seen]
    skews = []
    for said, at in heard:
        if at is None:
            continue
        low, high = bisect_left(captures, said - 500 * MS), bisect_left(captures, said + 500 * MS)
        beside = percentile([d for _, d in seen[low:high]], 50)
        if beside is not None:
            skews.append((at - said - beside) / MS)
    return skews


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why a verdict is refused: the name of the check and what it found."""

    check: str
    finding: str


def doubts(joined: Joined, error_ns: int) -> list[Doubt]:
    """Return every reason not to trust the figures, whose clocks are off by at most `error_ns`."""
    found = []
    if not joined.records:
        return [Doubt("length", "nothing that was captured after the warm-up had time to come back; measure longer")]
    seen = len(joined.shown)
    if not seen:
        return [Doubt("pictures", "no picture came back")]
    if joined.unreadable > 0.05 * seen:
        found.append(Doubt("card", f"{joined.unreadable} of {seen} pictures show no readable card"))
    if joined.strange > 0.01 * seen:
        found.append(Doubt("card", f"{joined.strange} of {seen} cards show an instant at which nothing was captured"))
    early = sum(r.displayed_ns is not None and r.displayed_ns < r.capture_ns - error_ns for r in joined.records)
    if early:
        found.append(Doubt("causality", f"{early} pictures were seen before they were captured"))
    beyond = [
        r
        for r in joined.records
        if r.displayed_ns is not None and any(s.end_ns > r.displayed_ns + error_ns + MS for s in r.stages)
    ]
    if beyond:
        found.append(Doubt("stages", f"{len(beyond)} pictures were seen before the server had finished them"))
    off = percentile(joined.told, 50)
    if off is not None and abs(off) > 2 * error_ns + 5 * MS:
        found.append(
            Doubt("ledger", f"the server's ledger has pictures displayed {off / MS:+.0f} ms (p50) beside ours")
        )
    return found


def undecided(records: Sequence[Record], error_ns: int | None, good: float) -> list[Doubt]:
    """Return why the clocks, off by at most `error_ns` (None: nobody knows), leave open whether the share in time is
    `good`."""
    if error_ns is None:
        return [Doubt("clock", "the service did not pass on how far off the sender's clock may be")]
    if not records:
        return []
    worst, best = (_in_time(records, error_ns * sign) for sign in (-1, 1))
    if (worst >= good) == (best >= good):
        return []
    return [
        Doubt(
            "clock",
            f"with clocks that may be {error_ns / MS:.1f} ms off, {100 * worst:.1f} to {100 * best:.1f} % were in time",
        )
    ]


def _in_time(records: Sequence[Record], more_ns: int) -> float:
    """Return the share that was seen by the deadline and so much more."""
    return sum(r.displayed_ns is not None and r.displayed_ns <= r.deadline_ns + more_ns for r in records) / len(records)


def captions_of(captions: Sequence[tuple[str, float]]) -> dict[str, Any]:
    """Return the figures of captions, (text, ms from the end of what it translates to its commit)."""
    lags = [lag for _, lag in captions]
    return {
        "captions": len(lags),
        "words": sum(len(text.split()) for text, _ in captions),
        "caption_lag_p50_ms": percentile(lags, 50),
        "caption_lag_p95_ms": percentile(lags, 95),
    }


def stages(records: tuple[Record, ...]) -> dict[str, dict[str, float | None]]:
    """Return p50 and p95 ms of each part of a displayed frame's way, in the order in which they come."""
    times: dict[str, list[float]] = {}
    begins: dict[str, list[float]] = {}
    for record in records:
        if record.displayed_ns is None or not record.stages:
            continue
        per_frame: dict[str, float] = {}
        for bar in segments(record):
            per_frame[bar.name] = per_frame.get(bar.name, 0.0) + bar.end - bar.start
            begins.setdefault(bar.name, []).append(bar.start)
        for name, ms in per_frame.items():
            times.setdefault(name, []).append(ms)
    usual = [n for n, ms in times.items() if len(ms) >= 0.05 * max(map(len, times.values()))]
    usual.sort(key=lambda n: percentile(begins[n], 5) or 0.0)
    return {n: {"p50_ms": percentile(times[n], 50), "p95_ms": percentile(times[n], 95)} for n in usual}
