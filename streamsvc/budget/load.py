"""What a scenario asks of a worker: frames and sound as they are captured, and what their slices take.

Whoever runs it is the `Host`: the simulator under a mock clock, or `bench budget` on real lanes. Nothing here decides:
that is for the dispatcher and the governor. The same seed captures the same instants under every policy and host.
All times are ns since the start. Not locked: a host with threads calls it under one lock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Protocol

from streamsvc.budget.cost import CostModel, Speed
from streamsvc.budget.dispatcher import Class, Job
from streamsvc.budget.goodput import Due
from streamsvc.budget.governor import Governed, Governor, Ticket
from streamsvc.budget.outcome import Cost, SessionOutcome
from streamsvc.budget.policies import Policy
from streamsvc.budget.rung import Rung
from streamsvc.budget.scenario import Scenario, SessionLoad, SpeechLoad, ViewLoad

MS = 1_000_000
S = 1_000_000_000
DELAY_SHAPE = 2.0
"""Of the gamma distribution of delays: a lower limit near zero, and a tail."""

Slicing = Generator[Callable[[int], int], tuple[int, int], None]
"""A job under way: yields what tells, at the instant at which its next slice begins, how long that is to take (0: there
is nothing to do), and is sent the instant at which the slice ended and how long it took."""


class Host(Protocol):
    """Who runs a load."""

    def at(self, when_ns: int, happen: Callable[[int], None]) -> None:
        """Call `happen(now)` at an instant."""
        ...

    def next_id(self) -> int:
        """Return a job id that was not used before."""
        ...

    def submit(self, job: Job, start: Callable[[int], Slicing]) -> None:
        """Queue a job; `start(now)` is called when it begins. One that is dropped is told to `Load.dropped`."""
        ...

    def afford(self, job_id: int, costs_ns: Sequence[int]) -> int:
        """See `Dispatcher.afford`."""
        ...

    def backlog_ns(self) -> int:
        """See `Dispatcher.backlog_ns`."""
        ...


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


@dataclass(slots=True, eq=False)
class _Pass:
    """A speech pass that was encoded, and whether it is decoded too."""

    speech: _Speech
    decoded: bool = False


@dataclass(frozen=True, slots=True)
class _Session:
    name: str
    view: _View | None
    speech: _Speech | None


class Load:
    """All sessions of one run; sessions that are in the scenario join by `begin`, others by `join`."""

    def __init__(self, scenario: Scenario, policy: Policy, seed: int, host: Host) -> None:
        self._scenario, self._host = scenario, host
        self._arrivals, self._noise = Random(f"arrivals {seed}"), Random(f"noise {seed}")
        self.governor = Governor(policy, scenario.lanes)
        self.end_ns = round(scenario.seconds * S)
        self.captured = 0
        self._speed = Speed()
        self._views: dict[str, _View] = {}
        self._asked: list[_Pass] = []
        self._sessions: list[_Session] = []
        self._costs: list[Cost] = []

    def begin(self) -> None:
        """Lay out everything that the scenario's sessions capture, and start its best effort."""
        for i, load in enumerate(self._scenario.sessions):
            for k in range(load.count):
                self.join(f"{i + 1}.{k + 1}", load)
        for lane in range(self._scenario.lanes if self._scenario.best_effort_ms else 0):
            self._host.at(0, partial(self._best_effort, lane))

    def join(self, name: str, load: SessionLoad) -> None:
        """Take one session of `load`, and lay out everything that it captures."""
        join = round(load.join_s * S)
        leave = self.end_ns if load.leave_s is None else min(self.end_ns, round(load.leave_s * S))
        view = speech = None
        if load.view is not None and join < leave:
            view = self._opened(f"{name}/view", load.view)
            self._host.at(leave, lambda _: self.governor.close(view.name))
            period, delay = S / load.view.fps, load.view.delay_ms * MS
            first = join + self._arrivals.random() * period
            for n in range(max(0, math.ceil((leave - first) / period))):
                captured = round(first + n * period)
                view.dues.append(Due(captured, captured + round(load.view.deadline_ms * MS)))
                late = self._arrivals.gammavariate(DELAY_SHAPE, delay / DELAY_SHAPE) if delay else 0.0
                self._host.at(captured + round(late), partial(self._frame, view, n, round(period)))
        if load.speech is not None and join < leave:
            speech = _Speech(f"{name}/speech", load.speech, _speech_model(load.speech, self._speed), [])
            every, share = load.speech.every_ms * MS, speech_share(load.speech)
            self._host.at(join, lambda _: self.governor.expect_speech(share))
            self._host.at(leave, lambda _: self.governor.expect_speech(-share))
            first = join + self._arrivals.random() * every
            for n in range(max(0, math.ceil((leave - first) / every))):
                captured = round(first + n * every)
                deadline = captured + round(load.speech.deadline_ms * MS)
                speech.dues.append(Due(captured, deadline, units=load.speech.tokens))
                self._host.at(captured, partial(self._sound, speech, n))
        self._sessions.append(_Session(name, view, speech))

    def dropped(self, job: Job, reason: str) -> None:
        """A job will not run."""
        if reason == "hopeless" and job.kind is Class.VIEW:
            self._views[job.stream].governed.given_up()

    def sessions(self) -> tuple[SessionOutcome, ...]:
        """Return what became of everything that was due."""
        return tuple(
            SessionOutcome(
                s.name,
                tuple(s.view.dues) if s.view else (),
                tuple(s.speech.dues) if s.speech else (),
                s.view.load.floor if s.view else 0.0,
            )
            for s in self._sessions
        )

    def costs(self) -> tuple[Cost, ...]:
        """Return what frames were expected to take and took."""
        return tuple(self._costs)

    def _opened(self, name: str, load: ViewLoad) -> _View:
        ladder = [Rung(r.name, round(r.cost_ms * MS), r.quality) for r in load.rungs]
        governed = self.governor.open(name, ladder, CostModel(ladder, self._speed), load.floor)
        view = self._views[name] = _View(name, load, governed, [])
        return view

    def _frame(self, view: _View, index: int, period: int, now: int) -> None:
        self.captured += 1
        if now >= self.end_ns:
            return
        deadline = view.dues[index].deadline_ns
        ticket = view.governed.frame(now, deadline, period, self._host.backlog_ns, view.load.cap)
        if ticket is not None:
            job = Job(self._host.next_id(), view.name, Class.VIEW, deadline, ticket.floor_ns, period)
            self._host.submit(job, partial(self._view, view, index, job.id, ticket))

    def _view(self, view: _View, index: int, job_id: int, ticket: Ticket, now: int) -> Slicing:
        rung = view.governed.choose(ticket, partial(self._host.afford, job_id))
        predicted, begun = view.governed.mean_ns(rung.name), now
        lie = next(r.lie for r in view.load.rungs if r.name == rung.name)
        spent = 0
        for _ in range(view.load.slices):
            now, took = yield partial(self._real, rung.cost_ns * lie / view.load.slices)
            spent += took
        view.governed.observe(rung.name, spent)
        self._costs.append(Cost(begun, predicted, spent))
        view.dues[index] = replace(view.dues[index], displayed_ns=now, quality=rung.quality, rung=rung.name)

    def _sound(self, speech: _Speech, index: int, now: int) -> None:
        floor = speech.model.c95_ns("encode") + speech.model.c95_ns("decode")
        job = Job(self._host.next_id(), speech.name, Class.SPEECH, speech.dues[index].deadline_ns, floor)
        self._host.submit(job, partial(self._speech, speech, index))

    def _speech(self, speech: _Speech, index: int, now: int) -> Slicing:
        """A pass: its sound is encoded, then decoded together with what else waits for that by then, as
        `speech.batcher` does, to the end however late that is. One that was decoded along with another ends when it is
        its turn."""
        now, spent = yield from self._spoken(partial(self._real, speech.load.encode_ms * MS))
        speech.model.observe("encode", spent)
        own = _Pass(speech)
        self._asked.append(own)
        batch: list[_Pass] = []

        def first_token(begun: int) -> int:
            if own.decoded:
                return 0
            batch.extend((own, *[p for p in self._asked if p is not own][: self._scenario.together - 1]))
            self._asked = [p for p in self._asked if p not in batch]
            return self._real(speech.load.token_ms * MS * self._factor(batch), begun)

        now, spent = yield from self._spoken(first_token)
        if not own.decoded:
            factor, tokens = self._factor(batch), max(p.speech.load.tokens for p in batch)
            for _ in range(tokens - 1):
                now, took = yield from self._spoken(partial(self._real, speech.load.token_ms * MS * factor))
                spent += took
            speech.model.observe("decode", round(spent / factor), tokens / speech.load.tokens)
            for p in batch:
                p.decoded = True
        speech.dues[index] = replace(speech.dues[index], displayed_ns=now)

    def _spoken(self, cost: Callable[[int], int]) -> Generator[Callable[[int], int], tuple[int, int], tuple[int, int]]:
        now, took = yield cost
        self.governor.speech(took)
        return now, took

    def _factor(self, batch: Sequence[_Pass]) -> float:
        return 1 + self._scenario.batch * (len(batch) - 1)

    def _best_effort(self, lane: int, _: int) -> None:
        slice_ns = round(self._scenario.best_effort_ms * MS)

        def work(now: int) -> Slicing:
            more = True
            while more:
                now, _ = yield partial(self._real, slice_ns)
                more = now < self.end_ns

        job = Job(self._host.next_id(), f"best effort {lane}", Class.BEST_EFFORT, 0, slice_ns=slice_ns)
        self._host.submit(job, work)

    def _real(self, cost: float, now: int) -> int:
        """What a slice of calibrated `cost` that begins now takes this time."""
        noise = self._scenario.noise
        cost *= self._noise.lognormvariate(-(noise.sigma**2) / 2, noise.sigma)
        if self._noise.random() < noise.slow_share:
            cost *= noise.slow_factor
        for shock in self._scenario.shocks:
            if shock.from_s * S <= now < shock.to_s * S:
                cost *= shock.factor
        return max(1, round(cost))


def _speech_model(load: SpeechLoad, speed: Speed) -> CostModel:
    encode = Rung("encode", round(load.encode_ms * MS), 0.0)
    return CostModel([encode, Rung("decode", round(load.tokens * load.token_ms * MS), 0.0)], speed)


def speech_share(load: SpeechLoad) -> float:
    """Return the share of one lane that a speaker takes."""
    return (load.encode_ms + load.tokens * load.token_ms) / load.every_ms
