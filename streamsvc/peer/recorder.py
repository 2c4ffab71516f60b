"""What a headless peer sees and hears, saved: `view.mp4`, `speech.wav`, `captions.srt`, `transcript.srt`, on one clock.

Captions are as they were shown, the transcript has the phrases that a second pass corrected. The film carries the sound
as well. Encoding runs on a thread; pictures that come faster than they can be encoded are left out of the file, never
queued without bound. Time zero of all files is the first picture or sound.
"""

from __future__ import annotations

import logging
import queue
import threading
import wave
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from streamsvc.errors import StreamsvcError
from streamsvc.frames import OUTPUT_RATE, Samples
from streamsvc.frames.captions import TimedText, write_captions

log = logging.getLogger(__name__)

FILM = "view.mp4"
TIME_BASE = Fraction(1, 90_000)
WAITING_PICTURES = 8
SOUNDS_BEFORE = 3000
"""Of the sound before the first picture so many blocks, a minute, get into the film; speech.wav has all of it."""

# How long committed words stay when none follow.
CAPTION_MS = 1500.0


@dataclass(frozen=True, slots=True)
class _Caption:
    at_ms: float
    text: str


@dataclass(frozen=True, slots=True)
class _Picture:
    frame: av.VideoFrame
    at_ns: int


@dataclass(frozen=True, slots=True)
class _Sound:
    samples: Samples
    first: int  # position of its first sample in the recording


class RecorderError(StreamsvcError):
    """A recording that is not whole; the message says which file, and why."""


