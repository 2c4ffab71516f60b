"""One participant of a call, edge side: their connection, their cameras and voice going in, what they see and hear.

Implements `signalling.hub.Participant`. Lives on the event loop. Whom the participant watches and hears is decided by
the hub; everything else about one person is here.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from streamsvc.budget import Clock
from streamsvc.edge import AudioIn, AudioOut, Connection, Hardware, IceServer, Received, VideoIn, VideoOut
from streamsvc.frames import SPEECH_RATE, Rig, Samples
from streamsvc.frames.backdrop import BackdropError
from streamsvc.ledger import Ledger
from streamsvc.ledger.live import LiveBoard
from streamsvc.session.admitting import Newcomer, Pace, Terms, offered, told
from streamsvc.session.cameras import check_cameras, in_order, next_camera
from streamsvc.session.datachannels import DataChannels
from streamsvc.session.mixer import VoiceMixer
from streamsvc.session.presence import Presence
from streamsvc.session.settings import CallSettings, can_hide_room, changed, described, picture_size
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
        frame_sets: Counter[str],
        max_bitrate: int | None,
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
        self._hardware, self._max_bitrate, self._ice_servers = hardware, max_bitrate, ice_servers
        self._frame_sets = frame_sets
        self.presence = Presence(send, resumable=resumable, away=self._on_away, gone=self._end)
        self._tell_away = away
        self._closing: asyncio.Future[None] | None = None
        self._changed_media, self._gone, self._record = changed_media, gone, record
        self._consider = consider
        self._view_tap: ViewTap | None = None
        self._connection: Connection | None = None
        self._video: VideoOut | None = None
        self._codec: str | None = None
        self._data = DataChannels(
            session,
            board,
            clock,
            watching=lambda: self.watching,
            budget_ms=lambda: self.settings.budget_ms,
            refused=self.notice,
        )
        board.remember(session)
        self._cameras: dict[str, VideoIn] = {}
        self._told: set[tuple[str, str]] = set()
        self._left = self._unseen = False
        self._offers = 0
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
        """Negotiate media; a later offer replaces the connection, also one that is answered sooner. Raises EdgeError or
        SignallingError."""
        self._offers += 1
        number = self._offers
        check_cameras(message.cameras, self.rig)
        connection = Connection(ice_servers=self._ice_servers())
        connection.on_state = partial(self._on_state, connection)
        if self._codec is None:  # and never another: a recording can't go from one to the other
            self._codec = "H264" if self._hardware.prefers(*picture_size(self.settings)) else "VP8"
        video = VideoOut(codec=self._codec, hardware=self._hardware, max_bitrate=self._max_bitrate)
        audio = AudioOut(self.mixer.read)
        names = {c.mid: c.name for c in message.cameras}
        cameras: dict[str, VideoIn] = {}

        def on_video(mid: str, incoming: VideoIn) -> None:
            name = names.get(mid) or next_camera(self.rig, {*cameras, *names.values()})
            cameras[name] = incoming
            incoming.on_frame = partial(self._on_frame, name)

        connection.on_video = on_video
        connection.on_audio = self._on_audio
        try:
            answer = await connection.answer(message.sdp, video=video, audio=audio, allow=grant.sending)
            if cameras and self._fps == 0:
                await self._be_seen()
            if self._left:
                raise SignallingError("gone", "the participant left while the call was being negotiated")
            if number != self._offers:
                raise SignallingError("out-of-date", "a newer offer came while this one was being negotiated")
        except BaseException:
            await connection.close()
            raise
        old, self._connection, self._video, self._cameras = self._connection, connection, video, cameras
        video.on_encoded = self._view_tap  # that of now: a recording may have begun meanwhile
        self._data.use(connection)
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
        return wire.Configured(settings=described(self.settings))

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
        self._data.close()
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
        return in_order(self.rig, self._cameras)

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
            most_fps=owner.newcomer.most_fps,
            worker=self._worker,
            ledger=self._ledger,
            clock=self._clock,
            video=self._video,
            ids=self._set_ids,
            counts=self._frame_sets,
            bitrate=lambda: None if self._connection is None else self._connection.picture_bitrate,
            tell=tell,
            tell_owner=lambda code, text: owner.send(wire.Notice(code=code, message=text)),
            windowed=windowed,
            packed=self._data.packed,
        )
        self.watching.eyes = self._data.eyes
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
        """Show a caption of whom this participant hears; see `DataChannels`."""
        self._data.caption(message)

    # What comes from the connection.

    def _on_frame(self, camera: str, received: Received) -> None:
        if self.watcher is not None:
            capture_ns, error_ns = self._data.time.capture(received.sender_ns, received.arrived_ns)
            self.watcher.picture(camera, received, capture_ns, error_ns)

    def _on_audio(self, incoming: AudioIn) -> None:
        incoming.on_block = self._on_speech
        incoming.on_voice = self._on_voice

    def _on_voice(self, samples: Samples, sender_ns: int | None, arrived_ns: int) -> None:
        start_ns, _ = self._data.time.capture(sender_ns, arrived_ns)
        self.speaking.original(samples, start_ns)

    def _on_speech(self, samples: Samples, sender_ns: int | None, arrived_ns: int) -> None:
        start_ns, _ = self._data.time.capture(sender_ns, arrived_ns)
        end_ns = arrived_ns if sender_ns is None else start_ns + len(samples) * 1_000_000_000 // SPEECH_RATE
        self.speaking.sound(samples, end_ns)

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
