"""The figures of `bench view` as Markdown tables: formatting only, every number is in the figures already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Rows = Sequence[dict[str, Any]]
Column = tuple[str, str, Callable[[float], str]]
"""Heading, key, format."""


def _db(value: float) -> str:
    return f"{value:.2f}"


def _unit(value: float) -> str:
    return f"{value:.4f}"


def _ms(value: float) -> str:
    return f"{value:.1f}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


SCORES: tuple[Column, ...] = (
    ("person PSNR", "foreground_psnr", _db),
    ("where seen", "seen_psnr", _db),
    ("SSIM", "foreground_ssim", _unit),
    ("MS-SSIM", "foreground_ms_ssim", _unit),
    ("picture PSNR", "picture_psnr", _db),
    ("SSIM", "picture_ssim", _unit),
    ("MS-SSIM", "picture_ms_ssim", _unit),
    ("edge error", "edge_error", _db),
    ("coverage", "coverage", _percent),
    ("matte error", "matte_error", _unit),
    ("at the outline", "matte_edge_error", _unit),
    ("worst gain dB", "worst_gain_db", _db),
)
AGAINST: tuple[Column, ...] = (
    ("over plain SGBM dB", "plain_gain_db", _db),
    ("its edge error x", "plain_edge_ratio", _db),
    ("its flicker x", "plain_flicker_ratio", _db),
    ("gain dB", "gain_db", _db),
    ("below oracle dB", "below_oracle_db", _db),
    ("where seen", "below_oracle_seen_db", _db),
    ("edge error x", "edge_ratio", _db),
    ("flicker x", "flicker_ratio", _db),
    ("blend adds dB", "blend_db", _db),
    ("4 cameras add dB", "four_cameras_db", _db),
    ("calibration noise costs dB", "noise_loss_db", _db),
    ("not aligned dB", "told_loss_db", _db),
    ("equal colours add dB", "alike_db", _db),
)
FLICKER: tuple[Column, ...] = (("flicker of the person", "flicker", _db), ("at the outline", "edge_flicker", _db))
MILLISECONDS: tuple[Column, ...] = (
    ("p50 ms", "p50", _ms),
    ("p95 ms", "p95", _ms),
    ("p99 ms", "p99", _ms),
    ("core ms", "core_p50", _ms),
    ("x top classical", "ratio", _db),
)
DISPARITY: tuple[Column, ...] = (
    ("bad-2", "bad2", _percent),
    ("bad-1", "bad1", _percent),
    ("EPE px", "epe", _db),
    ("holes", "holes", _percent),
)
PERSON: tuple[Column, ...] = tuple((f"person {heading}", f"foreground_{key}", f) for heading, key, f in DISPARITY)
COST: tuple[Column, ...] = (("core ms, both directions", "core_ms", _ms), ("rectify ms", "rectify_ms", _ms))


def table(rows: Rows, columns: Sequence[Column], names: Sequence[str] = ("row",)) -> list[str]:
    """Return a Markdown table: the `names` of a row first, then `columns`; "-" where there is no value."""
    cells = [[*names, *(heading for heading, _, _ in columns)]]
    for row in rows:
        values = (row.get(key) for _, key, _ in columns)
        shown = ["-" if v is None else f(v) for v, (_, _, f) in zip(values, columns, strict=True)]
        cells.append([*(str(row[name]) for name in names), *shown])
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    left = len(names)

    def join(line: Sequence[str]) -> str:
        padded = (c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        return f"| {' | '.join(padded)} |"

    rule = (f"{'-' * w}" if i < left else f"{'-' * (w - 1)}:" for i, w in enumerate(widths))
    return [join(cells[0]), f"| {' | '.join(rule)} |", *(join(line) for line in cells[1:])]


def report(figures: dict[str, Any]) -> list[str]:
    """Return the lines of the Markdown report."""
    out = ["# bench view", ""]
    out += [f"- {label}: {value}" for label, value in figures["conditions"].items()]
    reference = figures["reference"]

    def section(title: str, note: str, lines: list[str]) -> None:
        out.extend(["", f"## {title}", "", *([note, ""] if note else []), *lines])

    for size in figures["sizes"]:
        here = [r for r in figures["against"] if r["size"] == size]
        section(
            f"{size}: every rung against plain SGBM, against {reference} and against the oracle",
            "Two cameras 20 degrees apart, the target half-way, dB on the person. `x`: times that row's. Plain SGBM "
            f"is OpenCV's, matched as wide as the top rung; {reference} is our best without nets.",
            table(here, AGAINST),
        )
    for size in figures["sizes"]:
        for case in dict.fromkeys(r["case"] for r in figures["scores"]):
            rows = [r for r in figures["scores"] if (r["size"], r["case"]) == (size, case)]
            note = (
                f"Means over {rows[0]['scenes']} scenes. Where seen: the person's pixels that a camera sees. "
                f"Worst gain: the least gain over {reference} on a scene."
            )
            section(f"{size}, {case}", note, table(rows, SCORES))
    for size in figures["sizes"]:
        rows = [r for r in figures["flicker"] if r["size"] == size]
        section(
            f"{size}: flicker", "Standard deviation over noisy frames of a still scene, of 255.", table(rows, FLICKER)
        )
    for size in figures["sizes"]:
        rows = [r for r in figures["milliseconds"] if r["size"] == size]
        section(f"{size}: milliseconds", "", table(rows, MILLISECONDS, ("case", "row", "stage")))
    for size in figures["sizes"]:
        rows = [r for r in figures["disparity"] if r["size"] == size]
        section(f"{size}: disparity of the left camera", "Dense, in its pixels.", table(rows, (*DISPARITY, *PERSON)))
    note = "A real pair that nothing was trained on or tuned to. Dense: a hole is bad."
    section(
        "Motorcycle, 368x240: disparity of the left camera", note, table(figures["motorcycle"], (*DISPARITY, *COST))
    )
    return out
