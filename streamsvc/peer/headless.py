"""A headless participant: joins a room, sends cameras and a voice, reports what it sees, saves it when asked to.

It is an honest viewer: a view counts as displayed when it was decoded here, and the times it reports are on the
server's clock, as measured by ping-pong on the ledger channel.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

import av
import numpy as np

from streamsvc.edge import (
    AudioIn,
    AudioOut,
    ChannelSpec,
    Connection,
    ConnectionStatistics,
    EdgeError,
    IceServer,
    Received,
    VideoIn,
    VideoOut,
)
from streamsvc.errors import StreamsvcError
from streamsvc.frames import Pixels, Rig, Samples, Screen
from streamsvc.frames.clockmap import ClockMap
from streamsvc.peer.account import Account
from streamsvc.peer.eyes import Eye, eye_at
from streamsvc.peer.options import PeerFigures, PeerOptions, tls_of
from streamsvc.peer.recorder import Recorder
from streamsvc.peer.sources import CameraGroup, open_cameras, open_microphone, rate_of
from streamsvc.signalling import channels
from streamsvc.signalling import messages as wire
from streamsvc.signalling.client import ConnectionLostError, SignallingClient
from streamsvc.signalling.messages import SignallingError

log = logging.getLogger(__name__)

REPORT_S = 0.1
RECONNECT_S = 30.0
"""How long it is tried to take a lost call up again."""

ATTEMPTS_S = ((1.5, 0.2), (2.0, 0.3), (4.0, 1.0), (8.0, 2.0))
"""How long each attempt to take a call up again may last, and the pause after it; the last for all that follow."""

PASSING = frozenset(
    {"refused", "timeout", "connection-lost", "room-full", "name-taken", "service-full", "no-room", "internal"}
)
"""Refusals that pass: the service is starting again, or hasn't noticed yet that the old connection is gone."""

EYE_S = 1 / 30
CHANNELS = (
    ChannelSpec("viewpoint", ordered=False, max_retransmits=0),
    ChannelSpec("captions", ordered=True),
    ChannelSpec("ledger", ordered=False),
)


