"""An FFmpeg encoder's context as a call wants it: the RTP clock of video, BT.601 limited, keyframes only on request."""

from __future__ import annotations

import fractions
from typing import Any

import av

from streamsvc.edge.rtpclock import VIDEO_RATE

VIDEO_TIME_BASE = fractions.Fraction(1, VIDEO_RATE)
KEYFRAME_PICTURES = 3000
"""From one keyframe to the next where nobody asks for one: 100 s."""


def video_context(name: str, width: int, height: int, *, bit_rate: int, fps: int, pixel_format: str = "yuv420p") -> Any:
    """Return a context of FFmpeg's encoder `name` that is not open yet; `bit_rate` is in bits per second."""
    codec: Any = av.CodecContext.create(name, "w")
    codec.width, codec.height, codec.pix_fmt = width, height, pixel_format
    codec.bit_rate = bit_rate
    codec.time_base = VIDEO_TIME_BASE
    codec.framerate = fractions.Fraction(fps, 1)
    codec.colorspace, codec.color_range = 6, 1
    codec.gop_size = KEYFRAME_PICTURES
    return codec
