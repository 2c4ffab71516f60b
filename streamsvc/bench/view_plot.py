"""Cost against quality as a plot, SVG written by hand: each rung a point, the trivial rows and the oracle as lines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 860, 520
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 50, 60


@dataclass(frozen=True, slots=True)
class Point:
    """One rung: what it costs (ms, > 0), what it's worth (dB), its name, and which colour it has."""

    cost: float
    quality: float
    name: str
    learned: bool


def _nice_ticks(low: float, high: float) -> list[float]:
    """Powers of two times ten to the n that lie within [low, high]: the marks of a logarithmic axis."""
    marks = [m * 10.0**n for n in range(-3, 6) for m in (1, 2, 5)]
    return [m for m in marks if low <= m <= high]


def cost_plot(title: str, series: Mapping[str, Sequence[Point]], levels: Mapping[str, float]) -> str:
    """Return the plot: `series` are points by label, joined, `levels` are dB by label, dashed."""
    points = [p for s in series.values() for p in s]
    low_x, high_x = min(p.cost for p in points) / 1.5, max(p.cost for p in points) * 1.5
    values = [p.quality for p in points] + list(levels.values())
    low_y, high_y = math.floor(min(values)) - 0.5, math.ceil(max(values)) + 0.5
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def x(cost: float) -> float:
        return LEFT + (right - LEFT) * math.log(cost / low_x) / math.log(high_x / low_x)

    def y(quality: float) -> float:
        return bottom - (bottom - TOP) * (quality - low_y) / (high_y - low_y)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="13"><rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="28" font-size="16" font-weight="bold">{escape(title)}</text>',
    ]
    for mark in _nice_ticks(low_x, high_x):
        out.append(f'<path d="M{x(mark):.1f} {TOP}V{bottom}" stroke="#ddd"/>')
        out.append(f'<text x="{x(mark):.1f}" y="{bottom + 18}" text-anchor="middle">{mark:g}</text>')
    step = 1 if high_y - low_y <= 10 else 2
    for mark_y in range(math.ceil(low_y), math.floor(high_y) + 1, step):
        out.append(f'<path d="M{LEFT} {y(mark_y):.1f}H{right}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y(mark_y) + 4:.1f}" text-anchor="end">{mark_y}</text>')
    out.append(
        f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 16}" text-anchor="middle">milliseconds a view (p50)</text>'
    )
    middle = (TOP + bottom) / 2
    out.append(f'<text transform="translate(22 {middle}) rotate(-90)" text-anchor="middle">foreground PSNR (dB)</text>')
    for label, quality in levels.items():
        out.append(
            f'<path d="M{LEFT} {y(quality):.1f}H{right}" stroke="#777" stroke-dasharray="6 4"/>'
            f'<text x="{right + 8}" y="{y(quality) + 4:.1f}" fill="#555">{escape(label)} {quality:.1f}</text>'
        )
    for label, row in series.items():
        ordered = sorted(row, key=lambda p: p.cost)
        for learned, colour in ((False, "#1f6fb2"), (True, "#c4462d")):
            part = [p for p in ordered if p.learned == learned]
            path = "L".join(f"{x(p.cost):.1f} {y(p.quality):.1f}" for p in part)
            if len(part) > 1:
                out.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
            for p in part:
                out.append(
                    f'<circle cx="{x(p.cost):.1f}" cy="{y(p.quality):.1f}" r="5" fill="{colour}"/>'
                    f'<text x="{x(p.cost) + 8:.1f}" y="{y(p.quality) - 8:.1f}" fill="{colour}">'
                    f"{escape(p.name)}{escape(label and f' {label}')}</text>"
                )
    for i, (label, colour) in enumerate((("classical", "#1f6fb2"), ("learned", "#c4462d"))):
        at = TOP + 14 + 20 * i
        out.append(f'<circle cx="{right + 18}" cy="{at - 4}" r="5" fill="{colour}"/>')
        out.append(f'<text x="{right + 30}" y="{at}">{label}</text>')
    return "\n".join(out) + "\n</svg>\n"
