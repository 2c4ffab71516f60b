"""When a picture or a sound of one participant was captured, on the server's clock.

Pure. The sender's clock comes with its RTCP sender reports; how it maps to ours comes from the participant's own pings
(`Clocks` on the ledger channel) where they are plausible, from arrivals where they are not.
"""

from __future__ import annotations

from streamsvc.frames import ClockMap
from streamsvc.frames.clockmap import ARRIVAL_ERROR_NS, ClockEstimator

MOST_BEHIND_NS = 5_000_000_000
EARLY_NS = 5_000_000


class SenderTime:
    """One participant's clock."""

    def __init__(self) -> None:
        self._told: ClockMap | None = None
        self._arrivals = ClockEstimator()

    def told(self, map: ClockMap) -> None:
        """Take the offset that the participant measured."""
        self._told = map

    def capture(self, sender_ns: int | None, arrived_ns: int) -> tuple[int, int]:
        """Return (capture instant, error) in ns on our clock. `sender_ns` None: no clock to go by, so the arrival."""
        if sender_ns is None:
            # If there was one, it was stepped, and what was learned is about another clock.
            self._arrivals = ClockEstimator()
            return arrived_ns, ARRIVAL_ERROR_NS
        self._arrivals.arrival(sender_ns, arrived_ns)
        told = self._told
        if told is not None:
            behind = arrived_ns - told.to_ours(sender_ns)
            # A map that puts captures after their arrival, or seconds before it, describes another clock.
            if -told.error_ns - EARLY_NS <= behind <= MOST_BEHIND_NS:
                return arrived_ns - max(behind, 0), told.error_ns
        seen = self._arrivals.map
        assert seen is not None
        return min(seen.to_ours(sender_ns), arrived_ns), seen.error_ns
