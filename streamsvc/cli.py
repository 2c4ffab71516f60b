"""The command line: which commands there are, and how what goes wrong is told.

Exit status 0 on success, 2 on bad input with one clear line on stderr. Everything heavy is imported by the command that
needs it, so that `streamsvc peer` runs where neither torch nor a speech model is installed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import streamsvc
from streamsvc.bench import command as benches
from streamsvc.commands import (
    calibrate,
    demo,
    doctor,
    interpret,
    peer,
    probe,
    report,
    serve,
    simulate,
    synthesize,
    token,
)
from streamsvc.errors import StreamsvcError
from streamsvc.flags import Command

COMMANDS: dict[str, tuple[str, Command, Callable[[argparse.ArgumentParser], None]]] = {
    "demo": ("everything at once: no browser and no camera needed", demo.run, demo.add_flags),
    "serve": ("the service", serve.run, serve.add_flags),
    "peer": ("take part without a browser", peer.run, peer.add_flags),
    "probe": ("measure a server: latency by a clock that the cameras see", probe.run, probe.add_flags),
    "calibrate": ("a rig from pictures of a chessboard", calibrate.run, calibrate.add_flags),
    "synthesize": ("a novel view from pictures or frames", synthesize.run, synthesize.add_flags),
    "interpret": ("interpret a recording", interpret.run, interpret.add_flags),
    "token": ("a token that opens a room for a while", token.run, token.add_flags),
    "report": ("a page, and a trace for Perfetto, from a ledger", report.run, report.add_flags),
    "simulate": ("what each policy makes of a load, under a mock clock", simulate.run, simulate.add_flags),
    "bench": ("the figures that the README quotes", benches.bench, benches.add_flags),
    "doctor": ("what works here, and why not", doctor.run, doctor.add_flags),
}


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    p = argparse.ArgumentParser(prog="streamsvc", description=streamsvc.__doc__)
    p.add_argument("--version", action="version", version=f"streamsvc {streamsvc.__version__}")
    commands = p.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (text, run, add) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=(run.__doc__ or text))
        add(command)
        command.add_argument("--json", type=Path, metavar="FILE", help="write the figures there for machines")
        command.set_defaults(run=run)
    return p


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and exit with its status."""
    arguments = parser().parse_args(argv)
    try:
        status = arguments.run(arguments)
    except StreamsvcError as e:
        print(f"streamsvc {arguments.command}: {e}", file=sys.stderr)
        status = 2
    except ImportError as e:
        print(f"streamsvc {arguments.command}: {e}; the extra that brings it is not installed", file=sys.stderr)
        status = 2
    except OSError as e:
        where = f"{e.filename}: " if e.filename else ""
        print(f"streamsvc {arguments.command}: {where}{e.strerror or e}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)


if __name__ == "__main__":
    main()
