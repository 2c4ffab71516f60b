"""Curves of latency: of all pictures filmed, the share that was there after so many ms. SVG written by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from streamsvc.ledger.charts import Scale

HEIGHT, TOP, BOTTOM = 290, 36, 50
POINTS = 400


@dataclass(frozen=True, slots=True)
class Curve:
    """Latencies (ms, ascending) of what came of `captured` pictures, and the colour to draw them in."""

    colour: str
    latencies_ms: Sequence[float]
    captured: int


def axis_of(curves: Sequence[Curve], start: float, end: float) -> Scale:
    """Return the logarithmic axis, from `start` to `end` in pixels, that holds all curves; it takes log10 of ms."""
    low = min((c.latencies_ms[0] for c in curves if c.latencies_ms), default=1.0)
    high = max((c.latencies_ms[-1] for c in curves if c.latencies_ms), default=10.0)
    return Scale(math.log10(max(low, 0.1) / 2), math.log10(high * 1.2), start, end)


def place(curve: Curve, ms: float, share: float, x: Scale) -> tuple[float, float]:
    """Return where `ms` is on the axis and the `share` of what came of a curve, in pixels."""
    y = Scale(0, 100, HEIGHT - BOTTOM, TOP)
    return x(math.log10(max(ms, 0.1))), y(100 * share * len(curve.latencies_ms) / max(curve.captured, 1))


def panel(title: str, curves: Sequence[Curve], x: Scale) -> list[str]:
    """Return one panel, `HEIGHT` high; curves of misses stay under 100 %."""
    y = Scale(0, 100, HEIGHT - BOTTOM, TOP)
    out = [
        f'<text x="{x.start}" y="{TOP - 14}"><tspan font-weight="bold">{escape(title)}</tspan>  '
        "share of all pictures filmed that were there</text>"
    ]
    for share in range(0, 101, 25):
        out.append(f'<path d="M{x.start} {y(share):.1f}H{x.end}" stroke="#ddd"/>')
        out.append(f'<text x="{x.start - 8}" y="{y(share) + 4:.1f}" text-anchor="end">{share} %</text>')
    for mark in (m * 10.0**n for n in range(-1, 5) for m in (1, 2, 5)):
        if x.low <= math.log10(mark) <= x.high:
            at = x(math.log10(mark))
            out.append(f'<path d="M{at:.1f} {y.start}V{y.end}" stroke="#ddd"/>')
            out.append(f'<text x="{at:.1f}" y="{y.start + 18}" text-anchor="middle">{mark:g}</text>')
    out.append(
        f'<text x="{x.end}" y="{HEIGHT - 12}" text-anchor="end">ms from the camera to the decoded picture</text>'
    )
    for curve in curves:
        out += _drawn(curve, x)
    return out


def _drawn(curve: Curve, x: Scale) -> list[str]:
    values = curve.latencies_ms
    if not values:
        return []
    step = max(1, len(values) // POINTS)
    shown = [(v, i + 1) for i, v in enumerate(values) if i % step == 0 or i == len(values) - 1]
    path = "L".join("{:.1f} {:.1f}".format(*place(curve, v, n / len(values), x)) for v, n in shown)
    middle = place(curve, values[(len(values) - 1) // 2], 0.5, x)
    return [
        f'<path d="M{path}H{x.end}" fill="none" stroke="{curve.colour}" stroke-width="2"/>',
        f'<circle cx="{middle[0]:.1f}" cy="{middle[1]:.1f}" r="4" fill="{curve.colour}"/>',
    ]


def page(width: int, height: int, title: str, start: float, body: Sequence[str]) -> str:
    """Return a whole SVG with its title at `start`."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
            'font-size="13"><style>text{paint-order:stroke;stroke:#fff;stroke-width:3px}</style>'
            f'<rect width="{width}" height="{height}" fill="#fff"/>',
            f'<text x="{start}" y="30" font-size="16" font-weight="bold">{escape(title)}</text>',
            *body,
            "</svg>\n",
        ]
    )
