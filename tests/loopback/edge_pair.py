"""Two connections of one process over the machine's own interface, and pictures and sounds that can be recognised."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import numpy as np

from streamsvc.edge import AudioOut, ChannelSpec, Connection, VideoOut, close_all
from streamsvc.frames import Pixels, Samples

PATIENCE_S = 20.0
"""After this long a condition that must come true has failed; nothing is measured by it."""
BAR_COLOURS = (
    (191, 191, 191),
    (191, 191, 0),
    (0, 191, 191),
    (0, 191, 0),
    (191, 0, 191),
    (191, 0, 0),
    (0, 0, 191),
    (0, 0, 0),
)


def bars(width: int, height: int) -> Pixels:
    """Colour bars at 75 %."""
    row = np.array(BAR_COLOURS, np.uint8)[np.arange(width) * 8 // width]
    return np.ascontiguousarray(row[None].repeat(height, 0))


def bar_means(picture: Pixels) -> np.ndarray:
    """(8, 3) means of the middles of the bars."""
    width = picture.shape[1]
    middles = [picture[8:-8, (2 * i + 1) * width // 16 - 3 : (2 * i + 1) * width // 16 + 3] for i in range(8)]
    return np.array([m.reshape(-1, 3).mean(0) for m in middles])


def tone(hertz: float, samples: int, start: int = 0) -> Samples:
    """A sine of amplitude 0.3 at 48 kHz."""
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(start, start + samples) / 48_000)).astype(np.float32)


class Voice:
    """A source of sound that says what it was told to say, then is silent."""

    def __init__(self) -> None:
        self._left = np.zeros(0, np.float32)

    def say(self, samples: Samples) -> None:
        """Say (n,) float32 samples at 48 kHz after what is being said."""
        self._left = np.concatenate([self._left, samples])

    def read(self, count: int) -> Samples:
        """Return the next (count,) float32 samples."""
        block, self._left = self._left[:count], self._left[count:]
        return np.pad(block, (0, count - len(block)))


async def until(condition: Callable[[], object]) -> None:
    """Wait until `condition()` is true; fails after PATIENCE_S."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 what is waited for has no event to offer
            await asyncio.sleep(0.01)


@dataclass
class Pair:
    """A service and a peer in a call; the peer says what `peer_voice` was told to.

    `states` are what their callbacks were told, `messages` what came on channels.
    """

    server: Connection
    peer: Connection
    server_video: VideoOut
    peer_videos: list[VideoOut]
    peer_voice: Voice
    states: dict[str, list[str]] = field(default_factory=dict)
    messages: dict[str, list[tuple[str, str]]] = field(default_factory=dict)


@asynccontextmanager
async def call(cameras: int = 1, *, codec: str = "VP8", channels: Sequence[ChannelSpec] = ()) -> AsyncIterator[Pair]:
    """Yield a pair that is connected; closes both at the end."""
    server, peer = Connection(), Connection()
    pair = Pair(
        server,
        peer,
        VideoOut(codec=codec),
        [VideoOut(codec=codec) for _ in range(cameras)],
        Voice(),
        {"server": [], "peer": []},
        {"server": [], "peer": []},
    )
    for name, connection in (("server", server), ("peer", peer)):
        connection.on_state = pair.states[name].append
        connection.on_message = lambda label, text, name=name: pair.messages[name].append((label, text))
    try:
        offer = await peer.offer(pair.peer_videos, AudioOut(pair.peer_voice.read), channels=channels)
        answer = await server.answer(offer, video=pair.server_video, audio=AudioOut(Voice().read))
        await peer.accept(answer)
        await until(lambda: server.state == peer.state == "connected")
        yield pair
    finally:
        await close_all()


@asynccontextmanager
async def filming(
    videos: Sequence[VideoOut], picture: Callable[[int], Pixels], fps: int = 30
) -> AsyncIterator[list[int]]:
    """Put `picture(i)` on all of `videos` at `fps`; yields the list of capture times."""
    captures: list[int] = []

    async def run() -> None:
        while True:
            pixels, capture_ns = picture(len(captures)), time.monotonic_ns()
            captures.append(capture_ns)
            for video in videos:
                video.put(pixels, capture_ns)
            await asyncio.sleep(1 / fps)

    task = asyncio.ensure_future(run())
    try:
        yield captures
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
