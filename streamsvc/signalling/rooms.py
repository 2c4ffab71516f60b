"""Who is in which room: pure bookkeeping, no I/O, no clock.

Owns the membership of every session. Invariants: a session is in at most one room; a room has one or two members
(exactly one when it is a mirror) with different names; a room exists only while somebody is in it. Names and rooms are
compared after NFC normalisation and case folding, so that two people can't look alike in a list.
"""

from __future__ import annotations

import re
import unicodedata

import msgspec

from streamsvc.signalling.messages import LONGEST_NAME, SignallingError


def same_name(name: str) -> str:
    """Return the text that two names share when they count as one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name.strip()).casefold())


def check_room(name: str) -> None:
    """Raise SignallingError (bad-room) unless `name` can be a room's: it is part of the address of the page."""
    plain = not re.search(r"[/\x00-\x1f\x7f]", name) and name.strip() not in ("", ".", "..")
    if not (plain and len(name) <= LONGEST_NAME):
        raise SignallingError(
            "bad-room", f"a room's name has 1 to {LONGEST_NAME} characters, none of them a slash, and isn't . or .."
        )


class Member(msgspec.Struct, frozen=True):
    """One participant: the service's `session` and the `name` that others see."""

    session: str
    name: str


class Room(msgspec.Struct, frozen=True):
    """A room as it is now; `members` in the order of joining."""

    name: str
    mirror: bool
    members: tuple[Member, ...]

    @property
    def capacity(self) -> int:
        """Return how many members fit: 2, or 1 in a mirror."""
        return 1 if self.mirror else 2

    def others(self, session: str) -> tuple[Member, ...]:
        """Return the members that aren't `session`."""
        return tuple(m for m in self.members if m.session != session)


class Rooms:
    """All rooms of one service."""

    def __init__(self, *, max_rooms: int, max_participants: int) -> None:
        self._max_rooms = max_rooms
        self._max_participants = max_participants
        self._rooms: dict[str, Room] = {}
        self._room_of: dict[str, str] = {}

    def join(self, name: str, member: Member, *, mirror: bool = False) -> Room:
        """Put `member` into the room `name`, which comes into being with its first member, and return the room as it
        is then.

        Raises SignallingError (bad-room, already-joined, name-taken, room-full, wrong-kind, too-many-rooms,
        service-full); the rooms are then unchanged.
        """
        check_room(name)
        key = same_name(name)
        if member.session in self._room_of:
            raise SignallingError("already-joined", f"this session is already in room {self._room_of[member.session]}")
        room = self._rooms.get(key)
        if room is not None:
            # The name comes first: it is what a person who reconnects too early can do something about.
            if any(same_name(m.name) == same_name(member.name) for m in room.members):
                raise SignallingError(
                    "name-taken", f"somebody called {member.name} is already in room {name}; choose another name"
                )
            if len(room.members) >= room.capacity:
                kind = "a mirror room holds one" if room.mirror else "a room holds two"
                raise SignallingError("room-full", f"room {name} is full ({kind}); choose another room")
            if mirror:
                raise SignallingError("wrong-kind", f"room {name} is not a mirror room; choose another room")
        if len(self._room_of) >= self._max_participants:
            raise SignallingError(
                "service-full", f"the service is full ({self._max_participants} participants); try again later"
            )
        if room is None:
            if len(self._rooms) >= self._max_rooms:
                raise SignallingError(
                    "too-many-rooms", f"all {self._max_rooms} rooms of the service are in use; try again later"
                )
            room = Room(name, mirror, ())
        room = msgspec.structs.replace(room, members=(*room.members, member))
        self._rooms[key] = room
        self._room_of[member.session] = key
        return room

    def leave(self, session: str) -> Room | None:
        """Take `session` out and return what is left of its room (no members: it is gone), or None."""
        key = self._room_of.pop(session, None)
        if key is None:
            return None
        room = self._rooms[key]
        room = msgspec.structs.replace(room, members=room.others(session))
        if room.members:
            self._rooms[key] = room
        else:
            del self._rooms[key]
        return room

    def room_of(self, session: str) -> Room | None:
        """Return the room that `session` is in, or None."""
        key = self._room_of.get(session)
        return None if key is None else self._rooms[key]

    def rooms(self) -> tuple[Room, ...]:
        """Return every room, oldest first."""
        return tuple(self._rooms.values())
