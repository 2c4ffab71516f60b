"""Lanes: every job ends exactly once and alone, whatever it does."""

import queue
import threading
from collections.abc import Callable

import pytest

from streamsvc.budget import Class, Job, MonotonicClock, Slices
from streamsvc.errors import StreamsvcError
from streamsvc.worker.lanes import Lanes

LATER = 1 << 62


class Bench:
    """Lanes with a log of how jobs ended."""

    def __init__(self, lanes: int = 1) -> None:
        self.lanes = Lanes(lanes, MonotonicClock())
        self.ended: queue.Queue[tuple[int, str | None, list[str]]] = queue.Queue()

    def submit(self, work: Callable[[], Slices[None]], stream: str = "s", kind: Class = Class.VIEW) -> int:
        id = self.lanes.next_id()
        self.lanes.submit(
            Job(id, stream, kind, LATER),
            work,
            lambda reason, spans: self.ended.put((id, reason, [s.name for s in spans])),
        )
        return id

    def next_end(self) -> tuple[int, str | None, list[str]]:
        return self.ended.get(timeout=20)


def two_slices() -> Slices[None]:
    yield "first"
    yield "second"


def test_a_job_runs_slice_by_slice_and_says_what_ran() -> None:
    bench = Bench()
    bench.lanes.start()
    id = bench.submit(two_slices)
    assert bench.next_end() == (id, None, ["first", "second", "finish"])
    assert bench.lanes.statistics().waiting == 0
    bench.lanes.stop()


@pytest.mark.parametrize(
    ("error", "reason"),
    [(RuntimeError("x"), "failed"), (StreamsvcError("x"), "failed"), (MemoryError(), "out-of-memory")],
)
def test_a_job_that_fails_ends_alone(error: Exception, reason: str) -> None:
    def failing() -> Slices[None]:
        yield "first"
        raise error

    bench = Bench()
    bench.lanes.start()
    bad, good = bench.submit(failing), bench.submit(two_slices, "other")
    ends = {id: why for id, why, _ in (bench.next_end(), bench.next_end())}
    assert ends == {bad: reason, good: None}
    bench.lanes.stop()


def test_an_end_that_fails_ends_neither_the_lane_nor_the_reader() -> None:
    def failing(reason: str | None, spans: object) -> None:
        raise RuntimeError(f"told {reason}")

    bench = Bench()
    for stream in ("a", "a", "a", "a", "b"):  # the fourth displaces the first: that is told on this thread
        bench.lanes.submit(Job(bench.lanes.next_id(), stream, Class.VIEW, LATER), two_slices, failing)
    bench.lanes.close_stream("b")
    bench.lanes.start()
    good = bench.submit(two_slices, "good")
    assert bench.next_end()[:2] == (good, None)
    assert bench.lanes.statistics().finished == 4
    bench.lanes.stop()


def test_why_a_streams_jobs_fail_is_told_once_and_again_when_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.lanes.start()

    def fail(error: Exception, stream: str = "s") -> None:
        def failing() -> Slices[None]:
            yield "first"
            raise error

        bench.submit(failing, stream)
        assert bench.next_end()[1] == "failed"

    for error in (
        StreamsvcError("one"),
        StreamsvcError("one"),
        StreamsvcError("two"),
        RuntimeError("x"),
        RuntimeError("x"),
    ):
        fail(error)
    fail(StreamsvcError("two"), "other")
    told = [r.getMessage() for r in caplog.records]
    assert [text.rpartition(" ")[2] for text in told] == ["one", "two", "failed", "two"], told
    bench.lanes.close_stream("s")
    fail(RuntimeError("x"))
    assert len(caplog.records) == 5, "a stream that is opened anew is told anew"
    bench.lanes.stop()


def test_a_closed_stream_ends_what_waits_and_a_displaced_job_is_told() -> None:
    bench = Bench()
    started, go = threading.Event(), threading.Event()

    def blocking() -> Slices[None]:
        started.set()
        assert go.wait(20)
        yield "blocked"

    bench.lanes.start()
    running = bench.submit(blocking, "r")
    assert started.wait(20)
    first, *others = (bench.submit(two_slices) for _ in range(4))
    assert bench.next_end() == (first, "superseded", [])
    bench.lanes.close_stream("s")
    assert {bench.next_end()[:2] for _ in others} == {(number, "closed") for number in others}
    assert bench.lanes.overdue_ns() < 0, "a slice that has just begun is not overdue"
    go.set()
    assert bench.next_end()[:2] == (running, None)
    bench.lanes.stop()


def test_two_lanes_run_two_views_at_once_but_never_two_speakers() -> None:
    bench = Bench(2)
    at_once, peak = threading.Semaphore(0), []
    lock = threading.Lock()
    running = {"view": 0, "speech": 0}

    def counting(kind: str) -> Callable[[], Slices[None]]:
        def work() -> Slices[None]:
            with lock:
                running[kind] += 1
                peak.append(dict(running))
            at_once.release()
            yield "counted"
            with lock:
                running[kind] -= 1

        return work

    for i in range(6):
        bench.submit(counting("speech"), f"a{i}", Class.SPEECH)
        bench.submit(counting("view"), f"v{i}")
    bench.lanes.start()
    for _ in range(12):
        bench.next_end()
    assert max(p["speech"] for p in peak) == 1
    bench.lanes.stop()
