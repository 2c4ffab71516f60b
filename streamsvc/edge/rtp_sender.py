"""aiortc's sender with our encoders, our encoding pool, and sender reports on the capture clock.

What differs from the stock one: the RTP timestamp is the capture clock itself (no random start), and a sender report
pairs the wall clock with what *that clock* shows as the report leaves, not with the picture that was sent last, so that
lip-sync is right, and every receiver's clock: a browser takes a report's NTP time for the moment of sending (RFC 3550,
section 6.4.1), and would put pictures that were worked on for 100 ms another 100 ms wrong. A report goes out with the
first frame and none before; a burst of packets (a keyframe) is spread, and what is sent again is bounded, so that
neither overflows a narrow link.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from aiortc import clock
from aiortc.mediastreams import MediaStreamError
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtcrtpsender import RTCRtpSender, random_sequence_number
from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTP_HISTORY_SIZE,
    AnyRtcpPacket,
    RtcpPsfbPacket,
    RtcpSenderInfo,
    RtcpSrPacket,
    RtpPacket,
    unpack_remb_fci,
)
from aiortc.utils import uint16_add

from streamsvc.edge import executors
from streamsvc.edge.adaptation import Private
from streamsvc.edge.codecs import H264Encoder, NarrowbandEncoder, OpusEncoder, VideoEncoder, Vp8Encoder
from streamsvc.edge.extensions import ExtensionsMap
from streamsvc.edge.hardware import Hardware
from streamsvc.edge.rate import AGAIN_BURST_NS, AGAIN_SHARE, PACE, Pacer, SentRate, next_target
from streamsvc.edge.rtpclock import AUDIO_RATE, SECOND_NS, ntp_of, wall_offset_ns
from streamsvc.edge.send import AudioOut, Picture, Sound, VideoOut

logger = logging.getLogger(__name__)

HISTORY_PACKETS = 1024
"""Packets kept for retransmission: half a second at 20 Mb/s, where the stock 128 are two pictures."""


def make_encoder(
    codec: RTCRtpCodecParameters, hardware: Hardware | None = None, max_bitrate: int | None = None
) -> VideoEncoder | OpusEncoder | NarrowbandEncoder:
    """Return our encoder for an agreed codec; see `VideoOut` for the rest."""
    name = codec.mimeType.lower()
    if name == "video/vp8":
        return Vp8Encoder(max_bitrate)
    if name == "video/h264":
        return H264Encoder(hardware, max_bitrate)
    return OpusEncoder() if name == "audio/opus" else NarrowbandEncoder(codec)


def audio_level(samples: Any) -> int:
    """Return the level of float samples in dBov, -127 to 0 (RFC 6464)."""
    power = float(np.mean(np.square(samples, dtype=np.float64)))
    return max(-127, min(0, round(10 * np.log10(power)))) if power > 1e-13 else -127


class Sender(RTCRtpSender):
    """See the module. Sends `VideoOut` and `AudioOut` tracks."""

    _stock_encoder = Private(RTCRtpSender, "encoder")
    _stock_force_keyframe = Private(RTCRtpSender, "force_keyframe")
    _stock_mid = Private(RTCRtpSender, "mid")
    _stock_lsr = Private(RTCRtpSender, "lsr")
    _stock_lsr_time = Private(RTCRtpSender, "lsr_time")
    _stock_octet_count = Private(RTCRtpSender, "octet_count")
    _stock_packet_count = Private(RTCRtpSender, "packet_count")
    _stock_rtp_exited = Private(RTCRtpSender, "rtp_exited")
    _stock_rtp_header_extensions_map = Private(RTCRtpSender, "rtp_header_extensions_map")
    _stock_rtp_history = Private(RTCRtpSender, "rtp_history")
    _stock_rtp_started = Private(RTCRtpSender, "rtp_started")
    _stock_rtt = Private(RTCRtpSender, "rtt")
    _stock_track = Private(RTCRtpSender, "track")

    def __init__(self, track_or_kind: Any, transport: Any) -> None:
        super().__init__(track_or_kind, transport)
        self.frames = self.keyframes = 0
        self.errors = self.fallbacks = 0
        self.encode_ns = 0
        self._shown = 0, 0, 0
        """Of the frame that was sent last: RTP timestamp, capture (ns), ticks a second."""
        self._rate, self._again_rate = SentRate(), SentRate()
        self._pacer, self._again_pacer = Pacer(), Pacer(AGAIN_BURST_NS)
        self._carried: VideoOut | AudioOut | None = None
        self.retransmitted = self.held_back = 0
        self._history: dict[int, RtpPacket] = {}
        self._stock_rtp_header_extensions_map = ExtensionsMap()

    @property
    def encoder(self) -> Any:
        """The encoder in use, None before the first frame."""
        return self._stock_encoder

    @property
    def carries(self) -> VideoOut | AudioOut | None:
        """The track that is sent, or was until it ended."""
        track: VideoOut | AudioOut | None = self._stock_track
        return track or self._carried

    @property
    def round_trip_s(self) -> float | None:
        """Smoothed round trip from receiver reports, seconds."""
        rtt: float | None = self._stock_rtt
        return rtt

    @property
    def sent(self) -> tuple[int, int]:
        """(packets, payload bytes) sent so far."""
        return self._stock_packet_count, self._stock_octet_count

    async def _encode(self, codec: RTCRtpCodecParameters, items: Sequence[Picture | Sound]) -> list[list[bytes]]:
        """Return the payloads of a picture, or of as much sound as is due: a call in the pool costs a turn of the
        loop."""
        if self._stock_encoder is None:
            track = self._stock_track
            more = (track.hardware, track.max_bitrate) if isinstance(track, VideoOut) else ()
            self._stock_encoder = make_encoder(codec, *more)
        encoder = self._stock_encoder
        started = time.monotonic_ns()
        if isinstance(item := items[0], Picture):
            force, self._stock_force_keyframe = self._stock_force_keyframe, False
            fallbacks = encoder.fallbacks
            payloads = [await executors.run(executors.encoding(), encoder.encode, item.pixels, item.pts, force)]
            self.keyframes += encoder.last.keyframe
            self.fallbacks += encoder.fallbacks - fallbacks
            if isinstance(track := self._stock_track, VideoOut) and track.encoded(encoder.last, item.capture_ns):
                self._stock_force_keyframe = True
        else:
            sounds = [s for s in items if isinstance(s, Sound)]
            payloads = await executors.run(
                executors.sound(), lambda: [encoder.encode(s.samples, s.pts) for s in sounds]
            )
        self.encode_ns = (time.monotonic_ns() - started) // len(items)
        return [list(p) for p in payloads]

    async def _run_rtp(self, codec: RTCRtpCodecParameters) -> None:
        self._stock_rtp_started.set()
        sequence, failing = random_sequence_number(), False
        try:
            while True:
                track: VideoOut | AudioOut | None = self._stock_track
                if track is None:
                    await asyncio.sleep(0.02)
                    continue
                self._carried = track
                items = [await track.recv()]
                if isinstance(track, AudioOut):
                    items += track.overdue()
                if not self._enabled:
                    continue
                try:
                    encoded = await self._encode(codec, items)
                except Exception as error:
                    # One picture that the codec won't take must not end the track, and many must not fill the log.
                    self.errors += 1
                    self._stock_encoder = None
                    what = type(items[0]).__name__.lower()
                    level = logging.DEBUG if failing else logging.WARNING
                    logger.log(level, "a %s could not be encoded and is left out: %r", what, error)
                    failing = True
                    continue
                failing = False
                for item, payloads in zip(items, encoded, strict=True):
                    if payloads:
                        sequence = await self._send_frame(codec, item, payloads, sequence)
        except (asyncio.CancelledError, ConnectionError, MediaStreamError):
            pass
        except Exception:
            # rtp_exited must be set whatever happens, or the stock stop() hangs.
            logger.exception("sending stopped")
        if self._stock_track:
            self._stock_track.stop()
            self._stock_track = None
        self._stock_encoder = None
        self._stock_rtp_exited.set()

    async def _send_frame(
        self, codec: RTCRtpCodecParameters, item: Picture | Sound, payloads: list[bytes], sequence: int
    ) -> int:
        """Send one frame's packets; return the next sequence number."""
        pts = item.pts if isinstance(item, Picture) else item.pts * codec.clockRate // AUDIO_RATE
        timestamp = pts & 0xFFFFFFFF
        first = self._stock_packet_count == 0
        self._shown = timestamp, item.capture_ns, codec.clockRate
        for i, payload in enumerate(payloads):
            if (wait := self._pacer.wait_ns(time.monotonic_ns())) > 0:
                await asyncio.sleep(wait / 1e9)
            packet = RtpPacket(
                codec.payloadType or 0, int(i == len(payloads) - 1), sequence, timestamp, self._ssrc, payload
            )
            packet.extensions.abs_send_time = (clock.current_ntp_time() >> 14) & 0x00FFFFFF
            packet.extensions.mid = self._stock_mid
            if isinstance(item, Sound):
                packet.extensions.audio_level = (False, -audio_level(item.samples))
            self._history[sequence % HISTORY_PACKETS] = packet
            await self.transport._send_rtp(packet.serialize(self._stock_rtp_header_extensions_map))
            self._stock_octet_count += len(payload)
            self._stock_packet_count += 1
            self._rate.add(len(payload), now := time.monotonic_ns())
            if isinstance(self.encoder, VideoEncoder):
                self._pacer.sent(len(payload), now, PACE * self.encoder.target_bitrate)
            sequence = uint16_add(sequence, 1)
        self.frames += 1
        if first:
            await self._send_rtcp([RtcpSrPacket(self._ssrc, self._sender_info())])
        return sequence

    async def _retransmit(self, sequence_number: int) -> None:
        # Nobody is told that sound is sent again, and one report may ask for thousands of packets. aiortc counts the
        # packets of a report on beyond the wrap.
        if not isinstance(self.encoder, VideoEncoder):
            return
        sequence_number &= 0xFFFF
        packet = self._history.get(sequence_number % HISTORY_PACKETS)
        if packet is not None and packet.sequence_number == sequence_number:
            # The stock method looks the packet up in its own, short history.
            now = time.monotonic_ns()
            if self._again_pacer.wait_ns(now) > 0:
                self.held_back += 1
                return
            self._again_pacer.sent(len(packet.payload), now, AGAIN_SHARE * self.encoder.target_bitrate)
            self.retransmitted += 1
            self._again_rate.add(len(packet.payload), now)
            packet.extensions.abs_send_time = (clock.current_ntp_time() >> 14) & 0x00FFFFFF
            self._stock_rtp_history[sequence_number % RTP_HISTORY_SIZE] = packet
            await super()._retransmit(sequence_number)

    async def _handle_rtcp_packet(self, packet: AnyRtcpPacket) -> None:
        if not (isinstance(packet, RtcpPsfbPacket) and packet.fmt == RTCP_PSFB_APP):
            await super()._handle_rtcp_packet(packet)
            return
        try:
            estimate, streams = unpack_remb_fci(packet.fci)
        except ValueError:  # other feedback of this kind, such as Chromium's loss notification
            return
        if self._ssrc in streams and isinstance(self.encoder, VideoEncoder):
            now = time.monotonic_ns()
            sent, again = self._rate.bits_per_second(now), self._again_rate.bits_per_second(now)
            # The estimate is of the whole connection.
            share = estimate // max(1, len(set(streams) & set(self.transport._rtp_router.senders)))
            self.encoder.target_bitrate = next_target(self.encoder.target_bitrate, max(0, share - round(again)), sent)

    def _sender_info(self) -> RtcpSenderInfo:
        """What a report says that is sent now."""
        timestamp, capture_ns, rate = self._shown
        now = time.monotonic_ns()
        return RtcpSenderInfo(
            ntp_timestamp=ntp_of(now + wall_offset_ns()),
            rtp_timestamp=(timestamp + (now - capture_ns) * rate // SECOND_NS) & 0xFFFFFFFF,
            packet_count=self._stock_packet_count & 0xFFFFFFFF,
            octet_count=self._stock_octet_count & 0xFFFFFFFF,
        )

    async def _send_rtcp(self, packets: list[AnyRtcpPacket]) -> None:
        reports = [p for p in packets if isinstance(p, RtcpSrPacket)]
        if self._stock_packet_count == 0:
            # A report before the first frame would map RTP time 0 to the year 1900.
            packets = [p for p in packets if not isinstance(p, RtcpSrPacket)]
        else:
            for report in reports:
                report.sender_info = self._sender_info()
                # By these the round trip is told from what the other side reports.
                self._stock_lsr = report.sender_info.ntp_timestamp >> 16 & 0xFFFFFFFF
                self._stock_lsr_time = time.time()
        if packets:
            await super()._send_rtcp(packets)
