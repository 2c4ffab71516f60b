"""Charts as inline SVG: scales, axes, and the five pictures that a latency report needs. Pure: numbers in, text out.

Colours are CSS classes, so that the page decides on light and dark. All drawings scale with the page's width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from streamsvc.ledger.figures import percentile

WIDTH = 920
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 14, 34
CATEGORIES = 6
FEW = 60


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map from [low, high] to pixels [start, end]."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        span = (self.high - self.low) or 1.0
        return self.start + (value - self.low) / span * (self.end - self.start)


def ticks(low: float, high: float, count: int, *, whole: bool = False) -> list[float]:
    """Return round values between `low` and `high`, about `count` of them, `whole` numbers where asked."""
    span = high - low
    if span <= 0:
        return [low]
    raw = max(span / count, 1.0) if whole else span / count
    magnitude = 10 ** math.floor(math.log10(raw))
    step = next(m * magnitude for m in ((1, 2, 5, 10) if whole else (1, 2, 2.5, 5, 10)) if m * magnitude >= raw)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]


def tick_labels(values: Sequence[float]) -> list[str]:
    """Return the values of an axis with as many decimals as the finest of them needs."""
    decimals = next((d for d in range(4) if all(abs(v - round(v, d)) < 1e-9 for v in values)), 4)
    return [f"{v:,.{decimals}f}" for v in values]


def number(value: float) -> str:
    """Return a figure with three digits that matter."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _axes(x: Scale, y: Scale, x_label: str, y_label: str, below: float = 0, *, whole: bool = False) -> str:
    """Grid, ticks and names; `below` leaves room under the axis line for something else, `whole` is for counts."""
    parts = []
    rows = ticks(y.low, y.high, 5, whole=whole)
    for v, text in zip(rows, tick_labels(rows), strict=True):
        parts.append(
            f'<line class="grid" x1="{x.start:.1f}" x2="{x.end:.1f}" y1="{y(v):.1f}" y2="{y(v):.1f}"/>'
            f'<text class="tick end" x="{x.start - 7:.1f}" y="{y(v) + 4:.1f}">{text}</text>'
        )
    columns = ticks(x.low, x.high, 10)
    for v, text in zip(columns, tick_labels(columns), strict=True):
        parts.append(f'<text class="tick mid" x="{x(v):.1f}" y="{y.start + below + 17:.1f}">{text}</text>')
    parts.append(
        f'<line class="axis" x1="{x.start:.1f}" x2="{x.end:.1f}" y1="{y.start:.1f}" y2="{y.start:.1f}"/>'
        f'<text class="tick end" x="{x.end:.1f}" y="{y.start + below + 31:.1f}">{escape(x_label)}</text>'
        f'<text class="tick" x="2" y="11">{escape(y_label)}</text>'
    )
    return "".join(parts)


def _svg(height: float, label: str, *parts: str, width: int = WIDTH) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height:.0f}" role="img" aria-label="{escape(label, quote=True)}">'
        + "".join(parts)
        + "</svg>"
    )


def _points(pairs: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in pairs)


def _budget(x: Scale, y: Scale, budget: float) -> str:
    """The budget as a horizontal line with its name above the right end."""
    return (
        f'<line class="budget" x1="{x.start:.1f}" x2="{x.end:.1f}" y1="{y(budget):.1f}" y2="{y(budget):.1f}"/>'
        f'<text class="budget-name end" x="{x.end:.1f}" y="{y(budget) - 5:.1f}">budget {number(budget)} ms</text>'
    )


