"""`bench joins`: people come and go, some without goodbye, and then the service must be what it was before.

The service runs in processes of its own, as users run it. Short calls in mirror rooms begin all the time, `at_once` of
them; every `killed_every`th is a peer in a process that is killed in mid-call. Before and after, when nobody is there
and nobody is waited for any more, open files, threads, tasks, connections and memory are counted. Under `out`:
joins.json.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from streamsvc.bench.watched import health, metrics
from streamsvc.demo import running_service
from streamsvc.ledger.conditions import conditions, resident_bytes
from streamsvc.peer import HeadlessPeer, PeerOptions
from streamsvc.session.presence import GRACE_S
from streamsvc.signalling.messages import SpeechSettings, ViewSettings

SIZE = (320, 240)
CALL_S = (1.0, 4.0)
WARM_UP_CALLS = 12
COUNTS = {
    "open files": "process_open_fds",
    "connections": "streamsvc_connections_unclosed",
    "sessions": "streamsvc_sessions",
}
TASKS = "streamsvc_tasks"
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
    tally.seen += bool(figures.views)


async def _killed(url: str, room: str, folder: Path, tally: _Tally) -> None:
    """Call from a process that ends without goodbye once it sees its view, which it saves in `folder`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streamsvc.cli", "peer", url, "--room", room, "--mirror"),
        *("--camera", "cam0=synthetic:body", "--camera", "cam1=synthetic:body", "--fps", "8", "--save", str(folder)),
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

    async with running_service(options.out, "--no-speech", "--no-admission", view=SIZE) as (url, process):

        async def one() -> None:
            nonlocal number
            number += 1
            room = f"r{number}"
            try:
                if number > WARM_UP_CALLS and number % options.killed_every == 0:
                    with tempfile.TemporaryDirectory(prefix="streamsvc-joins-") as folder:
                        await _killed(url, room, Path(folder), tally)
                else:
                    await _call(url, room, dice.uniform(*CALL_S), tally)
            except Exception as error:
                tally.failed += 1
                tell(f"  a call failed: {type(error).__name__}: {error}")

        async def come_and_go(until: Callable[[], bool]) -> None:
            while not until():
                await one()

        await asyncio.gather(*(come_and_go(lambda: number >= WARM_UP_CALLS) for _ in range(options.at_once)))
        before = await _quiet(url, process.pid)
        tell(f"before: {_line(before)}")
        end = loop.time() + 60 * options.minutes
        progress = asyncio.create_task(_progress(tally, tell))
        await asyncio.gather(*(come_and_go(lambda: loop.time() >= end) for _ in range(options.at_once)))
        progress.cancel()
        after = await _quiet(url, process.pid)
    tell(f"after:  {_line(after)}")
    left_behind = grown(before, after)
    figures = {
        "conditions": conditions(),
        "minutes": options.minutes,
        "calls": asdict(tally),
        "before": asdict(before),
        "after": asdict(after),
        "grown": left_behind,
    }
    (options.out / "joins.json").write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    tell(f"{tally.left} calls that ended ({tally.seen} saw their view), {tally.killed} killed, {tally.failed} failed")
    tell("back to what it was" if not left_behind else f"left behind: {'; '.join(left_behind)}")
    return figures


async def _progress(tally: _Tally, tell: Callable[[str], None]) -> None:
    minutes = 0
    while True:
        await asyncio.sleep(60)
        minutes += 1
        tell(f"  {minutes} min: {tally.left} calls, {tally.killed} killed, {tally.failed} failed")


def _line(found: Count) -> str:
    counts = ", ".join(f"{value} {name}" for name, value in found.counts.items())
    counts += f", {sum(found.tasks.values())} tasks, {found.threads} threads"
    return f"{counts}, edge {found.edge_mib:.0f} MiB, worker {found.worker_mib:.0f} MiB"
