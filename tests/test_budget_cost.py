"""The cost model: learned while it is used, quick after a shock, not misled by outliers, liars or jumping clocks."""

import math
from random import Random
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsvc.budget import CostModel, Rung, Speed
from streamsvc.budget.cost import TRUSTED, Fit

MS = 1_000_000
LADDER = (Rung("low", 5 * MS, 20.0), Rung("mid", 10 * MS, 22.0), Rung("high", 20 * MS, 24.0))


def test_an_unmeasured_rung_is_predicted_from_calibration_times_this_workers_ratio() -> None:
    model = CostModel(LADDER)
    for _ in range(200):
        model.observe("low", 10 * MS)
    assert model.mean_ns("low") == pytest.approx(10 * MS, rel=0.01)
    assert model.mean_ns("high") == pytest.approx(40 * MS, rel=0.05)


def test_models_of_one_worker_share_what_it_is_slower_by() -> None:
    speed = Speed()
    known, new = CostModel(LADDER, speed), CostModel(LADDER, speed)
    for _ in range(10):
        known.observe("mid", 30 * MS)
    assert new.mean_ns("high") == pytest.approx(60 * MS, rel=0.05)


def test_a_rung_that_seemed_too_slow_once_is_tried_again() -> None:
    model = CostModel(LADDER)
    model.observe("low", 900 * MS)
    tries = 0
    while model.mean_ns("low") > 50 * MS:
        model.relax("low")
        tries += 1
    assert tries <= 15 + TRUSTED


def test_a_slow_first_job_is_forgotten_within_five_more() -> None:
    model = CostModel(LADDER)
    model.observe("low", 900 * MS)
    for _ in range(5):
        model.observe("low", 5 * MS)
    assert model.mean_ns("low") < 10 * MS


def test_c95_covers_the_spread() -> None:
    model = CostModel(LADDER)
    for i in range(300):
        model.observe("mid", (8 if i % 2 else 12) * MS)
    assert 12 * MS <= model.c95_ns("mid") <= 16 * MS


def test_one_job_in_twenty_is_above_c95() -> None:
    model, noise = CostModel(LADDER), Random(4)
    above = 0
    for n in range(4000):
        cost = round(10 * MS * noise.lognormvariate(0, 0.15))
        above += n >= 200 and cost > model.c95_ns("mid")
        model.observe("mid", cost)
    assert 0.03 <= above / 3800 <= 0.08


