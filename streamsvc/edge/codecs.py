"""Our encoders: per-size bitrates, x264 superfast, mono Opus, colours said explicitly; the packetising is aiortc's.

Runs in the encoding and sound pools, one call at a time per encoder. The target bitrate follows the receiver's
estimate inside the picture's profile. libvpx can't be retuned while open, and a new encoder costs a keyframe, so it
is rebuilt only for a change that matters: down by 15 %, or up by 30 % and at most every 4 s. x264 takes a new rate as
it is.
"""

from __future__ import annotations

import fractions
import random
import time
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from aiortc.codecs import get_encoder
from aiortc.codecs.base import Encoder
from aiortc.codecs.h264 import H264Encoder as StockH264
from aiortc.codecs.vpx import Vp8Encoder as StockVp8
from av.video.frame import PictureType

from streamsvc.edge import executors
from streamsvc.edge.colour import to_rgb, to_yuv
from streamsvc.edge.profiles import Profile, profile_for
from streamsvc.edge.rtpclock import AUDIO_RATE, VIDEO_RATE
from streamsvc.frames import Pixels, Samples

VIDEO_TIME_BASE = fractions.Fraction(1, VIDEO_RATE)
AUDIO_TIME_BASE = fractions.Fraction(1, AUDIO_RATE)
FRAME_SAMPLES = 960
VOICE_BITRATE = 48_000
_VP8_REBUILD_S = 4.0


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """A picture as it was encoded, before it was packetised; `codec` is "VP8" or "H264" (Annex B)."""

    codec: str
    data: bytes
    keyframe: bool
    width: int
    height: int


class VideoEncoder:
    """What VP8 and H.264 have in common: the picture's profile and the target bitrate. `last` is what was encoded
    last."""

    codec_name: str
    last: EncodedPicture | None = None

    def __init__(self) -> None:
        self._codec: Any = None
        self._size = (0, 0)
        self._profile: Profile | None = None
        self._target: int | None = None

    @property
    def target_bitrate(self) -> int:
        """Bits per second asked for; set by aiortc's sender when an estimate (REMB) arrives, clamped to the profile."""
        profile = self._profile or profile_for(640, 480)
        return profile.clamp(profile.start_bitrate if self._target is None else self._target)

    @target_bitrate.setter
    def target_bitrate(self, bitrate: int) -> None:
        self._target = bitrate

    def encode(self, picture: Pixels | av.VideoFrame, pts: int, force_keyframe: bool) -> list[bytes]:
        """Return the RTP payloads of one picture; `pts` is in 90 kHz ticks and rises from call to call."""
        frame = to_yuv(picture) if isinstance(picture, np.ndarray) else _as_yuv(picture)
        frame.pts, frame.time_base = pts, VIDEO_TIME_BASE
        size = (frame.width, frame.height)
        if size != self._size:
            self._codec, self._size, self._profile = None, size, profile_for(*size)
        if self._codec is None or self._stale():
            self._codec = self._open(*size)
            force_keyframe = True
        frame.pict_type = PictureType.I if force_keyframe else PictureType.NONE
        data = b"".join(bytes(p) for p in self._codec.encode(frame))
        keyframe = is_keyframe(self.codec_name, data)
        self.last = EncodedPicture(self.codec_name, data, keyframe, self._codec.width, self._codec.height)
        return self._payloads(data)

    def _stale(self) -> bool:
        raise NotImplementedError

    def _open(self, width: int, height: int) -> Any:
        raise NotImplementedError

    def _payloads(self, data: bytes) -> list[bytes]:
        raise NotImplementedError

    def _context(self, name: str, width: int, height: int) -> Any:
        codec: Any = av.CodecContext.create(name, "w")
        codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
        codec.bit_rate = self.target_bitrate
        codec.time_base = VIDEO_TIME_BASE
        codec.framerate = fractions.Fraction((self._profile or profile_for(width, height)).fps, 1)
        codec.colorspace, codec.color_range = 6, 1
        codec.gop_size = 3000
        codec.thread_count = _threads(width * height)
        return codec


