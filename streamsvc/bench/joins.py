"""`bench joins`: people come and go, some without goodbye, and then the service must be what it was before.

The service runs in processes of its own, as users run it. Short calls in mirror rooms begin all the time, `at_once` of
them; every `killed_every`th is a peer in a process that is killed in mid-call. Before and after, when nobody is there
and nobody is waited for any more, open files, threads, tasks, connections and memory are counted: before is after
`WARM_UP_CALLS` calls, so what is loaded or allocated once (codecs, pools, caches) is there; nobody is interpreted.
Once a minute calls pause until the running ones have ended, and memory is taken down. What it grows by is the slope of
that after the first third. Under `out`: joins.json.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import linear_regression
from typing import Any

from streamsvc.bench.watched import health, metrics
from streamsvc.demo import running_service
from streamsvc.ledger.conditions import conditions, resident_bytes
from streamsvc.peer import HeadlessPeer, PeerOptions
from streamsvc.session.presence import GRACE_S
from streamsvc.signalling.messages import SpeechSettings, ViewSettings

SIZE = (320, 240)
CALL_S = (1.0, 4.0)
WARM_UP_CALLS = 60
"""In the first minute of coming and going the edge grows by some 50 MiB, and then hardly."""

COUNTS = {
    "open files": "process_open_fds",
    "connections": "streamsvc_connections_unclosed",
    "sessions": "streamsvc_sessions",
}
TASKS = "streamsvc_tasks"
SAMPLE_S = 60.0
LEAST_SAMPLES = 15
"""Of fewer after the first third the slope is noise: memory goes up and down by some MiB from minute to minute."""

GROWTH_MIB = 32.0
"""That memory may grow by: allocators keep what they had."""

ENDING_S = 5.0
"""Sockets are flushed and closed for up to a few seconds after a session has ended."""

SPARE = 2
"""Open files, threads or tasks that may be more than before: pools fill when they are first needed."""


@dataclass(frozen=True, slots=True)
class JoinsBench:
    """What to run."""

    out: Path
    minutes: float = 30.0
    at_once: int = 3
    killed_every: int = 8
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Count:
    """The service when nobody is there; memory in MiB."""

    counts: dict[str, int]
    tasks: dict[str, int]
    threads: int
    edge_mib: float
    worker_mib: float


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident MiB when no call was running, `minute` after the beginning; who was killed may be waited for."""

    minute: float
    edge_mib: float
    worker_mib: float


@dataclass(slots=True)
class _Tally:
    left: int = 0
    killed: int = 0
    seen: int = 0
    failed: int = 0


def count(url: str, pid: int) -> Count:
    """Return the service's counts; blocks."""
    found = metrics(url)
    values = {sample.name: sample.value for sample in found if not sample.labels}
    tasks = {s.labels["what"]: int(s.value) for s in found if s.name == TASKS}
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    threads = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("Threads:"))
    worker = health(url)["worker"]["resident_mib"]
    counts = {name: int(values[key]) for name, key in COUNTS.items()}
    return Count(counts, tasks, threads, resident_bytes(pid) / 2**20, worker)


def grown(before: Count, after: Count) -> list[str]:
    """Return what is not back to what it was, in words."""
    found = [
        f"{n} {before.counts[n]} -> {after.counts[n]}" for n in COUNTS if after.counts[n] > before.counts[n] + SPARE
    ]
    if sum(after.tasks.values()) > sum(before.tasks.values()) + SPARE:
        more = Counter(after.tasks) - Counter(before.tasks)
        found.append("tasks: " + ", ".join(f"{n} more of {what}" for what, n in more.items()))
    if after.threads > before.threads + SPARE:
        found.append(f"threads {before.threads} -> {after.threads}")
    for name, a, b in (("edge", before.edge_mib, after.edge_mib), ("worker", before.worker_mib, after.worker_mib)):
        if b > a + GROWTH_MIB:
            found.append(f"memory of the {name} {a:.0f} -> {b:.0f} MiB")
    return found


def slopes(memory: Sequence[Memory]) -> tuple[float | None, float | None]:
    """Return by how many MiB an hour the edge and the worker grew after the first third, by least squares; None where
    there are too few samples."""
    late = [m for m in memory if 3 * m.minute >= memory[-1].minute]
    if len(late) < LEAST_SAMPLES:
        return None, None
    hours = [m.minute / 60 for m in late]
    edge = linear_regression(hours, [m.edge_mib for m in late]).slope
    return edge, linear_regression(hours, [m.worker_mib for m in late]).slope


class _Pause:
    """Lets calls begin, except while somebody waits until none is running."""

    def __init__(self) -> None:
        self._open, self._idle = asyncio.Event(), asyncio.Event()
        self._open.set()
        self._idle.set()
        self._running = 0

    @asynccontextmanager
    async def call(self) -> AsyncIterator[None]:
        while not self._open.is_set():
            await self._open.wait()
        self._running += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    @asynccontextmanager
    async def idle(self) -> AsyncIterator[None]:
        self._open.clear()
        try:
            await self._idle.wait()
            yield
        finally:
            self._open.set()


