"""`bench network`: figures from made-up runs, the picture, and a short real run."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import pytest

from streamsvc.bench.edge_figures import MS, OURS, STOCK, Run
from streamsvc.bench.network import NetworkBench, run_network
from streamsvc.bench.network_figures import SECOND_NS, network_row, network_table
from streamsvc.bench.network_plot import network_plot
from streamsvc.cli import main
from streamsvc.scene.card import PERIOD_MS
from streamsvc.shaper import Network, Rules, parse_network

FPS = 25


def made_up(latency_ms: list[float | None], bits: list[int], side: str = OURS) -> Run:
    """A run at 25 fps after a second of warm-up, with one latency a second (None: nothing came)."""
    start = 1000 * PERIOD_MS * MS
    captures = [start + 40 * MS * i for i in range(FPS * (len(latency_ms) + 1))]
    counted = start + SECOND_NS
    sightings = []
    for at in captures:
        ms = latency_ms[max(0, (at - counted) // SECOND_NS)]
        if ms is not None:
            sightings.append((at + round(ms * MS), at // MS % PERIOD_MS))
    return Run(
        size=(320, 240),
        side=side,
        captures=tuple(captures),
        start_ns=counted,
        end_ns=counted + SECOND_NS * len(latency_ms),
        sightings=tuple(sorted(sightings)),
        bits_by_second=tuple(bits),
        targets_bps=(None,) * (len(bits) + 1),
        cap_bps=10**6,
    )


def test_a_change_is_overcome_when_pictures_are_in_time_again() -> None:
    network = parse_network("rate=9000/@5:rate=1000/@13:rate=9000")
    late = [20.0] * 4 + [900.0, 600.0, None, 80.0, 60.0, 60.0, 60.0, 60.0] + [20.0] * 4
    bits = [1000] * 4 + [900, 300, 300, 300, 300, 300, 300, 300] + [500, 700, 900, 1000]
    row = network_row(made_up(late, bits), network)
    assert (row.captured, row.missed) == (16 * FPS, FPS)
    narrowed, widened = row.changes
    assert (narrowed.at_s, narrowed.late_for_s, narrowed.empty_seconds) == (4.0, 3.0, 1)
    assert (widened.late_for_s, widened.empty_seconds, widened.rate_back_s) == (0.0, 0, 2.0)
    assert row.longest_gap_ms is not None and row.longest_gap_ms > 400
    assert row.freezes == 2 and row.bits_per_s == pytest.approx(sum(bits) / 16)


def test_what_never_comes_back_is_said_to_be_late_and_frozen_until_the_end() -> None:
    network = parse_network("rate=9000/@3:rate=8")
    row = network_row(made_up([20.0, 20.0, None, None, None], [1000, 1000, 10, 10, 10]), network)
    (change,) = row.changes
    assert change.late_for_s is None and change.empty_seconds == 3 and change.rate_back_s is None
    assert row.longest_gap_ms == pytest.approx(3020, abs=50) and row.freezes == 1
    nothing = network_row(made_up([None, None], [0, 0]), network)
    assert nothing.p50_ms is None and nothing.longest_gap_ms == pytest.approx(2000) and nothing.delivered == 0


def test_growing_latency_shows_as_drift() -> None:
    row = network_row(made_up([10.0, 20.0, 30.0, 40.0], [1] * 4), Network("clean", ((0.0, Rules()),)))
    assert row.drift_ms == pytest.approx(20) and row.changes == ()


def test_table_and_plot_show_every_side_also_one_of_which_nothing_came() -> None:
    network = parse_network("rate=9000/@2:rate=1000")
    rows = [
        network_row(made_up([20.0, 30.0, 30.0], [9, 9, 9]), network),
        network_row(made_up([None] * 3, [0] * 3, STOCK), network),
    ]
    lines = network_table(rows)
    assert lines[1].split()[:4] == ["rate=9000", "ours", "75", "0"] and lines[2].split()[1:4] == ["stock", "75", "75"]
    assert sum("change at 1 s" in line for line in lines) == 2
    ET.fromstring(network_plot("a & b", rows, 3))


async def test_a_short_run_loses_packets_and_measures(tmp_path: Path) -> None:
    told: list[str] = []
    options = NetworkBench(
        tmp_path, ("delay=10,jitter=3,loss=3",), (OURS,), size=(320, 240), seconds=3.0, warm_up_s=0.5, fps=15
    )
    figures = await run_network(options, told.append)
    (row,) = figures["rows"]
    assert row["delivered"] > 0 and row["p50_ms"] > 7 and len(row["bits_by_second"]) == 3
    assert all(a[0] < b[0] for a, b in pairwise(row["shown"]))
    assert json.loads((tmp_path / "network.json").read_text("utf-8"))["networks"]
    ET.fromstring((tmp_path / "network.svg").read_text("utf-8"))


def test_a_network_that_can_not_be_is_refused_in_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as left:
        main(["bench", "network", "--network", "loss=500", "--out", str(tmp_path)])
    assert left.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