class Vp8Encoder(VideoEncoder):
    """libvpx in real-time mode, constant bitrate with a third of a second of buffer."""

    codec_name = "VP8"

    def __init__(self) -> None:
        super().__init__()
        self._picture_id = random.randrange(1 << 15)
        self._opened = 0.0

    def _stale(self) -> bool:
        ratio = self.target_bitrate / self._codec.bit_rate
        return ratio < 0.85 or (ratio > 1.3 and time.monotonic() - self._opened > _VP8_REBUILD_S)

    def _open(self, width: int, height: int) -> Any:
        codec = self._context("libvpx", width, height)
        rate = self.target_bitrate
        codec.qmin, codec.qmax = 2, 56
        codec.options = {
            "bufsize": str(rate // 3),
            "minrate": str(rate),
            "maxrate": str(rate),
            "cpu-used": "-6",
            "deadline": "realtime",
            "lag-in-frames": "0",
            "noise-sensitivity": "0",
            "partitions": "0",
            "static-thresh": "1",
            "undershoot-pct": "100",
            "overshoot-pct": "15",
        }
        self._opened = time.monotonic()
        return codec

    def _payloads(self, data: bytes) -> list[bytes]:
        payloads: list[bytes] = StockVp8._packetize(data, self._picture_id)
        self._picture_id = (self._picture_id + 1) % (1 << 15)
        return payloads


class H264Encoder(VideoEncoder):
    """x264, superfast and zerolatency: a quarter of the default preset's time at equal PSNR."""

    codec_name = "H264"

    def encode(self, picture: Pixels | av.VideoFrame, pts: int, force_keyframe: bool) -> list[bytes]:
        """As the base; 4:2:0 H.264 has even sides only, so an odd row or column is cut off."""
        height, width = picture.shape[:2] if isinstance(picture, np.ndarray) else (picture.height, picture.width)
        if height % 2 or width % 2:
            pixels = picture if isinstance(picture, np.ndarray) else to_rgb(picture)
            picture = np.ascontiguousarray(pixels[: height & ~1, : width & ~1])
        return super().encode(picture, pts, force_keyframe)

    def _stale(self) -> bool:
        rate = self.target_bitrate
        if abs(rate / self._codec.bit_rate - 1) > 0.1:
            self._codec.bit_rate = rate
        return False

    def _open(self, width: int, height: int) -> Any:
        codec = self._context("libx264", width, height)
        rate = self.target_bitrate
        codec.options = {
            "preset": "superfast",
            "tune": "zerolatency",
            "level": "31" if width * height <= 1280 * 720 else "52",
            "maxrate": str(rate),
            "bufsize": str(rate // 3),
        }
        codec.profile = "Baseline"
        return codec

    def _payloads(self, data: bytes) -> list[bytes]:
        payloads: list[bytes] = StockH264._packetize(StockH264._split_bitstream(data))
        return payloads


class OpusEncoder:
    """Mono voice at 48 kb/s: one packet for each 20 ms frame."""

    def __init__(self) -> None:
        self._codec: Any = av.CodecContext.create("libopus", "w")
        self._codec.bit_rate = VOICE_BITRATE
        self._codec.format, self._codec.layout, self._codec.sample_rate = "s16", "mono", AUDIO_RATE
        self._codec.options = {"application": "voip", "frame_duration": "20"}
        self._codec.time_base = AUDIO_TIME_BASE

    def encode(self, samples: Samples, pts: int) -> list[bytes]:
        """Return the payloads of (960,) float32 mono samples at 48 kHz; `pts` is in 48 kHz ticks."""
        return [bytes(p) for p in self._codec.encode(sound_frame(samples, pts))]


class NarrowbandEncoder:
    """aiortc's own encoder, for a peer that accepts no Opus (G.722, G.711)."""

    def __init__(self, codec: Any) -> None:
        self._stock: Encoder = get_encoder(codec)

    def encode(self, samples: Samples, pts: int) -> list[bytes]:
        """Return the payloads of (960,) float32 mono samples at 48 kHz."""
        payloads: list[bytes] = self._stock.encode(sound_frame(samples, pts))[0]
        return payloads


def sound_frame(samples: Samples, pts: int) -> av.AudioFrame:
    """Return 48 kHz mono float32 samples as a 16-bit frame with `pts` in 48 kHz ticks."""
    whole = np.clip(np.rint(samples * 32767.0), -32768, 32767).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(whole[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = AUDIO_RATE, pts, AUDIO_TIME_BASE
    return frame


def _threads(pixels: int) -> int:
    """More threads than idle cores make a codec many times slower, so few cores mean one thread."""
    cores = executors.cores()
    if pixels > 1280 * 720 and cores >= 6:
        return 3
    return 2 if pixels > 640 * 480 and cores >= 4 else 1


def _as_yuv(frame: av.VideoFrame) -> av.VideoFrame:
    """Return `frame` itself when it is yuv420p, else converted to it, BT.601 limited."""
    if frame.format.name == "yuv420p":
        return frame
    return to_yuv(to_rgb(frame))


def vp8_size(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) of an encoded VP8 keyframe, None for anything else (RFC 6386 section 9.1)."""
    if len(data) < 10 or data[0] & 1 or data[3:6] != b"\x9d\x01\x2a":
        return None
    return int.from_bytes(data[6:8], "little") & 0x3FFF, int.from_bytes(data[8:10], "little") & 0x3FFF


def starts_keyframe(codec_name: str, data: bytes) -> bool:
    """Whether the payload of one packet is the beginning of a keyframe: its frame header, or a sequence parameter set
    (RFC 6386 section 9.1; RFC 6184 section 5.4, of which aiortc makes Annex B)."""
    if codec_name == "VP8":
        return vp8_size(data) is not None
    return data[:4] == b"\x00\x00\x00\x01" and len(data) > 4 and data[4] & 0x1F == 7


def starts_picture(codec_name: str, payload: bytes) -> bool:
    """Whether the payload of one packet, its descriptor included, says that a picture begins with it. Only VP8's does:
    the start of partition 0 (RFC 7741 section 4.2)."""
    return codec_name == "VP8" and bool(payload) and payload[0] & 0x17 == 0x10


def is_keyframe(codec_name: str, data: bytes) -> bool:
    """Whether an encoded frame can be decoded without the ones before (RFC 6386 section 9.1; H.264 table 7-1)."""
    if codec_name == "VP8":
        return bool(data) and not data[0] & 1
    at = data.find(b"\x00\x00\x01")
    while at >= 0 and at + 3 < len(data):
        if data[at + 3] & 0x1F in (5, 7):
            return True
        at = data.find(b"\x00\x00\x01", at + 3)
    return False
