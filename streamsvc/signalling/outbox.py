"""What one client is still to be sent: bounded, in order, and without a hold on the socket.

The hub keeps `send` for as long as it likes, so this knows nothing of the connection. Invariants: at most `limit`
messages wait; once one did not fit, `overflowed` is set and everything later is dropped; while a join is under way
what the hub sends is held back, so that `joined` comes first.
"""

from __future__ import annotations

import asyncio

from streamsvc.signalling.messages import ServerMessage, encode


class Outbox:
    """A queue of encoded messages between the hub and one socket."""

    def __init__(self, limit: int) -> None:
        self.overflowed = asyncio.Event()
        self._limit = limit
        self._queue: asyncio.Queue[str | None] = asyncio.Queue(limit + 1)  # one for the end mark
        self._held: list[str] | None = None
        self._ended = False

    def send(self, message: ServerMessage) -> None:
        """Queue a message; never blocks, never raises for a client that is slow or gone."""
        if self._ended or self.overflowed.is_set():
            return
        text = encode(message)
        waiting = self._queue.qsize() + len(self._held or ())
        if waiting >= self._limit:
            self.overflowed.set()
        elif self._held is not None:
            self._held.append(text)
        else:
            self._queue.put_nowait(text)

    def hold(self) -> None:
        """Keep back what is sent from now on."""
        self._held = []

    def discard_held(self) -> None:
        """Forget what was kept back, and keep nothing back any more."""
        self._held = None

    def release_after(self, first: ServerMessage) -> None:
        """Queue `first`, then what was kept back."""
        held, self._held = self._held, None
        self.send(first)
        for text in held or ():
            if self._queue.qsize() >= self._limit:
                self.overflowed.set()
                return
            self._queue.put_nowait(text)

    def end(self) -> None:
        """Take nothing more; `get` returns None once what waits is taken."""
        if not self._ended:
            self._ended = True
            self._queue.put_nowait(None)

    async def get(self) -> str | None:
        """Wait for the next message's text; None after the last."""
        return await self._queue.get()
