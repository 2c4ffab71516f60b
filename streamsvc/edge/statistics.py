"""What a connection did so far, as frozen records for /metrics and reports; rates are for the reader to derive."""

from __future__ import annotations

from dataclasses import dataclass

from streamsvc.edge.receive import AudioIn, VideoIn
from streamsvc.edge.rtp_receiver import Receiver
from streamsvc.edge.rtp_sender import Sender
from streamsvc.edge.rtpclock import AUDIO_RATE, VIDEO_RATE
from streamsvc.edge.send import VideoOut


@dataclass(frozen=True, slots=True)
class ReceivedStatistics:
    """One incoming track. `frames` decoded, `replaced` of them never taken, `dropped` encoded frames given up;
    packets as in RFC 3550; `decode_ms` of the last frame; `bytes` of payload."""

    mid: str
    kind: str
    frames: int
    replaced: int
    dropped: int
    decode_errors: int
    packets: int
    packets_lost: int
    bytes: int
    jitter_ms: float
    nacks: int
    keyframe_requests: int
    gaps_given_up: int
    decode_ms: float


@dataclass(frozen=True, slots=True)
class SentStatistics:
    """One outgoing track. `frames` sent, `replaced` offered but overwritten by newer ones, `errors` not encodable;
    packets `retransmitted`, and `held_back` because a full link would only lose them again; `target_bitrate` in bits
    per second (video); `encode_ms` of the last frame; FFmpeg's name of the `encoder` in use (video), and how often x264
    had to take over from hardware (`fallbacks`)."""

    kind: str
    frames: int
    replaced: int
    errors: int
    packets: int
    bytes: int
    keyframes: int
    retransmitted: int
    held_back: int
    target_bitrate: int | None
    encode_ms: float
    round_trip_ms: float | None
    fallbacks: int
    encoder: str | None


@dataclass(frozen=True, slots=True)
class ConnectionStatistics:
    """A connection: its state, its tracks, and how many packets could not be parsed."""

    state: str
    received: tuple[ReceivedStatistics, ...]
    sent: tuple[SentStatistics, ...]
    malformed: int


def received_statistics(track: VideoIn | AudioIn) -> ReceivedStatistics:
    """Return the record of an incoming track."""
    receiver: Receiver = track.receiver
    video = isinstance(track, VideoIn)
    packets, lost = receiver.packets
    decoding = receiver.decoding
    return ReceivedStatistics(
        mid=track.mid,
        kind="video" if video else "audio",
        frames=track.frames if isinstance(track, VideoIn) else track.blocks,
        replaced=track.statistics().replaced if isinstance(track, VideoIn) else 0,
        dropped=decoding.dropped if decoding else 0,
        decode_errors=decoding.errors if decoding else 0,
        packets=packets,
        packets_lost=lost,
        bytes=receiver.bytes,
        jitter_ms=receiver.jitter_ticks * 1000 / (VIDEO_RATE if video else AUDIO_RATE),
        nacks=receiver.nacks,
        keyframe_requests=receiver.keyframe_requests,
        gaps_given_up=receiver.given_up,
        decode_ms=track.decode_ns / 1e6 if isinstance(track, VideoIn) else 0.0,
    )


def sent_statistics(sender: Sender) -> SentStatistics:
    """Return the record of an outgoing track, also of one that has ended."""
    track = sender.carries
    assert track is not None
    packets, octets = sender.sent
    round_trip = sender.round_trip_s
    return SentStatistics(
        kind=track.kind,
        frames=sender.frames,
        replaced=track.statistics().replaced if isinstance(track, VideoOut) else 0,
        errors=sender.errors,
        packets=packets,
        bytes=octets,
        keyframes=sender.keyframes,
        retransmitted=sender.retransmitted,
        held_back=sender.held_back,
        target_bitrate=getattr(sender.encoder, "target_bitrate", None),
        encode_ms=sender.encode_ns / 1e6,
        round_trip_ms=None if round_trip is None else round_trip * 1000,
        fallbacks=sender.fallbacks,
        encoder=getattr(sender.encoder, "encoder_name", None),
    )
