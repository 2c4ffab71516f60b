"""Lanes: threads that run slices one at a time, as the dispatcher decides.

Promises: `on_end` of a job is called exactly once, on some thread, whatever happens to it; a job that raises, there
or in its `on_end`, ends alone; deciding is done under one lock and computing outside of it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from streamsvc.budget import Class, Clock, Dispatcher, Dropped, Job, Slices
from streamsvc.budget.dispatcher import OURS, DispatcherStatistics, Rules
from streamsvc.errors import StreamsvcError
from streamsvc.frames.link import StageSpan

log = logging.getLogger(__name__)

FIRST_USUAL_NS = 250_000_000.0
PATIENCE = 4.0

Work = Callable[[], Slices[None]]
OnEnd = Callable[[str | None, list[StageSpan]], None]
"""Called with None when the job ran to its end, else why it did not ("superseded", "hopeless", "closed", "failed",
"out-of-memory"), and the slices that ran."""


@dataclass(slots=True)
class _Running:
    work: Work
    on_end: OnEnd
    slices: Slices[None] | None = None
    spans: list[StageSpan] = field(default_factory=list)


class Lanes:
    """`count` threads over one dispatcher under `rules`; at most one of them runs speech."""

    def __init__(self, count: int, clock: Clock, rules: Rules = OURS) -> None:
        self.count = count
        self._crowded = False
        self._clock = clock
        self._dispatcher = Dispatcher(count, speech_lanes=1, rules=rules)
        self._changed = threading.Condition()
        self._jobs: dict[int, _Running] = {}
        self._busy_since: list[tuple[int, Class] | None] = [None] * count
        self._usual_ns = dict.fromkeys(Class, FIRST_USUAL_NS)
        self._busy_ns = dict.fromkeys(Class, 0)
        self._load_mark = (clock.now_ns(), 0)
        self._next_id = 0
        self._told: dict[tuple[str, Class], str] = {}
        self._stopping = False
        self._threads = [threading.Thread(target=self._run, args=(i,), name=f"lane-{i}") for i in range(count)]

    def start(self) -> None:
        """Start the threads; they are daemons, so a hung slice can't keep the process alive."""
        for thread in self._threads:
            thread.daemon = True
            thread.start()

    def stop(self) -> None:
        """Let the lanes end after their present slice, and wait for that for at most a second each."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(1.0)

    @property
    def crowded(self) -> bool:
        """Whether not even the floors of views fit, so that best effort has to wait; whoever plans says so."""
        return self._crowded

    @crowded.setter
    def crowded(self, crowded: bool) -> None:
        with self._changed:
            if self._crowded and not crowded:
                self._changed.notify_all()
            self._crowded = crowded

    def next_id(self) -> int:
        """Return a job id that was not used before."""
        with self._changed:
            self._next_id += 1
            return self._next_id

    def submit(self, job: Job, work: Work, on_end: OnEnd) -> None:
        """Queue a job; `work()` is called on a lane when it starts."""
        with self._changed:
            dropped = self._dispatcher.submit(job)
            self._jobs[job.id] = _Running(work, on_end)
            ended = self._take_out(dropped)
            self._changed.notify()
        self._tell(ended)

    def close_stream(self, stream: str) -> None:
        """Drop what the stream has waiting; a running job ends by itself."""
        with self._changed:
            ended = self._take_out(self._dispatcher.close_stream(stream))
            for kind in Class:
                self._told.pop((stream, kind), None)
        self._tell(ended)

    def statistics(self) -> DispatcherStatistics:
        """Return the dispatcher's counts."""
        with self._changed:
            return self._dispatcher.statistics()

    def afford(self, job_id: int, costs_ns: Sequence[int]) -> int:
        """Return which of `costs_ns` (rising) the running job can take, see `Dispatcher.afford`."""
        with self._changed:
            return self._dispatcher.afford(job_id, self._clock.now_ns(), costs_ns)

    def backlog_ns(self) -> int:
        """Return the compute of everything that waits or runs, see `Dispatcher.backlog_ns`."""
        with self._changed:
            return self._dispatcher.backlog_ns()

    def spent_ns(self, kind: Class) -> int:
        """The time that jobs of a kind have had a lane since the start."""
        return self._busy_ns[kind]

    def overdue_ns(self) -> int:
        """How much longer than `PATIENCE` times the usual slice of its kind the worst of the running slices has run.

        What is usual is measured, so that a machine that is busy with other things isn't taken for a hung lane.
        """
        now = self._clock.now_ns()
        running = [b for b in self._busy_since if b is not None]
        return round(max((now - start - PATIENCE * self._usual_ns[kind] for start, kind in running), default=0))

    def load(self) -> float:
        """Return the busy share of all lanes since the last call, 0 to 1."""
        now, busy = self._clock.now_ns(), sum(self._busy_ns.values())
        then, before = self._load_mark
        self._load_mark = (now, busy)
        return min(1.0, (busy - before) / max(1, (now - then) * len(self._threads)))

    def _take_out(self, dropped: list[Dropped]) -> list[tuple[_Running, str]]:
        return [(self._jobs.pop(d.job.id), d.reason) for d in dropped if d.job.id in self._jobs]

    @staticmethod
    def _tell(ended: list[tuple[_Running, str]]) -> None:
        for running, reason in ended:
            if running.slices is not None:
                _guarded(running.slices.close)
            _guarded(partial(running.on_end, reason, running.spans))

    def _run(self, lane: int) -> None:
        while True:
            with self._changed:
                job, dropped = self._dispatcher.pick(lane, self._clock.now_ns(), self._crowded)
                ended = self._take_out(dropped)
                if job is None and not ended:
                    if self._stopping:
                        return
                    self._changed.wait()
                    continue
            self._tell(ended)
            if job is not None:
                self._slice(lane, job)

    def _slice(self, lane: int, job: Job) -> None:
        running = self._jobs[job.id]
        start = self._clock.now_ns()
        self._busy_since[lane] = start, job.kind
        outcome: str | None = None
        over = False
        name = "finish"
        try:
            if running.slices is None:
                running.slices = running.work()
            name = next(running.slices)
        except StopIteration:
            over = True
        except MemoryError:
            log.error("out of memory in a %s job of %s", job.kind.value, job.stream)
            over, outcome, name = True, "out-of-memory", "failed"
        except StreamsvcError as e:
            if self._news(job, str(e)):
                log.warning("a %s job of %s was given up: %s", job.kind.value, job.stream, e)
            over, outcome, name = True, "failed", "failed"
        except Exception as e:
            if self._news(job, repr(e)):
                log.exception("a %s job of %s failed", job.kind.value, job.stream)
            over, outcome, name = True, "failed", "failed"
        end = self._clock.now_ns()
        self._busy_since[lane] = None
        running.spans.append(StageSpan(name, start, end))
        with self._changed:
            self._busy_ns[job.kind] += end - start
            self._usual_ns[job.kind] += 0.1 * (end - start - self._usual_ns[job.kind])
            if over:
                self._dispatcher.finished(job.id)
                self._jobs.pop(job.id, None)
            else:
                self._dispatcher.yielded(job.id, end - start)
            self._changed.notify()
        if over:
            _guarded(partial(running.on_end, outcome, running.spans))

    def _news(self, job: Job, reason: str) -> bool:
        """Whether the stream's jobs of this kind failed for another reason before: most fail at every frame."""
        with self._changed:
            before = self._told.get((job.stream, job.kind))
            self._told[job.stream, job.kind] = reason
        return reason != before


def _guarded(call: Callable[[], None]) -> None:
    """Call it; an exception is logged, because it must not end the lane, or the reader, on which a job ends."""
    try:
        call()
    except Exception:
        log.exception("the end of a job failed")