def test_after_ten_seconds_the_median_error_is_under_10_percent_and_its_95th_percentile_under_30() -> None:
    model, noise = CostModel(LADDER), Random(5)
    errors = []
    for n in range(15 * 60):
        rung = LADDER[n // 40 % 3]
        cost = round(1.7 * rung.cost_ns * noise.lognormvariate(0, 0.1))
        if n >= 150:
            errors.append(abs(model.mean_ns(rung.name) / cost - 1))
        model.observe(rung.name, cost)
    assert median(errors) <= 0.10
    assert sorted(errors)[round(0.95 * len(errors))] <= 0.30


@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_a_shock_is_followed_within_a_second_at_15_hz(factor: float) -> None:
    model, noise = CostModel(LADDER), Random(6)
    for _ in range(300):
        model.observe("mid", round(10 * MS * noise.lognormvariate(0, 0.15)))
    for _ in range(15):
        model.observe("mid", round(factor * 10 * MS * noise.lognormvariate(0, 0.15)))
    assert model.mean_ns("mid") == pytest.approx(factor * 10 * MS, rel=0.2)
    assert model.mean_ns("high") == pytest.approx(factor * 20 * MS, rel=0.2)


def test_one_outlier_moves_the_mean_by_less_than_a_twentieth() -> None:
    model = CostModel(LADDER)
    for _ in range(50):
        model.observe("mid", 10 * MS)
    model.observe("mid", 100 * MS)
    assert model.mean_ns("mid") == pytest.approx(10 * MS, rel=0.05)


@pytest.mark.parametrize("lie", [10.0, 0.1])
def test_a_rung_that_lies_by_ten_is_found_out_at_its_first_job_and_the_others_are_still_believed(lie: float) -> None:
    model = CostModel(LADDER)
    for _ in range(20):
        model.observe("low", 5 * MS)
    model.observe("high", round(lie * 20 * MS))
    assert model.mean_ns("high") == pytest.approx(lie * 20 * MS, rel=0.05)
    for _ in range(20):
        model.observe("high", round(lie * 20 * MS))
    assert model.mean_ns("high") == pytest.approx(lie * 20 * MS, rel=0.05)
    assert model.mean_ns("low") == pytest.approx(5 * MS, rel=0.05)


def test_the_size_of_a_job_is_learned_as_a_curve() -> None:
    model, noise = CostModel([Rung("decode", 70 * MS, 0.0)]), Random(7)

    def real(x: float) -> float:
        return MS * (25 + 30 * x + 15 * x * x)

    for _ in range(600):
        x = noise.uniform(0.3, 3.0)
        model.observe("decode", round(real(x) * noise.lognormvariate(0, 0.05)), x)
    for x in (0.5, 1.0, 2.0, 3.0):
        assert model.mean_ns("decode", x) == pytest.approx(real(x), rel=0.12)


def test_a_clock_that_jumps_back_teaches_nothing() -> None:
    model = CostModel(LADDER)
    for measured in (0, -5 * MS):
        model.observe("low", measured)
    assert model.mean_ns("low") == 5 * MS and model.statistics().observed["low"] == 0


def test_statistics_tell_what_was_learned() -> None:
    model = CostModel(LADDER)
    for _ in range(30):
        model.observe("low", 15 * MS)
    told = model.statistics()
    assert told.observed == {"low": 30, "mid": 0, "high": 0}
    assert told.ratio == pytest.approx(3, rel=0.02) and told.tail >= 1
    assert told.mean_ns["low"] == model.mean_ns("low")


@given(st.lists(st.tuples(st.floats(0.05, 20), st.floats(1, 1e12)), max_size=60))
def test_more_work_never_costs_less_whatever_was_measured(jobs: list[tuple[float, float]]) -> None:
    fit = Fit(1e7)
    for x, cost in jobs:
        fit.learn(x, cost)
    assert min(fit.abc) >= 0 and all(map(math.isfinite, fit.abc))
    sizes = [0.1, 0.5, 1, 3, 10]
    costs = [fit(x) for x in sizes]
    assert costs == sorted(costs) and costs[-1] > 0


@given(st.lists(st.tuples(st.sampled_from(["low", "mid", "high"]), st.integers(-(10**6), 10**13)), max_size=80))
def test_whatever_is_measured_costs_stay_finite_and_positive_and_c95_is_not_under_the_mean(
    jobs: list[tuple[str, int]],
) -> None:
    model = CostModel(LADDER)
    for rung, measured in jobs:
        model.observe(rung, measured)
        assert 0 < model.mean_ns(rung) <= model.c95_ns(rung) < 10**18
        if measured % 3 == 0:
            model.relax(rung)


def test_what_others_do_to_the_machine_is_told_apart_from_what_a_rung_takes() -> None:
    noise, speed, pace = Random(8), Speed(), Speed()
    model, other = CostModel(LADDER, speed, pace), CostModel(LADDER, speed, pace)

    def frames(count: int, slowed: float) -> None:
        for _ in range(count):
            computed = round(10 * MS * noise.lognormvariate(0, 0.03))
            model.observe("mid", computed, taken_ns=round(slowed * computed * noise.lognormvariate(0, 0.1)))

    frames(60, 1.0)
    frames(12, 2.0)  # half of each core is somebody else's now
    assert model.compute_ns("mid") == pytest.approx(10 * MS, rel=0.05)
    assert model.mean_ns("mid") == pytest.approx(20 * MS, rel=0.15)
    assert model.c95_ns("mid") >= model.mean_ns("mid")
    assert other.mean_ns("high") == pytest.approx(2 * other.compute_ns("high"), rel=0.15)
    assert model.statistics().ratio == pytest.approx(1, rel=0.05)
    frames(12, 1.0)
    assert model.mean_ns("mid") == pytest.approx(10 * MS, rel=0.15)


def test_what_is_tried_in_idle_time_says_nothing_of_the_pace() -> None:
    pace = Speed()
    model = CostModel(LADDER, pace=pace)
    for _ in range(20):
        model.observe("mid", 10 * MS, taken_ns=15 * MS)
    model.observe("high", 20 * MS)
    assert pace.ratio == pytest.approx(1.5, rel=0.01)
    assert model.mean_ns("high") == pytest.approx(30 * MS, rel=0.05)


@pytest.mark.parametrize("taken", [0, -5])
def test_a_clock_that_jumped_is_no_pace(taken: int) -> None:
    model = CostModel(LADDER)
    model.observe("mid", 10 * MS, taken_ns=taken)
    assert model.statistics().pace == 1 and model.unseen == ("low", "mid", "high")
