"""Time as an argument: the monotonic clock that the service runs on, and the one that tests turn by hand."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A monotonic clock in integer nanoseconds."""

    def now_ns(self) -> int:
        """Return the present instant."""
        ...


class MonotonicClock:
    """The host's CLOCK_MONOTONIC, the same in every process of the host."""

    def now_ns(self) -> int:
        """Return `time.monotonic_ns()`."""
        return time.monotonic_ns()


class MockClock:
    """A clock that moves only when told to."""

    def __init__(self, start_ns: int = 0) -> None:
        self._now = start_ns

    def now_ns(self) -> int:
        """Return the instant that was last set."""
        return self._now

    def advance(self, ns: int) -> None:
        """Move forward by `ns`; raises ValueError when that is negative."""
        if ns < 0:
            raise ValueError(f"a monotonic clock can't go back by {-ns} ns")
        self._now += ns
