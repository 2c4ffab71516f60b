"""A service for the page's tests: speaks the whole protocol over real WebRTC, without any view or speech behind it.

It serves `web/` as the service does, answers every message through
`streamsvc.signalling.messages` (so a message that the contract refuses is refused here), echoes the first camera under
a moving bar as the view, tells a fixed story on the captions channel, and answers pings; who follows is told of frames
that never were (`fake_frames`). Rooms hold two people, a mirror room one. Run as a process, from the root of the tree:
`python -m tests.browser.fake_server --port N [--token T] [--host H]`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fractions
import time
from pathlib import Path

import numpy as np
import uvicorn
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaBlackhole
from av import AudioFrame, VideoFrame
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from streamsvc.budget import MonotonicClock
from streamsvc.config import Limits, Settings
from streamsvc.session.consent import Consent
from streamsvc.session.settings import CallSettings, changed
from streamsvc.signalling import channels
from streamsvc.signalling import messages as m
from streamsvc.signalling.admission import Admission
from streamsvc.signalling.auth import TokenBook
from streamsvc.signalling.page import Page, SecurityHeaders, tracker_files
from streamsvc.signalling.protocol import kind_of
from streamsvc.signalling.rigsetup import RigSetups
from streamsvc.speech.policies import describe

from . import fake_frames

WEB = Path(__file__).resolve().parents[2] / "web"
SCREEN = {"centre": [0.0, 0.0, 1.2], "right": [0.5, 0.0, 0.0], "up": [0.0, -0.375, 0.0]}
FLAT = "flat-"
"""How rooms begin in which nobody has a rig, and so no window."""

POLICIES = describe()
RUNGS = [{"name": "full", "quality": 31.5}, {"name": "half", "quality": 28.25}]
VOICES = ["joe", "af_bella"]
STORY = ["Good morning,", "I am glad to see you.", "We can begin", "whenever you like."]
CORRECTED = "I am happy to see you. We can begin"
"""What a second pass makes of the two pieces in the middle."""


class View(MediaStreamTrack):
    """The first camera, mirrored in colour, under a bar that moves; a plain pattern while no camera sends; in stereo
    the left eye sees it all in red, the right in blue."""

    kind = "video"

    def __init__(self, camera: MediaStreamTrack | None, guest: Guest) -> None:
        super().__init__()
        self._guest = guest
        self._latest = np.zeros((240, 320, 3), np.uint8)
        self._count = 0
        self._start = time.monotonic()
        self._reader = asyncio.create_task(self._read(camera)) if camera else None

    async def _read(self, camera: MediaStreamTrack) -> None:
        with contextlib.suppress(Exception):
            while True:
                self._latest = (await camera.recv()).to_ndarray(format="rgb24")

    async def recv(self) -> VideoFrame:
        """Return the next picture, 20 a second."""
        self._count += 1
        await asyncio.sleep(max(self._start + self._count / 20 - time.monotonic(), 0))
        picture = self._latest.copy()
        height, width, _ = picture.shape
        if self._reader is None:
            picture[:] = np.linspace(20, 120, width, dtype=np.uint8)[None, :, None]
        x = (self._count * 7) % (width - 16)
        picture[height // 4 : height // 2, x : x + 16] = (240, 200, 40)
        if self._guest.settings.mode == "stereo":
            picture = np.concatenate([picture // 2 + np.uint8(c) for c in ((120, 0, 0), (0, 0, 120))], axis=1)
        frame = VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = self._count * 4500, fractions.Fraction(1, 90_000)
        return frame

    def stop(self) -> None:
        """End the reader too."""
        if self._reader:
            self._reader.cancel()
        super().stop()


class Voice(MediaStreamTrack):
    """A quiet tone."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._count = 0
        self._start = time.monotonic()

    async def recv(self) -> AudioFrame:
        """Return the next 20 ms at 48 kHz."""
        await asyncio.sleep(max(self._start + self._count * 0.02 - time.monotonic(), 0))
        t = np.arange(960) + self._count * 960
        samples = (500 * np.sin(2 * np.pi * 220 * t / 48_000)).astype(np.int16)
        frame = AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, self._count * 960, fractions.Fraction(1, 48_000)
        self._count += 1
        return frame


