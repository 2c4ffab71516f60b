"""Frame sets under a mock clock: newest complete set, whole-set drops, bounded waits, cameras that leave and return."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamsvc.edge.framesets import MAX_PENDING, FrameSets

MS = 1_000_000
PERIOD = 33 * MS
WAIT = 50 * MS
NAMES = ("a", "b", "c")
Event = tuple[int, str, int]  # (arrival, camera, capture)


def play(sets: FrameSets[tuple[str, int]], events: list[Event]) -> list[tuple[int, int, dict[str, tuple[str, int]]]]:
    """Feed events in order of arrival, waking when asked to; return (time, capture, pictures) of each set."""
    out: list[tuple[int, int, dict[str, tuple[str, int]]]] = []

    def take(now: int) -> None:
        taken = sets.take(now)
        if taken is not None:
            out.append((now, *taken))

    for arrival, camera, capture in sorted(events):
        while (wake := sets.next_wake_ns()) is not None and wake <= arrival:
            take(wake)
        sets.put(camera, capture, (camera, capture), arrival)
        take(arrival)
    while (wake := sets.next_wake_ns()) is not None:
        take(wake)
    return out


def stream(
    camera: str, count: int, *, lag: int = 5 * MS, phase: int = 0, start: int = 0, period: int = PERIOD
) -> list[Event]:
    """A steady camera: pictures `start` .. `start + count`, each arriving `lag` after its capture."""
    return [(i * period + phase + lag, camera, i * period + phase) for i in range(start, start + count)]


def test_cameras_in_step_give_every_set_at_once() -> None:
    sets: FrameSets[tuple[str, int]] = FrameSets(NAMES, PERIOD, WAIT)
    out = play(sets, [e for n in NAMES for e in stream(n, 30)])
    assert [c for _, c, _ in out] == [i * PERIOD for i in range(30)]
    assert all(tuple(frames) == NAMES and now == capture + 5 * MS for now, capture, frames in out)
    assert sets.counts["waits"] == sets.counts["dropped"] == 0


def test_free_running_cameras_are_matched_to_half_a_period() -> None:
    sets: FrameSets[tuple[str, int]] = FrameSets(NAMES, PERIOD, WAIT)
    out = play(sets, stream("a", 60) + stream("b", 60, phase=7 * MS) + stream("c", 60, phase=-9 * MS))
    assert len(out) >= 57
    for _, capture, frames in out:
        assert max(c for _, c in frames.values()) - capture <= PERIOD


def test_the_newest_complete_set_wins_and_the_older_go_on_all_cameras() -> None:
    sets: FrameSets[tuple[str, int]] = FrameSets(("a", "b"), PERIOD, WAIT)
    for i in range(4):
        sets.put("a", i * PERIOD, ("a", i * PERIOD), 10 * MS)
        sets.put("b", i * PERIOD, ("b", i * PERIOD), 10 * MS)
    taken = sets.take(10 * MS)
    assert taken is not None and taken[0] == 3 * PERIOD
    assert sets.counts["dropped"] == 6
    assert sets.take(10 * MS) is None and sets.next_wake_ns() is None


def test_a_camera_that_goes_costs_one_bounded_wait_and_comes_back_by_itself() -> None:
    sets: FrameSets[tuple[str, int]] = FrameSets(("a", "b"), PERIOD, WAIT)
    out = play(sets, stream("a", 90) + stream("b", 30) + stream("b", 30, start=60))
    both = [c // PERIOD for _, c, f in out if len(f) == 2]
    alone = [c // PERIOD for _, c, f in out if len(f) == 1]
    assert both[:30] == list(range(30))
    assert set(range(62, 90)) <= set(both)
    assert set(alone) <= set(range(30, 62)) and len(alone) >= 28
    longest = max(now - capture for now, capture, _ in out)
    assert longest <= WAIT + 5 * MS
    assert sets.counts["waits"] == 1
    assert sum(now - capture > 5 * MS for now, capture, _ in out) <= 1


def test_a_camera_that_never_came_is_left_out_after_one_wait() -> None:
    sets: FrameSets[tuple[str, int]] = FrameSets(("a", "b"), PERIOD, WAIT)
    out = play(sets, stream("a", 20))
    assert len(out) >= 18 and sets.counts["waits"] == 1
    assert sets.present == ("a",)


def test_the_anchor_camera_may_be_the_one_that_goes() -> None:
    sets: FrameSets[tuple[str, int]] = FrameSets(("a", "b"), PERIOD, WAIT)
    out = play(sets, stream("b", 20))
    assert len(out) >= 18 and all(tuple(f) == ("b",) for _, _, f in out)


def test_a_camera_that_is_late_for_ever_costs_a_vanishing_share_of_waits() -> None:
    sets: FrameSets[tuple[str, int]] = FrameSets(("a", "b"), PERIOD, WAIT)
    out = play(sets, stream("a", 600) + stream("b", 600, lag=300 * MS))
    assert sets.counts["waits"] <= 3
    assert len(out) >= 590
    assert max(now - capture for now, capture, _ in out) <= WAIT + 5 * MS


def test_a_camera_that_flaps_is_trusted_later_each_time() -> None:
    sets: FrameSets[tuple[str, int]] = FrameSets(("a", "b"), PERIOD, WAIT)
    blinking = [e for k in range(50) for e in stream("b", 2, start=12 * k)]
    play(sets, stream("a", 600) + blinking)
    assert sets.counts["waits"] <= 4


def test_a_camera_late_within_the_bound_stays_in_every_set() -> None:
    sets: FrameSets[tuple[str, int]] = FrameSets(("a", "b"), PERIOD, WAIT)
    out = play(sets, stream("a", 100) + stream("b", 100, lag=45 * MS))
    assert sets.counts["waits"] == 0
    assert all(len(f) == 2 for _, _, f in out) and len(out) == 100


def test_a_blink_of_a_camera_with_some_lag_does_not_lose_it() -> None:
    sets: FrameSets[tuple[str, int]] = FrameSets(("a", "b"), PERIOD, WAIT)
    out = play(sets, stream("a", 100) + stream("b", 20, lag=25 * MS) + stream("b", 60, start=40, lag=25 * MS))
    assert [len(f) for _, _, f in out[-40:]] == [2] * 40


def test_a_slower_camera_thins_the_sets_and_is_not_late() -> None:
    sets: FrameSets[tuple[str, int]] = FrameSets(("a", "b"), PERIOD, WAIT)
    out = play(sets, stream("a", 120) + stream("b", 60, period=2 * PERIOD))
    pairs = [c for _, c, f in out if len(f) == 2]
    assert len(pairs) >= 55 and sets.counts["waits"] <= 1


@pytest.mark.parametrize("fps", [30, 10, 7.5, 5])
def test_cameras_of_any_rate_are_put_together_whatever_rate_they_had_before(fps: float) -> None:
    sets: FrameSets[tuple[str, int]] = FrameSets(("a", "b"), PERIOD, 100 * MS)
    slow = round(1e9 / fps)
    turns = [i * PERIOD for i in range(30)] + [30 * PERIOD + i * slow for i in range(30)]
    turns += [turns[-1] + i * PERIOD for i in range(1, 60)]
    phases = {"a": 0, "b": 10 * MS}
    events = [(at + phase + 5 * MS, name, at + phase) for at in turns for name, phase in phases.items()]
    free = [(i * slow + slow * n // 3 + 5 * MS, "ab"[n], i * slow + slow * n // 3) for i in range(40) for n in (0, 1)]
    out = play(FrameSets(("a", "b"), PERIOD, 100 * MS), free)
    assert sum(len(frames) == 2 for _, _, frames in out) >= 34
    out = play(sets, events)
    assert sum(len(frames) == 2 for _, _, frames in out) >= len(turns) - 4
    assert sets.period_ns == pytest.approx(PERIOD, rel=0.1)


@pytest.mark.parametrize("fps", [15, 10, 5])
def test_a_slower_camera_that_lags_is_in_nearly_every_set_with_the_picture_next_to_its_own(fps: int) -> None:
    sets: FrameSets[tuple[str, int]] = FrameSets(("a", "b"), PERIOD, 100 * MS)
    out = play(sets, stream("a", 300) + stream("b", 10 * fps, period=1000 * MS // fps, lag=60 * MS))
    both = [frames for _, _, frames in out if len(frames) == 2]
    assert len(both) >= 9.4 * fps and len(out) <= 10 * fps + 10
    assert sum(abs(frames["a"][1] - frames["b"][1]) <= PERIOD / 2 for frames in both) >= 0.98 * len(both)


def test_a_gap_is_no_rate() -> None:
    sets: FrameSets[tuple[str, int]] = FrameSets(("a",), PERIOD, WAIT)
    for start in (0, 40, 41, 90, 91, 150, 151):
        play(sets, stream("a", 1, start=start))
        assert sets.period_ns == PERIOD


def test_a_clock_set_back_starts_afresh_instead_of_stalling() -> None:
    sets: FrameSets[tuple[str, int]] = FrameSets(("a", "b"), PERIOD, WAIT)
    hour = 3_600_000 * MS
    later = [(arrival + 10_000 * MS, camera, capture) for arrival, camera, capture in stream("a", 30) + stream("b", 30)]
    early = [(arrival, camera, capture + hour) for arrival, camera, capture in stream("a", 30) + stream("b", 30)]
    out = play(sets, early + later)
    assert len(out) >= 58 and len(out[-1][2]) == 2


def test_one_camera_passes_straight_through() -> None:
    sets: FrameSets[tuple[str, int]] = FrameSets(("a",), PERIOD, WAIT)
    out = play(sets, stream("a", 10))
    assert [c for _, c, _ in out] == [i * PERIOD for i in range(10)]


@pytest.mark.parametrize(("names", "period", "wait"), [((), 1, 1), (("a", "a"), 1, 1), (("a",), 0, 1), (("a",), 1, -1)])
def test_nonsense_is_refused(names: tuple[str, ...], period: int, wait: int) -> None:
    with pytest.raises(ValueError):
        FrameSets(names, period, wait)


@settings(max_examples=150)
@example(seed=0, count=4, loss=0.0, jitter_ms=1, period=66 * MS)
@example(seed=0, count=4, loss=0.28125, jitter_ms=1, period=33 * MS)
@given(
    st.integers(0, 2**32),
    st.integers(1, 4),
    st.floats(0, 0.4),
    st.integers(0, 80),
    st.sampled_from([16 * MS, 33 * MS, 66 * MS]),
)
def test_whatever_arrives_sets_rise_pictures_are_used_once_and_waits_are_bounded(
    seed: int, count: int, loss: float, jitter_ms: int, period: int
) -> None:
    rng = random.Random(seed)
    names = tuple("abcd"[:count])
    events: list[Event] = []
    for name in names:
        phase = rng.randrange(period)
        gone = range(*sorted(rng.sample(range(80), 2)))
        arrival = 0
        for i in range(80):
            if rng.random() < loss or i in gone:
                continue
            capture = i * period + phase
            arrival = max(arrival + 1, capture + rng.randrange(jitter_ms * MS + 1))
            events.append((arrival, name, capture))
    sets: FrameSets[tuple[str, int]] = FrameSets(names, PERIOD, WAIT)
    out = play(sets, events)
    captures = [c for _, c, _ in out]
    assert captures == sorted(captures)
    used = [f for _, _, frames in out for f in frames.values()]
    assert len(used) == len(set(used))
    arrivals = {(camera, capture): arrival for arrival, camera, capture in events}
    for now, capture, frames in out:
        assert all(name == camera for name, (camera, _) in frames.items())
        assert min(c for _, c in frames.values()) == capture
        assert max(c for _, c in frames.values()) - capture <= 4 * period
        assert now <= max(arrivals[f] for f in frames.values()) + WAIT
    held = len(events) - len(used) - sets.counts["dropped"] - sets.counts["late"]
    assert 0 <= held <= MAX_PENDING * count
    assert sets.counts["sets"] == len(out)


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(0, 30))
def test_no_stall_while_one_camera_delivers(seed: int, dead_from: int) -> None:
    rng = random.Random(seed)
    events = stream("a", 120) + stream("b", dead_from) + stream("c", rng.randrange(120), lag=rng.randrange(200) * MS)
    sets: FrameSets[tuple[str, int]] = FrameSets(NAMES, PERIOD, WAIT)
    times = [now for now, _, _ in play(sets, events)]
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert times[-1] >= 119 * PERIOD
    assert max(gaps) <= 2 * WAIT + 2 * PERIOD
