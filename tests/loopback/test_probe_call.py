"""The probe against a real service, in one process and in two halves, and against a stock aiortc echo."""

import asyncio
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from calls import service

from streamsvc.probe import PostOfferError, ProbeOptions, run_probe
from streamsvc.probe.figures import GOOD


async def test_a_probe_dates_what_it_sees_by_the_card_and_knows_where_the_time_went(tmp_path: Path) -> None:
    async with service(tmp_path) as (_, url):
        found = await run_probe(
            ProbeOptions(url=url, out=tmp_path, seconds=7, warm_up_s=2, budget_ms=2000, fps=10), lambda line: None
        )
    figures = found.figures
    view = figures["view"]
    assert view["due"] >= 20 and view["fps"] > 2
    assert view["strange"] == 0 and view["unreadable"] <= 0.05 * view["due"]
    assert view["latency_p50_ms"] > 5
    assert {"receive", "convert", "disparity", "blend"} <= figures["stages"].keys() and view["rungs"]
    # Both clocks are this host's, so what RTP says is what the card says.
    assert abs(figures["clock"]["rtp_minus_card_p50_ms"]) < 20
    assert figures["sound"]["n"] + figures["sound"]["lost"] > 0
    if not figures["doubts"]:
        assert figures["verdict"] == ("good" if view["goodput"] >= GOOD else "poor")


async def test_two_halves_measure_on_the_servers_clock(tmp_path: Path) -> None:
    async with service(tmp_path) as (_, url):
        common = {
            "url": url,
            "out": tmp_path,
            "room": "two",
            "seconds": 8,
            "warm_up_s": 2,
            "budget_ms": 2000,
            "fps": 10,
        }
        # On a busy machine the watcher may join seconds later.
        sending = {**common, "seconds": 16}
        sender = asyncio.create_task(run_probe(ProbeOptions(role="send", **sending), lambda line: None))
        watcher = await run_probe(ProbeOptions(role="watch", **common), lambda line: None)
        sent = await sender
    assert sent.figures["captured"] > 20 and sent.figures["clock_error_ms"] > 0
    view = watcher.figures["view"]
    assert view["fps"] > 2 and view["strange"] == 0 and view["latency_p50_ms"] > 5
    # The sender's error came by the service: none of the doubts is that nobody knows it.
    assert watcher.figures["clock"]["error_ms"] > 0
    assert not watcher.figures["sound"]


@contextmanager
def stock_echo() -> Iterator[str]:
    """A server like those of aiortc's examples: an offer by POST, and every track goes back as it came."""
    loop = asyncio.new_event_loop()
    calls: list[RTCPeerConnection] = []

    async def answer(offer: dict[str, str]) -> dict[str, str]:
        call = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        calls.append(call)
        call.on("track", call.addTrack)
        await call.setRemoteDescription(RTCSessionDescription(offer["sdp"], offer["type"]))
        await call.setLocalDescription(await call.createAnswer())
        return {"sdp": call.localDescription.sdp, "type": call.localDescription.type}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            offer = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps(asyncio.run_coroutine_threadsafe(answer(offer), loop).result(20)).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threads = [Thread(target=loop.run_forever), Thread(target=server.serve_forever)]
    for thread in threads:
        thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/offer"
    finally:
        server.shutdown()
        server.server_close()
        for call in calls:
            asyncio.run_coroutine_threadsafe(call.close(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        for thread in threads:
            thread.join()
        loop.close()


async def test_a_server_that_is_not_ours_is_measured_by_the_same_card(tmp_path: Path) -> None:
    logging.getLogger("aiortc").setLevel(logging.WARNING)
    with stock_echo() as url:
        found = await run_probe(
            ProbeOptions(url=url, out=tmp_path, seconds=7, warm_up_s=2, budget_ms=2000, fps=10), lambda line: None
        )
    view, sound = found.figures["view"], found.figures["sound"]
    assert view["fps"] > 5 and view["strange"] == 0 and view["latency_p50_ms"] > 20
    assert sound["n"] > 0 and sound["p50_ms"] > 20
    assert not found.figures["stages"] and found.figures["clock"]["rtp_minus_card_p50_ms"] is None


async def test_a_server_that_refuses_the_offer_is_named(tmp_path: Path) -> None:
    async with service(tmp_path) as (_, url):
        with pytest.raises(PostOfferError, match="offer"):
            await run_probe(ProbeOptions(url=f"{url}/offer", out=tmp_path, seconds=12), lambda line: None)
