"""What a headless peer sees and hears, saved: `view.mp4`, `speech.wav`, `captions.srt`, all on one clock.

Encoding runs on a thread; pictures that come faster than they can be encoded are left out of the file, never queued
without bound. Time zero of all three is the first
picture or sound.
"""

from __future__ import annotations

import queue
import threading
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from streamsvc.frames import OUTPUT_RATE, Samples

TIME_BASE = Fraction(1, 90_000)


def srt_time(seconds: float) -> str:
    """Return a SubRip time stamp."""
    ms = max(0, round(seconds * 1000))
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02},{ms % 1000:03}"


class Recorder:
    """Writes into `folder`, which is made when missing."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._zero_ns: int | None = None
        self._queue: queue.Queue[tuple[av.VideoFrame, int] | None] = queue.Queue(8)
        self._thread = threading.Thread(target=self._encode, name="recorder", daemon=True)
        self._thread.start()
        self._sound = wave.open(str(folder / "speech.wav"), "wb")  # noqa: SIM115 - open for the whole recording
        self._sound.setnchannels(1)
        self._sound.setsampwidth(2)
        self._sound.setframerate(OUTPUT_RATE)
        self._samples = 0
        self._captions: list[tuple[float, str]] = []
        self.skipped = 0

    def picture(self, frame: av.VideoFrame, shown_ns: int) -> None:
        """Save a view that was shown at `shown_ns`."""
        if self._zero_ns is None:
            self._zero_ns = shown_ns
        try:
            self._queue.put_nowait((frame, shown_ns - self._zero_ns))
        except queue.Full:
            self.skipped += 1

    def sound(self, samples: Samples, heard_ns: int) -> None:
        """Save sound that was heard until `heard_ns`; gaps are filled with silence."""
        if self._zero_ns is None:
            self._zero_ns = heard_ns - len(samples) * 1_000_000_000 // OUTPUT_RATE
        due = (heard_ns - self._zero_ns) * OUTPUT_RATE // 1_000_000_000 - len(samples)
        if due - self._samples > OUTPUT_RATE // 5:
            self._write(np.zeros(due - self._samples, np.float32))
        self._write(samples)

    def caption(self, text: str, shown_ns: int) -> None:
        """Save a caption that appeared at `shown_ns`."""
        zero = shown_ns if self._zero_ns is None else self._zero_ns
        self._captions.append(((shown_ns - zero) / 1e9, text))

    def close(self) -> None:
        """Finish the files; blocks until the video is written."""
        self._queue.put(None)
        self._thread.join()
        self._sound.close()
        lines = []
        for i, (start, text) in enumerate(self._captions):
            following = self._captions[i + 1][0] if i + 1 < len(self._captions) else start + 6
            end = min(following, start + 6)
            lines.append(f"{i + 1}\n{srt_time(start)} --> {srt_time(max(end, start + 0.05))}\n{text}\n")
        (self._folder / "captions.srt").write_text("\n".join(lines), "utf-8")

    def _write(self, samples: Samples) -> None:
        self._sound.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
        self._samples += len(samples)

    def _encode(self) -> None:
        container: av.container.OutputContainer | None = None
        stream: av.VideoStream | None = None
        last = -1
        while (item := self._queue.get()) is not None:
            frame, at_ns = item
            if container is None or stream is None:
                container = av.open(str(self._folder / "view.mp4"), "w")
                stream = container.add_stream("libx264", rate=30)
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
                stream.time_base = stream.codec_context.time_base = TIME_BASE
                stream.codec_context.thread_count = 1
                stream.options = {"preset": "superfast", "crf": "20"}
            if (frame.width, frame.height) != (stream.width, stream.height):
                frame = frame.reformat(stream.width, stream.height)
            else:
                frame = av.VideoFrame.from_ndarray(frame.to_ndarray(), format=frame.format.name)
            frame.pts, frame.time_base = max(at_ns * 90_000 // 1_000_000_000, last + 1), TIME_BASE
            last = frame.pts
            container.mux(stream.encode(frame))
        if container is not None and stream is not None:
            container.mux(stream.encode(None))
            container.close()
