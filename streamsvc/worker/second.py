"""Second passes of all speakers of a worker: queued as best effort, the newest ones kept when there is no time for all.

Promises: a speaker's corrections come in order; what waits is bounded; closing a speaker forgets its passages.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from streamsvc.budget import Class, Job, Slices
from streamsvc.frames.link import StageSpan
from streamsvc.speech import Translator
from streamsvc.speech.events import Passage
from streamsvc.speech.second import second_pass
from streamsvc.worker.lanes import Lanes

WAITING = 16
"""Passages that may wait for one speaker: some minutes of speech, 1 MB or so each."""

FIRST_SLICE = 0.05
"""What a slice takes at most, in seconds for a second of sound, before any was measured."""


class SecondPasses:
    """Shared by the speakers of one model."""

    def __init__(self, translator: Translator, lanes: Lanes) -> None:
        self._translator, self._lanes = translator, lanes
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[tuple[Passage, float, Callable[[str], None]]]] = {}
        self._busy: set[str] = set()
        self._slice = FIRST_SLICE

    def add(self, stream: str, passage: Passage, threshold: float, on_text: Callable[[str], None]) -> None:
        """Queue a passage; `on_text` gets its text on a lane, if there is a better one."""
        with self._lock:
            self._waiting.setdefault(stream, deque(maxlen=WAITING)).append((passage, threshold, on_text))
        self._next(stream)

    def close(self, stream: str) -> None:
        """Forget what waits; the speaker's job in the lanes is dropped by `Lanes.close_stream`."""
        with self._lock:
            self._waiting.pop(stream, None)

    def _next(self, stream: str) -> None:
        with self._lock:
            waiting = self._waiting.get(stream)
            if not waiting or stream in self._busy:
                return
            passage, threshold, on_text = waiting.popleft()
            self._busy.add(stream)
            slice_ns = round(self._slice * passage.seconds * 1e9)

        def work() -> Slices[None]:
            text: str | None = yield from second_pass(self._translator, passage, threshold)
            if text is not None:
                on_text(text)

        def on_end(reason: str | None, spans: list[StageSpan]) -> None:
            longest = max((s.end_ns - s.start_ns for s in spans), default=0) / 1e9 / passage.seconds
            with self._lock:
                self._busy.discard(stream)
                if spans:
                    self._slice += 0.2 * (longest - self._slice)
            if reason != "closed":
                self._next(stream)

        self._lanes.submit(Job(self._lanes.next_id(), stream, Class.BEST_EFFORT, 0, slice_ns=slice_ns), work, on_end)
