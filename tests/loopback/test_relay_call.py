"""Through a TURN server and no other way: coturn, one that refuses, one that doesn't answer, and none at all."""

import asyncio
import time
from pathlib import Path

import msgspec
import pytest
from calls import service
from coturn import SECRET, coturn, free_port
from port import serving

from streamsvc import config
from streamsvc.edge import Connection, EdgeError, IceServer, VideoOut
from streamsvc.probe import ProbeError, ProbeOptions, run_probe
from streamsvc.probe.options import check
from streamsvc.signalling.turn import credential

UP_S = 240


def options(url: str, out: Path) -> ProbeOptions:
    return ProbeOptions(
        url=url, out=out, seconds=6, warm_up_s=1, budget_ms=2000, fps=10, cameras=1, size=(320, 240), relay=True
    )


async def relayed_offer(port: int, secret: str) -> str:
    username, key = credential(secret, "ada", time.time())
    servers = [IceServer((f"turn:127.0.0.1:{port}",), username, key)]
    connection = Connection(ice_servers=servers, relay_only=True)
    try:
        return await connection.offer([VideoOut()], None)
    finally:
        await connection.close()


async def test_only_relays_are_candidates_and_only_for_holders_of_the_secret(tmp_path: Path) -> None:
    async with asyncio.timeout(UP_S), coturn(tmp_path) as port:
        offer = await relayed_offer(port, SECRET)
        candidates = [line for line in offer.splitlines() if line.startswith("a=candidate:")]
        assert candidates and all(" typ relay " in line for line in candidates)
        with pytest.raises(EdgeError, match=f"127.0.0.1:{port} gives no relay.*refuses the credentials") as refused:
            await relayed_offer(port, "another secret")
        assert refused.value.code == "no-relay"


async def test_a_turn_server_that_does_not_answer_is_named() -> None:
    port = free_port()
    with pytest.raises(EdgeError, match=f"127.0.0.1:{port} gives no relay: it does not answer"):
        await relayed_offer(port, SECRET)


async def test_a_probe_goes_through_the_turn_server_that_the_service_offers(tmp_path: Path) -> None:
    async with asyncio.timeout(UP_S), coturn(tmp_path) as port:
        offered = [msgspec.to_builtins(config.IceServer((f"turn:127.0.0.1:{port}",), secret=SECRET))]
        async with service(tmp_path, **{"server.ice_servers": offered}) as (_, url):
            found = await run_probe(options(url, tmp_path), lambda _: None)
    assert found.figures["view"]["fps"] > 2
    assert found.figures["conditions"]["network"] == "through the TURN server that the service offers, only"


async def test_a_service_that_offers_no_turn_server_is_a_clear_error(tmp_path: Path, web: Path) -> None:
    async with serving(web) as fake:
        with pytest.raises(EdgeError, match="none that we can use is offered") as raised:
            await run_probe(options(fake.url, tmp_path), lambda _: None)
    assert raised.value.code == "no-turn"


def test_what_can_not_be_relayed_is_refused_before_it_begins(tmp_path: Path) -> None:
    with pytest.raises(ProbeError, match="leave out --browser and --network"):
        check(options("http://127.0.0.1:8080/offer", tmp_path))
