"""The probe's two halves on two hosts: what was due where the cameras are elsewhere, and what the clocks leave open."""

from pathlib import Path
from typing import Any

import pytest

from streamsvc.frames.clockmap import ClockMap
from streamsvc.probe import Probed, ProbeOptions
from streamsvc.probe.figures import Taken, probed
from streamsvc.probe.measure import MS, Sighting, due_elsewhere
from streamsvc.probe.report import table
from streamsvc.scene.card import PERIOD_MS
from streamsvc.signalling.channels import FrameTrace

NS = 1_000_000_000
START, FPS, SECONDS = 100 * NS, 15.0, 30
CAPTURES = [START + round(i * NS / FPS) for i in range(round(SECONDS * FPS))]


def sighting(capture: int, delay: int, off: int = 0) -> Sighting:
    """What is seen of a capture when the sender's clock is `off` by so much."""
    return Sighting(capture + delay, (capture + off) // MS % PERIOD_MS)


def trace(capture: int, error_ns: int) -> FrameTrace:
    return FrameTrace(
        capture_ns=capture, displayed_ns=None, deadline_ns=capture, clock_error_ns=error_ns, outcome="shown",
        reason=None, rung=None, cameras=2, stages=[],
    )  # fmt: skip


def watched(sightings: list[Sighting], budget_ms: float = 150, sender_ns: int | None = 2 * MS) -> Probed:
    """The figures of a watcher whose own clock is off by at most 1 ms, the sender's by `sender_ns` (None: not told)."""
    taken = Taken(
        captures=due_elsewhere(sightings, FPS, sightings[0].shown_ns + SECONDS * NS),
        sightings=sightings,
        traces=[] if sender_ns is None else [trace(c, sender_ns) for c in CAPTURES],
        clock=ClockMap(0, MS),
        on_server=True,
        tolerance_ns=round(0.5 * NS / FPS),
    )
    return probed(ProbeOptions(url="http://a", out=Path(), role="watch", budget_ms=budget_ms), taken, 0.0)


def view(found: Probed) -> dict[str, Any]:
    return dict(found.figures["view"])


def test_captures_elsewhere_are_due_at_their_rate_until_measuring_ends() -> None:
    seen = [sighting(c, 60 * MS) for c in CAPTURES[:20]]
    due = due_elsewhere(seen, FPS, CAPTURES[-1])
    assert len(due) == len(CAPTURES)
    assert all(abs(a - b) <= MS for a, b in zip(due, CAPTURES, strict=True))
    assert due_elsewhere([], FPS, NS) == due_elsewhere([Sighting(NS, None)], FPS, 2 * NS) == []


def test_a_first_card_that_was_off_does_not_shift_the_others() -> None:
    seen = [sighting(CAPTURES[0], 60 * MS, off=25 * MS), *(sighting(c, 60 * MS) for c in CAPTURES[1:])]
    assert abs(due_elsewhere(seen, FPS, CAPTURES[-1])[100] - CAPTURES[100]) <= MS


def test_a_picture_that_dies_for_good_is_missed_until_the_end() -> None:
    found = watched([sighting(c, 60 * MS) for c in CAPTURES if c < START + 17 * NS])
    assert found.figures["verdict"] == "poor"
    assert view(found)["due"] == pytest.approx(22.5 * FPS, abs=2) and view(found)["goodput"] == pytest.approx(
        0.53, abs=0.01
    )
    assert view(found)["longest_gap_ms"] == pytest.approx(10_500, abs=200)
    assert view(found)["freezes"] == 1 and view(found)["frozen_ms"] == pytest.approx(13_000, abs=200)


@pytest.mark.parametrize("off_s", [-120, -30, 30, 300])
def test_a_card_that_was_garbled_and_passes_its_check_decides_nothing(off_s: int) -> None:
    good = [sighting(c, 60 * MS) for c in CAPTURES]
    garbled = list(good)
    garbled[200] = Sighting(good[200].shown_ns, (good[200].shown_ns // MS + 1000 * off_s) % PERIOD_MS)
    right, found = watched(good), watched(garbled)
    assert view(right)["goodput"] == 1 and view(right)["strange"] == 0
    assert view(found)["due"] == view(right)["due"] and view(found)["dropped"] == 1 and view(found)["strange"] == 1


def test_the_error_is_that_of_both_clocks() -> None:
    found = watched([sighting(c, 60 * MS) for c in CAPTURES], sender_ns=7 * MS)
    assert found.figures["clock"]["error_ms"] == 8 and found.figures["verdict"] == "good"
    assert any("8.00 ms" in line for line in table(found.figures))


def test_no_verdict_where_the_senders_error_is_not_known() -> None:
    found = watched([sighting(c, 60 * MS) for c in CAPTURES], sender_ns=None)
    assert found.figures["clock"]["error_ms"] is None and found.figures["verdict"] == "refused"
    assert [d["check"] for d in found.figures["doubts"]] == ["clock"]
    assert any(line.startswith("clock error") and "unknown" in line for line in table(found.figures))


@pytest.mark.parametrize(("budget_ms", "verdict"), [(80, "refused"), (40, "refused"), (200, "good"), (5, "poor")])
def test_no_verdict_within_what_the_clocks_leave_open(budget_ms: float, verdict: str) -> None:
    # A round trip of 100 ms whose one way takes it all: the sender's cards say 40 ms too late, of 50 it can't exclude.
    found = watched([sighting(c, 100 * MS, off=40 * MS) for c in CAPTURES], budget_ms, sender_ns=50 * MS)
    assert view(found)["latency_p50_ms"] == pytest.approx(60, abs=1)
    assert found.figures["verdict"] == verdict
    assert [d["check"] for d in found.figures["doubts"]] == (["clock"] if verdict == "refused" else [])
