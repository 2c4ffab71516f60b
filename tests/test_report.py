"""The report: one page, readable without a network, that says what the records say and survives odd ledgers."""

from __future__ import annotations

import json
import random
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamsvc.ledger import Ledger, LedgerError, Record, Stage
from streamsvc.ledger.charts import categories, tick_labels, ticks, timeline
from streamsvc.ledger.conditions import conditions
from streamsvc.ledger.figures import summarise
from streamsvc.ledger.reader import MAX_TIME_NS
from streamsvc.ledger.records import NetworkSample
from streamsvc.ledger.report import render, segments, write_report
from streamsvc.ledger.trace import events

MS = 1_000_000
START = 10**13


def call(streams: int = 1, seconds: int = 10) -> list[Record]:
    """A made call: 15 frames a second, some late, some dropped, a speech pass a second."""
    dice = random.Random(7)
    records = []
    for s in range(streams):
        for n in range(seconds * 15):
            capture = START + n * 1_000_000_000 // 15
            ran = (
                Stage("splat", capture + 40 * MS, capture + 60 * MS),
                Stage("encode", capture + 61 * MS, capture + 70 * MS),
            )
            latency = dice.choice([90, 120, 160, 450]) * MS
            dropped = n % 10 == 9
            records.append(
                Record(
                    session=f"s{s}",
                    stream="view",
                    id=n,
                    capture_ns=capture,
                    deadline_ns=capture + 400 * MS,
                    outcome="dropped" if dropped else "shown" if latency <= 400 * MS else "late",
                    reason="stale" if dropped else None,
                    displayed_ns=None if dropped else capture + latency,
                    stages=() if dropped else ran,
                    rung=dice.choice(["full", "half"]),
                    quality=25.0,
                )
            )
        for n in range(seconds):
            end = START + n * 1_000_000_000
            records.append(
                Record(
                    kind="speech",
                    session=f"s{s}",
                    stream="voice",
                    id=n,
                    capture_ns=end,
                    deadline_ns=end + 5000 * MS,
                    outcome="shown",
                    displayed_ns=end + 1500 * MS,
                    text="<b>good</b> evening" if n % 2 else None,
                )
            )
    return records


def write(path: Path, records: list[Record]) -> Path:
    ledger = Ledger(path, queue_limit=100_000)
    for record in records:
        ledger.write(record)
    ledger.close()
    return path


