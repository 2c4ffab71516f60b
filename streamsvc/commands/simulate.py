"""`streamsvc simulate`: policies under a mock clock."""

from __future__ import annotations

import argparse
from pathlib import Path

from streamsvc.flags import check_files, count, progress, write_json


def run(arguments: argparse.Namespace) -> int:
    """Run a scenario under a mock clock and compare the policies; without one, list those that ship."""
    from streamsvc import simulate as simulation
    from streamsvc.budget import POLICIES
    from streamsvc.simulate_plot import goodput_plot

    check_files(arguments, writes=("plot",), reads=(arguments.costs, arguments.scenario))
    if arguments.scenario is None:
        scenarios = simulation.shipped()
        width = max(map(len, scenarios))
        for name, scenario in scenarios.items():
            print(f"{name:{width}}  {scenario.title}")
        write_json(arguments.json, {name: s.title for name, s in scenarios.items()})
        return 0
    scenario = simulation.load_scenario(arguments.scenario)
    if arguments.costs is not None:
        scenario = simulation.with_costs(scenario, arguments.costs)
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    rows = simulation.run(scenario, arguments.policy or list(POLICIES), seeds, progress("run"))
    print(f"{scenario.title}: {arguments.seeds} x {scenario.seconds:g} s\n{simulation.table(rows)}")
    write_json(arguments.json, simulation.document(scenario, rows, seeds))
    if arguments.plot is not None:
        arguments.plot.write_text(goodput_plot(scenario.title, rows), "utf-8")
    return 0


def add_flags(p: argparse.ArgumentParser) -> None:
    """Add the command's flags."""
    p.add_argument("scenario", type=Path, nargs="?", metavar="SCENARIO.toml", help="file, or name of one that ships")
    p.add_argument("--policy", action="append", metavar="NAME", help="only this policy; repeatable (all)")
    p.add_argument("--seeds", type=count, default=8, metavar="N", help="runs of each policy (%(default)s)")
    p.add_argument("--first-seed", type=count, default=1, metavar="N", help="seed of the first run (%(default)s)")
    p.add_argument("--costs", type=Path, metavar="ledger.jsonl", help="take rungs, costs and noise from a ledger")
    p.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the goodputs, as SVG")
