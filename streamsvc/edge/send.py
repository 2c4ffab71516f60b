"""What we send: tracks whose `recv` only waits, on the capture clock.

`VideoOut` holds the newest picture and nothing else: pictures that come faster than they can be encoded replace each
other. `AudioOut` plays a queue of samples at 20 ms a frame by the clock: an underrun plays room tone, its timestamps
never drift from the clock, its backlog is bounded and can be read. Both live on the event loop's thread.

Times are ns on this host's monotonic clock; the RTP timestamp of a picture is `rtp_timestamp_of(capture_ns)`, and
sender reports tell the other side the wall clock of the capture.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import av
import numpy as np
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from streamsvc.budget.clock import Clock, MonotonicClock
from streamsvc.edge.codecs import FRAME_SAMPLES
from streamsvc.edge.colour import check_pixels
from streamsvc.edge.errors import EdgeError
from streamsvc.edge.mailbox import Mailbox, MailboxStatistics
from streamsvc.edge.rtpclock import AUDIO_RATE, SECOND_NS, VIDEO_RATE
from streamsvc.frames import OUTPUT_RATE, Pixels, Samples

FRAME_NS = FRAME_SAMPLES * SECOND_NS // OUTPUT_RATE
LIVE_BACKLOG = OUTPUT_RATE * 120 // 1000
MAX_BACKLOG = OUTPUT_RATE * 60
RESUME_LATE_NS = 200_000_000
_ROOM_TONE = (np.random.default_rng(0).standard_normal(FRAME_SAMPLES) * 1e-4).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture to send; `pixels` is (height, width, 3) uint8 RGB or a frame, `capture_ns` when it was seen."""

    pixels: Pixels | av.VideoFrame
    capture_ns: int

    @property
    def pts(self) -> int:
        """The RTP timestamp before it is cut to 32 bits."""
        return self.capture_ns * VIDEO_RATE // SECOND_NS


@dataclass(frozen=True, slots=True)
class Sound:
    """20 ms to send: (960,) float32 mono at 48 kHz; `pts` in 48 kHz ticks; `capture_ns` of sample 0."""

    samples: Samples
    pts: int
    capture_ns: int


class VideoOut(MediaStreamTrack):
    """A video track that sends the newest picture that was put.

    `codec` ("VP8" or "H264") is what is preferred when the call is agreed; VP8 is what every browser has.
    """

    kind = "video"

    def __init__(self, *, codec: str = "VP8") -> None:
        super().__init__()
        if codec not in ("VP8", "H264"):
            raise EdgeError("bad-picture", f"the codec {codec!r} is not known; VP8 and H264 are")
        self.codec = codec
        self._mailbox: Mailbox[Picture] = Mailbox()
        self._ready = asyncio.Event()
        self._last_pts = -1

    def put(self, pixels: Pixels | av.VideoFrame, capture_ns: int) -> None:
        """Offer a picture that was captured at `capture_ns`; it replaces one that was not sent yet.

        `pixels` is not copied: leave it alone afterwards. Sizes may change from picture to picture. Raises
        EdgeError("bad-picture").
        """
        if not isinstance(pixels, av.VideoFrame):
            check_pixels(pixels)
        self._mailbox.put(Picture(pixels, capture_ns))
        self._ready.set()

    async def recv(self) -> Picture:  # type: ignore[override]
        """Wait for the newest picture; one that is not newer than the last sent is left out (RTP time can't go
        back)."""
        while True:
            if self.readyState != "live":
                raise MediaStreamError
            picture = self._mailbox.take()
            if picture is None:
                self._ready.clear()
                await self._ready.wait()
            elif picture.pts > self._last_pts or picture.pts < self._last_pts - 10 * VIDEO_RATE:
                self._last_pts = picture.pts
                return picture

    def stop(self) -> None:
        """End the track and wake whoever waits for it."""
        super().stop()
        self._ready.set()

    def statistics(self) -> MailboxStatistics:
        """Return how many pictures were put and how many were replaced before they were sent."""
        return self._mailbox.statistics()


