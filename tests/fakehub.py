"""A hub without media: real rooms, answers made up, every call noted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from streamsvc.signalling.grants import Grant
from streamsvc.signalling.hub import Participant, Send
from streamsvc.signalling.messages import (
    Answer,
    Candidate,
    Configure,
    Configured,
    Join,
    Joined,
    Offer,
    Peers,
    Record,
    Recording,
    ServerMessage,
)
from streamsvc.signalling.rooms import Member, Room, Rooms


class FakeHub:
    """`calls` lists (session, what), `joins` the joins; `raises` maps a message's type to what its handling raises;
    `hangs` to nothing; every offer is taken to send on so many sections of each kind as `sending` says. Who vanishes
    has left at once, unless it `waits`."""

    def __init__(self, *, max_rooms: int = 8, max_participants: int = 16) -> None:
        self.rooms = Rooms(max_rooms=max_rooms, max_participants=max_participants)
        self.calls: list[tuple[str, str]] = []
        self.raises: dict[str, Exception] = {}
        self.hangs: set[str] = set()
        self.sending: dict[str, int] = {}
        self.sends: dict[str, Send] = {}
        self.participants: dict[str, FakeParticipant] = {}
        self.joins: list[Join] = []
        self.left = asyncio.Event()
        self.waits = False

    def waits_for(self, message: Join) -> bool:
        """Whether the key is somebody's."""
        return message.resume in self.participants

    async def join(self, message: Join, send: Send, resumable: bool = True) -> tuple[Participant, Joined]:
        """Admit by the rules of rooms and tell the others; the key to a session is its name."""
        await self.act("join", "")
        if message.resume in self.participants:
            self.sends[message.resume] = send
            return self.participants[message.resume], self._joined(message, message.resume, resumed=True)
        session = f"s{len(self.calls)}"
        room = self.rooms.join(message.room, Member(session, message.name), mirror=message.mirror)
        self.sends[session] = send
        self.joins.append(message)
        self.tell(room)
        self.participants[session] = FakeParticipant(self, session)
        return self.participants[session], self._joined(message, session, resumed=False)

    def _joined(self, message: Join, session: str, *, resumed: bool) -> Joined:
        room = self.rooms.room_of(session)
        return Joined(
            session=session,
            room=message.room,
            peers=[] if room is None else [m.name for m in room.others(session)],
            ice_servers=[],
            policies=[],
            rungs=[],
            settings={"speech": msgspec.to_builtins(message.speech), "view": msgspec.to_builtins(message.view)},
            resume=session,
            resumed=resumed,
        )

    async def act(self, what: str, session: str) -> None:
        """Note a call, then do what the test asked for."""
        self.calls.append((session, what))
        if what in self.hangs:
            await asyncio.Event().wait()
        if what in self.raises:
            raise self.raises[what]

    def tell(self, room: Room) -> None:
        """Send everyone in a room who else is there."""
        for member in room.members:
            self.push(member.session, Peers(peers=[m.name for m in room.others(member.session)]))

    def push(self, session: str, message: ServerMessage) -> None:
        """Send something unasked."""
        self.sends[session](message)


class FakeParticipant:
    """One member of a FakeHub."""

    def __init__(self, hub: FakeHub, session: str) -> None:
        self.session = session
        self.on_left: Callable[[], None] | None = None
        self.candidates: list[Candidate] = []
        self._hub = hub

    def holds(self, send: Send) -> bool:
        """Compare with the newest."""
        return self._hub.sends.get(self.session) == send

    def detach(self, send: Send) -> None:
        """Leave, or wait."""
        self._hub.calls.append((self.session, "detach"))
        if not self._hub.waits:
            self._leaving = asyncio.ensure_future(self.leave())

    async def offer(self, message: Offer, grant: Grant) -> Answer:
        """Answer with the offer's length."""
        grant.sending(self._hub.sending)
        await self._hub.act("offer", self.session)
        return Answer(sdp=f"answer to {len(message.sdp)}")

    async def candidate(self, message: Candidate) -> None:
        """Note it."""
        self.candidates.append(message)
        await self._hub.act("candidate", self.session)

    async def configure(self, message: Configure) -> Configured:
        """Return what was asked for."""
        await self._hub.act("configure", self.session)
        return Configured(
            settings={"speech": msgspec.to_builtins(message.speech), "view": msgspec.to_builtins(message.view)}
        )

    async def record(self, message: Record) -> None:
        """Say that nothing is recorded."""
        await self._hub.act("record", self.session)
        self._hub.push(self.session, Recording(state="off"))

    async def leave(self) -> None:
        """Leave the room and tell who stays."""
        room = self._hub.rooms.leave(self.session)
        if room is not None:
            self._hub.tell(room)
        self._hub.sends.pop(self.session, None)
        self._hub.participants.pop(self.session, None)
        await self._hub.act("leave", self.session)
        if self.on_left is not None:
            self.on_left()
        self._hub.left.set()
