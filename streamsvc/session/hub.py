"""All calls of this host: who joins which room, and who therefore sees and hears whom.

Implements `signalling.hub.Hub`. In a room of two each sees and hears the other; in a mirror room one sees and hears
oneself. Every change of membership or media ends in `_pair`, the only place that connects participants.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from streamsvc import config
from streamsvc.budget import Clock
from streamsvc.config import Settings
from streamsvc.edge import Hardware, IceServer
from streamsvc.frames import Rig, parse_rig
from streamsvc.frames.glossary import parse_glossary
from streamsvc.ledger import Ledger
from streamsvc.ledger.live import LiveBoard
from streamsvc.session.admitting import Admissions, EdgeCost, Newcomer, Terms, offered, told
from streamsvc.session.participant import Participant
from streamsvc.session.recording import Recordings
from streamsvc.session.settings import CallSettings, can_hide_room, changed, described
from streamsvc.session.worker_link import WorkerLink
from streamsvc.signalling import messages as wire
from streamsvc.signalling import turn
from streamsvc.signalling.hub import Send
from streamsvc.signalling.messages import SignallingError
from streamsvc.signalling.rooms import Member, Room, Rooms, same_name


class CallHub:
    """The calls of one service over one worker."""

    def __init__(
        self, settings: Settings, *, worker: WorkerLink, ledger: Ledger, board: LiveBoard, clock: Clock
    ) -> None:
        self._settings, self._worker, self._ledger, self._board, self._clock = settings, worker, ledger, board, clock
        limits = settings.limits
        self.rooms = Rooms(max_rooms=limits.max_rooms, max_participants=limits.max_participants)
        self.hardware = Hardware(clock)
        self.frame_sets: Counter[str] = Counter()
        self._participants: dict[str, Participant] = {}
        self._admissions = Admissions(worker) if limits.admission else None
        self._admitting = asyncio.Lock()
        self._edge = EdgeCost(clock)
        self.reconsidering: asyncio.Task[None] | None = None
        self._recordings = Recordings(settings.recording, clock, self._participants)
        worker.on_state(self._on_worker_state)

    @property
    def participants(self) -> Sequence[Participant]:
        """Everybody who is in a call."""
        return tuple(self._participants.values())

    def waits_for(self, message: wire.Join) -> bool:
        """Whether a client shows the key to somebody of the room that they ask for."""
        return self._known(message) is not None

    async def join(self, message: wire.Join, send: Send, resumable: bool = True) -> tuple[Participant, wire.Joined]:
        """Admit a client, or give one who comes back their session; raises RigError or SignallingError and then leaves
        nothing behind."""
        if (known := self._known(message)) is not None:
            known.resume(send)
            self._remind(known)
            return known, self._joined(known, resumed=True)
        rig = None if message.rig is None else parse_rig(message.rig)
        backdrops = can_hide_room(self._worker.ready, rig)
        changes = message.speech, message.view, message.appearance
        settings = changed(self._defaults(), *changes, self._policies, self._rungs, self._voices, backdrops)
        async with self._admitting:
            newcomer = Newcomer(rig, settings, message.fps)
            terms = await self._terms(newcomer, offered(newcomer), message.room)
            return self._admit(message, send, resumable, rig, settings, terms)

    def _admit(
        self,
        message: wire.Join,
        send: Send,
        resumable: bool,
        rig: Rig | None,
        settings: CallSettings,
        terms: Terms,
    ) -> tuple[Participant, wire.Joined]:
        session = secrets.token_hex(8)
        room = self.rooms.join(message.room, Member(session, message.name), mirror=message.mirror)
        participant = Participant(
            session=session,
            name=message.name,
            rig=rig,
            settings=settings,
            fps=message.fps,
            terms=terms,
            worker=self._worker,
            ledger=self._ledger,
            board=self._board,
            clock=self._clock,
            hardware=self.hardware,
            frame_sets=self.frame_sets,
            max_bitrate=round(self._settings.view.max_mbps * 1e6) or None,
            ice_servers=lambda: [IceServer(s.urls, s.username, s.credential) for s in self._ice_servers(session)],
            send=send,
            resumable=resumable,
            changed_media=lambda: self._pair(session),
            gone=lambda: self._leave(session),
            away=lambda away: self._tell_away(session, away),
            record=lambda action: self._record(session, action),
            consider=lambda newcomer, ways: self._consider(session, newcomer, ways),
        )
        self._participants[session] = participant
        self._edge.people(len(self._participants))
        self._recordings.members_changed(room, message.name, "joined")
        for other in room.others(session):
            self._tell_peers(room, other.session)
        for note in self._worker.ready.notes if self._worker.ready is not None else ():
            participant.notice("limited", note)
        if terms.given_up:
            participant.notice("less", told(terms))
        return participant, self._joined(participant, resumed=False)

    async def _consider(self, session: str, newcomer: Newcomer, ways: Sequence[Terms]) -> Terms:
        """Return on which of `ways` there is room for what somebody who is there asks for; raises SignallingError."""
        async with self._admitting:
            room = self.rooms.room_of(session)
            if room is None:
                raise SignallingError("gone", "the participant has left")
            terms = await self._terms(newcomer, ways, room.name, self._participants[session])
            if session not in self._participants:
                raise SignallingError("gone", "the participant left while it was asked whether there is room")
            return terms

    async def _terms(
        self, newcomer: Newcomer, ways: Sequence[Terms], room: str, of: Participant | None = None
    ) -> Terms:
        """Return on which of `ways`, the best first, there is room for a newcomer to a room, or for somebody who is
        there already; raises SignallingError where there is none beside the calls of others."""
        there = [p for p in self.participants if p is not of]
        if self._admissions is None or all(self._is_in(p, room) for p in there):
            return ways[0]
        partner = next((p for p in there if self._is_in(p, room)), None)
        return await self._admissions.terms(newcomer, ways, there, partner, self._edge.each)

    def _is_in(self, participant: Participant, room: str) -> bool:
        found = self.rooms.room_of(participant.session)
        return found is not None and same_name(found.name) == same_name(room)

    async def _reconsider(self) -> None:
        """Somebody left: give those who were taken with less what there is room for now, the longest there first."""
        for participant in self.participants:
            async with self._admitting:
                room = self.rooms.room_of(participant.session)
                if not participant.terms.given_up or room is None:
                    continue
                ways = offered(participant.newcomer)
                try:
                    terms = await self._terms(participant.newcomer, ways, room.name, participant)
                except SignallingError:
                    continue
                if participant.session not in self._participants or (
                    participant.terms in ways and ways.index(terms) >= ways.index(participant.terms)
                ):
                    continue
                participant.terms = terms
                participant.watcher = None  # whoever watches is connected anew
                now = terms.given_up or "all of you"
                participant.send(wire.Notice(code="more", message=f"there is room again, now for {now}"))
                self._pair(participant.session)

    def _known(self, message: wire.Join) -> Participant | None:
        """Return whose key a client shows, if it is of the room that they ask for."""
        for participant in self._participants.values():
            key = participant.presence.key
            if key is None or message.resume is None:
                continue
            if not secrets.compare_digest(key.encode(), message.resume.encode("utf-8", "surrogatepass")):
                continue
            if self._is_in(participant, message.room):
                return participant
        return None

    def _ice_servers(self, session: str) -> list[config.IceServer]:
        return turn.issue(self._settings.server.ice_servers, session, time.time())

    def _joined(self, participant: Participant, *, resumed: bool) -> wire.Joined:
        room = self.rooms.room_of(participant.session)
        assert room is not None
        return wire.Joined(
            session=participant.session,
            room=room.name,
            peers=[m.name for m in room.others(participant.session)],
            ice_servers=[msgspec.to_builtins(s) for s in self._ice_servers(participant.session)],
            policies=self._policies,
            rungs=self._rungs,
            settings=described(participant.settings),
            voices=self._voices,
            backdrops=can_hide_room(self._worker.ready, participant.rig),
            records=self._recordings.possible,
            resume=participant.presence.key,
            resumed=resumed,
        )

    async def close(self) -> None:
        """End every call."""
        try:
            # At once: whoever waits for this has little patience.
            await asyncio.gather(self._recordings.close(), *(p.leave() for p in self.participants))
        finally:
            if self.reconsidering is not None:
                self.reconsidering.cancel()

    @property
    def _policies(self) -> list[dict[str, Any]]:
        return [] if self._worker.ready is None else self._worker.ready.policies

    @property
    def _rungs(self) -> list[dict[str, Any]]:
        return [] if self._worker.ready is None else self._worker.ready.rungs

    @property
    def _voices(self) -> list[str]:
        return [] if self._worker.ready is None else self._worker.ready.voices

    def _defaults(self) -> CallSettings:
        view, speech = self._settings.view, self._settings.speech
        return CallSettings(
            speech=speech.enabled and bool(self._policies),
            policy=speech.policy,
            parameters=dict(speech.parameters),
            source=speech.source,
            target=speech.target,
            glossary=list(parse_glossary(speech.glossary)),
            width=view.width,
            height=view.height,
            budget_ms=view.budget_ms,
        )

    def _leave(self, session: str) -> None:
        gone = self._participants.pop(session, None)
        self._edge.people(len(self._participants))
        room = self.rooms.leave(session)
        if room is None:
            return
        if gone is not None:
            self._recordings.members_changed(room, gone.name, "left")
        for member in room.members:
            other = self._participants[member.session]
            other.stop_watching()
            other.watcher = None
            other.speaking.listener = None
            self._tell_peers(room, member.session)
        if any(p.terms.given_up for p in self.participants):
            if self.reconsidering is not None:
                self.reconsidering.cancel()
            self.reconsidering = asyncio.create_task(self._reconsider(), name="reconsider")

    def _remind(self, participant: Participant) -> None:
        """Tell who has come back what `joined` doesn't: whom they see through which window, and what is recorded."""
        room = self.rooms.room_of(participant.session)
        if room is not None:
            self._tell_peers(room, participant.session)
            self._recordings.remind(room)

    async def _record(self, session: str, action: wire.RecordAction) -> None:
        room = self.rooms.room_of(session)
        if room is not None:
            await self._recordings.record(room, session, action)

    def _tell_away(self, session: str, away: bool) -> None:
        room = self.rooms.room_of(session)
        gone = self._participants.get(session)
        for member in room.others(session) if room is not None and gone is not None else ():
            assert gone is not None
            code, text = (
                ("peer-away", f"{gone.name} lost the connection; the call waits for them")
                if away
                else ("peer-back", f"{gone.name} is back")
            )
            self._participants[member.session].send(wire.Notice(code=code, message=text))

    def _pair(self, session: str) -> None:
        room = self.rooms.room_of(session)
        if room is None:
            return
        for member in room.members:
            self._connect(room, member.session)

    def _connect(self, room: Room, viewer_session: str) -> None:
        """Let one member see and hear whom the room shows them."""
        viewer = self._participants[viewer_session]
        others = room.others(viewer_session)
        owner = viewer if room.mirror else self._participants[others[0].session] if others else None
        if owner is None or not viewer.connected or not owner.connected:
            return
        owner.speaking.listener = viewer if viewer.listens else None
        if owner.cameras and not owner.terms.seen and owner is not viewer:
            text = f"there is no room for {owner.name}'s picture beside other calls; you hear and read them"
            viewer.notice("no-picture", text)
        if owner.cameras and not owner.shown_cameras:
            text = "there is room for one pair of your cameras, and none of that pair was offered: nobody sees you"
            owner.notice("not-seen", text)
        shows = bool(owner.shown_cameras) and owner.terms.seen
        if viewer.watching is not None and not shows:
            viewer.stop_watching()
            text = f"{owner.name} is not seen any more; you hear and read them"
            viewer.send(wire.Notice(code="no-picture", message=text))
        if viewer.sees and shows and (viewer.watching is None or owner.watcher is not viewer.watching):
            viewer.watch(owner, lambda: self._tell_window(viewer_session))
        self._tell_peers(room, viewer_session)

    def _tell_peers(self, room: Room, session: str) -> None:
        participant = self._participants.get(session)
        if participant is None:
            return
        screen = None if participant.watching is None else participant.watching.screen
        participant.send(wire.Peers(peers=[m.name for m in room.others(session)], screen=screen))

    def _tell_window(self, session: str) -> None:
        room = self.rooms.room_of(session)
        if room is not None:
            self._tell_peers(room, session)

    def _on_worker_state(self, up: bool) -> None:
        for participant in self._participants.values():
            participant.speaking.worker_state(up)
            if participant.watching is not None and not up:
                participant.watching.worker_lost()
            if up:
                participant.send(wire.Notice(code="worker-back", message="the picture and the translation are back"))
            else:
                text = "the picture stands and you hear the original voice until the worker is replaced"
                participant.send(wire.Notice(code="worker-lost", message=text))
