"""What signalling needs from the rest of the service: somewhere to join, and a participant to talk to.

Everything runs on one asyncio loop. Any StreamsvcError that these raise is told to the client as `error {code,
message}`, with the error's `code` attribute or "bad-input"; anything else becomes code "internal".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from streamsvc.signalling.grants import Grant
from streamsvc.signalling.messages import (
    Answer,
    Candidate,
    Configure,
    Configured,
    Join,
    Joined,
    Offer,
    Record,
    ServerMessage,
)

Send = Callable[[ServerMessage], None]


class Participant(Protocol):
    """One joined client. Calls come one at a time, in the order of the client's messages."""

    session: str

    def holds(self, send: Send) -> bool:
        """Whether `send` is the way to this client: the one of the latest `join` that named them."""
        ...

    def detach(self, send: Send) -> None:
        """Take note that the socket behind `send` vanished; the client may come back for a while, and has left after
        it. Nothing when they are back already."""
        ...

    on_left: Callable[[], None] | None
    """Called once, when the participant has left, whoever ended the call."""

    async def offer(self, message: Offer, grant: Grant) -> Answer:
        """Negotiate media, at first or again, and return the answer; an offer that sends more than `grant` allows
        changes nothing."""
        ...

    async def candidate(self, message: Candidate) -> None:
        """Take a trickled ICE candidate."""
        ...

    async def configure(self, message: Configure) -> Configured:
        """Change settings and return those in force."""
        ...

    async def record(self, message: Record) -> None:
        """Ask for a recording, answer, or stop it; everybody in the room is told `recording`."""
        ...

    async def leave(self) -> None:
        """End the call; idempotent, and also called when a call above was cut off."""
        ...


class Hub(Protocol):
    """The service, seen from the port."""

    def waits_for(self, message: Join) -> bool:
        """Whether `message.resume` is the key to a session of the room that it names."""
        ...

    async def join(self, message: Join, send: Send, resumable: bool = True) -> tuple[Participant, Joined]:
        """Admit a client whose token is already checked, or return the participant that `message.resume` is the key to;
        without `resumable` the client can't come back, and has left as soon as they are lost.

        `send` may be called from the loop at any time until `leave` returns, and never blocks: a client that doesn't
        read what it is sent is closed, and what is sent after that is dropped. When this is cancelled or raises, it
        must have left nothing behind.
        """
        ...