def timeline(points: Sequence[tuple[float, float]], dropped: Sequence[float], budget: float, end: float) -> str:
    """Latency over time: the median and the 5th to 95th percentile per interval, each late frame, each drop.

    Args: `points` (capture s, latency ms) of displayed frames, `dropped` capture s of the others, `budget` ms, `end`
    of the time axis in s.
    """
    height, lane = 250, 18
    latencies = [v for _, v in points]
    top = max(budget * 1.25, (percentile(latencies, 99.5) or 0) * 1.15)
    x = Scale(0, end or 1, LEFT, WIDTH - RIGHT)
    y = Scale(0, top, height - BOTTOM - lane, TOP + 6)
    bins = max(1, min(120, len(points) // 15))
    groups: list[list[tuple[float, float]]] = [[] for _ in range(bins)]
    for t, v in points:
        groups[min(bins - 1, int(t / (end or 1) * bins))].append((t, v))
    band_low, band_high, median = [], [], []
    for group in (g for g in groups if g):
        values = [min(v, top) for _, v in group]
        at = x(sum(t for t, _ in group) / len(group))
        low, mid, high = (percentile(values, q) or 0.0 for q in (5, 50, 95))
        band_low.append((at, y(low)))
        median.append((at, y(mid)))
        band_high.append((at, y(high)))
    # Few frames are drawn one by one; of many, only those that stand out.
    dots = list(points) if len(points) < FEW else [(t, v) for t, v in points if v > budget]
    dots = dots[:: max(1, len(dots) // 600)]
    drops = dropped[:: max(1, len(dropped) // 900)]
    return _svg(
        height,
        "latency from capture to display over time",
        _axes(x, y, "capture time, s", "ms", lane),
        f'<polygon class="band" points="{_points(band_high + band_low[::-1])}"/>' if median else "",
        f'<polyline class="line" points="{_points(median)}"/>' if median else "",
        _budget(x, y, budget),
        "".join(
            f'<circle class="{"late" if v > budget else "shown"}" cx="{x(t):.1f}" cy="{y(min(v, top)):.1f}" r="2.4">'
            f"<title>{number(v)} ms at {t:.2f} s</title></circle>"
            for t, v in dots
        ),
        "".join(
            f'<line class="drop" x1="{x(t):.1f}" x2="{x(t):.1f}" y1="{y.start + 6}" y2="{y.start + 16}"/>'
            for t in drops
        ),
        f'<text class="tick end" x="{LEFT - 7}" y="{y.start + 16}">drops</text>',
    )


def histogram(latencies: Sequence[float], budget: float) -> str:
    """How many frames had which latency (ms); what is over the budget is coloured as late."""
    width, height = 450, 220
    top = max(budget * 1.1, (percentile(latencies, 99.5) or 0) * 1.05, 1.0)
    count = 40
    bins = [0] * count
    for v in latencies:
        # As far as the clocks err a picture may seem to be shown before it was captured.
        bins[min(max(int(v / top * count), 0), count - 1)] += 1
    x = Scale(0, top, 44, width - 8)
    y = Scale(0, max(bins) * 1.08 or 1, height - BOTTOM, TOP + 6)
    step = (x.end - x.start) / count
    bars = "".join(
        f'<rect class="{"late" if (i + 0.5) * top / count > budget else "shown"}" x="{x.start + i * step + 0.5:.1f}" '
        f'y="{y(n):.1f}" width="{step - 1:.1f}" height="{y.start - y(n):.1f}"><title>{number(i * top / count)} to '
        f"{number((i + 1) * top / count)} ms{' and more' if i == count - 1 else ''}: {n} frames</title></rect>"
        for i, n in enumerate(bins)
        if n
    )
    return _svg(
        height,
        "histogram of latency",
        _axes(x, y, "ms", "frames", whole=True),
        bars,
        _upright(x, y, budget),
        width=width,
    )


def _upright(x: Scale, y: Scale, budget: float) -> str:
    return f'<line class="budget" x1="{x(budget):.1f}" x2="{x(budget):.1f}" y1="{y.start:.1f}" y2="{y.end:.1f}"/>'


def cumulative(latencies: Sequence[float], due: int, budget: float) -> str:
    """The share of all frames due that were displayed within a latency (ms); drops keep the curve under 100 %."""
    width, height = 450, 220
    ordered = sorted(latencies)
    top = max(budget * 1.1, (percentile(latencies, 99.5) or 0) * 1.05)
    x = Scale(0, top, 44, width - 8)
    y = Scale(0, 100, height - BOTTOM, TOP + 6)
    step = max(1, len(ordered) // 300)
    curve = [(x.start, y(0))]
    for i in range(0, len(ordered), step):
        if ordered[i] > top:
            break
        curve.append((x(ordered[i]), y(100 * (i + 1) / due)))
    inside = [v for v in ordered if v <= top]
    if inside:
        curve += [(x(inside[-1]), y(100 * len(inside) / due)), (x.end, y(100 * len(inside) / due))]
    good = 100 * sum(v <= budget for v in ordered) / due
    mark = (
        f'<circle class="mark" cx="{x(budget):.1f}" cy="{y(good):.1f}" r="4"/>'
        f'<text class="value end" x="{x(budget) - 8:.1f}" y="{y(8):.1f}">{good:.1f} % within budget</text>'
    )
    axes = _axes(x, y, "ms", "% of frames due")
    line = f'<polyline class="line" points="{_points(curve)}"/>'
    return _svg(height, "share of due frames by latency", axes, _upright(x, y, budget), line, mark, width=width)


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of a waterfall, in ms since capture; `work` tells a stage from waiting and travelling."""

    name: str
    start: float
    end: float
    work: bool


def waterfall(bars: Sequence[Bar], end: float, budget: float, label: str) -> str:
    """One frame's way from capture to display, a row for each stage and for each gap between stages.

    `end` of the axis in ms is given, so that two frames can stand side by side.
    """
    width, row = 450, 21
    top = 8
    height = top + row * len(bars) + BOTTOM
    x = Scale(0, end, 138, width - 44)
    base = Scale(0, 1, height - BOTTOM, top)
    parts = [
        "".join(
            f'<line class="grid" x1="{x(v):.1f}" x2="{x(v):.1f}" y1="{top}" y2="{base.start:.1f}"/>'
            f'<text class="tick mid" x="{x(v):.1f}" y="{base.start + 16:.1f}">{number(v)}</text>'
            for v in ticks(0, end, 5)
        )
    ]
    if budget <= end:
        parts.append(_upright(x, base, budget))
    for i, bar in enumerate(bars):
        at = top + i * row
        wide = max(x(bar.end) - x(bar.start), 1)
        parts.append(
            f'<text class="{"" if bar.work else "wait "}end" x="130" y="{at + 15}">{escape(_short(bar.name))}</text>'
            f'<rect class="{"shown" if bar.work else "gap"}" x="{x(bar.start):.1f}" y="{at + 4}" width="{wide:.1f}" '
            f'height="{row - 7}" rx="1.5"><title>{escape(bar.name)}: {bar.end - bar.start:.2f} ms</title></rect>'
            f'<text class="tick" x="{x(bar.start) + wide + 4:.1f}" y="{at + 15}">{number(bar.end - bar.start)}</text>'
        )
    parts.append(f'<text class="tick end" x="{width - 44}" y="{height - 3}">ms since capture</text>')
    return _svg(height, label, *parts, width=width)


def _short(name: str, limit: int = 21) -> str:
    return name if len(name) <= limit else name[: limit - 1] + "…"


def stacked(series: Mapping[str, Sequence[int]], end: float, label: str) -> str:
    """Counts per interval, stacked; `series` name to counts, all of one length, over 0..`end` seconds.

    The first series is what went well (class `shown`), "late" has its own class, the others take the categories.
    """
    height = 170
    count = max((len(s) for s in series.values()), default=0)
    totals = [sum(s[i] for s in series.values()) for i in range(count)]
    x = Scale(0, end or 1, LEFT, WIDTH - RIGHT)
    y = Scale(0, max(totals, default=0) * 1.05 or 1, height - BOTTOM, TOP + 6)
    step = (x.end - x.start) / max(count, 1)
    parts = [_axes(x, y, "capture time, s", "frames", whole=True)]
    for i in range(count):
        below = 0
        for name, css in categories(list(series)).items():
            n = series[name][i]
            if n:
                parts.append(
                    f'<rect class="{css}" x="{x.start + i * step + 0.4:.1f}" y="{y(below + n):.1f}" '
                    f'width="{max(step - 0.8, 0.6):.1f}" height="{y(below) - y(below + n):.1f}">'
                    f"<title>{escape(name)}: {n}</title></rect>"
                )
            below += n
    return _svg(height, label, *parts)


def categories(names: Sequence[str]) -> dict[str, str]:
    """Return the CSS class of each series of `stacked`, in order."""
    classes: dict[str, str] = {}
    for name in names:
        if name in ("shown", "late"):
            classes[name] = name
        else:
            taken = sum(c.startswith("cat") for c in classes.values())
            classes[name] = f"cat{min(taken, CATEGORIES - 1)}"
    return classes


def lags(commits: Sequence[tuple[float, float, str]], limit: float, end: float) -> str:
    """Commits against source time: a stem from each end of audio (s) up to its lag (s), with the limit as a line."""
    height = 200
    top = max(limit * 1.1, max((lag for _, lag, _ in commits), default=0.0) * 1.1)
    x = Scale(0, end or 1, LEFT, WIDTH - RIGHT)
    y = Scale(0, top, height - BOTTOM, TOP + 6)
    parts = [_axes(x, y, "end of the audio that was translated, s", "lag, s")]
    parts.append(
        f'<line class="budget" x1="{x.start}" x2="{x.end}" y1="{y(limit):.1f}" y2="{y(limit):.1f}"/>'
        f'<text class="budget-name end" x="{x.end}" y="{y(limit) - 5:.1f}">{number(limit)} s</text>'
    )
    for at, lag, text in commits:
        css = "late" if lag > limit else "shown"
        parts.append(
            f'<line class="stem" x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{y.start:.1f}" y2="{y(lag):.1f}"/>'
            f'<circle class="{css}" cx="{x(at):.1f}" cy="{y(lag):.1f}" r="4"><title>{lag:.2f} s: {escape(text)}</title>'
            "</circle>"
        )
    return _svg(height, "speech commits by source time and lag", *parts)


def lines(series: Mapping[str, Sequence[tuple[float, float]]], end: float, y_label: str, label: str) -> str:
    """Values over time, a line for each of `series` (name to points (s, value)), named at its end; at most two."""
    width, height = 450, 190
    top = max((v for points in series.values() for _, v in points), default=0.0)
    x = Scale(0, end or 1, 44, width - 40)
    y = Scale(0, top * 1.1 or 1, height - BOTTOM, TOP + 6)
    parts = [_axes(x, y, "time, s", y_label)]
    for css, (name, points) in zip(("line", "line second"), ((n, p) for n, p in series.items() if p), strict=False):
        at, last = points[-1]
        parts.append(
            f'<polyline class="{css}" points="{_points([(x(t), y(v)) for t, v in points])}"/>'
            f'<text class="tick" x="{x(at) + 5:.1f}" y="{y(last) + 4:.1f}">{escape(name)}</text>'
        )
    return _svg(height, label, *parts, width=width)
