"""A scenario in real time: real lanes, dispatcher and planner, whose slices take what the scenario says but do nothing.

A lane that sleeps is a lane that waits for its device: what is measured is the deciding, not the machine.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from streamsvc.budget import Class, Job, MonotonicClock, Slices
from streamsvc.budget.load import Load, S, Slicing
from streamsvc.budget.outcome import Outcome
from streamsvc.budget.policies import Policy
from streamsvc.budget.scenario import Scenario
from streamsvc.frames.link import StageSpan
from streamsvc.worker.lanes import Lanes

DRAIN_S = 1.0
SLEEPS = 20


class Since:
    """The monotonic clock, counted from when this was made."""

    def __init__(self) -> None:
        self._clock = MonotonicClock()
        self._zero = self._clock.now_ns()

    def now_ns(self) -> int:
        """Return the instant."""
        return self._clock.now_ns() - self._zero


def oversleep_ns() -> int:
    """Return by how much a short sleep of this machine usually lasts longer than it is asked to."""
    late = []
    for _ in range(SLEEPS):
        begun = time.monotonic_ns()
        time.sleep(1e-3)
        late.append(time.monotonic_ns() - begun - 1_000_000)
    return sorted(late)[SLEEPS // 2]


class Play:
    """One scenario under one policy, the `Host` of its load; `run` once, then `cpu_s` is what this process took."""

    def __init__(self, scenario: Scenario, policy: Policy, seed: int) -> None:
        self._oversleep_ns = oversleep_ns()
        self._clock = Since()
        self._lanes = Lanes(scenario.lanes, self._clock, replace(policy.rules, together=scenario.together))
        self._scenario = scenario
        self._lock = threading.RLock()
        """Around the load: a job that is dropped is told to it while another is queued."""
        self._events: list[tuple[int, int, Callable[[int], None]]] = []
        self._order = 0
        self.load = Load(scenario, policy, seed, self)
        self.cpu_s = 0.0

    def run(self) -> Outcome:
        """Play the scenario and return what became of everything that was due."""
        self._begin()
        before = time.process_time()
        self._lanes.start()
        while self._events:
            when, _, happen = heapq.heappop(self._events)
            self._sleep_to(when / S)
            with self._lock:
                happen(self._clock.now_ns())
                self._lanes.crowded = self.load.governor.crowded
        self._sleep_to(self._scenario.seconds)
        whole = self._clock.now_ns() * self._lanes.count
        busy = {kind: self._lanes.spent_ns(kind) / whole for kind in Class}
        while self._holds_work() and self._clock.now_ns() < (self._scenario.seconds + DRAIN_S) * S:
            time.sleep(0.01)
        self.cpu_s = time.process_time() - before
        self._lanes.stop()
        with self._lock:
            return Outcome(
                self.load.sessions(),
                sum(busy.values()),
                busy[Class.BEST_EFFORT],
                self._lanes.statistics(),
                self.load.governor.statistics(),
                self.load.costs(),
            )

    def at(self, when_ns: int, happen: Callable[[int], None]) -> None:
        """See `load.Host`; called before the start, or from what happens."""
        self._order += 1
        heapq.heappush(self._events, (when_ns, self._order, happen))

    def next_id(self) -> int:
        """See `load.Host`."""
        return self._lanes.next_id()

    def submit(self, job: Job, start: Callable[[int], Slicing]) -> None:
        """See `load.Host`."""

        def on_end(reason: str | None, spans: list[StageSpan]) -> None:
            if reason is not None:
                with self._lock:
                    self.load.dropped(job, reason)

        self._lanes.submit(job, partial(self._work, job, start), on_end)

    def afford(self, job_id: int, costs_ns: Sequence[int]) -> int:
        """See `load.Host`."""
        return self._lanes.afford(job_id, costs_ns)

    def backlog_ns(self) -> int:
        """See `load.Host`."""
        return self._lanes.backlog_ns()

    def _begin(self) -> None:
        self.load.begin()

    def _holds_work(self) -> bool:
        told = self._lanes.statistics()
        return told.waiting + told.running > 0

    def _sleep_to(self, second: float) -> None:
        time.sleep(max(0.0, second - self._clock.now_ns() / S))

    def _work(self, job: Job, start: Callable[[int], Slicing]) -> Slices[None]:
        with self._lock:
            slices = start(self._clock.now_ns())
            cost = next(slices)
        while True:
            begun = self._clock.now_ns()
            with self._lock:
                asked = cost(begun)
            if asked:
                time.sleep(max(0, asked - self._oversleep_ns) / S)
            ended = self._clock.now_ns()
            with self._lock:
                try:
                    cost = slices.send((ended, max(ended - begun, 1)))
                except StopIteration:
                    return
            yield job.kind.value
