"""The dispatcher and planner live: everything that was due is accounted for, as in the simulator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from streamsvc.bench.budget import top_load
from streamsvc.bench.budget_admission import LOAD, arrivals, offers, windows
from streamsvc.bench.budget_calls import Caller, row
from streamsvc.bench.budget_play import Play
from streamsvc.bench.budget_shock import changes, percentiles, recovery_s
from streamsvc.budget.goodput import Due
from streamsvc.budget.outcome import Cost, SessionOutcome
from streamsvc.budget.policies import DEFAULT_POLICY, POLICIES
from streamsvc.budget.scenario import Noise, RungLoad, Scenario, SessionLoad, Shock, SpeechLoad, ViewLoad
from streamsvc.budget.simulator import simulate
from streamsvc.cli import main
from streamsvc.ledger.records import Record
from streamsvc.simulate import shipped

MS, S = 1_000_000, 1_000_000_000
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
    assert play.load.captured == 40
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


def test_speech_that_is_decoded_together_is_all_said_and_takes_less() -> None:
    speakers = SessionLoad(count=8, speech=SpeechLoad(encode_ms=5, tokens=20, token_ms=4))
    apart = msgspec.structs.replace(LIGHT, sessions=(speakers,), lanes=1)
    together = msgspec.structs.replace(apart, together=4, batch=0.0)
    for scenario in (apart, together):
        outcome = Play(scenario, POLICIES["fifo"], 1).run()
        assert all(d.displayed_ns is not None for s in outcome.sessions for d in s.speech)
    busy = [simulate(s, POLICIES["planner-goodput"], 1).busy for s in (apart, together)]
    assert busy[1] < busy[0]


def test_best_effort_runs_live_in_the_gaps_and_shocks_are_felt() -> None:
    half = msgspec.structs.replace(LIGHT, seconds=1.0, best_effort_ms=5, shocks=(Shock(from_s=0.5, to_s=1, factor=10),))
    outcome = Play(half, DEFAULT_POLICY, 1).run()
    assert outcome.best_effort > 0.2
    early = [c.measured_ns for c in outcome.costs if c.begun_ns < 0.4 * S]
    late = [c.measured_ns for c in outcome.costs if c.begun_ns > 0.5 * S]
    assert early and late and sorted(late)[len(late) // 2] > 2 * sorted(early)[len(early) // 2]


def test_the_load_is_that_of_the_top_rungs_and_speech() -> None:
    assert top_load(LIGHT) == pytest.approx(2 * (2 * 20 / 1000 + 4 / 250) / 2)


def test_a_model_has_recovered_when_half_a_second_of_predictions_is_good_again() -> None:
    def costs(bad_s: float) -> list[Cost]:
        """Twenty a second, of which those from 2 s on are predicted half of what they take for `bad_s`."""
        wrong = [2 * S <= i * 50 * MS < (2 + bad_s) * S for i in range(100)]
        return [Cost(i * 50 * MS, 10 * MS, (20 if w else 10) * MS) for i, w in enumerate(wrong)]

    # In half a second, four of ten may be wrong.
    assert recovery_s(costs(1.0), 2.0, 5.0) == pytest.approx(1.3)
    assert recovery_s(costs(0.0), 2.0, 5.0) == 0.5
    assert recovery_s(costs(3.0), 2.0, 5.0) is None
    assert percentiles([0.1, 0.2, 0.3]) == (0.2, 0.2) and percentiles([]) == (None, None)


def test_shocks_that_overlap_are_multiplied_and_their_ends_are_changes_too() -> None:
    shocks = (Shock(from_s=1, to_s=3, factor=2), Shock(from_s=2, to_s=4, factor=3))
    found = [(at, end, factor) for _, at, end, factor in changes(shocks, 9)]
    assert found == [(1, 2, 2), (2, 3, 6), (3, 4, 3), (4, 9, 1)]


def test_people_come_at_the_load_that_was_asked_for_and_are_offered_less_and_less() -> None:
    coming = arrivals(shipped()["one-session"], 40)
    assert [s.join_s for s in coming.sessions] == [4.0 * i for i in range(10)]
    there = sum(s.join_s <= 30 < (s.leave_s or 40) for s in coming.sessions)
    assert there * top_load(shipped()["one-session"]) == pytest.approx(LOAD, abs=0.5)
    whole, slow, heard = offers(coming.sessions[0])
    assert whole.given_up == "" and slow.given_up and heard.given_up
    assert slow.load.view is not None and slow.load.view.fps == 15 and heard.load.view is None


def test_a_stay_is_looked_at_in_whole_windows() -> None:
    views = tuple(Due(i * S, i * S + 1, i * S if i < 5 else None, 1.0) for i in range(13))
    assert windows(SessionOutcome("a", views, (), 0.5)) == [1.0, 0.0]
    assert windows(SessionOutcome("a", views[:3], (), 0.5)) == []


def run(*flags: str) -> int:
    with pytest.raises(SystemExit) as e:
        main(["bench", "budget", *flags])
    assert isinstance(e.value.code, int)
    return e.value.code


def test_the_bench_writes_a_table_figures_and_plots(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--sessions", "1", "--seconds", "2", "--out", str(tmp_path))
    assert run(*flags, "--policy", "edf", "--policy", "planner-goodput") == 0
    said = capsys.readouterr().out
    assert "planner-goodput" in said and "0.69" in said
    runs = json.loads((tmp_path / "budget.json").read_text())["runs"]
    assert [r["live"]["policy"] for r in runs] == ["edf", "planner-goodput"]
    assert (tmp_path / "budget-1.svg").read_text().startswith("<svg")


def test_shocks_admission_and_best_effort_have_a_table_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamsvc.bench.budget_best_effort.SLICES_MS", (25.0,))
    scenario = tmp_path / "s.toml"
    text = 'title = "t"\nshocks = [{from_s = 0.5, to_s = 1, factor = 2}]\n[[sessions]]\n[sessions.speech]\n'
    scenario.write_text(text + '[sessions.view]\nfloor = 1\nrungs = [{name = "a", cost_ms = 5, quality = 1}]\n')
    for what, said, *more in (
        ("shock", "x 2 from 0.5 s on", "--sessions", "1"),
        ("admission", "1 came at 0 s, was told after"),
        ("best-effort", "slices of 25 ms"),
    ):
        flags = ("--what", what, "--scenario", str(scenario), "--seconds", "2", "--out", str(tmp_path))
        assert run(*flags, *more) == 0
        assert said in capsys.readouterr().out
        figures = json.loads((tmp_path / f"budget-{what}.json").read_text())
        assert all(row["video"] is not None for row in figures["rows"]) and figures["conditions"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--policy", "luck"], "no policy is called 'luck'"),
        (["--real", "--policy", "luck"], "no policy is called 'luck'"),
        (["--scenario", "nowhere"], "can't be read"),
        (["--what", "shock", "--scenario", "one-session"], "needs a shock"),
        (["--what", "shock", "--seconds", "12"], "needs a shock"),
        (["--what", "shock", "--real"], "--real goes with"),
        (["--what", "admission", "--policy", "edf"], "--policy doesn't go with"),
        (["--real", "--scenario", "one-session"], "--scenario doesn't go with"),
        (["--real", "--sessions", "5"], "1 to 4 sessions"),
        (["--seconds", "0"], "2 to 600"),
    ],
)
def test_bad_flags_are_one_clear_line(flags: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*flags) == 2 and said in capsys.readouterr().err


def test_what_callers_of_a_service_got_is_read_from_its_ledger() -> None:
    def view(session: str, at_s: float, outcome: Literal["shown", "late", "dropped"]) -> Record:
        at = round(at_s * S)
        return Record(kind="view", session=session, stream="v", id=1, capture_ns=at, deadline_ns=at, outcome=outcome)

    ledger = [view("a", t / 10, "shown") for t in range(140)]
    ledger += [view("b", t / 10, "late" if 50 <= t < 75 else "shown") for t in range(140)]
    came = [
        Caller("a"),
        Caller("b", notices=["less: others get every second picture of you until there is room"]),
        Caller("c", refused_ms=120.0, refused="refused: no room"),
    ]
    got = row(came, ledger)
    assert (got["whole"], got["less"], got["refused"], got["slowest_refusal_ms"]) == (1, 1, 1, 120.0)
    assert got["video"] == pytest.approx((1 + 85 / 110) / 2) and got["least_video"] == pytest.approx(85 / 110)
    assert got["least_window"] == pytest.approx(25 / 50), "of the whole stretches of five seconds"
    assert got["speech"] is None
