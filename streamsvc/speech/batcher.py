"""Decodes of several streams in one call: whoever is first to decode takes along what else waits to be decoded.

Promises: a request that is asked is answered at most once; one that was withdrawn is never decoded; when a call fails,
only the pass that made it does, and the others decode by themselves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from streamsvc.speech.translator import Hypothesis, Request, Translator

WIDTH = 4
"""Passes decoded in one call at most. More cost less each, but the first waits for all of them."""


@dataclass(frozen=True, slots=True)
class BatcherStatistics:
    """Calls of the model and the decodes that they did."""

    calls: int
    decodes: int


@dataclass(slots=True, eq=False)
class _Waiting:
    request: Request
    answer: Hypothesis | None = None


class Batcher:
    """Shared by the interpreters of one model; calls may come from several threads. `width` 1: each by itself."""

    def __init__(self, translator: Translator, width: int = WIDTH) -> None:
        if width < 1:
            raise ValueError(f"at least one decode a call is needed, got {width}")
        self.width = width
        self._translator = translator
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self._waiting: list[_Waiting] = []
        self._calls = self._decodes = 0

    @contextmanager
    def asked(self, request: Request) -> Iterator[Callable[[], Hypothesis]]:
        """Ask for a decode; the function that is given returns its answer, computing it if nobody has. Leaving
        withdraws what wasn't answered."""
        own = _Waiting(request)
        with self._lock:
            self._waiting.append(own)
        try:
            yield lambda: self._answer(own)
        finally:
            with self._lock:
                if own in self._waiting:
                    self._waiting.remove(own)

    def statistics(self) -> BatcherStatistics:
        """Return counts since the start."""
        with self._lock:
            return BatcherStatistics(self._calls, self._decodes)

    def _answer(self, own: _Waiting) -> Hypothesis:
        with self._turn:
            if own.answer is None:
                with self._lock:
                    alike = [w for w in self._waiting if w is not own and w.request.kind == own.request.kind]
                batch = [own, *alike[: self.width - 1]]
                answers = self._translator.decode([w.request for w in batch])
                with self._lock:
                    for waiting, answer in zip(batch, answers, strict=True):
                        waiting.answer = answer
                    self._waiting = [w for w in self._waiting if w.answer is None]
                    self._calls += 1
                    self._decodes += len(batch)
            assert own.answer is not None
            return own.answer
