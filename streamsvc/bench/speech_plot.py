"""Quality against lag as SVG: a panel for each kind of lag, a colour for each policy, a line along the best settings of
each, the targets as corners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from streamsvc.ledger.charts import Scale, tick_labels, ticks

WIDTH, HEIGHT, HEAD, KEY = 560, 380, 40, 150
LEFT, RIGHT, TOP, BOTTOM = 58, 16, 56, 46
LATEST = 8.0
"""Seconds at the end of the axis; what comes later is named below the title."""

COLUMNS = 2
PALETTE = ("#1f6fb2", "#c4462d", "#2a8c4a", "#8a4fbf", "#b07d12", "#148a93", "#d0589b", "#666", "#999", "#bbb")


@dataclass(frozen=True, slots=True)
class Point:
    """One setting: lag (s), quality (%), the line that it belongs to, its name, and whether it was chosen."""

    lag: float
    quality: float
    line: str
    name: str
    chosen: bool


def front(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other beats in both lag and quality, by lag."""
    best: list[Point] = []
    for p in sorted(points, key=lambda p: (p.lag, -p.quality)):
        if not best or p.quality > best[-1].quality:
            best.append(p)
    return best


def _panel(
    title: str, points: Sequence[Point], colours: Mapping[str, str], targets: Sequence[tuple[float, float]]
) -> list[str]:
    late = [f"{p.name} {p.quality:.0f} % at {p.lag:.1f} s" for p in points if p.lag > LATEST]
    points = [p for p in points if p.lag <= LATEST]
    x = Scale(0, LATEST, LEFT, WIDTH - RIGHT)
    low = min([p.quality for p in points] + [q for _, q in targets])
    high = max([p.quality for p in points] + [100.0])
    y = Scale(low - 3, high + 3, HEIGHT - BOTTOM, TOP)
    out = [f'<text x="{LEFT}" y="18" font-weight="bold">{escape(title)}</text>']
    for number, text in enumerate(reversed(late)):
        at = HEIGHT - BOTTOM - 8 - 15 * number
        out.append(f'<text x="{x.end}" y="{at}" text-anchor="end" fill="#555">off the scale: {escape(text)}</text>')
    marks = ticks(y.low, y.high, 7)
    for v, text in zip(marks, tick_labels(marks), strict=True):
        out.append(f'<path d="M{x.start} {y(v):.1f}H{x.end}" stroke="#ddd"/>')
        out.append(f'<text x="{x.start - 7}" y="{y(v) + 4:.1f}" text-anchor="end">{text}</text>')
    marks = ticks(x.low, x.high, 8)
    for v, text in zip(marks, tick_labels(marks), strict=True):
        out.append(f'<path d="M{x(v):.1f} {y.start}v5" stroke="#777"/>')
        out.append(f'<text x="{x(v):.1f}" y="{y.start + 18}" text-anchor="middle">{text}</text>')
    out.append(f'<text x="{x.end}" y="{HEIGHT - 8}" text-anchor="end">LAAL of a phrase, s</text>')
    out.append(f'<text x="{LEFT - 50}" y="{TOP - 14}" fill="#555">chrF, % of offline</text>')
    for lag, quality in targets:
        # Up and to the left of the corner lies what is wanted.
        corner = f"M{x.start} {y(quality):.1f}H{x(lag):.1f}V{y.end}"
        out.append(f'<path d="{corner}" fill="none" stroke="#333" stroke-dasharray="5 4"/>')
    for line, colour in colours.items():
        own = [p for p in points if p.line == line]
        path = "L".join(f"{x(p.lag):.1f} {y(p.quality):.1f}" for p in front(own))
        out.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.3"/>' if own else "")
        for p in own:
            ring = ' stroke="#000" stroke-width="2"' if p.chosen else ""
            out.append(
                f'<circle cx="{x(p.lag):.1f}" cy="{y(p.quality):.1f}" r="{6 if p.chosen else 4}" fill="{colour}"{ring}>'
                f"<title>{escape(p.name)}: {p.quality:.1f} % at {p.lag:.2f} s</title></circle>"
            )
    return out


def curves(title: str, panels: Mapping[str, Sequence[Point]], targets: Sequence[tuple[float, float]]) -> str:
    """Return an SVG: two panels a row under their names, the key beside them; `targets` are (lag s, quality %)."""
    lines = list(dict.fromkeys(p.line for points in panels.values() for p in points))
    colours = {line: PALETTE[i % len(PALETTE)] for i, line in enumerate(lines)}
    rows = -(-len(panels) // COLUMNS)
    width, height = COLUMNS * WIDTH + KEY, HEAD + rows * HEIGHT
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="13">'
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="{LEFT}" y="28" font-size="16" font-weight="bold">{escape(title)}</text>',
    ]
    for i, (name, points) in enumerate(panels.items()):
        at = f"translate({i % COLUMNS * WIDTH} {HEAD + i // COLUMNS * HEIGHT})"
        out += [f'<g transform="{at}">', *_panel(name, points, colours, targets), "</g>"]
    for i, (line, colour) in enumerate(colours.items()):
        at_y = HEAD + TOP + 20 * i
        out.append(f'<circle cx="{width - KEY + 10}" cy="{at_y}" r="5" fill="{colour}"/>')
        out.append(f'<text x="{width - KEY + 20}" y="{at_y + 5}">{escape(line)}</text>')
    at_y = HEAD + TOP + 20 * len(colours) + 10
    out.append(f'<circle cx="{width - KEY + 10}" cy="{at_y}" r="6" fill="#fff" stroke="#000" stroke-width="2"/>')
    out.append(f'<text x="{width - KEY + 20}" y="{at_y + 5}">chosen on the</text>')
    out.append(f'<text x="{width - KEY + 20}" y="{at_y + 21}">other half</text>')
    return "\n".join(filter(None, out)) + "\n</svg>\n"
