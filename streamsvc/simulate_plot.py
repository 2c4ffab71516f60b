"""The plot of a simulation, as SVG: goodput of each policy as bars, and that of the views over time as lines."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from streamsvc.ledger.charts import Scale, tick_labels, ticks
from streamsvc.simulate import Row

WIDTH, HEIGHT, HEAD = 920, 300, 60
LEFT, RIGHT, TOP, BOTTOM = 56, 170, 20, 44
VIDEO, SPEECH = "#1f6fb2", "#d98b2b"
LINES = ("#999999", "#7b5ea7", "#d98b2b", "#3f8f4f", "#c4462d", "#1f6fb2")


def _grid(y: Scale, right: float) -> list[str]:
    rows = ticks(0, 1, 5)
    return [
        f'<path d="M{LEFT} {y(v):.1f}H{right}" stroke="#ddd"/>'
        f'<text x="{LEFT - 8}" y="{y(v) + 4:.1f}" text-anchor="end">{text}</text>'
        for v, text in zip(rows, tick_labels(rows), strict=True)
    ]


def _bars(rows: Sequence[Row]) -> list[str]:
    y = Scale(0, 1, HEIGHT - BOTTOM, TOP)
    step = (WIDTH - RIGHT - LEFT) / len(rows)
    out = _grid(y, WIDTH - RIGHT)
    for i, row in enumerate(rows):
        for k, (value, colour) in enumerate(((row.video, VIDEO), (row.speech, SPEECH))):
            if value is None:
                continue
            x, wide = LEFT + step * (i + 0.15 + 0.35 * k), step * 0.33
            out.append(
                f'<rect x="{x:.1f}" y="{y(value):.1f}" width="{wide:.1f}" height="{y.start - y(value):.1f}" '
                f'fill="{colour}"/><text x="{x + wide / 2:.1f}" y="{y(value) - 4:.1f}" text-anchor="middle" '
                f'font-size="11">{value:.2f}</text>'
            )
        centre = LEFT + step * (i + 0.5)
        out.append(f'<text x="{centre:.1f}" y="{y.start + 18}" text-anchor="middle">{row.policy}</text>')
    for k, (name, colour) in enumerate((("video", VIDEO), ("speech", SPEECH))):
        at = TOP + 20 + 22 * k
        out.append(f'<rect x="{WIDTH - RIGHT + 16}" y="{at - 10}" width="12" height="12" fill="{colour}"/>')
        out.append(f'<text x="{WIDTH - RIGHT + 34}" y="{at}">{name}</text>')
    return out


def _over_time(rows: Sequence[Row]) -> list[str]:
    seconds = max(len(r.video_by_second) for r in rows)
    x, y = Scale(0, seconds, LEFT, WIDTH - RIGHT), Scale(0, 1, HEIGHT - BOTTOM, TOP)
    out = _grid(y, WIDTH - RIGHT)
    marks = ticks(0, seconds, 10, whole=True)
    for v, text in zip(marks, tick_labels(marks), strict=True):
        out.append(f'<text x="{x(v):.1f}" y="{y.start + 18}" text-anchor="middle">{text}</text>')
    out.append(f'<text x="{x.end}" y="{y.start + 36}" text-anchor="end">captured at, s</text>')
    for i, row in enumerate(rows):
        colour = LINES[i % len(LINES)]
        points = " ".join(f"{x(t + 0.5):.1f},{y(v):.1f}" for t, v in enumerate(row.video_by_second) if v is not None)
        out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        at = TOP + 20 + 22 * i
        out.append(f'<path d="M{WIDTH - RIGHT + 12} {at - 4}h18" stroke="{colour}" stroke-width="3"/>')
        out.append(f'<text x="{WIDTH - RIGHT + 36}" y="{at}">{row.policy}</text>')
    return out


def goodput_plot(title: str, rows: Sequence[Row]) -> str:
    """Return an SVG document of the rows of one scenario."""
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEAD + 2 * HEIGHT}" font-family="sans-serif" '
        f'font-size="13"><rect width="{WIDTH}" height="{HEAD + 2 * HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="26" font-size="16" font-weight="bold">{escape(title)}</text>',
        f'<text x="{LEFT}" y="48">goodput by policy; below, that of the views over time</text>',
        f'<g transform="translate(0 {HEAD})">',
        *_bars(rows),
        f'</g><g transform="translate(0 {HEAD + HEIGHT})">',
        *_over_time(rows),
        "</g>",
    ]
    return "\n".join(out) + "\n</svg>\n"
