"""Who may join: planned with the newcomer at its floor, then replayed in the simulator. Pure and seeded.

Promises: nobody is admitted whose floors, with everybody else's and all speech, load the lanes above `CAPACITY`, or in
whose company a replay takes any session, running or new, under `ENOUGH` of goodput.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from streamsvc.budget.load import speech_share
from streamsvc.budget.outcome import Outcome
from streamsvc.budget.policies import DEFAULT_POLICY
from streamsvc.budget.scenario import Scenario, SessionLoad
from streamsvc.budget.simulator import simulating
from streamsvc.budget.slices import Slices

CAPACITY = 0.80
ENOUGH = 0.95
REPLAY_S = 4.0
REPLAY_SEED = 1


@dataclass(frozen=True, slots=True)
class Offer:
    """A way to take a session; `given_up`: what it does without ("half rate", "captions only"); empty: nothing."""

    load: SessionLoad
    given_up: str = ""


@dataclass(frozen=True, slots=True)
class Admission:
    """The answer: the offer that is taken, and why the better ones, or all, were not. `room`: lanes still free, to
    `CAPACITY`, before the newcomer; `fits`: for a refused one, what would fit."""

    verdict: Literal["admit", "degrade", "refuse"]
    offer: Offer | None
    reasons: tuple[str, ...]
    room: float
    fits: str = ""


def floor_load(session: SessionLoad) -> float:
    """Return the share of one lane that `count` such sessions take at their floor rungs, speech included."""
    load = 0.0 if session.speech is None else speech_share(session.speech)
    if session.view is not None:
        good = [r.cost_ms * r.lie for r in session.view.rungs if r.quality >= session.view.floor]
        load += min(good) * session.view.fps / 1000
    return session.count * load


def admitting(
    running: Sequence[SessionLoad],
    offers: Sequence[Offer],
    *,
    lanes: int = 1,
    together: int = 1,
    batch: float = 1.0,
    idle: float = math.inf,
    busy: float = 0.0,
    beside: float = 0.0,
) -> Slices[Admission]:
    """Return the first of `offers`, best first, that the worker can keep, or a refusal, in slices of a few
    milliseconds; `together` and `batch` as in `Scenario`. Raises ValueError without offers.

    `idle` cores of the host are what its other programs leave, while `busy` lanes are at work: a newcomer also has to
    do with `CAPACITY` of these and of what the running sessions would give up, down to their floors, and there also
    takes what a session costs `beside` the lanes, in cores.
    """
    if not offers:
        raise ValueError("admission needs at least one offer")
    taken = sum(floor_load(s) for s in running)
    host = CAPACITY * (idle + max(0.0, busy - taken)) - beside
    room = max(0.0, min(CAPACITY * lanes - taken, host))
    reasons: list[str] = []
    for offer in offers:
        what = offer.given_up or "all of it"
        need = floor_load(offer.load)
        if need > room:
            reasons.append(f"{what} takes {need:.2f} of a lane at the floor and {room:.2f} is free")
            continue
        present = tuple(msgspec.structs.replace(s, join_s=0.0, leave_s=None) for s in (*running, offer.load))
        replay = Scenario(
            title="replay", sessions=present, seconds=REPLAY_S, lanes=lanes, together=together, batch=batch
        )
        worst = _least((yield from simulating(replay, DEFAULT_POLICY, REPLAY_SEED)))
        if worst < ENOUGH:
            reasons.append(f"with {what} somebody would get only {worst:.2f} of the frames or words in time")
            continue
        return Admission("degrade" if offer.given_up else "admit", offer, tuple(reasons), room)
    return Admission("refuse", None, tuple(reasons), room, _fits(offers, room))


def _least(outcome: Outcome) -> float:
    """The least goodput of any session, views or speech."""
    goodputs = [g for s in outcome.sessions for g in (s.view_goodput, s.speech_goodput) if g is not None]
    return min(goodputs, default=1.0)


def _fits(offers: Sequence[Offer], room: float) -> str:
    """What would fit: captions, or the view at fewer frames, as far as planning tells."""
    best = offers[0].load
    speech = 0.0 if best.speech is None else best.count * speech_share(best.speech)
    if best.view is not None and room > speech:
        view = floor_load(msgspec.structs.replace(best, speech=None))
        fps = best.view.fps * min(1.0, (room - speech) / view)
        if fps >= 1:
            return f"a view of at most {fps:.0f} frames a second"
    if best.speech is not None and room >= speech:
        return "captions without a view"
    return "nothing of it until somebody leaves"
