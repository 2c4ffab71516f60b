"""People who come every few seconds and stay a while, live: what those that run get, with admission and without.

Admission decides as in a service, one newcomer at a time and a slice at a time between everything else, and whoever
comes is there once it has answered; the answer's time counts from when they came.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import msgspec

from streamsvc.bench.budget import save, top_load, unit
from streamsvc.bench.budget_play import Play
from streamsvc.bench.view_report import Column, table
from streamsvc.budget.admission import Admission, Offer, admitting
from streamsvc.budget.goodput import goodput
from streamsvc.budget.load import S
from streamsvc.budget.outcome import Outcome, SessionOutcome
from streamsvc.budget.policies import DEFAULT_POLICY
from streamsvc.budget.scenario import Scenario, SessionLoad
from streamsvc.budget.simulator import simulate
from streamsvc.budget.slices import Slices
from streamsvc.simulate import load_scenario

EVERY_S = 4.0
"""Between two arrivals."""

LOAD = 3.0
"""What all who come would take on the top rungs once the first ones leave, over what there is."""

WINDOW_S = 5.0


@dataclass(slots=True)
class Arrival:
    """One who came: when (s), and, once admission has answered, what it said and after how long."""

    name: str
    at_s: float
    answer: Admission | None = None
    answered_s: float | None = None


def offers(load: SessionLoad) -> list[Offer]:
    """Return the ways to take a session, best first: whole, at half the frame rate, without a view."""
    found = [Offer(load)]
    if load.view is not None:
        slow = msgspec.structs.replace(load.view, fps=load.view.fps / 2)
        found.append(Offer(msgspec.structs.replace(load, view=slow), "half rate"))
        if load.speech is not None:
            found.append(Offer(msgspec.structs.replace(load, view=None), "captions only"))
    return found


def arrivals(base: Scenario, seconds: float) -> Scenario:
    """Return the scenario with its first session coming every `EVERY_S`, each to stay until as many are there as make
    `LOAD`."""
    one = msgspec.structs.replace(base.sessions[0], count=1)
    stay = LOAD / top_load(msgspec.structs.replace(base, sessions=(one,))) * EVERY_S
    count = math.ceil(seconds / EVERY_S)
    coming = [
        msgspec.structs.replace(one, join_s=EVERY_S * i, leave_s=min(seconds, EVERY_S * i + stay)) for i in range(count)
    ]
    return msgspec.structs.replace(base, sessions=tuple(coming), seconds=seconds)


class Guarded(Play):
    """A play whose sessions have to be admitted; `arrived` says what became of each, `taken` holds those that ran."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        super().__init__(scenario, DEFAULT_POLICY, seed)
        self.arrived: list[Arrival] = []
        self._waiting: list[tuple[Arrival, SessionLoad]] = []
        self.taken: list[SessionLoad] = []

    def _begin(self) -> None:
        for number, load in enumerate(self._scenario.sessions):
            self.at(round(load.join_s * S), partial(self._come, f"{number + 1}", load))

    def _come(self, name: str, load: SessionLoad, now: int) -> None:
        arrival = Arrival(name, load.join_s)
        self.arrived.append(arrival)
        self._waiting.append((arrival, load))
        if len(self._waiting) == 1:
            self._ask(now)

    def _ask(self, now: int) -> None:
        there = [s for s in self.taken if s.leave_s is None or s.leave_s * S > now]
        self._decide(admitting(there, offers(self._waiting[0][1]), lanes=self._scenario.lanes), now)

    def _decide(self, slices: Slices[Admission], now: int) -> None:
        try:
            next(slices)
        except StopIteration as stop:
            self._answer(stop.value, now)
        else:
            self.at(now, partial(self._decide, slices))

    def _answer(self, answer: Admission, now: int) -> None:
        arrival, load = self._waiting.pop(0)
        arrival.answer, arrival.answered_s = answer, now / S - arrival.at_s
        if arrival.answer.offer is not None:
            taken = msgspec.structs.replace(arrival.answer.offer.load, join_s=now / S, leave_s=load.leave_s)
            self.taken.append(taken)
            self.load.join(arrival.name, taken)
        if self._waiting:
            self._ask(now)