class Guest:
    """One joined client."""

    def __init__(self, socket: WebSocket, join: m.Join) -> None:
        self.socket = socket
        self.name = join.name
        defaults = CallSettings(
            speech=True,
            policy=POLICIES[0]["name"],
            parameters={},
            source="auto",
            target="en",
            width=320,
            height=240,
            budget_ms=400,
        )
        self.settings = changed(defaults, join.speech, join.view, join.appearance, POLICIES, RUNGS, VOICES, True)
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.tasks: list[asyncio.Task[None]] = []
        self.pictures = 0
        self.cameras = 0
        self.sinks = MediaBlackhole()
        self.follows = channels.Follow(frames=False)

    async def answer(self, offer: m.Offer) -> m.Answer:
        """Negotiate: cameras in, one view and one voice out; at another offer anew."""
        if self.pc.remoteDescription:
            await self.hang_up()
            self.pc, self.sinks = RTCPeerConnection(RTCConfiguration(iceServers=[])), MediaBlackhole()
        pc = self.pc
        pc.on("datachannel", self.on_channel)
        await pc.setRemoteDescription(RTCSessionDescription(offer.sdp, "offer"))
        mids = {c.mid for c in offer.cameras}
        cameras = [t for t in pc.getTransceivers() if t.mid in mids]
        self.cameras = len(cameras)
        for t in pc.getTransceivers():
            if t.mid in mids:
                t.direction = "recvonly"
            elif t.kind == "video":
                t.sender.replaceTrack(View(cameras[0].receiver.track if cameras else None, self))
                t.direction = "sendonly"
            else:
                t.sender.replaceTrack(Voice())
                t.direction = "sendrecv" if t._offerDirection == "sendrecv" else "sendonly"
                if t.direction == "sendrecv":
                    self.sinks.addTrack(t.receiver.track)
        for camera in cameras[1:]:
            self.sinks.addTrack(camera.receiver.track)
        await pc.setLocalDescription(await pc.createAnswer())
        await self.sinks.start()
        return m.Answer(sdp=pc.localDescription.sdp)

    def on_channel(self, channel) -> None:
        """Serve one data channel; what the contract refuses is told as a notice."""

        def take(decode, then=lambda message: None):
            def on_message(data: str) -> None:
                try:
                    then(decode(data))
                except m.SignallingError as e:
                    told = m.Notice(code=e.code, message=str(e))
                    self.tasks.append(asyncio.ensure_future(self.socket.send_text(m.encode(told))))

            channel.on("message", on_message)

        if channel.label == "viewpoint":
            take(channels.decode_viewpoint)
        elif channel.label == "ledger":
            take(channels.decode_ledger_up, lambda message: self.on_ledger(channel, message))
            self.tasks.append(asyncio.ensure_future(self.live(channel)))
        elif channel.label == "captions":
            self.tasks.append(asyncio.ensure_future(self.tell(channel)))

    def on_ledger(self, channel, message: channels.LedgerUp) -> None:
        """Answer pings, count pictures, note who follows."""
        if isinstance(message, channels.Ping):
            channel.send(m.encode(channels.Pong(sent_ns=message.sent_ns, server_ns=time.monotonic_ns())))
        elif isinstance(message, channels.Shown):
            now = time.monotonic_ns()
            self.pictures += sum(abs(now - shown_ns) < 5_000_000_000 for _, shown_ns in message.frames)
        elif isinstance(message, channels.Follow):
            self.follows = message

    async def live(self, channel) -> None:
        """Send the live figures twice a second, and what was asked for by `follow`; fps comes from the page's own shown
        reports."""
        before = 0
        while channel.readyState == "open":
            await asyncio.sleep(0.5)
            fps, before = (self.pictures - before) * 2.0, self.pictures
            channel.send(
                m.encode(
                    channels.Live(
                        latency_ms=182.0,
                        goodput=0.93,
                        fps=fps,
                        rung="full",
                        budget_ms=self.settings.budget_ms,
                        cameras=self.cameras,
                        speech_lag_ms=2300.0,
                        dropped={"late": 2},
                    )
                )
            )
            now = time.monotonic_ns()
            for told in channels.in_messages(fake_frames.frames(now)) if self.follows.frames else []:
                channel.send(m.encode(told))
            for said in channels.passes_in_messages([fake_frames.passed(now)]) if self.follows.speech else []:
                channel.send(m.encode(said))

    async def tell(self, channel) -> None:
        """Tell the story: each piece tentative first, then committed; the last tentative text stays."""
        end = 0.0
        for i, text in enumerate(STORY):
            channel.send(m.encode(channels.Tentative(speaker=self.name, text=text.lower())))
            await asyncio.sleep(0.3)
            start, end = end, end + 900.0
            channel.send(
                m.encode(
                    channels.Caption(
                        id=i, speaker=self.name, text=text, source_start_ms=start, source_end_ms=end, wall_ms=end + 1500
                    )
                )
            )
        channel.send(m.encode(channels.Revision(speaker=self.name, ids=[1, 2], text=CORRECTED)))
        channel.send(m.encode(channels.Tentative(speaker=self.name, text="and we have the whole afternoon")))

    def configure(self, message: m.Configure) -> m.Configured:
        """Take settings as the service does, and refuse what it refuses."""
        changes = message.speech, message.view, message.appearance
        self.settings = changed(self.settings, *changes, POLICIES, RUNGS, VOICES, True)
        return m.Configured(settings=self.describe())

    def describe(self) -> dict[str, dict[str, object]]:
        """Return the settings in force, for the wire."""
        s = self.settings
        speech = {"enabled": s.speech, "policy": s.policy, "parameters": s.parameters, "source": s.source}
        return {
            "speech": {**speech, "target": s.target, "glossary": s.glossary, "voice": s.voice},
            "view": {
                "width": s.width,
                "height": s.height,
                "budget_ms": s.budget_ms,
                "rung": s.rung,
                "mode": s.mode,
            },
            "appearance": {"backdrop": s.backdrop},
        }

    async def close(self) -> None:
        """End everything."""
        for task in self.tasks:
            task.cancel()
        await self.hang_up()

    async def hang_up(self) -> None:
        """End the media."""
        for t in self.pc.getTransceivers():
            if t.sender.track:
                t.sender.track.stop()
        await self.sinks.stop()
        await self.pc.close()


