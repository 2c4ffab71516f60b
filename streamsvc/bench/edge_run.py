"""One run of one side, ours or stock: two child processes, their SDP passed on, the cards read afterwards.

Both ends can be led through a network of rules (`streamsvc.shaper`), which then runs in this process.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

import cv2
import msgspec
import numpy as np

from streamsvc.bench.edge_camera import Drawing
from streamsvc.bench.edge_child import (
    CONNECT_S,
    HEARD_FILE,
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
from streamsvc.bench.edge_figures import MS, OURS, STOCK, Run, captures_seen
from streamsvc.errors import StreamsvcError
from streamsvc.probe.reading import CardReader
from streamsvc.shaper import Network, Shaper

CHROMIUM = "chromium"
MODULES = {
    OURS: "streamsvc.bench.edge_ours",
    STOCK: "streamsvc.bench.edge_stock",
    CHROMIUM: "streamsvc.bench.edge_chromium",
}
READY_S = 120.0
"""How long a child may take to start: the first one compiles the renderer."""

SPARE_S = 20.0
LEAVE_S = 5.0

M = TypeVar("M", bound=msgspec.Struct)


class BenchError(StreamsvcError):
    """A sender or a receiver failed; the message has the end of what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """What is filmed: `seconds` after `warm_up_s`, led through `network` (None: straight); `voice` and what follows
    it as in `Job`. `chromium` receives in place of the side's own receiver."""

    size: tuple[int, int]
    codec: Literal["VP8", "H264"]
    fps: float
    seconds: float
    warm_up_s: float
    network: Network | None = None
    voice: Path | None = None
    consumer_ms: float = 0.0
    processing_ms: float = 0.0
    grain: float = 0.0
    max_bitrate: int | None = None
    chromium: bool = False


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


async def run_film(film: Film, side: str, drawing: Drawing, seed: int = 1) -> Run:
    """Run one film through one side and return what became of it; `drawing` is of the film's size. Raises BenchError,
    ShaperError."""
    shaper = None if film.network is None else Shaper(film.network, seed)
    with tempfile.TemporaryDirectory(prefix="streamsvc-bench-") as folder:

        def job(role: Literal["send", "receive"]) -> Job:
            voice = None if film.voice is None else str(film.voice)
            return Job(
                role=role,
                width=film.size[0],
                height=film.size[1],
                codec=film.codec,
                fps=film.fps,
                warm_up_s=film.warm_up_s,
                seconds=film.seconds,
                folder=folder,
                box=drawing.box,
                step=drawing.step,
                page=film.chromium,
                voice=voice,
                consumer_ms=film.consumer_ms,
                processing_ms=film.processing_ms,
                grain=film.grain,
                max_bitrate=film.max_bitrate,
            )

        viewer = CHROMIUM if film.chromium else side

        try:
            async with _child(viewer, job("receive")) as receiver, _child(side, job("send")) as sender:
                offers, answers = (receiver, sender) if film.chromium else (sender, receiver)
                offer = await offers.hear(Offer, READY_S)
                answers.tell(offer if shaper is None else Offer(await shaper.offer(offer.sdp)))
                answer = await answers.hear(Answer, READY_S)
                offers.tell(answer if shaper is None else Answer(await shaper.answer(answer.sdp)))
                film_s = CONNECT_S + film.warm_up_s + film.seconds + TAIL_S + SPARE_S
                sent = await _while_alive(sender.hear(Sent, film_s), receiver)
                receiver.tell(Enough())
                await receiver.hear(Seen, SPARE_S)
        finally:
            if shaper is not None:
                shaper.close()
        return await asyncio.to_thread(_read, film.size, side, sent, Path(folder), drawing)


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


def _read(size: tuple[int, int], side: str, sent: Sent, folder: Path, drawing: Drawing) -> Run:
    """Read the cards, and compare the pictures that were kept with what was drawn."""
    reader = CardReader()
    with np.load(folder / SEEN_FILE) as seen:
        shown, cards, believed = seen["shown_ns"].tolist(), seen["cards"], seen["believed_ns"].tolist()
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
        bits_by_second=tuple(8 * (b.payload_bytes - a.payload_bytes) for a, b in pairwise(sent.rates)),
        targets_bps=tuple(rate.target_bps for rate in sent.rates),
        cap_bps=sent.rates[-1].cap_bps,
        encoder=sent.rates[-1].encoder,
        psnr_db=tuple(psnr),
        capture_errors_ms=tuple(
            abs(at - capture) / MS
            for at, capture in zip(believed, captures, strict=True)
            if at >= 0 and capture is not None and sent.start_ns <= capture < sent.end_ns
        ),
        heard=np.load(folder / HEARD_FILE),
        late_ms=(sent.late_p50_ms, sent.late_p99_ms),
    )