class Recorder:
    """Writes into `folder`, which is made when missing."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._zero_ns: int | None = None
        self._queue: queue.SimpleQueue[_Picture | _Sound | None] = queue.SimpleQueue()
        self._free = threading.Semaphore(WAITING_PICTURES)
        self._trouble: Exception | None = None
        self._thread = threading.Thread(target=self._encode, name="recorder", daemon=True)
        self._thread.start()
        self._sound = wave.open(str(folder / "speech.wav"), "wb")  # noqa: SIM115 - open for the whole recording
        self._sound.setnchannels(1)
        self._sound.setsampwidth(2)
        self._sound.setframerate(OUTPUT_RATE)
        self._samples = 0
        self._captions: list[_Caption] = []
        self._latest: dict[tuple[str, int], int] = {}
        self._revised: dict[int, str] = {}

    def picture(self, frame: av.VideoFrame, shown_ns: int) -> None:
        """Save a view that was shown at `shown_ns`."""
        if self._zero_ns is None:
            self._zero_ns = shown_ns
        if self._trouble is None and self._free.acquire(blocking=False):
            self._queue.put(_Picture(frame, shown_ns - self._zero_ns))

    def sound(self, samples: Samples, heard_ns: int) -> None:
        """Save sound that was heard until `heard_ns`; gaps are filled with silence."""
        if self._zero_ns is None:
            self._zero_ns = heard_ns - len(samples) * 1_000_000_000 // OUTPUT_RATE
        due = (heard_ns - self._zero_ns) * OUTPUT_RATE // 1_000_000_000 - len(samples)
        if due - self._samples > OUTPUT_RATE // 5:
            self._write(np.zeros(due - self._samples, np.float32))
        self._write(samples)

    def caption(self, speaker: str, id: int, text: str, shown_ns: int) -> None:
        """Save a caption that appeared at `shown_ns`."""
        zero = shown_ns if self._zero_ns is None else self._zero_ns
        self._latest[speaker, id] = len(self._captions)
        self._captions.append(_Caption((shown_ns - zero) / 1e6, text))

    def revise(self, speaker: str, ids: Sequence[int], text: str) -> None:
        """Save what the captions `ids` of a speaker should have said, for the transcript.

        Who joined anew counts from 0 again: the latest captions of these numbers are meant, and where they didn't
        come in their order, none.
        """
        places = [self._latest.get((speaker, id), -1) for id in ids]
        if min(places) >= 0 and places == sorted(places):
            self._revised |= dict.fromkeys(places, "") | {places[0]: text}

    def close(self) -> None:
        """Finish the files; blocks until the film is written. Raises RecorderError when the film couldn't be.

        Words that were committed soon after each other share a cue, which begins when the first of them appeared.
        """
        self._queue.put(None)
        self._thread.join()
        self._sound.close()
        write_captions(self._folder / "captions.srt", self._texts({}))
        write_captions(self._folder / "transcript.srt", self._texts(self._revised))
        if self._trouble is not None:
            raise RecorderError(f"{self._folder / FILM} can't be written: {self._trouble}") from self._trouble

    def _texts(self, revised: Mapping[int, str]) -> list[TimedText]:
        texts: list[TimedText] = []
        following, end = float("inf"), 0.0
        for place, caption in reversed(list(enumerate(self._captions))):
            text = revised.get(place, caption.text)
            end = end or min(following, caption.at_ms + CAPTION_MS)
            following = caption.at_ms
            if text:
                # Over the time of all captions whose words are in it.
                texts.append(TimedText(text, caption.at_ms, end))
                end = 0.0
        return texts[::-1]

    def _write(self, samples: Samples) -> None:
        self._sound.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
        if self._trouble is None:
            self._queue.put(_Sound(samples, self._samples))
        self._samples += len(samples)

    def _encode(self) -> None:
        try:
            self._write_film()
        except Exception as error:
            # `close` says so; until then nothing may wait for what is never written.
            self._trouble = error
            log.error("%s can't be written: %s", self._folder / FILM, error)
            while not self._queue.empty():
                self._queue.get()

    def _write_film(self) -> None:
        film: _Film | None = None
        before: deque[_Sound] = deque(maxlen=SOUNDS_BEFORE)
        while (item := self._queue.get()) is not None:
            if isinstance(item, _Picture):
                if film is None:
                    film = _Film(self._folder / FILM, *_even(item.frame))
                    for sound in before:
                        film.sound(sound)
                    before.clear()
                film.picture(item)
                self._free.release()
            elif film is None:
                before.append(item)
            else:
                film.sound(item)
        if film is not None:
            film.close()


def _even(frame: av.VideoFrame) -> tuple[int, int]:
    """Return the (width, height) of what is filmed of a frame: colour has half the resolution, so both are even."""
    return frame.width & ~1, frame.height & ~1


class _Film:
    """An MP4 file with H.264 pictures and AAC sound; used by one thread."""

    def __init__(self, path: Path, width: int, height: int) -> None:
        self._container = av.open(str(path), "w")
        self._video = self._container.add_stream("libx264", rate=30)
        self._video.width, self._video.height, self._video.pix_fmt = width, height, "yuv420p"
        self._video.time_base = self._video.codec_context.time_base = TIME_BASE
        self._video.codec_context.thread_count = 1
        self._video.options = {"preset": "superfast", "crf": "20"}
        self._audio = self._container.add_stream("aac", rate=OUTPUT_RATE, layout="mono")
        self._audio.bit_rate = 64_000
        self._last = -1

    def picture(self, item: _Picture) -> None:
        frame = item.frame
        width, height = _even(frame)
        if (width, height) != (frame.width, frame.height):
            pixels = np.ascontiguousarray(frame.to_ndarray(format="rgb24")[:height, :width], np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        elif (width, height) == (self._video.width, self._video.height):
            frame = av.VideoFrame.from_ndarray(frame.to_ndarray(), format=frame.format.name)
        frame = frame.reformat(self._video.width, self._video.height, "yuv420p")
        frame.pts, frame.time_base = max(item.at_ns * 90_000 // 1_000_000_000, self._last + 1), TIME_BASE
        self._last = frame.pts
        self._container.mux(self._video.encode(frame))

    def sound(self, item: _Sound) -> None:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(item.samples, np.float32)[None], "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = OUTPUT_RATE, item.first, Fraction(1, OUTPUT_RATE)
        self._container.mux(self._audio.encode(frame))

    def close(self) -> None:
        self._container.mux(self._video.encode(None))
        self._container.mux(self._audio.encode(None))
        self._container.close()
