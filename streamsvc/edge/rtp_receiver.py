"""aiortc's receiver with our jitter buffers, our decoding pool, sender reports, and loss that heals in bounded time.

What differs from the stock one: frames are released on the marker bit; RTP timestamps are kept (extended, not shifted
to zero); decoding runs in our pool and its backlog is bounded (over `MAX_BACKLOG` frames everything up to the next
keyframe is dropped and a keyframe is requested; sound that waits is decoded in one go, so that a busy loop doesn't fall
behind it); what is missing is asked for until it comes or a keyframe does
(`repair`), and until then the picture stands still instead of showing garbage; sender reports feed a `SenderClock`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import av
from aiortc.codecs import get_decoder, is_rtx
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtcrtpparameters import RTCRtpCodecParameters, RTCRtpReceiveParameters
from aiortc.rtcrtpreceiver import RTCRtpReceiver
from aiortc.rtp import AnyRtcpPacket, RtcpSrPacket, RtpPacket

from streamsvc.edge import executors
from streamsvc.edge.adaptation import Private
from streamsvc.edge.codecs import is_keyframe, starts_keyframe, starts_picture, vp8_size
from streamsvc.edge.estimate import Estimator
from streamsvc.edge.extensions import ColourSpace
from streamsvc.edge.jitter import AudioJitterBuffer, VideoJitterBuffer
from streamsvc.edge.mono import Mono, MonoConverter
from streamsvc.edge.repair import Repair
from streamsvc.edge.rtpclock import AUDIO_RATE, VIDEO_RATE, SenderClock, Unwrapper

logger = logging.getLogger(__name__)

MAX_BACKLOG = 40
"""Encoded frames that may wait for the decoder: what comes at once when a gap is closed is no backlog."""
MAX_SOUND_BACKLOG = 500
"""Packets of sound that may wait for the decoder: 10 s. Older ones are left out."""
MAX_PIXELS = 2048 * 2048
"""The largest picture that is decoded. A keyframe of a few bytes can claim 16383 x 16383 pixels, 400 MB."""
KEYFRAME_REQUEST_NS = 250_000_000
MAX_SOURCES = 8
"""SSRCs of which a receiver keeps account. Each is a block of every receiver report, which holds 31 (RFC 3550 section
6.4.2) and has to fit into a packet; a sender has two, media and retransmissions."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """One decoded frame: `rtp_timestamp` is extended to 64 bits, `arrived_ns` is when its last packet came, on our
    monotonic clock; `decode_ns` is what decoding took; `clock_rate` is the RTP clock in Hz; `sound` that of a frame
    that is heard."""

    frame: av.VideoFrame | av.AudioFrame
    rtp_timestamp: int
    arrived_ns: int
    decode_ns: int
    clock_rate: int
    sound: Mono | None = None


@dataclass(frozen=True, slots=True)
class _Encoded:
    codec: RTCRtpCodecParameters
    frame: JitterFrame
    arrived_ns: int


class TooLargeError(ValueError):
    """A picture with more pixels than are decoded."""


class DecodeQueue:
    """Stands where aiortc has its decoder's queue and thread: decodes in our pool, one picture at a time, or all sound
    that waits.

    `put` takes what aiortc puts, (codec, frame) or None for the end. On overflow it drops up to the next keyframe, or
    the oldest sound. `colour_space` is what the sender said beside the bitstream; pictures leave tagged with it.
    """

    def __init__(self, kind: str, track: Any, decode_error: Any) -> None:
        self._video = kind == "video"
        self._pool = executors.decoding() if self._video else executors.sound()
        self._track = track
        self._decode_error = decode_error
        self._waiting: deque[_Encoded] = deque()
        self._ready = asyncio.Event()
        self._ended = False
        self._codec_name: str | None = None
        self._decoder: Any = None
        self._mono = MonoConverter()
        self._await_keyframe = False
        self.dropped = 0
        self.errors = 0
        self.colour_space: ColourSpace | None = None
        self._task = asyncio.ensure_future(self._run())

    def put(self, item: tuple[RTCRtpCodecParameters, JitterFrame] | None) -> None:
        """Take one encoded frame, or None to end."""
        if item is None:
            self._ended = True
        else:
            codec, frame = item
            if self._video and len(self._waiting) >= MAX_BACKLOG:
                self.dropped += len(self._waiting)
                self._waiting.clear()
                self.restart()
            if not self._video and len(self._waiting) >= MAX_SOUND_BACKLOG:
                self.dropped += 1
                self._waiting.popleft()
            if self._await_keyframe and not is_keyframe(codec.name, frame.data):
                self.dropped += 1
                return
            self._await_keyframe = False
            self._waiting.append(_Encoded(codec, frame, time.monotonic_ns()))
        self._ready.set()

    def restart(self) -> None:
        """Show nothing more until a keyframe comes, and have one requested."""
        self._await_keyframe = True
        self._decode_error.set()

    @property
    def awaits_keyframe(self) -> bool:
        """Whether pictures are dropped until a keyframe comes."""
        return self._await_keyframe

    def join(self) -> None:
        """aiortc joins its thread here, which would block the loop; our task ends by itself."""

    async def _run(self) -> None:
        while True:
            while self._waiting:
                # A call in the pool costs a turn of the loop, which on a busy machine is longer than 20 ms of sound.
                batch = [self._waiting.popleft() for _ in range(1 if self._video else len(self._waiting))]
                started = time.monotonic_ns()
                decoded = await executors.run(self._pool, self._decode_all, batch)
                took = (time.monotonic_ns() - started) // len(batch)
                for item, found in zip(batch, decoded, strict=True):
                    self._pass_on(item, found, took)
            if self._ended:
                self._track._queue.put_nowait(None)
                # Its threads would live until the garbage collector finds it in the cycles of a connection.
                self._decoder = None
                return
            self._ready.clear()
            await self._ready.wait()

    def _pass_on(self, item: _Encoded, found: list[tuple[Any, Mono | None]] | Exception, took: int) -> None:
        if isinstance(found, Exception):
            self.errors += 1
            if isinstance(found, TooLargeError):
                self.restart()
            self._decode_error.set()
            logger.debug("a %s frame could not be decoded: %s", item.codec.name, found)
            return
        for frame, sound in found:
            if self._video and self.colour_space is not None:
                frame.colorspace = self.colour_space.matrix
                frame.color_range = 2 if self.colour_space.full else 1
            timestamp = item.frame.timestamp if frame.pts is None or not self._video else frame.pts
            self._track._queue.put_nowait(Decoded(frame, timestamp, item.arrived_ns, took, item.codec.clockRate, sound))

    def _decode_all(self, batch: list[_Encoded]) -> list[list[tuple[Any, Mono | None]] | Exception]:
        """Return what each of `batch` holds, or why it can't be decoded; in the pool."""
        found: list[list[tuple[Any, Mono | None]] | Exception] = []
        for item in batch:
            try:
                frames = self._decode(item)
                found.append([(frame, None if self._video else self._mono.convert(frame)) for frame in frames])
            except (av.FFmpegError, ValueError) as error:
                found.append(error)
        return found

    def _decode(self, item: _Encoded) -> list[Any]:
        if item.codec.name != self._codec_name:
            self._decoder = get_decoder(item.codec)
            self._codec_name = item.codec.name
            if self._video:
                # FFmpeg's own H.264 decoder heeds it before it allocates; libvpx allocates first.
                self._decoder.codec.options = {"max_pixels": str(MAX_PIXELS)}
        size = vp8_size(item.frame.data) if item.codec.name == "VP8" else None
        if size is not None and size[0] * size[1] > MAX_PIXELS:
            raise TooLargeError(f"{size[0]} x {size[1]} pixels; at most {MAX_PIXELS} are decoded")
        frames: list[Any] = self._decoder.decode(item.frame)
        return frames


