"""The figures of the last seconds, per session, for the page and for the metrics. Pure; the time is passed in.

Owns a bounded window of closed records per session, numbered in the order in which they came. What was displayed counts
from its display time. Goodput counts captures by their deadline, and only those whose grace is over: a frame that was
shown closes at once and one that was dropped closes a second late, so any younger window would flatter.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field

from streamsvc.ledger.book import GRACE_NS
from streamsvc.ledger.figures import goodput, latency_ns, longest_gap_ns, misses, percentile
from streamsvc.ledger.records import Record

WINDOW_NS = 5_000_000_000
SPEECH_WINDOW_NS = 15_000_000_000
LIMIT = 4096


@dataclass(frozen=True, slots=True)
class LiveFigures:
    """The last seconds of one session; None where nothing was seen. Times in ms."""

    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    longest_gap_ms: float | None = None
    goodput: float | None = None
    fps: float = 0.0
    rung: str | None = None
    cameras: int = 0
    budget_ms: float | None = None
    speech_lag_ms: float | None = None
    dropped: dict[str, int] = field(default_factory=dict)


def _settled_ns(record: Record) -> int:
    return record.deadline_ns if record.displayed_ns is None else max(record.displayed_ns, record.deadline_ns)


class LiveBoard:
    """Rolling windows of all sessions; may be fed from one thread and read from another."""

    def __init__(self, window_ns: int = WINDOW_NS, q_min: float | None = None) -> None:
        self._window_ns = window_ns
        self._q_min = q_min
        self._records: dict[str, deque[tuple[int, Record]]] = {}
        self._taken = 0
        self._lock = threading.Lock()

    def remember(self, session: str) -> None:
        """Take the records of a session that begins."""
        with self._lock:
            self._records.setdefault(session, deque(maxlen=LIMIT))

    def add(self, record: Record) -> None:
        """Take a closed record (a listener of the `Ledger`); those of other sessions, and what closes after its session
        ended, are not kept."""
        oldest = _settled_ns(record) - max(self._window_ns, SPEECH_WINDOW_NS) - 2 * GRACE_NS
        with self._lock:
            records = self._records.get(record.session)
            if records is None:
                return
            self._taken += 1
            records.append((self._taken, record))
            while _settled_ns(records[0][1]) < oldest:
                records.popleft()

    def forget(self, session: str) -> None:
        """Let go of a session that ended."""
        with self._lock:
            self._records.pop(session, None)

    def sessions(self) -> list[str]:
        """Return the sessions that began and did not end."""
        with self._lock:
            return list(self._records)

    def since(self, session: str, number: int) -> tuple[int, list[Record]]:
        """Return the number of the last record of all, and the records of `session` after `number`, in the order in
        which they came and without those that have left the window."""
        with self._lock:
            return self._taken, [r for n, r in self._records.get(session, ()) if n > number]

    def figures(self, session: str, now_ns: int, stream: str | None = None) -> LiveFigures:
        """Return the figures of the window that ends at `now_ns`, of one view stream or of all of the session."""
        with self._lock:
            records = [r for _, r in self._records.get(session, ())]
        speech = [r for r in records if r.kind == "speech"]
        views = [r for r in records if r.kind == "view" and stream in (None, r.stream)]
        since = now_ns - self._window_ns
        displayed = [r for r in views if r.displayed_ns is not None and since < r.displayed_ns <= now_ns]
        settled = now_ns - GRACE_NS
        due = [r for r in views if settled - self._window_ns < r.deadline_ns <= settled]
        latencies = [x / 1e6 for r in displayed if (x := latency_ns(r)) is not None]
        gap = longest_gap_ns(displayed)
        lags = [
            x / 1e6
            for r in speech
            if r.text and r.displayed_ns is not None and now_ns - SPEECH_WINDOW_NS < r.displayed_ns <= now_ns
            if (x := latency_ns(r)) is not None
        ]
        last = max(displayed, key=lambda r: r.capture_ns, default=None)
        return LiveFigures(
            latency_p50_ms=percentile(latencies, 50),
            latency_p95_ms=percentile(latencies, 95),
            longest_gap_ms=None if gap is None else gap / 1e6,
            goodput=goodput(due, self._q_min),
            fps=len(displayed) / (self._window_ns / 1e9),
            rung=last.rung if last else None,
            cameras=last.cameras if last else 0,
            budget_ms=(last.deadline_ns - last.capture_ns) / 1e6 if last else None,
            speech_lag_ms=percentile(lags, 50),
            dropped=misses(due),
        )
