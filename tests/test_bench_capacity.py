"""`bench capacity`: figures from made-up calls, and a short real one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from streamsvc.bench.capacity import CapacityBench, Load, cpu_seconds, lag_percentile, row, run_capacity
from streamsvc.peer import PeerFigures

MS = 1_000_000


def call(late_ms: float, lost: int = 0) -> PeerFigures:
    captures = [i * 100 * MS for i in range(150)]
    views = [(c + 11_000, round(c + late_ms * MS)) for i, c in enumerate(captures) if i >= lost]
    return PeerFigures(captures, views, [], 0, [], len(captures), len(views), 0)


def test_a_row_counts_what_was_captured_in_its_time() -> None:
    before, after = Load(5.0, 2.0, {}), Load(8.0, 3.0, {})
    found = row(2, 10.0, before, after, [call(20), call(40)])
    assert found.goodput == 1 and found.p50_ms == pytest.approx(30, abs=11)
    assert (found.edge_cores, found.worker_cores, found.sessions_per_core) == pytest.approx((0.3, 0.1, 5.0))
    late = row(1, 10.0, before, after, [call(500)])
    assert late.goodput == 0 and late.p50_ms == pytest.approx(500)
    assert row(1, 10.0, before, after, [call(20, lost=90)]).goodput == pytest.approx(0.5, abs=0.02)
    assert row(1, 10.0, before, before, [PeerFigures([], [], [], None, [], 0, 0, 0)]).goodput == 0


def test_the_lag_is_that_of_the_time_between() -> None:
    before = {0.001: 10.0, 0.01: 20.0, float("inf"): 20.0}
    after = {0.001: 10.0, 0.01: 118.0, float("inf"): 120.0}
    assert lag_percentile(before, after, 50) == 10 and lag_percentile(before, after, 99) is None
    assert lag_percentile(after, after, 50) is None and lag_percentile({}, {}, 50) is None


def test_cpu_time_is_counted_by_the_kernel() -> None:
    before = cpu_seconds(os.getpid())
    while cpu_seconds(os.getpid()) < before + 0.02:
        sum(range(10_000))
    with pytest.raises(OSError, match="stat"):
        cpu_seconds(2**22 + 1)


async def test_a_short_run_measures_one_call(tmp_path: Path) -> None:
    told: list[str] = []
    options = CapacityBench(tmp_path, sessions=1, size=(160, 120), fps=10, seconds=2)
    figures = await run_capacity(options, told.append)
    (found,) = figures["rows"]
    assert found["goodput"] > 0 and found["edge_cores"] > 0 and found["sessions_per_core"] > 0
    assert json.loads((tmp_path / "capacity.json").read_text("utf-8"))["rows"] == figures["rows"]
