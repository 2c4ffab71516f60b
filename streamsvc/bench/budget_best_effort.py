"""What best effort recovers beside one session, and what it costs that session: artificial slices of some lengths.

`budget_second` asks the same of a worker's own best effort.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from streamsvc.bench.budget import crowded, goodputs, hundredth, save, three, top_load, unit
from streamsvc.bench.budget_play import Play
from streamsvc.bench.view_report import Column, table
from streamsvc.budget.outcome import Outcome
from streamsvc.budget.policies import DEFAULT_POLICY
from streamsvc.budget.simulator import simulate
from streamsvc.simulate import load_scenario, row_of

SLICES_MS = (0.0, 25.0, 100.0)


def run_best_effort(
    out: Path, scenario: Path, seconds: float, seed: int, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Play the scenario with one of its first session, without best effort and with slices of each length."""
    one = crowded(load_scenario(scenario), 1, seconds)
    rows = []
    for slice_ms in SLICES_MS:
        played = msgspec.structs.replace(one, best_effort_ms=slice_ms)
        outcome = Play(played, DEFAULT_POLICY, seed).run()
        name = f"slices of {slice_ms:g} ms" if slice_ms else "none"
        simulated = simulate(played, DEFAULT_POLICY, seed)
        rows.append(
            {
                "runs": name,
                "load": top_load(one),
                **columns(outcome, seconds),
                **{f"simulated_{k}": v for k, v in columns(simulated, seconds).items()},
            }
        )
    for line in table(rows, (*COLUMNS, *SIMULATED), ("runs",)):
        tell(line)
    return save(out, "budget-best-effort", {"scenario": msgspec.to_builtins(one), "rows": rows}, {})


def columns(outcome: Outcome, seconds: float) -> dict[str, Any]:
    """Return the columns of a run: what the session got, and the 95th percentile of its views' latency."""
    shown = [(d.displayed_ns - d.captured_ns) / 1e6 for s in outcome.sessions for d in s.views if d.displayed_ns]
    return {
        **goodputs(row_of(DEFAULT_POLICY.name, seconds, [outcome])),
        "latency_p95_ms": float(np.percentile(shown, 95)) if shown else None,
        "busy": outcome.busy,
    }


COLUMNS: tuple[Column, ...] = (
    ("load", "load", hundredth),
    ("video", "video", unit),
    ("speech", "speech", unit),
    ("quality", "quality", three),
    ("latency p95 ms", "latency_p95_ms", three),
    ("busy", "busy", hundredth),
    ("best effort", "best_effort", hundredth),
)
SIMULATED: tuple[Column, ...] = (
    ("simulated: video", "simulated_video", unit),
    ("best effort", "simulated_best_effort", hundredth),
)
