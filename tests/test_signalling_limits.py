"""Clients that misbehave, or may not come in: each is told why, and the others go on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import websockets.exceptions
from port import JOIN, ask, fetch, serving, told

from streamsvc.config import Limits, Server, Settings
from streamsvc.signalling import listener
from streamsvc.signalling.client import ConnectionLostError
from streamsvc.signalling.messages import (
    MAX_MESSAGE_BYTES,
    Configure,
    Error,
    Join,
    Joined,
    Notice,
    Offer,
    SignallingError,
    decode_server,
    encode,
)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"type":"dance"}', "bad-message"),
        ("{", "not-json"),
        (b'{"type":"leave"}', "bad-message"),
        ('{"type":"leave","v":2}', "bad-message"),
        (" " * (MAX_MESSAGE_BYTES + 1), "too-large"),
        (encode(Offer(sdp="v=0")), "unexpected"),
        (encode(Configure()), "unexpected"),
    ],
    ids=["unknown type", "malformed", "binary", "v:2", "oversize", "offer before join", "configure before join"],
)
async def test_bad_message_is_told_and_a_join_still_works(web: Path, text: str | bytes, code: str) -> None:
    async with serving(web) as s, s.raw() as socket:
        error = await told(socket, text)
        assert error.code == code and "Traceback" not in error.message
        assert isinstance(await ask(socket, encode(JOIN)), Joined)
        assert s.app.state.statistics().errors == {code: 1}


async def test_a_message_far_too_large_ends_only_that_connection(web: Path) -> None:
    async with serving(web) as s, s.client() as ana:
        await ana.join(JOIN)
        async with s.raw() as socket:
            with pytest.raises(websockets.exceptions.ConnectionClosed) as e:
                await socket.send("x" * 20 * MAX_MESSAGE_BYTES)
                await socket.recv()
            assert e.value.rcvd is None or e.value.rcvd.code == 1009
        await ana.offer(Offer(sdp="v=0"))


async def test_join_twice_name_taken_and_room_full_are_told_by_code(web: Path) -> None:
    async with serving(web) as s, s.client() as ana, s.client() as bo, s.client() as cy:
        await ana.join(JOIN)
        for client, join, code in (
            (ana, JOIN, "unexpected"),
            (bo, Join(room="Lab", name="ana"), "name-taken"),
            (bo, Join(room="lab", name="Bo"), None),
            (cy, Join(room="lab", name="Cy"), "room-full"),
            (cy, Join(room="glass", name="Cy", mirror=True), None),
        ):
            if code is None:
                await client.join(join)
                continue
            with pytest.raises(SignallingError) as e:
                await client.join(join)
            assert e.value.code == code
        assert sum(len(room.members) for room in s.hub.rooms.rooms()) == 3


async def test_too_many_failed_joins_close_the_connection(web: Path) -> None:
    async with serving(web, Settings(limits=Limits(join_attempts=2))) as s, s.client() as ana, s.client() as bo:
        await ana.join(JOIN)
        for code in ("name-taken", "name-taken"):
            with pytest.raises(SignallingError) as e:
                await bo.join(JOIN)
            assert e.value.code == code
        with pytest.raises(ConnectionLostError, match="already in room"):
            async for _ in bo.messages():
                pass
        with pytest.raises(ConnectionLostError):
            await bo.join(Join(room="lab", name="Bo"))


async def test_a_flood_is_told_and_closed_and_others_go_on(web: Path) -> None:
    limits = Limits(messages_per_s=1.0, message_burst=3)
    async with serving(web, Settings(limits=limits)) as s, s.client() as ana:
        await ana.join(JOIN)
        async with s.raw() as socket:
            codes = []
            with contextlib.suppress(websockets.exceptions.ConnectionClosed):
                for _ in range(200):
                    await socket.send("{")
            with contextlib.suppress(websockets.exceptions.ConnectionClosed):
                while True:
                    error = decode_server(await socket.recv())
                    codes.append(error.code if isinstance(error, Error) else "")
        assert codes[:4] == ["not-json", "not-json", "not-json", "too-many-messages"]
        assert len(codes) < 12
        await ana.offer(Offer(sdp="v=0"))


async def test_who_does_not_join_in_time_is_told_and_closed(web: Path) -> None:
    async with serving(web, Settings(limits=Limits(join_timeout_s=0.1))) as s, s.raw() as socket:
        error = decode_server(await socket.recv())
        assert isinstance(error, Error) and error.code == "join-timeout"
        with pytest.raises(websockets.exceptions.ConnectionClosed) as e:
            await socket.recv()
        assert e.value.rcvd is not None and e.value.rcvd.code == 1008


async def test_a_client_that_does_not_read_leaves_and_the_server_still_stops(web: Path) -> None:
    async with serving(web, Settings(limits=Limits(outbox=4))) as s:
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port, limit=1024)
        key = "dGhlIHNhbXBsZSBub25jZQ=="
        writer.write(
            f"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        await reader.readuntil(b"\r\n\r\n")
        payload = encode(JOIN).encode()
        mask = b"\x01\x02\x03\x04"
        masked = bytes(b ^ mask[i % 4] for i, b in enumerate(payload))
        writer.write(bytes([0x81, 0x80 | 126]) + len(payload).to_bytes(2, "big") + mask + masked)
        await reader.readexactly(2)  # the header of the frame that says joined
        while not s.hub.left.is_set():
            s.hub.push("s1", Notice(code="news", message="x" * 200_000))
            await asyncio.sleep(0)
        assert s.hub.calls.count(("s1", "leave")) == 1
    writer.transport.abort()


# Tokens, origins, limits of the port.


async def test_nobody_joins_without_a_token_and_metrics_ask_for_one(
    web: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="streamsvc")
    tokens = tmp_path / "tokens"
    tokens.write_text("alpha-token\nbeta-token room=other\n")
    async with serving(web, Settings(server=Server(token_file=tokens))) as s:
        for token in (None, "wrong-token", "beta-token"):
            async with s.client() as c:
                with pytest.raises(SignallingError) as e:
                    await c.join(Join(room="lab", name="Ana", token=token))
                assert e.value.code == "bad-token"
        async with s.client() as c:
            await c.join(Join(room="lab", name="Ana", token="alpha-token"))
        assert (await fetch(s.url + "/metrics"))[0] == 401
        assert (await fetch(s.url + "/metrics", Authorization="Bearer beta-token"))[0] == 401
        assert (await fetch(s.url + "/metrics", Authorization="Bearer alpha-token"))[0] == 200
        assert (await fetch(s.url + "/healthz"))[0] == 200
    assert "-token" not in caplog.text


async def test_pages_of_other_sites_are_refused_before_the_handshake(web: Path) -> None:
    settings = Settings(server=Server(allowed_origins=("https://friend.example",)))
    async with serving(web, settings) as s:
        with pytest.raises(websockets.exceptions.InvalidStatus) as e:
            async with s.raw(origin="https://evil.example"):
                pass
        assert e.value.response.status_code == 403
        assert json.loads(e.value.response.body or b"")["code"] == "foreign-origin"
        for origin in (s.url, "https://friend.example"):
            async with s.raw(origin=origin) as socket:
                assert isinstance(await ask(socket, encode(JOIN)), Joined)
            await s.hub.left.wait()
            s.hub.left.clear()
        assert s.app.state.statistics().refused_total == 1


async def test_connections_above_the_limit_are_refused_with_a_reason(web: Path) -> None:
    async with serving(web, Settings(limits=Limits(max_connections=1))) as s, s.client() as ana:
        await ana.join(JOIN)
        with pytest.raises(SignallingError) as e:
            async with s.client() as bo:
                await bo.join(Join(room="lab", name="Bo"))
        assert e.value.code == "service-full"
        await ana.leave()
        await s.hub.left.wait()
        async with s.client() as bo:
            await bo.join(JOIN)


async def test_who_connects_and_asks_for_nothing_is_cut_off_and_who_does_stays(
    web: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "REQUEST_S", 0.2)
    async with serving(web) as s, s.client() as ana:
        await ana.join(JOIN)
        port = urlsplit(s.url).port
        silent = await asyncio.open_connection("127.0.0.1", port)
        slow = await asyncio.open_connection("127.0.0.1", port)
        slow[1].write(b"GET / HT")
        again = await asyncio.open_connection("127.0.0.1", port)
        again[1].write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        await again[0].readuntil(b'{"ok":true,"v":"1"}')
        again[1].write(b"GET / HT")
        for reader, writer in (silent, slow, again):
            async with asyncio.timeout(5):
                assert await reader.read() == b""
            writer.close()
        assert (await fetch(s.url + "/"))[0] == 200
        await ana.configure(Configure())
