"""A ledger as a trace for Perfetto or chrome://tracing (Trace Event Format, JSON): every frame with its stages in it.

Each stream is a process. Frames that overlap in time lie on different rows, as few as will do; in a frame lie its
stages, on a row of their own where one began before another had ended. Times count from the first capture.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from streamsvc.ledger.figures import by_stream, latency_ns
from streamsvc.ledger.reader import LedgerError
from streamsvc.ledger.records import Record, Stage


def write_trace(records: Sequence[Record], out: Path) -> None:
    """Write the trace of `records` to `out`; raises LedgerError when that can't be done."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("w", encoding="utf-8") as f:
            f.write('{"displayTimeUnit": "ms", "traceEvents": [\n')
            for i, event in enumerate(events(records)):
                f.write((",\n" if i else "") + json.dumps(event, ensure_ascii=False))
            f.write("\n]}\n")
    except OSError as e:
        raise LedgerError(f"the trace {out} can't be written: {e.strerror}") from None


def _end_ns(record: Record) -> int:
    ends = [s.end_ns for s in record.stages]
    return max([record.capture_ns, *ends, *([] if record.displayed_ns is None else [record.displayed_ns])])


def _begin_ns(record: Record) -> int:
    # A speech pass is recorded with the end of the sound that it translates, and may have begun before that.
    return min([record.capture_ns, *(s.start_ns for s in record.stages)])


def events(records: Sequence[Record]) -> Iterable[dict[str, Any]]:
    """Yield the events, stream by stream, each in the order of time; times in microseconds."""
    if not records:
        return
    zero = min(_begin_ns(r) for r in records)

    def us(ns: int) -> float:
        return (ns - zero) / 1e3

    for pid, (stream, of) in enumerate(by_stream(records).items(), 1):
        yield {"ph": "M", "name": "process_name", "pid": pid, "args": {"name": stream}}
        free: list[int] = []
        for record in sorted(of, key=_begin_ns):
            begin, end = _begin_ns(record), _end_ns(record)
            row = next((i for i, at in enumerate(free) if at <= begin), len(free))
            free[row : row + 1] = [end]
            tid = 2 * row + 1
            yield {
                "ph": "X", "name": _name(record), "cat": record.kind, "pid": pid, "tid": tid, "ts": us(begin),
                "dur": us(end) - us(begin), "args": _facts(record),
            }  # fmt: skip
            for stage, beside in _rows(record.stages):
                yield {
                    "ph": "X", "name": stage.name, "cat": "stage", "pid": pid, "tid": tid + beside,
                    "ts": us(stage.start_ns), "dur": us(stage.end_ns) - us(stage.start_ns),
                }  # fmt: skip
            if record.displayed_ns is None:
                name = record.reason or "dropped"
                yield {"ph": "i", "name": name, "cat": "drop", "s": "t", "pid": pid, "tid": tid, "ts": us(end)}
            elif (latency := latency_ns(record)) is not None:
                yield {
                    "ph": "C", "name": "latency, ms", "pid": pid, "ts": us(record.displayed_ns),
                    "args": {"ms": round(latency / 1e6, 3)},
                }  # fmt: skip


def _name(record: Record) -> str:
    if record.kind == "speech":
        return record.text or "pass"
    return f"{record.rung or 'frame'} {record.outcome}"


def _facts(record: Record) -> dict[str, Any]:
    latency = latency_ns(record)
    facts = {
        "id": record.id,
        "outcome": record.outcome,
        "reason": record.reason,
        "rung": record.rung,
        "cameras": record.cameras or None,
        "latency_ms": None if latency is None else round(latency / 1e6, 3),
        "slack_ms": None if record.displayed_ns is None else round((record.deadline_ns - record.displayed_ns) / 1e6, 3),
        "predicted_ms": None if record.predicted_ns is None else round(record.predicted_ns / 1e6, 3),
        "text": record.text,
    }
    return {k: v for k, v in facts.items() if v is not None}


def _rows(stages: Iterable[Stage]) -> Iterable[tuple[Stage, int]]:
    """Yield the stages with 0, or 1 where one begins before the one on row 0 has ended."""
    until = 0
    for stage in sorted(stages, key=lambda s: s.start_ns):
        if stage.start_ns < until:
            yield stage, 1
        else:
            until = stage.end_ns
            yield stage, 0
