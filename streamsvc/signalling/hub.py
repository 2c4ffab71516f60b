"""What signalling needs from the rest of the service: somewhere to join, and a participant to talk to.

Everything runs on one asyncio loop. Any StreamsvcError that these raise is told to the client as `error {code,
message}`, with the error's `code` attribute or "bad-input"; anything else becomes code "internal".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from streamsvc.signalling.messages import Answer, Candidate, Configure, Configured, Join, Joined, Offer, ServerMessage

Send = Callable[[ServerMessage], None]


class Participant(Protocol):
    """One joined client. Calls come one at a time, in the order of the client's messages."""

    session: str
    on_left: Callable[[], None] | None
    """Called once, when the participant has left, whoever ended the call."""

    async def offer(self, message: Offer) -> Answer:
        """Negotiate media, at first or again, and return the answer."""
        ...

    async def candidate(self, message: Candidate) -> None:
        """Take a trickled ICE candidate."""
        ...

    async def configure(self, message: Configure) -> Configured:
        """Change settings and return those in force."""
        ...

    async def leave(self) -> None:
        """End the call; idempotent, and also called when the socket vanishes or a call above was cut off."""
        ...


class Hub(Protocol):
    """The service, seen from the port."""

    async def join(self, message: Join, send: Send) -> tuple[Participant, Joined]:
        """Admit a client whose token is already checked.

        `send` may be called from the loop at any time until `leave` returns, and never blocks: a client that doesn't
        read what it is sent is closed, and what is sent after that is dropped. When this is cancelled or raises, it
        must have left nothing behind.
        """
        ...
