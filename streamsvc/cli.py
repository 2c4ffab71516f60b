"""The command line: which commands there are, and how what goes wrong is told.

Exit status 0 on success, 2 on bad input with one clear line on stderr, 130 or 143 when it was interrupted or told to
end. Everything heavy is imported by the command that needs it, so that `streamsvc peer` runs where neither torch nor a
speech model is installed; and nothing at all before an interrupt is taken.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import streamsvc
from streamsvc.errors import StreamsvcError

if TYPE_CHECKING:
    from streamsvc.flags import Command

    Entry = tuple[str, Command, Callable[[argparse.ArgumentParser], None]]


def commands() -> dict[str, Entry]:
    """Return each command's line of help, what runs it and what adds its flags, by name."""
    from streamsvc.bench import command as bench
    from streamsvc.commands import (
        calibrate,
        demo,
        doctor,
        health,
        interpret,
        peer,
        probe,
        report,
        serve,
        simulate,
        synthesize,
        token,
    )

    return {
        "demo": ("everything at once: no browser and no camera needed", demo.run, demo.add_flags),
        "serve": ("the service", serve.run, serve.add_flags),
        "peer": ("take part without a browser", peer.run, peer.add_flags),
        "probe": ("measure a server: latency by a clock that the cameras see", probe.run, probe.add_flags),
        "calibrate": ("a rig from pictures of a chessboard", calibrate.run, calibrate.add_flags),
        "synthesize": ("a novel view from pictures or frames", synthesize.run, synthesize.add_flags),
        "interpret": ("interpret a recording", interpret.run, interpret.add_flags),
        "health": ("whether the service that runs here is well", health.run, health.add_flags),
        "token": ("a token that opens a room for a while", token.run, token.add_flags),
        "report": ("a page, and a trace for Perfetto, from a ledger", report.run, report.add_flags),
        "simulate": ("what each policy makes of a load, under a mock clock", simulate.run, simulate.add_flags),
        "bench": ("the figures that the README quotes", bench.bench, bench.add_flags),
        "doctor": ("what works here, and why not", doctor.run, doctor.add_flags),
    }


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    p = argparse.ArgumentParser(prog="streamsvc", description=streamsvc.__doc__)
    p.add_argument("--version", action="version", version=f"streamsvc {streamsvc.__version__}")
    p.add_argument("--until-eof", action="store_true", help="end when standard input does, for programs that start it")
    kinds = p.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (text, run, add) in commands().items():
        command = kinds.add_parser(name, help=text, description=(run.__doc__ or text))
        add(command)
        command.add_argument("--json", type=Path, metavar="FILE", help="write the figures there for machines")
        command.set_defaults(run=run)
    return p


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and exit with its status."""
    told: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        """Do what an interrupt does, so that whatever was started ends in order."""
        told.append(number)
        interrupted = signal.getsignal(signal.SIGINT)
        if not callable(interrupted):  # a shell ignores SIGINT for what it runs in the background
            raise KeyboardInterrupt
        interrupted(signal.SIGINT, frame)

    before = signal.signal(signal.SIGTERM, end)
    try:
        status = _run(argv)
    except KeyboardInterrupt:
        status = 128 + (told or [signal.SIGINT])[0]
    finally:
        signal.signal(signal.SIGTERM, before)
    sys.exit(status)


def _run(argv: Sequence[str] | None) -> int:
    arguments = parser().parse_args(argv)
    if arguments.until_eof:
        threading.Thread(target=_end_with_input, name="until-eof", daemon=True).start()
    try:
        status: int = arguments.run(arguments)
    except StreamsvcError as e:
        print(f"streamsvc {arguments.command}: {e}", file=sys.stderr)
        return 2
    except ImportError as e:
        print(f"streamsvc {arguments.command}: {e}; the extra that brings it is not installed", file=sys.stderr)
        return 2
    except OSError as e:
        where = f"{e.filename}: " if e.filename else ""
        print(f"streamsvc {arguments.command}: {where}{e.strerror or e}", file=sys.stderr)
        return 2
    return status


def _end_with_input() -> None:
    with suppress(OSError):
        while os.read(0, 4096):
            pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
