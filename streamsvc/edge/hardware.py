"""H.264 encoders in hardware: which there are, with the options of a call, and the one that a process uses.

`CANDIDATES` are what FFmpeg has, in the order in which they are tried; whether one works on this machine is for
`hardware_probe` to find out, and only what it found is ever used. One `Hardware` is shared by all tracks of a process.
An encoder that fails at a size (a driver's limit of sessions, a device that went away) rests at that size; meanwhile,
and wherever there is none, x264 encodes. All methods of `Hardware` may be called from any thread.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

import av
import msgspec

from streamsvc.budget.clock import Clock, MonotonicClock
from streamsvc.edge.avcontext import video_context

log = logging.getLogger(__name__)

REST_NS = 300_000_000_000
LEAST_SIDE = 160
"""Smaller pictures cost x264 nothing, and some of these encoders refuse them."""

VP8_PIXELS = 640 * 480
"""Up to here VP8 is preferred even with hardware at hand: libvpx takes 2 to 5 ms, and every browser has it."""


class Candidate(msgspec.Struct, frozen=True):
    """FFmpeg's encoder `name`, with those of its input `formats` that we can make and its `options`: a picture comes
    out for each that goes in, headers before every keyframe, baseline, as many bits as asked for.

    `devices` are the files, as patterns, of which Linux has one where the encoder can work. `retunes`: it takes another
    bit rate while it is open.
    """

    name: str
    title: str
    formats: tuple[str, ...]
    options: dict[str, str]
    devices: tuple[str, ...] = ()
    retunes: bool = False


CANDIDATES = (
    Candidate(
        name="h264_nvenc",
        title="NVIDIA NVENC",
        formats=("yuv420p",),
        options={
            "preset": "p3",
            "tune": "ull",
            "profile": "baseline",
            "rc": "cbr",
            "zerolatency": "1",
            "delay": "0",
            "rc-lookahead": "0",
            "forced-idr": "1",
        },
        devices=("/dev/nvidiactl", "/dev/dxg"),
        retunes=True,
    ),
    Candidate(
        name="h264_qsv",
        title="Intel Quick Sync",
        formats=("nv12",),
        options={
            "preset": "veryfast",
            "profile": "baseline",
            "async_depth": "1",
            "look_ahead": "0",
            "forced_idr": "1",
            "max_dec_frame_buffering": "1",
        },
        devices=("/dev/dri/renderD*",),
    ),
    Candidate(
        name="h264_amf",
        title="AMD AMF",
        formats=("nv12",),
        options={
            "usage": "ultralowlatency",
            "quality": "speed",
            "profile": "constrained_baseline",
            "rc": "cbr",
            "latency": "1",
            "async_depth": "1",
            "preencode": "0",
            "filler_data": "0",
            "frame_skipping": "0",
            "bf": "0",
            "forced_idr": "1",
        },
        devices=("/dev/dri/renderD*",),
    ),
    # It has no options that matter here: what it does is its driver's choice, for the probe to judge.
    Candidate(
        name="h264_v4l2m2m",
        title="V4L2",
        formats=("yuv420p", "nv12"),
        options={},
        devices=("/dev/video*",),
    ),
)


class Found(msgspec.Struct, frozen=True):
    """A candidate that works here, fed with pictures of `pixel_format`."""

    candidate: Candidate
    pixel_format: str


def open_encoder(found: Found, width: int, height: int, bit_rate: int, fps: int) -> Any:
    """Return the encoder, open; raises what PyAV raises when the driver refuses."""
    codec = video_context(
        found.candidate.name, width, height, bit_rate=bit_rate, fps=fps, pixel_format=found.pixel_format
    )
    codec.max_b_frames = 0
    if "profile" not in found.candidate.options:
        codec.profile = "Baseline"
    codec.options = {**found.candidate.options, "bufsize": str(bit_rate // 3)}
    if not found.candidate.retunes:
        # Where it is the same as the bit rate, Quick Sync and AMF keep to it; one that retunes could not pass it later.
        codec.options = {**codec.options, "maxrate": str(bit_rate)}
    codec.open()
    return codec


def reason_of(error: Exception) -> str:
    """Return what a driver's error says, without the options that FFmpeg repeats in it."""
    text = error.strerror if isinstance(error, av.FFmpegError) else None
    return text or str(error) or type(error).__name__


class Hardware:
    """The hardware encoder of a process, if any: none until `use` says so."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or MonotonicClock()
        self._found: Found | None = None
        self._always = False
        self._rests: dict[tuple[int, int], int] = {}
        self._lock = threading.Lock()

    @property
    def name(self) -> str | None:
        """FFmpeg's name of the encoder, None without one."""
        return None if self._found is None else self._found.candidate.name

    def use(self, found: Found | None, *, always: bool = False) -> None:
        """Encode with `found` from now on; with `always` H.264 is preferred at every size that it takes."""
        self._found, self._always = found, always

    def prefers(self, width: int, height: int) -> bool:
        """Whether H.264 is to be preferred for pictures of this size, because hardware encodes them."""
        return (self._always or width * height > VP8_PIXELS) and self.pick(width, height) is not None

    def pick(self, width: int, height: int) -> Found | None:
        """Return what is to encode pictures of this size; None where x264 is."""
        if self._found is None or min(width, height) < LEAST_SIDE:
            return None
        with self._lock:
            return None if self._rests.get((width, height), 0) > self._clock.now_ns() else self._found

    def failed(self, width: int, height: int, reason: str) -> None:
        """Take note that the encoder failed at this size; it rests there, which is logged once."""
        now = self._clock.now_ns()
        with self._lock:
            self._rests = {size: until for size, until in self._rests.items() if until > now}
            resting = (width, height) in self._rests
            self._rests[width, height] = now + REST_NS
        if not resting:
            log.warning(
                "%s failed at %dx%d; x264 takes over, for %d minutes: %s",
                *(self.name, width, height, REST_NS // 60_000_000_000, reason),
            )
