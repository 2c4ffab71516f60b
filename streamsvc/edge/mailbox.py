"""A one-slot mailbox: the newest item replaces the one that nobody took. Depth is never more than one.

Pure and unsynchronised: one thread (the event loop) puts and takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class MailboxStatistics:
    """`received` items were put, `replaced` of them were overwritten before anybody took them; `waiting` is 0 or 1."""

    received: int
    replaced: int
    waiting: int


class Mailbox(Generic[T]):
    """Holds at most one item, the newest. Items must not be None."""

    def __init__(self) -> None:
        self._item: T | None = None
        self._received = 0
        self._replaced = 0

    def put(self, item: T) -> bool:
        """Store `item`; returns whether it replaced one that nobody took."""
        replaced = self._item is not None
        self._received += 1
        self._replaced += replaced
        self._item = item
        return replaced

    def take(self) -> T | None:
        """Return the item and empty the box; None when it is empty."""
        item, self._item = self._item, None
        return item

    def statistics(self) -> MailboxStatistics:
        """Return the counts so far."""
        return MailboxStatistics(self._received, self._replaced, int(self._item is not None))
