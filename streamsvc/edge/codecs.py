"""Our encoders: per-size bitrates, quick x264, mono Opus, colours said explicitly; the packetising is aiortc's.

Runs in the encoding and sound pools, one call at a time per encoder. The target bitrate follows the receiver's
estimate inside the picture's profile. libvpx can't be retuned while open, and a new encoder costs a keyframe, so it
is rebuilt only for a change that matters: down by 15 %, or up by 30 % and at most every 4 s. So are hardware encoders,
of which those that retune make a keyframe, too. x264 takes a new rate as it is.
"""

from __future__ import annotations

import fractions
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from aiortc.codecs import get_encoder
from aiortc.codecs.base import Encoder
from aiortc.codecs.h264 import H264Encoder as StockH264
from aiortc.codecs.vpx import Vp8Encoder as StockVp8
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, Colorspace

from streamsvc.edge import executors
from streamsvc.edge.avcontext import VIDEO_TIME_BASE, video_context
from streamsvc.edge.colour import to_rgb, to_yuv
from streamsvc.edge.driver import Driver
from streamsvc.edge.hardware import Found, Hardware, reason_of
from streamsvc.edge.profiles import Profile, profile_for
from streamsvc.edge.rtpclock import AUDIO_RATE
from streamsvc.frames import Pixels, Samples

AUDIO_TIME_BASE = fractions.Fraction(1, AUDIO_RATE)
FRAME_SAMPLES = 960
VOICE_BITRATE = 48_000
_REBUILD_S = 4.0
_RETUNE_LIMIT = 2.0
"""The buffer of an encoder that retunes stays what it was, so beyond this change it is opened anew."""

_FALLEN, _RISEN = 0.35, 2.5
"""The same for x264, of the rate that its buffer was made for: one that is too large lets a picture take the way for
long, one that is too small keeps pictures under the rate."""

_QUICK = {"preset": "superfast"}
_QUICKEST = {"preset": "ultrafast", "x264-params": "deblock=0,0"}

_OWED_PICTURES = 3
"""After so many pictures in a row at which a hardware encoder owes us one, it has failed."""


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
    last; `fallbacks` is how often x264 had to take over from hardware. `max_bitrate` as in `VideoOut`."""

    codec_name: str
    last: EncodedPicture | None = None
    fallbacks = 0

    def __init__(self, max_bitrate: int | None = None) -> None:
        self._codec: Any = None
        self._max_bitrate = max_bitrate
        self._size = (0, 0)
        self._profile: Profile = profile_for(640, 480)
        self._target: int | None = None

    @property
    def target_bitrate(self) -> int:
        """Bits per second asked for; set by aiortc's sender when an estimate (REMB) arrives, clamped to the profile."""
        return self._profile.clamp(self._profile.start_bitrate if self._target is None else self._target)

    @target_bitrate.setter
    def target_bitrate(self, bitrate: int) -> None:
        self._target = bitrate

    @property
    def encoder_name(self) -> str | None:
        """FFmpeg's name of the encoder in use, None before the first picture."""
        return None if self._codec is None else str(self._codec.name)

    def encode(self, picture: Pixels | av.VideoFrame, pts: int, force_keyframe: bool) -> list[bytes]:
        """Return the RTP payloads of one picture; `pts` is in 90 kHz ticks and rises from call to call."""
        frame = to_yuv(picture) if isinstance(picture, np.ndarray) else _as_yuv(picture)
        frame.pts, frame.time_base = pts, VIDEO_TIME_BASE
        size = (frame.width, frame.height)
        if size != self._size:
            self._close()
            self._size, self._profile = size, profile_for(*size).raised(self._max_bitrate)
        if self._codec is None or self._stale():
            self._codec = self._open(*size)
            force_keyframe = True
        frame.pict_type = PictureType.I if force_keyframe else PictureType.NONE
        data = self._compress(frame)
        keyframe = is_keyframe(self.codec_name, data)
        self.last = EncodedPicture(self.codec_name, data, keyframe, self._codec.width, self._codec.height)
        return self._payloads(data)

    def _close(self) -> None:
        self._codec = None

    def _compress(self, frame: av.VideoFrame) -> bytes:
        return b"".join(bytes(p) for p in self._codec.encode(frame))

    def _stale(self) -> bool:
        raise NotImplementedError

    def _open(self, width: int, height: int) -> Any:
        raise NotImplementedError

    def _payloads(self, data: bytes) -> list[bytes]:
        raise NotImplementedError

    def _context(self, name: str, width: int, height: int) -> Any:
        codec = video_context(name, width, height, bit_rate=self.target_bitrate, fps=self._profile.fps)
        codec.thread_count = _threads(width * height)
        return codec


