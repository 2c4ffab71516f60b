"""What docker-compose.yml starts, started on this machine: any of its commands, and coturn from Debian."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from aioice.ice import get_host_addresses

ROOT = Path(__file__).resolve().parent.parent
SECRET = "a secret of this test"
DOWN_S = 20


def compose(environment: Mapping[str, str], name: str = "docker-compose.yml") -> dict[str, Any]:
    """Return a file as compose reads it: `${NAME}`, `${NAME:-default}` and `${NAME:?error}` filled in."""

    def fill(match: re.Match[str]) -> str:
        name, operator, rest = match.groups()
        if name not in environment and operator != ":-":
            raise KeyError(f"{name}: {rest}")
        return environment.get(name, rest or "")

    text = re.sub(r"\$\{(\w+)(?:(:-|:\?)([^}]*))?\}", fill, (ROOT / name).read_text(encoding="utf-8"))
    document: dict[str, Any] = yaml.safe_load(text)
    return document


def services(**environment: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose({"TURN_SECRET": SECRET, **environment})["services"]
    return found


def image_environment() -> dict[str, str]:
    """Return what the Dockerfile's last stage sets for whatever runs in it."""
    stage = (ROOT / "Dockerfile").read_text(encoding="utf-8").rpartition("\nFROM ")[2].replace("\\\n", " ")
    set_there = [line.removeprefix("ENV ") for line in stage.splitlines() if line.startswith("ENV ")]
    return dict(pair.split("=", 1) for line in set_there for pair in line.split())


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def running(command: list[str], log: Path, environment: Mapping[str, str]) -> AsyncIterator[Process]:
    """Run a command, and end it as a container engine does: SIGTERM, which it has to obey."""
    env = {**os.environ, **environment, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(*command, env=env, stdout=out, stderr=out, cwd=log.parent)
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), DOWN_S)
            except TimeoutError:
                process.kill()
                await process.wait()
                pytest.fail(f"{command[:2]} did not end on SIGTERM within {DOWN_S} s")


def tail(log: Path) -> str:
    """Return what a process said."""
    return log.read_text(encoding="utf-8", errors="replace")


async def until_accepting(port: int, process: Process, log: Path) -> None:
    """Wait until a TCP port accepts."""
    while True:
        assert process.returncode is None, tail(log)
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
            continue
        writer.close()
        return


def coturn_command(port: int, folder: Path) -> list[str]:
    """Return the command of the file, on loopback, that relays to this machine, too."""
    if shutil.which("turnserver") is None:
        if os.geteuid() == 0:
            pytest.fail("Debian's package coturn is missing; make test installs it")
        pytest.skip("Debian's package coturn is missing, and only root may install it")
    return [
        *(a.replace("=3478", f"={port}").replace("/tmp/", f"{folder}/") for a in services()["coturn"]["command"]),
        "--listening-ip=127.0.0.1",
        "--relay-ip=127.0.0.1",
        *(f"--allowed-peer-ip={address}" for address in get_host_addresses(True, True)),
    ]


@contextlib.asynccontextmanager
async def coturn(folder: Path) -> AsyncIterator[int]:
    """Run coturn on the loopback interface with the secret `SECRET`; yields its port."""
    port, log = free_port(), folder / "coturn.log"
    async with running(coturn_command(port, folder), log, {}) as process:
        await until_accepting(port, process, log)
        yield port
