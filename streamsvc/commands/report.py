"""`streamsvc report`: a ledger made readable."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from streamsvc.flags import check_files, write_json


def run(arguments: argparse.Namespace) -> int:
    """Turn a ledger, of `serve --ledger`, demo, bench, probe or a capture of our page, into a page and a trace.

    Exit status 1 when the ledger is empty.
    """
    from streamsvc.ledger import read_ledger
    from streamsvc.ledger.report import write_report
    from streamsvc.ledger.trace import write_trace

    out = arguments.out = arguments.out or arguments.ledger.with_suffix(".html")
    check_files(arguments, makes=("out", "trace"), reads=(arguments.ledger,))
    records = read_ledger(arguments.ledger)
    if next(records, None) is None and not records.network:
        print(f"{arguments.ledger} holds no records yet, so there is nothing to report", file=sys.stderr)
        return 1
    summary = write_report(arguments.ledger, out, title=arguments.title)
    print(summary.in_one_line())
    print(f"report: {out}")
    if arguments.trace is not None:
        write_trace(list(read_ledger(arguments.ledger)), arguments.trace)
        print(f"trace for ui.perfetto.dev or chrome://tracing: {arguments.trace}")
    write_json(arguments.json, summary.to_dict())
    return 0


def add_flags(p: argparse.ArgumentParser) -> None:
    """Add the command's flags."""
    p.add_argument("ledger", type=Path, metavar="LEDGER.jsonl", help="of serve --ledger, demo, bench, probe or a page")
    p.add_argument("--out", type=Path, metavar="HTML", help="the page (beside the ledger)")
    p.add_argument("--trace", type=Path, metavar="JSON", help="every frame and stage, for Perfetto")
    p.add_argument("--title", default="streamsvc", help="heading of the page (%(default)s)")
