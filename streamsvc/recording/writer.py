"""The process that writes one recording: items on stdin, reports on stdout; niced, and in a process group of its own.

What happens to it, to the disk or to the file happens to nobody else. It ends when it is told to, when the edge is
gone, when the disk is nearly full, or when the file can't be written; the file is closed and put in order in every case
that leaves it the time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import av

from streamsvc.recording import items
from streamsvc.recording.film import Film, settle
from streamsvc.recording.folder import RecordingError, claim

NICE = 10
CHECK_NS = 1_000_000_000


def write(source: BinaryIO, tell: BinaryIO) -> None:
    """Write one recording of what `source` says, and tell how it went."""
    begin = items.read_item(source)
    if not isinstance(begin, items.Begin):
        return

    def report(item: items.FromWriter) -> None:
        with contextlib.suppress(OSError):  # the edge is gone
            tell.write(items.encode(item))
            tell.flush()

    try:
        path = claim(Path(begin.folder), begin.stem)
        report(items.Opened(name=path.name))
        _record(begin, path, source, report)
    except RecordingError as e:
        report(items.Closed(code=e.code, message=str(e)))


def _record(begin: items.Begin, path: Path, source: BinaryIO, report: Callable[[items.FromWriter], None]) -> None:
    film = Film(path, begin.title, begin.owners, begin.start_ns)
    closed = items.Closed(code="finished", message="the recording is saved")
    now_ns = begin.start_ns
    try:
        for at_ns in _written(film, source):
            now_ns = at_ns
            if _free(path) < begin.least_free_bytes:
                raise RecordingError("disk-low", "the disk of the service is nearly full")
        film.close(now_ns)
    except RecordingError as e:
        closed = items.Closed(code=e.code, message=str(e))
        report(closed)  # before anything else: nobody may go on for long in the belief that they are recorded
        with contextlib.suppress(RecordingError):
            film.close(now_ns)
    with contextlib.suppress(RecordingError, OSError):  # a file that can't be put in order plays too
        if _free(path) >= begin.least_free_bytes + path.stat().st_size:
            settle(path)
    if closed.code == "finished":
        report(closed)


def _written(film: Film, source: BinaryIO) -> Iterator[int]:
    """Write what comes, and yield the time about once a second, and at the end."""
    now_ns = checked_ns = 0
    while (item := items.read_item(source)) is not None and not isinstance(item, items.End):
        match item:
            case items.Picture():
                film.picture(item)
            case items.Sound():
                film.sound(item)
            case items.Words():
                film.words(item)
            case items.Tick():
                now_ns = item.now_ns
                film.advance(now_ns)
                if now_ns - checked_ns >= CHECK_NS:
                    checked_ns = now_ns
                    yield now_ns
    if now_ns > checked_ns:
        yield now_ns


def _free(path: Path) -> int:
    return shutil.disk_usage(path.parent).free


def main() -> None:
    """Write what comes on stdin."""
    os.nice(NICE)
    av.logging.set_level(av.logging.FATAL)  # what matters is raised
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    write(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
