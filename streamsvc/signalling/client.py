"""The client's end of the signalling WebSocket, for peers without a browser and for the probe.

One request at a time: `join`, `offer` and `configure` return the server's answer or raise what it told. Everything else
that the server says comes out of `messages()`. No library's exception gets out.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from types import TracebackType
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI, WebSocketException

from streamsvc.signalling.messages import (
    Answer,
    Candidate,
    ClientMessage,
    Configure,
    Configured,
    Error,
    Join,
    Joined,
    Leave,
    Notice,
    Offer,
    Peers,
    Record,
    Recording,
    ServerMessage,
    SignallingError,
    decode_server,
    encode,
)

# An answer carries SDP for every track; far above what the server sends, far below what hurts.
MAX_ANSWER_BYTES = 4 * 1024 * 1024
UNASKED = 256

Reply = TypeVar("Reply", Joined, Answer, Configured, Recording)
Unasked = Peers | Notice | Error | Candidate | Recording


class ConnectionLostError(SignallingError):
    """The server is gone, or closed the connection: nothing more will come. `code` is what it told last, if it did."""

    def __init__(self, message: str, code: str = "connection-lost") -> None:
        super().__init__(code, message)


def signalling_url(url: str) -> str:
    """Return the WebSocket address of a service given as http(s):// or ws(s)://, with or without a path.

    A page's address (`/`, `/room/NAME`) means its service. Raises SignallingError (bad-url).
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    else:
        scheme = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}.get(parts.scheme.lower())
        if host and scheme:
            path = parts.path.split("/room/")[0].rstrip("/")
            path = path if path.endswith("/ws") else f"{path}/ws"
            return urlunsplit((scheme, parts.netloc.rpartition("@")[2], path, "", ""))
    raise SignallingError("bad-url", f"{url!r} is not the address of a service; give one like http://127.0.0.1:8080")


