"""Views of one stream leave in the order of their captures, though several lanes make them at once.

One that is ready before an older one is done waits for it, as long as both can still be in time by what is predicted;
otherwise it goes, and the older one comes too late to be shown: at once where another view begins or ends, else at the
next `release`. May be called from any thread; what is ready is sent under a lock, so that order holds among threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from streamsvc.budget import Clock

MARGIN = 1.5
"""What an older view may take of what is predicted for it before others stop waiting."""


@dataclass(frozen=True, slots=True)
class _Ready:
    deadline_ns: int
    send: Callable[[], None]


class InOrder:
    """The views of one stream that are being made or wait, by their capture instants."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._made: dict[int, float] = {}
        self._ready: dict[int, _Ready] = {}

    def begun(self, capture_ns: int, predicted_ns: int) -> None:
        """A view is being made from now on."""
        with self._lock:
            self._made[capture_ns] = self._clock.now_ns() + MARGIN * predicted_ns

    def ready(self, capture_ns: int, deadline_ns: int, send: Callable[[], None]) -> None:
        """A view is done: send it now, or once the older ones are."""
        with self._lock:
            self._made.pop(capture_ns, None)
            self._ready[capture_ns] = _Ready(deadline_ns, send)
            self._release()

    def lost(self, capture_ns: int) -> None:
        """A view will not be done, if it was ever begun."""
        with self._lock:
            if self._made.pop(capture_ns, None) is not None:
                self._release()

    def release(self) -> None:
        """Send what waits for views that take too long; to be called now and then."""
        with self._lock:
            self._release()

    def _release(self) -> None:
        now = self._clock.now_ns()
        for capture in sorted(self._ready):
            last = self._ready[capture].deadline_ns
            if any(older < capture and now <= by <= last for older, by in self._made.items()):
                return
            self._ready.pop(capture).send()
