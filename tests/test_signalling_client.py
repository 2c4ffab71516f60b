"""Our client: the addresses it takes, and servers that misbehave."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from port import JOIN, serving

from streamsvc.signalling.client import SignallingClient, signalling_url
from streamsvc.signalling.messages import (
    SignallingError,
)


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
