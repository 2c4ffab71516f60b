"""`bench budget`: the worker's lanes, dispatcher and planner live, beside those policies that it has to beat.

Every policy gets the same scenario in real time: a feeder hands frames and sound to real lanes, whose slices take what
the scenario says, but do nothing (as a lane does that waits for its device), so that what is measured is the deciding
and not the machine. What the simulator makes of the same scenario stands beside it.
"""

from __future__ import annotations

import heapq
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from streamsvc.budget import Class, Job, MonotonicClock, Slices
from streamsvc.budget.cost import CostModel, Speed
from streamsvc.budget.dispatcher import DispatcherStatistics
from streamsvc.budget.goodput import Due
from streamsvc.budget.governor import Governed, Governor, GovernorStatistics, Ticket
from streamsvc.budget.planner import Plan
from streamsvc.budget.policies import DEFAULT_POLICY, POLICIES, Policy
from streamsvc.budget.rung import Rung
from streamsvc.budget.scenario import Scenario, SessionLoad
from streamsvc.budget.simulator import DELAY_SHAPE, Outcome, SessionOutcome, simulate, speech_share
from streamsvc.frames.link import StageSpan
from streamsvc.ledger.conditions import conditions
from streamsvc.simulate import Row, ScenarioError, load_scenario, row_of
from streamsvc.simulate_plot import goodput_plot
from streamsvc.worker.lanes import Lanes

MS = 1_000_000
S = 1_000_000_000
DRAIN_S = 1.0
COMPARED = ("fifo", "newest", "edf", DEFAULT_POLICY.name)


@dataclass(frozen=True, slots=True)
class BudgetBench:
    """What to run: `scenario` with 1, 2, ... of its first session each for `seconds`, under `policies`."""

    out: Path
    scenario: Path = Path("one-session")
    sessions: tuple[int, ...] = (1, 2, 3, 4)
    policies: tuple[str, ...] = COMPARED
    seconds: float = 20.0
    seed: int = 1


@dataclass(slots=True)
class _Stream:
    """What one stream was due, by the number of its frame or pass."""

    name: str
    dues: list[Due]


