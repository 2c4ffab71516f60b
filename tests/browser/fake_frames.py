"""What the fake service tells of frame sets and speech passes: always the same ten frame sets and one pass, every half
second, under a budget of 400 ms."""

from __future__ import annotations

from streamsvc.signalling import channels

MS = 1_000_000
PERIOD_NS = 50 * MS
BUDGET_NS = 400 * MS
SHOWN_MS, LATE_MS, LAG_MS = 150, 450, 1500
LATE, SUPERSEDED, THINNED = 7, 3, 9
"""Which of the ten came late, and which were never shown."""
GOODPUT = 0.7


def frames(now_ns: int) -> list[channels.FrameTrace]:
    """Return the ten that were captured in the half second before the last."""
    first = now_ns - 1_000 * MS
    return [_frame(i, first + i * PERIOD_NS) for i in range(10)]


def _frame(i: int, capture_ns: int) -> channels.FrameTrace:
    latency_ms = LATE_MS if i == LATE else SHOWN_MS
    dropped = {SUPERSEDED: "superseded", THINNED: "thinned"}.get(i)
    spans = [("receive", 0, 20)]
    if not dropped:
        spans += [("convert", 30, 40), ("disparity", 40, 80), ("blend", 80, latency_ms - 20)]
    return channels.FrameTrace(
        capture_ns=capture_ns,
        displayed_ns=None if dropped else capture_ns + latency_ms * MS,
        deadline_ns=capture_ns + BUDGET_NS,
        clock_error_ns=MS,
        outcome="dropped" if dropped else "late" if i == LATE else "shown",
        reason=dropped,
        rung=None if dropped else "full" if i < 5 else "half",
        cameras=2,
        stages=[(name, capture_ns + start * MS, capture_ns + end * MS) for name, start, end in spans],
        quality=None if dropped else 31.5 if i < 5 else 28.25,
        predicted_ns=None if dropped else 60 * MS,
    )


def passed(now_ns: int) -> channels.PassTrace:
    """Return a pass that committed two words just now."""
    capture = now_ns - LAG_MS * MS
    return channels.PassTrace(
        capture_ns=capture,
        displayed_ns=now_ns,
        deadline_ns=capture + 5_000 * MS,
        outcome="shown",
        text="good evening",
        stages=[("decode", now_ns - 300 * MS, now_ns - 10 * MS)],
    )
