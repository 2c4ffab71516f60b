"""What we receive: a reader task per track that always empties it, so nothing ever queues up.

`VideoIn` keeps the newest frame in a one-slot mailbox; pixels are converted only for frames that somebody wants, in the
decoding pool. `AudioIn` makes a continuous line of mono blocks, 16 kHz for the interpreter and 48 kHz for passing the
voice through; what was lost on the way is filled with silence.

Every item says when it came (`arrived_ns`, our monotonic clock) and when it was captured on its sender's wall clock
(`sender_ns`, Unix time, None until the first sender report).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from aiortc.mediastreams import MediaStreamError

from streamsvc.edge import colour, executors
from streamsvc.edge.decoding import Decoded
from streamsvc.edge.mailbox import Mailbox, MailboxStatistics
from streamsvc.edge.rtp_receiver import Receiver
from streamsvc.edge.rtpclock import SECOND_NS
from streamsvc.frames import OUTPUT_RATE, SPEECH_RATE, Pixels, Samples

logger = logging.getLogger(__name__)

MAX_FILL_NS = 2 * SECOND_NS
"""The longest loss that is filled with silence; a longer one is a discontinuity, and time jumps."""
FILL_BURST_NS = 10 * SECOND_NS
"""So much is filled at once, and then as much as time passes: a sender whose timestamps leap gets no more."""


@dataclass(frozen=True, slots=True)
class Received:
    """A decoded frame; `rtp_timestamp` is the 32-bit one."""

    frame: av.VideoFrame
    rtp_timestamp: int
    arrived_ns: int
    sender_ns: int | None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.frame.width, self.frame.height


async def to_rgb(received: Received | av.VideoFrame) -> Pixels:
    """Return the pixels, (height, width, 3) uint8 RGB full range; converts in the decoding pool."""
    frame = received.frame if isinstance(received, Received) else received
    return await executors.run(executors.decoding(), colour.to_rgb, frame)


class VideoIn:
    """One camera. `on_frame(received)` is called on the loop for each frame and must only store or schedule."""

    def __init__(self, mid: str, receiver: Receiver, on_frame: Callable[[Received], None] | None = None) -> None:
        self.mid = mid
        self.on_frame = on_frame
        self.receiver = receiver
        self.frames = 0
        self.decode_ns = 0
        self._mailbox: Mailbox[Received] = Mailbox()
        self._ready = asyncio.Event()
        self._ended = False
        self._task = asyncio.ensure_future(self._read(receiver.track))

    async def _read(self, track: Any) -> None:
        try:
            while True:
                decoded: Decoded = await track.recv()
                assert isinstance(decoded.frame, av.VideoFrame)
                timestamp = decoded.rtp_timestamp & 0xFFFFFFFF
                sender_ns = self.receiver.sender_clock.to_unix_ns(timestamp)
                received = Received(decoded.frame, timestamp, decoded.arrived_ns, sender_ns)
                self.frames += 1
                self.decode_ns = decoded.decode_ns
                self._mailbox.put(received)
                self._ready.set()
                if self.on_frame is not None:
                    try:
                        self.on_frame(received)
                    except Exception:
                        # A consumer's mistake must not stop the reader, or the track would fill up.
                        logger.exception("on_frame failed")
        except MediaStreamError:
            pass
        finally:
            self._ended = True
            self._ready.set()

    @property
    def ended(self) -> bool:
        """Whether the track is over."""
        return self._ended

    def take(self) -> Received | None:
        """Return the newest frame if nobody took it yet."""
        return self._mailbox.take()

    async def next(self) -> Received | None:
        """Wait for the newest frame; None at the end of the track. One consumer at a time."""
        while (received := self._mailbox.take()) is None and not self._ended:
            self._ready.clear()
            await self._ready.wait()
        return received

    def statistics(self) -> MailboxStatistics:
        """Return how many frames came and how many were replaced before anybody took them."""
        return self._mailbox.statistics()

    def stop(self) -> None:
        """Stop reading."""
        self._task.cancel()


class AudioIn:
    """One microphone. Callbacks run on the loop and must only store or schedule:

    `on_block(samples, sender_ns, arrived_ns)` gets 16 kHz mono, `on_voice` the same with 48 kHz mono.
    """

    def __init__(self, mid: str, receiver: Receiver) -> None:
        self.mid = mid
        self.receiver = receiver
        self.on_block: Callable[[Samples, int | None, int], None] | None = None
        self.on_voice: Callable[[Samples, int | None, int], None] | None = None
        self.blocks = 0
        self._expected: int | None = None
        self._filled_until_ns = 0
        self._ended = False
        self._task = asyncio.ensure_future(self._read(receiver.track))

    async def _read(self, track: Any) -> None:
        try:
            while True:
                self.accept(await track.recv())
        except MediaStreamError:
            pass
        finally:
            self._ended = True

    def accept(self, decoded: Decoded) -> None:
        """Take one decoded frame, fill the gap before it and call back."""
        frame = decoded.frame
        assert isinstance(frame, av.AudioFrame) and decoded.sound is not None
        ticks = frame.samples * decoded.clock_rate // frame.sample_rate
        missing_ns = 0
        if self._expected is not None:
            missing_ns = (decoded.rtp_timestamp - self._expected) * SECOND_NS // decoded.clock_rate
        self._expected = decoded.rtp_timestamp + ticks
        speech, voice = decoded.sound
        sender_ns = self.receiver.sender_clock.to_unix_ns(decoded.rtp_timestamp & 0xFFFFFFFF)
        filled_until_ns = max(self._filled_until_ns, decoded.arrived_ns) + missing_ns
        if 0 < missing_ns <= MAX_FILL_NS and filled_until_ns - decoded.arrived_ns <= FILL_BURST_NS:
            self._filled_until_ns = filled_until_ns
            speech = np.concatenate([np.zeros(missing_ns * SPEECH_RATE // SECOND_NS, np.float32), speech])
            voice = np.concatenate([np.zeros(missing_ns * OUTPUT_RATE // SECOND_NS, np.float32), voice])
            sender_ns = None if sender_ns is None else sender_ns - missing_ns
        self.blocks += 1
        for callback, samples in ((self.on_block, speech), (self.on_voice, voice)):
            if callback is not None and len(samples):
                try:
                    callback(samples, sender_ns, decoded.arrived_ns)
                except Exception:
                    # A consumer's mistake must not stop the reader, or the track would fill up.
                    logger.exception("an audio callback failed")

    @property
    def ended(self) -> bool:
        """Whether the track is over."""
        return self._ended

    def stop(self) -> None:
        """Stop reading."""
        self._task.cancel()