class Page(HTMLParser):
    """What a page refers to, and whether its tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.stack: list[str] = []
        self.balanced = True
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.references += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag != "meta":
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        self.balanced &= bool(self.stack) and self.stack.pop() == tag


def test_a_page_refers_to_nothing_but_the_files_beside_it(tmp_path: Path) -> None:
    out = tmp_path / "out" / "report.html"
    video, captions = tmp_path / "out" / "a view.mp4", tmp_path / "captions.srt"
    ledger = write(tmp_path / "ledger.jsonl", call())
    write_report(ledger, out, title="Demo", video=video, captions=captions)
    text = out.read_text(encoding="utf-8")
    page = Page(text)
    assert page.references == ["a%20view.mp4", "a%20view.mp4", "../captions.srt"]
    assert page.balanced
    assert page.stack == []
    assert "://" not in text
    assert "<script" not in text
    assert "@import" not in text


def test_every_chart_is_well_formed_and_names_itself(tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    write_report(write(tmp_path / "ledger.jsonl", call()), out, title="Demo")
    charts = re.findall(r"<svg viewBox.*?</svg>", out.read_text(encoding="utf-8"), re.S)
    labels = [ET.fromstring(chart).get("aria-label") for chart in charts]
    assert [label for label in labels if label] == [
        "latency from capture to display over time",
        "histogram of latency",
        "share of due frames by latency",
        "stages of the median frame",
        "stages of the 95th percentile frame",
        "outcomes over time",
        "speech commits by source time and lag",
    ]
    assert "nan" not in "".join(charts)


def test_what_people_said_and_titles_are_escaped(tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    write_report(write(tmp_path / "l.jsonl", call()), out, title="<script>x</script>", extra={"<i>": "<u>"})
    text = out.read_text(encoding="utf-8")
    assert "&lt;b&gt;good&lt;/b&gt; evening" in text
    for raw in ("<b>good", "<script", "<i>", "<u>"):
        assert raw not in text


def test_the_summary_is_what_the_page_says_and_is_plain_json(tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    summary = write_report(write(tmp_path / "l.jsonl", call(streams=3)), out, title="Demo")
    again = json.loads(json.dumps(summary.to_dict()))
    assert again["view"]["due"] == 450
    assert again["sessions"] == 3
    assert set(again["streams"]) == {"s0/view", "s1/view", "s2/view"}
    text = out.read_text(encoding="utf-8")
    assert f"{100 * summary.view.goodput:.1f}<small> %" in text  # type: ignore[operator]
    assert "s2/view" in text


@pytest.mark.parametrize(
    "records",
    [
        [],
        call()[:1],
        [r for r in call() if r.outcome == "dropped"],
        [r for r in call() if r.kind == "speech" and not r.text],
        [r for r in call() if r.kind == "view" and r.displayed_ns][:1] * 1,
    ],
    ids=["nothing", "one frame", "only drops", "passes without commits", "one shown frame"],
)
def test_odd_ledgers_have_a_report_too(tmp_path: Path, records: list[Record]) -> None:
    out = tmp_path / "report.html"
    summary = write_report(write(tmp_path / "l.jsonl", records), out, title="Odd")
    assert summary.records == len(records)
    assert Page(out.read_text(encoding="utf-8")).balanced


TIMES = st.integers(-MAX_TIME_NS, MAX_TIME_NS) | st.integers(0, 10**9)
STAGES = st.lists(st.builds(Stage, st.text(max_size=4), TIMES, TIMES), max_size=4).map(tuple)
SHARES = st.none() | st.floats(0, 1)
RECORDS = st.builds(
    lambda capture, span, **fields: Record(capture_ns=capture, deadline_ns=capture + span, **fields),
    TIMES,
    st.integers(0, 10**10),
    kind=st.sampled_from(["view", "speech"]),
    session=st.sampled_from(["a", "<b>"]),
    stream=st.text(max_size=3),
    id=st.integers(0, 9),
    outcome=st.sampled_from(["shown", "late", "dropped"]),
    reason=st.none() | st.text(max_size=3),
    displayed_ns=st.none() | TIMES,
    rung=st.none() | st.text(max_size=3),
    quality=st.none() | st.floats(allow_nan=False),
    predicted_ns=st.none() | TIMES,
    stages=STAGES,
    text=st.none() | st.text(max_size=9),
)
SAMPLES = st.builds(
    NetworkSample,
    session=st.just("a"),
    at_ns=TIMES,
    period_ns=st.integers(0, 10**10),
    rtt_ns=st.none() | TIMES,
    in_bps=st.none() | st.floats(0, 1e15),
    out_bps=st.none() | st.floats(0, 1e15),
    in_lost=SHARES,
    out_lost=SHARES,
)


@settings(max_examples=60)
@given(st.lists(RECORDS, max_size=8), st.lists(SAMPLES, max_size=3))
def test_whatever_reads_as_a_ledger_has_a_report(records: list[Record], samples: list[NetworkSample]) -> None:
    ordered = sorted(records, key=lambda r: r.capture_ns)
    page = render(ordered, summarise(ordered), title="Odd", where={}, network=samples)
    assert Page(page).balanced
    assert ("<h2>Network</h2>" in page) == bool(samples)
    list(events(ordered))


def test_what_a_page_saved_of_its_network_is_told(tmp_path: Path) -> None:
    capture = write(tmp_path / "capture.jsonl", call(seconds=3))
    second = 1_000_000_000
    samples = [
        NetworkSample(
            session="s0",
            at_ns=START + i * second,
            period_ns=second,
            rtt_ns=trip * MS,
            in_bps=2e6,
            out_bps=None,
            in_lost=0.025 * i,
        )
        for i, trip in enumerate([20, 20, 60])
    ]
    with capture.open("ab") as f:
        f.write(msgspec.json.Encoder().encode_lines(samples))
    summary = write_report(capture, tmp_path / "r.html", title="Network")
    assert summary.records == len(call(seconds=3)), "its lines are no records"
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Round trip 20 ms (p50), 56 ms (p95). 2 Mb/s came on average, 5.0 % lost in the worst second; " in text
    assert "nothing is known of what left." in text
    trip, rates = re.findall(r'<svg viewBox[^>]*aria-label="(?:round trip|bitrates) over time".*?</svg>', text, re.S)
    assert [chart.count("<polyline") for chart in (trip, rates)] == [1, 1]


def test_a_ledger_cut_short_is_reported_and_said_so(tmp_path: Path) -> None:
    path = write(tmp_path / "l.jsonl", call())
    path.write_bytes(path.read_bytes()[:-9])
    summary = write_report(path, tmp_path / "r.html", title="Cut")
    assert summary.truncated == 1
    assert "cut short" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_a_report_that_cannot_be_written_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="can't be written"):
        write_report(write(tmp_path / "l.jsonl", call()), tmp_path / "l.jsonl" / "r.html", title="x")


def test_a_frame_is_split_into_stages_and_named_gaps() -> None:
    record = Record(
        session="s",
        stream="v",
        id=1,
        capture_ns=0,
        deadline_ns=400 * MS,
        outcome="shown",
        displayed_ns=100 * MS,
        stages=(
            Stage("ring", 20 * MS, 21 * MS),
            Stage("splat", 21 * MS, 30 * MS),
            Stage("splat", 30 * MS, 40 * MS),
            Stage("encode", 50 * MS, 60 * MS),
        ),
    )
    bars = segments(record)
    assert [(b.name, b.start, b.end, b.work) for b in bars] == [
        ("capture → ring", 0, 20, False),
        ("ring", 20, 21, True),
        ("splat", 21, 40, True),
        ("splat → encode", 40, 50, False),
        ("encode", 50, 60, True),
        ("encode → display", 60, 100, False),
    ]


def test_few_frames_are_drawn_one_by_one_and_of_many_only_the_late() -> None:
    few = [(t / 10, 100.0 if t % 2 else 500.0) for t in range(20)]
    assert timeline(few, [], 400.0, 2.0).count("<circle") == 20
    many = [(t / 10, 100.0 if t % 2 else 500.0) for t in range(200)]
    assert timeline(many, [], 400.0, 20.0).count("<circle") == 100


def test_ticks_are_round_and_within_the_axis() -> None:
    assert ticks(0, 437, 5) == [0, 100, 200, 300, 400]
    assert ticks(0, 10.5, 5, whole=True) == [0, 5, 10]
    assert ticks(3, 3, 5) == [3]
    assert tick_labels([0, 2.5, 5]) == ["0.0", "2.5", "5.0"]


def test_each_reason_keeps_its_colour_up_to_six() -> None:
    names = ["shown", "a", "late", "b", "c", "d", "e", "f", "g"]
    assert list(categories(names).values()) == [
        "shown", "cat0", "late", "cat1", "cat2", "cat3", "cat4", "cat5", "cat5",
    ]  # fmt: skip


def test_conditions_name_host_load_and_versions() -> None:
    where = conditions()
    assert {"date", "CPU", "memory", "load average", "system", "packages"} == set(where)
    assert "numpy" in where["packages"]
