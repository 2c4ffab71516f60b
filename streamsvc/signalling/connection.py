"""One signalling WebSocket: the thin shell that reads, asks the conversation, calls the hub and writes.

Owns the socket, the participant and a bounded outbox. Promises: messages are carried out one at a time, in order;
`joined` is the first thing a client that joined is sent; however the connection ends, the participant is told once that
they left, or that they may come back; a client that doesn't read is closed, and never blocks the hub. No message's
content is logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter

from starlette.websockets import WebSocket, WebSocketDisconnect

from streamsvc.budget.clock import Clock
from streamsvc.config import Limits
from streamsvc.signalling.asking import ask, leave
from streamsvc.signalling.auth import EVERYTHING, TokenBook
from streamsvc.signalling.hub import Hub, Participant
from streamsvc.signalling.messages import (
    Candidate,
    ClientMessage,
    Configure,
    Error,
    Join,
    Joined,
    Leave,
    Offer,
    Record,
    ServerMessage,
    SignallingError,
)
from streamsvc.signalling.outbox import Outbox
from streamsvc.signalling.protocol import Close, Conversation, State, kind_of

_log = logging.getLogger(__name__)
FLUSH_TIMEOUT_S = 2.0
GOODBYES = (1000, 1001)
"""Close codes of a client that ends the call (RFC 6455 section 7.4.1); with any other, or none, it may come back."""


class Connection:
    """Serve one accepted WebSocket with `run`; `errors` counts the codes that clients were told."""

    def __init__(
        self, socket: WebSocket, hub: Hub, tokens: TokenBook, limits: Limits, clock: Clock, errors: Counter[str]
    ) -> None:
        self._socket = socket
        self._hub = hub
        self._tokens = tokens
        self._limits = limits
        self._clock = clock
        self._errors = errors
        self._conversation = Conversation(limits, clock.now_ns())
        self._participant: Participant | None = None
        self._grant = EVERYTHING
        self._vanished = False
        self._outbox = Outbox(limits.outbox)

    async def run(self) -> None:
        """Return when the connection has ended and the participant has left."""
        sender = asyncio.create_task(self._send_outbox(), name="signalling-sender")
        close: Close | None = None
        try:
            close = await self._converse()
        except WebSocketDisconnect as e:
            self._vanished = e.code not in GOODBYES
        finally:
            await self._leave()
            self._outbox.end()
            if close is not None and not self._outbox.overflowed.is_set():
                await asyncio.wait({sender}, timeout=FLUSH_TIMEOUT_S)
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
            if close is not None:
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(FLUSH_TIMEOUT_S):
                        await self._socket.close(close)

    async def _send_outbox(self) -> None:
        while (text := await self._outbox.get()) is not None:
            try:
                await self._socket.send_text(text)
            except (WebSocketDisconnect, RuntimeError, OSError):
                return  # gone: the reading side is told so too, and ends the connection

    async def _converse(self) -> Close | None:
        unread = asyncio.create_task(self._outbox.overflowed.wait(), name="signalling-unread")
        receive: asyncio.Task[str | bytes] | None = None
        try:
            while True:
                receive = receive or asyncio.create_task(self._receive(), name="signalling-receive")
                await asyncio.wait({receive, unread}, timeout=self._patience(), return_when=asyncio.FIRST_COMPLETED)
                if unread.done():
                    _log.warning("a client doesn't read; closed with %d messages waiting", self._limits.outbox)
                    return Close.POLICY
                if receive.done():
                    data = receive.result()
                    receive = None
                    step = self._conversation.take(data, self._clock.now_ns())
                else:
                    step = self._conversation.expired(self._clock.now_ns())
                if step.message is not None and not isinstance(step.message, Leave):
                    failure = await self._carry_out(step.message)
                    step = step if failure is None else self._conversation.failed(step.message, failure)
                if step.error is not None:
                    self._errors[step.error.code] += 1
                    self._outbox.send(step.error)
                if step.close is not None:
                    return step.close
        finally:
            for task in (unread, receive):
                if task is not None:
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)

    def _patience(self) -> float | None:
        if self._conversation.state is not State.NEW:
            return None
        return max(0.0, (self._conversation.join_deadline_ns - self._clock.now_ns()) / 1e9)

    async def _receive(self) -> str | bytes:
        event = await self._socket.receive()
        if event["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(event.get("code", 1006))
        text: str | None = event.get("text")
        return text if text is not None else bytes(event.get("bytes") or b"")

    async def _carry_out(self, message: ClientMessage) -> Error | None:
        """Do what the client asked and send the reply; return what went wrong, if anything."""
        try:
            reply = await ask(kind_of(message), self._ask_hub(message), self._limits.answer_timeout_s)
        except SignallingError as e:
            return Error(code=e.code, message=str(e))
        finally:
            if isinstance(message, Join) and self._participant is None:
                self._outbox.discard_held()
        self._conversation.succeeded(message)
        if isinstance(reply, Joined):
            self._outbox.release_after(reply)
        elif reply is not None:
            self._outbox.send(reply)
        return None

    async def _ask_hub(self, message: ClientMessage) -> ServerMessage | None:
        if isinstance(message, Join):
            begun = self._hub.waits_for(message)
            self._grant = self._tokens.check_join(message.token, message.room, begun=begun)
            # Also of who comes back: a key that is not known any more makes this a join like any other.
            message = self._grant.settings(message, first=True)
            self._outbox.hold()  # whatever the hub sends while it admits comes after `joined`
            self._participant, joined = await self._hub.join(message, self._outbox.send)
            return joined
        if self._participant is None:
            raise SignallingError("unexpected", f"join a room before {kind_of(message)}")
        match message:
            case Offer():
                return await self._participant.offer(message, self._grant)
            case Configure():
                return await self._participant.configure(self._grant.settings(message, first=False))
            case Candidate():
                await self._participant.candidate(message)
            case Record():
                await self._participant.record(message)
        return None

    async def _leave(self) -> None:
        participant, self._participant = self._participant, None
        if participant is None or not participant.holds(self._outbox.send):
            return  # nobody, or somebody who came back on another socket
        if self._vanished:
            participant.detach(self._outbox.send)
        else:
            await leave(participant)
