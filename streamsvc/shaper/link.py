"""One direction of a network: when each packet that is put into it comes out, if it does. Pure.

A packet waits in a queue of bounded time for the link's rate, may be lost there or on the way, and takes a delay that
varies. All that is random comes from one seeded generator, drawn the same number of times for every packet, so the same
packets at the same instants fare the same in every run.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum

MS = 1_000_000
SECOND_NS = 1_000_000_000
OVERHEAD_BYTES = 28
"""Of IPv4 and UDP, on top of a datagram."""


class Kind(Enum):
    """What a datagram carries, as far as that shows from outside; `MEDIA` is what can be sent again (RFC 4588)."""

    MEDIA = "media"
    RETRANSMISSION = "retransmission"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Rules:
    """What a link does to packets, times in ms.

    `delay` one way; `jitter`: each packet takes up to so much less or more, in order still. `loss` in percent, in
    bursts of a mean length of `burst` packets (0: each on its own; Gilbert 1960). `rate` in kb/s, 0 without bound;
    `queue` is how long a packet may wait for it, longer ones are dropped. `reorder` percent of packets come `jitter`
    plus 10 ms late, behind those that follow; `duplicate` percent come twice. Every `lost_twice` seconds a packet of
    media is lost and then its first retransmission too (0: never).
    """

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    burst: float = 0.0
    rate: float = 0.0
    queue: float = 200.0
    reorder: float = 0.0
    duplicate: float = 0.0
    lost_twice: float = 0.0


REORDERED_MS = 10.0


class Link:
    """See the module. `rules` may be replaced at any time, and count for what is put in from then on."""

    def __init__(self, rules: Rules, seed: int) -> None:
        self.rules = rules
        self.lost = self.overflowed = 0
        self._random = random.Random(seed)
        self._free_ns = 0
        self._last_ns = 0
        self._in_burst = False
        self._next_twice_ns: int | None = None
        self._lose_retransmission = False

    def put(self, now_ns: int, size: int, kind: Kind = Kind.OTHER) -> tuple[int, ...]:
        """Return when a datagram of `size` bytes that comes now leaves: never, once or twice. `now_ns` doesn't fall."""
        rules = self.rules
        strays, bursts, shakes, overtaken, doubled = (self._random.random() for _ in range(5))
        start = max(now_ns, self._free_ns)
        if rules.rate > 0:
            if start - now_ns > rules.queue * MS:
                self.overflowed += 1
                return ()
            self._free_ns = start + round((size + OVERHEAD_BYTES) * 8 * 1e6 / rules.rate)
            start = self._free_ns
        if self._strays(strays, bursts) or self._twice(now_ns, kind):
            self.lost += 1
            return ()
        late = rules.delay + rules.jitter * (2 * shakes - 1)
        out = max(start, start + round(late * MS))
        if overtaken * 100 < rules.reorder:
            out += round((rules.jitter + REORDERED_MS) * MS)
        else:
            out = self._last_ns = max(out, self._last_ns)
        return (out, out) if doubled * 100 < rules.duplicate else (out,)

    def _strays(self, chance: float, turn: float) -> bool:
        """Is this packet lost at random?"""
        rules = self.rules
        share = rules.loss / 100
        if rules.burst <= 1 or not 0 < share < 1:
            return chance < share
        # In a burst everything is lost; its mean length and the share of packets in bursts give both odds.
        odds = 1 / rules.burst if self._in_burst else share / (rules.burst * (1 - share))
        if turn < odds:
            self._in_burst = not self._in_burst
        return self._in_burst

    def _twice(self, now_ns: int, kind: Kind) -> bool:
        """Is this one of the two that `lost_twice` is about?"""
        if self.rules.lost_twice <= 0:
            return False
        if self._lose_retransmission and kind is Kind.RETRANSMISSION:
            self._lose_retransmission = False
            return True
        if kind is not Kind.MEDIA:
            return False
        every = round(self.rules.lost_twice * SECOND_NS)
        if self._next_twice_ns is None:
            self._next_twice_ns = now_ns + every
        if now_ns < self._next_twice_ns:
            return False
        self._next_twice_ns += every
        self._lose_retransmission = True
        return True
