"""Goodput: what was good over all that was due. Every captured frame counts; an unknown display time is a miss."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Due:
    """One captured frame, or `units` words of speech that were captured together.

    `deadline_ns` is r + D; `displayed_ns` None: never, or nobody knows; `quality` None: it was not made.
    """

    captured_ns: int
    deadline_ns: int
    displayed_ns: int | None = None
    quality: float | None = None
    rung: str | None = None
    units: int = 1

    def good(self, q_min: float | None = None) -> bool:
        """Was it displayed in time and, where a floor is asked for, well enough?"""
        if self.displayed_ns is None or self.displayed_ns > self.deadline_ns:
            return False
        return q_min is None or (self.quality is not None and self.quality >= q_min)


def goodput(dues: Iterable[Due], q_min: float | None = None) -> float | None:
    """Return good units over due units, None when none was due."""
    total = good = 0
    for due in dues:
        total += due.units
        good += due.units * due.good(q_min)
    return good / total if total else None
