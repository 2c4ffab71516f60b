"""aiortc's receiver with our jitter buffers, our decoding pool, sender reports, and loss that heals in bounded time.

What differs from the stock one: frames are released on the marker bit; RTP timestamps are kept (extended, not shifted
to zero); decoding runs in our pool and is bounded (`decoding`); what is missing is asked for until it comes or a
keyframe does (`repair`), and until then the picture stands still instead of showing garbage; sender reports feed a
`SenderClock`.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from aiortc.codecs import is_rtx
from aiortc.rtcrtpparameters import RTCRtpReceiveParameters
from aiortc.rtcrtpreceiver import RTCRtpReceiver
from aiortc.rtp import AnyRtcpPacket, RtcpSrPacket, RtpPacket

from streamsvc.edge.adaptation import Private
from streamsvc.edge.codecs import starts_keyframe, starts_picture
from streamsvc.edge.decoding import DecodeQueue
from streamsvc.edge.estimate import Estimator
from streamsvc.edge.jitter import AssembledFrame, AudioJitterBuffer, VideoJitterBuffer
from streamsvc.edge.repair import Repair
from streamsvc.edge.rtpclock import AUDIO_RATE, VIDEO_RATE, SenderClock, Unwrapper
from streamsvc.edge.sources import SourceStatistics, make_room

KEYFRAME_REQUEST_NS = 250_000_000
MAX_SOURCES = 8
"""SSRCs of which a receiver keeps account. Each is a block of every receiver report, which holds 31 (RFC 3550 section
6.4.2) and has to fit into a packet; a sender has two, media and retransmissions."""


class Receiver(RTCRtpReceiver):
    """See the module. `sender_clock` maps RTP timestamps to the sender's wall clock; `estimator` is that of the
    connection, for all its videos."""

    _stock_active_ssrc = Private(RTCRtpReceiver, "active_ssrc")
    _stock_codecs = Private(RTCRtpReceiver, "codecs")
    _stock_decoder_error = Private(RTCRtpReceiver, "decoder_error")
    _stock_decoder_queue = Private(RTCRtpReceiver, "decoder_queue")
    _stock_decoder_thread = Private(RTCRtpReceiver, "decoder_thread")
    _stock_jitter_buffer = Private(RTCRtpReceiver, "jitter_buffer")
    _stock_lsr = Private(RTCRtpReceiver, "lsr")
    _stock_lsr_time = Private(RTCRtpReceiver, "lsr_time")
    _stock_nack_generator = Private(RTCRtpReceiver, "nack_generator")
    _stock_remote_bitrate_estimator = Private(RTCRtpReceiver, "remote_bitrate_estimator")
    _stock_remote_streams = Private(RTCRtpReceiver, "remote_streams")
    _stock_rtcp_task = Private(RTCRtpReceiver, "rtcp_task")
    _stock_rtx_ssrc = Private(RTCRtpReceiver, "rtx_ssrc")
    _stock_started = Private(RTCRtpReceiver, "started")
    _stock_timestamp_mapper = Private(RTCRtpReceiver, "timestamp_mapper")
    _stock_transport = Private(RTCRtpReceiver, "transport")

    def __init__(self, kind: str, transport: Any, estimator: Estimator | None = None) -> None:
        super().__init__(kind, transport)
        self._estimator = estimator or Estimator()
        self.sender_clock = SenderClock(VIDEO_RATE if kind == "video" else AUDIO_RATE)
        self.nacks = 0
        self.keyframe_requests = 0
        self.given_up = 0
        self.bytes = 0
        self._media_ssrc = 0
        self._jitter: VideoJitterBuffer | AudioJitterBuffer
        self._jitter = (
            VideoJitterBuffer(self._starts_keyframe, starts_picture=self._starts_picture)
            if kind == "video"
            else AudioJitterBuffer()
        )
        self._stock_jitter_buffer = self._jitter
        self._repair = Repair()
        if kind == "video":
            self._stock_nack_generator = self._repair
            self._stock_remote_bitrate_estimator = self._estimator
        self._stock_timestamp_mapper = Unwrapper()
        self._decoding: DecodeQueue | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._mending: asyncio.Future[None] | None = None
        self._requested_keyframe = 0

    async def receive(self, parameters: RTCRtpReceiveParameters) -> None:
        """Start, as the stock receiver does, with a `DecodeQueue` in place of its thread."""
        if self._stock_started:
            return
        track: Any = self._track
        self._decoding = DecodeQueue(track.kind, track, self._stock_decoder_error)
        for codec in parameters.codecs:
            self._stock_codecs[codec.payloadType] = codec
        for encoding in parameters.encodings:
            if encoding.rtx:
                self._stock_rtx_ssrc[encoding.rtx.ssrc] = encoding.ssrc
        self._stock_decoder_queue = self._decoding
        self._stock_decoder_thread = self._decoding
        self._stock_transport._register_rtp_receiver(self, parameters)
        self._stock_rtcp_task = asyncio.ensure_future(self._run_rtcp())
        self._stock_started = True

    async def stop(self) -> None:
        """Stop for good."""
        if self._timer is not None:
            self._timer.cancel()
        await super().stop()

    @property
    def decoding(self) -> DecodeQueue | None:
        """The queue in front of the decoder, None before the connection is up."""
        return self._decoding

    @property
    def jitter_ticks(self) -> int:
        """Interarrival jitter of the media stream in RTP ticks (RFC 3550 section 6.4.1)."""
        stream = self._stock_remote_streams.get(self._media_ssrc)
        return 0 if stream is None else int(stream.jitter)

    @property
    def packets(self) -> tuple[int, int]:
        """(received, lost) packets of the media stream so far; what was sent again counts as lost."""
        stream = self._stock_remote_streams.get(self._media_ssrc)
        return (0, 0) if stream is None else (int(stream.packets_received), int(stream.packets_lost))

    async def _handle_rtcp_packet(self, packet: AnyRtcpPacket) -> None:
        if isinstance(packet, RtcpSrPacket):
            self.sender_clock.report(packet.sender_info.rtp_timestamp, packet.sender_info.ntp_timestamp)
            for reports in (self._stock_lsr, self._stock_lsr_time):
                self._make_room(reports, packet.ssrc)
        await super()._handle_rtcp_packet(packet)

    async def _handle_rtp_packet(self, packet: RtpPacket, arrival_time_ms: int) -> None:
        self.bytes += len(packet.payload)
        codec = self._stock_codecs.get(packet.payload_type)
        if codec is not None and not is_rtx(codec):
            self._media_ssrc = packet.ssrc
            said = getattr(packet.extensions, "colour_space", None)
            if said is not None and self._decoding is not None:
                self._decoding.colour_space = said
            self.sender_clock.rate = codec.clockRate
        for sources in (self._stock_remote_streams, self._stock_active_ssrc):
            self._make_room(sources, packet.ssrc)
        self._repair.now_ns = time.monotonic_ns()
        # aiortc's is the time of day, which may jump.
        arrival_time_ms = self._repair.now_ns // 1_000_000
        missed = self._repair.missed
        await super()._handle_rtp_packet(packet, arrival_time_ms)
        if codec is not None and not is_rtx(codec) and self._enabled and not hasattr(packet, "_data"):
            # It makes no sense, and aiortc leaves it out; nothing shall wait for it.
            packet._data = b""  # type: ignore[attr-defined]
            _, frame = self._jitter.add(packet)
            self._pass_on(frame)
        known = self._stock_remote_streams.get(packet.ssrc)
        if known is not None and codec is not None and not isinstance(known, SourceStatistics):
            self._stock_remote_streams[packet.ssrc] = statistics = SourceStatistics(codec.clockRate)
            statistics.add(packet)
        if self._repair.missed > missed:
            self._estimator.lost(self._repair.missed - missed, arrival_time_ms)
        if isinstance(self._jitter, VideoJitterBuffer):
            await self._mend(self._jitter)
        else:
            self._drain()

    def _drain(self) -> None:
        for frame in self._jitter.drain():
            self._pass_on(frame)

    def _pass_on(self, frame: AssembledFrame | None) -> None:
        codec = None if frame is None else self._stock_codecs.get(frame.payload_type)
        if frame is not None and codec is not None and self._decoding is not None and self._stock_decoder_thread:
            frame.timestamp = self._stock_timestamp_mapper.map(frame.timestamp)
            self._decoding.put((codec, frame))

    def _starts_keyframe(self, packet: RtpPacket) -> bool:
        codec = self._stock_codecs.get(packet.payload_type)
        return codec is not None and starts_keyframe(codec.name, packet._data)  # type: ignore[attr-defined]

    def _starts_picture(self, packet: RtpPacket) -> bool:
        codec = self._stock_codecs.get(packet.payload_type)
        return codec is not None and starts_picture(codec.name, packet.payload)

    def _make_room(self, sources: dict[int, object], coming: int) -> None:
        make_room(sources, coming, most=MAX_SOURCES, kept=self._media_ssrc)

    async def _mend(self, jitter: VideoJitterBuffer) -> None:
        """Ask for what is missing, and go on at a keyframe when it does not come; called with each packet and when
        something is due."""
        now = time.monotonic_ns()
        repair = self._repair
        if jitter.overran or repair.overrun:
            jitter.overran = repair.overrun = False
            self.given_up += 1
            repair.missing.clear()
            if repair.highest is not None:
                jitter.go_on_at(repair.highest)
            if self._decoding is not None:
                self._decoding.restart()
        wanted = repair.wants_keyframe(now) or (self._decoding is not None and self._decoding.awaits_keyframe)
        if wanted and (start := jitter.skip_to_keyframe()) is not None:
            self.given_up += 1
            repair.forget_before(start)
            wanted = False
        self._drain()
        await self._send_rtcp_nack(self._media_ssrc, repair.due(now))
        if wanted:
            await self._send_rtcp_pli(self._media_ssrc)
        due = repair.next_ns()
        if self._timer is None and due is not None and self._stock_decoder_thread:
            self._timer = asyncio.get_running_loop().call_later((due - now) / 1e9, self._mend_later, jitter)

    def _mend_later(self, jitter: VideoJitterBuffer) -> None:
        self._timer = None
        if self._stock_decoder_thread:
            self._mending = asyncio.ensure_future(self._mend(jitter))

    async def _send_rtcp_nack(self, media_ssrc: int, lost: list[int]) -> None:
        if lost:
            self.nacks += 1
            # aiortc can't write a packet that comes before the first one of its list, as across the wrap.
            await super()._send_rtcp_nack(media_ssrc, sorted(lost))

    async def _send_rtcp_pli(self, media_ssrc: int) -> None:
        now = time.monotonic_ns()
        if now - self._requested_keyframe < max(KEYFRAME_REQUEST_NS, 2 * self._repair.answer_ns):
            return
        self._requested_keyframe = now
        self.keyframe_requests += 1
        await super()._send_rtcp_pli(media_ssrc)
