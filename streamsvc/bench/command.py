"""`streamsvc bench WHAT`: all benches by their names.

Everything heavy is imported by the bench that needs it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from streamsvc.bench import command_calls, command_edge, command_worker
from streamsvc.flags import check_files

BENCHES = command_calls.BENCHES | command_edge.BENCHES | command_worker.BENCHES


def bench(arguments: argparse.Namespace) -> int:
    """Measure what the README quotes."""
    check_files(arguments, folders=("out",))
    return BENCHES[arguments.what].run(arguments)


def add_flags(p: argparse.ArgumentParser) -> None:
    """Add a command for every bench."""
    kinds = p.add_subparsers(dest="what", required=True, metavar="WHAT")
    for name, one in BENCHES.items():
        kind = kinds.add_parser(name, help=one.text, description=one.text)
        one.add_flags(kind)
        # Suppressed, so that it doesn't undo what was given before the name.
        kind.add_argument(
            "--json", type=Path, metavar="FILE", default=argparse.SUPPRESS, help="write the figures there for machines"
        )
