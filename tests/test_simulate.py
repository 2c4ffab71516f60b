"""`streamsvc simulate`: files in, a table and a plot out; a bad file is one line that names the key."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from streamsvc.cli import main
from streamsvc.simulate import shipped

GOOD = """
title = "small"
seconds = 2
[[sessions]]
[sessions.view]
floor = 0.5
rungs = [{name = "a", cost_ms = 5, quality = 1.0}]
[sessions.speech]
"""


def simulate(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["simulate", *arguments])
    out, err = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, out, err


def record(**more: object) -> str:
    stages = [{"name": "match", "start_ns": 0, "end_ns": 6_000_000}]
    known = {"session": "s", "stream": "v", "id": 1, "capture_ns": 0, "deadline_ns": 9, "outcome": "shown"}
    return json.dumps({**known, "rung": "net", "quality": 25.0, "stages": stages, **more}) + "\n"


def test_without_a_scenario_those_that_ship_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = simulate(capsys)
    assert status == 0 and all(name in out for name in shipped()) and "two-sessions" in out


def test_a_table_a_plot_and_figures_for_machines(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    scenario, plot, figures = tmp_path / "s.toml", tmp_path / "p.svg", tmp_path / "f.json"
    scenario.write_text(GOOD)
    arguments = (str(scenario), "--seeds", "2", "--policy", "edf", "--policy", "planner-goodput")
    status, out, _ = simulate(capsys, *arguments, "--plot", str(plot), "--json", str(figures))
    assert status == 0 and [line.split()[0] for line in out.splitlines()[1:]] == ["policy", "edf", "planner-goodput"]
    told = json.loads(figures.read_text())
    assert told["seeds"] == [1, 2] and told["policies"][1]["video"] == pytest.approx(1, abs=0.03)
    assert len(told["policies"][0]["video_by_second"]) == 2
    assert ElementTree.fromstring(plot.read_text()).tag.endswith("svg")
    assert simulate(capsys, *arguments)[1] == out, "the same seeds give the same table"


def test_costs_come_from_a_ledger(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    ledger, figures = tmp_path / "l.jsonl", tmp_path / "f.json"
    speech = [
        {"name": "encode", "start_ns": 0, "end_ns": 50_000_000},
        {"name": "decode", "start_ns": 0, "end_ns": 10**8},
    ]
    ledger.write_text(record() * 3 + record(kind="speech", rung=None, quality=None, stages=speech))
    arguments = ("two-sessions", "--seeds", "1", "--policy", "newest", "--costs", str(ledger), "--json", str(figures))
    assert simulate(capsys, *arguments)[0] == 0
    session = json.loads(figures.read_text())["scenario"]["sessions"][0]
    assert session["view"]["rungs"] == [{"name": "net", "cost_ms": 6.0, "quality": 25.0, "lie": 1.0}]
    assert session["view"]["floor"] == 25.0
    assert (session["speech"]["encode_ms"], session["speech"]["token_ms"]) == (50.0, 5.0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("cost_ms = 5", "cost_ms = -5"), "sessions[0].view.rungs[0].cost_ms"),
        (("cost_ms = 5", "cost_ms = 1e9"), "sessions[0].view.rungs[0].cost_ms"),
        (("cost_ms = 5", "cost_ms = nan"), "sessions[0].view.rungs[0].cost_ms"),
        (("cost_ms = 5", 'cost_ms = "five"'), "sessions[0].view.rungs[0].cost_ms"),
        (("cost_ms = 5, ", ""), "cost_ms"),
        (("seconds = 2", "seconds = 1e300"), "seconds"),
        (("seconds = 2", "second = 2"), "second"),
        (('title = "small"', ""), "title"),
        (("floor = 0.5", "floor = 2"), "sessions[0].view.floor"),
        (("floor = 0.5", 'floor = 0.5\ncap = "b"'), "sessions[0].view.cap"),
        (("[[sessions]]", "[[sessions]]\njoin_s = 3\nleave_s = 2"), "sessions[0].leave_s"),
        (("seconds = 2", "shocks = [{from_s = 2, to_s = 1, factor = 2}]"), "shocks[0].to_s"),
        (("seconds = 2", "seconds = = 2"), "is not TOML"),
        ((GOOD, "title = 'x'\n[[sessions]]"), "sessions[0]"),
    ],
)
def test_a_bad_scenario_is_one_line_that_names_the_key(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, change: tuple[str, str], told: str
) -> None:
    file = tmp_path / "s.toml"
    assert change[0] in GOOD
    file.write_text(GOOD.replace(*change))
    status, out, err = simulate(capsys, str(file))
    assert status == 2 and out == "" and told in err and len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("", "no view with a rung"),
        (record(stages=[{"name": "match", "start_ns": 9, "end_ns": 3}]), "stage match of s/v 1"),
        (record(stages=[{"name": "match", "start_ns": 0, "end_ns": 10**15}]), "stage match of s/v 1"),
        (record(stages=[{"name": "match", "start_ns": "x", "end_ns": 3}]), "start_ns"),
        (record(quality="high"), "quality"),
    ],
)
def test_a_bad_ledger_is_one_line_that_says_where(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, lines: str, told: str
) -> None:
    file = tmp_path / "l.jsonl"
    file.write_text(lines)
    status, _, err = simulate(capsys, "two-sessions", "--costs", str(file))
    assert status == 2 and told in err and len(err.strip().splitlines()) == 1


def test_an_unknown_scenario_or_policy_is_told_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = simulate(capsys, "absent")
    assert status == 2 and "two-sessions" in err
    status, _, err = simulate(capsys, "two-sessions", "--policy", "best")
    assert status == 2 and "planner-goodput" in err
