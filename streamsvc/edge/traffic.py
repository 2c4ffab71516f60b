"""What all connections of the process did so far, in sums that never fall: those of ended connections are kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from streamsvc.edge.statistics import ConnectionStatistics

RECEIVED = (
    *("frames", "replaced", "dropped", "decode_errors", "packets", "packets_lost", "bytes", "nacks"),
    *("keyframe_requests", "gaps_given_up"),
)
SENT = ("frames", "replaced", "errors", "packets", "bytes", "keyframes", "retransmitted", "held_back", "fallbacks")


@dataclass(frozen=True, slots=True)
class Traffic:
    """`received` and `sent` map (kind, what) to a count, with what from `RECEIVED` and `SENT` (see `ReceivedStatistics`
    and `SentStatistics`); `malformed` packets; and of the connections that are open now their `states`, the bits per
    second that their videos aim at (`targets`), round trips and jitters in seconds, and how many videos each encoder
    encodes (`encoders`)."""

    received: dict[tuple[str, str], int]
    sent: dict[tuple[str, str], int]
    malformed: int
    states: dict[str, int]
    targets: tuple[int, ...]
    round_trips_s: tuple[float, ...]
    jitters_s: tuple[float, ...]
    encoders: dict[str, int]


class Sums:
    """Adds connections up."""

    def __init__(self) -> None:
        self._received: Counter[tuple[str, str]] = Counter()
        self._sent: Counter[tuple[str, str]] = Counter()
        self._malformed = 0

    def add(self, ended: ConnectionStatistics) -> None:
        """Keep what a connection did, which has ended."""
        self._malformed += ended.malformed
        for track in ended.received:
            self._received.update({(track.kind, what): getattr(track, what) for what in RECEIVED})
        for sent in ended.sent:
            self._sent.update({(sent.kind, what): getattr(sent, what) for what in SENT})

    def with_open(self, connections: Iterable[ConnectionStatistics]) -> Traffic:
        """Return the sums with those that are open."""
        every = Sums()
        every._received.update(self._received)
        every._sent.update(self._sent)
        every._malformed = self._malformed
        states: Counter[str] = Counter()
        targets: list[int] = []
        round_trips: list[float] = []
        jitters: list[float] = []
        encoders: Counter[str] = Counter()
        for connection in connections:
            every.add(connection)
            states[connection.state] += 1
            targets += [s.target_bitrate for s in connection.sent if s.target_bitrate is not None]
            round_trips += [s.round_trip_ms / 1000 for s in connection.sent if s.round_trip_ms is not None]
            jitters += [r.jitter_ms / 1000 for r in connection.received]
            encoders.update(s.encoder for s in connection.sent if s.encoder is not None)
        received, sent = dict(every._received), dict(every._sent)
        return Traffic(
            *(received, sent, every._malformed, dict(states), tuple(targets), tuple(round_trips)),
            *(tuple(jitters), dict(encoders)),
        )
