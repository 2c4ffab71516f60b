"""How many clients the port has, of whatever kind, and how fast each address may ask: counting only, no I/O.

Invariants: at most `max_connections` places are taken; at most `MAX_ADDRESSES` addresses are remembered, and one that
is forgotten has been silent for longer than every other.
"""

from __future__ import annotations

from collections import Counter, OrderedDict

import msgspec

from streamsvc.config import Limits
from streamsvc.signalling.messages import SignallingError
from streamsvc.signalling.protocol import TokenBucket

MAX_ADDRESSES = 4096


class PortStatistics(msgspec.Struct, frozen=True):
    """Sockets, WHIP or WHEP sessions and set-ups now and since the start; `errors` counts the codes that clients were
    told."""

    open: int
    opened_total: int
    refused_total: int
    errors: dict[str, int]


class Admission:
    """The places of one port. Each `enter` that didn't raise is followed by one `exit`."""

    def __init__(self, limits: Limits) -> None:
        self.errors: Counter[str] = Counter()
        self._limits = limits
        self._open = 0
        self._opened = 0
        self._refused = 0
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def enter(self) -> None:
        """Take a place; raises SignallingError (service-full)."""
        if self._open >= self._limits.max_connections:
            self._refused += 1
            told = f"the service has {self._open} connections, as many as it takes; try again later"
            raise SignallingError("service-full", told)
        self._open += 1
        self._opened += 1

    def exit(self) -> None:
        """Give the place back."""
        self._open -= 1

    def refused(self) -> None:
        """Count a client that was sent away before it could take a place."""
        self._refused += 1

    def pace(self, address: str, now_ns: int) -> None:
        """Let an address, which has no connection of its own to be counted by, ask as often as one connection may;
        raises SignallingError (too-many-messages)."""
        bucket = self._buckets.pop(address, None)
        if bucket is None:
            limits = self._limits
            bucket = TokenBucket(per_s=limits.messages_per_s, burst=limits.message_burst, now_ns=now_ns)
        self._buckets[address] = bucket
        if len(self._buckets) > MAX_ADDRESSES:
            self._buckets.popitem(last=False)
        if not bucket.take(now_ns):
            rate = f"{self._limits.messages_per_s:g} requests a second"
            raise SignallingError("too-many-messages", f"at most {rate} are accepted from one address")

    def statistics(self) -> PortStatistics:
        """Return the counts as they are now."""
        return PortStatistics(self._open, self._opened, self._refused, dict(self.errors))
