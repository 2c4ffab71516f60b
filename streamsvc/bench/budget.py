"""`bench budget`: the worker's lanes, dispatcher and planner live, beside those policies that it has to beat.

Every policy gets the same scenario in real time (`budget_play`), with 1, 2, ... of its first session. What the
simulator makes of the same scenario stands beside it. `budget_real` makes the same table of a worker's own stages.

What deciding costs is the CPU time of the simulator, which has no threads: planner, dispatcher, cost model and the
making of the load. Live the threads' waking and waiting comes on top.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from streamsvc.bench.budget_play import Play
from streamsvc.bench.view_report import Column, table
from streamsvc.budget.load import speech_share
from streamsvc.budget.policies import DEFAULT_POLICY, POLICIES
from streamsvc.budget.scenario import Scenario
from streamsvc.budget.simulator import simulate
from streamsvc.ledger.conditions import conditions
from streamsvc.simulate import Row, ScenarioError, load_scenario, row_of
from streamsvc.simulate_plot import goodput_plot

COMPARED = ("fifo", "newest", "edf", DEFAULT_POLICY.name)


@dataclass(frozen=True, slots=True)
class BudgetBench:
    """What to run: `scenario` with 1, 2, ... of its first session each for `seconds`, under `policies`."""

    out: Path
    scenario: Path = Path("one-session")
    sessions: tuple[int, ...] = (1, 2, 3, 4)
    policies: tuple[str, ...] = COMPARED
    seconds: float = 20.0
    seed: int = 1


def check_policies(names: Sequence[str]) -> None:
    """Raise ScenarioError for a policy that there isn't."""
    for name in names:
        if name not in POLICIES:
            raise ScenarioError(f"no policy is called {name!r}; there are {', '.join(POLICIES)}")


def crowded(base: Scenario, count: int, seconds: float) -> Scenario:
    """Return the scenario with `count` of its first session, for `seconds`."""
    first = msgspec.structs.replace(base.sessions[0], count=count)
    return msgspec.structs.replace(base, sessions=(first, *base.sessions[1:]), seconds=seconds)


def top_load(scenario: Scenario) -> float:
    """Return what the top rungs and all speech, pass by pass, would take, as a share of all lanes."""
    load = 0.0
    for session in scenario.sessions:
        if session.view is not None:
            load += session.count * max(r.cost_ms for r in session.view.rungs) * session.view.fps / 1000
        if session.speech is not None:
            load += session.count * speech_share(session.speech)
    return load / scenario.lanes


def run_budget(options: BudgetBench, tell: Callable[[str], None]) -> dict[str, Any]:
    """Run the bench and return its figures; `tell` gets lines of progress and then the table. Raises ScenarioError."""
    base = load_scenario(options.scenario)
    check_policies(options.policies)
    runs: list[dict[str, Any]] = []
    lives: dict[int, list[Row]] = {count: [] for count in options.sessions}
    for count in options.sessions:
        scenario = crowded(base, count, options.seconds)
        for name in options.policies:
            play = Play(scenario, POLICIES[name], options.seed)
            live = row_of(name, scenario.seconds, [play.run()])
            before = time.process_time()
            outcome = simulate(scenario, POLICIES[name], options.seed)
            deciding_s = time.process_time() - before
            simulated = row_of(name, scenario.seconds, [outcome])
            lives[count].append(live)
            row = goodputs(live)
            tell(f"  {count} x {name}: video {unit(row['video'])}, speech {unit(row['speech'])}")
            runs.append(
                {
                    "sessions": count,
                    "load": top_load(scenario),
                    **row,
                    "simulated_video": simulated.video,
                    "simulated_speech": simulated.speech,
                    "cpu_ms_per_frame": 1000 * play.cpu_s / max(play.load.captured, 1),
                    "simulated_cpu_ms_per_frame": 1000 * deciding_s / max(play.load.captured, 1),
                    "live": asdict(live),
                    "simulated": asdict(simulated),
                }
            )
    for line in table(runs, COLUMNS, ("sessions", "policy")):
        tell(line)
    figures = {"scenario": msgspec.to_builtins(base), "seconds": options.seconds, "runs": runs}
    plots = {f"budget-{n}": goodput_plot(f"{base.title}: {n} x, live", rows) for n, rows in lives.items()}
    return save(options.out, "budget", figures, plots)


def goodputs(row: Row) -> dict[str, Any]:
    """Return the columns that live and real runs share."""
    least = min((x for x in (row.video, row.speech) if x is not None), default=None)
    return {
        "policy": row.policy,
        "video": row.video,
        "speech": row.speech,
        "least": least,
        "quality": row.quality,
        "best_effort": row.best_effort,
    }


def save(out: Path, name: str, figures: dict[str, Any], plots: dict[str, str]) -> dict[str, Any]:
    """Write the figures, with the conditions, and the plots as SVG; return the figures."""
    figures = {**figures, "conditions": {**conditions(), "load after": f"{os.getloadavg()[0]:.2f}"}}
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(figures)))
    for stem, plot in plots.items():
        (out / f"{stem}.svg").write_text(plot, "utf-8")
    return figures


def unit(value: float | None) -> str:
    """Return a share as text."""
    return "-" if value is None else f"{value:.3f}"


def hundredth(value: float) -> str:
    """Return a number with two decimals."""
    return f"{value:.2f}"


def three(value: float) -> str:
    """Return a number with three digits."""
    return f"{value:.3g}"


SHARED: tuple[Column, ...] = (
    ("load", "load", hundredth),
    ("video", "video", unit),
    ("speech", "speech", unit),
    ("least", "least", unit),
    ("quality", "quality", three),
)
COLUMNS: tuple[Column, ...] = (
    *SHARED,
    ("best effort", "best_effort", hundredth),
    ("simulated: video", "simulated_video", unit),
    ("speech", "simulated_speech", unit),
    ("CPU ms a frame", "cpu_ms_per_frame", hundredth),
    ("simulated", "simulated_cpu_ms_per_frame", hundredth),
)