class SignallingClient:
    """`async with SignallingClient(url) as c: joined = await c.join(Join(...))`.

    `tls` is needed only for certificates that the host doesn't trust; `timeout_s` bounds connecting and each answer.
    Raises SignallingError: the server's own code, or refused, tls, bad-url, timeout, not-a-service; ConnectionLostError
    once the connection has ended.
    """

    def __init__(self, url: str, *, tls: ssl.SSLContext | None = None, timeout_s: float = 20.0) -> None:
        self.url = signalling_url(url)
        self._tls = tls
        self._timeout_s = timeout_s
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._asking = asyncio.Lock()
        self._expected: tuple[type[ServerMessage], str] | None = None
        self._answer: asyncio.Future[ServerMessage] | None = None
        # Oldest dropped: who doesn't iterate loses news, never memory.
        self._unasked: asyncio.Queue[Unasked | None] = asyncio.Queue(UNASKED)
        self._lost: ConnectionLostError | None = None
        self._leaving = False

    async def __aenter__(self) -> SignallingClient:
        """Connect."""
        await self.open()
        return self

    async def open(self) -> None:
        """Connect."""
        try:
            self._socket = await self._connect()
        except InvalidStatus as e:
            raise _refusal(self.url, e) from None
        except ssl.SSLError as e:
            reason = getattr(e, "verify_message", "") or e.reason or "handshake failed"
            raise SignallingError("tls", f"no trusted TLS connection with {self.url}: {reason}") from None
        except TimeoutError:
            raise SignallingError("timeout", f"{self.url} did not answer within {self._timeout_s:g} s") from None
        except (InvalidURI, InvalidHandshake, WebSocketException, EOFError) as e:
            told = f"what answers at {self.url} is no streamsvc ({type(e).__name__})"
            raise SignallingError("not-a-service", told) from None
        except OSError as e:
            raise SignallingError("refused", f"can't connect to {self.url}: {_reason(e)}; is it running?") from None
        self._reader = asyncio.create_task(self._read(self._socket), name="signalling-client")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close, without waiting long for the server."""
        await self.leave()

    async def join(self, message: Join) -> Joined:
        """Enter a room."""
        return await self._ask(message, Joined)

    async def offer(self, message: Offer) -> Answer:
        """Offer media, at first or again."""
        return await self._ask(message, Answer)

    async def configure(self, message: Configure) -> Configured:
        """Change settings."""
        return await self._ask(message, Configured)

    async def record(self, message: Record) -> Recording:
        """Ask for a recording, answer, or stop it; return how it stands then."""
        return await self._ask(message, Recording)

    async def candidate(self, message: Candidate) -> None:
        """Trickle an ICE candidate; if the server can't take it, `messages()` says so."""
        await self._send(message)

    async def messages(self) -> AsyncIterator[Unasked]:
        """Yield what the server says unasked until the connection ends; raises ConnectionLostError unless we left.

        For one reader at a time. When more than `UNASKED` wait, the oldest are dropped.
        """
        while True:
            if self._lost is not None and self._unasked.empty():
                message = None
            else:
                message = await self._unasked.get()
            if message is None:
                if self._lost is not None and not self._leaving:
                    raise self._lost
                return
            yield message

    async def leave(self) -> None:
        """Say goodbye and close; idempotent, never raises what the server or the network does."""
        socket, reader = self._socket, self._reader
        if socket is None or reader is None or self._leaving:
            return
        self._leaving = True
        with contextlib.suppress(WebSocketException, OSError, TimeoutError):
            async with asyncio.timeout(2.0):
                await socket.send(encode(Leave()))
                await socket.close()
        if not reader.done():
            socket.transport.abort()
        await asyncio.gather(reader, return_exceptions=True)

    @property
    def lost(self) -> bool:
        """Whether the connection has ended."""
        return self._lost is not None

    async def abandon(self) -> None:
        """End the connection without a goodbye: whoever shows its key on another one goes on with the session."""
        if self._socket is not None and self._reader is not None:
            self._leaving = True
            self._socket.transport.abort()
            await asyncio.gather(self._reader, return_exceptions=True)

    async def _connect(self) -> ClientConnection:
        # No proxy: a service on this machine or network is never behind the one that the environment names.
        return await connect(
            self.url,
            open_timeout=self._timeout_s,
            close_timeout=2.0,
            max_size=MAX_ANSWER_BYTES,
            compression=None,
            proxy=None,
            ssl=(self._tls or True) if self.url.startswith("wss:") else None,
        )

    async def _ask(self, message: ClientMessage, reply: type[Reply]) -> Reply:
        async with self._asking:
            self._answer = asyncio.get_running_loop().create_future()
            self._expected = (reply, str(message.__struct_config__.tag))
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._send(message)
                    answer = await self._answer
            except TimeoutError:
                raise SignallingError("timeout", f"no answer within {self._timeout_s:g} s") from None
            finally:
                self._expected = self._answer = None
        if isinstance(answer, Error):
            raise SignallingError(answer.code, answer.message)
        if not isinstance(answer, reply):
            raise SignallingError("not-a-service", f"the server answered with {type(answer).__name__}")
        return answer

    async def _send(self, message: ClientMessage) -> None:
        if self._lost is not None:
            raise self._lost
        if self._socket is None or self._leaving:
            raise ConnectionLostError("this client is not connected")
        try:
            await self._socket.send(encode(message))
        except (ConnectionClosed, OSError):
            raise self._lost or ConnectionLostError(f"{self.url} closed the connection") from None

    async def _read(self, socket: ClientConnection) -> None:
        lost = ConnectionLostError(f"{self.url} closed the connection")
        last: ServerMessage | None = None
        try:
            while True:
                last = decode_server(await socket.recv())
                self._take(last)
        except ConnectionClosed as e:
            if isinstance(last, Error) and e.rcvd is not None:
                lost = ConnectionLostError(last.message, last.code)
            elif e.rcvd is None:
                lost = ConnectionLostError(f"the connection with {self.url} was lost")
        except SignallingError as e:
            lost = ConnectionLostError(f"{self.url} sent what can't be read: {e}")
            await socket.close(1002)
        finally:
            self._lost = lost
            if self._answer is not None and not self._answer.done():
                self._answer.set_exception(self._lost)
            self._queue(None)

    def _take(self, message: ServerMessage) -> None:
        if self._expected is not None and self._answer is not None and not self._answer.done():
            reply, kind = self._expected
            # An error that names no message is about the one we wait for, if we wait: it could not even be read.
            if isinstance(message, reply) or (isinstance(message, Error) and message.re in (kind, None)):
                self._answer.set_result(message)
                return
        if isinstance(message, Unasked):
            self._queue(message)

    def _queue(self, message: Unasked | None) -> None:
        if self._unasked.full():
            self._unasked.get_nowait()
        self._unasked.put_nowait(message)


def _refusal(url: str, error: InvalidStatus) -> SignallingError:
    with contextlib.suppress(msgspec.DecodeError, msgspec.ValidationError):
        told = msgspec.json.decode(error.response.body or b"", type=dict[str, str])
        if "code" in told and "message" in told:
            return SignallingError(told["code"], told["message"])
    return SignallingError(
        "not-a-service", f"what answers at {url} is no streamsvc (HTTP {error.response.status_code})"
    )


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