class Play:
    """One scenario in real time under one policy; `run` once. Best effort, shocks and batched speech are the
    simulator's alone: ScenarioError."""

    def __init__(self, scenario: Scenario, policy: Policy, seed: int) -> None:
        if scenario.best_effort_ms or scenario.shocks or scenario.batch != 1:
            raise ScenarioError("a scenario with best effort, shocks or batched speech can only be simulated")
        self._scenario = scenario
        self._clock = MonotonicClock()
        self._arrivals, self._noise = Random(f"arrivals {seed}"), Random(f"noise {seed}")
        self._lanes = Lanes(scenario.lanes, self._clock, policy.rules)
        self._governor = Governor(policy, scenario.lanes)
        self._speed = Speed()
        self._lock = threading.Lock()
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._zero = 0
        self._spoken_ns = 0
        self.frames = 0
        self.cpu_s = 0.0

    def run(self) -> Outcome:
        """Play the scenario and return what became of everything that was due, times from its start."""
        sessions = [
            self._session(f"{i + 1}.{k + 1}", load)
            for i, load in enumerate(self._scenario.sessions)
            for k in range(load.count)
        ]
        heapq.heapify(self._events)
        self._lanes.start()
        before, begun = time.process_time(), time.monotonic()
        self._zero = self._clock.now_ns()
        while self._events:
            at, _, happen = heapq.heappop(self._events)
            wait = self._zero + at - self._clock.now_ns()
            if wait > 0:
                time.sleep(wait / S)
            happen()
        time.sleep(max(0.0, begun + self._scenario.seconds + DRAIN_S - time.monotonic()))
        self.cpu_s = time.process_time() - before
        busy = self._lanes.load()
        self._lanes.stop()
        with self._lock:
            return Outcome(
                tuple(
                    SessionOutcome(
                        name,
                        tuple(view.dues) if view else (),
                        tuple(speech.dues) if speech else (),
                        load.view.floor if load.view else 0.0,
                    )
                    for name, load, view, speech in sessions
                ),
                busy,
                0.0,
                DispatcherStatistics(0, 0, 0, 0, 0, 0),
                GovernorStatistics(Plan(), self._governor.thinned, self._governor.lowered),
            )

    def _at(self, when_ns: float, happen: Callable[[], None]) -> None:
        self._events.append((round(when_ns), len(self._events), happen))

    def _session(self, name: str, load: SessionLoad) -> tuple[str, SessionLoad, _Stream | None, _Stream | None]:
        end = self._scenario.seconds * S
        join, leave = load.join_s * S, end if load.leave_s is None else min(end, load.leave_s * S)
        view = speech = None
        if load.view is not None:
            view = _Stream(f"{name}/view", [])
            ladder = [Rung(r.name, round(r.cost_ms * MS), r.quality) for r in load.view.rungs]
            governed = self._governor.open(view.name, ladder, CostModel(ladder, self._speed), load.view.floor)
            period, delay = S / load.view.fps, load.view.delay_ms * MS
            captured = join + self._arrivals.random() * period
            while captured < leave:
                view.dues.append(Due(round(captured), round(captured + load.view.deadline_ms * MS)))
                late = self._arrivals.gammavariate(DELAY_SHAPE, delay / DELAY_SHAPE) if delay else 0.0
                frame = partial(self._frame, view, governed, load, len(view.dues) - 1, round(period))
                self._at(captured + late, frame)
                captured += period
        if load.speech is not None:
            speech = _Stream(f"{name}/speech", [])
            self._at(join, partial(self._expect, speech_share(load.speech)))
            captured = join + self._arrivals.random() * load.speech.every_ms * MS
            while captured < leave:
                deadline = round(captured + load.speech.deadline_ms * MS)
                speech.dues.append(Due(round(captured), deadline, units=load.speech.tokens))
                self._at(captured, partial(self._sound, speech, load, len(speech.dues) - 1))
                captured += load.speech.every_ms * MS
        return name, load, view, speech

    def _expect(self, share: float) -> None:
        with self._lock:
            self._governor.expect_speech(share)

    def _frame(self, view: _Stream, governed: Governed, load: SessionLoad, index: int, period: int) -> None:
        assert load.view is not None
        self.frames += 1
        deadline = self._zero + view.dues[index].deadline_ns
        with self._lock:
            spoken = self._lanes.speech_ns()
            self._governor.speech(spoken - self._spoken_ns)
            self._spoken_ns = spoken
            ticket = governed.frame(self._clock.now_ns(), deadline, period, self._lanes.backlog_ns, load.view.cap)
        if ticket is None:
            return
        number = self._lanes.next_id()
        job = Job(number, view.name, Class.VIEW, deadline, ticket.floor_ns, period)

        def on_end(reason: str | None, spans: list[StageSpan]) -> None:
            if reason == "hopeless":
                with self._lock:
                    governed.given_up()

        self._lanes.submit(job, partial(self._view, view, governed, load, index, number, ticket), on_end)

    def _view(
        self, view: _Stream, governed: Governed, load: SessionLoad, index: int, job: int, ticket: Ticket
    ) -> Slices[None]:
        assert load.view is not None
        with self._lock:
            rung = governed.choose(ticket, lambda costs: self._lanes.afford(job, costs))
        lie = next(r.lie for r in load.view.rungs if r.name == rung.name)
        spent = 0
        for part in range(load.view.slices):
            spent += self._occupy(rung.cost_ns * lie / load.view.slices)
            if part + 1 < load.view.slices:
                yield "view"
        now = self._clock.now_ns() - self._zero
        with self._lock:
            governed.observe(rung.name, spent)
            view.dues[index] = replace(view.dues[index], displayed_ns=now, quality=rung.quality, rung=rung.name)
        yield "view"

    def _sound(self, speech: _Stream, load: SessionLoad, index: int) -> None:
        assert load.speech is not None
        whole = round((load.speech.encode_ms + load.speech.tokens * load.speech.token_ms) * MS)
        deadline = self._zero + speech.dues[index].deadline_ns
        job = Job(self._lanes.next_id(), speech.name, Class.SPEECH, deadline, whole)
        self._lanes.submit(job, partial(self._speech, speech, load, index), lambda reason, spans: None)

    def _speech(self, speech: _Stream, load: SessionLoad, index: int) -> Slices[None]:
        assert load.speech is not None
        self._occupy(load.speech.encode_ms * MS)
        yield "encode"
        for _ in range(load.speech.tokens):
            self._occupy(load.speech.token_ms * MS)
            yield "decode"
        now = self._clock.now_ns() - self._zero
        with self._lock:
            speech.dues[index] = replace(speech.dues[index], displayed_ns=now)

    def _occupy(self, cost: float) -> int:
        """Take as long as a slice of calibrated `cost` does, and return how long it was."""
        noise = self._scenario.noise
        with self._lock:
            cost *= self._noise.lognormvariate(-(noise.sigma**2) / 2, noise.sigma)
            if self._noise.random() < noise.slow_share:
                cost *= noise.slow_factor
        start = self._clock.now_ns()
        time.sleep(cost / S)
        return self._clock.now_ns() - start


