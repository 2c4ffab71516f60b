"""`bench budget --what W [--real]`: which flags go with which question, and what each runs by itself."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamsvc.bench.budget import COMPARED
from streamsvc.flags import UsageError

SECONDS = {"policies": 20.0, "shock": 30.0, "admission": 60.0, "best-effort": 20.0}
REAL = ("policies", "admission", "best-effort")


def run(arguments: argparse.Namespace, tell: Callable[[str], None]) -> dict[str, Any]:
    """Run what the flags ask for and return its figures; raises UsageError for flags that don't go together."""
    what, real, out, seed = arguments.question, arguments.real, arguments.out, arguments.seed
    if real and what not in REAL:
        raise UsageError(f"--real goes with --what {' or '.join(REAL)}, not with {what}")
    takes = {
        "--policy": (arguments.policy, what == "policies"),
        "--sessions": (arguments.sessions, what in ("policies", "shock") or (real and what == "admission")),
        "--scenario": (arguments.scenario, not real),
    }
    for flag, (value, taken) in takes.items():
        if value is not None and not taken:
            raise UsageError(f"{flag} doesn't go with --what {what}{' --real' * real}")
    seconds = arguments.seconds or (12.0 if real and what == "policies" else SECONDS[what])
    scenario = arguments.scenario or Path("cost-shock" if what == "shock" else "one-session")
    count = arguments.sessions or (2 if what == "shock" else 4)
    counts = tuple(range(1, count + 1))
    policies = tuple(arguments.policy or COMPARED)
    match what, real:
        case "policies", True:
            from streamsvc.bench.budget_real import RealBench, run_real

            return run_real(RealBench(out, count, policies, seconds, seed), tell)
        case "policies", False:
            from streamsvc.bench.budget import BudgetBench, run_budget

            options = BudgetBench(out, scenario, counts, policies, seconds, seed)
            return run_budget(options, tell)
        case "shock", _:
            from streamsvc.bench.budget_shock import run_shock

            return run_shock(out, scenario, counts, seconds, seed, tell)
        case "admission", True:
            from streamsvc.bench.budget_calls import run_calls

            return run_calls(out, seconds, count, tell)
        case "admission", False:
            from streamsvc.bench.budget_admission import run_admission

            return run_admission(out, scenario, seconds, seed, tell)
        case _, True:
            from streamsvc.bench.budget_second import run_second

            return run_second(out, seconds, seed, tell)
        case _:
            from streamsvc.bench.budget_best_effort import run_best_effort

            return run_best_effort(out, scenario, seconds, seed, tell)