class Fake:
    """The rooms and the port."""

    def __init__(self, token: str | None) -> None:
        self.token = token
        self.rooms: dict[str, list[Guest]] = {}
        self.mirrors: set[str] = set()
        self.consents: dict[str, Consent] = {}

    async def socket(self, socket: WebSocket) -> None:
        """One signalling connection."""
        await socket.accept()
        guest, room = None, ""
        try:
            while True:
                message = None
                try:
                    message = m.decode_client(await socket.receive_text())
                    if isinstance(message, m.Join):
                        room = message.room
                        guest = self.admit(socket, message)
                        await socket.send_text(m.encode(self.welcome(guest, room)))
                        await self.announce(room)
                    elif isinstance(message, m.Offer):
                        await socket.send_text(m.encode(await guest.answer(message)))
                    elif isinstance(message, m.Configure):
                        await socket.send_text(m.encode(guest.configure(message)))
                    elif isinstance(message, m.Record):
                        await self.record(room, guest, message.action)
                    elif isinstance(message, m.Leave):
                        break
                except m.SignallingError as e:
                    about = None if message is None else kind_of(message)
                    await socket.send_text(m.encode(m.Error(code=e.code, message=str(e), re=about)))
        except WebSocketDisconnect:
            pass
        finally:
            if guest:
                self.rooms[room].remove(guest)
                if not self.rooms[room]:
                    self.mirrors.discard(room)
                await guest.close()
                await self.announce(room)

    def admit(self, socket: WebSocket, join: m.Join) -> Guest:
        """Return the new guest; raises SignallingError as the service does."""
        if self.token and join.token != self.token:
            raise m.SignallingError("bad-token", "the token is not accepted; ask whoever runs the service for one")
        guests = self.rooms.setdefault(join.room, [])
        if any(g.name == join.name for g in guests):
            raise m.SignallingError("name-taken", f"somebody called {join.name} is already in room {join.room}")
        if len(guests) >= (1 if join.room in self.mirrors else 2):
            raise m.SignallingError("room-full", f"room {join.room} is full")
        if join.mirror:
            self.mirrors.add(join.room)
        guest = Guest(socket, join)
        guests.append(guest)
        return guest

    def welcome(self, guest: Guest, room: str) -> m.Joined:
        """Return what a newcomer is told."""
        return m.Joined(
            session=f"s{id(guest)}",
            room=room,
            peers=[g.name for g in self.rooms[room] if g is not guest],
            ice_servers=[],
            policies=POLICIES,
            rungs=RUNGS,
            voices=VOICES,
            backdrops=True,
            records=True,
            settings=guest.describe(),
        )

    async def record(self, room: str, guest: Guest, action: m.RecordAction) -> None:
        """Ask, agree and stop as the service does; nothing is kept."""
        guests, consent = {g.name: g for g in self.rooms[room]}, self.consents.get(room, Consent())
        until_ns = time.monotonic_ns() + 30_000_000_000
        said = m.Recording(state="off", code="stopped", message=f"{guest.name} stopped the recording; it is kept")
        match action:
            case "ask":
                consent = consent.ask(guest.name, set(guests) - {guest.name}, until_ns)
            case "agree":
                consent = consent.agree(guest.name)
            case "refuse" | "stop":
                consent = consent.stop()
        if action == "refuse":
            said = m.Recording(state="off", code="refused", message=f"{guest.name} does not want to be recorded")
        self.consents[room] = consent
        for name, other in guests.items():
            asks = name in consent.waiting
            on = m.Recording(state=consent.state, by=consent.asker, asks_you=asks, left_s=30.0, missing=3)
            await other.socket.send_text(m.encode(said if consent.state == "off" else on))

    async def announce(self, room: str) -> None:
        """Tell everybody in the room who is there."""
        screen = None if room.startswith(FLAT) else SCREEN
        for guest in self.rooms.get(room, []):
            others = [g.name for g in self.rooms[room] if g is not guest]
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await guest.socket.send_text(m.encode(m.Peers(peers=others, screen=screen)))


async def healthz(request: Request) -> Response:
    """Return ok."""
    return PlainTextResponse("ok")


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--token")
    args = parser.parse_args()
    fake, page, settings = Fake(args.token), Page(WEB), Settings(limits=Limits(max_setups=64))
    tokens = TokenBook([(args.token, None)] if args.token else [])
    setups = RigSetups(tokens, settings, MonotonicClock(), Admission(settings.limits))

    async def room(request: Request) -> Response:
        return await page.index(request.scope)

    app = Starlette(
        routes=[
            WebSocketRoute("/ws", fake.socket),
            Route("/healthz", healthz),
            *setups.routes(),
            Route("/room/{name}", room),
            Mount("/face_mesh", tracker_files()),
            Mount("/", page),
        ],
        middleware=[Middleware(SecurityHeaders)],
    )
    uvicorn.run(app, host=args.host, port=args.port, log_level="warning", ws="websockets-sansio")


if __name__ == "__main__":
    main()
