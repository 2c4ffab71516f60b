"""A worker on this host is supervised whatever its listeners do, and has time to go by itself when it is stopped.

The worker here is a small program that speaks the link; what a real one does is in tests/loopback.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streamsvc.budget import MonotonicClock
from streamsvc.fleet.local import LocalWorker
from streamsvc.frames import link

PROGRAM = """#!{python}
import pathlib, socket, sys

from streamsvc.frames import link

sock = socket.socket(fileno=int(sys.argv[sys.argv.index("--control-fd") + 1]))
sock.sendall(link.encode(link.Ready(device="cpu", rungs=[], policies=[], notes=[])))
unframer = link.Unframer()
while data := sock.recv(65536):
    for body in unframer.feed(data):
        match link.decode_to_worker(body):
            case link.OpenView(stream="end"):
                sys.exit(1)
            case link.Close(stream="speech"):
                sock.sendall(link.encode(link.Maybe(stream="speech", text="last words")))
                sock.sendall(link.encode(link.SpeechOver(stream="speech")))
                sock.sendall(link.encode(link.Maybe(stream="speech", text="too late")))
            case link.OpenView(stream=stream):
                sock.sendall(link.encode(link.Trouble(stream=stream, code="echo", message="")))
pathlib.Path({farewell!r}).touch()
"""


@pytest.fixture
async def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LocalWorker]:
    program = tmp_path / "worker"
    program.write_text(PROGRAM.format(python=sys.executable, farewell=str(tmp_path / "farewell")))
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    made = LocalWorker(link.WorkerSettings(), MonotonicClock(), hang_s=60.0)
    yield made
    await made.stop()


def view(stream: str) -> link.OpenView:
    return link.OpenView(stream=stream, rig=None, width=2, height=2)


async def test_a_listener_that_raises_neither_silences_the_others_nor_ends_supervision(worker: LocalWorker) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    states: asyncio.Queue[bool] = asyncio.Queue()

    def failing(what: object) -> None:
        raise KeyError("a stream's mistake")

    worker.on_state(failing)
    worker.on_state(states.put_nowait)
    await worker.start()
    assert await asyncio.wait_for(states.get(), 20)
    worker.open(view("bad"), failing)
    worker.open(view("good"), lambda message: told.put_nowait(type(message).__name__))
    assert await asyncio.wait_for(told.get(), 20) == "Trouble"
    first = worker.pid
    worker.open(view("end"), failing)
    worker.close("end")
    assert not await asyncio.wait_for(states.get(), 20)
    assert await asyncio.wait_for(states.get(), 20), "another one took over"
    assert await asyncio.wait_for(told.get(), 20) == "Trouble", "with the streams that are open"
    assert worker.pid != first and worker.statistics().restarts == 1


async def test_a_worker_that_is_killed_is_replaced_without_a_traceback(
    worker: LocalWorker, caplog: pytest.LogCaptureFixture
) -> None:
    states: asyncio.Queue[bool] = asyncio.Queue()
    worker.on_state(states.put_nowait)
    await worker.start()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGSTOP)
    worker.open(view("unread"), lambda message: None)
    os.kill(worker.pid, signal.SIGKILL)
    assert [await asyncio.wait_for(states.get(), 20) for _ in range(3)] == [True, False, True]
    assert [r.getMessage() for r in caplog.records] == ["the worker ended; a new one starts in 0.5 s"]


async def test_a_worker_that_is_stopped_goes_by_itself(
    worker: LocalWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamsvc.fleet.local.STOP_S", 20.0)
    await worker.start()
    await worker.stop()
    assert (tmp_path / "farewell").exists() and not worker.up


async def test_what_a_speaker_said_last_still_comes_until_the_worker_says_that_it_was_all(worker: LocalWorker) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    await worker.start()
    worker.open(link.OpenSpeech(stream="speech"), lambda message: told.put_nowait(message.text))
    worker.close("speech")
    worker.open(view("good"), lambda message: told.put_nowait(type(message).__name__))
    assert [await asyncio.wait_for(told.get(), 20) for _ in range(2)] == ["last words", "Trouble"]


async def test_a_closed_speaker_is_not_waited_for_when_the_worker_is_lost(worker: LocalWorker) -> None:
    states: asyncio.Queue[bool] = asyncio.Queue()
    worker.on_state(states.put_nowait)
    await worker.start()
    worker.open(link.OpenSpeech(stream="silent"), lambda message: None)
    worker.close("silent")
    worker.open(view("end"), lambda message: None)
    worker.close("end")
    assert [await asyncio.wait_for(states.get(), 20) for _ in range(3)] == [True, False, True]
    assert worker._listeners == {}
