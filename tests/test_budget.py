"""Costs, rungs and deadlines: measured costs take over from calibrated ones; rungs climb slowly and fall at once."""

import pytest

from streamsvc.budget import AfterWorker, CostTracker, MockClock, Rung, RungChooser, run_to_end, worker_deadline_ns

MS = 1_000_000
LADDER = (Rung("low", 5 * MS, 20.0), Rung("mid", 10 * MS, 22.0), Rung("high", 20 * MS, 24.0))


def test_an_unmeasured_rung_is_predicted_from_calibration_times_this_workers_ratio() -> None:
    tracker = CostTracker(LADDER)
    for _ in range(200):
        tracker.observe("low", 10 * MS)
    assert tracker.mean_ns("low") == pytest.approx(10 * MS, rel=0.01)
    assert tracker.mean_ns("high") == pytest.approx(40 * MS, rel=0.05)


def test_a_rung_that_seemed_too_slow_once_is_tried_again() -> None:
    tracker = CostTracker(LADDER)
    tracker.observe("low", 900 * MS)
    tries = 0
    while tracker.mean_ns("low") > 50 * MS:
        tracker.relax("low")
        tries += 1
    assert tries <= 15


def test_c95_covers_the_spread() -> None:
    tracker = CostTracker(LADDER)
    for i in range(300):
        tracker.observe("mid", (8 if i % 2 else 12) * MS)
    assert 12 * MS <= tracker.c95_ns("mid") <= 16 * MS


def test_the_chooser_climbs_one_rung_after_two_seconds_of_headroom_and_falls_at_once() -> None:
    chooser = RungChooser(LADDER, CostTracker(LADDER))
    assert chooser.choose(0, 100 * MS, 66 * MS).name == "low"
    assert chooser.choose(1900 * MS, 2000 * MS, 66 * MS).name == "low"
    assert chooser.choose(2000 * MS, 2100 * MS, 66 * MS).name == "mid"
    assert chooser.choose(2100 * MS, 2200 * MS, 66 * MS).name == "mid"
    assert chooser.choose(4100 * MS, 4200 * MS, 66 * MS).name == "high"
    assert chooser.choose(4166 * MS, 4178 * MS, 66 * MS).name == "mid"
    assert chooser.choose(4200 * MS, 4201 * MS, 66 * MS).name == "low"


def test_the_chooser_keeps_the_stream_within_its_share_of_a_lane() -> None:
    chooser = RungChooser(LADDER, CostTracker(LADDER))
    for t in range(0, 10_000, 33):
        rung = chooser.choose(t * MS, (t + 300) * MS, 33 * MS, share=0.4)
    assert rung.name == "mid"


def test_the_viewers_cap_is_never_exceeded() -> None:
    chooser = RungChooser(LADDER, CostTracker(LADDER))
    for t in range(0, 10_000, 33):
        assert chooser.choose(t * MS, (t + 300) * MS, 100 * MS, cap="mid").name != "high"


def test_the_worker_deadline_leaves_room_for_what_comes_after() -> None:
    assert worker_deadline_ns(1000, 400, 60) == 1340
    assert worker_deadline_ns(1000, 50, 60) == 1000


def test_after_worker_moves_slowly_towards_the_95th_percentile() -> None:
    after = AfterWorker()
    start = after.ns
    after.observe(200 * MS)
    assert start < after.ns < 80 * MS
    for _ in range(200):
        after.observe(30 * MS)
    assert after.ns == pytest.approx(30 * MS, rel=0.1)


def test_a_mock_clock_refuses_to_go_back() -> None:
    clock = MockClock(5)
    clock.advance(3)
    assert clock.now_ns() == 8
    with pytest.raises(ValueError, match="can't go back"):
        clock.advance(-1)


def test_run_to_end_returns_the_jobs_result_after_its_last_slice() -> None:
    ran = []

    def job():  # type: ignore[no-untyped-def]
        ran.append(1)
        yield "first"
        ran.append(2)
        yield "second"
        return "result"

    assert run_to_end(job()) == "result" and ran == [1, 2]
