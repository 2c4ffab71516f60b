"""What the commands' flags are made of: values of one kind each, with what is accepted in the error.

The types raise argparse.ArgumentTypeError; what needs several flags raises UsageError.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from streamsvc.errors import StreamsvcError

Command = Callable[[argparse.Namespace], int]

VIEW_MODES = "window, stereo, anaglyph, packed, cutout, quilt, quilt:COLUMNSxROWS[:DEGREES] (window)"


class UsageError(StreamsvcError):
    """A flag that can't be taken."""


def pairs(values: Sequence[str] | None, flag: str) -> dict[str, str]:
    """Return NAME=VALUE flags as a table; raises UsageError."""
    pairs: dict[str, str] = {}
    for text in values or ():
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise UsageError(f"{flag} must be NAME=VALUE, got {text!r}")
        if name in pairs:
            raise UsageError(f"{flag} {name} is given twice")
        pairs[name] = value
    return pairs


def parameters(values: Sequence[str] | None) -> dict[str, float]:
    """Return --set k=v flags as numbers; raises UsageError."""
    result = {}
    for name, text in pairs(values, "--set").items():
        try:
            result[name] = float(text)
        except ValueError:
            result[name] = math.nan
        if not math.isfinite(result[name]):
            raise UsageError(f"--set {name} must be a number, got {text!r}")
    return result


def size(text: str) -> tuple[int, int]:
    """Return (width, height) in pixels of "WIDTHxHEIGHT", 64 to 4096 a side."""
    try:
        width, height = (int(v) for v in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"a size is WIDTHxHEIGHT, got {text!r}") from None
    if not (64 <= width <= 4096 and 64 <= height <= 4096):
        raise argparse.ArgumentTypeError("a size is 64 to 4096 pixels a side")
    return width, height


def within(low: float, high: float) -> Callable[[str], float]:
    """Return the type of a number from `low` to `high`."""

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"a number from {low:g} to {high:g} is accepted, got {text!r}")
        return value

    return number


def count(text: str) -> int:
    """Return a whole number from 1 to a million."""
    if not (text.isdecimal() and 1 <= int(text) <= 1_000_000):
        raise argparse.ArgumentTypeError(f"a whole number from 1 to 1000000 is accepted, got {text!r}")
    return int(text)


def port(text: str) -> int:
    """Return a TCP port, 0 for any free one."""
    if not (text.isdecimal() and int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"a port is a whole number from 0 to 65535, got {text!r}")
    return int(text)


def share(text: str) -> float:
    """Return a number from 0 to 1."""
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"a share is 0 to 1, got {text!r}")
    return share


def duration(text: str) -> float:
    """Return the seconds of "90", "15m", "2h" or "7d", at most a year."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    try:
        seconds = float(number) * unit
    except ValueError:
        seconds = -1.0
    if not 1 <= seconds <= 366 * 86_400:
        raise argparse.ArgumentTypeError(f"a time is like 90, 15m, 2h or 7d, at most a year, got {text!r}")
    return seconds


def sound_file(text: str) -> Path:
    """Return the name of a file that sound is written to."""
    if Path(text).suffix.lower() != ".wav":
        raise argparse.ArgumentTypeError(f"sound is written as WAV, so the name must end in .wav, got {text!r}")
    return Path(text)


def check_files(
    arguments: argparse.Namespace,
    *,
    writes: Sequence[str] = (),
    makes: Sequence[str] = (),
    folders: Sequence[str] = (),
    reads: Sequence[Path | None] = (),
) -> None:
    """See, before any work, that what the flags `writes` and --json name can be written, and overwrites neither each
    other nor what is read; likewise `makes`, whose folders are made where there are none; and that `folders` can be
    made. Flags that weren't given count for nothing. Raises UsageError."""
    given = {n: p for n in (*writes, *makes, *folders, "json") if (p := getattr(arguments, n)) is not None}
    for name in folders:
        if name in given:
            _check_folder(_flag(name, given[name]), given[name])
    made = {given[name].resolve() for name in folders if name in given}
    taken: list[tuple[str, Path]] = []
    for name, path in given.items():
        if name in folders:
            continue
        flag = _flag(name, path)
        _check_file(flag, path, made=name in makes or path.parent.resolve() in made)
        for other in filter(None, reads):
            if _same_file(path, other):
                raise UsageError(f"{flag} is read, too, and would be overwritten; choose another name")
        for earlier, other in taken:
            if _same_file(path, other):
                raise UsageError(f"{flag} and {earlier} are one file; choose two names")
        taken.append((flag, path))


def _flag(name: str, path: Path) -> str:
    return f"--{name.replace('_', '-')} {path}"


def _check_file(flag: str, path: Path, *, made: bool) -> None:
    if path.is_dir():
        raise UsageError(f"{flag} is a folder; the name of a file is needed")
    if path.exists():
        _check_access(flag, path)
    elif made:
        _check_folder(flag, path.parent)
    elif not path.parent.is_dir():
        raise UsageError(f"{flag}: there is no folder {path.parent}; make it, or choose another")
    else:
        _check_access(flag, path.parent)


def _check_folder(flag: str, folder: Path) -> None:
    there = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    if not there.is_dir():
        raise UsageError(f"{flag}: {os.path.relpath(there)} is no folder; choose another name")
    _check_access(flag, there)


def _check_access(flag: str, place: Path) -> None:
    if not os.access(place, os.W_OK):
        raise UsageError(f"{flag}: this user may not write there; choose another place")


def _same_file(a: Path, b: Path) -> bool:
    """Whether both are one file, by whatever names; a device may be written twice."""
    if a.exists() and b.exists():
        return a.is_file() and a.samefile(b)
    return a.resolve() == b.resolve()


def write_json(path: Path | None, document: Any) -> None:
    """Write figures for machines, where they are wanted; whoever waits for the file finds all of it."""
    if path is not None:
        text = json.dumps(document, indent=2, default=str) + "\n"
        if not path.is_file() and path.exists():  # /dev/stdout, a pipe
            path.write_text(text, "utf-8")
            return
        whole = path.resolve()
        beside = whole.with_name(f".{whole.name}.{os.getpid()}")
        beside.write_text(text, "utf-8")
        beside.replace(whole)


def tell(line: str) -> None:
    """Print a line of progress, or of a result, at once."""
    print(line, flush=True)


def progress(unit: str) -> Callable[[float, float], None] | None:
    """Return a progress line for a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        return None

    def show(done: float, total: float) -> None:
        end = "\n" if done >= total else ""
        print(f"\r{unit} {done:.0f} of {total:.0f}", end=end, file=sys.stderr, flush=True)

    return show


def add_extra_stage(p: argparse.ArgumentParser) -> None:
    """Add the flag of commands that start a service to load it."""
    p.add_argument(
        "--extra-stage-ms",
        type=within(0, 10_000),
        default=0.0,
        metavar="MS",
        help="idle stage in every view, for load tests",
    )
