"""`bench budget --real`: every policy with a worker's own stages, learned views and Whisper, on the machine's lanes.

The load is set by the frame rate: so many frames a second that the top rung and all speech, pass by pass, would take
0.7, 1.4, 2.1 and 3 times what the lanes have. From our own runs comes how well the cost model predicts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from streamsvc.bench.budget import COMPARED, SHARED, check_policies, goodputs, hundredth, save, unit
from streamsvc.bench.budget_material import SCENE, SIZE, Material, prepare
from streamsvc.bench.budget_shock import errors, percentiles
from streamsvc.bench.budget_worker import DEADLINE_MS, LAG_S, Shift, Worked, WorkerPlay
from streamsvc.bench.view_report import Column, table
from streamsvc.budget.policies import DEFAULT_POLICY, POLICIES
from streamsvc.frames import link
from streamsvc.simulate import Row, ScenarioError, row_of
from streamsvc.simulate_plot import goodput_plot
from streamsvc.speech import Translator
from streamsvc.speech.model import Whisper
from streamsvc.view.net import open_net
from streamsvc.view.warmup import warm_up

if TYPE_CHECKING:
    from streamsvc.view.net.geometry import NetGeometry

LOADS = (0.7, 1.4, 2.1, 3.0)
"""With 1, 2, 3 and 4 sessions."""

COLD_S = 10.0
LANES = link.WorkerSettings().lanes


@dataclass(frozen=True, slots=True)
class RealBench:
    """What to run: 1, 2, ... sessions at their `LOADS` for `seconds`, under `policies`."""

    out: Path
    sessions: int = len(LOADS)
    policies: tuple[str, ...] = COMPARED
    seconds: float = 12.0
    seed: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Stages:
    """A worker's own stages, warm, and what they are fed with."""

    net: NetGeometry
    translator: Translator | None
    material: Material


def open_stages(sessions: int, seconds: float, tell: Callable[[str], None], speech: bool = True) -> Stages:
    """Load and warm everything, and prepare `seconds` for so many sessions; raises what `open_net`, `Whisper` and
    `prepare` raise."""
    net = open_net()
    warm_up(net)
    translator = Whisper() if speech else None
    return Stages(net, translator, prepare(net, translator, sessions, seconds + LAG_S, LANES, tell))


def rate(load: float, sessions: int, material: Material) -> float:
    """Return the frames a second at which so many sessions make a load; raises ScenarioError where speech alone
    does."""
    fps = (load * LANES / sessions - material.share) / material.top_s
    if fps < 1:
        raise ScenarioError(
            f"{sessions} voices take {sessions * material.share:.2f} lanes on this machine, so there is no frame rate "
            f"for a load of {load:g} on {LANES}"
        )
    return fps


def run_real(options: RealBench, tell: Callable[[str], None]) -> dict[str, Any]:
    """Run the bench and return its figures; `tell` gets lines of progress and then the tables."""
    check_policies(options.policies)
    if options.sessions > len(LOADS):
        raise ScenarioError(f"real stages run with 1 to {len(LOADS)} sessions, not {options.sessions}")
    stages = open_stages(options.sessions, options.seconds, tell)
    runs: list[dict[str, Any]] = []
    predictions: list[dict[str, Any]] = []
    lives: dict[int, list[Row]] = {}
    for count, load in zip(range(1, options.sessions + 1), LOADS, strict=False):
        fps = rate(load, count, stages.material)
        lives[count] = []
        for name in options.policies:
            shift = Shift(count, fps, options.seconds, POLICIES[name], options.seed)
            worked = WorkerPlay(stages.material, shift, stages.net, stages.translator, LANES).run()
            live = row_of(name, options.seconds, [worked.outcome])
            lives[count].append(live)
            runs.append({"sessions": count, "fps": fps, "load": load, **columns(live, worked), "live": asdict(live)})
            tell(f"  {count} x {name}: video {unit(live.video)}, speech {unit(live.speech)}")
            for trouble in worked.troubles:
                tell(f"    {trouble}")
            if name == DEFAULT_POLICY.name:
                predictions.append({"sessions": count, "load": load, **predicted(worked)})
    tell(
        f"{SCENE}, two cameras {SIZE[0]}x{SIZE[1]}, frames due {DEADLINE_MS:g} ms after capture; Spanish, words due "
        f"{LAG_S:g} s after their sound; {options.seconds:g} s on {LANES} lanes"
    )
    for line in [
        *table(runs, COLUMNS, ("sessions", "policy")),
        f"prediction of a frame's compute, ours, what began {COLD_S:g} s or more after a cold start",
        *table(predictions, PREDICTED, ("sessions",)),
    ]:
        tell(line)
    material = stages.material
    figures = {
        "seconds": options.seconds,
        "top_rung": asdict(material.ladder[-1]),
        "top_ms": 1000 * material.top_s,
        "voice_share": material.share,
        "batch": material.batch,
        "runs": runs,
        "predictions": predictions,
    }
    plots = {
        f"budget-real-{n}": goodput_plot(f"a worker's own stages, {n} sessions, {LOADS[n - 1]:g} times what fits", rows)
        for n, rows in lives.items()
    }
    return save(options.out, "budget-real", figures, plots)


def columns(live: Row, worked: Worked) -> dict[str, Any]:
    """Return the columns of a run."""
    return {
        **goodputs(live),
        "passes_in_time": worked.in_time / worked.passes if worked.passes else None,
        "lag_p95_s": float(np.percentile(worked.lags_s, 95)) if worked.lags_s else None,
        "busy": live.busy,
    }


def predicted(worked: Worked) -> dict[str, Any]:
    """Return the prediction errors of a run: against the thread's CPU time, and against the time that the lane took."""
    found: dict[str, Any] = {}
    for name, costs in (("cpu", worked.cpu), ("lane", worked.outcome.costs)):
        late = errors(costs, COLD_S, float("inf"))
        found["frames"] = len(late)
        found[f"{name}_p50"], found[f"{name}_p95"] = percentiles(late)
    return found


def _whole(value: float) -> str:
    return f"{value:.0f}"


COLUMNS: tuple[Column, ...] = (
    ("fps", "fps", hundredth),
    *SHARED,
    ("passes in time", "passes_in_time", unit),
    ("lag p95 s", "lag_p95_s", hundredth),
    ("busy", "busy", hundredth),
    ("best effort", "best_effort", hundredth),
)
PREDICTED: tuple[Column, ...] = (
    ("load", "load", hundredth),
    ("frames", "frames", _whole),
    ("error against CPU time p50", "cpu_p50", unit),
    ("p95", "cpu_p95", unit),
    ("against lane time p50", "lane_p50", unit),
    ("p95", "lane_p95", unit),
)
