"""What a probe found: lines for the terminal, and `probe.json`, `probe.jsonl`, `report.html`, `latency.png`,
`seen.png`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np

from streamsvc.frames import Pixels
from streamsvc.ledger import Record
from streamsvc.ledger.charts import number
from streamsvc.ledger.figures import summarise
from streamsvc.ledger.report import render
from streamsvc.probe.figures import Probed

WORDS = {
    "good": "GOOD: enough of what was captured was seen in time",
    "poor": "POOR: too little of what was captured was seen in time",
    "refused": "NO VERDICT: the figures contradict each other or say too little",
}
COLOURS = ((46, 110, 183), (216, 138, 0))


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{number(value)} ms"


def rows(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what was found as (name, text)."""
    view, clock, sound, speech = (figures[k] for k in ("view", "clock", "sound", "speech"))
    goodput = "-" if view["goodput"] is None else f"{100 * view['goodput']:.1f} %"
    found = [
        ("in time", f"{goodput} of {view['due']} captures within {number(view['budget_ms'] or 0)} ms"),
        (
            "capture to display",
            f"p50 {_ms(view['latency_p50_ms'])}  p95 {_ms(view['latency_p95_ms'])}  "
            f"p99 {_ms(view['latency_p99_ms'])}  max {_ms(view['latency_max_ms'])}",
        ),
        ("pictures", f"{view['fps']:.1f} a second, longest gap {_ms(view['longest_gap_ms'])}"),
        ("freezes", f"{view['freezes']}, {_ms(view['frozen_ms'])} in all"),
        *_quality(view),
        ("late, never seen", f"{view['late']}, {view['dropped']}" + _reasons(view["misses"])),
        ("cards", f"{view['unreadable']} not readable, {view['strange']} of no capture"),
    ]
    if view["rungs"]:
        found.append(("rungs", "  ".join(f"{name} {n}" for name, n in view["rungs"].items())))
    if clock["rtp_minus_card_p50_ms"] is not None:
        found.append(
            (
                "RTP's capture clock",
                f"{clock['rtp_minus_card_p50_ms']:+.1f} ms from the card's (p50), "
                f"{clock['rtp_minus_card_p95_ms']:.1f} ms off at most (p95)",
            )
        )
    if clock["error_ms"] is None:
        found.append(("clock error", "unknown: every latency is of two clocks that may differ by any amount"))
    elif clock["error_ms"]:
        found.append(("clock error", f"{clock['error_ms']:.2f} ms: every latency is give or take this"))
    if sound:
        found.append(
            (
                "sound",
                f"p50 {_ms(sound['p50_ms'])}  p95 {_ms(sound['p95_ms'])}; {sound['n']} chirps heard, "
                f"{sound['lost']} lost",
            )
        )
        if sound["skew_p50_ms"] is not None:
            found.append(
                (
                    "sound after picture",
                    f"{sound['skew_p50_ms']:+.0f} ms (p50), {sound['skew_worst_ms']:+.0f} ms at worst",
                )
            )
    if speech:
        found.append(
            (
                "captions",
                f"{speech['words']} words, {_ms(speech['caption_lag_p50_ms'])} (p50) and "
                f"{_ms(speech['caption_lag_p95_ms'])} (p95) after what they translate",
            )
        )
    if "first_heard" in speech:
        first, after, caption = speech["first_heard"], speech["after_first_word"], speech["first_caption"]
        never = f", {first['lost']} of them never heard" if first["lost"] else ""
        from_word = f"; after its first word ends {_ranked(after)}" if after["n"] + after["lost"] else ""
        found.append(
            (
                "voice",
                f"first heard {_ranked(first)} after a phrase begins, its first caption {_ms(caption['p50_ms'])}"
                f"{from_word}; {first['n'] + first['lost']} of {speech['phrases']} could be told{never}",
            )
        )
    return found


def _ranked(stream: Mapping[str, Any]) -> str:
    """Median and 95th percentile of delays of which the lost ones are the longest."""

    def one(key: str) -> str:
        return "never" if stream[key] is None and stream["lost"] else _ms(stream[key])

    return f"{one('p50_ms')} (p50), {one('p95_ms')} (p95)"


