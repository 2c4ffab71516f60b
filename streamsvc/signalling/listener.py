"""Listening on one TCP port with uvicorn, inside a loop that is already running.

Promises: what can't be listened on is told by `reserve`, before anything starts, as a ListenError; no signal handler is
installed and no logger configured; once told to stop, it returns within `STOP_TIMEOUT_S` and a little, whatever clients
do.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from streamsvc.errors import StreamsvcError
from streamsvc.signalling.messages import MAX_MESSAGE_BYTES

_log = logging.getLogger(__name__)
STOP_TIMEOUT_S = 3
# Above this uvicorn ends the connection itself (close code 1009); between the two limits the client is told.
FRAME_LIMIT_BYTES = 4 * MAX_MESSAGE_BYTES
PING_INTERVAL_S = 10.0
# A client that takes no bytes for this long is cut off by the kernel, so that a full buffer holds nothing for ever.
UNACKNOWLEDGED_MS = 20_000
REQUEST_S = 10.0
"""A client that has not said by then what it wants, at first or after an answer, is cut off: it would hold a file
descriptor for nothing."""


class ListenError(StreamsvcError):
    """The port can't be opened: names address, port or file, and what to do."""


@dataclass(frozen=True, slots=True)
class Reserved:
    """A port that is ours, and on which nobody is answered yet: who connects is refused until `run_server`."""

    sockets: list[socket.socket]
    tls: ssl.SSLContext | None

    def close(self) -> None:
        """Give the port back."""
        for listener in self.sockets:
            listener.close()


def reserve(host: str, port: int, tls_cert: Path | None = None, tls_key: Path | None = None) -> Reserved:
    """Return `host`:`port`, any free one for port 0. With `tls_cert` and `tls_key`, PEM files, it speaks HTTPS. Raises
    ListenError."""
    context = tls_context(tls_cert, tls_key)
    return Reserved(open_sockets(host, port), context)


async def run_server(app: ASGIApp, reserved: Reserved, ready: Callable[[int], None], stop: asyncio.Event) -> None:
    """Serve `app` on the port until `stop` is set; then close every WebSocket with code 1012, and the port, and return.

    `ready` is called once, with the port's number, when connections are accepted; not when `stop` came first.
    """
    sockets = reserved.sockets

    def accepting() -> None:
        if not stop.is_set():
            ready(sockets[0].getsockname()[1])

    config = uvicorn.Config(
        app,
        ws="websockets-sansio",
        ws_max_size=FRAME_LIMIT_BYTES,
        ws_per_message_deflate=False,  # small messages, and 40 KB a connection saved
        ws_ping_interval=PING_INTERVAL_S,
        ws_ping_timeout=PING_INTERVAL_S,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=STOP_TIMEOUT_S,
    )
    config.load()
    config.http_protocol_class = _impatient(config.http_protocol_class)
    config.ssl = reserved.tls
    server = _Server(config, accepting)
    serving = asyncio.create_task(server.serve(sockets=sockets), name="signalling-server")
    stopping = asyncio.create_task(stop.wait(), name="signalling-stop")
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        server.should_exit = True
        # Shielded: a caller that is itself cancelled must not leave a port open behind it.
        await asyncio.shield(_finish(server, serving, reserved))


async def _finish(server: _Server, serving: asyncio.Task[None], reserved: Reserved) -> None:
    try:
        await asyncio.wait({serving}, timeout=2.0 * STOP_TIMEOUT_S)
        serving.cancel()
        outcome = (await asyncio.gather(serving, return_exceptions=True))[0]
        if server.server_state.tasks:
            await asyncio.wait(server.server_state.tasks, timeout=STOP_TIMEOUT_S)
        for connection in list(server.server_state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()
        if isinstance(outcome, Exception):
            raise outcome
    finally:
        reserved.close()


def open_sockets(host: str, port: int) -> list[socket.socket]:
    """Return sockets bound to every address of `host`, all on one port; raises ListenError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError, OverflowError):
        raise ListenError(f"the host {host!r} is no address of this machine; try 127.0.0.1 or 0.0.0.0") from None
    sockets: list[socket.socket] = []
    failed: OSError | None = None
    for family, kind, protocol, _, address in dict.fromkeys(found):
        shared = sockets[0].getsockname()[1] if sockets else port
        try:
            sockets.append(_open(family, kind, protocol, (address[0], shared, *address[2:])))
        except OSError as e:
            failed = e
            if e.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                break
    if failed is not None and (not sockets or failed.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)):
        for listener in sockets:
            listener.close()
        raise _explain(failed, host, port)
    return sockets


def _open(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def _explain(error: OSError, host: str, port: int) -> ListenError:
    if error.errno == errno.EADDRINUSE:
        return ListenError(
            f"port {port} of {host} is in use; stop what uses it, or choose another with --port (0 takes any free one)"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return ListenError(f"port {port} of {host} needs privileges that this user lacks; choose one above 1023")
    if error.errno == errno.EADDRNOTAVAIL:
        return ListenError(f"{host} is no address of this machine; try 127.0.0.1 or 0.0.0.0")
    return ListenError(f"port {port} of {host} can't be opened: {error.strerror}")


def tls_context(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """Return the TLS side of the port, None without a certificate; raises ListenError naming the file that is wrong."""
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise ListenError("HTTPS needs both a certificate (--tls-cert) and its key (--tls-key)")
    for file, what in ((cert, "certificate"), (key, "key")):
        try:
            with file.open("rb"):
                pass
        except OSError as e:
            raise ListenError(f"the TLS {what} {file} can't be read: {e.strerror}") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # Without a password callback OpenSSL would ask for one on the terminal and wait.
        context.load_cert_chain(cert, key, password=lambda: "")
    except ssl.SSLError as e:
        if e.reason == "KEY_VALUES_MISMATCH":
            raise ListenError(f"the TLS key {key} is not the key of the certificate {cert}") from None
        raise ListenError(
            f"the TLS certificate {cert} and key {key} must be PEM files, the key without a passphrase"
        ) from None
    return context


def _impatient(stock: type[Any]) -> type[Any]:
    """uvicorn's HTTP protocol, which by itself waits for a request, or the rest of one, for ever."""

    class Impatient(stock):  # type: ignore[misc]
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self.waiting: asyncio.TimerHandle | None = None
            self.wait()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            answering = self.cycle is not None and not self.cycle.response_complete
            # Or the connection became a WebSocket, which has limits of its own.
            if answering or self.transport.get_protocol() is not self:
                self.wait_no_longer()
            else:
                self.wait()

        def connection_lost(self, exc: Exception | None) -> None:
            self.wait_no_longer()
            super().connection_lost(exc)

        def wait(self) -> None:
            if self.waiting is None:
                self.waiting = asyncio.get_running_loop().call_later(REQUEST_S, self.transport.abort)

        def wait_no_longer(self) -> None:
            if self.waiting is not None:
                self.waiting.cancel()
                self.waiting = None

    return Impatient


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, and with a word when it listens."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._ready()
