"""What becomes of the sets of a stream that are under way when it ends, its worker is lost, or its budget changes."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import av
import pytest
from msgspec.structs import replace

from streamsvc.budget import MockClock
from streamsvc.edge import Received, VideoOut
from streamsvc.frames import link
from streamsvc.frames.ring import Ring, Slots
from streamsvc.ledger import Ledger, Record
from streamsvc.session.settings import CallSettings
from streamsvc.session.watching import Watching

MS = 1_000_000
SIDE = 16
SETTINGS = CallSettings(
    speech=False, policy="agreement", parameters={}, source="auto", target="en", width=64, height=64, budget_ms=400
)


class Worker:
    """Up, with a ring, and nothing that ever comes back."""

    ready = None

    def __init__(self, up: bool = True) -> None:
        self.up = up
        self.ring = Ring.create(slot_bytes=3 * SIDE * SIDE, inward=4, outward=1)
        self.slots = Slots(self.ring.inward)
        self.sent: asyncio.Queue[link.Message] = asyncio.Queue()

    def send(self, message: link.Message) -> bool:
        self.sent.put_nowait(message)
        return self.up

    async def costs(self, views: Sequence[link.OpenView]) -> None: ...
    def open(self, message: Any, listener: Callable[[link.FromWorker], None]) -> None: ...
    def configure(self, message: Any) -> None: ...
    def close(self, stream: str) -> None: ...
    def on_state(self, listener: Callable[[bool], None]) -> None: ...


class Bench:
    """One stream of two cameras, and the ledger's records of it."""

    def __init__(self, up: bool = True) -> None:
        self.clock, self.worker = MockClock(1000 * MS), Worker(up)
        self.records: list[Record] = []
        self.bitrate: int | None = None
        self.ledger = Ledger(listeners=[self.records.append], now_ns=lambda: 0)
        self.watching = Watching(
            session="ana", stream="ben>ana/view", cameras=("cam0", "cam1"), rig=None, settings=SETTINGS,
            backdrop="room", every=1, most_fps=60.0, worker=self.worker, ledger=self.ledger, clock=self.clock,
            counts=Counter(),
            video=VideoOut(), ids=count(7), bitrate=lambda: self.bitrate, tell=lambda *_: None,
            tell_owner=lambda *_: None, windowed=lambda: None, packed=lambda _: None,
        )  # fmt: skip

    def picture(self, *cameras: str) -> None:
        now = self.clock.now_ns()
        for camera in cameras:
            received = Received(av.VideoFrame(SIDE, SIDE, "yuv420p"), 0, now, None)
            self.watching.picture(camera, received, now, 0)

    def written(self) -> list[tuple[int, str | None]]:
        self.ledger.close()
        return [(r.id, r.reason) for r in self.records]


def lost(watching: Watching) -> None:
    watching.worker_lost()


def closed(watching: Watching) -> None:
    watching.close()


@pytest.mark.parametrize(("end", "reason"), [(lost, "worker-down"), (closed, "closed")])
async def test_sets_that_are_under_way_are_dropped_at_once_with_the_reason(
    end: Callable[[Watching], None], reason: str
) -> None:
    bench = Bench()
    bench.picture("cam0", "cam1")
    message = await asyncio.wait_for(bench.worker.sent.get(), 20)
    assert isinstance(message, link.SetIn) and message.id == 7
    await asyncio.sleep(0)
    end(bench.watching)
    assert bench.written() == [(7, reason)]
    bench.watching.close()


async def test_the_worker_is_told_what_the_bitrate_carries_once_it_is_known() -> None:
    bench = Bench()
    told = []
    for bitrate in (None, 100_000, 25_000):
        bench.bitrate = bitrate
        bench.picture("cam0", "cam1")
        message = await asyncio.wait_for(bench.worker.sent.get(), 20)
        assert isinstance(message, link.SetIn)
        told.append(message.carried_db)
        bench.worker.slots.give([p.slot for p in message.pictures])
        bench.clock.advance(33_333_333)
    assert told[0] is None and told[1] is not None and told[2] is not None
    assert told[1] - told[2] == pytest.approx(2 * 3.57), "a quarter of the bits"
    bench.watching.close()
    bench.ledger.close()


@pytest.mark.parametrize(("budget_ms", "sets"), [(400, 1), (80, 2)])
async def test_a_budget_that_is_changed_in_a_call_bounds_the_wait_for_a_late_camera(
    budget_ms: float, sets: int
) -> None:
    bench = Bench(up=False)
    bench.picture("cam0", "cam1")
    bench.watching.configure(replace(SETTINGS, budget_ms=budget_ms))
    for step_ms in (33, 33):
        bench.clock.advance(step_ms * MS)
        bench.picture("cam0")
    bench.watching.close()
    assert len(bench.written()) == sets
