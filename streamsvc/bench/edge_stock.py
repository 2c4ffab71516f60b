"""Stock aiortc as a child of `bench edge`: its own classes as they come, with nothing of our edge in the process.

The one place beside our edge that may import aiortc.
"""

from __future__ import annotations

import asyncio
import sys
import time
from fractions import Fraction

import av
import numpy as np
from aiortc import (
    AudioStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
    VideoStreamTrack,
)
from aiortc.codecs import h264, vpx
from aiortc.contrib.media import MediaBlackhole
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from streamsvc.bench import edge_child
from streamsvc.bench.edge_child import Rate, Recorder, Say
from streamsvc.errors import StreamsvcError

RATE, SAMPLES = 48_000, 960
CAPS = {"VP8": vpx.MAX_BITRATE, "H264": h264.MAX_BITRATE}


class StockError(StreamsvcError):
    """Stock aiortc can't be measured here."""


def _require_stock() -> None:
    if "streamsvc.edge" in sys.modules:
        raise StockError("this process has loaded streamsvc.edge, so what it runs isn't stock aiortc alone")


def _connection() -> RTCPeerConnection:
    # Without an explicit empty list a public STUN server is contacted.
    return RTCPeerConnection(RTCConfiguration(iceServers=[]))


class NewestPicture(VideoStreamTrack):
    """Returns the newest picture that was put, once."""

    def __init__(self) -> None:
        super().__init__()
        self._frame: av.VideoFrame | None = None
        self._ready = asyncio.Event()

    def put(self, frame: av.VideoFrame) -> None:
        """Take a picture, in place of one that nobody asked for yet."""
        self._frame = frame
        self._ready.set()

    async def recv(self) -> av.VideoFrame:
        """Wait for a picture that is new."""
        await self._ready.wait()
        self._ready.clear()
        assert self._frame is not None
        return self._frame


class PacedVoice(AudioStreamTrack):
    """Sends what `voice` returns, 20 ms at a time, by the clock as aiortc's own tracks do."""

    def __init__(self, voice: Say) -> None:
        super().__init__()
        self._voice = voice
        self._sent = 0
        self._began: float | None = None

    async def recv(self) -> av.AudioFrame:
        """Wait until the next 20 ms are due."""
        if self._began is None:
            self._began = time.monotonic()
        await asyncio.sleep(self._began + self._sent / RATE - time.monotonic())
        samples = np.clip(np.rint(self._voice(SAMPLES) * 32767), -32768, 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._sent, Fraction(1, RATE)
        self._sent += SAMPLES
        return frame


class StockSender:
    """See `edge_child.Sender`."""

    def __init__(self) -> None:
        self._connection = _connection()
        self._track = NewestPicture()
        self._sink = MediaBlackhole()
        self._codec = "VP8"
        self._over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._connection.on("connectionstatechange", self._on_state)

    def _on_state(self) -> None:
        state = self._connection.connectionState
        if state not in ("new", "connecting") and not self._over.done():
            self._over.set_result(state)

    async def offer(self, codec: str, voice: Say | None, max_bitrate: int | None) -> str:
        """Return an offer of one video, and a voice if there is one; raises StockError when our edge is in this
        process."""
        self._film(codec, voice)
        await self._connection.setLocalDescription(await self._connection.createOffer())
        return str(self._connection.localDescription.sdp)

    async def answer(self, offer: str, codec: str, voice: Say | None, max_bitrate: int | None) -> str:
        """Return an answer that sends; raises as `offer` does."""
        self._film(codec, voice, "sendrecv")
        self._connection.on("track", self._sink.addTrack)
        await self._connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await self._sink.start()
        await self._connection.setLocalDescription(await self._connection.createAnswer())
        return str(self._connection.localDescription.sdp)

    def _film(self, codec: str, voice: Say | None, direction: str = "sendonly") -> None:
        _require_stock()
        self._codec = codec
        transceiver = self._connection.addTransceiver(self._track, direction)
        codecs = RTCRtpSender.getCapabilities("video").codecs
        transceiver.setCodecPreferences(sorted(codecs, key=lambda c: c.mimeType != f"video/{codec}"))
        if voice is not None:
            self._connection.addTransceiver(PacedVoice(voice), "sendonly")

    async def connect(self, answer: str | None) -> None:
        """Take the answer; raises StockError when no connection comes up."""
        if answer is not None:
            await self._connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        if (state := await self._over) != "connected":
            raise StockError(f"the connection is {state} before it was up")

    def put(self, frame: av.VideoFrame, capture_ns: int) -> None:
        """Take a picture."""
        self._track.put(frame)

    async def rate(self) -> Rate:
        """Return what was sent so far."""
        sender = next(s for s in self._connection.getSenders() if s.kind == "video")
        stats = await sender.getStats()
        sent = sum(s.bytesSent for s in stats.values() if s.type == "outbound-rtp")
        # Stock tells nobody what its encoder aims at.
        encoder = getattr(sender, "_RTCRtpSender__encoder", None)
        return Rate(sent, getattr(encoder, "target_bitrate", None), CAPS[self._codec])

    async def close(self) -> None:
        """End the connection."""
        await self._sink.stop()
        await self._connection.close()


class StockReceiver:
    """See `edge_child.Receiver`."""

    def __init__(self) -> None:
        self._connection = _connection()
        self._reading: list[asyncio.Future[None]] = []

    async def answer(self, offer: str, recorder: Recorder) -> str:
        """Return the answer; raises StockError when our edge is in this process."""
        _require_stock()

        async def read(track: MediaStreamTrack) -> None:
            try:
                while True:
                    frame = await track.recv()
                    if isinstance(frame, av.VideoFrame):
                        await recorder.consume(frame)
                    elif isinstance(frame, av.AudioFrame):
                        channels = frame.to_ndarray().reshape(-1, frame.layout.nb_channels)
                        recorder.hear(channels.mean(1, dtype=np.float32) / 32768)
            except MediaStreamError:
                pass

        self._connection.on("track", lambda track: self._reading.append(asyncio.ensure_future(read(track))))
        await self._connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await self._connection.setLocalDescription(await self._connection.createAnswer())
        return str(self._connection.localDescription.sdp)

    async def close(self) -> None:
        """End the connection."""
        for reading in self._reading:
            reading.cancel()
        await self._connection.close()


if __name__ == "__main__":
    edge_child.run(StockSender, StockReceiver)
