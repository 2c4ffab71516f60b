"""How soon the cost model is right again when everything suddenly costs twice as much, or half.

A prediction is one frame's: what the governor expected when its rung was chosen, against what its slices then took.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from streamsvc.bench.budget import crowded, hundredth, save, unit
from streamsvc.bench.budget_play import Play
from streamsvc.bench.view_report import Column, table
from streamsvc.budget.outcome import Cost
from streamsvc.budget.policies import DEFAULT_POLICY
from streamsvc.budget.simulator import simulate
from streamsvc.simulate import ScenarioError, load_scenario, row_of

GOOD_ERROR = 0.10
WINDOW_S = 0.5
"""What a median is over."""

STEP_S = 0.05


def errors(costs: Sequence[Cost], from_s: float, to_s: float) -> list[float]:
    """Return the relative errors of the predictions for what began in [from, to)."""
    return sorted(c.error for c in costs if from_s * 1e9 <= c.begun_ns < to_s * 1e9)


def percentiles(found: Sequence[float]) -> tuple[float | None, float | None]:
    """Return the median and the 95th percentile of sorted errors."""
    return (median(found), found[int(0.95 * (len(found) - 1))]) if found else (None, None)


def recovery_s(costs: Sequence[Cost], shock_s: float, end_s: float) -> float | None:
    """Return how long after a shock there has been, for the first time, a whole `WINDOW_S` of which the median error is
    under `GOOD_ERROR`; None where there is none by the end."""
    for step in range(int((end_s - WINDOW_S - shock_s) / STEP_S + 1e-6) + 1):
        at = shock_s + step * STEP_S
        found = errors(costs, at, at + WINDOW_S)
        if found and median(found) < GOOD_ERROR:
            return step * STEP_S + WINDOW_S
    return None


def run_shock(
    out: Path, scenario: Path, counts: Sequence[int], seconds: float, seed: int, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Play the scenario's shocks live for each count of its first session, under our policy. Raises ScenarioError where
    there is none, or `seconds` don't reach behind the last."""
    base = load_scenario(scenario)
    if not base.shocks or max(s.to_s for s in base.shocks) + WINDOW_S > seconds:
        raise ScenarioError(f"the scenario {scenario} needs a shock that is over {WINDOW_S:g} s before {seconds:g} s")
    rows = []
    for count in counts:
        played = crowded(base, count, seconds)
        outcome = Play(played, DEFAULT_POLICY, seed).run()
        simulated = simulate(played, DEFAULT_POLICY, seed)
        live = row_of(DEFAULT_POLICY.name, seconds, [outcome])
        for name, shock_s, end_s, factor in changes(played.shocks, seconds):
            before = errors(outcome.costs, max(0.0, shock_s - 5), shock_s)
            after = errors(outcome.costs, shock_s, min(shock_s + 1, end_s))
            rows.append(
                {
                    "sessions": count,
                    "costs": name,
                    "factor": factor,
                    "video": live.video,
                    "speech": live.speech,
                    "before": percentiles(before)[0],
                    "first_second": percentiles(after)[0],
                    "recovery_s": recovery_s(outcome.costs, shock_s, end_s),
                    "simulated_recovery_s": recovery_s(simulated.costs, shock_s, end_s),
                    "later": percentiles(errors(outcome.costs, min(shock_s + 5, end_s), end_s))[0],
                }
            )
    for line in table(rows, COLUMNS, ("sessions", "costs")):
        tell(line)
    return save(out, "budget-shock", {"scenario": msgspec.to_builtins(base), "seconds": seconds, "rows": rows}, {})


def changes(shocks: Sequence[Any], seconds: float) -> list[tuple[str, float, float, float]]:
    """Return what costs are multiplied by and when: (what it is called, from, to the next change, factor)."""
    times = sorted({t for s in shocks for t in (s.from_s, s.to_s)})

    def factor(at: float) -> float:
        product = 1.0
        for s in shocks:
            product *= s.factor if s.from_s <= at < s.to_s else 1.0
        return product

    found = []
    for at, end in zip(times, [*times[1:], seconds], strict=True):
        found.append((f"x {factor(at):g} from {at:g} s on", at, end, factor(at)))
    return found


COLUMNS: tuple[Column, ...] = (
    ("median error before", "before", unit),
    ("in the first second", "first_second", unit),
    (f"under {GOOD_ERROR:g} within s", "recovery_s", hundredth),
    ("simulated", "simulated_recovery_s", hundredth),
    ("from 5 s on", "later", unit),
    ("video", "video", unit),
    ("speech", "speech", unit),
)
