"""docker-compose.yml: its parts fit together, and each service's own command, as written in the file, comes up.

There is no container engine here, so the commands are started on this machine; only names of hosts, ports, and paths
inside the containers are replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aioice import stun, turn
from coturn import ROOT, SECRET, compose, coturn, free_port, image_environment, running, services, tail

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
    settings = load(None, image_environment() | services()["service"]["environment"], {})
    assert (settings.server.host, settings.server.port) == ("0.0.0.0", 8080)
    assert [s.secret for s in settings.server.ice_servers] == [SECRET]
    assert settings.ledger.path is None  # it would grow without end


def test_nothing_is_published_beyond_this_machine_unless_it_is_asked_for() -> None:
    for service in services().values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    public = services(LISTEN="0.0.0.0", PORT="443")
    assert public["service"]["ports"] == ["0.0.0.0:443:8080"]
    assert public["coturn"]["ports"] == ["0.0.0.0:3478:3478/udp", "0.0.0.0:3478:3478/tcp"]


def test_browsers_and_containers_know_the_turn_server_by_one_name() -> None:
    for name, environment in (("coturn.localhost", {}), ("calls.example.org", {"TURN_HOST": "calls.example.org"})):
        everything = services(**environment)
        (offered,) = load(None, everything["service"]["environment"], {}).server.ice_servers
        assert offered.urls == (f"turn:{name}:3478", f"turn:{name}:3478?transport=tcp")
        assert everything["coturn"]["networks"]["default"]["aliases"] == [name]


def test_every_container_has_limits_and_no_rights() -> None:
    for service in services().values():
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["mem_limit"] and service["pids_limit"] and service["logging"]["options"]["max-size"]


def test_the_gpu_is_reserved_and_used() -> None:
    gpu = compose({}, "docker-compose.gpu.yml")["services"]["service"]
    assert gpu["build"]["args"] == {"DEVICE": "cuda"}
    settings = load(None, gpu["environment"], {})
    assert (settings.view.device, settings.speech.device) == ("cuda", "cuda")
    assert "video" in gpu["environment"]["NVIDIA_DRIVER_CAPABILITIES"]
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}


def test_for_others_there_is_https_with_tokens_and_nobody_of_our_own() -> None:
    public = compose({"PRIVATE": "/srv/streamsvc"}, "docker-compose.public.yml")["services"]
    assert all(public[name]["profiles"] for name in ("peer-ada", "peer-bo"))
    server = load(None, public["service"]["environment"], {}).server
    assert server.tls and server.token_file is not None
    (source, folder, mode) = public["service"]["volumes"][0].split(":")
    assert (source, mode) == ("/srv/streamsvc", "ro")
    assert {f.parent for f in (server.tls_cert, server.tls_key, server.token_file) if f} == {Path(folder)}
    with pytest.raises(KeyError, match="PRIVATE"):
        compose({}, "docker-compose.public.yml")


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


@contextlib.asynccontextmanager
async def allocated(port: int, username: str, key: str) -> AsyncIterator[turn.TurnTransport]:
    """Yield a relay that a TURN server gives; raises what aioice raises when it refuses."""
    transport, _ = await turn.create_turn_endpoint(
        asyncio.DatagramProtocol, server_addr=("127.0.0.1", port), username=username, password=key
    )
    try:
        yield transport
    finally:
        transport.close()


async def ask(relay: turn.TurnTransport, method: stun.Method, **attributes: object) -> None:
    """Ask for something about a relay; raises TransactionFailed."""
    request = stun.Message(message_method=method, message_class=stun.Class.REQUEST)
    request.attributes.update({name.replace("_", "-"): value for name, value in attributes.items()})
    await relay._TurnTransport__inner_protocol.request_with_retry(request)


async def test_coturn_relays_to_the_service_alone_and_only_for_holders_of_the_secret(tmp_path: Path) -> None:
    async with asyncio.timeout(UP_S), coturn(tmp_path) as port:
        now = float(2**31 - 100_000)  # any time to come
        with pytest.raises(stun.TransactionFailed):
            async with allocated(port, *credential("another secret", "ada", now)):
                pass
        service = services()["service"]["networks"]["default"]["ipv4_address"]
        async with allocated(port, *credential(SECRET, "ada", now)) as relay:
            await ask(relay, stun.Method.CHANNEL_BIND, CHANNEL_NUMBER=0x4001, XOR_PEER_ADDRESS=(service, 9))
            gateway = service.rpartition(".")[0] + ".1"
            for number, host in enumerate((gateway, "127.0.0.1", "169.254.169.254", "198.51.100.1"), 0x4002):
                with pytest.raises(stun.TransactionFailed, match="Forbidden IP"):
                    await ask(relay, stun.Method.CHANNEL_BIND, CHANNEL_NUMBER=number, XOR_PEER_ADDRESS=(host, 9))


async def test_coturn_gives_one_session_so_many_relays_and_no_more(tmp_path: Path) -> None:
    quota = next(int(a.split("=")[1]) for a in services()["coturn"]["command"] if a.startswith("--user-quota="))
    async with asyncio.timeout(UP_S), coturn(tmp_path) as port, contextlib.AsyncExitStack() as stack:
        now = float(2**31 - 100_000)
        for renewed in range(quota):  # a later credential is the same session's
            await stack.enter_async_context(allocated(port, *credential(SECRET, "ada", now + renewed)))
        with pytest.raises(stun.TransactionFailed, match="Quota"):
            await stack.enter_async_context(allocated(port, *credential(SECRET, "ada", now)))
        await stack.enter_async_context(allocated(port, *credential(SECRET, "bo", now)))


async def test_coturn_keeps_a_relay_up_whose_credential_has_ended(tmp_path: Path) -> None:
    async with asyncio.timeout(UP_S), coturn(tmp_path) as port:
        short = credential(SECRET, "ada", time.time(), 4)
        async with allocated(port, *short) as relay:
            with pytest.raises(stun.TransactionFailed, match="Unauthorized"):
                while True:  # until its clock says that the credential has ended
                    async with allocated(port, *short):
                        await asyncio.sleep(0.2)
            await ask(relay, stun.Method.REFRESH, LIFETIME=600)


async def test_the_service_and_both_peers_come_up_and_meet(tmp_path: Path) -> None:
    port = free_port()
    everything = services()
    serve = everything["service"]["command"]
    environment = {
        **everything["service"]["environment"],
        "STREAMSVC_SERVER_HOST": "127.0.0.1",
        "STREAMSVC_SERVER_PORT": str(port),
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
        check = re.search(r'"streamsvc", "health"', (ROOT / "Dockerfile").read_text(encoding="utf-8"))
        assert check is not None
        async with running(json.loads(f"[{check[0]}]"), tmp_path / "health.log", environment) as healthy:
            assert await healthy.wait() == 0, tail(tmp_path / "health.log")
    assert await health(port) == {}
