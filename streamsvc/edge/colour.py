"""RGB to YUV and back with matrix and range said out loud: ITU-R BT.601, limited range ("studio swing"), 4:2:0.

VP8 carries no matrix in its bitstream, so BT.601 limited is what both ends assume; H.264 may
carry another one in its VUI, and then that one is used. OpenCV's converters are exactly BT.601 limited and 2-5 times
faster than swscale, but need even sides; odd sides and other matrices go through swscale.
"""

from __future__ import annotations

from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from streamsvc.edge.errors import EdgeError
from streamsvc.frames import Pixels

MAX_SIDE = 8192
_BT601 = {2, 5, 6}  # AVCOL_SPC_UNSPECIFIED, BT470BG, SMPTE170M
_MATRIX = {1: Colorspace.ITU709, 4: Colorspace.FCC, 7: Colorspace.SMPTE240M, 9: Colorspace.BT2020}
_FULL = 2  # AVCOL_RANGE_JPEG
_LIMITED = 1  # AVCOL_RANGE_MPEG


def check_pixels(pixels: Pixels) -> None:
    """Raise EdgeError("bad-picture") unless `pixels` is (height, width, 3) uint8 with sides of 2 to 8192."""
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise EdgeError("bad-picture", "a picture must be a (height, width, 3) array of uint8 RGB")
    height, width = pixels.shape[:2]
    if not (2 <= height <= MAX_SIDE and 2 <= width <= MAX_SIDE):
        raise EdgeError("bad-picture", f"a picture of {width} x {height} is not accepted; sides are 2 to {MAX_SIDE}")


def to_yuv(pixels: Pixels) -> av.VideoFrame:
    """Return `pixels`, (height, width, 3) uint8 RGB full range, as a yuv420p frame tagged BT.601 limited."""
    height, width = pixels.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        planes: Any = cv2.cvtColor(pixels, cv2.COLOR_RGB2YUV_I420)
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    else:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24").reformat(
            format="yuv420p",
            src_colorspace=Colorspace.ITU601,
            dst_colorspace=Colorspace.ITU601,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
        )
    frame.colorspace = 6
    frame.color_range = _LIMITED
    return frame


def to_rgb(frame: av.VideoFrame) -> Pixels:
    """Return a decoded frame as (height, width, 3) uint8 RGB, full range, C-contiguous.

    The frame's own matrix and range are used where its bitstream says them, BT.601 limited where it doesn't.
    """
    full = frame.color_range == _FULL or frame.format.name.startswith("yuvj")
    if frame.format.name == "rgb24":
        return np.ascontiguousarray(frame.to_ndarray())
    if (
        frame.format.name == "yuv420p"
        and frame.colorspace in _BT601
        and not full
        and frame.width % 2 == 0
        and frame.height % 2 == 0
    ):
        rgb = cv2.cvtColor(frame.to_ndarray(), cv2.COLOR_YUV2RGB_I420)
    else:
        rgb = frame.reformat(
            format="rgb24",
            src_colorspace=_MATRIX.get(int(frame.colorspace), Colorspace.ITU601),
            dst_colorspace=Colorspace.ITU601,
            src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
        ).to_ndarray()
    return np.ascontiguousarray(rgb, dtype=np.uint8)
