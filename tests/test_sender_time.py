"""Capture times of a participant on our clock: told maps where plausible, arrivals where not."""

from streamsvc.frames import ClockMap
from streamsvc.frames.clockmap import ARRIVAL_ERROR_NS
from streamsvc.session.clocks import SenderTime

MS = 1_000_000


def test_before_a_sender_report_the_capture_is_the_arrival() -> None:
    assert SenderTime().capture(None, 70 * MS) == (70 * MS, ARRIVAL_ERROR_NS)


def test_the_told_map_gives_the_capture_with_its_error() -> None:
    time = SenderTime()
    time.told(ClockMap(1000 * MS, 2 * MS))
    assert time.capture(0, 1030 * MS) == (1000 * MS, 2 * MS)


def test_a_told_map_of_another_clock_is_not_believed() -> None:
    time = SenderTime()
    time.told(ClockMap(99_000 * MS, MS))
    assert time.capture(0, 1030 * MS) == (1030 * MS, ARRIVAL_ERROR_NS)
    time.told(ClockMap(-99_000 * MS, MS))
    assert time.capture(33 * MS, 1080 * MS) == (1063 * MS, ARRIVAL_ERROR_NS)


def test_a_capture_is_never_after_its_arrival() -> None:
    time = SenderTime()
    time.told(ClockMap(1000 * MS, 5 * MS))
    capture, _ = time.capture(0, 997 * MS)
    assert capture == 997 * MS


def test_what_arrivals_told_is_forgotten_when_the_sender_loses_its_clock() -> None:
    time = SenderTime()
    assert time.capture(0, 1000 * MS) == (1000 * MS, ARRIVAL_ERROR_NS)
    assert time.capture(33 * MS, 5000 * MS) == (1033 * MS, ARRIVAL_ERROR_NS)
    time.capture(None, 5033 * MS)
    assert time.capture(100 * MS, 5100 * MS) == (5100 * MS, ARRIVAL_ERROR_NS)
