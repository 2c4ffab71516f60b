"""Pictures, depth and video on disk, for `synthesize`: every way a file can be wrong becomes a ViewError."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from streamsvc.frames import Camera, Pixels
from streamsvc.view.errors import ViewError

FRAMES_PER_SECOND = 30
"""Of videos that are written."""

STILLS = (".png", ".jpg", ".jpeg")
"""What is read; what is written may end in more."""

PICTURES = (*STILLS, ".webp", ".bmp", ".tif", ".tiff")


def read_picture(path: Path) -> Pixels:
    """Return the picture at `path` as RGB; raises ViewError when it is missing or damaged."""
    return np.ascontiguousarray(_decoded(path, cv2.IMREAD_COLOR)[:, :, ::-1], dtype=np.uint8)


def read_foreground(path: Path) -> NDArray[np.bool_] | None:
    """Return where the picture at `path` is more than half opaque, (h, w) bool, or None when it knows no transparency;
    raises ViewError when it is missing or damaged."""
    pixels = _decoded(path, cv2.IMREAD_UNCHANGED)
    if pixels.ndim != 3 or pixels.shape[2] != 4:
        return None
    return np.asarray(pixels[:, :, 3] > np.iinfo(pixels.dtype).max // 2)


def _decoded(path: Path, flags: int) -> NDArray[Any]:
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as e:
        raise ViewError(f"{path}: {e.strerror or e}") from None
    found = None
    if data.size:
        with _quiet():
            found = cv2.imdecode(data, flags)
    if found is None:
        raise ViewError(f"{path}: is not a picture that can be read, or is damaged; PNG or JPEG is expected")
    return np.asarray(found)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep OpenCV from writing about a damaged picture to stderr; the error says it."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


def read_depth(path: Path, camera: Camera) -> NDArray[np.float32]:
    """Return inverse depth (h, w) float32 in 1/m from a float32 `.npy` of depth along z in metres; 0 where the file
    holds NaN, infinity or a depth that isn't positive. Raises ViewError when it is missing, damaged or of another
    size or type."""
    try:
        depth = np.load(path, allow_pickle=False)
    except OSError as e:
        raise ViewError(f"{path}: {e.strerror or e}") from None
    except (ValueError, EOFError):
        raise ViewError(f"{path}: is not a .npy array, or is damaged") from None
    if not isinstance(depth, np.ndarray) or depth.dtype != np.float32 or depth.shape != (camera.height, camera.width):
        got = f"{depth.dtype} {depth.shape}" if isinstance(depth, np.ndarray) else "an archive"
        raise ViewError(f"{path}: must be float32 ({camera.height}, {camera.width}), got {got}")
    known = np.isfinite(depth) & (depth > 0)
    return np.where(known, 1 / np.where(known, depth, 1), 0).astype(np.float32)


class PictureOut:
    """Writes the one view as a picture; the format follows the name.

    Raises ViewError for a name without one, or a place that can't be written.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix.lower() not in PICTURES:
            raise ViewError(f"{path}: pictures can't be written as {path.suffix!r}; use {', '.join(PICTURES)}")
        self._path = path

    def write(self, pixels: Pixels) -> None:
        """Write `pixels`, RGB or RGBA."""
        data = cv2.imencode(self._path.suffix, pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]])[1]
        try:
            self._path.write_bytes(data.tobytes())
        except OSError as e:
            raise ViewError(f"{self._path}: {e.strerror or e}") from None

    def close(self) -> None:
        """Nothing is left to do."""


class VideoOut:
    """Writes views as H.264 in MP4, 30 frames a second, BT.709 limited range and tagged so (ITU-T H.273).

    Raises ViewError for a name that isn't .mp4, odd sides, or a place that can't be written.
    """

    def __init__(self, path: Path, width: int, height: int) -> None:
        if path.suffix.lower() != ".mp4":
            raise ViewError(f"{path}: frames make a video, whose name must end in .mp4")
        if width % 2 or height % 2:
            raise ViewError(f"view: H.264 video needs even sides, got {width} x {height}")
        try:
            self._container = av.open(str(path), "w")
        except (OSError, av.error.FFmpegError) as e:
            raise ViewError(f"{path}: {e.strerror or e}") from None
        self._stream = self._container.add_stream("libx264", rate=FRAMES_PER_SECOND, options={"crf": "16"})
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        context = self._stream.codec_context
        context.colorspace, context.color_range = 1, 1  # BT.709, limited
        context.color_primaries, context.color_trc = 1, 1

    def write(self, pixels: Pixels) -> None:
        """Encode one frame, RGB full range."""
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame = frame.reformat(
            format="yuv420p", src_color_range="JPEG", dst_colorspace="ITU709", dst_color_range="MPEG"
        )
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def close(self) -> None:
        """Flush the encoder and finish the file."""
        for packet in self._stream.encode():
            self._container.mux(packet)
        self._container.close()
