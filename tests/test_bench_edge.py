"""`bench edge`: from numbers on cards to figures, what is written, and one short run of ours and of stock aiortc."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest

from streamsvc.bench import edge_run
from streamsvc.bench.edge import EdgeBench, run_edge
from streamsvc.bench.edge_camera import Drawing
from streamsvc.bench.edge_child import Job
from streamsvc.bench.edge_figures import MS, OURS, STOCK, Run, arrivals, instant_before, ratios, row, table
from streamsvc.bench.edge_plot import latency_plot
from streamsvc.bench.edge_run import BenchError
from streamsvc.cli import main
from streamsvc.probe.reading import CardReader
from streamsvc.scene.card import PERIOD_MS

PERIOD_NS = 33_333_333
START = 5 * PERIOD_MS * MS - 500 * MS
"""Half a second before the number on the card starts again."""


def made_up(side: str, latency_ms: float, *, lost: tuple[int, ...] = (), spoiled: tuple[int, ...] = ()) -> Run:
    """Thirty pictures, of which the first ten don't count; `lost` never come, of `spoiled` the card can't be read."""
    captures = tuple(START + i * PERIOD_NS for i in range(30))
    sightings = []
    for i, capture in enumerate(captures):
        number = None if i in spoiled else round(capture / MS) % PERIOD_MS
        if i not in lost:
            sightings.append((capture + round(latency_ms * MS), number))
    return Run(
        (320, 240), side, captures, captures[10], captures[-1] + 1, tuple(sightings), (500_000,), (600_000,), 1_500_000
    )


@pytest.mark.parametrize("age_ms", [0, 1, 40, 5_000, PERIOD_MS - 3])
def test_a_number_is_the_last_such_instant_before_the_picture_was_there(age_ms: int) -> None:
    for shown_ms in (PERIOD_MS * 7, PERIOD_MS * 7 + 3, PERIOD_MS * 8 - 1):
        number = (shown_ms - age_ms) % PERIOD_MS
        assert instant_before(number, shown_ms * MS + 400_000) == (shown_ms - age_ms) * MS


def test_an_instant_that_was_rounded_up_is_not_taken_for_one_of_the_period_before() -> None:
    captured = 3 * PERIOD_MS * MS + 600_000
    assert instant_before(round(captured / MS) % PERIOD_MS, captured + 100_000) == (3 * PERIOD_MS + 1) * MS


def test_latencies_are_exact_over_the_end_of_the_period() -> None:
    came = arrivals(made_up(OURS, 12.25))
    assert came.captured == 20 and came.unreadable == 0
    assert came.latencies_ms == pytest.approx([12.25] * 20)
    assert came.longest_gap_ms == pytest.approx(PERIOD_NS / MS)


def test_what_never_came_and_what_could_not_be_read_are_misses() -> None:
    found = row([made_up(OURS, 10, lost=(2, 15, 16), spoiled=(3, 20))])
    assert (found.captured, found.delivered, found.missed, found.unreadable) == (20, 17, 3, 1)
    assert found.p50_ms == pytest.approx(10) and found.longest_gap_ms == pytest.approx(3 * PERIOD_NS / MS)


def test_a_card_of_an_instant_that_was_never_filmed_counts_as_unreadable() -> None:
    run = made_up(OURS, 10)
    shown, number = run.sightings[15]
    assert number is not None
    wrong = replace(run, sightings=(*run.sightings[:15], (shown, number + 12), *run.sightings[16:]))
    came = arrivals(wrong)
    assert (came.unreadable, len(came.latencies_ms)) == (1, 19)


def test_runs_are_pooled_and_compared_in_pairs() -> None:
    rows = [row([made_up(OURS, 10), made_up(OURS, 14)]), row([made_up(STOCK, 40), made_up(STOCK, 42, lost=(12,))])]
    assert [(r.captured, r.delivered) for r in rows] == [(40, 40), (40, 39)]
    (ratio,) = ratios(rows)
    assert ratio.p50_by_run == pytest.approx([4, 3])
    assert rows[0].p50_ms is not None and rows[1].p50_ms is not None
    assert ratio.p50 == pytest.approx(rows[1].p50_ms / rows[0].p50_ms)


def test_table_and_plot_show_every_side_also_one_of_which_nothing_came() -> None:
    rows = [row([made_up(OURS, 10)]), row([made_up(STOCK, 10, lost=tuple(range(30)))])]
    lines = table(rows)
    assert lines[1].split()[:5] == ["320x240", "ours", "20", "0", "0"] and "600 (1500)" in lines[1]
    assert lines[2].split()[:6] == ["320x240", "stock", "20", "20", "0", "-"]
    assert "stock / ours -" in lines[3]
    for shown in (rows, rows[:1], rows[1:]):
        picture = ET.fromstring(latency_plot("ours & stock", shown))
        text = " ".join(picture.itertext())
        assert "320x240" in text and "ours & stock" in text
        assert ("p50 10.0 ms" in text) == (shown[0].side == OURS)


@pytest.mark.parametrize("size", [(160, 120), (320, 240), (1280, 720)])
def test_what_a_receiver_keeps_of_the_card_is_enough_to_read_it(size: tuple[int, int]) -> None:
    drawing, reader = Drawing(size), CardReader()
    x0, y0, x1, y1 = drawing.box
    for ms in (1, 77_777, PERIOD_MS + 5):
        planes = drawing.at(ms * MS)
        assert planes.shape == (size[1] * 3 // 2, size[0])
        kept = np.ascontiguousarray(planes[y0 : y1 : drawing.step, x0 : x1 : drawing.step])
        reading = reader.read(kept)
        assert reading is not None and reading.number == ms % PERIOD_MS
        assert kept.size < 20_000


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_a_short_run_measures_both_sides(tmp_path: Path, codec: str) -> None:
    told: list[str] = []
    options = EdgeBench(tmp_path / "out", ((320, 240),), codec, seconds=2.0, repeats=1, warm_up_s=0.5)  # type: ignore[arg-type]
    figures = await run_edge(options, told.append)

    assert [(r["size"], r["side"]) for r in figures["rows"]] == [("320x240", OURS), ("320x240", STOCK)]
    for found in figures["rows"]:
        assert 0 < found["delivered"] <= found["captured"]
        assert all(0 < x < 5_000 for x in found["latencies_ms"])
        assert all(a <= b for a, b in pairwise(found["latencies_ms"]))
        assert found["psnr_db"] > 25 and found["bits_per_s"] > 0 and found["target_bps"][0] > 0
    assert figures["ratios"][0]["p50"] > 0
    assert "load average" in figures["conditions"]
    assert json.loads((options.out / "edge.json").read_text("utf-8")) == json.loads(json.dumps(figures))
    ET.fromstring((options.out / "edge.svg").read_text("utf-8"))
    assert any(line.startswith("320x240  stock") for line in told)


async def test_a_page_in_chromium_measures_both_sides(tmp_path: Path) -> None:
    options = EdgeBench(tmp_path, ((320, 240),), seconds=3.0, repeats=1, warm_up_s=3.0, chromium=True, processing_ms=50)
    figures = await run_edge(options, lambda _: None)
    ours, stock = figures["rows"]
    for found in (ours, stock):
        assert found["delivered"] > 0 and found["unreadable"] == 0
        assert found["latencies_ms"][0] >= 50 and found["psnr_db"] is None
    # Ours reports the clock of the capture, stock that of sending; busy machines are late in both by what they are.
    assert ours["capture_error_p50_ms"] < stock["capture_error_p50_ms"]


async def test_a_child_that_fails_is_one_error_that_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(edge_run.MODULES, OURS, "streamsvc.bench.no_such_child")
    with pytest.raises(BenchError, match=r"^the ours \w+ ended with status 1: .*no_such_child") as raised:
        await run_edge(EdgeBench(tmp_path, ((160, 120),), seconds=1.0, repeats=1), lambda _: None)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("side", [OURS, STOCK])
@pytest.mark.parametrize("role", ["send", "receive"])
def test_a_child_ends_when_its_parent_is_gone(tmp_path: Path, side: str, role: str) -> None:
    job = Job(role, 160, 120, "VP8", 30, 0, 60, str(tmp_path), (0, 0, 9, 9), 1)  # type: ignore[arg-type]
    line = msgspec.json.encode(job) + b"\n"
    done = subprocess.run([sys.executable, "-m", edge_run.MODULES[side]], input=line, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "big"], "a size is WIDTHxHEIGHT, got 'big'"),
        (["--size", "321x240"], "even sides from 160x120 are accepted, got '321x240'"),
        (["--codec", "VP9"], "invalid choice: 'VP9'"),
        (["--fps", "5"], "a number from 15 to 60 is accepted, got '5'"),
        (["--fps", "nan"], "a number from 15 to 60 is accepted, got 'nan'"),
        (["--seconds", "0"], "a number from 1 to 120 is accepted, got '0'"),
        (["--repeats", "0"], "a whole number from 1"),
    ],
)
def test_bad_flags_are_one_clear_line(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "edge", *arguments])
    err = capsys.readouterr().err
    assert ended.value.code == 2
    assert message in err.splitlines()[-1] and "Traceback" not in err
