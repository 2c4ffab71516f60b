"""What a network did to a run: latency, gaps and freezes, and how it recovered from each change. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from streamsvc.bench.edge_figures import MS, Run, arrivals, captures_seen
from streamsvc.ledger.figures import percentile
from streamsvc.probe.measure import freezes
from streamsvc.shaper import Network

SECOND_NS = 1_000_000_000
LATE_MS = 250.0
"""A picture later than this, after a change of the network, means that the change isn't overcome yet."""


@dataclass(frozen=True, slots=True)
class Change:
    """After rules changed at `at_s` into the run: for how long (s) more than one picture in twenty was later than
    `LATE_MS` in some second (None: until the end or the next change); seconds without a picture in that time; until the
    rate was 0.8 of what it was in the first stage (s, None: never)."""

    at_s: float
    late_for_s: float | None
    empty_seconds: int
    rate_back_s: float | None


@dataclass(frozen=True, slots=True)
class NetworkRow:
    """One side on one network. Latencies are of delivered pictures; `gap_p99_ms` and `longest_gap_ms` are of the times
    between two that were shown; freezes as in W3C's webrtc-stats; `drift_ms` is by how much the median latency of the
    last quarter is above that of the second."""

    network: str
    side: str
    captured: int
    delivered: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    gap_p99_ms: float | None
    longest_gap_ms: float | None
    freezes: int
    frozen_ms: float
    drift_ms: float | None
    bits_per_s: float
    changes: tuple[Change, ...]
    shown: tuple[tuple[float, float], ...]
    bits_by_second: tuple[int, ...]
    targets_bps: tuple[int | None, ...]
    voice_word_error: float | None = None

    @property
    def missed(self) -> int:
        """Pictures that never came."""
        return self.captured - self.delivered


def network_row(run: Run, network: Network) -> NetworkRow:
    """Return the figures of one run."""
    came = arrivals(run)
    seen: dict[int, int] = {}
    for (at, _), capture in zip(run.sightings, captures_seen(run.captures, run.sightings), strict=True):
        if capture is not None and run.start_ns <= capture < run.end_ns:
            seen.setdefault(capture, at)
    shown_at = sorted(seen.values())
    # What isn't there at the end froze until the end.
    gaps = [(b - a) / MS for a, b in pairwise([run.start_ns, *shown_at, run.end_ns])]
    count, frozen = freezes([*shown_at, max([run.end_ns, *shown_at])])
    shown = tuple((round((c - run.start_ns) / SECOND_NS, 3), round((at - c) / MS, 2)) for c, at in sorted(seen.items()))
    seconds = (run.end_ns - run.start_ns) / SECOND_NS
    quarters = [[ms for at, ms in shown if int(4 * at / seconds) == quarter] for quarter in range(4)]
    second, last = percentile(quarters[1], 50), percentile(quarters[3], 50)
    return NetworkRow(
        network=network.name,
        side=run.side,
        captured=came.captured,
        delivered=len(seen),
        p50_ms=percentile(came.latencies_ms, 50),
        p95_ms=percentile(came.latencies_ms, 95),
        p99_ms=percentile(came.latencies_ms, 99),
        gap_p99_ms=percentile(gaps, 99),
        longest_gap_ms=max(gaps),
        freezes=count,
        frozen_ms=frozen,
        drift_ms=None if second is None or last is None else last - second,
        bits_per_s=sum(run.bits_by_second) * SECOND_NS / (run.end_ns - run.start_ns),
        changes=_changes(run, network, shown),
        shown=shown,
        bits_by_second=run.bits_by_second,
        targets_bps=run.targets_bps,
    )


def _changes(run: Run, network: Network, shown: Sequence[tuple[float, float]]) -> tuple[Change, ...]:
    warm_up_s = (run.start_ns - run.captures[0]) / SECOND_NS
    end_s = (run.end_ns - run.start_ns) / SECOND_NS
    starts = [at - warm_up_s for at, _ in network.stages]
    first = starts[1] if len(starts) > 1 else end_s
    usual = percentile(run.bits_by_second[: max(1, int(first))], 50) or 0.0
    changes = []
    for start, until in pairwise([*(s for s in starts[1:] if 0 <= s < end_s), end_s]):
        late = empty = 0
        for second in range(int(until - start)):
            at = [ms for capture, ms in shown if second <= capture - start < second + 1]
            if not at:
                empty += 1
            if not at or (percentile(at, 95) or 0.0) > LATE_MS:
                late = second + 1
        back = next(
            (i - start for i in range(int(start), int(until)) if run.bits_by_second[i] >= 0.8 * usual),
            None,
        )
        over = late >= int(until - start)
        changes.append(Change(start, None if over else float(late), empty, back))
    return tuple(changes)


def _text(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


HEADINGS = (
    *("network", "side", "captured", "missed", "p50 ms", "p95", "p99", "gap p99", "longest", "freezes", "frozen s"),
    *("drift ms", "kb/s", "voice WER %"),
)


def network_table(rows: Sequence[NetworkRow]) -> list[str]:
    """Return the rows as lines to read, and a line for every change of a network."""
    cells = [list(HEADINGS)]
    for r in rows:
        voice = "-" if r.voice_word_error is None else f"{100 * r.voice_word_error:.1f}"
        cells.append(
            [
                *(r.network.partition("/")[0][:32], r.side, str(r.captured), str(r.missed)),
                *map(_text, (r.p50_ms, r.p95_ms, r.p99_ms, r.gap_p99_ms, r.longest_gap_ms)),
                *(str(r.freezes), _text(r.frozen_ms / 1e3, 1), _text(r.drift_ms), _text(r.bits_per_s / 1e3)),
                voice,
            ]
        )
    widths = [max(len(line[i]) for line in cells) for i in range(len(HEADINGS))]
    lines = [
        "  ".join(c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in cells
    ]
    for r in rows:
        for c in r.changes:
            late = "until the next change" if c.late_for_s is None else f"for {c.late_for_s:g} s"
            back = "never" if c.rate_back_s is None else f"after {c.rate_back_s:.0f} s"
            lines.append(
                f"{r.network.partition('/')[0]}, {r.side}, change at {c.at_s:.0f} s: over {LATE_MS:g} ms {late}, "
                f"{c.empty_seconds} seconds without a picture, rate of before {back}"
            )
    return lines
