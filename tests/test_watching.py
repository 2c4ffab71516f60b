"""One view stream at the edge: what becomes of the ring's slots, and which display reports count."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from itertools import count
from typing import Any

import av
import numpy as np
import pytest

from streamsvc.budget.clock import MockClock
from streamsvc.edge import Received, VideoOut, rtp_timestamp_of
from streamsvc.frames import link
from streamsvc.frames.ring import Ring, Slots
from streamsvc.ledger import Ledger, Record
from streamsvc.session import watching as module
from streamsvc.session.settings import CallSettings
from streamsvc.session.watching import Watching

MS = 1_000_000
SIDE = 16


class Worker:
    """A worker that is up and keeps what it is sent."""

    ready = None
    up = True

    def __init__(self) -> None:
        self.ring: Ring | None = Ring.create(slot_bytes=SIDE * SIDE * 3, inward=2, outward=1)
        self.slots = Slots(self.ring.inward)
        self.sent: list[Any] = []

    def open(self, message: Any, listener: Callable[[link.FromWorker], None]) -> None:
        self.tell = listener

    def close(self, stream: str) -> None: ...
    def send(self, message: Any) -> bool:
        self.sent.append(message)
        return True


class Stream:
    """Ben's two cameras, as Ana sees them."""

    def __init__(self) -> None:
        self.worker, self.clock, self.closed = Worker(), MockClock(), list[Record]()
        self.clock.advance(10**10)
        self.ledger = Ledger(listeners=[self.closed.append], now_ns=self.clock.now_ns)
        self.settings = CallSettings(
            speech=False, policy="", parameters={}, source="es", target="en", glossary=[], width=SIDE, height=SIDE,
            budget_ms=400.0,
        )  # fmt: skip
        self.watching = Watching(
            session="ana", stream="ben>ana/view", cameras=("left", "right"), rig=None, settings=self.settings,
            backdrop="room", every=1, most_fps=60.0, worker=self.worker, ledger=self.ledger, clock=self.clock,
            counts=Counter(),
            video=VideoOut(), ids=count(1), bitrate=lambda: None, tell=lambda *_: None, tell_owner=lambda *_: None,
            windowed=lambda: None,
            packed=lambda _: None,
        )  # type: ignore[arg-type]  # fmt: skip

    def instant(self) -> None:
        """Both cameras see something now."""
        now = self.clock.now_ns()
        for camera in ("left", "right"):
            frame = av.VideoFrame(SIDE, SIDE, "yuv420p")
            self.watching.picture(camera, Received(frame, 0, now, None), now, 0)

    @property
    def free(self) -> int:
        return self.worker.slots.statistics().free

    async def idle(self) -> None:
        """Wait until nothing is being converted."""
        task = self.watching._task
        assert task is not None
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def stream() -> AsyncIterator[Stream]:
    made = Stream()
    yield made
    made.watching.close()
    made.ledger.close()
    if made.worker.ring is not None:
        made.worker.ring.close()


class Conversion:
    """Stands where pictures are converted: the first one `does`, the others wait until they may go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, does: Callable[[], None]) -> None:
        self.does = does
        self.may_go_on, self._lock, self._count = threading.Event(), threading.Lock(), 0
        monkeypatch.setattr(module.colour, "to_rgb", self)

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        with self._lock:
            self._count += 1
            first = self._count == 1
        if first:
            self.does()
        else:
            assert self.may_go_on.wait(60)
        return np.zeros((SIDE, SIDE, 3), np.uint8)


async def begun(conversion: Conversion) -> None:
    while conversion._count < 2:  # noqa: ASYNC110 in another thread
        await asyncio.sleep(0)


async def test_a_stream_that_closes_in_the_middle_of_a_conversion_gives_its_slots_back_when_that_is_over(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversion = Conversion(monkeypatch, lambda: None)
    stream.instant()
    await begun(conversion)
    stream.watching.close()
    await asyncio.sleep(0)
    assert stream.free == 0, "a thread still writes into one"
    conversion.may_go_on.set()
    await stream.idle()
    assert stream.free == 2 and not stream.worker.sent


@pytest.mark.parametrize("error", [ValueError("odd"), MemoryError(), RuntimeError("anything")])
async def test_a_picture_that_cannot_be_used_costs_no_slot_and_none_is_given_back_too_early(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    failed = threading.Event()

    def fail() -> None:
        failed.set()
        raise error

    conversion = Conversion(monkeypatch, fail)
    stream.instant()
    await begun(conversion)
    assert failed.wait(60)
    for _ in range(10):
        await asyncio.sleep(0)
    assert stream.free == 0, "the other picture is still being written"
    conversion.may_go_on.set()
    await stream.idle()
    assert stream.free == 2 and not stream.worker.sent
    stream.clock.advance(40 * MS)
    stream.instant()
    await stream.idle()
    assert [type(m) for m in stream.worker.sent] == [link.SetIn], "the next set goes its way"


async def test_slots_of_a_ring_that_was_replaced_are_not_given_back_to_its_successor(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversion = Conversion(monkeypatch, lambda: None)
    stream.instant()
    await begun(conversion)
    old = stream.worker.ring
    stream.worker.ring = Ring.create(slot_bytes=SIDE * SIDE * 3, inward=2, outward=1)
    stream.worker.slots = Slots(stream.worker.ring.inward)
    taken = stream.worker.slots.take(2)
    stream.watching.close()
    conversion.may_go_on.set()
    await stream.idle()
    assert taken is not None and stream.free == 0
    assert old is not None
    old.close()


async def test_a_report_from_before_the_view_was_made_does_not_count(stream: Stream) -> None:
    captured = stream.clock.now_ns()
    stream.instant()
    await stream.idle()
    stream.clock.advance(100 * MS)
    made = stream.clock.now_ns()
    stages = [link.StageSpan("blend", made - 10 * MS, made)]
    view = link.ViewOut(
        stream="ben>ana/view", id=1, slot=2, width=SIDE, height=SIDE, rung="x", quality=None, predicted_ns=0,
        compute_ns=0, predicted_compute_ns=0, cameras=2,
        stages=stages,
    )  # fmt: skip
    await stream.watching._deliver(view)
    stream.watching.shown(rtp_timestamp_of(captured), made - 30 * MS, 5 * MS)
    stream.watching.shown(rtp_timestamp_of(captured), made + 20 * MS, 5 * MS)
    stream.watching.shown(rtp_timestamp_of(captured), made + 90 * MS, 5 * MS)
    stream.ledger.close()
    assert [(r.outcome, r.displayed_ns) for r in stream.closed] == [("shown", made + 20 * MS)]