async def _call(url: str, room: str, seconds: float, tally: _Tally) -> None:
    """Call and say goodbye."""
    peer = HeadlessPeer(
        PeerOptions(
            url=url,
            room=room,
            mirror=True,
            cameras={"cam0": "synthetic:body", "cam1": "synthetic:body"},
            size=SIZE,
            fps=8.0,
            speech=SpeechSettings(enabled=False),
            view=ViewSettings(width=SIZE[0], height=SIZE[1], budget_ms=1000),
        )
    )
    figures = await peer.run(seconds)
    tally.left += 1
    tally.seen += bool(figures.viewed)


async def _killed(url: str, room: str, folder: Path, tally: _Tally) -> None:
    """Call from a process that ends without goodbye once it sees its view, which it saves in `folder`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streamsvc.cli", "--until-eof", "peer", url, "--room", room, "--mirror"),
        *("--camera", "cam0=synthetic:body", "--camera", "cam1=synthetic:body", "--fps", "8", "--save", str(folder)),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(600):
            if process.returncode is not None or (folder / "view.mp4").exists():
                break
            await asyncio.sleep(0.1)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    tally.killed += 1


async def _quiet(url: str, pid: int) -> Count:
    """Wait until nobody is there, and what they left has had time to end, and count."""
    for _ in range(round(10 * (GRACE_S + 30))):
        found = await asyncio.to_thread(count, url, pid)
        if found.counts["sessions"] == 0 and found.counts["connections"] == 0:
            break
        await asyncio.sleep(0.1)
    await asyncio.sleep(ENDING_S)
    return await asyncio.to_thread(count, url, pid)


async def run_joins(options: JoinsBench, tell: Callable[[str], None]) -> dict[str, Any]:
    """Run the bench and return its figures; `tell` gets lines of progress, then what is left behind.

    Raises DemoError when the service doesn't come up.
    """
    options.out.mkdir(parents=True, exist_ok=True)
    dice = random.Random(options.seed)
    tally = _Tally()
    loop = asyncio.get_running_loop()
    number = 0
    pause = _Pause()
    memory: list[Memory] = []

    async with running_service(options.out, "--no-speech", "--no-admission", view=SIZE) as (url, process):

        async def one() -> None:
            nonlocal number
            number += 1
            room = f"r{number}"
            try:
                if number % options.killed_every == 0:
                    with tempfile.TemporaryDirectory(prefix="streamsvc-joins-") as folder:
                        await _killed(url, room, Path(folder), tally)
                else:
                    await _call(url, room, dice.uniform(*CALL_S), tally)
            except Exception as error:
                tally.failed += 1
                tell(f"  a call failed: {type(error).__name__}: {error}")

        async def come_and_go(until: Callable[[], bool]) -> None:
            while not until():
                async with pause.call():
                    await one()

        await asyncio.gather(*(come_and_go(lambda: number >= WARM_UP_CALLS) for _ in range(options.at_once)))
        before = await _quiet(url, process.pid)
        tell(f"before (after {WARM_UP_CALLS} calls): {_line(before)}")
        begin = loop.time()
        memory.append(_memory(before, 0.0))
        end = begin + 60 * options.minutes
        watching = asyncio.create_task(_watch(url, process.pid, pause, tally, begin, memory, tell))
        await asyncio.gather(*(come_and_go(lambda: loop.time() >= end) for _ in range(options.at_once)))
        watching.cancel()
        after = await _quiet(url, process.pid)
        memory.append(_memory(after, (loop.time() - begin) / 60))
    tell(f"after: {_line(after)}")
    left_behind = grown(before, after)
    edge, worker = slopes(memory)
    figures = {
        "conditions": conditions(),
        "minutes": options.minutes,
        "calls": asdict(tally),
        "before": asdict(before),
        "after": asdict(after),
        "grown": left_behind,
        "warm_up_calls": WARM_UP_CALLS,
        "memory": [asdict(m) for m in memory],
        "mib_an_hour": {"edge": edge, "worker": worker},
    }
    (options.out / "joins.json").write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    tell(f"{tally.left} calls that ended ({tally.seen} saw their view), {tally.killed} killed, {tally.failed} failed")
    if edge is not None and worker is not None:
        tell(f"memory after the first third: edge {edge:+.1f} MiB an hour, worker {worker:+.1f} MiB an hour")
    tell("back to what it was" if not left_behind else f"left behind: {'; '.join(left_behind)}")
    return figures


async def _watch(
    url: str, pid: int, pause: _Pause, tally: _Tally, begin: float, memory: list[Memory], tell: Callable[[str], None]
) -> None:
    """Take memory down once a minute, and tell how far it is since `begin` (s on the loop's clock)."""
    while True:
        await asyncio.sleep(SAMPLE_S)
        async with pause.idle():
            found = await asyncio.to_thread(count, url, pid)
        minutes = (asyncio.get_running_loop().time() - begin) / 60
        memory.append(_memory(found, minutes))
        tell(
            f"  {minutes:.0f} min: {tally.left} calls, {tally.killed} killed, {tally.failed} failed; "
            f"edge {found.edge_mib:.1f} MiB, worker {found.worker_mib:.1f} MiB"
        )


def _memory(found: Count, minutes: float) -> Memory:
    return Memory(round(minutes, 3), found.edge_mib, found.worker_mib)


def _line(found: Count) -> str:
    counts = ", ".join(f"{value} {name}" for name, value in found.counts.items())
    counts += f", {sum(found.tasks.values())} tasks, {found.threads} threads"
    return f"{counts}, edge {found.edge_mib:.0f} MiB, worker {found.worker_mib:.0f} MiB"