class HeadlessPeer:
    """One call. `run` once."""

    def __init__(self, options: PeerOptions, on_caption: Callable[[channels.Caption], None] | None = None) -> None:
        self._options = options
        self._on_caption = on_caption
        self._groups: list[CameraGroup]
        self.microphone = open_microphone(options.mic) if isinstance(options.mic, str) else options.mic
        self._groups, rig = open_cameras(
            options.cameras, options.rig, options.size, options.fps, options.scene_time, self.microphone
        )
        self._rig = rig if options.calibrated else None
        self._following = False
        self._recorder = None if options.save is None else Recorder(options.save)
        self._outs: dict[str, VideoOut] = {}
        self._account = Account(keep_all=options.keep_all)
        self._video_bytes = 0
        self.screen: Screen | None = None
        self._stop = threading.Event()
        self._lost, self._up = asyncio.Event(), asyncio.Event()
        self._client: SignallingClient | None = None
        self._key: str | None = None
        self._ice_servers: list[IceServer] = []
        self._listening: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self.latest_frame: av.VideoFrame | None = None
        self.latest_packed: channels.PackedView | None = None
        self.recording = wire.Recording(state="off")

    @property
    def rig(self) -> Rig | None:
        """The rig that this peer brings."""
        return self._rig

    @property
    def figures(self) -> PeerFigures:
        """What happened so far."""
        return self._account.figures

    @property
    def video_bytes(self) -> int:
        """Bytes of video that came in so far, over all connections of the call."""
        return self._video_bytes + (0 if self._connection is None else video_bytes_of(self._connection.statistics()))

    def clock(self) -> ClockMap | None:
        """This host's monotonic clock on the server's, as far as it is known."""
        return self._account.clock.map

    async def run(self, duration_s: float | None = None, stop: asyncio.Event | None = None) -> PeerFigures:
        """Take part until `duration_s` is over, `stop` is set, or the call is lost for good; return what happened.

        Raises SignallingError (refused, lost before it began), EdgeError (no media could be agreed), EyeError for a
        path that isn't known.
        """
        eye_at(self._options.eye, 0.0, None)
        stop = stop or asyncio.Event()
        loop = asyncio.get_running_loop()
        end = None if duration_s is None else loop.time() + duration_s
        tasks: list[asyncio.Task[Any]] = []
        threads: list[threading.Thread] = []
        try:
            await self._enter()
            await self._negotiate()
            for group in self._groups:
                thread = threading.Thread(target=self._film, args=(group, loop), name="camera")
                threads.append(thread)
                thread.start()
            tasks = [asyncio.create_task(job) for job in (self._ping(), self._report(), self._look())]
            while await self._until(stop, end) and await self._come_back(stop, end):
                pass
        finally:
            self._stop.set()
            for task in (*tasks, self._listening):
                if task is not None:
                    task.cancel()
            if self._client is not None:
                await self._client.leave()
            if self._connection is not None:
                await self._connection.close()
            for thread in threads:
                await asyncio.to_thread(thread.join, 5.0)
            if self._recorder is not None:
                await asyncio.to_thread(self._recorder.close)
        return self.figures

    async def _until(self, stop: asyncio.Event, end: float | None) -> bool:
        """Return when the call is lost, True, or over, False."""
        waits = {asyncio.create_task(stop.wait()), asyncio.create_task(self._lost.wait())}
        left = None if end is None else max(0.0, end - asyncio.get_running_loop().time())
        _, pending = await asyncio.wait(waits, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        return self._lost.is_set() and not stop.is_set()

    async def _come_back(self, stop: asyncio.Event, end: float | None) -> bool:
        """Take the call up again; whether that was possible."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + RECONNECT_S
        if end is not None:
            give_up = min(give_up, end)
        self._account.noticed("lost", "the call was lost and is taken up again")
        for patience, pause in _attempts():
            if stop.is_set() or loop.time() >= give_up:
                return False
            self._lost.clear()
            try:
                async with asyncio.timeout(min(patience, give_up - loop.time())):
                    resumed = True
                    if self._client is None or self._client.lost:
                        resumed = await self._enter()
                    if not resumed or self._connection is None or self._connection.state != "connected":
                        await self._negotiate()
                    await self._up.wait()
                return True
            except (TimeoutError, EdgeError) as error:
                log.warning("taking the call up again: %s", error or "no answer in time")
            except SignallingError as error:
                if error.code not in PASSING:
                    raise
                log.warning("taking the call up again: %s", error)
            if self._client is not None:
                await self._client.abandon()
            await asyncio.sleep(pause)
        return False

    async def _enter(self) -> bool:
        """Join on a new socket; whether the session goes on that was there before."""
        options = self._options
        client = SignallingClient(options.url, tls=tls_of(options))
        await client.open()
        try:
            joined = await client.join(
                wire.Join(
                    room=options.room,
                    name=options.name,
                    token=options.token,
                    mirror=options.mirror,
                    resume=self._key,
                    rig=None if self._rig is None else self._rig.to_json(),
                    fps=rate_of(self._groups),
                    speech=options.speech,
                    view=options.view,
                    appearance=options.appearance,
                )
            )
        except BaseException:
            await client.abandon()
            raise
        self._client, self._key = client, joined.resume
        self._following = self._following and joined.resumed
        self._ice_servers = [
            IceServer(tuple(s["urls"]), s.get("username"), s.get("credential")) for s in joined.ice_servers
        ]
        if self._listening is not None:
            self._listening.cancel()
        self._listening = asyncio.create_task(self._listen(client))
        return joined.resumed

    async def _negotiate(self) -> None:
        """Agree on media anew; whatever was there before is given up."""
        assert self._client is not None
        await self._give_up()
        connection = Connection(
            ice_servers=self._ice_servers, relay_only=self._options.relay_only, on_state=self._on_state
        )
        connection.on_video = self._on_video
        connection.on_audio = self._on_audio
        connection.on_message = self._on_message
        self._connection = connection
        self._up.clear()
        names = list(self._options.cameras)
        outs = {name: VideoOut() for name in names}
        audio = None if self.microphone is None else AudioOut(self.microphone.read)
        sdp = await connection.offer(list(outs.values()), audio, channels=CHANNELS)
        tracks = [wire.CameraTrack(name=name, mid=mid) for name, mid in zip(names, connection.mids, strict=True)]
        way = self._options.way
        offer = sdp if way is None else await way.offer(sdp)
        answer = await self._client.offer(wire.Offer(sdp=offer, cameras=tracks))
        await connection.accept(answer.sdp if way is None else await way.answer(answer.sdp))
        self._outs = outs

    async def _give_up(self) -> None:
        """End the present connection, if there is one; what came over it stays counted."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._video_bytes += video_bytes_of(connection.statistics())
            connection.on_state = None
            await connection.close()

    def _film(self, group: CameraGroup, loop: asyncio.AbstractEventLoop) -> None:
        """Take pictures until the call is over; a camera that ends is told, and the call goes on without it."""
        try:
            group.run(_on_loop(loop, self._picture), self._stop)
        except StreamsvcError as error:
            log.error("a camera has ended: %s", error)
            _on_loop(loop, self._account.noticed)("camera-ended", str(error))

    def _picture(self, camera: str, pixels: Pixels, capture_ns: int) -> None:
        if camera == next(iter(self._outs)):
            self._account.captured(capture_ns)
            if self._options.witness is not None:
                self._options.witness.captured(capture_ns)
        self._outs[camera].put(pixels, capture_ns)

    def _on_state(self, state: str) -> None:
        if state == "connected":
            self._up.set()
        elif state in ("failed", "closed"):
            self._up.clear()
            self._lost.set()

    def _on_video(self, mid: str, incoming: VideoIn) -> None:
        incoming.on_frame = self._on_view

    def _on_view(self, received: Received) -> None:
        now = time.monotonic_ns()
        self.latest_frame = received.frame
        if self._options.witness is not None:
            self._options.witness.picture(received, now)
        if self._recorder is not None:
            self._recorder.picture(received.frame, now)
        self._account.viewed(received.rtp_timestamp, now)

    def _on_audio(self, incoming: AudioIn) -> None:
        incoming.on_voice = self._on_sound

    def _on_sound(self, samples: Samples, sender_ns: int | None, arrived_ns: int) -> None:
        if self._recorder is not None:
            self._recorder.sound(samples, arrived_ns)
        if self._options.witness is not None:
            self._options.witness.sound(samples, arrived_ns)

    def _on_message(self, label: str, text: str) -> None:
        if label == "captions":
            message = channels.decode_captions(text)
            if isinstance(message, channels.Caption):
                self._account.captioned(message)
                if self._options.witness is not None:
                    self._options.witness.caption(message, time.monotonic_ns())
                if self._recorder is not None:
                    self._recorder.caption(message.speaker, message.id, message.text, time.monotonic_ns())
                if self._on_caption is not None:
                    self._on_caption(message)
            elif isinstance(message, channels.Revision) and message.ids and self._recorder is not None:
                self._recorder.revise(message.speaker, message.ids, message.text)
        elif label == "ledger":
            report = channels.decode_ledger_down(text)
            if isinstance(report, channels.Pong):
                # Seen from here the other side's clock is "ours": all reports are on the server's.
                self._account.clock.ping(report.sent_ns, report.server_ns, time.monotonic_ns())
            elif isinstance(report, channels.Frames) and self._options.witness is not None:
                self._options.witness.frames(report.frames)
        elif label == "viewpoint":
            self.latest_packed = channels.decode_viewpoint_down(text)

    async def _listen(self, client: SignallingClient) -> None:
        with contextlib.suppress(ConnectionLostError):
            async for message in client.messages():
                match message:
                    case wire.Peers(screen=dict() as screen):
                        self.screen = Screen(*(np.asarray(screen[k], float) for k in ("centre", "right", "up")))
                    case wire.Recording():
                        self.recording = message
                        if message.asks_you:
                            answer = wire.Record(action="agree" if self._options.agrees else "refuse")
                            with contextlib.suppress(SignallingError):  # the question was taken back
                                self.recording = await client.record(answer)
                    case wire.Notice() | wire.Error():
                        self._account.noticed(message.code, message.message)
                        log.warning("%s: %s", message.code, message.message)
        self._lost.set()

    async def _ping(self) -> None:
        sent = 0
        while True:
            if self._options.witness is not None and not self._following:
                self._following = self._send("ledger", channels.Follow(frames=True))
            self._send("ledger", channels.Ping(sent_ns=time.monotonic_ns()))
            best = self._account.clock.map
            if best is not None:
                wall_to_here = time.monotonic_ns() - time.time_ns()
                offset = best.offset_ns + wall_to_here
                self._send("ledger", channels.Clocks(offset_ns=offset, error_ns=best.error_ns))
            sent += 1
            await asyncio.sleep(0.1 if sent < 10 else 1.0)

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(REPORT_S)
            for shown in self._account.reports():
                self._send("ledger", shown)

    async def _look(self) -> None:
        start = time.monotonic()
        last: Eye | None = None
        sent = 0.0
        while True:
            now = time.monotonic()
            eye = eye_at(self._options.eye, now - start, self.screen)
            # The channel is not open at first, and unreliable: an eye that rests is told again every second.
            if eye is not None and (eye != last or now - sent > 1):
                message = channels.ViewpointMessage(t_us=round(now * 1e6), eyes=[eye])
                if self._send("viewpoint", message):
                    last, sent = eye, now
            await asyncio.sleep(EYE_S)

    def _send(self, label: str, message: Any) -> bool:
        return self._connection is not None and self._connection.send(label, wire.encode(message))


def video_bytes_of(did: ConnectionStatistics) -> int:
    """Return the bytes of video that came over one connection."""
    return sum(track.bytes for track in did.received if track.kind == "video")


def _attempts() -> Iterator[tuple[float, float]]:
    yield from ATTEMPTS_S
    yield from repeat(ATTEMPTS_S[-1])


def _on_loop(loop: asyncio.AbstractEventLoop, call: Callable[..., None]) -> Callable[..., None]:
    def forward(*arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the call is over
            loop.call_soon_threadsafe(call, *arguments)

    return forward
