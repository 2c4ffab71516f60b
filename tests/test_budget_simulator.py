"""The simulator: one seed, one run; everything captured is counted, and our policy wins where it should."""

from functools import cache
from itertools import pairwise
from statistics import fmean

import msgspec
import pytest

from streamsvc.budget.goodput import Due, goodput
from streamsvc.budget.outcome import Outcome
from streamsvc.budget.policies import POLICIES
from streamsvc.budget.scenario import Noise, RungLoad, Scenario, SessionLoad, SpeechLoad, ViewLoad
from streamsvc.budget.simulator import simulate
from streamsvc.simulate import Row, run, shipped

FRESH = range(501, 509)
RUNGS = (RungLoad(name="full", cost_ms=20, quality=1.0), RungLoad(name="fair", cost_ms=8, quality=0.75))
VIEW = ViewLoad(rungs=RUNGS, floor=0.7)


def small(policy: str = "planner-goodput", seed: int = 3, **more: object) -> Outcome:
    sessions = (SessionLoad(count=2, view=VIEW, speech=SpeechLoad()),)
    return simulate(
        msgspec.structs.replace(Scenario(title="small", sessions=sessions, seconds=4), **more), POLICIES[policy], seed
    )


@cache
def rows(name: str, seconds: float, seeds: range) -> dict[str, Row]:
    scenario = msgspec.structs.replace(shipped()[name], seconds=seconds)
    return {row.policy: row for row in run(scenario, list(POLICIES), seeds)}


def video(row: Row) -> float:
    assert row.video is not None
    return row.video


def speech(row: Row) -> float:
    assert row.speech is not None
    return row.speech


def test_goodput_counts_every_capture_and_an_unknown_display_time_is_a_miss() -> None:
    dues = [Due(0, 100, 90, 1.0), Due(0, 100, 101, 1.0), Due(0, 100, None, 1.0), Due(0, 100, 50, 0.5), Due(0, 100, 9)]
    assert goodput(dues) == 3 / 5
    assert goodput(dues, 0.7) == 1 / 5
    assert goodput([Due(0, 9, 5, units=15), Due(0, 9, units=5)]) == 0.75
    assert goodput([]) is None


@pytest.mark.parametrize("policy", POLICIES)
def test_the_same_seed_gives_the_same_run_and_every_capture_is_accounted_for(policy: str) -> None:
    outcome = small(policy)
    assert outcome == small(policy) != small(policy, seed=4)
    for s in outcome.sessions:
        assert len(s.views) == pytest.approx(120, abs=1)
        assert sum(d.units for d in s.speech) == 20 * 4
        assert all(d.displayed_ns is None or d.displayed_ns > d.captured_ns for d in (*s.views, *s.speech))
    assert 0 < outcome.busy <= 1


def test_every_policy_is_given_the_same_captures() -> None:
    captures = {
        tuple((d.captured_ns, d.deadline_ns) for s in small(policy).sessions for d in s.views) for policy in POLICIES
    }
    assert len(captures) == 1


def test_no_frame_of_ours_is_under_the_floor() -> None:
    outcome = small(sessions=(SessionLoad(count=4, view=VIEW),))
    assert all(d.quality is None or d.quality >= 0.7 for s in outcome.sessions for d in s.views)


def test_an_idle_machine_without_noise_shows_everything() -> None:
    outcome = small(sessions=(SessionLoad(view=VIEW),), noise=Noise(sigma=0, slow_share=0))
    assert outcome.sessions[0].view_goodput == 1 and outcome.sessions[0].speech_goodput is None


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("two-sessions", ["planner-goodput", "planner-quality", "edf", "edf-greedy", "newest", "fifo"]),
        ("three-sessions", ["planner-goodput", "edf", "edf-greedy", "newest", "planner-quality", "fifo"]),
    ],
)
def test_policies_come_in_the_order_that_was_expected(name: str, order: list[str]) -> None:
    found = rows(name, 30.0, FRESH)
    videos = [video(found[p]) for p in order]
    assert all(a >= b - 0.005 for a, b in pairwise(videos)), videos
    assert videos[0] > 0.9 and videos[-1] < 0.1
    ours = min(speech(found[p]) for p in ("newest", "planner-quality", "planner-goodput"))
    assert ours >= 0.98
    assert ours + 0.02 >= speech(found["edf-greedy"]) > speech(found["edf"])
    assert speech(found["edf"]) < 0.2 and speech(found["fifo"]) < 0.2


@pytest.mark.parametrize("name", shipped())
def test_ours_is_never_more_than_002_below_the_best_other_policy(name: str) -> None:
    seconds, seeds = (12.0, FRESH) if name in ("two-sessions", "three-sessions") else (22.0, range(501, 503))
    found = dict(rows(name, seconds, seeds))
    ours = found.pop("planner-goodput")
    assert video(ours) >= max(map(video, found.values())) - 0.02
    assert speech(ours) >= max(map(speech, found.values())) - 0.02


def test_a_pass_that_is_late_is_late_whole_because_the_worker_cuts_none_short() -> None:
    sound = SpeechLoad(deadline_ms=80)  # 25 ms, and 20 tokens of 3.5 ms
    outcome = small(sessions=(SessionLoad(speech=sound),), noise=Noise(sigma=0, slow_share=0))
    (session,) = outcome.sessions
    assert {d.units for d in session.speech} == {20} and session.speech_goodput == 0
    assert all(d.displayed_ns == d.captured_ns + 95_000_000 for d in session.speech)


def test_best_effort_uses_a_fifth_of_the_machine_beside_one_session_and_takes_nothing() -> None:
    sessions = (SessionLoad(view=VIEW, speech=SpeechLoad()),)
    without, beside = (
        [small(seed=k, sessions=sessions, seconds=10, best_effort_ms=b) for k in (5, 6)] for b in (0, 25)
    )
    assert fmean(o.best_effort for o in beside) >= 0.20

    def mean(outcomes: list[Outcome]) -> float:
        return fmean(s.view_goodput or 0 for o in outcomes for s in o.sessions)

    assert mean(beside) >= mean(without) - 0.01
