"""Our edge as a child of `bench edge`."""

from __future__ import annotations

import asyncio
import os

import av

from streamsvc import config
from streamsvc.bench import edge_child
from streamsvc.bench.edge_child import Rate, Recorder, Say
from streamsvc.edge import AudioIn, AudioOut, Connection, EdgeError, Hardware, VideoIn, VideoOut, profile_for
from streamsvc.edge.hardware_probe import find


class OurSender:
    """See `edge_child.Sender`."""

    def __init__(self) -> None:
        self._over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._connection = Connection(on_state=self._on_state)
        self._video = VideoOut()
        self._size = (0, 0)

    def _on_state(self, state: str) -> None:
        if state != "connecting" and not self._over.done():
            self._over.set_result(state)

    async def offer(self, codec: str, voice: Say | None, max_bitrate: int | None) -> str:
        """Return an offer of one video, and a voice if there is one; raises EdgeError when the encoder that the
        environment names doesn't work."""
        await self._film(codec, max_bitrate)
        audio = None if voice is None else AudioOut(voice)
        return await self._connection.offer([self._video], audio, receive_video=False, receive_audio=False)

    async def answer(self, offer: str, codec: str, voice: Say | None, max_bitrate: int | None) -> str:
        """Return an answer that sends; raises as `offer` does."""
        await self._film(codec, max_bitrate)
        return await self._connection.answer(offer, video=self._video, audio=None if voice is None else AudioOut(voice))

    async def _film(self, codec: str, max_bitrate: int | None) -> None:
        hardware = Hardware()
        if codec == "H264" and (wanted := config.load(None, os.environ, {}).view.encoder) != "software":
            hardware.use((await find(wanted)).found)
        self._video = VideoOut(codec=codec, hardware=hardware, max_bitrate=max_bitrate)

    async def connect(self, answer: str | None) -> None:
        """Take the answer; raises EdgeError when no connection comes up."""
        if answer is not None:
            await self._connection.accept(answer)
        if (state := await self._over) != "connected":
            raise EdgeError("bad-state", f"the connection is {state} before it was up")

    def put(self, frame: av.VideoFrame, capture_ns: int) -> None:
        """Take a picture."""
        self._size = (frame.width, frame.height)
        self._video.put(frame, capture_ns)

    async def rate(self) -> Rate:
        """Return what was sent so far; raises EdgeError once the connection is over."""
        figures = self._connection.statistics()
        if not figures.sent:
            raise EdgeError("bad-state", f"the connection is {figures.state}")
        sent = next(s for s in figures.sent if s.kind == "video")
        profile = profile_for(*self._size).raised(self._video.max_bitrate)
        return Rate(sent.bytes, sent.target_bitrate, profile.max_bitrate, sent.encoder)

    async def close(self) -> None:
        """End the connection."""
        await self._connection.close()


class OurReceiver:
    """See `edge_child.Receiver`."""

    def __init__(self) -> None:
        self._connection = Connection()
        self._reading: asyncio.Future[None] | None = None

    async def answer(self, offer: str, recorder: Recorder) -> str:
        """Return the answer."""

        async def read(video: VideoIn) -> None:
            while (received := await video.next()) is not None:
                await recorder.consume(received.frame)

        def on_video(_: str, video: VideoIn) -> None:
            self._reading = asyncio.ensure_future(read(video))

        def on_audio(audio: AudioIn) -> None:
            audio.on_voice = lambda samples, sender_ns, arrived_ns: recorder.hear(samples)

        self._connection.on_video = on_video
        self._connection.on_audio = on_audio
        return await self._connection.answer(offer, video=None, audio=None)

    async def close(self) -> None:
        """End the connection."""
        if self._reading is not None:
            self._reading.cancel()
        await self._connection.close()


if __name__ == "__main__":
    edge_child.run(OurSender, OurReceiver)
