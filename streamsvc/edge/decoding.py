"""Decoding what comes, in our pools, with bounds on what waits and on what one sender may ask for.

Over `MAX_BACKLOG` pictures everything up to the next keyframe is dropped, and a keyframe is requested. Sound that waits
is decoded many packets in one go, so that a busy loop doesn't fall behind it, and no faster than it could be heard: all
voices of the process share a thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import av
from aiortc.codecs import get_decoder
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtcrtpparameters import RTCRtpCodecParameters

from streamsvc.edge import executors
from streamsvc.edge.codecs import is_keyframe, vp8_size
from streamsvc.edge.extensions import ColourSpace
from streamsvc.edge.mono import Mono, MonoConverter

logger = logging.getLogger(__name__)

MAX_BACKLOG = 40
"""Encoded frames that may wait for the decoder: what comes at once when a gap is closed is no backlog."""
MAX_SOUND_BACKLOG = 500
"""Packets of sound that may wait for the decoder: 10 s. Older ones are left out."""
SOUND_AT_ONCE = 50
"""Packets of sound that are decoded in one go: all voices of the process share a thread."""
SOUND_RATE, SOUND_BURST_NS = 1.5, 10_000_000_000
"""Sound is decoded as it takes to be heard, so many times faster, and so much of it at once: there can't be more, and
whoever sends more would take the thread from everybody else."""
LEAST_SOUND_NS = 2_500_000
"""What a packet of sound counts for at least; none of Opus is shorter (RFC 6716 section 2.1.4)."""
MAX_PIXELS = 2048 * 2048
"""The largest picture that is decoded. A keyframe of a few bytes can claim 16383 x 16383 pixels, 400 MB."""


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


_Found = list[tuple[Any, Mono | None]] | Exception


class TooLargeError(ValueError):
    """A picture with more pixels than are decoded."""


class DecodeQueue:
    """Stands where aiortc has its decoder's queue and thread: decodes in our pool, one picture at a time, or up to
    `SOUND_AT_ONCE` packets of sound.

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
        self._heard_until_ns = 0
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
            now = time.monotonic_ns()
            if self._video and len(self._waiting) >= MAX_BACKLOG:
                self.dropped += len(self._waiting)
                self._waiting.clear()
                self.restart()
            elif not self._video and len(self._waiting) >= MAX_SOUND_BACKLOG:
                self.dropped += 1
                self._waiting.popleft()
            too_much = self._heard_until_ns - now > SOUND_BURST_NS
            if too_much or (self._await_keyframe and not is_keyframe(codec.name, frame.data)):
                self.dropped += 1
                return
            self._await_keyframe = False
            self._waiting.append(_Encoded(codec, frame, now))
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
                count = 1 if self._video else min(len(self._waiting), SOUND_AT_ONCE)
                batch = [self._waiting.popleft() for _ in range(count)]
                started = time.monotonic_ns()
                decoded = await executors.run(self._pool, self._decode_all, batch)
                took = (time.monotonic_ns() - started) // len(batch)
                for item, found in zip(batch, decoded, strict=True):
                    self._pass_on(item, found, took)
                if not self._video:
                    self._heard_until_ns = max(self._heard_until_ns, started) + _heard_ns(decoded)
            if self._ended:
                self._track._queue.put_nowait(None)
                # Its threads would live until the garbage collector finds it in the cycles of a connection.
                self._decoder = None
                return
            self._ready.clear()
            await self._ready.wait()

    def _pass_on(self, item: _Encoded, found: _Found, took: int) -> None:
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

    def _decode_all(self, batch: list[_Encoded]) -> list[_Found]:
        """Return what each of `batch` holds, or why it can't be decoded; in the pool."""
        found: list[_Found] = []
        for item in batch:
            try:
                frames = self._decode(item)
                found.append([(frame, None if self._video else self._mono.convert(frame)) for frame in frames])
            except Exception as error:  # whatever it is, the stream goes on with what comes next
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


def _heard_ns(decoded: list[_Found]) -> int:
    """Return how long the decoder is spoken for by what it found, at `SOUND_RATE`."""
    lasting = 0
    for found in decoded:
        frames = [] if isinstance(found, Exception) else [frame for frame, _ in found]
        lasting += max(LEAST_SOUND_NS, sum(f.samples * 1_000_000_000 // f.sample_rate for f in frames))
    return round(lasting / SOUND_RATE)
