"""When a worker is taken to hang: nothing is heard of it, it does not read, or a slice of its is overdue. Pure.

Only time in which this process was awake itself counts. After a pause of all (a stopped process, a frozen virtual
machine) a healthy worker has been silent for as long, and its slices are as late, as one that hangs.
"""

from __future__ import annotations

PAUSE_NS = 500_000_000
"""Looks that are further apart than this had a pause between them, after which the worker is judged anew."""


class Watchdog:
    """Times are ns on a monotonic clock. Look several times in `PAUSE_NS`."""

    def __init__(self, *, hang_ns: float, ready_ns: float, now_ns: int) -> None:
        """`hang_ns` is how long silence, a slice over its time, and not reading may last; `ready_ns` how long the first
        word may take."""
        self._hang_ns, self._silence_ns = hang_ns, ready_ns
        self._heard_ns = self._read_ns = self._looked_ns = self._awake_since_ns = now_ns
        self._overdue_ns = 0

    def heard(self, now_ns: int, overdue_ns: int = 0) -> None:
        """Take note that the worker is there, and that its worst slice is overdue by so much."""
        self._heard_ns, self._overdue_ns, self._silence_ns = now_ns, overdue_ns, self._hang_ns

    def look(self, now_ns: int, *, reads: bool = True) -> str | None:
        """Return in what the worker hangs, None while it doesn't; it `reads` where not much waits for it."""
        if now_ns - self._looked_ns > PAUSE_NS:
            self._awake_since_ns = now_ns
        self._looked_ns = now_ns
        if reads:
            self._read_ns = now_ns
        awake_ns = now_ns - self._awake_since_ns
        if min(self._overdue_ns, awake_ns) > self._hang_ns:
            return "in a slice"
        if min(now_ns - self._heard_ns, awake_ns) > self._silence_ns:
            return "no heartbeat"
        if min(now_ns - self._read_ns, awake_ns) > self._hang_ns:
            return "it does not read"
        return None
