"""The figures of `bench speech` as Markdown tables: formatting only, every number is in the figures already."""

from __future__ import annotations

from typing import Any

from streamsvc.bench.speech_data import REPORT
from streamsvc.bench.view_report import Column, table


def _number(value: float) -> str:
    return f"{value:.1f}"


def _percent(value: float) -> str:
    return f"{100 * value:.0f}"


def _seconds(value: float) -> str:
    return f"{value / 1000:.2f}"


def _ratio(value: float) -> str:
    return f"{value:.2f}"


COLUMNS: tuple[Column, ...] = (
    ("chrF", "chrf", _number),
    ("% of offline", "chrf_share", _percent),
    ("BLEU", "bleu", _number),
    ("% of offline", "bleu_share", _percent),
    ("LAAL s", "LAAL", _seconds),
    ("with compute", "LAAL_CA", _seconds),
    ("first word s", "StartOffset_CA", _seconds),
    ("last word s after the end", "EndOffset_CA", _seconds),
    ("words / reference", "word_ratio", _ratio),
    ("real-time factor", "real_time_factor", _ratio),
)
HEADLINE = ("chrf_share", "bleu_share", "LAAL", "LAAL_CA", "word_ratio")


def _with_intervals(row: dict[str, Any]) -> str:
    parts = []
    for heading, key, form in COLUMNS:
        if key in HEADLINE:
            low, high = row["intervals"][key]
            name = f"{key.removesuffix('_share')} {heading}" if key.endswith("_share") else heading
            parts.append(f"{name} {form(row[key])} [{form(low)}, {form(high)}]")
    return ", ".join(parts)


def report(figures: dict[str, Any]) -> list[str]:
    """Return the lines of the Markdown report."""
    out = ["# bench speech", ""]
    out += [f"- {label}: {value}" for label, value in figures["conditions"].items()]
    out += [f"- {name}: {signature}" for name, signature in figures["signatures"].items()]
    faults = figures["faults"]
    out.append(f"- committed words lost, repeated or changed: {len(faults) or 'none'}")
    out += [f"    - {fault}" for fault in faults[:20]]
    out += ["", "## Targets: chosen on one half, reported on the other", ""]
    for row in figures["headlines"]:
        if row["setting"] is None:
            out.append(f"- {row['kind']}, {row['target']}: no setting is fit (lag, words)")
            continue
        met = f"missed ({'; '.join(row['misses'])})" if row["misses"] else "met"
        out.append(f"- {row['kind']}, {row['target']}: `{row['setting']}`, {met}")
        out.append(f"    - {_with_intervals(row)}; offline {_ratio(row['offline_word_ratio'])}")
    tables: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in figures["rows"]:
        if row["half"] == REPORT:
            tables.setdefault((row["language"], row["kind"]), []).append(row)
    for (language, kind), rows in tables.items():
        rows.sort(key=lambda r: float(r["LAAL_CA"]))
        out += ["", f"## {language}, {kind}: {rows[0]['phrases']} phrases", ""]
        out += table(rows, COLUMNS, ("setting",))
    return out
