"""A command that is told to end, or killed, leaves no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PATIENCE_S = 60.0
COMMAND = [sys.executable, "-m", "streamsvc.cli"]


def services(pid: int) -> list[int]:
    """The services that `pid` started, and nothing else it did (looking for a library starts an `ldconfig`, say)."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"serve" in (status.parent / "cmdline").read_bytes().split(b"\0"):
                found.append(int(status.parent.name))
        except OSError:
            continue
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(what: str, done: object) -> None:
    end = time.monotonic() + PATIENCE_S
    while not done():  # type: ignore[operator]
        assert time.monotonic() < end, what
        time.sleep(0.02)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A command that runs a service in a process of its own, and that service."""
    with subprocess.Popen([*COMMAND, "demo", "--out", str(tmp_path)], stdout=subprocess.DEVNULL) as process:
        try:
            until("a service", lambda: services(process.pid) or process.poll() is not None)
            yield process, services(process.pid)[0]
        finally:
            process.kill()


def test_sigterm_ends_the_service_that_a_command_started(started: tuple[subprocess.Popen[bytes], int]) -> None:
    process, service = started
    process.terminate()
    assert process.wait(PATIENCE_S) == 128 + signal.SIGTERM
    assert not alive(service)


def test_a_service_ends_with_the_command_that_started_it(started: tuple[subprocess.Popen[bytes], int]) -> None:
    process, service = started
    process.kill()
    process.wait(PATIENCE_S)
    until("the end of the service", lambda: not alive(service))


def test_sigterm_is_told_where_sigint_is_ignored() -> None:
    code = "import asyncio, signal\nfrom streamsvc import cli\n" + SLEEPER
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        process.terminate()
        assert process.stdout.read() == "tidied up\n"
        assert process.wait(PATIENCE_S) == 128 + signal.SIGTERM


SLEEPER = """
signal.signal(signal.SIGINT, signal.SIG_IGN)

async def sleep():
    try:
        print("up", flush=True)
        await asyncio.sleep(600)
    finally:
        print("tidied up", flush=True)

from streamsvc.commands import doctor
doctor.run = lambda arguments: asyncio.run(sleep())
cli.main(["doctor"])
"""


def test_a_command_imports_nothing_heavy_before_it_can_be_interrupted() -> None:
    heavy = "[m for m in sys.modules if m.startswith('streamsvc.') and m not in ('streamsvc.cli', 'streamsvc.errors')]"
    told = subprocess.run(
        [sys.executable, "-c", f"import sys, streamsvc.cli; print({heavy})"],
        capture_output=True, text=True, check=True, env={**os.environ},
    )  # fmt: skip
    assert told.stdout.strip() == "[]"
