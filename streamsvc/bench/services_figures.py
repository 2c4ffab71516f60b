"""What a probe found of each service, as rows and as a table to read. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streamsvc.probe import Probed


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """One service with one stage. `goodput` is the share of what was captured that was seen in time; latencies (ms) are
    of what was seen at all, `latencies_ms` in ascending order; `missed` was never seen; of `unreadable` pictures the
    card could not be read; the rate is that of the pictures that came back, PSNR is against what the camera saw.
    `misses` counts what was late or missed by the reason that the service gives."""

    service: str
    stage_ms: float
    captured: int
    goodput: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    fps: float
    missed: int
    late: int
    unreadable: int
    longest_gap_ms: float | None
    mbit_per_s: float | None
    psnr_db: float | None
    verdict: str
    doubts: tuple[str, ...]
    misses: dict[str, int]
    latencies_ms: tuple[float, ...]


def service_row(service: str, stage_ms: float, probed: Probed) -> ServiceRow:
    """Return the row of one probe."""
    view = probed.figures["view"]
    seen = [(r.displayed_ns - r.capture_ns) / 1e6 for r in probed.records if r.displayed_ns is not None]
    return ServiceRow(
        service=service,
        stage_ms=stage_ms,
        captured=view["due"],
        goodput=view["goodput"],
        p50_ms=view["latency_p50_ms"],
        p95_ms=view["latency_p95_ms"],
        p99_ms=view["latency_p99_ms"],
        fps=view["fps"],
        missed=view["dropped"],
        late=view["late"],
        unreadable=view["unreadable"],
        longest_gap_ms=view["longest_gap_ms"],
        mbit_per_s=view["mbit_per_s"],
        psnr_db=view["psnr_db"],
        verdict=probed.figures["verdict"],
        doubts=tuple(d["finding"] for d in probed.figures["doubts"]),
        misses=view["misses"],
        latencies_ms=tuple(round(ms, 2) for ms in sorted(seen)),
    )


HEADINGS = (
    *("stage", "service", "in time %", "p50 ms", "p95", "p99", "seen / s", "missed", "late", "captured", "unreadable"),
    *("longest gap ms", "Mb/s", "PSNR dB"),
)


def _text(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def services_table(rows: Sequence[ServiceRow]) -> list[str]:
    """Return the rows as lines to read, and a line for whatever a service tells of its misses and the probe doubts."""
    cells = [list(HEADINGS)]
    for r in rows:
        cells.append(
            [
                *(f"{r.stage_ms:g} ms", r.service, _text(None if r.goodput is None else 100 * r.goodput, 1)),
                *(_text(ms) for ms in (r.p50_ms, r.p95_ms, r.p99_ms)),
                *(_text(r.fps, 1), str(r.missed), str(r.late), str(r.captured), str(r.unreadable)),
                *(_text(r.longest_gap_ms), _text(r.mbit_per_s, 2), _text(r.psnr_db, 1)),
            ]
        )
    widths = [max(len(line[i]) for line in cells) for i in range(len(HEADINGS))]
    lines = [
        "  ".join(c.ljust(w) if i == 1 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in cells
    ]
    for r in rows:
        told = ", ".join(f"{reason} {count}" for reason, count in r.misses.items())
        if r.misses.keys() - {"never seen", "late"}:
            lines.append(f"{r.service}, {r.stage_ms:g} ms: {told}")
        lines += [f"{r.service}, {r.stage_ms:g} ms: doubted, {finding}" for finding in r.doubts]
    return lines
