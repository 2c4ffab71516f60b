"""The port itself: reserved, opened with TLS or without, and closed whatever happens."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
from pathlib import Path

import pytest
import websockets.exceptions
from cryptography.hazmat.primitives import serialization
from fakehub import FakeHub
from port import JOIN, certificate, fetch, serving

from streamsvc.config import Server, Settings
from streamsvc.signalling.client import ConnectionLostError, SignallingClient
from streamsvc.signalling.listener import ListenError, reserve, run_server
from streamsvc.signalling.messages import (
    SignallingError,
)
from streamsvc.signalling.server import create_app


def test_port_in_use_is_told_with_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=f"port {port} of 127.0.0.1 is in use.*--port"):
            reserve("127.0.0.1", port)


async def test_a_port_that_is_reserved_is_nobody_elses_and_answers_nobody_yet(web: Path) -> None:
    reserved = reserve("127.0.0.1", 0)
    port = reserved.sockets[0].getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    app = create_app(FakeHub(), Settings(), web=web, metrics=lambda: b"", health=dict)
    stop, up = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(run_server(app, reserved, lambda number: up.set() if number == port else None, stop))
    await asyncio.wait_for(up.wait(), 20)
    with pytest.raises(ListenError, match="in use"):
        reserve("127.0.0.1", port)
    stop.set()
    await task


async def test_who_was_told_to_stop_is_never_ready(web: Path) -> None:
    app = create_app(FakeHub(), Settings(), web=web, metrics=lambda: b"", health=dict)
    stop = asyncio.Event()
    stop.set()
    ports: list[int] = []
    await run_server(app, reserve("127.0.0.1", 0), ports.append, stop)
    assert ports == []


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host", "a" * 300])
def test_a_host_that_is_not_ours_is_told(host: str) -> None:
    with pytest.raises(ListenError, match="no address of this machine"):
        reserve(host, 0)


async def test_localhost_listens_on_one_port_of_every_loopback_address(web: Path) -> None:
    async with serving(web, Settings(server=Server(host="localhost"))) as s:
        assert (await fetch(f"http://localhost:{s.port}/healthz"))[0] == 200


async def test_stop_ends_with_sockets_open_and_everyone_leaves(web: Path) -> None:
    async with serving(web) as s, s.client() as ana, s.raw() as idle:
        await ana.join(JOIN)
        half, writer = await asyncio.open_connection("127.0.0.1", s.port)
        writer.write(b"GET / HT")
        s.stop.set()
        await s.task
        assert ("s1", "leave") in s.hub.calls
        with pytest.raises(ConnectionLostError):
            async for _ in ana.messages():
                pass
        with pytest.raises(websockets.exceptions.ConnectionClosed):
            await idle.recv()
        assert await half.read() is not None
        writer.close()
        with pytest.raises(SignallingError) as e:
            async with s.client():
                pass
        assert e.value.code == "refused"


async def test_signals_stay_with_who_owns_the_process(web: Path) -> None:
    got = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, got.set)
    try:
        async with serving(web) as s:
            os.kill(os.getpid(), signal.SIGTERM)
            await got.wait()
            assert (await fetch(s.url + "/healthz"))[0] == 200
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


async def test_a_cancelled_server_leaves_no_port_open(web: Path) -> None:
    async with serving(web) as s, s.client() as ana:
        await ana.join(JOIN)
        s.task.cancel()
        await asyncio.wait({s.task})
        assert s.task.cancelled()
        assert ("s1", "leave") in s.hub.calls
        with socket.socket() as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind(("127.0.0.1", s.port))


# TLS.


async def test_tls_serves_those_who_trust_it_and_tells_those_who_do_not(web: Path, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "a")
    async with serving(web, Settings(server=Server(tls_cert=cert, tls_key=key))) as s:
        url = f"https://127.0.0.1:{s.port}"
        async with SignallingClient(url, tls=ssl.create_default_context(cafile=str(cert))) as ana:
            await ana.join(JOIN)
        for address, code in ((url, "tls"), (s.url, "not-a-service")):
            with pytest.raises(SignallingError) as e:
                async with SignallingClient(address):
                    pass
            assert e.value.code == code


async def test_tls_files_that_are_wrong_are_named(web: Path, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "a")
    _, other = certificate(tmp_path, "b")
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    locked = tmp_path / "locked.key"
    secret = serialization.load_pem_private_key(key.read_bytes(), None)
    locked.write_bytes(
        secret.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"passphrase"),
        )
    )
    for c, k, words in (
        (tmp_path / "none.crt", key, "none.crt can't be read: No such file"),
        (cert, tmp_path / "none.key", "none.key can't be read"),
        (cert, other, "b.key is not the key of the certificate"),
        (junk, key, "junk.pem.*must be PEM"),
        (cert, locked, "without a passphrase"),
        (cert, None, "needs both"),
    ):
        with pytest.raises(ListenError, match=words):
            reserve("127.0.0.1", 0, c, k)
