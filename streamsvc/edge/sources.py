"""What a receiver keeps of each source (SSRC) that it hears: bounded, and with figures that a receiver report can hold.

aiortc keeps something of every source for ever, reckons jitter by the time of day and without regard to the wrap of RTP
timestamps, and its reports end for good at a figure of more than 32 bits.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from aiortc.rtcrtpreceiver import StreamStatistics
from aiortc.rtp import RtpPacket

from streamsvc.edge.rtpclock import SECOND_NS, signed_difference


def make_room(sources: dict[int, object], coming: int, *, most: int, kept: int) -> None:
    """Make room for the source `coming` among `most`; those heard first go first, `kept` never."""
    if coming not in sources and len(sources) >= most:
        del sources[next(ssrc for ssrc in sources if ssrc != kept)]


class SourceStatistics(StreamStatistics):
    """aiortc's, with another `jitter` (RFC 3550 sections 6.4.1 and A.8): under 2^31 RTP ticks whatever comes. `now_ns`
    is a monotonic clock."""

    def __init__(self, clock_rate: int, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        super().__init__(clock_rate)
        self._rate, self._now_ns = clock_rate, now_ns
        self._smoothed = 0.0
        self._newest: tuple[int, int] | None = None  # (arrival in ticks, RTP timestamp)

    def add(self, packet: RtpPacket) -> None:
        """Take a packet that came just now."""
        before = self.max_seq
        super().add(packet)
        if self.max_seq == before:
            return  # it came late
        arrival = self._now_ns() * self._rate // SECOND_NS
        if self._newest is not None and packet.timestamp != self._newest[1]:
            waver = signed_difference(arrival - self._newest[0], packet.timestamp - self._newest[1])
            self._smoothed += (abs(waver) - self._smoothed) / 16
        self._newest = arrival, packet.timestamp

    @property
    def jitter(self) -> int:
        """Interarrival jitter in RTP ticks, smoothed."""
        return int(self._smoothed)
