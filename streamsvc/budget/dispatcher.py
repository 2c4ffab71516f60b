"""Who runs next: earliest deadline first over slices, on lanes that each run one slice at a time.

Pure and single-threaded; the worker calls it under one lock. State: waiting and running jobs. Invariants:

* a job runs on at most one lane at a time, and at most `speech_lanes` lanes run speech;
* at most `DEPTH` view jobs of a stream wait unstarted: a newer one displaces the oldest;
* a view job that can't finish by its deadline even at its floor cost is dropped, never started;
* speech is never dropped here: a word is worth more late than lost;
* best effort runs only when nothing live can.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

DEPTH = 2


class Class(Enum):
    """What a job is for; decides what may happen to it under load."""

    VIEW = "view"
    SPEECH = "speech"
    BEST_EFFORT = "best-effort"


@dataclass(frozen=True, slots=True)
class Job:
    """`deadline_ns` is when it must leave the worker; `floor_ns` the compute it takes at its cheapest rung."""

    id: int
    stream: str
    kind: Class
    deadline_ns: int
    floor_ns: int = 0


@dataclass(frozen=True, slots=True)
class Dropped:
    """A job that will not run, and why: "superseded", "hopeless" or "closed"."""

    job: Job
    reason: str


@dataclass(frozen=True, slots=True)
class DispatcherStatistics:
    """What the dispatcher holds and has done since the start."""

    waiting: int
    running: int
    started: int
    finished: int
    superseded: int
    hopeless: int


@dataclass(slots=True)
class _Entry:
    job: Job
    started: bool = False
    lane: int | None = None
    order: int = field(default=0)


class Dispatcher:
    """Decides between slices; see the module for what it promises."""

    def __init__(self, lanes: int, speech_lanes: int = 1) -> None:
        if lanes < 1 or not 1 <= speech_lanes <= lanes:
            raise ValueError(f"lanes must be at least 1 and speech lanes 1 to {lanes}, got {lanes} and {speech_lanes}")
        self._speech_lanes = speech_lanes
        self._entries: dict[int, _Entry] = {}
        self._order = self._started = self._finished = self._superseded = self._hopeless = 0

    def submit(self, job: Job) -> list[Dropped]:
        """Take a job and return the unstarted view jobs of its stream that it displaced; raises ValueError for a
        known id."""
        if job.id in self._entries:
            raise ValueError(f"job {job.id} is already known")
        dropped = []
        if job.kind is Class.VIEW:
            unstarted = sorted(
                (e for e in self._entries.values() if e.job.stream == job.stream and not e.started),
                key=lambda e: e.order,
            )
            for entry in unstarted[: max(0, len(unstarted) - DEPTH + 1)]:
                del self._entries[entry.job.id]
                dropped.append(Dropped(entry.job, "superseded"))
            self._superseded += len(dropped)
        self._order += 1
        self._entries[job.id] = _Entry(job, order=self._order)
        return dropped

    def pick(self, lane: int, now_ns: int) -> tuple[Job | None, list[Dropped]]:
        """Choose what `lane` runs for its next slice, and name the jobs that became hopeless."""
        dropped = [
            Dropped(e.job, "hopeless")
            for e in self._entries.values()
            if e.job.kind is Class.VIEW and not e.started and now_ns + e.job.floor_ns > e.job.deadline_ns
        ]
        for drop in dropped:
            del self._entries[drop.job.id]
        self._hopeless += len(dropped)
        speaking = sum(e.lane is not None and e.job.kind is Class.SPEECH for e in self._entries.values())
        ready = [
            e
            for e in self._entries.values()
            if e.lane is None and (e.job.kind is not Class.SPEECH or speaking < self._speech_lanes)
        ]
        if not ready:
            return None, dropped
        # A started view job goes before an unstarted one of the same deadline: it holds memory.
        best = min(ready, key=lambda e: (e.job.kind is Class.BEST_EFFORT, e.job.deadline_ns, not e.started, e.order))
        best.lane = lane
        if not best.started:
            best.started = True
            self._started += 1
        return best.job, dropped

    def yielded(self, job_id: int) -> None:
        """A slice of the job ended and there is more: it competes again."""
        entry = self._entries.get(job_id)
        if entry is not None:
            entry.lane = None

    def finished(self, job_id: int) -> None:
        """The job ended, in whatever way."""
        if self._entries.pop(job_id, None) is not None:
            self._finished += 1

    def close_stream(self, stream: str) -> list[Dropped]:
        """Forget the stream's jobs that no lane is running; returns them. A running one ends by itself."""
        gone = [e.job for e in self._entries.values() if e.job.stream == stream and e.lane is None]
        for job in gone:
            del self._entries[job.id]
        return [Dropped(job, "closed") for job in gone]

    def statistics(self) -> DispatcherStatistics:
        """Return counts since the start."""
        running = sum(e.lane is not None for e in self._entries.values())
        return DispatcherStatistics(
            len(self._entries) - running, running, self._started, self._finished, self._superseded, self._hopeless
        )
