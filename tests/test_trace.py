"""A ledger as a trace: frames and stages where they were, nothing drawn over something else."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsvc.cli import main
from streamsvc.ledger import LedgerError, Record, Stage
from streamsvc.ledger.trace import events, write_trace

MS = 1_000_000


def frame(id: int, capture_ms: int, shown_ms: int | None, *stages: tuple[str, int, int], stream: str = "v") -> Record:
    return Record(
        session="s", stream=stream, id=id, capture_ns=capture_ms * MS, deadline_ns=(capture_ms + 100) * MS, rung="net",
        outcome="dropped" if shown_ms is None else "shown", reason="hopeless" if shown_ms is None else None,
        displayed_ns=None if shown_ms is None else shown_ms * MS,
        stages=tuple(Stage(n, a * MS, b * MS) for n, a, b in stages),
    )  # fmt: skip


def test_a_frame_has_its_stages_in_it_and_its_facts() -> None:
    found = list(events([frame(3, 1000, 1060, ("receive", 1000, 1010), ("blend", 1020, 1050))]))
    assert found[0]["args"] == {"name": "s/v"}
    whole, receive, blend, counter = found[1:]
    assert (whole["name"], whole["ts"], whole["dur"]) == ("net shown", 0.0, 60_000.0)
    assert whole["args"]["latency_ms"] == 60.0 and whole["args"]["slack_ms"] == 40.0 and whole["args"]["id"] == 3
    assert [(e["name"], e["ts"], e["dur"], e["tid"]) for e in (receive, blend)] == [
        ("receive", 0.0, 10_000.0, whole["tid"]),
        ("blend", 20_000.0, 30_000.0, whole["tid"]),
    ]
    assert counter["args"] == {"ms": 60.0}


def test_a_dropped_frame_says_why_where_its_way_ended() -> None:
    last = list(events([frame(1, 0, None, ("receive", 0, 10))]))[-1]
    assert (last["ph"], last["name"], last["ts"]) == ("i", "hopeless", 10_000.0)


spans = st.tuples(
    st.integers(0, 300), st.integers(0, 120), st.lists(st.tuples(st.integers(0, 100), st.integers(0, 60)))
)


@given(st.lists(spans, max_size=20))
def test_what_is_on_one_row_never_overlaps_except_a_stage_in_its_frame(made: list) -> None:
    records = [
        frame(i, at, at + long, *((f"s{k}", at + a, at + a + b) for k, (a, b) in enumerate(stages)))
        for i, (at, long, stages) in enumerate(made)
    ]
    rows: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
    for e in events(records):
        if e["ph"] == "X" and (e["cat"] != "stage" or e["tid"] % 2 == 1):
            rows[e["cat"], e["tid"]].append((e["ts"], e["ts"] + e["dur"]))
    for spans_of in rows.values():
        assert all(a[1] <= b[0] + 1e-6 for a, b in pairwise(sorted(spans_of)))


def test_report_writes_page_and_trace_from_any_ledger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger, trace = tmp_path / "a.jsonl", tmp_path / "made" / "trace.json"
    records = [frame(i, 66 * i, 66 * i + 50, ("blend", 66 * i, 66 * i + 20)) for i in range(30)]
    ledger.write_bytes(b"".join(msgspec.json.encode(r) + b"\n" for r in records))
    with pytest.raises(SystemExit) as e:
        main(["report", str(ledger), "--trace", str(trace)])
    said = capsys.readouterr().out
    assert e.value.code == 0 and "100.0% of the views in time" in said and "p50 50 ms" in said
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")
    assert sum(e["ph"] == "X" for e in json.loads(trace.read_text())["traceEvents"]) == 60


def test_a_damaged_or_missing_ledger_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = tmp_path / "b.jsonl"
    damaged.write_text('{"v": 1}\n')
    for path in (damaged, tmp_path / "missing.jsonl"):
        with pytest.raises(SystemExit) as e:
            main(["report", str(path)])
        error = capsys.readouterr().err.strip()
        assert e.value.code == 2 and str(path) in error and "\n" not in error
    with pytest.raises(LedgerError, match="can't be written"):
        write_trace([], damaged / "trace.json")


def test_an_empty_ledger_is_an_empty_trace(tmp_path: Path) -> None:
    write_trace([], tmp_path / "t.json")
    assert json.loads((tmp_path / "t.json").read_text())["traceEvents"] == []
