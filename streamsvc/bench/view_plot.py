"""Cost against quality as a plot, SVG written by hand: each rung a point, what it's compared with as lines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, HEAD = 860, 330, 44
LEFT, RIGHT, TOP, BOTTOM = 70, 170, 34, 52
LINE_HEIGHT = 17
CLASSICAL, LEARNED = "#1f6fb2", "#c4462d"


@dataclass(frozen=True, slots=True)
class Point:
    """One rung: what it costs (ms of one core, > 0), what it's worth (dB), its name, and which colour it has."""

    cost: float
    quality: float
    name: str
    learned: bool


@dataclass(frozen=True, slots=True)
class Plot:
    """The rungs at one size, and dB by label that are drawn as dashed lines; what is said of them in a `note`."""

    points: Sequence[Point]
    levels: Mapping[str, float]
    note: str = ""


def _marks(low: float, high: float) -> list[float]:
    """Round numbers within [low, high] for a logarithmic axis, finer when it spans less than a decade."""
    steps = (1, 2, 5) if high > 12 * low else (1, 1.5, 2, 3, 4, 5, 6, 8)
    return [m * 10.0**n for n in range(-3, 6) for m in steps if low <= m * 10.0**n <= high]


def _apart(places: Sequence[float]) -> list[float]:
    """Return the places of labels moved down where needed, so that none covers the one above."""
    result: list[float] = []
    for place in places:
        result.append(max(place, result[-1] + LINE_HEIGHT) if result else place)
    return result


def _one(title: str, plot: Plot) -> list[str]:
    low_x, high_x = min(p.cost for p in plot.points) / 1.3, max(p.cost for p in plot.points) * 1.3
    values = [p.quality for p in plot.points] + list(plot.levels.values())
    low_y, high_y = math.floor(min(values)) - 0.5, math.ceil(max(values)) + 0.5
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def x(cost: float) -> float:
        return LEFT + (right - LEFT) * math.log(cost / low_x) / math.log(high_x / low_x)

    def y(quality: float) -> float:
        return bottom - (bottom - TOP) * (quality - low_y) / (high_y - low_y)

    centre, middle = (LEFT + right) / 2, (TOP + bottom) / 2
    out = [
        f'<text x="{LEFT}" y="22"><tspan font-weight="bold">{escape(title)}</tspan>  {escape(plot.note)}</text>',
        f'<text x="{centre}" y="{HEIGHT - 10}" text-anchor="middle">core milliseconds a view (p50)</text>',
        f'<text transform="translate(24 {middle}) rotate(-90)" text-anchor="middle">PSNR of the person (dB)</text>',
    ]
    for mark in _marks(low_x, high_x):
        out.append(f'<path d="M{x(mark):.1f} {TOP}V{bottom}" stroke="#ddd"/>')
        out.append(f'<text x="{x(mark):.1f}" y="{bottom + 18}" text-anchor="middle">{mark:g}</text>')
    for number in range(math.ceil(low_y), math.floor(high_y) + 1, 1 if high_y - low_y <= 10 else 2):
        out.append(f'<path d="M{LEFT} {y(number):.1f}H{right}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y(number) + 4:.1f}" text-anchor="end">{number}</text>')
    ranked = sorted(plot.levels.items(), key=lambda level: -level[1])
    for (label, quality), at in zip(ranked, _apart([y(q) for _, q in ranked]), strict=True):
        out.append(f'<path d="M{LEFT} {y(quality):.1f}H{right}" stroke="#777" stroke-dasharray="6 4"/>')
        out.append(f'<text x="{right + 8}" y="{at + 4:.1f}" fill="#555">{escape(label)} {quality:.1f}</text>')
    for learned, colour in ((False, CLASSICAL), (True, LEARNED)):
        part = sorted((p for p in plot.points if p.learned == learned), key=lambda p: p.cost)
        if len(part) > 1:
            path = "L".join(f"{x(p.cost):.1f} {y(p.quality):.1f}" for p in part)
            out.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        for i, p in enumerate(part):
            # Above and below in turn, because rungs that cost nearly the same stand side by side.
            at = y(p.quality) + (-11 if i % 2 == learned else 20)
            out.append(f'<circle cx="{x(p.cost):.1f}" cy="{y(p.quality):.1f}" r="5" fill="{colour}"/>')
            text = f"{escape(p.name)} {p.quality:.1f}"
            out.append(f'<text x="{x(p.cost):.1f}" y="{at:.1f}" fill="{colour}" text-anchor="middle">{text}</text>')
    return out


def cost_plot(title: str, plots: Mapping[str, Plot]) -> str:
    """Return an SVG of one plot below the other, each under its name."""
    height = HEAD + HEIGHT * len(plots)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="13"><style>text{paint-order:stroke;stroke:#fff;stroke-width:3px}</style>'
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{LEFT}" y="30" font-size="16" font-weight="bold">{escape(title)}</text>',
    ]
    for i, (label, colour) in enumerate((("classical", CLASSICAL), ("learned", LEARNED))):
        at = WIDTH - RIGHT - 20 + 90 * i
        out.append(f'<circle cx="{at}" cy="25" r="5" fill="{colour}"/><text x="{at + 10}" y="30">{label}</text>')
    for i, (name, plot) in enumerate(plots.items()):
        out += [f'<g transform="translate(0 {HEAD + i * HEIGHT})">', *_one(name, plot), "</g>"]
    return "\n".join(out) + "\n</svg>\n"
