"""View streams are opened beside the reader, and nothing of a stream overtakes what came before."""

from __future__ import annotations

import queue
import threading
from typing import Any

from streamsvc.frames.link import Close, OpenView, SetIn
from streamsvc.frames.rig import RigError
from streamsvc.worker.openings import Openings


class Views:
    """Notes what is done; opening a stream called "slow" takes until somebody lets it, "bad" fails."""

    def __init__(self) -> None:
        self.done: queue.Queue[str] = queue.Queue()
        self.may_open = threading.Event()

    def open(self, message: OpenView) -> None:
        if message.stream == "slow":
            assert self.may_open.wait(20)
        self.done.put(f"open {message.stream}")
        if message.stream == "bad":
            raise RigError("no rig")
        if message.stream == "worse":
            raise ZeroDivisionError

    def submit(self, message: SetIn) -> None:
        self.done.put(f"{message.stream} {message.id}")

    def close(self, stream: str) -> None:
        self.done.put(f"close {stream}")

    def next(self, count: int) -> list[str]:
        return [self.done.get(timeout=20) for _ in range(count)]


def opened(stream: str) -> OpenView:
    return OpenView(stream=stream, rig=None, width=64, height=64)


def frames(stream: str, id: int) -> SetIn:
    return SetIn(stream=stream, id=id, capture_ns=0, deadline_ns=1, period_ns=1, pictures=[])


def openings(views: Views) -> Openings:
    stands_in: Any = views
    return Openings(stands_in)


def test_while_one_stream_is_opened_the_others_go_on() -> None:
    views = Views()
    door = openings(views)
    for message in (opened("slow"), frames("slow", 1), frames("other", 1), Close(stream="slow"), opened("slow")):
        door.take(message)
    door.take(frames("slow", 2))
    assert views.next(1) == ["other 1"]
    views.may_open.set()
    assert views.next(5) == ["open slow", "slow 1", "close slow", "open slow", "slow 2"]
    for id in range(3, 100):
        door.take(frames("slow", id))
    assert views.next(97) == [f"slow {id}" for id in range(3, 100)]
    door.take(Close(stream="slow"))
    assert views.next(1) == ["close slow"]


def test_a_stream_that_cannot_be_opened_keeps_nobody_out() -> None:
    views = Views()
    door = openings(views)
    for stream in ("bad", "worse", "good"):
        door.take(opened(stream))
    assert views.next(3) == ["open bad", "open worse", "open good"]
