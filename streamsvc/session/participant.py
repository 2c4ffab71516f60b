"""One participant of a call, edge side: their connection, their cameras and voice going in, what they see and hear.

Implements `signalling.hub.Participant`. Lives on the event loop. Whom the participant watches and hears is decided by
the hub; everything else about one person is here.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from streamsvc.budget import Clock
from streamsvc.edge import AudioIn, AudioOut, Connection, Hardware, IceServer, Received, VideoIn, VideoOut
from streamsvc.frames import SPEECH_RATE, ClockMap, Rig, Samples
from streamsvc.frames.backdrop import BackdropError
from streamsvc.ledger import Ledger
from streamsvc.ledger.live import LiveBoard
from streamsvc.session.admitting import Newcomer, Pace, Terms, offered, told
from streamsvc.session.clocks import SenderTime
from streamsvc.session.following import Following
from streamsvc.session.mixer import VoiceMixer
from streamsvc.session.presence import Presence
from streamsvc.session.settings import CallSettings, can_hide_room, changed, picture_size
from streamsvc.session.speaking import Speaking
from streamsvc.session.taps import ViewTap
from streamsvc.session.watching import Watching
from streamsvc.session.worker_link import WorkerLink
from streamsvc.signalling import channels
from streamsvc.signalling import messages as wire
from streamsvc.signalling.grants import Grant
from streamsvc.signalling.hub import Send
from streamsvc.signalling.messages import SignallingError

log = logging.getLogger(__name__)

LIVE_S = 0.5
MAX_UNHEARD = 500
"""Captions that wait for a participant whose connection was lost."""

MAX_NOTICES = 100
"""Different things that one participant is told; what they provoke themselves must not fill memory."""


class Participant:
    """One person. `changed_media` is called when cameras or the viewer's connection came or went; `away` when the
    connection was lost (True) and is back (False), `gone` when they have left. `consider` answers on which terms there
    is room for what they ask for now, or raises SignallingError. With `resumable` a lost socket or lost media is waited
    for (see `Presence`)."""

    def __init__(
        self,
        *,
        session: str,
        name: str,
        rig: Rig | None,
        settings: CallSettings,
        fps: float | None,
        terms: Terms,
        worker: WorkerLink,
        ledger: Ledger,
        board: LiveBoard,
        clock: Clock,
        hardware: Hardware,
        ice_servers: Callable[[], Sequence[IceServer]],
        send: Send,
        resumable: bool,
        changed_media: Callable[[], None],
        gone: Callable[[], None],
        away: Callable[[bool], None],
        record: Callable[[wire.RecordAction], Awaitable[None]],
        consider: Callable[[Newcomer, Sequence[Terms]], Awaitable[Terms]],
    ) -> None:
        self.session, self.name, self.rig, self.settings = session, name, rig, settings
        self.terms = terms
        self._fps = fps
        self.mixer = VoiceMixer()
        self.watching: Watching | None = None
        self.watcher: Watching | None = None
        self._set_ids = itertools.count(1)
        self.on_left: Callable[[], None] | None = None
        self._worker, self._ledger, self._board, self._clock = worker, ledger, board, clock
        self._hardware, self._ice_servers = hardware, ice_servers
        self.presence = Presence(send, resumable=resumable, away=self._on_away, gone=self._end)
        self._tell_away = away
        self._closing: asyncio.Future[None] | None = None
        self._unheard: deque[channels.CaptionsDown] = deque(maxlen=MAX_UNHEARD)
        self._changed_media, self._gone, self._record = changed_media, gone, record
        self._consider = consider
        self._view_tap: ViewTap | None = None
        self._connection: Connection | None = None
        self._video: VideoOut | None = None
        self._codec: str | None = None
        self._time = SenderTime()
        self._following = Following(session, board)
        board.remember(session)
        self._eyes: list[channels.Eye] | None = None
        self._looked_us: int | None = None
        self._cameras: dict[str, VideoIn] = {}
        self._live_task: asyncio.Task[None] | None = None
        self._told: set[tuple[str, str]] = set()
        self._left = self._unseen = False
        self.speaking = Speaking(
            session=session,
            name=name,
            settings=settings,
            worker=worker,
            ledger=ledger,
            clock=clock,
            tell=self.notice,
        )

    # What signalling asks.

    async def offer(self, message: wire.Offer, grant: Grant) -> wire.Answer:
        """Negotiate media; a later offer replaces the connection. Raises EdgeError or SignallingError."""
        self._check_cameras(message.cameras)
        connection = Connection(ice_servers=self._ice_servers())
        connection.on_state = partial(self._on_state, connection)
        if self._codec is None:  # and never another: a recording can't go from one to the other
            self._codec = "H264" if self._hardware.prefers(*picture_size(self.settings)) else "VP8"
        video, audio = VideoOut(codec=self._codec, hardware=self._hardware), AudioOut(self.mixer.read)
        names = {c.mid: c.name for c in message.cameras}
        cameras: dict[str, VideoIn] = {}

        def on_video(mid: str, incoming: VideoIn) -> None:
            name = names.get(mid) or self._next_camera(cameras, names)
            cameras[name] = incoming
            incoming.on_frame = partial(self._on_frame, name)

        connection.on_video = on_video
        connection.on_audio = self._on_audio
        connection.on_message = self._on_message
        try:
            answer = await connection.answer(message.sdp, video=video, audio=audio, allow=grant.sending)
            if cameras and self._fps == 0:
                await self._be_seen()
        except BaseException:
            await connection.close()
            raise
        if self._left:
            await connection.close()
            raise SignallingError("gone", "the participant left while the call was being negotiated")
        old, self._connection, self._video, self._cameras = self._connection, connection, video, cameras
        video.on_encoded = self._view_tap  # that of now: a recording may have begun meanwhile
        self._time, self._looked_us = SenderTime(), None
        if connection.state != "connecting":
            self._on_state(connection, connection.state)
        try:
            if old is not None:
                await old.close()
        finally:  # also when that is cut off
            self._use_media()
        return wire.Answer(sdp=answer)

    async def _be_seen(self) -> None:
        """They said that they come without cameras, and have some after all."""
        asked = Newcomer(self.rig, self.settings, None)
        self.terms = await self._consider(asked, offered(asked))
        self._fps = asked.fps
        if self.terms.given_up:
            self.notice("less", told(self.terms))

    def _use_media(self) -> None:
        """Go on with the present connection."""
        if self._left:
            return
        self.stop_watching()
        self.watcher = None  # whoever watched the old cameras is connected anew
        if self._live_task is None:
            self._live_task = asyncio.create_task(self._tell_live(), name=f"live {self.session}")
        self._changed_media()

    async def candidate(self, message: wire.Candidate) -> None:
        """Take a trickled candidate; raises SignallingError before an offer, EdgeError for a malformed one."""
        if self._connection is None:
            raise SignallingError("out-of-order", "a candidate came before an offer")
        await self._connection.add_candidate(message.candidate, message.sdp_mid)

    async def configure(self, message: wire.Configure) -> wire.Configured:
        """Change settings in mid-call; raises SignallingError and changes nothing when they aren't accepted."""
        ready = self._worker.ready
        tables = ([], [], []) if ready is None else (ready.policies, ready.rungs, ready.voices)
        changes = message.speech, message.view, message.appearance
        settings = changed(self.settings, *changes, *tables, can_hide_room(ready, self.rig))
        asked = Newcomer(self.rig, settings, self._fps)
        if asked.exceeds(self.newcomer):
            await self._consider(asked, [self.terms])
        self.settings = settings
        self.speaking.configure(self.settings)
        if self.watching is not None:
            self.watching.configure(self.settings)
        if self.watcher is not None:
            self.watcher.show_before(self.settings.backdrop)
        return wire.Configured(settings=self.describe())

    async def record(self, message: wire.Record) -> None:
        """Ask for a recording, answer, or stop it; raises SignallingError."""
        await self._record(message.action)

    async def leave(self) -> None:
        """End everything; idempotent, and never waits for the network for long."""
        if self._left:
            return
        self._left = True
        self.presence.end()
        self.stop_watching()
        self.speaking.close()
        if self._live_task is not None:
            self._live_task.cancel()
        self._gone()
        self._board.forget(self.session)
        try:
            if self._connection is not None:
                await self._connection.close()
        finally:
            if self.on_left is not None:
                self.on_left()

    # What the hub asks.

    @property
    def view_tap(self) -> ViewTap | None:
        """What takes down the view that is sent to this participant."""
        return self._view_tap

    @view_tap.setter
    def view_tap(self, tap: ViewTap | None) -> None:
        self._view_tap = tap
        if self._video is not None:
            self._video.on_encoded = tap

    @property
    def cameras(self) -> tuple[str, ...]:
        """The cameras that were offered, in rig order."""
        order = [c.name for c in self.rig.cameras] if self.rig is not None else []
        return tuple(sorted(self._cameras, key=lambda n: (order.index(n) if n in order else len(order), n)))

    @property
    def shown_cameras(self) -> tuple[str, ...]:
        """Those of the cameras from which others see them."""
        rig = self.terms.rig(self.rig)
        names = None if rig is None or not self.terms.one_pair else {c.name for c in rig.cameras}
        return tuple(c for c in self.cameras if names is None or c in names)

    @property
    def newcomer(self) -> Newcomer:
        """What they ask of the worker now."""
        return Newcomer(self.rig, self.settings, self._fps)

    @property
    def seen_as(self) -> tuple[str, Pace] | None:
        """The view stream that shows them, and how it runs; None while nobody sees them."""
        watcher = self.watcher
        return None if watcher is None or watcher.closed else (watcher.stream, watcher.pace)

    @property
    def connected(self) -> bool:
        """True once media was negotiated."""
        return self._connection is not None and not self._left

    @property
    def sees(self) -> bool:
        """True when they take a picture; a client that only sends does not."""
        return self._connection is not None and "video" in self._connection.sends

    @property
    def view_codec(self) -> str:
        """What was agreed for the picture that they take, "VP8" or "H264"."""
        return (self._connection and self._connection.picture_codec) or "VP8"

    @property
    def listens(self) -> bool:
        """True when they take sound, or captions, for which the data channels are there."""
        return self.hears or (self._connection is not None and self._connection.channels)

    @property
    def hears(self) -> bool:
        """True when they take sound."""
        return self._connection is not None and "audio" in self._connection.sends

    def watch(self, owner: Participant, windowed: Callable[[], None]) -> None:
        """See `owner` from now on; `windowed` is called when it is known through which window."""
        assert self._video is not None

        def tell(code: str, text: str) -> None:
            # Not as a notice, which comes once: what is over may begin again.
            for person in {self, owner} if code.removesuffix("-over") == BackdropError.code else {self}:
                person.send(wire.Notice(code=code, message=text))

        self.stop_watching()
        rig = owner.terms.rig(owner.rig)
        self.watching = Watching(
            session=self.session,
            stream=f"{owner.session}>{self.session}/view",
            cameras=owner.shown_cameras,
            rig=None if rig is None else rig.to_json(),
            settings=self.settings,
            backdrop=owner.settings.backdrop,
            every=owner.terms.every,
            worker=self._worker,
            ledger=self._ledger,
            clock=self._clock,
            video=self._video,
            ids=self._set_ids,
            bitrate=lambda: None if self._connection is None else self._connection.picture_bitrate,
            tell=tell,
            tell_owner=lambda code, text: owner.send(wire.Notice(code=code, message=text)),
            windowed=windowed,
            packed=self._tell_packed,
        )
        self.watching.eyes = self._eyes
        owner.watcher = self.watching

    def stop_watching(self) -> None:
        """See nobody; the last picture stands."""
        if self.watching is not None:
            self.watching.close()
            self.watching = None

    def resume(self, send: Send) -> None:
        """Go on with a new socket; see `Presence`."""
        self.presence.socket(send)

    def detach(self, send: Send) -> None:
        """Take note that a socket is gone; nothing when it isn't the one in use any more."""
        if self.holds(send):
            self.presence.socket(None)

    def holds(self, send: Send) -> bool:
        """Whether this participant is reached by `send`."""
        return self.presence.send == send

    def send(self, message: wire.ServerMessage) -> None:
        """Send a signalling message to this participant."""
        self.presence.send(message)

    def notice(self, code: str, text: str) -> None:
        """Tell the participant something once."""
        if (code, text) not in self._told and len(self._told) < MAX_NOTICES:
            self._told.add((code, text))
            self.send(wire.Notice(code=code, message=text))

    def caption(self, message: channels.CaptionsDown) -> None:
        """Show a caption of whom this participant hears; committed words wait while there is no way to them."""
        lasting = not isinstance(message, channels.Tentative)
        if (lasting or not self._unheard) and self._tell_unheard() and self._tell_caption(message):
            return
        if lasting and self._connection is not None:
            self._unheard.append(message)

    def _tell_caption(self, message: channels.CaptionsDown) -> bool:
        return self._connection is not None and self._connection.send("captions", wire.encode(message))

    def _tell_unheard(self) -> bool:
        """Tell what waited; whether nothing waits any more."""
        while self._unheard and self._tell_caption(self._unheard[0]):
            self._unheard.popleft()
        return not self._unheard

    def _tell_packed(self, message: channels.PackedView) -> None:
        if self._connection is not None:
            self._connection.send("viewpoint", wire.encode(message))

    def describe(self) -> dict[str, Any]:
        """Return the settings in force, for the wire."""
        s = self.settings
        return {
            "speech": {
                "enabled": s.speech,
                "policy": s.policy,
                "parameters": s.parameters,
                "source": s.source,
                "target": s.target,
                "glossary": s.glossary,
                "voice": s.voice,
            },
            "view": {"width": s.width, "height": s.height, "budget_ms": s.budget_ms, "rung": s.rung, "mode": s.mode},
            "appearance": {"backdrop": s.backdrop},
        }

    # What comes from the connection.

    def _check_cameras(self, cameras: Sequence[wire.CameraTrack]) -> None:
        names = [c.name for c in cameras]
        if len(set(names)) != len(names) or len({c.mid for c in cameras}) != len(cameras):
            raise SignallingError("bad-cameras", "two entries of 'cameras' have one name or one mid")
        if self.rig is not None:
            known = [c.name for c in self.rig.cameras]
            if unknown := [n for n in names if n not in known]:
                text = f"the rig has no camera {unknown[0]!r}; it has {', '.join(known)}"
                raise SignallingError("bad-cameras", text)

    def _next_camera(self, taken: dict[str, VideoIn], named: dict[str, str]) -> str:
        order = [c.name for c in self.rig.cameras] if self.rig is not None else []
        spare = [*order, *(f"cam{i}" for i in range(len(taken) + len(named) + 1))]
        return next(n for n in spare if n not in taken and n not in named.values())

    def _on_frame(self, camera: str, received: Received) -> None:
        if self.watcher is not None:
            capture_ns, error_ns = self._time.capture(received.sender_ns, received.arrived_ns)
            self.watcher.picture(camera, received, capture_ns, error_ns)

    def _on_audio(self, incoming: AudioIn) -> None:
        incoming.on_block = self._on_speech
        incoming.on_voice = self._on_voice

    def _on_voice(self, samples: Samples, sender_ns: int | None, arrived_ns: int) -> None:
        start_ns, _ = self._time.capture(sender_ns, arrived_ns)
        self.speaking.original(samples, start_ns)

    def _on_speech(self, samples: Samples, sender_ns: int | None, arrived_ns: int) -> None:
        start_ns, _ = self._time.capture(sender_ns, arrived_ns)
        end_ns = arrived_ns if sender_ns is None else start_ns + len(samples) * 1_000_000_000 // SPEECH_RATE
        self.speaking.sound(samples, end_ns)

    def _on_message(self, label: str, text: str) -> None:
        try:
            if label == "viewpoint":
                self._on_viewpoint(channels.decode_viewpoint(text))
            elif label == "ledger":
                self._on_report(channels.decode_ledger_up(text))
        except SignallingError as e:
            self.notice(e.code, f"data channel {label}: {e}")

    def _on_viewpoint(self, message: channels.ViewpointMessage) -> None:
        if self._looked_us is not None and message.t_us < self._looked_us:
            return  # overtaken on the way
        self._looked_us, self._eyes = message.t_us, message.eyes
        if self.watching is not None:
            self.watching.eyes = self._eyes

    def _on_report(self, message: channels.LedgerUp) -> None:
        match message:
            case channels.Ping():
                pong = channels.Pong(sent_ns=message.sent_ns, server_ns=self._clock.now_ns())
                if self._connection is not None:
                    self._connection.send("ledger", wire.encode(pong))
            case channels.Clocks():
                self._time.told(ClockMap(message.offset_ns, message.error_ns))
            case channels.Shown():
                now = self._clock.now_ns()
                for rtp_timestamp, displayed_ns in message.frames:
                    # Nobody has seen a picture in the future; a wrong clock must not improve the figures.
                    if self.watching is not None and displayed_ns <= now + message.error_ns + 50_000_000:
                        self.watching.shown(rtp_timestamp, displayed_ns, message.error_ns)
            case channels.Follow():
                self._following.ask(message)

    def _on_state(self, connection: Connection, state: str) -> None:
        if connection is not self._connection or self._left:
            return
        if state == "connected":
            self.presence.media(True)
        elif state in ("failed", "closed"):
            log.info("the connection of %s was lost (%s)", self.session, state)
            self.send(wire.Notice(code="connection-lost", message="the media connection was lost; offer again"))
            self._closing = asyncio.ensure_future(connection.close())
            # Nobody sees it, and what is said meanwhile can be read when they are back.
            self._unseen = True
            self.stop_watching()
            self.presence.media(False)

    def _on_away(self, away: bool) -> None:
        if not away and self._unseen:  # media that flowed while the socket was gone went on
            self._unseen = False
            self.mixer.skip()
            self._changed_media()
        self._tell_away(away)

    def _end(self) -> None:
        asyncio.get_running_loop().create_task(self.leave(), name=f"leave {self.session}")

    async def _tell_live(self) -> None:
        while True:
            await asyncio.sleep(LIVE_S)
            figures = self._board.figures(self.session, self._clock.now_ns())
            if self._connection is None:
                continue
            live = channels.Live(
                latency_ms=figures.latency_p50_ms,
                goodput=figures.goodput,
                fps=figures.fps,
                rung=figures.rung,
                budget_ms=self.settings.budget_ms,
                cameras=figures.cameras,
                speech_lag_ms=figures.speech_lag_ms,
                dropped=figures.dropped,
            )
            self._tell_unheard()
            for message in (live, *self._following.news()):
                self._connection.send("ledger", wire.encode(message))
