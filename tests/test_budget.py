"""Deadlines, the clock and slices: time is an argument, and what comes after the worker is left room."""

import pytest

from streamsvc.budget import AfterWorker, MockClock, run_to_end, worker_deadline_ns

MS = 1_000_000


def test_the_worker_deadline_leaves_room_for_what_comes_after() -> None:
    assert worker_deadline_ns(1000, 400, 60) == 1340
    assert worker_deadline_ns(1000, 400, 390) == worker_deadline_ns(1000, 400, 9000) == 1100


def test_after_worker_moves_slowly_towards_the_95th_percentile() -> None:
    after = AfterWorker()
    start = after.ns(0)
    after.observe(200 * MS, 0)
    assert start < after.ns(0) < 80 * MS
    for i in range(200):
        after.observe(30 * MS, i * 33 * MS)
    assert after.ns(200 * 33 * MS) == pytest.approx(30 * MS, rel=0.1)


def test_what_came_after_the_worker_once_is_forgotten_when_nothing_is_shown_any_more() -> None:
    after = AfterWorker()
    for i in range(100):
        after.observe(900 * MS, i * 33 * MS)
    told = 99 * 33 * MS
    high = after.ns(told + 1000 * MS)
    assert high > 800 * MS
    assert after.ns(told + 2000 * MS) == pytest.approx((high + 60 * MS) / 2, rel=0.01)
    assert after.ns(told + 600_000 * MS) == 60 * MS
    after.observe(50 * MS, told + 60_000 * MS)
    assert after.ns(told + 60_000 * MS) < 61 * MS


def test_a_mock_clock_refuses_to_go_back() -> None:
    clock = MockClock(5)
    clock.advance(3)
    assert clock.now_ns() == 8
    with pytest.raises(ValueError, match="can't go back"):
        clock.advance(-1)


def test_run_to_end_returns_the_jobs_result_after_its_last_slice() -> None:
    ran = []

    def job():  # type: ignore[no-untyped-def]
        ran.append(1)
        yield "first"
        ran.append(2)
        yield "second"
        return "result"

    assert run_to_end(job()) == "result" and ran == [1, 2]
