"""Another machine's clock on ours: an offset with its error, from ping-pong or, failing that, from arrivals.

Pure: every time comes in as an argument. Two sources, the first preferred:

* `ping(sent, server, received)`: the other side asked, we answered, it measured. The sample with the shortest round
  trip in the window wins; the error is half that round trip (RFC 5905, section 8, without the asymmetry filter).
* `arrival(sender_ns, arrived_ns)`: nothing arrives before it was sent, so the smallest difference bounds the offset
  from above; the error is the spread we can't see, stated as `ARRIVAL_ERROR_NS`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

WINDOW_NS = 30_000_000_000
ARRIVAL_ERROR_NS = 50_000_000


@dataclass(frozen=True, slots=True)
class ClockMap:
    """ours = theirs + offset_ns, give or take error_ns."""

    offset_ns: int
    error_ns: int

    def to_ours(self, theirs_ns: int) -> int:
        """Return their instant on our clock."""
        return theirs_ns + self.offset_ns


class ClockEstimator:
    """Keeps the best `ClockMap` over the last 30 s; drift and clock steps wear out with the window."""

    def __init__(self) -> None:
        self._pings: deque[tuple[int, int, int]] = deque()  # (our time, round trip, offset)
        self._arrivals: deque[tuple[int, int]] = deque()  # (our time, offset), offsets rising

    def ping(self, sent_ns: int, answered_ns: int, received_ns: int) -> None:
        """Take one exchange: `sent_ns` and `received_ns` on their clock, `answered_ns` on ours."""
        trip = received_ns - sent_ns
        if trip < 0:
            return
        self._pings.append((answered_ns, trip, answered_ns - (sent_ns + received_ns) // 2))
        while self._pings[0][0] < answered_ns - WINDOW_NS:
            self._pings.popleft()

    def arrival(self, sender_ns: int, arrived_ns: int) -> None:
        """Take one arrival: `sender_ns` on their clock, `arrived_ns` on ours."""
        offset = arrived_ns - sender_ns
        while self._arrivals and self._arrivals[-1][1] >= offset:
            self._arrivals.pop()
        self._arrivals.append((arrived_ns, offset))
        while self._arrivals[0][0] < arrived_ns - WINDOW_NS:
            self._arrivals.popleft()

    @property
    def map(self) -> ClockMap | None:
        """The best map now, or None before anything was heard."""
        if self._pings:
            _, trip, offset = min(self._pings, key=lambda p: p[1])
            return ClockMap(offset, trip // 2)
        if self._arrivals:
            return ClockMap(self._arrivals[0][1], ARRIVAL_ERROR_NS)
        return None
