"""`bench joins`: what counts as left behind, and a short run against a real service."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from streamsvc.bench import joins
from streamsvc.bench.joins import COUNTS, GROWTH_MIB, SPARE, Count, JoinsBench, Memory, grown, run_joins, slopes

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


def test_growth_is_the_slope_after_the_first_third() -> None:
    # Caches fill for ten minutes, then 6 MiB an hour leak from the edge, with some noise, and nothing from the worker.
    memory = [Memory(m, 150 + 5 * min(m, 10) + 0.1 * m + 0.2 * (m % 2), 600.0) for m in range(1, 31)]
    edge, worker = slopes(memory)
    assert edge == pytest.approx(6, abs=0.2) and worker == 0
    assert slopes(memory[:3]) == (None, None), "too few to tell"


async def test_memory_is_taken_down_when_no_call_is_running(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, told = 0, asyncio.Queue[str]()

    def counted(url: str, pid: int) -> Count:
        assert calls == 0
        return BEFORE

    monkeypatch.setattr(joins, "SAMPLE_S", 0.0)
    monkeypatch.setattr(joins, "count", counted)
    pause, memory = joins._Pause(), list[Memory]()

    async def come_and_go() -> None:
        nonlocal calls
        while True:
            async with pause.call():
                calls += 1
                for _ in range(3):
                    await asyncio.sleep(0)
                calls -= 1

    tasks = [asyncio.create_task(come_and_go()) for _ in range(3)]
    tasks.append(asyncio.create_task(joins._watch("http://x", 1, pause, joins._Tally(), 0.0, memory, told.put_nowait)))
    lines = [await told.get() for _ in range(5)]
    for task in tasks:
        task.cancel()
    assert [(m.edge_mib, m.worker_mib) for m in memory[:5]] == [(150.0, 600.0)] * 5
    assert all("edge 150.0 MiB, worker 600.0 MiB" in line for line in lines)


async def test_a_short_run_ends_with_nobody_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joins, "WARM_UP_CALLS", 2)
    monkeypatch.setattr(joins, "ENDING_S", 0.5)
    told: list[str] = []
    figures = await run_joins(JoinsBench(tmp_path, minutes=0.02, at_once=2, killed_every=3), told.append)
    assert figures["calls"]["left"] >= 2 and figures["calls"]["killed"] >= 1 and figures["calls"]["failed"] == 0
    assert figures["after"]["counts"]["sessions"] == figures["after"]["counts"]["connections"] == 0
    assert json.loads((tmp_path / "joins.json").read_text("utf-8"))["grown"] == figures["grown"]
    first, *_, last = figures["memory"]
    assert (first["edge_mib"], last["worker_mib"]) == (figures["before"]["edge_mib"], figures["after"]["worker_mib"])
    assert first["minute"] == 0 < last["minute"]
    assert figures["warm_up_calls"] == 2 and set(figures["mib_an_hour"]) == {"edge", "worker"}
    assert told[-1].startswith(("back to", "left behind"))
