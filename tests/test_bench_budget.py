"""The dispatcher and planner live: everything that was due is accounted for, as in the simulator."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from streamsvc.bench.budget import Play, top_load
from streamsvc.budget.policies import POLICIES
from streamsvc.budget.scenario import Noise, RungLoad, Scenario, SessionLoad, SpeechLoad, ViewLoad
from streamsvc.budget.simulator import simulate
from streamsvc.cli import main
from streamsvc.simulate import ScenarioError

LIGHT = Scenario(
    title="light",
    seconds=1.0,
    lanes=2,
    noise=Noise(sigma=0.0, slow_share=0.0),
    sessions=(
        SessionLoad(
            count=2,
            view=ViewLoad(
                fps=20, deadline_ms=500, floor=0.5, slices=2,
                rungs=(RungLoad(name="low", cost_ms=1, quality=0.5), RungLoad(name="top", cost_ms=2, quality=1.0)),
            ),
            speech=SpeechLoad(every_ms=250, encode_ms=1, tokens=3, token_ms=1),
        ),
    ),
)  # fmt: skip


@pytest.mark.parametrize("policy", POLICIES)
def test_a_light_load_is_done_whole_under_every_policy(policy: str) -> None:
    play = Play(LIGHT, POLICIES[policy], 3)
    live, simulated = play.run(), simulate(LIGHT, POLICIES[policy], 3)
    assert play.frames == 40
    for ours, model in zip(live.sessions, simulated.sessions, strict=True):
        assert ours.name == model.name
        # The same seed captures the same instants, live and simulated.
        assert [d.captured_ns for d in ours.views] == [d.captured_ns for d in model.views]
        assert len(ours.speech) == len(model.speech) == 4
        assert all(d.displayed_ns is not None and d.displayed_ns > d.captured_ns for d in ours.speech)
        assert sum(d.displayed_ns is not None for d in ours.views) >= 10
        assert {d.rung for d in ours.views} <= {"low", "top", None}


def test_under_arrival_order_without_depth_nothing_is_dropped() -> None:
    heavy = msgspec.structs.replace(LIGHT, lanes=1, seconds=0.5)
    outcome = Play(heavy, POLICIES["fifo"], 1).run()
    assert all(d.displayed_ns is not None for s in outcome.sessions for d in s.views)


def test_the_load_is_that_of_the_top_rungs_and_speech() -> None:
    assert top_load(LIGHT) == pytest.approx(2 * (2 * 20 / 1000 + 4 / 250) / 2)


def test_what_only_the_simulator_can_do_is_refused() -> None:
    for change in ({"best_effort_ms": 25.0}, {"batch": 0.1}):
        with pytest.raises(ScenarioError, match="only be simulated"):
            Play(msgspec.structs.replace(LIGHT, **change), POLICIES["fifo"], 1)


def test_the_bench_writes_a_table_figures_and_plots(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--sessions", "1", "--seconds", "2", "--out", str(tmp_path)]
    with pytest.raises(SystemExit) as e:
        main(["bench", "budget", *flags, "--policy", "edf", "--policy", "planner-goodput"])
    assert e.value.code == 0
    said = capsys.readouterr().out
    assert "planner-goodput" in said and "0.69" in said
    runs = json.loads((tmp_path / "budget.json").read_text())["runs"]
    assert [r["live"]["policy"] for r in runs] == ["edf", "planner-goodput"]
    assert (tmp_path / "budget-1.svg").read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--policy", "luck"], "no policy is called 'luck'"), (["--scenario", "nowhere"], "can't be read"),
        (["--scenario", "best-effort-25ms"], "only be simulated"), (["--seconds", "0"], "2 to 600"),
    ],
)  # fmt: skip
def test_bad_flags_are_one_clear_line(flags: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as e:
        main(["bench", "budget", *flags])
    assert e.value.code == 2 and said in capsys.readouterr().err
