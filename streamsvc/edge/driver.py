"""An open hardware encoder on a thread of its own, because a driver may take long to open and to close, and may never
come back.

Invariants: the encoder is opened, used and freed by that thread only; whoever waits for it waits a bounded time; a
thread that is stuck is left behind (it is a daemon, so the process can end all the same).
"""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from typing import Any, TypeVar

import av

from streamsvc.edge.errors import EdgeError
from streamsvc.edge.hardware import Found, open_encoder

T = TypeVar("T")

OPEN_S = 3.0
ENCODE_S = 1.0

_Job = tuple[av.VideoFrame, int, "Future[list[bytes]]"]


class Driver:
    """The encoder, from its opening until nobody refers to it any more; used by one thread at a time. `bit_rate` may be
    set at any time, and holds from the next picture on."""

    def __init__(self, found: Found, width: int, height: int, bit_rate: int, fps: int) -> None:
        """Open it; raises EdgeError("no-encoder") when that takes too long, and what the driver raises."""
        self.name, self.width, self.height, self.bit_rate = found.candidate.name, width, height, bit_rate
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        opened: Future[None] = Future()
        work = (opened, self._jobs, found, width, height, bit_rate, fps)
        self._thread = threading.Thread(target=_run, args=work, name=f"edge-{self.name}", daemon=True)
        self._thread.start()
        _within(OPEN_S, opened, "it was not open")

    def __del__(self) -> None:
        self.let_go()

    def let_go(self) -> None:
        """Have it freed when its driver comes back; it can't be used any more."""
        self._jobs.put(None)

    def close(self) -> None:
        """Let it go, and wait for that as long as for a picture."""
        self.let_go()
        self._thread.join(ENCODE_S)

    def encode(self, frame: av.VideoFrame) -> list[bytes]:
        """Return the packets that come out when `frame` goes in; raises EdgeError("no-encoder") when nothing is said
        in time, and what the driver raises."""
        answer: Future[list[bytes]] = Future()
        self._jobs.put((frame, self.bit_rate, answer))
        return _within(ENCODE_S, answer, "nothing came back")


def _within(seconds: float, answer: Future[T], what: str) -> T:
    try:
        return answer.result(seconds)
    except TimeoutError:
        raise EdgeError("no-encoder", f"{what} after {seconds:g} s") from None


def _run(opened: Future[None], jobs: queue.SimpleQueue[_Job | None], *arguments: Any) -> None:
    try:
        codec = open_encoder(*arguments)
    except Exception as error:
        opened.set_exception(error.with_traceback(None))
        return
    opened.set_result(None)
    while (job := jobs.get()) is not None:
        frame, bit_rate, answer = job
        try:
            if codec.bit_rate != bit_rate:
                codec.bit_rate = bit_rate
            answer.set_result([bytes(p) for p in codec.encode(frame)])
        except Exception as error:
            # Its traceback would keep the encoder for as long as somebody keeps the error.
            answer.set_exception(error.with_traceback(None))
        del job, frame, answer
