"""Jitter buffers that release at once: video on the RTP marker bit, sound packet by packet in order.

aiortc's own buffer releases a frame when the first packet of the *next* one arrives, a whole frame period late. RFC
3551 (section 4.1) and the payload formats (RFC 6184 section 5.1, RFC 7741 section 4.1) put the marker on the last
packet of a frame, so that is when we release. Two traps: padding-only packets share the sequence space, repeat the
last timestamp and carry no marker, so a run without a byte of payload is dropped, because an empty frame ends
FFmpeg's H.264 decoding for good; and a sender whose marker can't be believed (payload of the same timestamp after it,
which doesn't begin a picture of its own) is served by the stock rule from then on.

Invariants: frames leave in sequence order and whole; after `add` returned, `drain` returns what else is ready. A gap
holds everything behind it back, until the packet comes or the caller gives it up with `skip_gap`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.rtp import RtpPacket
from aiortc.utils import uint16_add

from streamsvc.edge.repair import MAX_MISORDER

AUDIO_PREFETCH = 2
"""Packets that may be waiting behind a missing one before it is given up: 40 ms of Opus."""
_MAX_MISORDER = 100
"""Of sound: a packet so far behind isn't a late one but the first of a sequence that was restarted."""


def _data(packet: RtpPacket) -> bytes:
    data: bytes = packet._data  # type: ignore[attr-defined]  # set by aiortc's receiver
    return data


class AssembledFrame(JitterFrame):
    """An encoded frame with the payload type of its packets."""

    def __init__(self, data: bytes, timestamp: int, payload_type: int) -> None:
        super().__init__(data=data, timestamp=timestamp)
        self.payload_type = payload_type


class VideoJitterBuffer(JitterBuffer):
    """Releases a frame with its last packet. Packets carry `_data`, their payload without the codec's descriptor.

    `starts_keyframe` tells of a packet whether it is the first of a keyframe, `starts_picture` whether it is known to
    be the first of any picture.
    """

    def __init__(
        self,
        starts_keyframe: Callable[[RtpPacket], bool],
        capacity: int = 2048,
        *,
        starts_picture: Callable[[RtpPacket], bool] = lambda packet: False,
    ) -> None:
        super().__init__(capacity=capacity, is_video=True)
        self._starts_keyframe, self._starts_picture = starts_keyframe, starts_picture
        self._released: int | None = None
        self._keyframe: int | None = None
        self._marker_trusted = True
        self.overran = False

    def _remove_frame(self, sequence_number: int) -> AssembledFrame | None:
        while True:
            run: list[RtpPacket] = []
            complete = False
            origin = self._origin or 0
            for count in range(self.capacity):
                packet = self._packets[(origin + count) % self._capacity]
                if packet is None:
                    break
                if run and packet.timestamp != run[0].timestamp:
                    complete = True
                    break
                run.append(packet)
                if packet.marker and self._marker_trusted:
                    complete = True
                    break
            if not complete:
                return None
            data = b"".join(_data(p) for p in run)
            timestamp = run[0].timestamp
            self.remove(len(run))
            if not data:
                continue
            # Senders that show one picture again repeat its timestamp.
            if self._marker_trusted and timestamp == self._released and not self._starts_picture(run[0]):
                self._marker_trusted = False
            self._released = timestamp
            return AssembledFrame(data, timestamp, run[0].payload_type)

    def drain(self) -> Iterator[AssembledFrame]:
        """Yield the frames that became ready together with the one that `add` returned."""
        while self._origin is not None and (frame := self._remove_frame(self._origin)) is not None:
            yield frame

    def add(self, packet: RtpPacket) -> tuple[bool, AssembledFrame | None]:
        """Take a packet; return (whether a keyframe must be requested, the frame that is ready or None).

        When there is no room for it all that waits is given up, and `overran` is set: what comes next can't be decoded
        without a keyframe.
        """
        sequence = packet.sequence_number
        if self._origin is None:
            self._origin = sequence
        ahead = uint16_add(sequence, -self._origin)
        if ahead >= 0x8000 and 0x10000 - ahead < MAX_MISORDER:
            return False, None
        if ahead >= self.capacity:
            self.remove(self.capacity)
            self._origin, self._keyframe = sequence, None
            self.overran = True
        self._packets[sequence % self._capacity] = packet
        if self._starts_keyframe(packet):
            self._keyframe = sequence
        return self.overran, None if self.overran else self._remove_frame(sequence)

    def go_on_at(self, sequence: int) -> None:
        """Give up all that waits before the packet `sequence`; it may be behind, where the sequence was restarted."""
        if self._origin is not None:
            ahead = uint16_add(sequence, -self._origin)
            self.remove(min(ahead, self.capacity))  # all of it, where that lies behind
            self._origin = sequence

    def skip_to_keyframe(self) -> int | None:
        """Give up what is missing if a keyframe is complete behind it: go on there, and return its first sequence
        number (None: no keyframe is)."""
        if self._keyframe is None or self._origin is None:
            return None
        ahead = uint16_add(self._keyframe, -self._origin)
        first = self._packets[self._keyframe % self._capacity]
        if ahead >= self.capacity or first is None:
            self._keyframe = None
            return None
        for count in range(self.capacity - ahead):
            packet = self._packets[(self._keyframe + count) % self._capacity]
            if packet is None or packet.timestamp != first.timestamp:
                return None
            if packet.marker:
                self.go_on_at(self._keyframe)
                return self._keyframe
        return None


class AudioJitterBuffer:
    """Releases each packet as soon as all before it are out; waits for a missing one behind at most `prefetch` packets.

    Has the one method of aiortc's buffer that its receiver calls.
    """

    def __init__(self, prefetch: int = AUDIO_PREFETCH) -> None:
        self._prefetch = prefetch
        self._next: int | None = None
        self._waiting: dict[int, RtpPacket] = {}

    def add(self, packet: RtpPacket) -> tuple[bool, AssembledFrame | None]:
        """Take a packet; return (False, the frame that is ready or None). A restarted sequence starts afresh."""
        sequence = packet.sequence_number
        if self._next is None:
            self._next = sequence
        ahead = uint16_add(sequence, -self._next)
        if ahead >= 0x8000:
            if 0x10000 - ahead < _MAX_MISORDER:
                return False, None
            self._waiting.clear()
            self._next = sequence
        self._waiting[sequence] = packet
        return False, next(self.drain(), None)

    def drain(self) -> Iterator[AssembledFrame]:
        """Yield the frames that are ready."""
        while self._waiting and self._next is not None:
            if self._next not in self._waiting:
                if len(self._waiting) <= self._prefetch:
                    return
                start = self._next
                self._next = min(self._waiting, key=lambda s: uint16_add(s, -start))
            packet = self._waiting.pop(self._next)
            self._next = uint16_add(self._next, 1)
            if _data(packet):
                yield AssembledFrame(_data(packet), packet.timestamp, packet.payload_type)
