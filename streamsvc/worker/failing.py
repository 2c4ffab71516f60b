"""Why a stream's views fail, and when that is news: when it begins, and when views have been made again for a second.

Safe to call from several threads.
"""

from __future__ import annotations

import threading

from streamsvc.view.health import Finding, news

OVER_NS = 1_000_000_000
"""So long after the last failure of its kind a view that is made says that it is over: where every other set of
pictures lacks one, that is said once."""

News = list[tuple[str, str]]
"""Codes and words, as `view.health.news` has them."""


class Failing:
    """The failures of one stream, by code."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now: dict[str, tuple[Finding, int]] = {}

    def failed(self, code: str, text: str, now_ns: int) -> News:
        """Take note that a view failed, and return what is new."""
        with self._lock:
            return self._become(self._now | {code: (Finding(code, (), text, "the picture goes on"), now_ns)})

    def made(self, now_ns: int) -> News:
        """Take note that a view was made, and return what is over."""
        with self._lock:
            return self._become({c: (f, at) for c, (f, at) in self._now.items() if now_ns - at < OVER_NS})

    def _become(self, now: dict[str, tuple[Finding, int]]) -> News:
        before, self._now = self._now, now
        return news([f for f, _ in before.values()], [f for f, _ in now.values()])
