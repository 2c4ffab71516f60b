"""Who runs next: decided between slices, on lanes that each run one slice at a time.

Pure and single-threaded; the worker calls it under one lock. State: waiting and running jobs. Invariants, under `OURS`
(other `Rules` are there to be compared with):

* a job runs on at most one lane at a time, and at most `speech_lanes` lanes run speech;
* earliest deadline first among live jobs; speech overtakes at its latest start: views use its slack, never its time;
* a pass of speech that hasn't begun goes before one that has, up to `together` begun, unless that alone would make the
  begun one late: what waits at the same stage can be computed in one call;
* at most three view jobs of a stream wait unstarted: a newer one displaces the oldest;
* a view job that can't finish by its deadline even at its floor cost is dropped, never started;
* speech is never dropped here: a word is worth more late than lost;
* best effort runs only when nothing live can, and either all of several lanes are idle, or no live job's latest start
  is within one of its slices; beside a busy lane its slices are at most `LONGEST_SLICE_NS` long.

Slack stealing for the speech reservation: Lehoczky and Ramos-Thuel, RTSS 1992.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

LONGEST_SLICE_NS = 25_000_000
"""What a slice may take at most; speech is given the lane this long before its latest start."""


class Class(Enum):
    """What a job is for; decides what may happen to it under load."""

    VIEW = "view"
    SPEECH = "speech"
    BEST_EFFORT = "best-effort"


@dataclass(frozen=True, slots=True)
class Job:
    """`deadline_ns` is when it must leave the worker; `floor_ns` the compute it takes at the least: a view at its floor
    rung, speech a whole pass. `period_ns` says when the stream's next view job is due after this one, `slice_ns` how
    long a slice of best effort may take; 0: unknown."""

    id: int
    stream: str
    kind: Class
    deadline_ns: int
    floor_ns: int = 0
    period_ns: int = 0
    slice_ns: int = 0


@dataclass(frozen=True, slots=True)
class Dropped:
    """A job that will not run, and why: "superseded", "hopeless" or "closed"."""

    job: Job
    reason: str


@dataclass(frozen=True, slots=True)
class Rules:
    """How jobs are ordered and given up. `depth`: view jobs of a stream that may wait, None for any number; `hopeless`:
    the classes that are dropped when they can't make it; `reserve_speech`: speech overtakes at its latest start;
    `together`: passes of speech that may be begun before one of them goes on."""

    order: Literal["arrival", "deadline"] = "deadline"
    depth: int | None = 3
    hopeless: frozenset[Class] = frozenset({Class.VIEW})
    reserve_speech: bool = True
    together: int = 1


OURS = Rules()


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
    since_ns: int = 0
    expected_ns: int = 0
    spent_ns: int = 0
    order: int = field(default=0)

    @property
    def remaining_ns(self) -> int:
        return max(0, self.expected_ns - self.spent_ns)

    @property
    def latest_start_ns(self) -> int:
        return self.job.deadline_ns - self.remaining_ns


class Dispatcher:
    """Decides between slices; see the module for what it promises."""

    def __init__(self, lanes: int, speech_lanes: int = 1, rules: Rules = OURS) -> None:
        if lanes < 1 or not 1 <= speech_lanes <= lanes:
            raise ValueError(f"lanes must be at least 1 and speech lanes 1 to {lanes}, got {lanes} and {speech_lanes}")
        self._lanes, self._speech_lanes, self._rules = lanes, speech_lanes, rules
        self._entries: dict[int, _Entry] = {}
        self._running: dict[int, _Entry] = {}
        self._newest: dict[str, Job] = {}
        self._order = self._started = self._finished = self._superseded = self._hopeless = 0

    def submit(self, job: Job) -> list[Dropped]:
        """Take a job and return the unstarted view jobs of its stream that it displaced; raises ValueError for a
        known id."""
        if job.id in self._entries:
            raise ValueError(f"job {job.id} is already known")
        dropped = []
        if job.kind is Class.VIEW:
            self._newest[job.stream] = job
            if self._rules.depth is not None:
                waiting = [
                    e
                    for e in self._entries.values()
                    if e.job.stream == job.stream and e.job.kind is Class.VIEW and not e.started
                ]
                for entry in waiting[: max(0, len(waiting) - self._rules.depth + 1)]:
                    del self._entries[entry.job.id]
                    dropped.append(Dropped(entry.job, "superseded"))
                self._superseded += len(dropped)
        self._order += 1
        self._entries[job.id] = _Entry(job, expected_ns=job.floor_ns, order=self._order)
        return dropped

    def pick(self, lane: int, now_ns: int, crowded: bool = False) -> tuple[Job | None, list[Dropped]]:
        """Choose what `lane` runs for its next slice, and name the jobs that became hopeless. While it is `crowded`
        (not even the floors of views fit) best effort waits: a lane that is free now is needed in a moment."""
        dropped = self._give_up(now_ns)
        best = self._best(now_ns, crowded)
        if best is None:
            return None, dropped
        best.lane, best.since_ns = lane, now_ns
        self._running[lane] = best
        if not best.started:
            best.started = True
            self._started += 1
        return best.job, dropped

    def afford(self, job_id: int, now_ns: int, costs_ns: Sequence[int]) -> int:
        """Return the index of the dearest way to do the running job, one of `costs_ns` (rising, the floor's first), by
        which it makes its deadline and costs no waiting job its own; 0 when there is none.

        What is waiting counts at its floor. The job is then expected to take that long.
        """
        entry = self._entries[job_id]
        waiting = sorted(
            (e for e in self._entries.values() if e.lane is None and _live(e)),
            key=lambda e: (e.job.deadline_ns, e.order),
        )
        others = [max(0, e.remaining_ns - (now_ns - e.since_ns)) for e in self._running.values() if e is not entry]
        others += [0] * (self._lanes - 1 - len(others))

        def saved(cost: int) -> int:
            free = [cost, *others]
            count = 0
            for e in waiting:
                at = free.index(min(free))
                if now_ns + free[at] + e.remaining_ns <= e.job.deadline_ns:
                    free[at] += e.remaining_ns
                    count += 1
            return count

        least = saved(costs_ns[0]) if len(costs_ns) > 1 else 0
        index = next(
            (
                i
                for i in range(len(costs_ns) - 1, 0, -1)
                if now_ns + costs_ns[i] <= entry.job.deadline_ns and saved(costs_ns[i]) >= least
            ),
            0,
        )
        entry.expected_ns = entry.spent_ns + costs_ns[index]
        return index

    def backlog_ns(self) -> int:
        """Return the compute that live jobs, waiting and running, still take as far as is known."""
        return sum(e.remaining_ns for e in self._entries.values() if _live(e))

    def yielded(self, job_id: int, spent_ns: int = 0) -> None:
        """A slice of the job ended after `spent_ns` and there is more: it competes again."""
        entry = self._entries.get(job_id)
        if entry is not None and entry.lane is not None:
            del self._running[entry.lane]
            entry.lane = None
            entry.spent_ns += spent_ns

    def finished(self, job_id: int) -> None:
        """The job ended, in whatever way."""
        entry = self._entries.pop(job_id, None)
        if entry is not None:
            if entry.lane is not None:
                del self._running[entry.lane]
            self._finished += 1

    def close_stream(self, stream: str) -> list[Dropped]:
        """Forget the stream's jobs that no lane is running; returns them. A running one ends by itself."""
        self._newest.pop(stream, None)
        gone = [e.job for e in self._entries.values() if e.job.stream == stream and e.lane is None]
        for job in gone:
            del self._entries[job.id]
        return [Dropped(job, "closed") for job in gone]

    def statistics(self) -> DispatcherStatistics:
        """Return counts since the start."""
        running = len(self._running)
        return DispatcherStatistics(
            len(self._entries) - running, running, self._started, self._finished, self._superseded, self._hopeless
        )

    def _give_up(self, now_ns: int) -> list[Dropped]:
        if not self._rules.hopeless:
            return []
        dropped = [
            Dropped(e.job, "hopeless")
            for e in self._entries.values()
            if not e.started and e.job.kind in self._rules.hopeless and now_ns > e.latest_start_ns
        ]
        for drop in dropped:
            del self._entries[drop.job.id]
        self._hopeless += len(dropped)
        return dropped

    def _best(self, now_ns: int, crowded: bool) -> _Entry | None:
        speaking = sum(e.job.kind is Class.SPEECH for e in self._running.values())
        may_speak = speaking < self._speech_lanes
        live = (
            e
            for e in self._entries.values()
            if e.lane is None and e.job.kind is not Class.BEST_EFFORT and (may_speak or e.job.kind is not Class.SPEECH)
        )
        if self._rules.order == "arrival":
            best = next(live, None)
        else:
            pressing = self._pressing(now_ns) if may_speak and self._rules.reserve_speech else None
            # A started job goes before an unstarted one of the same deadline: it holds memory.
            best = pressing or min(live, key=lambda e: (e.job.deadline_ns, not e.started, e.order), default=None)
        if best is not None and best.started and best.job.kind is Class.SPEECH:
            best = self._company(best, now_ns) or best
        return best or (None if crowded else self._best_effort(now_ns))

    def _company(self, begun: _Entry, now_ns: int) -> _Entry | None:
        """The next pass to begin before one that has `begun` goes on: while fewer than `together` are, and unless that
        one would be late only for this."""
        passes = [e for e in self._entries.values() if e.job.kind is Class.SPEECH]
        if sum(e.started for e in passes) >= self._rules.together:
            return None
        unbegun = (e for e in passes if not e.started)
        new = min(unbegun, key=lambda e: (e.job.deadline_ns, e.order), default=None)
        if new is None:
            return None
        return None if begun.latest_start_ns - new.remaining_ns < now_ns <= begun.latest_start_ns else new

    def _pressing(self, now_ns: int) -> _Entry | None:
        """The speech that must have the lane now: all passes, done as late as they can be, those that are computed
        together all by the first one's deadline."""
        passes = [e for e in self._entries.values() if e.job.kind is Class.SPEECH]
        if not passes:
            return None
        passes.sort(key=lambda e: (e.job.deadline_ns, not e.started, e.order))
        start = passes[-1].job.deadline_ns
        for first in reversed(range(0, len(passes), self._rules.together)):
            group = passes[first : first + self._rules.together]
            start = min(start, group[0].job.deadline_ns) - sum(e.remaining_ns for e in group)
        if now_ns + LONGEST_SLICE_NS < start:
            return None
        return next((e for e in passes if e.lane is None), None)

    def _best_effort(self, now_ns: int) -> _Entry | None:
        """The oldest best effort, if all of several lanes are idle, so that others are left for what comes; or if no
        live job, waiting or due next of its stream, must start within its slice, a short one beside other lanes."""
        idle = (e for e in self._entries.values() if e.lane is None and e.job.kind is Class.BEST_EFFORT)
        entry = min(idle, key=lambda e: e.order, default=None)
        if entry is None:
            return None
        if self._lanes > 1 and not self._running and not any(_live(e) for e in self._entries.values()):
            return entry
        if self._lanes > 1 and entry.job.slice_ns > LONGEST_SLICE_NS:
            return None
        starts = [e.latest_start_ns for e in self._entries.values() if e.lane is None and e is not entry and _live(e)]
        starts += [
            j.deadline_ns + j.period_ns - j.floor_ns
            for j in self._newest.values()
            if j.period_ns and j.deadline_ns + j.period_ns > now_ns
        ]
        return entry if all(now_ns + entry.job.slice_ns <= s for s in starts) else None


def _live(entry: _Entry) -> bool:
    return entry.job.kind is not Class.BEST_EFFORT
