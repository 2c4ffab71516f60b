"""The port and the client, for real: uvicorn on loopback, our client, and clients that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import json
import logging
import os
import signal
import socket
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
import websockets.exceptions
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fakehub import FakeHub
from port import fetch, serving
from websockets.asyncio.client import ClientConnection

from streamsvc.config import ConfigError, Limits, Server, Settings
from streamsvc.errors import StreamsvcError
from streamsvc.signalling import listener
from streamsvc.signalling.client import ConnectionLostError, SignallingClient, signalling_url
from streamsvc.signalling.listener import ListenError, reserve, run_server
from streamsvc.signalling.messages import (
    MAX_MESSAGE_BYTES,
    Candidate,
    Configure,
    Error,
    Join,
    Joined,
    Notice,
    Offer,
    Peers,
    Record,
    Recording,
    SignallingError,
    ViewSettings,
    decode_server,
    encode,
)
from streamsvc.signalling.server import create_app

JOIN = Join(room="lab", name="Ana")


async def ask(socket: ClientConnection, text: str | bytes) -> Any:
    await socket.send(text)
    return decode_server(await socket.recv())


async def told(socket: ClientConnection, text: str | bytes) -> Error:
    answer = await ask(socket, text)
    assert isinstance(answer, Error)
    return answer


# The page and the other addresses.


async def test_page_and_modules_come_with_their_types_and_strict_headers(web: Path) -> None:
    async with serving(web) as s:
        for path, kind in (
            ("/", "text/html; charset=utf-8"),
            ("/room/my%20lab", "text/html; charset=utf-8"),
            ("/lib/call.js", "text/javascript; charset=utf-8"),
            ("/lib/m.mjs", "text/javascript; charset=utf-8"),
            ("/lib/w.wasm", "application/wasm"),
        ):
            status, headers, _ = await fetch(s.url + path)
            assert (status, headers["content-type"]) == (200, kind)
            assert "default-src 'none'" in headers["content-security-policy"]
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cache-control"] == "no-cache"
            assert headers["server"] is None
        etag = (await fetch(s.url + "/lib/call.js"))[1]["etag"]
        assert (await fetch(s.url + "/lib/call.js", **{"If-None-Match": etag}))[0] == 304


async def test_only_the_trackers_worker_may_run_webassembly_and_its_package_comes_from_the_cache(
    web: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMSVC_CACHE", str(tmp_path / "cache"))
    (web / "faceworker.js").write_text("importScripts('/face_mesh/face_mesh.js')")
    async with serving(web) as s:
        _, headers, _ = await fetch(s.url + "/faceworker.js")
        policy = headers["content-security-policy"]
        assert "'wasm-unsafe-eval'" in policy and "'unsafe-eval'" not in policy and "default-src 'none'" in policy
        unchanged, headers, _ = await fetch(s.url + "/faceworker.js", **{"If-None-Match": headers["etag"]})
        assert (unchanged, headers["content-security-policy"]) == (304, policy)
        assert (await fetch(s.url + "/face_mesh/x.wasm"))[0] == 404
        package = tmp_path / "cache" / "face_mesh"
        package.mkdir(parents=True)
        (package / "x.wasm").write_bytes(b"\0asm")
        status, headers, _ = await fetch(s.url + "/face_mesh/x.wasm")
        assert (status, headers["content-type"]) == (200, "application/wasm")
        assert "unsafe" not in headers["content-security-policy"]


@pytest.mark.parametrize(
    "path",
    [
        "/../outside.txt",
        "/%2e%2e/outside.txt",
        "/lib/..%2f..%2foutside.txt",
        "/link.txt",
        "/.secret",
        "/lib/%00",
        "//etc/passwd",
        "/none.js",
        "/lib",
        "/" + "a" * 5000,
    ],
)
async def test_nothing_outside_the_folder_nor_hidden_is_served(web: Path, path: str) -> None:
    async with serving(web) as s:
        # By hand, because a client library tidies the path.
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        assert answer.split(b" ")[1] in (b"404", b"307"), answer[:200]
        assert b"outside" not in answer.partition(b"\r\n\r\n")[2] and b"hidden" not in answer and b"root:" not in answer
        assert b"nosniff" in answer


async def test_health_metrics_and_schema_are_served(web: Path) -> None:
    async with serving(web) as s:
        status, _, body = await fetch(s.url + "/healthz")
        assert (status, json.loads(body)) == (200, {"ok": True, "v": "1"})
        status, headers, body = await fetch(s.url + "/metrics")
        assert (status, body) == (200, b"streamsvc_up 1\n")
        assert headers["content-type"].startswith("text/plain; version=")
        status, _, body = await fetch(s.url + "/schema.json")
        assert status == 200 and "Join" in json.loads(body)["$defs"]
        assert (await fetch(s.url + "/healthz", "POST"))[0] == 405
    async with serving(web, health={"ok": False, "why": "no worker"}) as s:
        assert (await fetch(s.url + "/healthz"))[0] == 503


async def test_a_folder_without_a_page_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no index\.html"):
        create_app(FakeHub(), Settings(), web=tmp_path, metrics=lambda: b"", health=dict)


# The ordinary way.


async def test_two_people_join_negotiate_configure_and_leave(web: Path) -> None:
    async with serving(web) as s, s.client() as ana:
        joined = await ana.join(JOIN)
        assert (joined.room, joined.peers) == ("lab", [])
        assert (await ana.offer(Offer(sdp="v=0"))).sdp == "answer to 3"
        await ana.candidate(Candidate(candidate="candidate:1"))
        configured = await ana.configure(Configure(view=ViewSettings(width=320)))
        assert configured.settings["view"] == {"width": 320}
        assert await ana.record(Record(action="ask")) == Recording(state="off")
        s.hub.raises["record"] = SignallingError("not-recording", "this service does not record")
        with pytest.raises(SignallingError, match="does not record"):
            await ana.record(Record(action="ask"))
        news = ana.messages()
        assert await anext(news) == Peers(peers=[])
        async with s.client() as bo:
            assert (await bo.join(Join(room="lab", name="Bo"))).peers == ["Ana"]
            assert await anext(news) == Peers(peers=["Bo"])
            s.hub.push("s1", Notice(code="no-rig", message="passes through"))
            assert await anext(news) == Notice(code="no-rig", message="passes through")
        assert await anext(news) == Peers(peers=[])
        await ana.leave()
        assert [m async for m in news] == []
    assert [what for session, what in s.hub.calls if session == "s1"] == [
        "offer",
        "candidate",
        "configure",
        "record",
        "record",
        "leave",
    ]
    assert not s.hub.rooms.rooms()


async def test_joined_comes_before_what_the_hub_sends_while_it_admits(web: Path) -> None:
    async with serving(web) as s, s.raw() as socket:
        assert isinstance(await ask(socket, encode(JOIN)), Joined)
        assert decode_server(await socket.recv()) == Peers(peers=[])


async def test_participant_leaves_once_when_the_socket_vanishes(web: Path) -> None:
    async with serving(web) as s:
        async with s.client() as ana:
            await ana.join(JOIN)
            assert ana._socket is not None
            ana._socket.transport.abort()
            await s.hub.left.wait()
            with pytest.raises(ConnectionLostError):
                await ana.offer(Offer(sdp="v=0"))
            with pytest.raises(ConnectionLostError):
                async for _ in ana.messages():
                    pass
        assert s.hub.calls.count(("s1", "leave")) == 1
        async with s.client() as again:
            await again.join(JOIN)


async def test_who_vanished_has_the_session_again_on_another_socket(web: Path) -> None:
    async with serving(web) as s:
        s.hub.waits = True
        ana = s.client()
        await ana.open()
        joined = await ana.join(JOIN)
        assert joined.resume == "s1" and not joined.resumed
        await ana.abandon()
        async with s.client() as again:
            back = await again.join(msgspec.structs.replace(JOIN, resume=joined.resume))
            assert back.resumed and back.session == joined.session
            s.hub.push("s1", Notice(code="x", message="to the new socket"))
            assert await anext(again.messages()) == Notice(code="x", message="to the new socket")
        await s.hub.left.wait()
        assert s.hub.calls.count(("s1", "leave")) == 1 and s.hub.calls.count(("s1", "detach")) <= 1


async def test_an_old_socket_does_not_end_what_a_new_one_has_taken_up(web: Path) -> None:
    async with serving(web) as s:
        old = s.client()
        await old.open()
        joined = await old.join(JOIN)
        async with s.client() as new:
            await new.join(msgspec.structs.replace(JOIN, resume=joined.resume))
            await old.leave()
            assert (await new.offer(Offer(sdp="v=0"))).sdp == "answer to 3"
            assert ("s1", "leave") not in s.hub.calls and ("s1", "detach") not in s.hub.calls


# Input that is wrong: told, and the connection goes on.


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


# What the hub raises.


class BadSdpError(StreamsvcError):
    code = "bad-sdp"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (BadSdpError("that is not SDP"), "bad-sdp", "that is not SDP"),
        (StreamsvcError("the rig has no cameras"), "bad-input", "the rig has no cameras"),
        (ValueError("v=0 secret-sdp"), "internal", "its log says why"),
    ],
)
async def test_errors_of_the_hub_become_codes_and_the_call_goes_on(
    web: Path, error: Exception, code: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(web) as s, s.client() as ana:
        await ana.join(JOIN)
        s.hub.raises["offer"] = error
        with pytest.raises(SignallingError, match=message) as e:
            await ana.offer(Offer(sdp="v=0"))
        assert e.value.code == code
        s.hub.raises.clear()
        await ana.offer(Offer(sdp="v=0"))
    assert "secret-sdp" not in caplog.text
    assert ("offer failed with ValueError" in caplog.text) == (code == "internal")


async def test_a_failed_candidate_is_told_unasked(web: Path) -> None:
    async with serving(web) as s, s.client() as ana:
        await ana.join(JOIN)
        await ana.offer(Offer(sdp="v=0"))
        s.hub.raises["candidate"] = StreamsvcError("not a candidate")
        await ana.candidate(Candidate(candidate="nonsense"))
        await ana.configure(Configure())
        news = [await anext(ana.messages()) for _ in range(2)]
        assert Error(code="bad-input", message="not a candidate", re="candidate") in news


async def test_a_hub_that_hangs_is_cut_off_and_told(web: Path) -> None:
    async with serving(web, Settings(limits=Limits(answer_timeout_s=0.1))) as s, s.client() as ana:
        s.hub.hangs.add("join")
        with pytest.raises(SignallingError) as e:
            await ana.join(JOIN)
        assert e.value.code == "timeout"
        s.hub.hangs.clear()
        await ana.join(JOIN)


async def test_a_participant_that_fails_to_leave_harms_nobody(web: Path) -> None:
    async with serving(web) as s, s.client() as bo:
        async with s.client() as ana:
            await ana.join(JOIN)
            s.hub.raises["leave"] = RuntimeError("v=0")
        await bo.join(JOIN)
        s.hub.raises.clear()


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


# Listening and stopping.


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


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "streamsvc test")])
    now = datetime.datetime.now(datetime.UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / f"{name}.crt", folder / f"{name}.key"
    cert_file.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return cert_file, key_file


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


# The client alone.


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("http://a:1", "ws://a:1/ws"),
        ("https://a/", "wss://a/ws"),
        ("https://a/room/lab?x=1#y", "wss://a/ws"),
        ("https://a/call/room/lab", "wss://a/call/ws"),
        ("ws://a/ws", "ws://a/ws"),
        ("wss://[::1]:8/", "wss://[::1]:8/ws"),
        ("127.0.0.1:8080", "ws://127.0.0.1:8080/ws"),
    ],
)
def test_any_address_of_a_service_means_its_websocket(given: str, expected: str) -> None:
    assert signalling_url(given) == expected


@pytest.mark.parametrize("given", ["", "ftp://a", "http://", "http://[", "http://a:99999", "http:///x"])
def test_what_is_no_address_is_told(given: str) -> None:
    with pytest.raises(SignallingError) as e:
        signalling_url(given)
    assert e.value.code == "bad-url"


async def test_refused_connections_and_other_servers_are_told(web: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(SignallingError) as e:
            async with SignallingClient(f"http://127.0.0.1:{free.getsockname()[1]}"):
                pass
        assert e.value.code == "refused"
    async with serving(web) as s:
        with pytest.raises(SignallingError) as e:
            async with SignallingClient(s.url + "/elsewhere"):
                pass
        assert e.value.code == "not-a-service"


async def test_a_server_that_says_nonsense_or_nothing_is_told() -> None:
    async def nonsense(ws: Any) -> None:
        await ws.recv()
        await ws.send("nonsense")
        await ws.wait_closed()

    async def silence(ws: Any) -> None:
        await ws.wait_closed()

    from websockets.asyncio.server import serve

    for handler, code in ((nonsense, "connection-lost"), (silence, "timeout")):
        async with serve(handler, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with SignallingClient(f"ws://127.0.0.1:{port}", timeout_s=0.3) as c:
                with pytest.raises(SignallingError) as e:
                    await c.join(JOIN)
                assert e.value.code == code
