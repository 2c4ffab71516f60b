"""Latency of every service as a plot: per stage, the share of pictures that were there after so many ms."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from streamsvc.bench.services_figures import ServiceRow
from streamsvc.bench.share_plot import HEIGHT, TOP, Curve, axis_of, page, panel

WIDTH, HEAD = 1000, 48
LEFT, RIGHT = 62, 240
COLOURS = ("#1f6fb2", "#c4462d", "#d88a00", "#3d8f5a", "#8a55b0", "#666666")


def services_plot(title: str, rows: Sequence[ServiceRow], budget_ms: float) -> str:
    """Return an SVG of one panel a stage, all on one logarithmic axis; the dots are medians."""
    services = list(dict.fromkeys(r.service for r in rows))
    curves = [Curve(COLOURS[services.index(r.service) % len(COLOURS)], r.latencies_ms, r.captured) for r in rows]
    x = axis_of(curves, LEFT, WIDTH - RIGHT)
    stages = list(dict.fromkeys(r.stage_ms for r in rows))
    out = []
    for i, stage in enumerate(stages):
        part = [(r, c) for r, c in zip(rows, curves, strict=True) if r.stage_ms == stage]
        # Ours is drawn last, so that it is seen where curves meet.
        behind = [c for _, c in reversed(part)]
        name = f"a stage of {stage:g} ms" if stage else "no stage"
        out += [f'<g transform="translate(0 {HEAD + i * HEIGHT})">', *panel(name, behind, x)]
        out += _legend(part, budget_ms)
        out.append("</g>")
    return page(WIDTH, HEAD + HEIGHT * len(stages), title, LEFT, out)


def _legend(part: Sequence[tuple[ServiceRow, Curve]], budget_ms: float) -> list[str]:
    left = WIDTH - RIGHT + 16
    out = [f'<text x="{left}" y="{TOP + 8}" fill="#555">p50, in {budget_ms:g} ms</text>']
    for i, (row, curve) in enumerate(part):
        down = TOP + 34 + 26 * i
        p50 = "nothing came" if row.p50_ms is None else f"{row.p50_ms:,.0f} ms, {100 * (row.goodput or 0):.0f} %"
        out.append(f'<circle cx="{left + 5}" cy="{down - 5}" r="5" fill="{curve.colour}"/>')
        out.append(f'<text x="{left + 16}" y="{down}">{escape(row.service)}: {p50}</text>')
    return out
