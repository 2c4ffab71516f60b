"""A worker under a mock clock: the dispatcher and governor that run live, on made-up costs. Pure and seeded.

One event queue drives frames, sound and the ends of slices; between events every idle lane asks the dispatcher. Nothing
here decides: policies differ only in `Policy`.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from streamsvc.budget.dispatcher import Class, Dispatcher, Dropped, Job
from streamsvc.budget.load import Load, S, Slicing
from streamsvc.budget.outcome import Outcome
from streamsvc.budget.policies import Policy
from streamsvc.budget.scenario import Scenario
from streamsvc.budget.slices import Slices, run_to_end

DRAIN_NS = 2 * S
EVENTS_A_SLICE = 50


@dataclass(slots=True)
class _Work:
    """A job of the dispatcher; `slices` runs once it has started, `cost` tells what its next slice takes."""

    job: Job
    start: Callable[[int], Slicing]
    slices: Slicing | None = None
    cost: Callable[[int], int] | None = None


def simulate(scenario: Scenario, policy: Policy, seed: int) -> Outcome:
    """Run a scenario once under a policy."""
    return run_to_end(simulating(scenario, policy, seed))


def simulating(scenario: Scenario, policy: Policy, seed: int) -> Slices[Outcome]:
    """Do the same in slices of a few milliseconds, for whoever has other things to do."""
    return _Run(scenario, policy, seed).run()


class _Run:
    """See `load.Host`."""

    def __init__(self, scenario: Scenario, policy: Policy, seed: int) -> None:
        self._lanes = scenario.lanes
        self._events: list[tuple[int, int, Callable[[int], None]]] = []
        self._order = self._ids = self._now = 0
        self._dispatcher = Dispatcher(scenario.lanes, 1, replace(policy.rules, together=scenario.together))
        self._load = Load(scenario, policy, seed, self)
        self._works: dict[int, _Work] = {}
        self._idle = list(range(scenario.lanes))
        self._busy_ns = self._best_effort_ns = 0

    def run(self) -> Slices[Outcome]:
        self._load.begin()
        end = self._load.end_ns
        for count in itertools.count(1):
            if not self._events or self._events[0][0] > end + DRAIN_NS:
                break
            if count % EVENTS_A_SLICE == 0:
                yield "replay"
            self._now, _, happen = heapq.heappop(self._events)
            happen(self._now)
            if not self._events or self._events[0][0] > self._now:
                self._fill(self._now)
        whole = end * self._lanes
        return Outcome(
            self._load.sessions(),
            self._busy_ns / whole,
            self._best_effort_ns / whole,
            self._dispatcher.statistics(),
            self._load.governor.statistics(),
            self._load.costs(),
        )

    def at(self, when_ns: int, happen: Callable[[int], None]) -> None:
        self._order += 1
        heapq.heappush(self._events, (when_ns, self._order, happen))

    def next_id(self) -> int:
        self._ids += 1
        return self._ids

    def submit(self, job: Job, start: Callable[[int], Slicing]) -> None:
        self._works[job.id] = _Work(job, start)
        self._drop(self._dispatcher.submit(job))

    def afford(self, job_id: int, costs_ns: Sequence[int]) -> int:
        return self._dispatcher.afford(job_id, self._now, costs_ns)

    def backlog_ns(self) -> int:
        return self._dispatcher.backlog_ns()

    def _drop(self, dropped: Sequence[Dropped]) -> None:
        for drop in dropped:
            del self._works[drop.job.id]
            self._load.dropped(drop.job, drop.reason)

    def _fill(self, now: int) -> None:
        """Give every idle lane its next slice."""
        for lane in list(self._idle):
            job, dropped = self._dispatcher.pick(lane, now, self._load.governor.crowded)
            self._drop(dropped)
            if job is None:
                continue
            work = self._works[job.id]
            if work.slices is None:
                work.slices = work.start(now)
                work.cost = next(work.slices)
            assert work.cost is not None
            self._idle.remove(lane)
            spent = work.cost(now)
            inside = max(0, min(now + spent, self._load.end_ns) - now)
            self._busy_ns += inside
            self._best_effort_ns += inside * (job.kind is Class.BEST_EFFORT)
            self.at(now + spent, partial(self._ended, lane, work, spent))

    def _ended(self, lane: int, work: _Work, spent: int, now: int) -> None:
        self._idle.append(lane)
        if work.slices is None:
            raise RuntimeError("a slice ended of a job that never started")
        try:
            work.cost = work.slices.send((now, spent))
        except StopIteration:
            self._dispatcher.finished(work.job.id)
            del self._works[work.job.id]
        else:
            self._dispatcher.yielded(work.job.id, spent)
