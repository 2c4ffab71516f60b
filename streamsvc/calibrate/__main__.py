"""The process behind one set-up on the page: framed messages of `frames.rigsetup` in on stdin, answers out on stdout.

Started by the port as `python -m streamsvc.calibrate`. It yields the processor to calls, and ends when stdin does.
"""

from __future__ import annotations

import os
import sys
from typing import BinaryIO

import cv2

from streamsvc.calibrate.errors import CalibrationError
from streamsvc.calibrate.guided import WANTED, Guided, plain
from streamsvc.frames import rigsetup
from streamsvc.frames.link import HEADER

NICE = 10


def answer(guided: Guided | None, ask: rigsetup.Ask) -> tuple[Guided | None, rigsetup.Answer]:
    """Return the set-up after `ask`, and what is answered."""
    try:
        match ask:
            case rigsetup.Begin(board=board, cameras=cameras):
                guided = Guided(board, cameras)
                return guided, rigsetup.Begun(wanted=WANTED)
            case _ if guided is None:
                return None, rigsetup.Refused(code="bad-message", message="nothing was begun")
            case rigsetup.Look(pictures=pictures):
                return guided, guided.look(pictures)
            case rigsetup.Sheet(form=form):
                return guided, guided.draw(form)
            case rigsetup.Finish():
                return guided, guided.finish()
    except CalibrationError as e:
        return guided, rigsetup.Refused(code=e.code, message=plain(e))


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer until the other end closes."""
    guided: Guided | None = None
    while len(header := source.read(HEADER.size)) == HEADER.size:
        (size,) = HEADER.unpack(header)
        guided, told = answer(guided, rigsetup.decode_ask(source.read(size)))
        sink.write(rigsetup.pack(told))
        sink.flush()


def main() -> None:
    """Serve on the standard streams; what a library prints goes to stderr."""
    os.nice(NICE)
    cv2.setNumThreads(1)
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        serve(sys.stdin.buffer, sink)
    except BrokenPipeError:
        os._exit(0)  # nobody is left to answer


if __name__ == "__main__":
    main()
