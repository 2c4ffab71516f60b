"""A worker is taken to hang when it does, and not when everything was paused."""

import pytest

from streamsvc.fleet.watchdog import Watchdog

MS = 1_000_000
SECOND = 1000 * MS
START = 7 * SECOND


def judged(*, until_s: float, pause_s: tuple[float, float] = (0, 0), beats: bool, overdue_s: float = 0) -> str | None:
    """What is found of a worker that was ready at once: with looks every 0.1 s, but for those of a pause, and beats
    every 0.25 s while there are looks."""
    watchdog = Watchdog(hang_ns=2 * SECOND, ready_ns=180 * SECOND, now_ns=START)
    watchdog.heard(START)
    for step in range(round(until_s * 20)):
        if pause_s[0] <= step / 20 < pause_s[1]:
            continue
        now = START + step * 50 * MS
        if beats and step % 5 == 0:
            watchdog.heard(now, round(overdue_s * SECOND))
        if step % 2 == 0 and (hangs := watchdog.look(now)) is not None:
            return hangs
    return None


def test_silence_and_a_slice_that_does_not_end_are_hanging() -> None:
    assert judged(until_s=1.9, beats=False) is None
    assert judged(until_s=2.3, beats=False) == "no heartbeat"
    assert judged(until_s=60, beats=True, overdue_s=1.9) is None
    assert judged(until_s=60, beats=True, overdue_s=2.1) == "in a slice"


@pytest.mark.parametrize("beats", [False, True])
def test_a_pause_of_everything_is_not_counted(beats: bool) -> None:
    assert judged(until_s=61, pause_s=(0.5, 60), beats=beats, overdue_s=59) is None


def test_a_worker_that_hangs_after_a_pause_is_found_then() -> None:
    assert judged(until_s=63, pause_s=(0.5, 60), beats=False) == "no heartbeat"
    assert judged(until_s=63, pause_s=(0.5, 60), beats=True, overdue_s=59) == "in a slice"


def test_a_worker_that_speaks_and_does_not_read_hangs() -> None:
    watchdog = Watchdog(hang_ns=2 * SECOND, ready_ns=180 * SECOND, now_ns=START)
    found = []
    for step in range(60):
        now = START + step * 100 * MS
        watchdog.heard(now)
        found.append(watchdog.look(now, reads=step % 20 == 10 and step < 40))
    assert found[:51] == [None] * 51 and found[51] == "it does not read"


def test_the_first_word_may_take_longer() -> None:
    watchdog = Watchdog(hang_ns=2 * SECOND, ready_ns=180 * SECOND, now_ns=START)
    looks = [watchdog.look(START + i * 100 * MS) for i in range(1802)]
    assert looks[:1801] == [None] * 1801 and looks[-1] == "no heartbeat"