class Vp8Encoder(VideoEncoder):
    """libvpx in real-time mode, constant bitrate with a third of a second of buffer."""

    codec_name = "VP8"

    def __init__(self, max_bitrate: int | None = None) -> None:
        super().__init__(max_bitrate)
        self._picture_id = random.randrange(1 << 15)
        self._opened = 0.0

    def _stale(self) -> bool:
        return worth_a_keyframe(self.target_bitrate / self._codec.bit_rate, time.monotonic() - self._opened)

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
    """x264, zerolatency and superfast, above 640 x 480 ultrafast with deblocking: of the former's time it takes three
    quarters there, at equal PSNR and SSIM (0.009 less SSIM at 0.6 Mb/s in 640 x 480); or `hardware`, where it has an
    encoder for the size.

    Hardware that raises, hangs, owes pictures or a keyframe is replaced at once: the picture at which that shows is
    encoded by x264, as a keyframe, and so is everything after it until the size changes.
    """

    codec_name = "H264"

    def __init__(self, hardware: Hardware | None = None, max_bitrate: int | None = None) -> None:
        super().__init__(max_bitrate)
        self._hardware = hardware or Hardware()
        self._found: Found | None = None
        self._opened, self._opened_rate = 0.0, 0
        self._owed = self._owing = 0

    def encode(self, picture: Pixels | av.VideoFrame, pts: int, force_keyframe: bool) -> list[bytes]:
        """As the base; 4:2:0 H.264 has even sides only, so an odd row or column is cut off."""
        height, width = picture.shape[:2] if isinstance(picture, np.ndarray) else (picture.height, picture.width)
        if height % 2 or width % 2:
            pixels = picture if isinstance(picture, np.ndarray) else to_rgb(picture)
            picture = np.ascontiguousarray(pixels[: height & ~1, : width & ~1])
        return super().encode(picture, pts, force_keyframe)

    def _stale(self) -> bool:
        rate = self.target_bitrate
        ratio, change = rate / self._codec.bit_rate, rate / self._opened_rate
        age_s = time.monotonic() - self._opened
        if self._found is None:
            if change < _FALLEN or (change > _RISEN and age_s > _REBUILD_S):
                return True
            if abs(ratio - 1) > 0.1:
                self._codec.bit_rate = rate
            return False
        if not worth_a_keyframe(ratio, age_s):
            return False
        if not (self._found.candidate.retunes and 1 / _RETUNE_LIMIT < change < _RETUNE_LIMIT):
            return True
        self._codec.bit_rate, self._opened = rate, time.monotonic()
        return False

    def _open(self, width: int, height: int) -> Any:
        self._close()  # first, because drivers have few sessions
        self._found = self._hardware.pick(width, height)
        if self._found is None:
            return self._open_software(width, height)
        self._owed = self._owing = 0
        rate, self._opened = self.target_bitrate, time.monotonic()
        self._opened_rate = rate
        try:
            return Driver(self._found, width, height, rate, self._profile.fps)
        except Exception as error:  # a driver may raise anything; the call goes on
            return self._take_over(f"it can't be opened: {reason_of(error)}")

    def _close(self) -> None:
        if isinstance(self._codec, Driver):
            self._codec.close()
        super()._close()

    def _compress(self, frame: av.VideoFrame) -> bytes:
        if self._found is None:
            return super()._compress(frame)
        try:
            packets: list[bytes] = self._codec.encode(as_format(frame, self._found.pixel_format))
        except Exception as error:  # a driver may raise anything; the call goes on
            self._codec = self._take_over(reason_of(error))
        else:
            data = b"".join(packets)
            self._owed += 1 - len(packets)
            self._owing = self._owing + 1 if self._owed > 0 else 0
            if self._owing >= _OWED_PICTURES:
                self._codec = self._take_over(f"it owed a picture {self._owing} times in a row")
            elif not self._owed and frame.pict_type == PictureType.I and not is_keyframe(self.codec_name, data):
                self._codec = self._take_over("it made no keyframe when it was asked for one")
            else:
                return data
        frame.pict_type = PictureType.I
        return super()._compress(frame)

    def _take_over(self, reason: str) -> Any:
        """Return x264 in place of hardware that failed."""
        if isinstance(self._codec, Driver):
            self._codec.let_go()
        self._hardware.failed(*self._size, reason)
        self.fallbacks += 1
        self._found = None
        return self._open_software(*self._size)

    def _open_software(self, width: int, height: int) -> Any:
        codec = self._context("libx264", width, height)
        rate, self._opened = self.target_bitrate, time.monotonic()
        self._opened_rate = rate
        # Opened at a constant bitrate, x264 follows every change up to the rate that it was opened with.
        codec.bit_rate = self._profile.max_bitrate
        codec.options = {
            **(_QUICKEST if width * height > 640 * 480 else _QUICK),
            "tune": "zerolatency",
            "level": "31" if width * height <= 1280 * 720 else "52",
            "maxrate": str(codec.bit_rate),
            "bufsize": str(rate // 3),
        }
        codec.profile = "Baseline"
        codec.open()
        codec.bit_rate = rate
        return codec

    def _payloads(self, data: bytes) -> list[bytes]:
        payloads: list[bytes] = StockH264._packetize(nal_units(data))
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


def as_format(frame: av.VideoFrame, pixel_format: str) -> av.VideoFrame:
    """Return a yuv420p frame in another format of the same matrix and range, such as nv12, with its time and type."""
    if frame.format.name == pixel_format:
        return frame
    made = frame.reformat(
        format=pixel_format,
        src_colorspace=Colorspace.ITU601,
        dst_colorspace=Colorspace.ITU601,
        src_color_range=ColorRange.MPEG,
        dst_color_range=ColorRange.MPEG,
    )
    made.pts, made.time_base, made.pict_type = frame.pts, frame.time_base, frame.pict_type
    made.colorspace, made.color_range = frame.colorspace, frame.color_range
    return made


def worth_a_keyframe(ratio: float, since_s: float) -> bool:
    """Whether a new bitrate, `ratio` times that of an encoder opened `since_s` seconds ago, is worth a keyframe."""
    return ratio < 0.85 or (ratio > 1.3 and since_s > _REBUILD_S)


def nal_units(data: bytes) -> Iterator[bytes]:
    """Return the NAL units of an H.264 picture in Annex B."""
    units: Iterator[bytes] = StockH264._split_bitstream(data)
    return units


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
