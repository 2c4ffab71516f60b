"""`bench edge`: one-way latency of video over WebRTC, camera to decoded picture, our edge against stock aiortc.

Each run has a sender and a receiver in processes of their own (`edge_child`), ours and stock in turn; this process
passes their SDP on and reads the cards afterwards. Ground truth is the card in the picture, and the clock is the host's
monotonic one, which both processes share. Under `out`: edge.json, edge.svg.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

import cv2
import msgspec
import numpy as np

from streamsvc.bench.edge_camera import Drawing
from streamsvc.bench.edge_child import (
    CONNECT_S,
    MAX_LINE,
    SEEN_FILE,
    TAIL_S,
    Answer,
    Enough,
    Job,
    Offer,
    Seen,
    Sent,
)
from streamsvc.bench.edge_figures import OURS, STOCK, Run, arrivals, captures_seen, ratios, row, table
from streamsvc.bench.edge_plot import latency_plot
from streamsvc.errors import StreamsvcError
from streamsvc.ledger.conditions import conditions
from streamsvc.ledger.figures import percentile
from streamsvc.probe.reading import CardReader

SIZES = ((320, 240), (640, 480), (1280, 720))
MODULES = {OURS: "streamsvc.bench.edge_ours", STOCK: "streamsvc.bench.edge_stock"}
READY_S = 120.0
"""How long a child may take to start: the first one compiles the renderer."""

SPARE_S = 20.0
LEAVE_S = 5.0

M = TypeVar("M", bound=msgspec.Struct)


class BenchError(StreamsvcError):
    """A sender or a receiver failed; the message has the end of what it said."""


@dataclass(frozen=True, slots=True)
class EdgeBench:
    """What to run: each of `sizes` for `seconds` after `warm_up_s`, `repeats` times on either side in turn."""

    out: Path
    sizes: tuple[tuple[int, int], ...] = SIZES
    codec: Literal["VP8", "H264"] = "VP8"
    fps: float = 30.0
    seconds: float = 20.0
    repeats: int = 2
    warm_up_s: float = 3.0


class _Child:
    """A process of one side: `name` says which; its standard error goes to `log`."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self._name, self._process, self._log = name, process, log
        assert process.stdin is not None and process.stdout is not None
        self.stdin, self._stdout = process.stdin, process.stdout

    def tell(self, message: msgspec.Struct) -> None:
        self.stdin.write(msgspec.json.encode(message) + b"\n")

    async def hear(self, kind: type[M], within_s: float) -> M:
        """Return what the child says; raises BenchError when it ends, or says nothing within `within_s`."""
        try:
            async with asyncio.timeout(within_s):
                line = await self._stdout.readline()
        except TimeoutError:
            raise BenchError(self._failure(f"said nothing for {within_s:g} s")) from None
        if not line:
            await self.ended()
        try:
            return msgspec.json.decode(line, type=kind)
        except msgspec.MsgspecError:
            raise BenchError(self._failure(f"said {line[:80]!r} where {kind.__name__} was due")) from None

    async def ended(self) -> NoReturn:
        """Raise BenchError when the child ends."""
        status = await self._process.wait()
        raise BenchError(self._failure(f"ended with status {status}"))

    def _failure(self, what: str) -> str:
        tail = self._log.read_text("utf-8", "replace").strip().splitlines()[-5:]
        return f"the {self._name} {what}" + (": " + " | ".join(tail) if tail else "")


@asynccontextmanager
async def _child(side: str, job: Job) -> AsyncIterator[_Child]:
    log = Path(job.folder) / f"{job.role}.log"
    with log.open("wb") as err:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", MODULES[side]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=err,
            limit=MAX_LINE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    try:
        child = _Child(f"{side} {'sender' if job.role == 'send' else 'receiver'}", process, log)
        child.tell(job)
        yield child
    finally:
        if process.stdin is not None:
            process.stdin.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), LEAVE_S)
        if process.returncode is None:
            process.kill()
            await process.wait()