def top_load(scenario: Scenario) -> float:
    """Return what the top rungs and all speech would take, as a share of all lanes."""
    load = 0.0
    for session in scenario.sessions:
        if session.view is not None:
            load += session.count * max(r.cost_ms for r in session.view.rungs) * session.view.fps / 1000
        if session.speech is not None:
            load += session.count * speech_share(session.speech)
    return load / scenario.lanes


def run_budget(options: BudgetBench, tell: Callable[[str], None]) -> dict[str, Any]:
    """Run the bench and return its figures; `tell` gets lines of progress and then the table. Raises ScenarioError."""
    base = load_scenario(options.scenario)
    for name in options.policies:
        if name not in POLICIES:
            raise ScenarioError(f"no policy is called {name!r}; there are {', '.join(POLICIES)}")
    results = []
    for count in options.sessions:
        first = msgspec.structs.replace(base.sessions[0], count=count)
        scenario = msgspec.structs.replace(base, sessions=(first, *base.sessions[1:]), seconds=options.seconds)
        for name in options.policies:
            play = Play(scenario, POLICIES[name], options.seed)
            live = row_of(name, scenario, [play.run()])
            simulated = row_of(name, scenario, [simulate(scenario, POLICIES[name], options.seed)])
            cpu_ms = 1000 * play.cpu_s / max(play.frames, 1)
            results.append((count, top_load(scenario), live, simulated, cpu_ms))
            tell(f"  {count} x {name}: video {_share(live.video)}, speech {_share(live.speech)}")
    for line in table(results):
        tell(line)
    options.out.mkdir(parents=True, exist_ok=True)
    for count in options.sessions:
        rows = [live for n, _, live, _, _ in results if n == count]
        title = f"{base.title}: {count} x, live"
        (options.out / f"budget-{count}.svg").write_text(goodput_plot(title, rows), "utf-8")
    figures = {
        "scenario": msgspec.to_builtins(base),
        "seconds": options.seconds,
        "runs": [
            {"sessions": n, "load": load, "live": asdict(live), "simulated": asdict(sim), "cpu_ms_per_frame": cpu}
            for n, load, live, sim, cpu in results
        ],
        "conditions": {**conditions(), "load after": f"{os.getloadavg()[0]:.2f}"},
    }
    (options.out / "budget.json").write_bytes(msgspec.json.format(msgspec.json.encode(figures)))
    return figures


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def table(results: Sequence[tuple[int, float, Row, Row, float]]) -> list[str]:
    """Return (sessions, load of the top rungs, live, simulated, CPU ms a frame) as lines."""
    lines = [
        f"{'sessions':>8}  {'load':>5}  {'policy':16}  {'video':>6}  {'speech':>6}  {'least':>6}  {'quality':>7}  "
        f"{'simulated':>13}  {'CPU ms/frame':>12}"
    ]
    for count, load, live, simulated, cpu_ms in results:
        least = min((x for x in (live.video, live.speech) if x is not None), default=None)
        quality = "-" if live.quality is None else f"{live.quality:.3g}"
        lines.append(
            f"{count:>8}  {load:>5.2f}  {live.policy:16}  {_share(live.video):>6}  {_share(live.speech):>6}  "
            f"{_share(least):>6}  {quality:>7}  {_share(simulated.video):>6} {_share(simulated.speech):>6}  "
            f"{cpu_ms:>12.2f}"
        )
    return lines