def run_admission(out: Path, scenario: Path, seconds: float, seed: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Play the arrivals with admission and without, and return the figures. Raises ScenarioError."""
    coming = arrivals(load_scenario(scenario), seconds)
    guarded = Guarded(coming, seed)
    live = guarded.run()
    everybody = Play(coming, DEFAULT_POLICY, seed).run()
    taken = msgspec.structs.replace(coming, sessions=tuple(guarded.taken))
    rows = [
        {"admission": "on", **row(live, guarded.arrived), "simulated": least_of(taken, seed)},
        {"admission": "off", **row(everybody, []), "simulated": least_of(coming, seed)},
    ]
    tell(
        f"{coming.title}: one more every {EVERY_S:g} s, each for {coming.sessions[0].leave_s or seconds:.1f} s, so "
        f"{LOAD:g} times what the top rungs fit once the first ones leave; {seconds:g} s"
    )
    for line in table(rows, COLUMNS, ("admission",)):
        tell(line)
    for arrival in guarded.arrived:
        tell(f"  {told(arrival)}")
    came = [{"name": a.name, "at_s": a.at_s, "answered_s": a.answered_s, "told": told(a)} for a in guarded.arrived]
    figures = {"scenario": msgspec.to_builtins(coming), "seconds": seconds, "rows": rows, "arrivals": came}
    return save(out, "budget-admission", figures, {})


def told(arrival: Arrival) -> str:
    """Return what somebody who came was told."""
    answer = arrival.answer
    if answer is None or arrival.answered_s is None:
        return f"{arrival.name} came at {arrival.at_s:g} s and had no answer by the end"
    verdict = {"admit": "admitted", "degrade": "taken with less", "refuse": "refused"}[answer.verdict]
    if answer.offer is not None and answer.offer.given_up:
        verdict += f", {answer.offer.given_up}"
    because = f": {answer.reasons[-1]}" if answer.reasons else ""
    fits = f"; fits: {answer.fits}" if answer.fits else ""
    when = f"{arrival.name} came at {arrival.at_s:g} s, was told after {1000 * arrival.answered_s:.0f} ms: "
    return f"{when}{verdict}{because}{fits}"


def row(outcome: Outcome, arrived: Sequence[Arrival]) -> dict[str, Any]:
    """Return what those that ran got, and how the others were answered; shares as in `simulate.Row`."""
    views = [g for s in outcome.sessions if (g := s.view_goodput) is not None]
    speech = [g for s in outcome.sessions if (g := s.speech_goodput) is not None]
    verdicts = [a.answer.verdict for a in arrived if a.answer is not None]
    waits = [1000 * a.answered_s for a in arrived if a.answered_s is not None]
    qualities = [d.quality for s in outcome.sessions for d in s.views if d.quality is not None]
    return {
        "ran": len(outcome.sessions),
        "admitted": verdicts.count("admit") if arrived else None,
        "degraded": verdicts.count("degrade") if arrived else None,
        "refused": verdicts.count("refuse") if arrived else None,
        "slowest_answer_ms": max(waits, default=None),
        "video": fmean(views) if views else None,
        "speech": fmean(speech) if speech else None,
        "quality": fmean(qualities) if qualities else None,
        "least": min((*views, *speech), default=None),
        "least_window": min((w for s in outcome.sessions for w in windows(s)), default=None),
        "busy": outcome.busy,
    }


def least_of(scenario: Scenario, seed: int) -> float | None:
    """Return the least goodput of a window of any session in a simulation."""
    simulated = simulate(scenario, DEFAULT_POLICY, seed)
    return min((w for s in simulated.sessions for w in windows(s)), default=None)


def windows(session: SessionOutcome) -> list[float]:
    """Return the goodputs of a session's views and of its speech in each whole `WINDOW_S` of its stay."""
    every = (*session.views, *session.speech)
    start = min((d.captured_ns for d in every), default=0)
    end = max((d.captured_ns for d in every), default=0)
    length = round(WINDOW_S * S)
    found = []
    for dues, floor in ((session.views, session.floor), (session.speech, None)):
        for at in range(start, end - length + 1, length):
            found.append(goodput([d for d in dues if at <= d.captured_ns < at + length], floor))
    return [g for g in found if g is not None]


def _count(value: float) -> str:
    return f"{value:.0f}"


COLUMNS: tuple[Column, ...] = (
    ("ran", "ran", _count),
    ("admitted", "admitted", _count),
    ("with less", "degraded", _count),
    ("refused", "refused", _count),
    ("slowest answer ms", "slowest_answer_ms", _count),
    ("video", "video", unit),
    ("speech", "speech", unit),
    ("quality", "quality", unit),
    ("least of a session", "least", unit),
    (f"of {WINDOW_S:g} s of one", "least_window", unit),
    ("simulated", "simulated", unit),
)
