"""docker-compose.yml: its parts fit together, and each service's own command, as written in the file, comes up.

There is no container engine here, so the commands are started on this machine; only names of hosts, ports, and paths
inside the containers are replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from asyncio.subprocess import Process
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from aioice import stun, turn
from coturn import ROOT, SECRET, compose, coturn, free_port, running, services, tail

from streamsvc.config import load
from streamsvc.signalling.turn import credential

UP_S = 240


def test_no_secret_is_committed() -> None:
    with pytest.raises(KeyError, match="TURN_SECRET"):
        compose({})


def test_there_is_a_service_two_peers_and_a_turn_server() -> None:
    assert set(services()) == {"service", "peer-ada", "peer-bo", "coturn"}
    assert "name" not in compose({"TURN_SECRET": SECRET})


def test_what_a_service_waits_for_exists_and_tells_its_health() -> None:
    everything = services()
    for service in everything.values():
        for name, wait in service.get("depends_on", {}).items():
            assert wait == {"condition": "service_healthy"}
            assert not everything[name].get("healthcheck", {}).get("disable")


def test_the_settings_of_the_service_are_accepted() -> None:
    settings = load(None, services()["service"]["environment"], {})
    assert [s.secret for s in settings.server.ice_servers] == [SECRET, SECRET]
    assert settings.ledger.path == Path("/var/lib/streamsvc/ledger.jsonl")


def test_what_the_image_is_built_from_is_in_the_tree_and_not_ignored() -> None:
    recipe = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[0] == "!"}
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", recipe, re.M)
        for source in line.split()[:-1]
        if source != "."
    ]
    assert copied
    for source in [*copied, *kept]:
        assert (ROOT / source).exists()
        assert source.split("/")[0] in kept
    targets = set(re.findall(r" AS (\S+)$", recipe, re.M))
    assert {s["build"].get("target") for s in services().values()} - {None} <= targets


async def health(port: int) -> dict[str, Any]:
    """Return what /healthz says, an empty dict where it can't be reached."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    except OSError:
        return {}
    return dict(json.loads(body)) if head.startswith(b"HTTP/1.1 200") else {}


async def until_healthy(port: int, participants: int, processes: Mapping[Path, Process]) -> None:
    """Wait until the service is up and has so many participants; fail with the log of a process that ended."""
    while True:
        for log, process in processes.items():
            assert process.returncode is None, tail(log)
        said = await health(port)
        if said.get("ok") and said.get("participants") == participants:
            return
        await asyncio.sleep(0.25)


async def allocate(port: int, username: str, key: str) -> tuple[str, int]:
    """Ask a TURN server for a relay and give it back; raises what aioice raises when it refuses."""
    transport, _ = await turn.create_turn_endpoint(
        asyncio.DatagramProtocol, server_addr=("127.0.0.1", port), username=username, password=key
    )
    address: tuple[str, int] = transport.get_extra_info("sockname")
    transport.close()
    return address


async def test_coturn_comes_up_and_relays_only_for_holders_of_the_secret(tmp_path: Path) -> None:
    async with asyncio.timeout(UP_S), coturn(tmp_path) as port:
        now = float(2**31 - 100_000)  # any time to come
        host, relay = await allocate(port, *credential(SECRET, "ada", now))
        assert host == "127.0.0.1"
        assert 49160 <= relay <= 49200
        with pytest.raises(stun.TransactionFailed):
            await allocate(port, *credential("another secret", "ada", now))


async def test_the_service_and_both_peers_come_up_and_meet(tmp_path: Path) -> None:
    port = free_port()
    everything = services()
    serve = [
        "127.0.0.1" if a == "0.0.0.0" else str(port) if a == "8080" else a for a in everything["service"]["command"]
    ]
    environment = {
        **everything["service"]["environment"],
        "STREAMSVC_LEDGER_PATH": str(tmp_path / "ledger.jsonl"),
        "STREAMSVC_SERVER_ICE_SERVERS": "[]",
    }
    logs = {name: tmp_path / f"{name}.log" for name in ("service", "peer-ada", "peer-bo")}
    async with asyncio.timeout(UP_S), contextlib.AsyncExitStack() as stack:
        processes = {logs["service"]: await stack.enter_async_context(running(serve, logs["service"], environment))}
        await until_healthy(port, 0, processes)
        for name in ("peer-ada", "peer-bo"):
            command = [a.replace("service:8080", f"127.0.0.1:{port}") for a in everything[name]["command"]]
            processes[logs[name]] = await stack.enter_async_context(running(command, logs[name], {}))
        await until_healthy(port, 2, processes)
    assert await health(port) == {}