class Receiver(RTCRtpReceiver):
    """See the module. `sender_clock` maps RTP timestamps to the sender's wall clock; `estimator` is that of the
    connection, for all its videos."""

    _stock_active_ssrc = Private(RTCRtpReceiver, "active_ssrc")
    _stock_codecs = Private(RTCRtpReceiver, "codecs")
    _stock_decoder_error = Private(RTCRtpReceiver, "decoder_error")
    _stock_decoder_queue = Private(RTCRtpReceiver, "decoder_queue")
    _stock_decoder_thread = Private(RTCRtpReceiver, "decoder_thread")
    _stock_jitter_buffer = Private(RTCRtpReceiver, "jitter_buffer")
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
        self._forget_sources(packet.ssrc)
        self._repair.now_ns = time.monotonic_ns()
        # aiortc's is the time of day, which may jump.
        arrival_time_ms = self._repair.now_ns // 1_000_000
        missed = self._repair.missed
        await super()._handle_rtp_packet(packet, arrival_time_ms)
        if self._repair.missed > missed:
            self._estimator.lost(self._repair.missed - missed, arrival_time_ms)
        if isinstance(self._jitter, VideoJitterBuffer):
            await self._mend(self._jitter)
        else:
            self._drain()

    def _drain(self) -> None:
        for frame in self._jitter.drain():
            codec = self._stock_codecs.get(frame.payload_type)
            if codec is not None and self._decoding is not None and self._stock_decoder_thread:
                frame.timestamp = self._stock_timestamp_mapper.map(frame.timestamp)
                self._decoding.put((codec, frame))

    def _starts_keyframe(self, packet: RtpPacket) -> bool:
        codec = self._stock_codecs.get(packet.payload_type)
        return codec is not None and starts_keyframe(codec.name, packet._data)  # type: ignore[attr-defined]

    def _starts_picture(self, packet: RtpPacket) -> bool:
        codec = self._stock_codecs.get(packet.payload_type)
        return codec is not None and starts_picture(codec.name, packet.payload)

    def _forget_sources(self, coming: int) -> None:
        """Make room for the source that is heard now; those heard first go first, the media's never."""
        for sources in (self._stock_remote_streams, self._stock_active_ssrc):
            if coming not in sources and len(sources) >= MAX_SOURCES:
                sources.pop(next(ssrc for ssrc in sources if ssrc != self._media_ssrc))

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