class AudioOut(MediaStreamTrack):
    """A voice track: 48 kHz mono, 20 ms a frame, paced by `clock`.

    `prebuffer_ms` of sound is gathered before play (re)starts after an underrun, so that a live source with jitter does
    not underrun with each packet. With a `source`, sound is pulled from it instead when it is due: `source(n)` returns
    n samples, (n,) float32, and `put` is not used.
    """

    kind = "audio"

    def __init__(
        self,
        *,
        source: Callable[[int], Samples] | None = None,
        clock: Clock | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        prebuffer_ms: int = 20,
    ) -> None:
        super().__init__()
        self._source = source
        self._sleep = sleep
        self._clock = clock or MonotonicClock()
        self._prebuffer = prebuffer_ms * OUTPUT_RATE // 1000
        self._queue: deque[tuple[Samples, int | None]] = deque()
        self._backlog = 0
        self._due: int | None = None
        self._pts = 0
        self._playing = False
        self.underruns = 0
        self.dropped_samples = 0

    def put(self, samples: Samples, capture_ns: int | None = None, *, live: bool = False) -> None:
        """Queue (n,) float32 mono samples at 48 kHz, captured from `capture_ns` on (None: when they are played).

        `live` sound is kept within 120 ms of now, oldest dropped, other sound within a minute. Raises
        EdgeError("bad-sound").
        """
        samples = np.asarray(samples)
        if samples.ndim != 1 or samples.dtype != np.float32:
            raise EdgeError("bad-sound", "sound must be a one-dimensional array of float32 samples, mono at 48 kHz")
        if not len(samples):
            return
        self._queue.append((samples, capture_ns))
        self._backlog += len(samples)
        excess = self._backlog - (LIVE_BACKLOG if live else MAX_BACKLOG)
        if excess > 0:
            self.dropped_samples += excess
            self._take(excess)

    def clear(self) -> None:
        """Forget what was not played yet."""
        self._queue.clear()
        self._backlog = 0

    @property
    def backlog_ms(self) -> float:
        """Milliseconds of sound that wait to be played."""
        return self._backlog * 1000 / OUTPUT_RATE

    async def recv(self) -> Sound:  # type: ignore[override]
        """Wait until the next 20 ms are due and return them; after a stall of more than 200 ms go on from now."""
        if self.readyState != "live":
            raise MediaStreamError
        now = self._clock.now_ns()
        if self._due is None:
            self._due = now
            self._pts = now * AUDIO_RATE // SECOND_NS
        elif now - self._due > RESUME_LATE_NS:
            missed = (now - self._due) // FRAME_NS
            self._due += missed * FRAME_NS
            self._pts += missed * FRAME_SAMPLES
        wait = self._due - now
        if wait > 0:
            await self._sleep(wait / SECOND_NS)
        due, pts = self._due, self._pts
        self._due += FRAME_NS
        self._pts += FRAME_SAMPLES
        if self._source is not None:
            return Sound(self._source(FRAME_SAMPLES), pts, due)
        if not self._playing and self._backlog < max(self._prebuffer, 1):
            return Sound(_ROOM_TONE, pts, due)
        self._playing = True
        samples, capture_ns = self._take(FRAME_SAMPLES)
        if len(samples) < FRAME_SAMPLES:
            self._playing = False
            self.underruns += 1
            samples = np.concatenate([samples, _ROOM_TONE[len(samples) :]])
        return Sound(samples, pts, due if capture_ns is None else capture_ns)

    def _take(self, count: int) -> tuple[Samples, int | None]:
        """Remove up to `count` samples; return them and the capture time of the first."""
        parts: list[Samples] = []
        captured: int | None = None
        while count and self._queue:
            samples, at = self._queue.popleft()
            if not parts:
                captured = at
            if len(samples) > count:
                rest = None if at is None else at + count * SECOND_NS // OUTPUT_RATE
                self._queue.appendleft((samples[count:], rest))
                samples = samples[:count]
            parts.append(samples)
            count -= len(samples)
            self._backlog -= len(samples)
        return (np.concatenate(parts) if parts else np.zeros(0, np.float32)), captured
