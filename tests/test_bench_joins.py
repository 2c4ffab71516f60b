"""`bench joins`: what counts as left behind, and a short run against a real service."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from streamsvc.bench import joins
from streamsvc.bench.joins import COUNTS, GROWTH_MIB, SPARE, Count, JoinsBench, grown, run_joins

BEFORE = Count(dict.fromkeys(COUNTS, 10), {"live": 1, "tick": 8}, threads=12, edge_mib=150.0, worker_mib=600.0)


def test_what_is_as_before_or_as_full_pools_are_is_not_left_behind() -> None:
    tasks = {"live": 1 + SPARE, "tick": 8}
    more = Count(dict.fromkeys(COUNTS, 10 + SPARE), tasks, 12 + SPARE, 150.0 + GROWTH_MIB, 500.0)
    assert grown(BEFORE, BEFORE) == [] and grown(BEFORE, more) == []


def test_everything_that_grew_is_named() -> None:
    counts, tasks = {**BEFORE.counts, "open files": 40}, {"live": 7, "tick": 8, "submit": 2}
    leaky = replace(BEFORE, counts=counts, tasks=tasks, threads=99, edge_mib=400.0, worker_mib=700.0)
    assert grown(BEFORE, leaky) == [
        "open files 10 -> 40",
        "tasks: 6 more of live, 2 more of submit",
        "threads 12 -> 99",
        "memory of the edge 150 -> 400 MiB",
        "memory of the worker 600 -> 700 MiB",
    ]


async def test_a_short_run_ends_with_nobody_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joins, "WARM_UP_CALLS", 2)
    monkeypatch.setattr(joins, "ENDING_S", 0.5)
    told: list[str] = []
    figures = await run_joins(JoinsBench(tmp_path, minutes=0.02, at_once=2, killed_every=3), told.append)
    assert figures["calls"]["left"] >= 2 and figures["calls"]["killed"] >= 1 and figures["calls"]["failed"] == 0
    assert figures["after"]["counts"]["sessions"] == figures["after"]["counts"]["connections"] == 0
    assert json.loads((tmp_path / "joins.json").read_text("utf-8"))["grown"] == figures["grown"]
    assert told[-1].startswith(("back to", "left behind"))