def _quality(view: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = []
    if view["psnr_db"] is not None:
        found.append(("quality", f"PSNR {view['psnr_db']:.1f} dB (p50, brightness, against what the camera saw)"))
    if view["mbit_per_s"] is not None:
        found.append(("rate", f"{view['mbit_per_s']:.2f} Mb/s of video"))
    return found


def _reasons(misses: Mapping[str, int]) -> str:
    told = ", ".join(f"{name} {n}" for name, n in misses.items())
    return f" ({told})" if told else ""


def table(figures: Mapping[str, Any]) -> list[str]:
    """Return what was found as lines to read, the verdict last."""
    lines = [f"{name:22} {text}" for name, text in rows(figures)]
    if figures["stages"]:
        lines.append(f"{'where the time goes':22} p50 / p95 ms")
        lines += [
            f"  {name:32} {number(s['p50_ms']):>6} / {number(s['p95_ms'])}" for name, s in figures["stages"].items()
        ]
    lines += [f"{'notice':22} {text}" for text in figures["notices"]]
    lines.append(WORDS[figures["verdict"]])
    lines += [f"  {d['check']}: {d['finding']}" for d in figures["doubts"]]
    return lines


def compare_table(figures: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the first probe's figures beside the others', with the ratio of each to the first."""
    names = [f["conditions"]["url"] for f in figures]
    width = max(22, *(len(n) + 2 for n in names))
    lines = [f"{'':24}" + "".join(f"{n:>{width}}" for n in names)]
    picks: list[tuple[str, str, bool]] = [
        ("goodput", "in time", False),
        ("latency_p50_ms", "p50 ms", True),
        ("latency_p95_ms", "p95 ms", True),
        ("latency_p99_ms", "p99 ms", True),
        ("longest_gap_ms", "longest gap ms", True),
        ("fps", "pictures a second", False),
        ("frozen_ms", "frozen ms", False),
        ("psnr_db", "PSNR dB", False),
        ("mbit_per_s", "Mb/s", False),
    ]
    for key, label, ratio in picks:
        values = [f["view"][key] for f in figures]
        cells = []
        for i, value in enumerate(values):
            text = "-" if value is None else f"{value:.3f}" if key == "goodput" else number(value)
            if i and ratio and value and values[0]:
                text += f" ({value / values[0]:.2f} x)"
            cells.append(f"{text:>{width}}")
        lines.append(f"{label:24}" + "".join(cells))
    lines.append(f"{'verdict':24}" + "".join(f"{f['verdict']:>{width}}" for f in figures))
    return lines


def write(out: Path, probes: Sequence[Probed]) -> Path:
    """Write everything into `out` and return the report's path; further probes get files `2.report.html` and so on."""
    out.mkdir(parents=True, exist_ok=True)
    for i, probed in enumerate(probes):
        prefix = f"{i + 1}." if i else ""
        (out / f"{prefix}probe.json").write_text(json.dumps(probed.figures, indent=2, default=str) + "\n", "utf-8")
        lines = [msgspec.json.encode(r) + b"\n" for r in probed.records]
        (out / f"{prefix}probe.jsonl").write_bytes(b"".join(lines))
        seen = None if probed.seen is None else out / f"{prefix}seen.png"
        if probed.seen is not None and seen is not None:
            cv2.imwrite(str(seen), cv2.cvtColor(probed.seen, cv2.COLOR_RGB2BGR))
        (out / f"{prefix}report.html").write_text(_page(probed, seen), "utf-8")
    cv2.imwrite(str(out / "latency.png"), cv2.cvtColor(picture(probes), cv2.COLOR_RGB2BGR))
    return out / "report.html"


def _page(probed: Probed, seen: Path | None) -> str:
    figures = probed.figures
    told = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in rows(figures))
    doubts = "".join(f"<p>{escape(d['check'])}: {escape(d['finding'])}</p>" for d in figures["doubts"])
    shown = "" if seen is None else f'<p><img src="{escape(seen.name)}" alt="the last view whose card was read"></p>'
    media = (
        f"<section><h2>{escape(WORDS[figures['verdict']])}</h2>{doubts}"
        "<p>Latency is from the instant that the clock card in the picture shows to the instant at which that picture "
        "was decoded here.</p>"
        f"<dl>{told}</dl>{shown}</section>"
    )
    where = {k: str(v) for k, v in figures["conditions"].items()}
    return render(probed.records, summarise(probed.records), title="streamsvc probe", where=where, media=media)


def picture(probes: Sequence[Probed]) -> Pixels:
    """Return latency over time (dots) and its distribution (lines) of every probe, (H, W, 3) uint8 RGB."""
    width, height, left, bottom = 1200, 420, 70, 370
    canvas = np.full((height, width, 3), 255, np.uint8)
    series = [_series(p.records) for p in probes]
    values = [ms for s in series for _, ms in s]
    budget = max((p.figures["view"]["budget_ms"] or 0.0 for p in probes), default=0.0)
    top = max(10.0, min(2.5 * (np.percentile(values, 95) if values else budget), max(values, default=budget) * 1.1))
    end = max((t for s in series for t, _ in s), default=1.0) or 1.0
    split = 800

    def y(ms: float) -> int:
        return round(bottom - (bottom - 40) * min(ms, top) / top)

    def text(what: str, at: tuple[int, int], colour_of: tuple[int, int, int] = (90, 90, 90)) -> None:
        cv2.putText(canvas, what, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour_of, 1, cv2.LINE_AA)

    for k in range(6):
        ms = top * k / 5
        cv2.line(canvas, (left, y(ms)), (width - 20, y(ms)), (232, 232, 232), 1)
        text(f"{ms:.0f}", (24, y(ms) + 4))
    if budget < top:
        cv2.line(canvas, (left, y(budget)), (width - 20, y(budget)), (194, 49, 74), 1, cv2.LINE_AA)
        text(f"budget {budget:.0f} ms", (left + 4, y(budget) - 5), (194, 49, 74))
    for i, (probed, points) in enumerate(zip(probes, series, strict=True)):
        colour_of = COLOURS[i % len(COLOURS)]
        for t, ms in points:
            cv2.circle(canvas, (left + round((split - left - 20) * t / end), y(ms)), 2, colour_of, -1, cv2.LINE_AA)
        ordered = sorted(ms for _, ms in points)
        due = max(len(probed.records), 1)
        line = [
            (split + round((width - 20 - split) * (n + 1) / due), y(ms)) for n, ms in enumerate(ordered) if ms <= top
        ]
        if line:
            cv2.polylines(canvas, [np.array(line, np.int32)], False, colour_of, 2, cv2.LINE_AA)
        text(probed.figures["conditions"]["url"], (left + 360 * i, 22), colour_of)
    cv2.line(canvas, (split, 40), (split, bottom), (180, 180, 180), 1)
    text("ms", (24, 22))
    text(f"capture to display, over {end:.0f} s", (left, height - 22))
    text("share of what was due, 0 to 100 %", (split + 4, height - 22))
    return canvas


def _series(records: Sequence[Record]) -> list[tuple[float, float]]:
    first = records[0].capture_ns if records else 0
    return [
        ((r.capture_ns - first) / 1e9, (r.displayed_ns - r.capture_ns) / 1e6)
        for r in records
        if r.displayed_ns is not None
    ]
