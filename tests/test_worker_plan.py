"""A worker that is crowded with views is so no longer once they have gone, whether their streams were closed or not."""

import math
import queue
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from streamsvc.budget import Class, Job, MockClock, Slices
from streamsvc.frames.link import Beat, FromWorker, OpenView, PictureIn, SetIn
from streamsvc.frames.ring import Ring
from streamsvc.worker.__main__ import Host, beat
from streamsvc.worker.lanes import Lanes
from streamsvc.worker.views import Views

MS = 1_000_000


class OverError(Exception):
    """Ends the heartbeat."""


class Ending:
    """A channel that is cut after the first message."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, message: FromWorker) -> None:
        self.sent.append(message)
        raise OverError


def crowded() -> tuple[MockClock, Lanes, Views]:
    clock = MockClock()
    lanes = Lanes(1, clock)
    views = Views(Ring.create(slot_bytes=32 * 32 * 3, inward=2, outward=1), lanes, clock, lambda message: None)
    views.open(OpenView(stream="s", rig=None, width=32, height=32))
    clock.advance(300 * MS)
    for number in range(2):  # a frame every µs: more than any machine takes
        picture = PictureIn("cam0", number, 32, 32, clock.now_ns())
        deadline = clock.now_ns() + 10_000 * MS
        views.submit(
            SetIn(stream="s", id=number, capture_ns=0, deadline_ns=deadline, period_ns=1000, pictures=[picture])
        )
        clock.advance(300 * MS)
    assert lanes.crowded
    return clock, lanes, views


def heartbeat(clock: MockClock, lanes: Lanes, views: Views) -> None:
    channel: Any = Ending()
    looked: list[bool] = []
    speakers: Any = SimpleNamespace(look=lambda: looked.append(True))
    with pytest.raises(OverError):
        beat(channel, lanes, Host(lanes), views, speakers)
    assert [type(m) for m in channel.sent] == [Beat] and looked == [True]


def close(clock: MockClock, lanes: Lanes, views: Views) -> None:
    views.close("s")


def silence(clock: MockClock, lanes: Lanes, views: Views) -> None:
    heartbeat(clock, lanes, views)
    assert lanes.crowded, "for now"
    clock.advance(3000 * MS)
    heartbeat(clock, lanes, views)


@pytest.mark.parametrize("end", [close, silence])
def test_when_views_stop_best_effort_goes_on(end: Callable[[MockClock, Lanes, Views], None]) -> None:
    clock, lanes, views = crowded()
    end(clock, lanes, views)
    assert not lanes.crowded


def test_a_view_waits_for_a_slow_one_no_longer_than_the_next_heartbeat() -> None:
    clock, lanes, views = crowded()
    order, sent = views._streams["s"].order, list[int]()
    order.begun(1, 20 * MS)
    order.ready(2, clock.now_ns() + 1000 * MS, lambda: sent.append(2))
    heartbeat(clock, lanes, views)
    assert sent == []
    clock.advance(100 * MS)
    heartbeat(clock, lanes, views)
    assert sent == [2]


def test_the_quality_that_the_way_carries_caps_the_ladder() -> None:
    clock, _, views = crowded()
    budget = views._streams["s"].budget
    assert budget.demand().cap == math.inf
    deadline = clock.now_ns() + 10_000 * MS
    views.submit(
        SetIn(stream="s", id=9, capture_ns=0, deadline_ns=deadline, period_ns=1000, pictures=[], carried_db=21.5)
    )
    assert budget.demand().cap == 21.5


def test_a_lane_that_sleeps_because_it_is_crowded_is_woken() -> None:
    clock = MockClock()
    lanes = Lanes(2, clock)
    lanes.crowded = True
    lanes.start()
    ended: queue.Queue[str | None] = queue.Queue()

    def work() -> Slices[None]:
        yield "one"

    lanes.submit(Job(lanes.next_id(), "s", Class.BEST_EFFORT, 0), work, lambda reason, spans: ended.put(reason))
    lanes.crowded = False
    assert ended.get(timeout=20) is None
    lanes.stop()
