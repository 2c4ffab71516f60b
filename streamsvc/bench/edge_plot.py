"""Latency of both sides as a plot, SVG written by hand: per case, the share of pictures that were there in time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from streamsvc.bench.edge_figures import OURS, STOCK, Row
from streamsvc.ledger.charts import Scale

WIDTH, HEIGHT, HEAD = 860, 290, 48
LEFT, RIGHT, TOP, BOTTOM = 62, 24, 36, 50
COLOURS = {OURS: "#1f6fb2", STOCK: "#c4462d"}
POINTS = 400


def _panel(title: str, rows: Sequence[Row], x: Scale) -> list[str]:
    y = Scale(0, 100, HEIGHT - BOTTOM, TOP)

    def at(ms: float) -> float:
        return x(math.log10(max(ms, 0.1)))

    out = [
        f'<text x="{LEFT}" y="{TOP - 14}"><tspan font-weight="bold">{escape(title)}</tspan>  '
        "share of all pictures filmed that were there</text>"
    ]
    for share in range(0, 101, 25):
        out.append(f'<path d="M{x.start} {y(share):.1f}H{x.end}" stroke="#ddd"/>')
        out.append(f'<text x="{x.start - 8}" y="{y(share) + 4:.1f}" text-anchor="end">{share} %</text>')
    for mark in (m * 10.0**n for n in range(-1, 5) for m in (1, 2, 5)):
        if x.low <= math.log10(mark) <= x.high:
            out.append(f'<path d="M{at(mark):.1f} {y.start}V{y.end}" stroke="#ddd"/>')
            out.append(f'<text x="{at(mark):.1f}" y="{y.start + 18}" text-anchor="middle">{mark:g}</text>')
    out.append(
        f'<text x="{x.end}" y="{HEIGHT - 12}" text-anchor="end">ms from the camera to the decoded picture</text>'
    )
    for r in rows:
        if r.p50_ms is None:
            continue
        colour, values = COLOURS[r.side], r.latencies_ms
        step = max(1, len(values) // POINTS)
        shown = [(v, i + 1) for i, v in enumerate(values) if i % step == 0 or i == len(values) - 1]
        path = "L".join(f"{at(v):.1f} {y(100 * n / r.captured):.1f}" for v, n in shown)
        out.append(f'<path d="M{path}H{x.end}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out.append(
            f'<circle cx="{at(r.p50_ms):.1f}" cy="{y(50 * r.delivered / r.captured):.1f}" r="4" fill="{colour}"/>'
        )
        left = r.side == OURS
        out.append(
            f'<text x="{at(r.p50_ms) + (-9 if left else 9):.1f}" y="{y(50 * r.delivered / r.captured) - 6:.1f}" '
            f'fill="{colour}" text-anchor="{"end" if left else "start"}">p50 {r.p50_ms:.1f} ms</text>'
        )
    return out


def latency_plot(title: str, rows: Sequence[Row]) -> str:
    """Return an SVG of one panel a size, all on one logarithmic axis; curves of misses stay under 100 %."""
    by_size: dict[str, list[Row]] = {}
    for r in rows:
        by_size.setdefault(r.size, []).append(r)
    low = min((r.latencies_ms[0] for r in rows if r.latencies_ms), default=1.0)
    high = max((r.latencies_ms[-1] for r in rows if r.latencies_ms), default=10.0)
    x = Scale(math.log10(max(low, 0.1) / 2), math.log10(high * 1.2), LEFT, WIDTH - RIGHT)
    height = HEAD + HEIGHT * len(by_size)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="13"><style>text{paint-order:stroke;stroke:#fff;stroke-width:3px}</style>'
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{LEFT}" y="30" font-size="16" font-weight="bold">{escape(title)}</text>',
    ]
    for i, (side, label) in enumerate(((OURS, "ours"), (STOCK, "stock aiortc"))):
        at = WIDTH - RIGHT - 170 + 70 * i
        out.append(f'<circle cx="{at}" cy="25" r="5" fill="{COLOURS[side]}"/><text x="{at + 10}" y="30">{label}</text>')
    for i, (size, part) in enumerate(by_size.items()):
        out += [f'<g transform="translate(0 {HEAD + i * HEIGHT})">', *_panel(size, part, x), "</g>"]
    return "\n".join(out) + "\n</svg>\n"
