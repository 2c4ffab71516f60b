"""What a probe takes down while a call lasts: captures, pictures with the number on their card, sound, captions, and
what the server says became of each frame.

Lives on the event loop; cards are read on a thread of its own, so that reading delays no picture. Instants are kept on
this host's monotonic clock together with the server's, as it was known then.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import av
import numpy as np

from streamsvc.edge import Received, capture_ns_of
from streamsvc.frames import Samples
from streamsvc.frames.clockmap import ClockMap
from streamsvc.probe.measure import Sighting
from streamsvc.probe.reading import CardReader, Grey
from streamsvc.probe.sound import Ear, Onsets
from streamsvc.signalling.channels import Caption, FrameTrace

LONGEST_WAIT = 64
"""Pictures that wait to be read; one more counts as unreadable."""

SAMPLES, SAMPLE_NS = 24, 1_000_000_000
"""The last so many pictures, at least so far apart, are kept, so that their quality can be told."""


def luma(frame: av.VideoFrame) -> Grey:
    """Return a frame's brightness, (H, W) uint8; a view where the format has a plane of it."""
    if frame.format.name in ("yuv420p", "yuvj420p", "nv12", "gray"):
        plane: Any = frame.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        return np.asarray(rows[: frame.height, : frame.width], np.uint8)
    return np.asarray(frame.to_ndarray(format="gray"), np.uint8)


@dataclass(frozen=True, slots=True)
class Heard:
    """A caption: its message, and when it came."""

    caption: Caption
    came_ns: int


class Notes:
    """Implements `peer.Witness`. `card_ns` puts an instant of this host on the clock that cards show (None while that
    is not known)."""

    def __init__(self, card_ns: Callable[[int], int | None], clock: Callable[[], ClockMap | None]) -> None:
        self._card_ns, self._clock = card_ns, clock
        self._reader = CardReader()
        self._pool = ThreadPoolExecutor(1, "reader")
        self._places = threading.Semaphore(LONGEST_WAIT)
        self.pictured = asyncio.Event()
        self.captures: list[int] = []
        self.sightings: list[Sighting] = []
        self.traces: deque[FrameTrace] = deque(maxlen=200_000)
        self.captions: list[Heard] = []
        self.ear, self.onsets = Ear(), Onsets()
        self.latest: av.VideoFrame | None = None
        self.latest_read: av.VideoFrame | None = None
        self.samples: deque[tuple[int, av.VideoFrame]] = deque(maxlen=SAMPLES)
        """(number on the card, picture)."""
        self._sampled_ns = 0
        self.until_ns = 0
        """The last instant, on this host's clock, at which the cameras saw something: until then the call went on."""

    def captured(self, capture_ns: int) -> None:
        """Take a capture."""
        self.until_ns = capture_ns
        at = self._card_ns(capture_ns)
        if at is not None:
            self.captures.append(at)

    def picture(self, received: Received, shown_ns: int) -> None:
        """Take a picture and have its card read."""
        at = self._card_ns(shown_ns)
        if at is None:
            return
        best = self._clock()
        claimed = None
        if best is not None:
            server_ns = best.to_ours(shown_ns)
            claimed = capture_ns_of(received.rtp_timestamp, server_ns) - server_ns + at
        self.latest = received.frame
        self.pictured.set()
        if not self._places.acquire(blocking=False):
            self.sightings.append(Sighting(at, None, claimed))
            return
        self._pool.submit(self._read, received.frame, at, claimed)

    def _read(self, frame: av.VideoFrame, shown_ns: int, claimed_ns: int | None) -> None:
        try:
            reading = self._reader.read(luma(frame))
            self.sightings.append(Sighting(shown_ns, None if reading is None else reading.number, claimed_ns))
            if reading is not None:
                self.latest_read = frame
                if shown_ns - self._sampled_ns >= SAMPLE_NS:
                    self._sampled_ns = shown_ns
                    self.samples.append((reading.number, frame))
        finally:
            self._places.release()

    def sound(self, samples: Samples, heard_ns: int) -> None:
        """Take sound."""
        self.ear.hear(samples, heard_ns)
        self.onsets.take(samples, heard_ns)

    def caption(self, caption: Caption, shown_ns: int) -> None:
        """Take a caption."""
        self.captions.append(Heard(caption, shown_ns))

    def frames(self, frames: Sequence[FrameTrace]) -> None:
        """Take what became of frames."""
        self.traces.extend(frames)

    def close(self) -> None:
        """Wait until every picture that came is read, and judge what was said and not heard."""
        self._pool.shutdown()
        self.ear.judge(self.until_ns)
        self.sightings.sort(key=lambda s: s.shown_ns)
