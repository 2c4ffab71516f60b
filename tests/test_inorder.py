"""Views leave in the order of their captures where waiting costs nobody their deadline."""

import threading
from collections.abc import Callable

import pytest

from streamsvc.budget import MockClock
from streamsvc.worker.inorder import MARGIN, InOrder

MS = 1_000_000


class Stream:
    """Views of ids 1, 2, ... captured every 10 ms; each takes 20 ms by what is predicted."""

    def __init__(self) -> None:
        self.clock, self.sent = MockClock(), list[int]()
        self.order = InOrder(self.clock)

    def begin(self, *ids: int) -> None:
        for id in ids:
            self.order.begun(10 * MS * id, 20 * MS)

    def ready(self, id: int, deadline_ms: int = 1000) -> None:
        self.order.ready(10 * MS * id, deadline_ms * MS, lambda: self.sent.append(id))

    def lost(self, id: int) -> None:
        self.order.lost(10 * MS * id)


@pytest.fixture
def stream() -> Stream:
    return Stream()


def test_one_after_the_other_nothing_waits(stream: Stream) -> None:
    for id in (1, 2, 3):
        stream.begin(id)
        stream.ready(id)
    assert stream.sent == [1, 2, 3]


def test_a_view_waits_for_the_older_ones_that_are_being_made(stream: Stream) -> None:
    stream.begin(1, 2, 3)
    stream.ready(3)
    stream.ready(2)
    assert stream.sent == []
    stream.ready(1)
    assert stream.sent == [1, 2, 3]


def test_it_does_not_wait_for_newer_ones(stream: Stream) -> None:
    stream.begin(1, 2)
    stream.ready(1)
    assert stream.sent == [1]


def test_one_that_is_given_up_holds_nobody(stream: Stream) -> None:
    stream.begin(1, 2)
    stream.ready(2)
    stream.lost(7)
    assert stream.sent == [], "that one was never begun"
    stream.lost(1)
    assert stream.sent == [2]


@pytest.mark.parametrize(("deadline_ms", "sent"), [(20 * MARGIN - 1, [2]), (20 * MARGIN, [])])
def test_it_waits_only_as_long_as_both_can_be_in_time(stream: Stream, deadline_ms: int, sent: list[int]) -> None:
    stream.begin(1, 2)
    stream.ready(2, deadline_ms)
    assert stream.sent == sent
    stream.ready(1)
    assert sorted(stream.sent) == [1, 2], "the old one is sent in any case: whoever shows it decides"


def test_it_stops_waiting_for_one_that_takes_far_longer_than_was_predicted(stream: Stream) -> None:
    stream.begin(1, 2)
    stream.ready(2)
    stream.clock.advance(round(20 * MARGIN * MS) + 1)
    stream.begin(3)
    assert stream.sent == []
    stream.ready(3)
    assert stream.sent == [2, 3]


def test_nothing_else_has_to_happen_for_one_that_has_waited_long_enough(stream: Stream) -> None:
    stream.begin(1, 2)
    stream.ready(2)
    stream.order.release()
    assert stream.sent == []
    stream.clock.advance(round(20 * MARGIN * MS) + 1)
    stream.order.release()
    assert stream.sent == [2]


def test_threads_that_end_at_once_keep_the_order() -> None:
    stream = Stream()
    ids = range(1, 201)
    stream.begin(*ids)

    def make(mine: range, wait: Callable[[], object]) -> None:
        for id in mine:
            wait()
            stream.ready(id)

    barrier = threading.Barrier(2)
    threads = [threading.Thread(target=make, args=(ids[i::2], barrier.wait)) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stream.sent == list(ids)
