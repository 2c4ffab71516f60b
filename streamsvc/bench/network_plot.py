"""Latency over time on each network, SVG written by hand: a dot a picture, where there is none a freeze is seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from streamsvc.bench.edge_figures import OURS, STOCK
from streamsvc.bench.edge_plot import COLOURS, HEAD, LEFT, RIGHT, WIDTH
from streamsvc.bench.network_figures import NetworkRow
from streamsvc.bench.share_plot import BOTTOM, HEIGHT, TOP
from streamsvc.ledger.charts import Scale, tick_labels, ticks

LOW_MS, HIGH_MS = 2.0, 10_000.0


def _panel(title: str, rows: Sequence[NetworkRow], seconds: float) -> list[str]:
    x = Scale(0, seconds, LEFT, WIDTH - RIGHT)
    y = Scale(math.log10(LOW_MS), math.log10(HIGH_MS), HEIGHT - BOTTOM, TOP)
    out = [f'<text x="{LEFT}" y="{TOP - 14}" font-weight="bold">{escape(title)}</text>']
    for mark in (2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000):
        at = y(math.log10(mark))
        out.append(f'<path d="M{x.start} {at:.1f}H{x.end}" stroke="#ddd"/>')
        out.append(f'<text x="{x.start - 8}" y="{at + 4:.1f}" text-anchor="end">{mark}</text>')
    at_s = ticks(0, seconds, 10)
    for second, label in zip(at_s, tick_labels(at_s), strict=True):
        out.append(f'<text x="{x(second):.1f}" y="{y.start + 18}" text-anchor="middle">{label}</text>')
    out.append(f'<text x="{x.end}" y="{HEIGHT - 12}" text-anchor="end">s; ms from camera to decoded picture</text>')
    for change in rows[0].changes:
        out.append(f'<path d="M{x(change.at_s):.1f} {y.start}V{y.end}" stroke="#888" stroke-dasharray="5 4"/>')
    for row in rows:
        for at, ms in row.shown:
            height = y(math.log10(min(max(ms, LOW_MS), HIGH_MS)))
            out.append(f'<circle cx="{x(at):.1f}" cy="{height:.1f}" r="1.6" fill="{COLOURS[row.side]}"/>')
    return out


def network_plot(title: str, rows: Sequence[NetworkRow], seconds: float) -> str:
    """Return an SVG of one panel a network."""
    by_network: dict[str, list[NetworkRow]] = {}
    for r in rows:
        by_network.setdefault(r.network, []).append(r)
    height = HEAD + HEIGHT * len(by_network)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        f'font-size="13"><rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{LEFT}" y="30" font-size="16" font-weight="bold">{escape(title)}</text>',
    ]
    for i, (side, label) in enumerate(((OURS, "ours"), (STOCK, "stock aiortc"))):
        at = WIDTH - RIGHT - 170 + 70 * i
        out.append(f'<circle cx="{at}" cy="25" r="5" fill="{COLOURS[side]}"/><text x="{at + 10}" y="30">{label}</text>')
    for i, (network, part) in enumerate(by_network.items()):
        # Stock behind ours, so that both are seen.
        behind = sorted(part, key=lambda r: r.side == OURS)
        out += [f'<g transform="translate(0 {HEAD + i * HEIGHT})">', *_panel(network, behind, seconds), "</g>"]
    return "\n".join(out) + "\n</svg>\n"
