"""RTP timestamps, NTP timestamps and nanoseconds, and the maps between them (RFC 3550, sections 4, 5.1 and 6.4.1).

Our own senders put the capture clock straight into the RTP timestamp, without the random start that RFC 3550 asks for
(SRTP takes away its reason), so both ends can go from one to the other without having seen a packet.
Other senders are mapped by their sender reports.
"""

from __future__ import annotations

import time

VIDEO_RATE = 90_000
AUDIO_RATE = 48_000
NTP_UNIX_SECONDS = 2_208_988_800
SECOND_NS = 1_000_000_000
_CYCLE = 1 << 32
_LOOKS = 3
CONTRADICTION_NS = 200_000_000
"""Senders that stamp a report when a picture was sent, not seen, waver by less."""


def rtp_timestamp_of(capture_ns: int, rate: int = VIDEO_RATE) -> int:
    """Return the 32-bit RTP timestamp of an instant on the sender's capture clock (its monotonic clock, ns)."""
    return capture_ns * rate // SECOND_NS % _CYCLE


def signed_difference(later: int, earlier: int) -> int:
    """Return later - earlier of two 32-bit RTP timestamps, in [-2^31, 2^31)."""
    return (later - earlier + (_CYCLE >> 1)) % _CYCLE - (_CYCLE >> 1)


def capture_ns_of(rtp_timestamp: int, near_ns: int, rate: int = VIDEO_RATE) -> int:
    """Return the instant on the capture clock that `rtp_timestamp` stands for, nearest to `near_ns`.

    Exact to one tick (11 us at 90 kHz); unambiguous within 6.6 hours of `near_ns`.
    """
    ticks = near_ns * rate // SECOND_NS
    ticks += signed_difference(rtp_timestamp, ticks % _CYCLE)
    return -(-ticks * SECOND_NS // rate)


def ntp_of(unix_ns: int) -> int:
    """Return the 64-bit NTP timestamp (32.32 seconds since 1900) of a Unix time in ns."""
    seconds, fraction = divmod(unix_ns, SECOND_NS)
    return (seconds + NTP_UNIX_SECONDS) << 32 | (fraction << 32) // SECOND_NS


def unix_ns_of(ntp: int) -> int:
    """Return the Unix time in ns of a 64-bit NTP timestamp."""
    return ((ntp >> 32) - NTP_UNIX_SECONDS) * SECOND_NS + ((ntp & 0xFFFFFFFF) * SECOND_NS >> 32)


def wall_offset_ns() -> int:
    """Return Unix time minus the monotonic clock now; taken afresh because the wall clock may be stepped. On a busy
    machine we may be interrupted between the two clocks, so the quickest of a few looks counts."""
    looks = []
    for _ in range(_LOOKS):
        before, wall, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        looks.append((after - before, wall - (before + after) // 2))
    return min(looks)[1]


class Unwrapper:
    """Extends 32-bit RTP timestamps to integers that don't wrap; late packets map to earlier values."""

    def __init__(self) -> None:
        self._last: int | None = None

    def map(self, timestamp: int) -> int:
        """Return the extended timestamp, congruent to `timestamp` modulo 2^32."""
        if self._last is None:
            self._last = timestamp
        else:
            self._last += signed_difference(timestamp, self._last % _CYCLE)
        return self._last


class SenderClock:
    """The sender's wall clock, from its sender reports: (RTP timestamp, NTP timestamp) of one instant each.

    Not believed while two reports in a row contradict each other: then the clock was stepped, or the reports are wrong
    (those of GStreamer 1.22's webrtcbin count RTP time twice as fast as its packets).
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._report: tuple[int, int] | None = None
        self._contradicted = False

    def report(self, rtp_timestamp: int, ntp_timestamp: int) -> None:
        """Take a sender report; one with NTP zero says that the sender has no wall clock and is ignored."""
        if ntp_timestamp >> 32:
            unix_ns = unix_ns_of(ntp_timestamp)
            expected_ns = unix_ns if self._report is None else self._map(self._report, rtp_timestamp)
            self._contradicted = abs(unix_ns - expected_ns) > CONTRADICTION_NS
            self._report = (rtp_timestamp, unix_ns)

    def to_unix_ns(self, rtp_timestamp: int) -> int | None:
        """Return the sender's wall clock (Unix ns) at `rtp_timestamp`; None before the first report and while the
        reports aren't believed."""
        if self._report is None or self._contradicted:
            return None
        return self._map(self._report, rtp_timestamp)

    def _map(self, report: tuple[int, int], rtp_timestamp: int) -> int:
        at, unix_ns = report
        return unix_ns + signed_difference(rtp_timestamp, at) * SECOND_NS // self.rate
