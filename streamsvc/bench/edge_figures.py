"""From what was filmed and what was seen to the figures of `bench edge`, and these as a table. Pure.

Latency is from the instant on the card to the decoded picture. Every picture that was handed over counts: one whose
card was never read is a miss.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from streamsvc.ledger.figures import percentile
from streamsvc.scene.card import PERIOD_MS

MS = 1_000_000
OURS, STOCK = "ours", "stock"


@dataclass(frozen=True, slots=True)
class Run:
    """One side, once: instants that were filmed and those (`start_ns` to `end_ns`, half-open) that count; when pictures
    were there and the number on their cards (None: not readable), in order; all ns on one clock. Bits of payload in
    each second that counts, the encoder's targets at the start and after each, and its cap; PSNR (dB) of the luma of
    some pictures; by how much the receiver is wrong (ms) about when each picture was captured, where it says; what was
    heard, (n,) float32 mono at 48 kHz; how late the camera itself was, in ms (p50, p99); FFmpeg's name of the encoder,
    None where it wasn't told."""

    size: tuple[int, int]
    side: str
    captures: tuple[int, ...]
    start_ns: int
    end_ns: int
    sightings: tuple[tuple[int, int | None], ...]
    bits_by_second: tuple[int, ...]
    targets_bps: tuple[int | None, ...]
    cap_bps: int
    psnr_db: tuple[float, ...] = ()
    capture_errors_ms: tuple[float, ...] = ()
    heard: NDArray[np.float32] | None = None
    late_ms: tuple[float | None, float | None] = (None, None)
    encoder: str | None = None


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What became of a run's pictures: how many were `captured`, the latency (ms) of each that came, how many that came
    show no card of an instant that was filmed, and the longest time between two that came (ms)."""

    captured: int
    latencies_ms: tuple[float, ...]
    unreadable: int
    longest_gap_ms: float | None


@dataclass(frozen=True, slots=True)
class Row:
    """One side of a case, all its runs together; latencies and gaps in ms, rates in bits per second."""

    size: str
    side: str
    captured: int
    delivered: int
    unreadable: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    longest_gap_ms: float | None
    psnr_db: float | None
    bits_per_s: float
    target_bps: list[int | None]
    cap_bps: int
    p50_by_run_ms: list[float | None]
    camera_late_ms: list[tuple[float | None, float | None]]
    latencies_ms: list[float]
    capture_error_p50_ms: float | None
    capture_error_p95_ms: float | None

    @property
    def missed(self) -> int:
        """Pictures that never came."""
        return self.captured - self.delivered


@dataclass(frozen=True, slots=True)
class Ratio:
    """Stock over ours at one size: of the medians and of the 95th percentiles, and of the medians run by run."""

    size: str
    p50: float | None
    p95: float | None
    p50_by_run: list[float | None]


def instant_before(number: int, shown_ns: int) -> int:
    """Return the last instant, in whole milliseconds, that a card's number stands for and that isn't after `shown_ns`.

    A millisecond after still counts, because the number is rounded. All in ns.
    """
    shown_ms = shown_ns // MS + 1
    return (shown_ms - (shown_ms - number) % PERIOD_MS) * MS


def captures_seen(captures: Sequence[int], sightings: Sequence[tuple[int, int | None]]) -> list[int | None]:
    """Return which capture each sighting (when, number) is of, None where its card tells none that was filmed."""
    # Captures are at least 16 ms apart, so a neighbouring millisecond can't be another one's.
    by_ms = {round(c / MS) + off: c for c in captures for off in (-1, 0, 1)}
    return [None if n is None else by_ms.get(instant_before(n, shown) // MS) for shown, n in sightings]


def arrivals(run: Run) -> Arrivals:
    """Return what became of the pictures of a run."""
    came: dict[int, int] = {}
    unreadable = 0
    for (shown, _), capture in zip(run.sightings, captures_seen(run.captures, run.sightings), strict=True):
        if capture is not None:
            came.setdefault(capture, shown)
        elif run.start_ns <= shown < run.end_ns:
            unreadable += 1
    due = [c for c in run.captures if run.start_ns <= c < run.end_ns]
    shown_at = sorted(came[c] for c in due if c in came)
    return Arrivals(
        len(due),
        tuple((came[c] - c) / MS for c in due if c in came),
        unreadable,
        max(((b - a) / MS for a, b in pairwise(shown_at)), default=None),
    )


def row(runs: Sequence[Run]) -> Row:
    """Return the figures of the runs of one side of a case; there is at least one."""
    each = [arrivals(run) for run in runs]
    pooled = sorted(x for a in each for x in a.latencies_ms)
    gaps = [a.longest_gap_ms for a in each if a.longest_gap_ms is not None]
    psnr = [x for run in runs for x in run.psnr_db]
    wrong = [x for run in runs for x in run.capture_errors_ms]
    return Row(
        size="{}x{}".format(*runs[0].size),
        side=runs[0].side,
        captured=sum(a.captured for a in each),
        delivered=len(pooled),
        unreadable=sum(a.unreadable for a in each),
        p50_ms=percentile(pooled, 50),
        p95_ms=percentile(pooled, 95),
        p99_ms=percentile(pooled, 99),
        max_ms=percentile(pooled, 100),
        longest_gap_ms=max(gaps, default=None),
        psnr_db=fmean(psnr) if psnr else None,
        bits_per_s=fmean(sum(run.bits_by_second) * 1e9 / (run.end_ns - run.start_ns) for run in runs),
        target_bps=[run.targets_bps[-1] for run in runs],
        cap_bps=runs[0].cap_bps,
        p50_by_run_ms=[percentile(a.latencies_ms, 50) for a in each],
        camera_late_ms=[run.late_ms for run in runs],
        latencies_ms=[round(x, 3) for x in pooled],
        capture_error_p50_ms=percentile(wrong, 50),
        capture_error_p95_ms=percentile(wrong, 95),
    )


def _ratio(over: float | None, under: float | None) -> float | None:
    return over / under if over is not None and under else None


def ratios(rows: Iterable[Row]) -> list[Ratio]:
    """Return stock over ours for every size of which there are both."""
    by_size: dict[str, dict[str, Row]] = {}
    for r in rows:
        by_size.setdefault(r.size, {})[r.side] = r
    result = []
    for size, sides in by_size.items():
        if OURS in sides and STOCK in sides:
            ours, stock = sides[OURS], sides[STOCK]
            by_run = [_ratio(a, b) for a, b in zip(stock.p50_by_run_ms, ours.p50_by_run_ms, strict=True)]
            result.append(Ratio(size, _ratio(stock.p50_ms, ours.p50_ms), _ratio(stock.p95_ms, ours.p95_ms), by_run))
    return result


def _text(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _kilobits(bits: float | None) -> str:
    return "-" if bits is None else f"{bits / 1000:.0f}"


HEADINGS = (
    *("size", "side", "captured", "missed", "unreadable", "p50 ms", "p95", "p99", "max", "gap ms"),
    *("PSNR dB", "kb/s", "target (cap) kb/s"),
)


def table(rows: Sequence[Row]) -> list[str]:
    """Return the rows and their ratios as lines to read."""
    cells = [list(HEADINGS)]
    for r in rows:
        targets = " ".join(_kilobits(t) for t in dict.fromkeys(r.target_bps))
        latencies = (r.p50_ms, r.p95_ms, r.p99_ms, r.max_ms, r.longest_gap_ms, r.psnr_db)
        counts = (r.captured, r.missed, r.unreadable)
        rates = (_kilobits(r.bits_per_s), f"{targets} ({_kilobits(r.cap_bps)})")
        cells.append([r.size, r.side, *map(str, counts), *map(_text, latencies), *rates])
    widths = [max(len(line[i]) for line in cells) for i in range(len(HEADINGS))]
    lines = [
        "  ".join(c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in cells
    ]
    lines += [
        f"{r.size}: {r.side}: the receiver is wrong about when a picture was captured by "
        f"{r.capture_error_p50_ms:.1f} ms (p50), {r.capture_error_p95_ms:.1f} ms (p95)"
        for r in rows
        if r.capture_error_p50_ms is not None and r.capture_error_p95_ms is not None
    ]
    for q in ratios(rows):
        by_run = ", ".join(_text(x, 2) for x in q.p50_by_run)
        lines.append(f"{q.size}: stock / ours {_text(q.p50, 2)} at p50 (by run {by_run}), {_text(q.p95, 2)} at p95")
    return lines
