"""The planner: never under a floor, never over the load that it promises, down at once, up after two seconds."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsvc.budget import CostModel, Governor, Rung
from streamsvc.budget.planner import (
    LOAD,
    THIN_LOAD,
    Allotment,
    Demand,
    Objective,
    Plan,
    Step,
    carried_db,
    plan,
    staircase,
)

MS = 1_000_000
STEPS = tuple(
    Step(n, c * MS, round(1.2 * c * MS), q)
    for n, c, q in (("poor", 4, 0.5), ("fair", 8, 0.75), ("good", 13, 0.9), ("full", 20, 1.0))
)


def demand(stream: str = "a", *, fps: float = 30, slack_ms: float = 90, cap: float = math.inf) -> Demand:
    return Demand(stream, STEPS, 0.7, round(1e9 / fps), round(slack_ms * MS), cap)


def settled(*demands: Demand, **more: object) -> Plan:
    made = Plan()
    for tick in range(80):
        made = plan(tick * 250 * MS, made, demands, **more)  # type: ignore[arg-type]
    return made


def rungs(made: Plan) -> dict[str, str]:
    return {name: a.rung for name, a in made.allotments.items()}


def test_a_newcomer_starts_at_its_floor_and_climbs_one_rung_after_two_seconds_of_headroom() -> None:
    made, seen = Plan(), []
    for tick in range(18):
        made = plan(tick * 250 * MS, made, [demand()])
        seen.append(made.allotments["a"].rung)
    assert seen == ["fair"] * 8 + ["good"] * 8 + ["full"] * 2


def test_it_falls_at_once_when_the_load_grows() -> None:
    made = settled(demand("a"))
    assert rungs(made) == {"a": "full"}
    later = plan(10**11, made, [demand("a"), demand("b")], speech_load=0.19)
    assert later.load <= LOAD and set(rungs(later)) == {"a", "b"} and later.allotments["a"].rung != "full"


def test_the_worst_quality_is_raised_first() -> None:
    assert rungs(settled(demand("a"), demand("b"), speech_load=0.03)) == {"a": "good", "b": "good"}


def test_equal_streams_do_not_swap_places() -> None:
    made = settled(demand("a"), demand("b"), speech_load=0.15)
    seen = set()
    for tick in range(100):
        made = plan(10**11 + tick * 250 * MS, made, [demand("a"), demand("b")], speech_load=0.15 + 0.005 * (tick % 3))
        seen.add(tuple(sorted(rungs(made).items())))
    assert len(seen) == 1


def test_frames_are_thinned_alike_rather_than_go_under_the_floor() -> None:
    made = settled(demand("a"), demand("b"), demand("c"), speech_load=0.4)
    assert set(rungs(made).values()) == {"fair"}
    (keep,) = {a.keep for a in made.allotments.values()}
    assert keep == pytest.approx((THIN_LOAD - 0.4) / 0.72)


def test_the_quality_planner_goes_under_the_floor_but_keeps_most_streams_at_theirs() -> None:
    made = settled(demand("a"), demand("b"), demand("c"), speech_load=0.285, objective=Objective.QUALITY)
    assert sorted(rungs(made).values()) == ["fair", "poor", "poor"]
    assert all(a.keep == 1 for a in made.allotments.values())


def test_neither_the_cap_nor_what_the_deadline_allows_is_exceeded() -> None:
    assert rungs(settled(demand(cap=0.9))) == {"a": "good"}
    assert rungs(settled(demand(slack_ms=17))) == {"a": "good"}


def test_a_stream_keeps_its_quality_when_a_better_rung_turns_out_cheaper_than_its_own() -> None:
    made = settled(demand(cap=0.9))
    assert rungs(made) == {"a": "good"}
    learned = staircase([*STEPS[:2], Step("good", 21 * MS, 25 * MS, 0.9), STEPS[3]])
    asked = Demand("a", learned, 0.7, 33 * MS, 90 * MS)
    assert rungs(plan(10**11, made, [asked])) == {"a": "full"}
    poorer = Demand("a", STEPS[:2], 0.7, 33 * MS, 90 * MS)
    assert rungs(plan(10**11, made, [poorer])) == {"a": "fair"}, "the best there is, where none is as good"


def test_a_frame_runs_on_the_rung_that_has_just_beaten_the_planned_one() -> None:
    ladder = [Rung("fair", 8 * MS, 0.75), Rung("good", 13 * MS, 0.9), Rung("full", 20 * MS, 1.0)]
    governed = Governor().open("s", ladder, CostModel(ladder), 0.7)
    for t in range(0, 3000, 33):
        ticket = governed.frame(t * MS, (t + 90) * MS, 33 * MS, lambda: 0)
    assert ticket is not None

    def best() -> str:
        return governed.choose(ticket, lambda costs: len(costs) - 1).name

    assert best() == "good"
    for _ in range(6):
        governed.observe("fair", 8 * MS)
    for _ in range(6):
        governed.observe("good", 24 * MS)
    assert best() == "full"


def test_what_the_way_to_the_viewer_does_not_carry_is_not_computed_and_the_floor_is_all_the_same() -> None:
    ladder = [Rung("fair", 8 * MS, 24.0), Rung("good", 13 * MS, 26.0), Rung("full", 20 * MS, 29.0)]
    for carried, rung in ((math.inf, "full"), (27.0, "good"), (20.0, "fair")):
        governed = Governor().open("s", ladder, CostModel(ladder))
        for t in range(0, 6000, 33):
            ticket = governed.frame(t * MS, (t + 90) * MS, 33 * MS, lambda: 0, carried=carried)
        assert ticket is not None
        assert governed.choose(ticket, lambda costs: len(costs) - 1).name == rung


def test_when_the_last_stream_ends_nothing_is_planned_any_more() -> None:
    ladder = [Rung("r", 200 * MS, 1.0)]
    governor = Governor()
    governed = governor.open("s", ladder, CostModel(ladder))
    governed.frame(0, 90 * MS, 33 * MS, lambda: 0)
    assert governor.crowded
    governor.close("s")
    assert not governor.crowded


def test_a_bitrate_carries_less_the_more_pixels_it_has_to_carry() -> None:
    assert carried_db(12.5e6, 2048, 2048, 30) == pytest.approx(37, abs=0.1)
    assert carried_db(1e6, 2048, 2048, 30) == pytest.approx(24, abs=0.1)
    assert carried_db(1e6, 320, 240, 15) > carried_db(1e6, 640, 480, 15) > carried_db(1e6, 640, 480, 30)


def test_a_step_that_another_beats_at_no_greater_cost_is_left_out() -> None:
    steps = staircase([Step("a", 10, 12, 1.0), Step("b", 8, 9, 1.5), Step("c", 20, 22, 1.2), Step("d", 30, 33, 2.0)])
    assert [s.rung for s in steps] == ["b", "d"]


ladders = st.lists(st.tuples(st.integers(1, 80), st.floats(0, 1)), min_size=1, max_size=6).map(
    lambda rows: staircase([Step(f"r{i}", c * MS, round(1.3 * c * MS), q) for i, (c, q) in enumerate(rows)])
)
demands = st.lists(
    st.builds(
        Demand,
        stream=st.uuids().map(str),
        steps=ladders,
        floor=st.floats(0, 1),
        period_ns=st.integers(10, 200).map(lambda ms: ms * MS),
        slack_ns=st.integers(-20, 400).map(lambda ms: ms * MS),
        cap=st.floats(0, 1) | st.just(math.inf),
    ),
    max_size=5,
    unique_by=lambda d: d.stream,
)


@given(st.lists(demands, min_size=1, max_size=4), st.floats(0, 1), st.integers(1, 3))
def test_whatever_is_asked_no_plan_goes_under_a_floor_or_overloads_what_can_be_held(
    ticks: list[list[Demand]], speech: float, lanes: int
) -> None:
    made = Plan()
    for tick, asked in enumerate(ticks):
        before, now = made, tick * 3_000 * MS
        made = plan(now, before, asked, lanes=lanes, speech_load=speech)
        assert made == plan(now, before, list(reversed(asked)), lanes=lanes, speech_load=speech), "a function"
        assert set(made.allotments) == {d.stream for d in asked}
        at_floor = sum(d.load(d.bottom) for d in asked) + speech
        for d in asked:
            index = next(i for i, s in enumerate(d.steps) if s.rung == made.allotments[d.stream].rung)
            assert d.bottom <= index <= d.top
            assert 0 < made.allotments[d.stream].keep <= 1
            assert made.allotments[d.stream].keep == 1 or index == d.bottom, "thinned only at the floor"
        assert made.load <= max(LOAD * lanes, min(at_floor, THIN_LOAD * lanes), speech + 0.05 * at_floor) + 1e-9


@given(st.floats(0.05, 1), st.integers(20, 200))
def test_thinned_frames_are_spread_evenly(keep: float, frames: int) -> None:
    class Thinning(Governor):
        def refresh(self, now_ns: int) -> None:
            self._plan = Plan({"s": Allotment("r", 1.0, keep)})

    ladder = [Rung("r", 8 * MS, 1.0)]
    governed = Thinning().open("s", ladder, CostModel(ladder))
    kept = [governed.frame(i, i + 90 * MS, 33 * MS, lambda: 0) is not None for i in range(frames)]
    assert abs(sum(kept) - keep * frames) <= 2
    which = [i for i, k in enumerate(kept) if k][2:]
    gaps = [b - a for a, b in pairwise(which)]
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_a_frame_is_lowered_to_save_one_that_waits_but_not_under_the_floor() -> None:
    ladder = [Rung("poor", 4 * MS, 0.5), Rung("fair", 8 * MS, 0.75), Rung("full", 20 * MS, 1.0)]
    governor = Governor()
    governed = governor.open("s", ladder, CostModel(ladder), 0.7)
    for t in range(0, 6000, 33):
        ticket = governed.frame(t * MS, (t + 90) * MS, 33 * MS, lambda: 0)
    assert ticket is not None and ticket.floor_ns == 8 * MS
    assert governed.choose(ticket, lambda costs: len(costs) - 1).name == "full"
    assert governed.choose(ticket, lambda costs: 0).name == "fair"
    assert governor.statistics().lowered == 1
