"""`streamsvc health`: the settings that it reads are the service's, and what it says of each answer."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from coturn import free_port
from port import certificate, serving

from streamsvc.cli import parser
from streamsvc.commands.health import judge
from streamsvc.config import Server, Settings
from streamsvc.flags import UsageError

WELL = {"ok": True, "participants": 2, "rooms": 1, "worker": {"up": True}}


def health(*flags: str) -> int:
    arguments = parser().parse_args(["health", *flags])
    return int(arguments.run(arguments))


@pytest.mark.parametrize(
    ("status", "told", "well", "words"),
    [
        (200, WELL, True, "participants: 2, rooms: 1"),
        (503, {**WELL, "ok": False, "worker": {"up": False}}, False, "its worker is down"),
        (503, {**WELL, "ok": False}, False, "it takes no calls"),
        (503, WELL, False, "it takes no calls"),
        (200, {"ok": True}, False, "no streamsvc"),
        (404, [], False, "no streamsvc (status 404)"),
    ],
)
def test_an_answer_is_judged_by_what_it_tells(status: int, told: Any, well: bool, words: str) -> None:
    judged, said, _ = judge(status, json.dumps(told).encode())
    assert judged is well
    assert words in said


async def test_a_service_is_asked_by_its_own_settings(
    web: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(web, health=WELL) as service:
        file = tmp_path / "streamsvc.toml"
        file.write_text(f'[server]\nhost = "0.0.0.0"\nport = {service.port}\n')
        assert await asyncio.to_thread(health, "--config", str(file), "--json", str(tmp_path / "health.json")) == 0
        assert capsys.readouterr().out == f"well: http://127.0.0.1:{service.port}/healthz: participants: 2, rooms: 1\n"
        assert json.loads((tmp_path / "health.json").read_text())["healthz"] == WELL
        monkeypatch.setenv("STREAMSVC_SERVER_PORT", str(service.port))
        assert await asyncio.to_thread(health) == 0
        assert await asyncio.to_thread(health, "--port", str(free_port())) == 1
        assert "not well" in capsys.readouterr().out


async def test_the_services_own_certificate_is_taken_on_loopback(
    web: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cert, key = certificate(tmp_path, "a")
    async with serving(web, Settings(server=Server(tls_cert=cert, tls_key=key)), health=WELL) as service:
        port = ("--port", str(service.port))
        assert await asyncio.to_thread(health, *port, "--tls-cert", str(cert), "--tls-key", str(key)) == 0
        assert f"well: https://127.0.0.1:{service.port}/healthz" in capsys.readouterr().out
        assert await asyncio.to_thread(health, *port) == 1


def test_what_nothing_answers_is_said_with_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert health("--port", str(free_port())) == 1
    assert "nothing answers as a service: Connection refused" in capsys.readouterr().out


def test_any_free_port_can_not_be_asked() -> None:
    with pytest.raises(UsageError, match="say with --port which one"):
        health("--port", "0")
