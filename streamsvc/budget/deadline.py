"""Deadlines: when a picture captured at r must leave the worker so that it is displayed by r + D."""

from __future__ import annotations

from collections import deque

START_NS = 60_000_000
FLOOR_NS = 5_000_000


class AfterWorker:
    """R_s: the 95th percentile of what happens after the worker (encode, network, jitter buffer, display).

    Starts at 60 ms, moves a tenth of the way to the window's percentile with each report, so that it changes slowly.
    """

    def __init__(self, window: int = 128) -> None:
        self._samples: deque[int] = deque(maxlen=window)
        self._estimate = float(START_NS)

    def observe(self, after_worker_ns: int) -> None:
        """Take one measured interval from the end of the worker to the display."""
        self._samples.append(max(after_worker_ns, 0))
        ordered = sorted(self._samples)
        p95 = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
        self._estimate += 0.1 * (p95 - self._estimate)

    @property
    def ns(self) -> int:
        """R_s now."""
        return max(round(self._estimate), FLOOR_NS)


def worker_deadline_ns(capture_ns: int, budget_ns: int, after_worker_ns: int) -> int:
    """d_j = r_j + D - R_s, never earlier than the capture itself."""
    return capture_ns + max(budget_ns - after_worker_ns, 0)


def token_cap(now_ns: int, deadline_ns: int, token_ns: int, least: int, most: int) -> int:
    """Return how many tokens a speech pass may make to be over at its deadline, `least` to `most`; `most` once that has
    passed, because what is late anyway is best said whole."""
    if now_ns >= deadline_ns:
        return most
    return max(least, min((deadline_ns - now_ns) // max(token_ns, 1), most))
