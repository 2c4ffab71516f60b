"""A view that can't be made is told when that begins, when it is over, and when it begins again."""

from __future__ import annotations

import queue

from streamsvc.budget import MockClock
from streamsvc.frames.link import FromWorker, OpenView, PictureIn, SetIn, Trouble, ViewLost, ViewOut
from streamsvc.frames.ring import Ring
from streamsvc.worker.failing import OVER_NS, Failing
from streamsvc.worker.lanes import Lanes
from streamsvc.worker.views import Views

SECOND = 1_000_000_000


def test_each_failure_of_a_stream_is_told_as_it_begins_and_ends() -> None:
    clock, lanes = MockClock(), Lanes(1, MockClock())
    sent: queue.Queue[FromWorker] = queue.Queue()
    views = Views(Ring.create(slot_bytes=32 * 32 * 3, inward=1, outward=9), lanes, clock, sent.put)
    views.open(OpenView(stream="s", rig=None, width=32, height=32))
    lanes.start()

    def submit(pictures: int) -> list[str]:
        """Codes that the viewer is told of a set of so many pictures, each a second after the last."""
        clock.advance(SECOND)
        now = clock.now_ns()
        given = [PictureIn("cam0", i, 32, 32, now) for i in range(pictures)]
        deadline = now + 100 * SECOND
        views.submit(SetIn(stream="s", id=now, capture_ns=now, deadline_ns=deadline, period_ns=SECOND, pictures=given))
        codes = []
        while not isinstance(message := sent.get(timeout=20), ViewOut | ViewLost):
            if isinstance(message, Trouble) and not message.owner:
                codes.append(message.code)
        return codes

    assert [submit(n) for n in (1, 0, 0, 1, 1)] == [[], ["view-failed"], [], ["view-failed-over"], []]
    assert [submit(n) for n in (0, 1)] == [["view-failed"], ["view-failed-over"]]
    lanes.stop()


def test_nothing_that_waits_is_shown_once_the_room_is_to_be_hidden_and_cannot_be() -> None:
    clock, lanes = MockClock(), Lanes(1, MockClock())
    sent: list[FromWorker] = []
    views = Views(Ring.create(slot_bytes=32 * 32 * 3, inward=1, outward=9), lanes, clock, sent.append)
    views.open(OpenView(stream="s", rig=None, width=32, height=32))
    picture = PictureIn("cam0", 0, 32, 32, 0)
    views.submit(SetIn(stream="s", id=1, capture_ns=0, deadline_ns=SECOND, period_ns=SECOND, pictures=[picture]))
    views.open(OpenView(stream="s", rig=None, width=32, height=32, backdrop="blur"))
    assert [m.code for m in sent if isinstance(m, Trouble)] == ["bad-backdrop"]
    assert [m.reason for m in sent if isinstance(m, ViewLost)] == ["closed"]
    assert lanes.statistics().waiting == 0


def test_where_every_other_view_fails_that_is_told_once() -> None:
    failing = Failing()
    step = OVER_NS // 10
    told = []
    for number in range(100):
        now = number * step
        told += failing.failed("bad-backdrop", f"the {number}th", now) if number % 2 else failing.made(now)
        told += failing.failed("view-failed", "another", now) if number == 50 else []
    assert [code for code, _ in told] == ["bad-backdrop", "view-failed", "view-failed-over"]
    assert failing.made(99 * step + OVER_NS) == [("bad-backdrop-over", "the picture goes on")]
    assert failing.made(200 * step) == []
