"""Admission: a newcomer is taken only if everybody, itself included, keeps nearly all of its frames and words."""

from collections.abc import Sequence

import pytest

from streamsvc.budget.admission import CAPACITY, ENOUGH, Admission, Offer, admitting, floor_load
from streamsvc.budget.policies import DEFAULT_POLICY
from streamsvc.budget.scenario import RungLoad, Scenario, SessionLoad, SpeechLoad, ViewLoad
from streamsvc.budget.simulator import simulate
from streamsvc.budget.slices import run_to_end

RUNGS = (
    RungLoad(name="full", cost_ms=20, quality=1.0),
    RungLoad(name="fair", cost_ms=8, quality=0.75),
    RungLoad(name="poor", cost_ms=4, quality=0.5),
)


def session(fps: float = 30.0, view: bool = True) -> SessionLoad:
    return SessionLoad(view=ViewLoad(rungs=RUNGS, floor=0.7, fps=fps) if view else None, speech=SpeechLoad())


OFFERS = (Offer(session()), Offer(session(15), "half rate"), Offer(session(view=False), "captions only"))


def admit(running: Sequence[SessionLoad], offers: Sequence[Offer]) -> Admission:
    return run_to_end(admitting(running, offers))


def test_the_floor_load_is_that_of_the_cheapest_rung_that_counts() -> None:
    assert floor_load(session()) == pytest.approx(0.24 + 0.095)


def test_an_empty_worker_admits() -> None:
    answer = admit([], OFFERS)
    assert answer.verdict == "admit" and answer.offer is OFFERS[0] and answer.reasons == ()


def test_a_newcomer_that_fits_only_in_part_is_told_what_it_does_without_and_why() -> None:
    answer = admit([session()] * 2, OFFERS)
    assert answer.verdict == "degrade" and answer.offer is not None and answer.offer.given_up == "captions only"
    assert len(answer.reasons) == 2 and "0.13 is free" in answer.reasons[0]


def test_who_does_not_fit_at_all_is_refused_with_the_reason_and_what_would_fit() -> None:
    answer = admit([session()] * 2, OFFERS[:2])
    assert answer.verdict == "refuse" and answer.offer is None
    assert "half rate takes" in answer.reasons[1] and answer.fits == "a view of at most 4 frames a second"
    full = admit([session()] * 3, OFFERS)
    assert full.verdict == "refuse" and full.fits == "nothing of it until somebody leaves" and full.room == 0


def test_what_planning_accepts_is_still_refused_when_a_replay_shows_that_deadlines_are_missed() -> None:
    tight = SessionLoad(view=ViewLoad(rungs=RUNGS, floor=0.7, deadline_ms=14.0))
    answer = admit([], [Offer(tight)])
    assert floor_load(tight) < CAPACITY and answer.verdict == "refuse" and "in time" in answer.reasons[0]


@pytest.mark.parametrize("running", [0, 1, 2])
@pytest.mark.parametrize("fps", [10.0, 30.0])
def test_whoever_is_admitted_takes_nobody_under_095(running: int, fps: float) -> None:
    there = [session(fps)] * running
    answer = admit(there, [Offer(session(fps)), *OFFERS[2:]])
    if answer.offer is None:
        return
    scenario = Scenario(title="after", sessions=(*there, answer.offer.load), seconds=10)
    for s in simulate(scenario, DEFAULT_POLICY, 77).sessions:
        assert min(g for g in (s.view_goodput, s.speech_goodput) if g is not None) >= ENOUGH


def test_what_other_programs_leave_of_the_host_bounds_the_room() -> None:
    there = [session()]
    assert run_to_end(admitting(there, OFFERS, lanes=2, idle=2.0)).verdict == "admit"
    crowded = run_to_end(admitting(there, OFFERS, lanes=2, idle=0.15))
    assert crowded.verdict == "degrade" and crowded.room == pytest.approx(CAPACITY * 0.15)
    floor = floor_load(session())
    given_up = run_to_end(admitting(there, OFFERS, lanes=2, idle=0.15, busy=floor + 0.5))
    assert given_up.verdict == "admit", "who is there does with less above its floor"
    assert run_to_end(admitting(there, OFFERS, lanes=2, idle=0.0)).verdict == "refuse"
    beside = run_to_end(admitting(there, OFFERS, lanes=2, idle=0.5, beside=0.3))
    assert beside.room == pytest.approx(CAPACITY * 0.5 - 0.3), "what they cost elsewhere on the host"


def test_the_same_question_gets_the_same_answer() -> None:
    assert admit([session()], OFFERS) == admit([session()], OFFERS)


def test_without_offers_there_is_nothing_to_decide() -> None:
    with pytest.raises(ValueError, match="at least one offer"):
        admit([], [])
