"""A worker under a mock clock: the dispatcher and governor that run live, on made-up costs. Pure and seeded.

One event queue drives frames, sound and the ends of slices; between events every idle lane asks the dispatcher. The
same seed gives every policy the same captures and delays. Nothing here decides: policies differ only in `Policy`.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from random import Random

from streamsvc.budget.cost import CostModel, Speed
from streamsvc.budget.deadline import token_cap
from streamsvc.budget.dispatcher import Class, Dispatcher, DispatcherStatistics, Dropped, Job
from streamsvc.budget.goodput import Due, goodput
from streamsvc.budget.governor import Governed, Governor, GovernorStatistics, Ticket
from streamsvc.budget.policies import Policy
from streamsvc.budget.rung import Rung
from streamsvc.budget.scenario import Scenario, SessionLoad, SpeechLoad, ViewLoad

MS = 1_000_000
S = 1_000_000_000
DELAY_SHAPE = 2.0
"""Of the gamma distribution of delays: a lower limit near zero, and a tail."""
LEAST_TOKENS = 0.5
"""A pass is cut short by at most this share of what there is to say; the next one says the rest."""
DRAIN_NS = 2 * S


@dataclass(frozen=True, slots=True)
class SessionOutcome:
    """All that one session was due, in the order of capture; `floor` is what its views' quality is held to."""

    name: str
    views: tuple[Due, ...]
    speech: tuple[Due, ...]
    floor: float

    @property
    def view_goodput(self) -> float | None:
        """Good frames over captured frames; None for a session without a view."""
        return goodput(self.views, self.floor)

    @property
    def speech_goodput(self) -> float | None:
        """Words in time over words spoken; None for a session without speech."""
        return goodput(self.speech)

    @property
    def longest_gap_ns(self) -> int | None:
        """The longest time between two good frames."""
        shown = sorted(d.displayed_ns for d in self.views if d.good(self.floor) and d.displayed_ns is not None)
        return max((b - a for a, b in pairwise(shown)), default=None)

    @property
    def switches(self) -> int:
        """How often two processed frames in a row ran on different rungs."""
        rungs = [d.rung for d in self.views if d.rung is not None]
        return sum(a != b for a, b in pairwise(rungs))


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run. Shares are of all lanes: `busy` by anything, `best_effort` by best effort."""

    sessions: tuple[SessionOutcome, ...]
    busy: float
    best_effort: float
    dispatcher: DispatcherStatistics
    governor: GovernorStatistics


Slicing = Generator[int, int, None]
"""A job under way: yields what its next slice really takes (ns) and is sent the instant at which that slice ended."""


@dataclass(slots=True)
class _View:
    name: str
    load: ViewLoad
    governed: Governed
    dues: list[Due]


@dataclass(slots=True)
class _Speech:
    name: str
    load: SpeechLoad
    model: CostModel
    dues: list[Due]
    owed: int = 0


@dataclass(slots=True)
class _Work:
    """A job of the dispatcher; `slices` runs once it has started, `next_ns` is what its next slice takes."""

    job: Job
    start: Callable[[int], Slicing]
    slices: Slicing | None = None
    next_ns: int = 0


@dataclass(slots=True)
class _Pass:
    """A speech pass that waits for its start: the `index` of its words among the stream's dues."""

    speech: _Speech
    index: int


def simulate(scenario: Scenario, policy: Policy, seed: int) -> Outcome:
    """Run a scenario once under a policy."""
    return _Run(scenario, policy, seed).run()


