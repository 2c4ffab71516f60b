"""Latency of both sides as a plot: per case, the share of pictures that were there in time."""

from __future__ import annotations

from collections.abc import Sequence

from streamsvc.bench.edge_figures import OURS, STOCK, Row
from streamsvc.bench.share_plot import HEIGHT, Curve, axis_of, page, panel, place

WIDTH, HEAD = 860, 48
LEFT, RIGHT = 62, 24
COLOURS = {OURS: "#1f6fb2", STOCK: "#c4462d"}


def _curve(row: Row) -> Curve:
    return Curve(COLOURS[row.side], row.latencies_ms, row.captured)


def latency_plot(title: str, rows: Sequence[Row]) -> str:
    """Return an SVG of one panel a size, all on one logarithmic axis; curves of misses stay under 100 %."""
    by_size: dict[str, list[Row]] = {}
    for r in rows:
        by_size.setdefault(r.size, []).append(r)
    x = axis_of([_curve(r) for r in rows], LEFT, WIDTH - RIGHT)
    out = []
    for i, (side, label) in enumerate(((OURS, "ours"), (STOCK, "stock aiortc"))):
        at = WIDTH - RIGHT - 170 + 70 * i
        out.append(f'<circle cx="{at}" cy="25" r="5" fill="{COLOURS[side]}"/><text x="{at + 10}" y="30">{label}</text>')
    for i, (size, part) in enumerate(by_size.items()):
        out += [f'<g transform="translate(0 {HEAD + i * HEIGHT})">', *panel(size, [_curve(r) for r in part], x)]
        for r in part:
            if r.p50_ms is not None:
                left = r.side == OURS
                across, down = place(_curve(r), r.p50_ms, 0.5, x)
                out.append(
                    f'<text x="{across + (-9 if left else 9):.1f}" y="{down - 6:.1f}" fill="{COLOURS[r.side]}" '
                    f'text-anchor="{"end" if left else "start"}">p50 {r.p50_ms:.1f} ms</text>'
                )
        out.append("</g>")
    return page(WIDTH, HEAD + HEIGHT * len(by_size), title, LEFT, out)
