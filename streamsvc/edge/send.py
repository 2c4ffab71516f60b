"""What we send: tracks whose `recv` only waits, on the capture clock.

`VideoOut` holds the newest picture and nothing else: pictures that come faster than they can be encoded replace each
other. `AudioOut` pulls 20 ms from its source whenever they are due by the clock: it holds no sound, its timestamps
never drift from the clock, and a source that fails is silence. Both live on the event loop's thread.

Times are ns on this host's monotonic clock; the RTP timestamp of a picture is `rtp_timestamp_of(capture_ns)`, and
sender reports tell the other side the wall clock of the capture.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import av
import numpy as np
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from streamsvc.budget.clock import Clock, MonotonicClock
from streamsvc.edge.codecs import FRAME_SAMPLES, EncodedPicture
from streamsvc.edge.colour import check_pixels
from streamsvc.edge.errors import EdgeError
from streamsvc.edge.hardware import Hardware
from streamsvc.edge.mailbox import Mailbox, MailboxStatistics
from streamsvc.edge.rtpclock import AUDIO_RATE, SECOND_NS, VIDEO_RATE
from streamsvc.frames import OUTPUT_RATE, Pixels, Samples

log = logging.getLogger(__name__)

FRAME_NS = FRAME_SAMPLES * SECOND_NS // OUTPUT_RATE
RESUME_LATE_NS = 200_000_000


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

    `codec` ("VP8" or "H264") is what is preferred when the call is agreed; VP8 is what every browser has. H.264 is
    encoded by `hardware` where that has an encoder. `max_bitrate` is the most that pictures may take on the wire, in
    bits per second; None: what their size needs (`profile_for`).
    `on_encoded(picture, capture_ns)` is called on the loop with everything that is sent, must only store or schedule,
    and returns whether the next one has to be a keyframe.
    """

    kind = "video"

    def __init__(self, *, codec: str = "VP8", hardware: Hardware | None = None, max_bitrate: int | None = None) -> None:
        super().__init__()
        if codec not in ("VP8", "H264"):
            raise EdgeError("bad-picture", f"the codec {codec!r} is not known; VP8 and H264 are")
        self.codec, self.hardware, self.max_bitrate = codec, hardware, max_bitrate
        self.on_encoded: Callable[[EncodedPicture, int], bool] | None = None
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

    def encoded(self, picture: EncodedPicture, capture_ns: int) -> bool:
        """Pass on what the sender encoded; return whether the next picture has to be a keyframe."""
        try:
            return bool(picture.data) and self.on_encoded is not None and self.on_encoded(picture, capture_ns)
        except Exception:
            # A consumer's mistake must not end the call.
            log.exception("on_encoded failed")
            return False

    def stop(self) -> None:
        """End the track and wake whoever waits for it."""
        super().stop()
        self._ready.set()

    def statistics(self) -> MailboxStatistics:
        """Return how many pictures were put and how many were replaced before they were sent."""
        return self._mailbox.statistics()


class AudioOut(MediaStreamTrack):
    """A voice track: 48 kHz mono, 20 ms a frame, paced by `clock`.

    `source(n)` is called when n samples are due and returns them at once: (n,) float32 in [-1, 1], silence where it has
    nothing. A source that raises, or returns something else, is heard as silence and logged once: its mistake must not
    end the call.
    """

    kind = "audio"

    def __init__(
        self,
        source: Callable[[int], Samples],
        *,
        clock: Clock | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        super().__init__()
        self._source = source
        self._sleep = sleep
        self._clock = clock or MonotonicClock()
        self._due: int | None = None
        self._pts = 0
        self._failed = False

    async def recv(self) -> Sound:  # type: ignore[override]
        """Wait until the next 20 ms are due and return them; after a stall of more than 200 ms go on from now. What
        else is due already comes from `overdue`."""
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
        return self._next(self._due)

    def overdue(self) -> list[Sound]:
        """Return what is due by now beyond what `recv` returned: on a busy machine a loop comes round more seldom than
        every 20 ms."""
        late: list[Sound] = []
        while self._due is not None and self._due <= self._clock.now_ns() and len(late) * FRAME_NS < RESUME_LATE_NS:
            late.append(self._next(self._due))
        return late

    def _next(self, due: int) -> Sound:
        pts = self._pts
        self._due = due + FRAME_NS
        self._pts += FRAME_SAMPLES
        return Sound(self._pull(), pts, due)

    def _pull(self) -> Samples:
        """Return the source's next (960,) float32 samples, silence when it fails."""
        try:
            samples = self._source(FRAME_SAMPLES)
            if isinstance(samples, np.ndarray) and samples.shape == (FRAME_SAMPLES,) and samples.dtype == np.float32:
                return samples
            got = f"{samples.dtype} {samples.shape}" if isinstance(samples, np.ndarray) else type(samples).__name__
            self._complain(f"it returned {got}, where float32 ({FRAME_SAMPLES},) is accepted")
        except Exception as error:
            self._complain("it raised", error)
        return np.zeros(FRAME_SAMPLES, np.float32)

    def _complain(self, reason: str, error: Exception | None = None) -> None:
        if not self._failed:
            self._failed = True
            log.error("a source of sound failed and is silent when it does: %s", reason, exc_info=error)