class _Run:
    def __init__(self, scenario: Scenario, policy: Policy, seed: int) -> None:
        self._scenario, self._policy = scenario, policy
        self._arrivals, self._noise = Random(f"arrivals {seed}"), Random(f"noise {seed}")
        self._events: list[tuple[int, int, Callable[[int], None]]] = []
        self._order = self._ids = 0
        self._dispatcher = Dispatcher(scenario.lanes, 1, policy.rules)
        self._governor = Governor(policy, scenario.lanes)
        self._speed = Speed()
        self._works: dict[int, _Work] = {}
        self._passes: dict[int, _Pass] = {}
        self._views: dict[str, _View] = {}
        self._idle = list(range(scenario.lanes))
        self._busy_ns = self._best_effort_ns = 0
        self._end_ns = round(scenario.seconds * S)

    def run(self) -> Outcome:
        sessions = []
        for i, load in enumerate(self._scenario.sessions):
            for k in range(load.count):
                sessions.append(self._session(f"{i + 1}.{k + 1}", load))
        for lane in range(self._scenario.lanes if self._scenario.best_effort_ms else 0):
            self._at(0, partial(self._best_effort, lane))
        while self._events and self._events[0][0] <= self._end_ns + DRAIN_NS:
            now, _, happen = heapq.heappop(self._events)
            happen(now)
            if not self._events or self._events[0][0] > now:
                self._fill(now)
        whole = self._end_ns * self._scenario.lanes
        return Outcome(
            tuple(
                SessionOutcome(
                    name,
                    tuple(view.dues) if view else (),
                    tuple(speech.dues) if speech else (),
                    view.load.floor if view else 0.0,
                )
                for name, view, speech in sessions
            ),
            self._busy_ns / whole,
            self._best_effort_ns / whole,
            self._dispatcher.statistics(),
            self._governor.statistics(),
        )

    def _at(self, when_ns: int, happen: Callable[[int], None]) -> None:
        self._order += 1
        heapq.heappush(self._events, (when_ns, self._order, happen))

    def _session(self, name: str, load: SessionLoad) -> tuple[str, _View | None, _Speech | None]:
        """Lay out everything that a session captures."""
        join = round(load.join_s * S)
        leave = self._end_ns if load.leave_s is None else min(self._end_ns, round(load.leave_s * S))
        view = speech = None
        if load.view is not None and join < leave:
            view = self._opened(f"{name}/view", load.view)
            self._at(leave, lambda _: self._governor.close(view.name))
            period, delay = S / load.view.fps, load.view.delay_ms * MS
            first = join + self._arrivals.random() * period
            for n in range(max(0, math.ceil((leave - first) / period))):
                captured = round(first + n * period)
                view.dues.append(Due(captured, captured + round(load.view.deadline_ms * MS)))
                late = self._arrivals.gammavariate(DELAY_SHAPE, delay / DELAY_SHAPE) if delay else 0.0
                self._at(captured + round(late), partial(self._frame, view, n, round(period)))
        if load.speech is not None and join < leave:
            speech = _Speech(f"{name}/speech", load.speech, _speech_model(load.speech, self._speed), [])
            every, share = load.speech.every_ms * MS, speech_share(load.speech)
            self._at(join, lambda _: self._governor.expect_speech(share))
            self._at(leave, lambda _: self._governor.expect_speech(-share))
            first = join + self._arrivals.random() * every
            for n in range(max(0, math.ceil((leave - first) / every))):
                captured = round(first + n * every)
                deadline = captured + round(load.speech.deadline_ms * MS)
                speech.dues.append(Due(captured, deadline, units=load.speech.tokens))
                self._at(captured, partial(self._sound, speech, n))
        return name, view, speech

    def _opened(self, name: str, load: ViewLoad) -> _View:
        ladder = [Rung(r.name, round(r.cost_ms * MS), r.quality) for r in load.rungs]
        governed = self._governor.open(name, ladder, CostModel(ladder, self._speed), load.floor)
        view = self._views[name] = _View(name, load, governed, [])
        return view

    def _submit(self, job: Job, start: Callable[[int], Slicing]) -> None:
        self._works[job.id] = _Work(job, start)
        self._drop(self._dispatcher.submit(job))

    def _drop(self, dropped: list[Dropped]) -> None:
        for drop in dropped:
            del self._works[drop.job.id]
            self._passes.pop(drop.job.id, None)
            if drop.reason == "hopeless" and drop.job.kind is Class.VIEW:
                self._views[drop.job.stream].governed.given_up()

    def _next_id(self) -> int:
        self._ids += 1
        return self._ids

    def _frame(self, view: _View, index: int, period: int, now: int) -> None:
        if now >= self._end_ns:
            return
        deadline = view.dues[index].deadline_ns
        ticket = view.governed.frame(now, deadline, period, self._dispatcher.backlog_ns, view.load.cap)
        if ticket is not None:
            job = Job(self._next_id(), view.name, Class.VIEW, deadline, ticket.floor_ns, period)
            self._submit(job, partial(self._view, view, index, job.id, ticket))

    def _sound(self, speech: _Speech, index: int, now: int) -> None:
        words = speech.load.tokens + speech.owed
        floor = speech.model.c95_ns("encode") + speech.model.c95_ns("decode", words / speech.load.tokens)
        job = Job(self._next_id(), speech.name, Class.SPEECH, speech.dues[index].deadline_ns, floor)
        self._passes[job.id] = _Pass(speech, index)
        self._submit(job, partial(self._speech, job))

    def _best_effort(self, lane: int, _: int) -> None:
        slice_ns = round(self._scenario.best_effort_ms * MS)

        def work(now: int) -> Slicing:
            while now < self._end_ns:
                now = yield self._real(slice_ns, now)

        self._submit(Job(self._next_id(), f"best effort {lane}", Class.BEST_EFFORT, 0, slice_ns=slice_ns), work)

    def _view(self, view: _View, index: int, job_id: int, ticket: Ticket, now: int) -> Slicing:
        rung = view.governed.choose(ticket, partial(self._dispatcher.afford, job_id, now))
        lie = next(r.lie for r in view.load.rungs if r.name == rung.name)
        spent = 0
        for _ in range(view.load.slices):
            cost = self._real(rung.cost_ns * lie / view.load.slices, now)
            spent += cost
            now = yield cost
        view.governed.observe(rung.name, spent)
        view.dues[index] = replace(view.dues[index], displayed_ns=now, quality=rung.quality, rung=rung.name)

    def _speech(self, job: Job, now: int) -> Slicing:
        batch = [self._passes.pop(job.id)]
        if self._scenario.batch < 1:
            for other in list(self._passes):
                self._dispatcher.finished(other)
                del self._works[other]
                batch.append(self._passes.pop(other))
        factor = 1 + self._scenario.batch * (len(batch) - 1)
        lead = batch[0].speech
        cost = self._spoken(lead.load.encode_ms * MS * factor, now)
        lead.model.observe("encode", round(cost / factor))
        now = yield cost
        words = {id(p): p.speech.load.tokens + p.speech.owed for p in batch}
        most = max(words.values())
        cap = most
        if self._policy.rules.reserve_speech:
            a_token = lead.model.c95_ns("decode") * factor / lead.load.tokens
            cap = token_cap(now, job.deadline_ns, round(a_token), math.ceil(LEAST_TOKENS * most), most)
        spent = 0
        for _ in range(cap):
            cost = self._spoken(lead.load.token_ms * MS * factor, now)
            spent += cost
            now = yield cost
        lead.model.observe("decode", round(spent / factor), cap / lead.load.tokens)
        for p in batch:
            due, said = p.speech.dues[p.index], min(words[id(p)], cap)
            p.speech.owed = words[id(p)] - said
            missed = max(0, due.units - said)
            p.speech.dues[p.index] = replace(due, displayed_ns=now, units=due.units - missed)
            if missed:
                p.speech.dues.append(replace(due, units=missed))

    def _spoken(self, cost: float, now: int) -> int:
        real = self._real(cost, now)
        self._governor.speech(real)
        return real

    def _real(self, cost: float, now: int) -> int:
        """What a slice of calibrated `cost` takes this time."""
        noise = self._scenario.noise
        cost *= self._noise.lognormvariate(-(noise.sigma**2) / 2, noise.sigma)
        if self._noise.random() < noise.slow_share:
            cost *= noise.slow_factor
        for shock in self._scenario.shocks:
            if shock.from_s * S <= now < shock.to_s * S:
                cost *= shock.factor
        return max(1, round(cost))

    def _fill(self, now: int) -> None:
        """Give every idle lane its next slice."""
        for lane in list(self._idle):
            job, dropped = self._dispatcher.pick(lane, now)
            self._drop(dropped)
            if job is None:
                continue
            work = self._works[job.id]
            if work.slices is None:
                work.slices = work.start(now)
                work.next_ns = next(work.slices)
            self._idle.remove(lane)
            spent = work.next_ns
            inside = max(0, min(now + spent, self._end_ns) - now)
            self._busy_ns += inside
            self._best_effort_ns += inside * (job.kind is Class.BEST_EFFORT)
            self._at(now + spent, partial(self._ended, lane, work, spent))

    def _ended(self, lane: int, work: _Work, spent: int, now: int) -> None:
        self._idle.append(lane)
        if work.slices is None:
            raise RuntimeError("a slice ended of a job that never started")
        try:
            work.next_ns = work.slices.send(now)
        except StopIteration:
            self._dispatcher.finished(work.job.id)
            del self._works[work.job.id]
        else:
            self._dispatcher.yielded(work.job.id, spent)


def _speech_model(load: SpeechLoad, speed: Speed) -> CostModel:
    encode = Rung("encode", round(load.encode_ms * MS), 0.0)
    return CostModel([encode, Rung("decode", round(load.tokens * load.token_ms * MS), 0.0)], speed)


def speech_share(load: SpeechLoad) -> float:
    """Return the share of one lane that a speaker takes."""
    return (load.encode_ms + load.tokens * load.token_ms) / load.every_ms
