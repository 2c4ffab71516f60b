"""A worker on this host is supervised whatever its listeners do, and has time to go by itself when it is stopped.

The worker here is a small program that speaks the link; what a real one does is in tests/loopback.
"""

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streamsvc.budget import MonotonicClock
from streamsvc.fleet.local import LocalWorker, WorkerError
from streamsvc.fleet.watchdog import Watchdog
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


def become(source: str) -> None:
    """Make what is started as a worker another program."""
    program = Path(sys.executable)
    program.write_text(f"{program.read_text().splitlines()[0]}\n{source}\n")


def program() -> str:
    """What is started as a worker, without its first line."""
    return Path(sys.executable).read_text().partition("\n")[2]


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


MIB = 1 << 20


def fill(worker: LocalWorker) -> None:
    """Send sound until no more is taken."""
    while worker.send(link.SoundIn(stream="speech", samples=bytes(MIB), end_ns=0)):
        pass


async def test_what_opens_and_closes_streams_is_not_dropped_where_sound_is(worker: LocalWorker) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    await worker.start()
    worker.open(link.OpenSpeech(stream="speech"), lambda message: told.put_nowait(message.text))
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGSTOP)
    fill(worker)
    worker.close("speech")
    assert worker.send(link.GiveOut(slots=[30]))
    worker.open(view("good"), lambda message: told.put_nowait(type(message).__name__))
    os.kill(worker.pid, signal.SIGCONT)
    assert [await asyncio.wait_for(told.get(), 20) for _ in range(2)] == ["last words", "Trouble"]


async def test_a_worker_that_does_not_read_is_replaced(worker: LocalWorker, caplog: pytest.LogCaptureFixture) -> None:
    states: asyncio.Queue[bool] = asyncio.Queue()
    worker.on_state(states.put_nowait)
    await worker.start()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGSTOP)
    fill(worker)
    worker._watchdog = Watchdog(hang_ns=2e8, ready_ns=60e9, now_ns=MonotonicClock().now_ns())
    assert [await asyncio.wait_for(states.get(), 20) for _ in range(3)] == [True, False, True]
    assert "does not read" in caplog.text


async def test_a_worker_that_cannot_be_started_is_told(worker: LocalWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(WorkerError, match=r"can't be started: .*/nowhere/python"):
        await asyncio.wait_for(worker.start(), 20)


async def test_a_worker_that_ends_its_link_and_stays_is_told(
    worker: LocalWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamsvc.fleet.local.STOP_S", 0.01)
    become("import os, time; os.closerange(3, 1024); time.sleep(600)")
    with pytest.raises(WorkerError, match="hangs"):
        await asyncio.wait_for(worker.start(), 20)


async def test_a_process_that_cannot_be_killed_is_left_behind(
    worker: LocalWorker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("streamsvc.fleet.local.KILL_S", 0.0)
    monkeypatch.setattr(os, "killpg", lambda group, number: None)
    stuck = SimpleNamespace(pid=1 << 30, returncode=None, wait=asyncio.Event().wait)
    monkeypatch.setattr(worker, "_process", stuck)
    await asyncio.wait_for(worker._end_process(0.0), 20)
    assert "left behind" in caplog.text


async def test_supervision_survives_what_nobody_thought_of(
    worker: LocalWorker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("streamsvc.fleet.local.BACKOFF_S", (0.0,))
    states: asyncio.Queue[bool] = asyncio.Queue()
    worker.on_state(states.put_nowait)
    await worker.start()
    assert worker.pid is not None
    monkeypatch.setattr(asyncio, "create_subprocess_exec", failing_once(asyncio.create_subprocess_exec))
    os.kill(worker.pid, signal.SIGKILL)
    assert [await asyncio.wait_for(states.get(), 20) for _ in range(3)] == [True, False, True]
    assert "no more threads" in caplog.text


async def test_why_a_replacement_ends_before_it_is_ready_is_logged(
    worker: LocalWorker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("streamsvc.fleet.local.BACKOFF_S", (0.0,))
    states: asyncio.Queue[bool] = asyncio.Queue()
    worker.on_state(states.put_nowait)
    await worker.start()
    assert worker.pid is not None
    unable = "sock.sendall(link.encode(link.Unable(reason='the GPU is gone')))"
    once = f"me = pathlib.Path({sys.executable!r} + '.once'); first = not me.exists(); me.touch()"
    become(program().replace("sock.sendall", f"{once}\nif first:\n    {unable}\n    sys.exit(2)\nsock.sendall", 1))
    os.kill(worker.pid, signal.SIGKILL)
    assert [await asyncio.wait_for(states.get(), 20) for _ in range(3)] == [True, False, True]
    assert "the worker ended (the GPU is gone)" in caplog.text


@pytest.mark.parametrize(("owner", "made"), [(os, "memfd_create"), (socket, "socketpair")])
async def test_a_ring_or_a_socket_that_cannot_be_made_leaves_nothing_open(
    worker: LocalWorker, monkeypatch: pytest.MonkeyPatch, owner: Any, made: str
) -> None:
    def full(*_: object) -> int:
        raise OSError("too many open files")

    before = open_files()
    monkeypatch.setattr(owner, made, full)
    for _ in range(3):
        with pytest.raises(WorkerError, match="too many open files"):
            await asyncio.wait_for(worker.start(), 20)
    assert open_files() <= before


def open_files() -> int:
    gc.collect()  # what other tests left open closes now
    return len(list(Path("/proc/self/fd").iterdir()))


def failing_once(call: Callable[..., Any]) -> Callable[..., Any]:
    """`call`, but for the first time."""
    left = [RuntimeError("no more threads")]

    async def called(*arguments: Any, **named: Any) -> Any:
        if left:
            raise left.pop()
        return await call(*arguments, **named)

    return called
