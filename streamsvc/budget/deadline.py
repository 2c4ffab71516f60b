"""Deadlines: when a picture captured at r must leave the worker so that it is displayed by r + D."""

from __future__ import annotations

import math
from collections import deque

START_NS = 60_000_000
FLOOR_NS = 5_000_000
STALE_NS = HALF_NS = 1_000_000_000
LEAST_SHARE = 0.25


class AfterWorker:
    """R_s: the 95th percentile of what happens after the worker (encode, network, jitter buffer, display).

    Starts at 60 ms, moves a tenth of the way to the window's percentile with each report, so that it changes slowly.
    When no report comes for a second what was measured is forgotten, and it goes half the way back to the start every
    second: one that is so high that nothing is worth computing would never be measured again.
    """

    def __init__(self, window: int = 128) -> None:
        self._samples: deque[int] = deque(maxlen=window)
        self._estimate = float(START_NS)
        self._last_ns: int | None = None

    def observe(self, after_worker_ns: int, now_ns: int) -> None:
        """Take one measured interval from the end of the worker to the display, told now."""
        if self._stale_ns(now_ns) > 0:
            self._estimate = self._relaxed(now_ns)
            self._samples.clear()
        self._last_ns = now_ns
        self._samples.append(max(after_worker_ns, 0))
        ordered = sorted(self._samples)
        p95 = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
        self._estimate += 0.1 * (p95 - self._estimate)

    def ns(self, now_ns: int) -> int:
        """R_s now."""
        return max(round(self._relaxed(now_ns)), FLOOR_NS)

    def _stale_ns(self, now_ns: int) -> int:
        return 0 if self._last_ns is None else max(0, now_ns - self._last_ns - STALE_NS)

    def _relaxed(self, now_ns: int) -> float:
        halvings: float = min(self._stale_ns(now_ns) / HALF_NS, 60.0)
        return START_NS + (self._estimate - START_NS) * math.pow(0.5, halvings)


def worker_deadline_ns(capture_ns: int, budget_ns: int, after_worker_ns: int) -> int:
    """d_j = r_j + D - R_s, but never less than `LEAST_SHARE` of D: where everything comes too late, a picture that is
    late is better than none."""
    return capture_ns + max(budget_ns - after_worker_ns, round(LEAST_SHARE * budget_ns))
