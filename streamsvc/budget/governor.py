"""What the planner decided, applied to frames: thinned or not, and on which rung. One governor per worker.

The live worker and the simulator both run this, so what is simulated is what runs. Not locked: the worker calls it
under one lock. State: the present plan, made again when a frame arrives `PLAN_EVERY_NS` after the last; per stream its
ladder, learned costs and the credit by which thinned frames are spread evenly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from streamsvc.budget.cost import CostModel
from streamsvc.budget.planner import LOAD, PLAN_EVERY_NS, Allotment, Demand, Objective, Plan, Step, plan, staircase
from streamsvc.budget.policies import DEFAULT_POLICY, Policy
from streamsvc.budget.rung import Rung

ABSENT_NS = 2_000_000_000
"""A stream without a frame for this long takes no share."""
SPEECH_MEMORY_NS = 4e9

Afford = Callable[[Sequence[int]], int]
"""`Dispatcher.afford` of the job that starts: rising costs (ns), to the index of the dearest that harms nobody."""


@dataclass(frozen=True, slots=True)
class GovernorStatistics:
    """The present plan, and the frames that were thinned, or lowered at their start, since the beginning."""

    plan: Plan
    thinned: int
    lowered: int


@dataclass(frozen=True, slots=True)
class Ticket:
    """A frame that will be processed: the compute it takes at the least, and its rung where that is settled already."""

    floor_ns: int
    rung: str | None = None


class Governor:
    """Rungs and thinning for the view streams of one worker of `lanes` lanes."""

    def __init__(self, policy: Policy = DEFAULT_POLICY, lanes: int = 1) -> None:
        self.policy, self._lanes = policy, lanes
        self._streams: dict[str, Governed] = {}
        self._plan = Plan()
        self._planned_ns: int | None = None
        self._speech_load, self._spoken_ns = 0.0, 0
        self.thinned = self.lowered = 0

    def open(self, stream: str, ladder: Sequence[Rung], model: CostModel, floor: float | None = None) -> Governed:
        """Take a stream; `floor` is the least quality that counts, that of the lowest rung when left out.

        Raises ValueError for an empty ladder.
        """
        if not ladder:
            raise ValueError("a ladder needs at least one rung")
        least = min(r.quality for r in ladder) if floor is None else floor
        governed = self._streams[stream] = Governed(self, stream, ladder, model, least)
        return governed

    def close(self, stream: str) -> None:
        """Plan without the stream from now on; without any nothing is planned."""
        self._streams.pop(stream, None)
        if not self._streams:
            self._plan = Plan()

    def speech(self, spent_ns: int) -> None:
        """Take the compute of a slice of speech."""
        self._spoken_ns += spent_ns

    def expect_speech(self, share: float) -> None:
        """A speaker joined who is expected to take `share` of a lane, or left (negative); measuring takes over."""
        self._speech_load = max(0.0, self._speech_load + share)

    @property
    def crowded(self) -> bool:
        """Whether not even the floors fit into what is planned for."""
        return self._plan.load > LOAD * self._lanes

    def allotment(self, stream: str) -> Allotment | None:
        """Return what is planned for the stream, None before it was."""
        return self._plan.allotments.get(stream)

    def refresh(self, now_ns: int) -> None:
        """Make a plan if it is time."""
        passed = None if self._planned_ns is None else now_ns - self._planned_ns
        if passed is not None and 0 <= passed < PLAN_EVERY_NS:
            return
        if passed is not None and passed > 0:
            measured = min(self._spoken_ns / passed, float(self._lanes))
            self._speech_load += min(1.0, passed / SPEECH_MEMORY_NS) * (measured - self._speech_load)
        self._planned_ns, self._spoken_ns = now_ns, 0
        if isinstance(self.policy.choice, Objective):
            self._plan = plan(
                now_ns,
                self._plan,
                [s.demand() for s in self._streams.values() if s.present(now_ns)],
                objective=self.policy.choice,
                lanes=self._lanes,
                speech_load=self._speech_load,
            )

    def statistics(self) -> GovernorStatistics:
        """Return the present plan and counts since the start."""
        return GovernorStatistics(self._plan, self.thinned, self.lowered)


class Governed:
    """One view stream under a governor; outlives `Governor.close` for the jobs that are still running."""

    def __init__(self, governor: Governor, name: str, ladder: Sequence[Rung], model: CostModel, floor: float) -> None:
        self._governor, self._name = governor, name
        self._ladder = {r.name: r for r in ladder}
        self._model, self._floor = model, floor
        self._cap = math.inf
        self._period_ns, self._slack_ns = 1, 0.0
        self._seen_ns: int | None = None
        self._credit = 1.0
        self._learn()

    def frame(
        self,
        now_ns: int,
        deadline_ns: int,
        period_ns: int,
        backlog: Callable[[], int],
        cap: str | None = None,
        carried: float = math.inf,
    ) -> Ticket | None:
        """A frame arrived: return how it goes on, None when it is thinned out.

        `backlog()` is the compute of all live jobs that wait or run (ns); `cap` names the best rung that is wanted,
        `carried` is the quality above which the way to the viewer carries no more.
        """
        slack = deadline_ns - now_ns
        self._slack_ns = slack if self._seen_ns is None else self._slack_ns + 0.1 * (slack - self._slack_ns)
        self._seen_ns, self._period_ns = now_ns, max(period_ns, 1)
        self._cap = min(carried, self._ladder[cap].quality if cap in self._ladder else math.inf)
        self._governor.refresh(now_ns)
        match self._governor.policy.choice:
            case "top":
                return Ticket(self._steps[-1].mean_ns, self._steps[-1].rung)
            case "greedy":
                left = slack - backlog()
                step = next((s for s in reversed(self._steps) if s.c95_ns <= left), self._steps[0])
                return Ticket(step.mean_ns, step.rung)
        allotted = self._governor.allotment(self._name)
        self._credit = min(self._credit + (allotted.keep if allotted else 1.0), 2.0)
        if self._credit < 1:
            self._governor.thinned += 1
            return None
        self._credit -= 1
        return Ticket(self._steps[self._range()[0]].mean_ns)

    def choose(self, ticket: Ticket, afford: Afford) -> Rung:
        """Return the rung for a frame that starts now: the planned one, or as much lower, not under the floor, as its
        deadline and the jobs that wait ask for."""
        if ticket.rung is not None:
            return self._ladder[ticket.rung]
        low, high = self._range()
        index = low + afford([s.c95_ns for s in self._steps[low : high + 1]])
        self._governor.lowered += index < high
        return self._ladder[self._steps[index].rung]

    def mean_ns(self, rung: str) -> int:
        """Return the time that a lane is expected to take for a frame on a rung."""
        return self._model.mean_ns(rung)

    def compute_ns(self, rung: str) -> int:
        """Return the compute to expect of a frame on a rung."""
        return self._model.compute_ns(rung)

    def observe(self, rung: str, compute_ns: int, taken_ns: int | None = None) -> None:
        """Take the measured compute of a frame, and how long a lane took for it where that is known."""
        self._model.observe(rung, compute_ns, taken_ns=taken_ns)
        self._learn()

    def given_up(self) -> None:
        """A frame was dropped because it seemed that it couldn't make it even at the floor: doubt that a little."""
        self._model.relax(self._steps[self._range()[0]].rung)
        self._learn()

    @property
    def unseen(self) -> tuple[str, ...]:
        """The rungs that were never run on, cheapest first."""
        return tuple(name for name in self._ladder if name in self._model.unseen)

    def costs(self) -> tuple[Rung, ...]:
        """Return the ladder with the compute that is expected of it now."""
        return tuple(replace(r, cost_ns=self._model.mean_ns(r.name)) for r in self._ladder.values())

    def demand(self) -> Demand:
        """Return what the planner needs to know."""
        return Demand(self._name, self._steps, self._floor, self._period_ns, round(self._slack_ns), self._cap)

    def present(self, now_ns: int) -> bool:
        """Have frames been coming?"""
        return self._seen_ns is not None and now_ns - self._seen_ns < ABSENT_NS

    def _learn(self) -> None:
        model = self._model
        self._steps = staircase(
            [Step(r.name, model.mean_ns(r.name), model.c95_ns(r.name), r.quality) for r in self._ladder.values()]
        )

    def _range(self) -> tuple[int, int]:
        """The lowest and the highest step that a frame may run on: the floor, or what is planned where that lies under
        it, and what is planned; costs learned since the plan may have put a better step in the place of its rung."""
        demand = self.demand()
        bottom = demand.bottom
        allotted = self._governor.allotment(self._name)
        if allotted is None:
            return bottom, bottom
        planned = min(demand.held(allotted.quality), demand.top)
        if self._governor.policy.choice is Objective.QUALITY:
            return min(bottom, planned), planned
        return bottom, max(bottom, planned)
