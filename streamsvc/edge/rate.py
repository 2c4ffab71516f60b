"""What a sender does with the receiver's bandwidth estimate (REMB, draft-alvestrand-rmcat-remb), and how it spreads
what it sends. Pure.

The estimate can't rise above one and a half times what arrives, so while the picture is still and the encoder sends
little it stays low, though nothing is wrong with the network; taken at its word, the next movement starts at a few
hundred kb/s and takes 10 s to recover. So an estimate below the target counts only when we actually send near the
target, or when it is close to what we send. A busy host makes receivers see congestion that isn't there, and then
they ask for 0.85 of what arrives; while we send less than half the target that is not believed either, but less than
0.8 is, because then less arrives than we send.
"""

from __future__ import annotations

from collections import deque

SECOND_NS = 1_000_000_000
PACE = 2.5
BURST_NS = 40_000_000
"""A sender's packets go out at `PACE` times the target, except for what that takes no more than 40 ms for: at any frame
rate an ordinary picture goes out at once, and only a keyframe is spread."""

AGAIN_SHARE = 0.3
AGAIN_BURST_NS = 500_000_000
"""Of the target bitrate: what may be sent again. More would be the end of a link that loses because it is full."""
_NEAR_TARGET = 0.8
_FAR_FROM_TARGET = 0.5
_ROOM = 1.2
_ARRIVES = 0.8


def next_target(target: int, estimate: int, sent_rate: float) -> int:
    """Return the new target bitrate from the old one, the receiver's estimate and what we sent, all bits per second."""
    if estimate >= target or sent_rate >= _NEAR_TARGET * target:
        return estimate
    believed = (_ARRIVES if sent_rate < _FAR_FROM_TARGET * target else _ROOM) * sent_rate
    return estimate if estimate <= believed else target


class SentRate:
    """Bits per second over the last second."""

    def __init__(self) -> None:
        self._sent: deque[tuple[int, int]] = deque()
        self._bytes = 0

    def add(self, count: int, now_ns: int) -> None:
        """Note that `count` bytes were sent."""
        self._sent.append((now_ns, count))
        self._bytes += count
        self._forget(now_ns)

    def bits_per_second(self, now_ns: int) -> float:
        """Return the rate now."""
        self._forget(now_ns)
        return self._bytes * 8.0

    def _forget(self, now_ns: int) -> None:
        while self._sent and self._sent[0][0] <= now_ns - SECOND_NS:
            self._bytes -= self._sent.popleft()[1]


class Pacer:
    """A leaky bucket (GCRA): `burst_ns` of sending time may be used at once."""

    def __init__(self, burst_ns: int = BURST_NS) -> None:
        self._burst_ns = burst_ns
        self._due_ns = 0

    def wait_ns(self, now_ns: int) -> int:
        """Return how long the next packet should wait."""
        return max(0, self._due_ns - now_ns - self._burst_ns)

    def sent(self, size: int, now_ns: int, rate_bps: float) -> None:
        """Take note that `size` bytes were sent, of a bucket that empties at `rate_bps`."""
        self._due_ns = max(self._due_ns, now_ns) + round(size * 8 * SECOND_NS / max(rate_bps, 1.0))
