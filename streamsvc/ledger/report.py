"""One self-contained HTML page from one ledger: what was measured, under what conditions, and where the time went.

No script, no font, no picture from anywhere else; it can be read without a network, in light and dark. Every figure on
it is computed from the records by `figures`.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from streamsvc.ledger import charts
from streamsvc.ledger.charts import Bar, number
from streamsvc.ledger.conditions import conditions
from streamsvc.ledger.figures import (
    SPEECH_LIMIT_NS,
    Summary,
    ViewFigures,
    by_stream,
    latency_ns,
    percentile,
    speech_figures,
    summarise,
)
from streamsvc.ledger.network import network_charts, network_in_words
from streamsvc.ledger.reader import LedgerError, read_ledger
from streamsvc.ledger.records import NetworkSample, Record

TIMELINES = 6
INTERVALS = 90
FRAMES_PER_INTERVAL = 6
WATERFALL_ROWS = 24
VISIBLE_GAP_NS = 200_000

STYLE = """
:root{--ink:#1a2027;--muted:#5d6975;--grid:#e4e8ec;--axis:#b4bdc6;--panel:#fff;--page:#f4f6f8;--shown:#2c6fb7;
--late:#d88a00;--drop:#c2314a;--wait:#c9d1d9;--c0:#c2314a;--c1:#8457ad;--c2:#2f8f86;--c3:#8a6a45;--c4:#d0679d;--c5:#7d8894}
@media(prefers-color-scheme:dark){:root{--ink:#e7ebef;--muted:#9aa6b2;--grid:#2a3139;--axis:#505b66;--panel:#1a1f25;
--page:#111519;--shown:#69a9ec;--late:#eaae3f;--drop:#f0738a;--wait:#414b56;--c0:#f0738a;--c1:#b590da;--c2:#62c3b8;
--c3:#c6a37a;--c4:#e79ac4;--c5:#8b96a1}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans","DejaVu Sans",sans-serif}
main{max-width:1000px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:26px;line-height:1.25;margin:0 0 2px}h2{font-size:17px;margin:0 0 2px}h3{font-size:14px;margin:14px 0 4px}
p{margin:0 0 10px;color:var(--muted);font-size:13.5px}.head{margin-bottom:18px}
section{background:var(--panel);border:1px solid var(--grid);border-radius:10px;padding:16px 18px;margin:0 0 16px}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(148px,1fr));gap:10px;margin:0 0 16px}
.tile{background:var(--panel);border:1px solid var(--grid);border-radius:10px;padding:10px 14px}
.tile b{display:block;font-size:23px;line-height:1.25;font-weight:650;font-variant-numeric:tabular-nums}
.tile b small{font-size:14px;font-weight:500;color:var(--muted)}.tile span{color:var(--muted);font-size:12.5px}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));gap:8px 20px;align-items:start}
svg{display:block;width:100%;height:auto;overflow:visible}svg text{font-size:11.5px;fill:var(--ink)}
svg .tick{fill:var(--muted);font-variant-numeric:tabular-nums}svg .wait{fill:var(--muted)}
.mid{text-anchor:middle}.end{text-anchor:end}.grid{stroke:var(--grid)}.axis{stroke:var(--axis)}
.band{fill:var(--shown);opacity:.2}.line{fill:none;stroke:var(--shown);stroke-width:1.8;stroke-linejoin:round}
.budget{stroke:var(--drop);stroke-width:1.3;stroke-dasharray:5 4}svg .budget-name{fill:var(--drop)}
svg .value{font-weight:600;stroke:var(--panel);stroke-width:4px;paint-order:stroke}.second{stroke:var(--late)}
.shown{fill:var(--shown)}.late{fill:var(--late)}.gap{fill:var(--wait)}.stem{stroke:var(--axis)}
.mark{fill:var(--shown);stroke:var(--panel);stroke-width:2}.drop{stroke:var(--drop);stroke-width:1.2}
.cat0{fill:var(--c0)}.cat1{fill:var(--c1)}.cat2{fill:var(--c2)}.cat3{fill:var(--c3)}.cat4{fill:var(--c4)}.cat5{fill:var(--c5)}
.legend{display:flex;flex-wrap:wrap;gap:3px 18px;font-size:13px;color:var(--muted);margin:4px 0 0}
.legend svg{display:inline-block;width:12px;height:12px;margin-right:6px;vertical-align:-1px}
.scroll{overflow:auto;max-height:440px}
table{border-collapse:collapse;width:100%;font-size:13.5px;font-variant-numeric:tabular-nums}
th{font-weight:550;color:var(--muted);position:sticky;top:0;background:var(--panel)}
th,td{padding:4px 8px;border-bottom:1px solid var(--grid);vertical-align:top;text-align:right}th.t,td.t{text-align:left}
td.t:last-child{width:100%}dl{display:grid;grid-template-columns:max-content 1fr;gap:3px 18px;margin:0;font-size:13.5px}
dt{color:var(--muted)}dd{margin:0;overflow-wrap:anywhere}
video{width:100%;max-height:460px;background:#000;border-radius:6px}a{color:var(--shown)}
"""


def write_report(
    ledger: Path,
    out: Path,
    *,
    title: str,
    video: Path | None = None,
    captions: Path | None = None,
    extra: Mapping[str, object] | None = None,
    q_min: float | None = None,
) -> Summary:
    """Write the report on `ledger` to `out` and return its figures.

    Args: `video` and `captions` are linked relative to `out`; `extra` adds rows to the conditions; `q_min` is the
    quality floor of goodput in dB (None: every rung counts).
    Raises LedgerError when the ledger is damaged or the report can't be written.
    """
    reader = read_ledger(ledger)
    records = sorted(reader, key=lambda r: r.capture_ns)
    summary = summarise(records, q_min=q_min, truncated=reader.truncated)
    where = {**conditions(), **{k: str(v) for k, v in (extra or {}).items()}}
    media = _media(out, video, captions)
    page = render(records, summary, title=title, where=where, media=media, network=reader.network)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page, encoding="utf-8")
    except OSError as e:
        raise LedgerError(f"the report {out} can't be written: {e.strerror}") from None
    return summary


def render(
    records: Sequence[Record],
    summary: Summary,
    *,
    title: str,
    where: Mapping[str, str],
    media: str = "",
    network: Sequence[NetworkSample] = (),
) -> str:
    """Return the page. `records` are in the order of capture, `where` is label and text, `media` is HTML."""
    views = [r for r in records if r.kind == "view"]
    speech = [r for r in records if r.kind == "speech"]
    start = records[0].capture_ns if records else min((s.at_ns for s in network), default=0)
    end = max(((r.capture_ns - start) / 1e9 for r in records), default=0.0)
    body = [
        f'<div class="head"><h1>{escape(title)}</h1><p>{escape(_headline(summary, where))}</p></div>',
        _tiles(summary),
        media,
    ]
    if not records and not network:
        body.append(_section("Nothing was recorded", "The ledger has no records: no frame set and no speech pass."))
    if views:
        body += [_timelines(views, summary, start, end), _spread(views, summary), _waterfalls(views, summary)]
        body.append(_outcomes(views, summary, start, end))
    if speech:
        body.append(_speech(speech, start, end))
    if network:
        body.append(_section("Network", network_in_words(network), network_charts(network, start, end)))
    body.append(_section("Conditions", "", _definitions(where)))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>{''.join(body)}</main></body></html>\n"
    )


def _section(heading: str, explanation: str, *content: str) -> str:
    text = f"<p>{escape(explanation)}</p>" if explanation else ""
    return f"<section><h2>{escape(heading)}</h2>{text}{''.join(content)}</section>"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _headline(summary: Summary, where: Mapping[str, str]) -> str:
    parts = [
        where.get("date", ""),
        f"{summary.duration_s:.1f} s",
        _plural(summary.sessions, "session"),
        f"{_plural(summary.view.due, 'frame')} due",
        _plural(summary.speech.passes, "speech pass").replace("passs", "passes"),
    ]
    if summary.truncated:
        parts.append("the last line of the ledger was cut short and is not counted")
    return " · ".join(p for p in parts if p)


def _tile(value: float | None, unit: str, name: str) -> str:
    figure = "–" if value is None else f"{number(value)}<small> {unit}</small>"
    return f'<div class="tile"><b>{figure}</b><span>{escape(name)}</span></div>'


def _tiles(summary: Summary) -> str:
    view, speech = summary.view, summary.speech
    tiles = []
    if view.due:
        goodput = None if view.goodput is None else 100 * view.goodput
        tiles += [
            _tile(goodput, "%", f"goodput at {number(view.budget_ms or 0)} ms"),
            _tile(view.latency_p50_ms, "ms", "latency p50"),
            _tile(view.latency_p95_ms, "ms", "latency p95"),
            _tile(view.latency_p99_ms, "ms", "latency p99"),
            _tile(view.latency_max_ms, "ms", "latency, longest"),
            _tile(view.longest_gap_ms, "ms", "longest gap"),
            _tile(view.fps, "/s", "frames displayed"),
            _tile(view.rung_switches_per_s, "/s", "rung switches"),
        ]
    if speech.passes:
        in_time = None if speech.words_in_time is None else 100 * speech.words_in_time
        tiles += [
            _tile(None if speech.lag_p50_ms is None else speech.lag_p50_ms / 1e3, "s", "speech lag p50"),
            _tile(None if speech.lag_p95_ms is None else speech.lag_p95_ms / 1e3, "s", "speech lag p95"),
            _tile(speech.words, "", "words committed"),
            _tile(in_time, "%", f"words within {number(SPEECH_LIMIT_NS / 1e9)} s"),
        ]
    return f'<div class="tiles">{"".join(tiles)}</div>' if tiles else ""


def _timelines(views: Sequence[Record], summary: Summary, start: int, end: float) -> str:
    groups = by_stream(views)
    worst = sorted(groups, key=lambda name: summary.streams[name].goodput or 0.0)[:TIMELINES]
    parts = []
    if len(groups) > 1:
        parts.append(_stream_table(summary.streams))
    for name in worst:
        records = groups[name]
        points = [((r.capture_ns - start) / 1e9, x / 1e6) for r in records if (x := latency_ns(r)) is not None]
        dropped = [(r.capture_ns - start) / 1e9 for r in records if r.displayed_ns is None]
        if len(groups) > 1:
            parts.append(f"<h3>{escape(name)}</h3>")
        parts.append(charts.timeline(points, dropped, summary.streams[name].budget_ms or 0.0, end))
    if len(groups) > TIMELINES:
        parts.append(f"<p>The {TIMELINES} streams with the lowest goodput of {len(groups)} are drawn.</p>")
    return _section(
        "Latency over time",
        "From capture to display. The line is the median, the band the 5th to 95th percentile; dots are late frames, "
        "marks under the axis are frames that were never displayed.",
        *parts,
    )


def _stream_table(streams: Mapping[str, ViewFigures]) -> str:
    rows = [
        (
            name,
            f"{f.due:,}",
            "–" if f.goodput is None else f"{100 * f.goodput:.1f} %",
            *("–" if v is None else number(v) for v in (f.latency_p50_ms, f.latency_p95_ms, f.longest_gap_ms, f.fps)),
        )
        for name, f in streams.items()
    ]
    return _table(("stream", "due", "goodput", "p50 ms", "p95 ms", "longest gap ms", "shown /s"), rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], text: Sequence[int] = (0,)) -> str:
    css = ['class="t"' if i in text else "" for i in range(len(header))]
    head = "".join(f"<th {css[i]}>{escape(h)}</th>" for i, h in enumerate(header))
    body = "".join(
        "<tr>" + "".join(f"<td {css[i]}>{escape(cell)}</td>" for i, cell in enumerate(row)) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _spread(views: Sequence[Record], summary: Summary) -> str:
    latencies = [x / 1e6 for r in views if (x := latency_ns(r)) is not None]
    if not latencies:
        return ""
    budget = summary.view.budget_ms or 0.0
    return _section(
        "Latency distribution",
        "Left: displayed frames by latency. Right: of all frames due, the share displayed within a latency; what is "
        "missing from 100 % was never displayed.",
        '<div class="pair">',
        charts.histogram(latencies, budget),
        charts.cumulative(latencies, len(views), budget),
        "</div>",
    )


def segments(record: Record) -> list[Bar]:
    """Return a displayed frame's way from capture to display: its stages, and the gaps between them named by what lies
    on both sides. Consecutive slices of one name are one bar; times in ms since capture."""
    bars: list[Bar] = []
    cursor, before = record.capture_ns, "capture"
    for stage in sorted(record.stages, key=lambda s: s.start_ns):
        if stage.start_ns - cursor > VISIBLE_GAP_NS:
            name = f"between {before} slices" if before == stage.name else f"{before} → {stage.name}"
            bars.append(_bar(record, name, cursor, stage.start_ns, work=False))
        if bars and bars[-1].work and bars[-1].name == stage.name:
            bars[-1] = Bar(stage.name, bars[-1].start, (stage.end_ns - record.capture_ns) / 1e6, True)
        else:
            bars.append(_bar(record, stage.name, stage.start_ns, stage.end_ns, work=True))
        cursor, before = max(cursor, stage.end_ns), stage.name
    if record.displayed_ns is not None and record.displayed_ns - cursor > VISIBLE_GAP_NS:
        bars.append(_bar(record, f"{before} → display", cursor, record.displayed_ns, work=False))
    return bars


def _bar(record: Record, name: str, start_ns: int, end_ns: int, *, work: bool) -> Bar:
    return Bar(name, (start_ns - record.capture_ns) / 1e6, (end_ns - record.capture_ns) / 1e6, work)


def _waterfalls(views: Sequence[Record], summary: Summary) -> str:
    displayed = sorted((r for r in views if r.displayed_ns is not None and r.stages), key=lambda r: latency_ns(r) or 0)
    if not displayed:
        return ""
    pair = {
        "median": displayed[round(0.5 * (len(displayed) - 1))],
        "95th percentile": displayed[round(0.95 * (len(displayed) - 1))],
    }
    end = max((latency_ns(r) or 0) / 1e6 for r in pair.values())
    budget = summary.view.budget_ms or 0.0
    drawn = []
    for name, record in pair.items():
        bars = segments(record)
        longest = sorted(bars, key=lambda b: b.start - b.end)[:WATERFALL_ROWS]
        latency = number((latency_ns(record) or 0) / 1e6)
        rung = f", rung {record.rung}" if record.rung else ""
        drawn.append(
            f"<div><h3>The {name} frame: {latency} ms{escape(rung)}</h3>"
            + charts.waterfall([b for b in bars if b in longest], end, budget, f"stages of the {name} frame")
            + "</div>"
        )
    times: dict[tuple[str, bool], list[float]] = defaultdict(list)
    for record in displayed:
        per_frame: dict[tuple[str, bool], float] = defaultdict(float)
        for bar in segments(record):
            per_frame[bar.name, bar.work] += bar.end - bar.start
        for key, ms in per_frame.items():
            times[key].append(ms)
    total = sum(latency_ns(r) or 0 for r in displayed) / 1e6
    rows = [
        (
            name,
            "stage" if work else "waiting, travelling",
            f"{len(values):,}",
            *(number(percentile(values, q) or 0.0) for q in (50, 95)),
            f"{100 * sum(values) / total:.1f} %",
        )
        for (name, work), values in sorted(times.items(), key=lambda item: -sum(item[1]))
    ]
    return _section(
        "Where the time goes",
        "Blue is work, grey is waiting and travelling: each grey bar is named by what lies before and after it. The "
        "table takes all displayed frames together.",
        f'<div class="pair">{"".join(drawn)}</div>',
        "<h3>All displayed frames</h3>",
        _table(("part", "kind", "frames", "p50 ms", "p95 ms", "share of latency"), rows, text=(0, 1)),
    )


def _outcomes(views: Sequence[Record], summary: Summary, start: int, end: float) -> str:
    names = ["shown", *summary.view.misses]
    kept = names[: charts.CATEGORIES + 1]
    intervals = max(1, min(INTERVALS, len(views) // FRAMES_PER_INTERVAL))
    series = {name: [0] * intervals for name in kept}
    if len(names) > len(kept):
        series["other reasons"] = [0] * intervals
    for r in views:
        name = "shown" if r.outcome == "shown" else "late" if r.outcome == "late" else r.reason or "unknown"
        at = min(intervals - 1, int((r.capture_ns - start) / 1e9 / (end or 1) * intervals))
        series[name if name in series else "other reasons"][at] += 1
    legend = "".join(
        f'<span><svg viewBox="0 0 12 12"><rect class="{css}" width="12" height="12" rx="2"/></svg>'
        f"{escape(name)} {sum(series[name]):,}</span>"
        for name, css in charts.categories(list(series)).items()
    )
    rungs = sum(summary.view.rungs.values())
    rows = [
        (name, f"{n:,}", f"{100 * n / rungs:.1f} %", _quality(views, name)) for name, n in summary.view.rungs.items()
    ]
    return _section(
        "Outcomes over time",
        "Every frame due, by what became of it: displayed in time, displayed late, or dropped and why.",
        charts.stacked(series, end, "outcomes over time"),
        f'<div class="legend">{legend}</div>',
        *(("<h3>Rungs</h3>", _table(("rung", "frames", "share", "calibrated quality"), rows)) if rows else ()),
    )


def _quality(views: Sequence[Record], rung: str) -> str:
    quality = next((r.quality for r in views if r.rung == rung and r.quality is not None), None)
    return "–" if quality is None else f"{quality:.1f} dB"


def _speech(speech: Sequence[Record], start: int, end: float) -> str:
    figures = speech_figures(speech)
    commits = [
        ((r.capture_ns - start) / 1e9, lag / 1e9, r.text)
        for r in speech
        if r.text and (lag := latency_ns(r)) is not None
    ]
    ran = ""
    if figures.pass_p50_ms is not None and figures.pass_p95_ms is not None:
        ran = f" A pass ran {number(figures.pass_p50_ms)} ms (p50), {number(figures.pass_p95_ms)} ms (p95)."
    rows = [(f"{at:.1f}", f"{lag:.2f}", text) for at, lag, text in commits]
    return _section(
        "Speech",
        f"{figures.passes:,} passes committed {figures.words:,} words in {figures.commits:,} pieces.{ran} "
        "Each dot is a commit: when its audio ended, and how long after that it left for the viewer.",
        charts.lags(commits, SPEECH_LIMIT_NS / 1e9, end),
        *((_table(("audio end, s", "lag, s", "committed text"), rows, text=(2,)),) if rows else ()),
    )


def _definitions(items: Mapping[str, str]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in items.items()) + "</dl>"


def _media(out: Path, video: Path | None, captions: Path | None) -> str:
    def link(path: Path) -> str:
        return quote(os.path.relpath(path, out.parent))

    parts = []
    if video is not None:
        parts.append(f'<video controls preload="metadata" src="{link(video)}"></video>')
    named = [("video", video), ("captions", captions)]
    links = [f'<a href="{link(path)}">{name} ({escape(path.name)})</a>' for name, path in named if path is not None]
    if links:
        parts.append(f'<div class="legend">{" ".join(links)}</div>')
    return _section("What was seen and said", "", *parts) if parts else ""