async def run_edge(options: EdgeBench, tell: Callable[[str], None]) -> dict[str, Any]:
    """Run the bench and return its figures; `tell` is called with lines of progress and then the table.

    Raises BenchError when a child fails, SceneError when the scene can't be had.
    """
    options.out.mkdir(parents=True, exist_ok=True)
    plan = [(size, side) for size in options.sizes for _ in range(options.repeats) for side in (OURS, STOCK)]
    each = options.warm_up_s + options.seconds + TAIL_S
    tell(
        f"{len(plan)} runs of {each:g} s, {options.codec} at {options.fps:g} fps, sender and receiver in processes of "
        f"their own; the first {options.warm_up_s:g} s of each don't count"
    )
    told, before = conditions(), os.getloadavg()
    runs: list[Run] = []
    drawing: Drawing | None = None
    for number, (size, side) in enumerate(plan, 1):
        if number == 1 or size != plan[number - 2][0]:
            drawing = Drawing(size)
        assert drawing is not None
        runs.append(await _run(options, size, side, drawing))
        tell(f"{number:3} of {len(plan)}  {_line(runs[-1])}")
    cases = dict.fromkeys((r.size, r.side) for r in runs)
    rows = [row([r for r in runs if (r.size, r.side) == case]) for case in cases]
    figures: dict[str, Any] = {
        "conditions": told | _own_conditions(options, before),
        "rows": [asdict(r) for r in rows],
        "ratios": [asdict(r) for r in ratios(rows)],
    }
    (options.out / "edge.json").write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    title = f"Video over WebRTC between two processes, {options.codec} at {options.fps:g} fps"
    (options.out / "edge.svg").write_text(latency_plot(title, rows), "utf-8")
    for line in table(rows):
        tell(line)
    for name, value in figures["conditions"].items():
        tell(f"{name}: {value}")
    tell(f"figures and plot: {options.out}")
    return figures


def _own_conditions(options: EdgeBench, before: tuple[float, float, float]) -> dict[str, str]:
    before_text, after = (" / ".join(f"{x:.2f}" for x in load) for load in (before, os.getloadavg()))
    return {
        "load average": f"{before_text} before, {after} after (1, 5, 15 min)",
        "video": f"{options.codec}, {options.fps:g} fps, a rendered person with a clock card, YUV before it is due",
        "runs": f"{options.repeats} of {options.seconds:g} s a side, ours and stock in turn, each after a warm-up of "
        f"{options.warm_up_s:g} s",
        "network": "two processes of one host",
        "latency": "instant on the card to the decoded picture on the receiver's loop; ms of delivered pictures",
        "PSNR": "luma of some pictures against what was drawn",
    }


def _line(run: Run) -> str:
    came = arrivals(run)
    p50, p99 = (percentile(came.latencies_ms, q) for q in (50, 99))
    ms = "nothing came" if p50 is None else f"p50 {p50:6.1f} ms  p99 {p99:6.1f} ms"
    width, height = run.size
    missed = came.captured - len(came.latencies_ms)
    return f"{width}x{height:<4} {run.side:5}  {ms}  missed {missed} of {came.captured}"


async def _run(options: EdgeBench, size: tuple[int, int], side: str, drawing: Drawing) -> Run:
    with tempfile.TemporaryDirectory(prefix="streamsvc-bench-") as folder:

        def job(role: Literal["send", "receive"]) -> Job:
            return Job(role, *size, options.codec, options.fps, options.warm_up_s, options.seconds, folder)

        async with _child(side, job("receive")) as receiver, _child(side, job("send")) as sender:
            receiver.tell(await sender.hear(Offer, READY_S))
            sender.tell(await receiver.hear(Answer, READY_S))
            film_s = CONNECT_S + options.warm_up_s + options.seconds + TAIL_S + SPARE_S
            sent = await _while_alive(sender.hear(Sent, film_s), receiver)
            receiver.tell(Enough())
            await receiver.hear(Seen, SPARE_S)
        return await asyncio.to_thread(_read, size, side, sent, Path(folder) / SEEN_FILE, drawing)


async def _while_alive(hearing: Coroutine[Any, Any, M], other: _Child) -> M:
    """Return what is heard; raises BenchError at once when `other` ends, which would only show much later."""
    heard, ended = asyncio.ensure_future(hearing), asyncio.ensure_future(other.ended())
    try:
        await asyncio.wait({heard, ended}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            ended.result()
        return await heard
    finally:
        for task in (heard, ended):
            task.cancel()


def _read(size: tuple[int, int], side: str, sent: Sent, path: Path, drawing: Drawing) -> Run:
    """Read the cards, and compare the pictures that were kept with what was drawn."""
    reader = CardReader()
    with np.load(path) as seen:
        shown, cards = seen["shown_ns"].tolist(), seen["cards"]
        readings = [reader.read(np.ascontiguousarray(card)) for card in cards]
        kept = dict(zip(seen["kept_at"].tolist(), seen["kept"], strict=True))
    sightings = [(at, None if r is None else r.number) for at, r in zip(shown, readings, strict=True)]
    captures = captures_seen(sent.captures, sightings)
    psnr = [
        cv2.PSNR(luma, drawing.at(capture)[: size[1]])
        for index, luma in kept.items()
        if (capture := captures[index]) is not None and sent.start_ns <= capture < sent.end_ns
    ]
    return Run(
        size=size,
        side=side,
        captures=tuple(sent.captures),
        start_ns=sent.start_ns,
        end_ns=sent.end_ns,
        sightings=tuple(sightings),
        bits_per_s=sent.bits_per_s,
        target_bps=sent.target_bps,
        cap_bps=sent.cap_bps,
        psnr_db=tuple(psnr),
        late_ms=(sent.late_p50_ms, sent.late_p99_ms),
    )
