"""Which records are open, and when each is closed: pure, the clock passed in.

Owns the records between capture and close. Promises that each opened record is closed exactly once, at the display
report or `GRACE_NS` after its deadline, whichever is first; that a frame whose display time is unknown is a miss; and
that a report about a record that isn't open changes nothing but a counter.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from streamsvc.ledger.records import Kind, Outcome, Record, Stage

GRACE_NS = 1_000_000_000
UNREPORTED = "unreported"
"""The reason of a frame that was never dropped, and of which no display report came."""


class Key(NamedTuple):
    """What tells one record from another."""

    kind: Kind
    session: str
    stream: str
    id: int


def key_of(record: Record) -> Key:
    """Return the record's key."""
    return Key(record.kind, record.session, record.stream, record.id)


@dataclass(frozen=True, slots=True)
class BookStatistics:
    """`open`: records now open; `closed`: ever closed; `strays`: reports about a record that was not open;
    `twice`: records opened under a key that was open already (the first is kept)."""

    open: int
    closed: int
    strays: int
    twice: int


class Book:
    """The open records."""

    def __init__(self, grace_ns: int = GRACE_NS) -> None:
        self._grace_ns = grace_ns
        self._open: dict[Key, Record] = {}
        self._due: list[tuple[int, Key]] = []  # heap
        self._closed = self._strays = self._twice = 0

    def __len__(self) -> int:
        return len(self._open)

    def open(self, record: Record) -> Key:
        """Begin `record` at its capture and return its key. Its outcome and display time are decided here later; a
        `reason` that it brings along says that it is dropped already."""
        key = key_of(record)
        if key in self._open:
            self._twice += 1
            return key
        self._open[key] = msgspec.structs.replace(record, outcome="dropped", displayed_ns=None)
        heapq.heappush(self._due, (record.deadline_ns + self._grace_ns, key))
        return key

    def stage(self, key: Key, *stages: Stage) -> None:
        """Append stages, in the order in which they ran."""
        record = self._find(key)
        if record is not None:
            self._open[key] = msgspec.structs.replace(record, stages=record.stages + stages)

    def plan(
        self,
        key: Key,
        *,
        rung: str | None,
        quality: float | None = None,
        predicted_ns: int | None = None,
        cameras: int | None = None,
    ) -> None:
        """Say on which rung the job ran, with its calibrated quality and predicted cost; `cameras` None keeps it."""
        record = self._find(key)
        if record is not None:
            self._open[key] = msgspec.structs.replace(
                record,
                rung=rung,
                quality=quality,
                predicted_ns=predicted_ns,
                cameras=record.cameras if cameras is None else cameras,
            )

    def drop(self, key: Key, reason: str) -> None:
        """Say why this will not be displayed; the first reason stands. A display report still outranks it."""
        record = self._find(key)
        if record is not None and record.reason is None:
            self._open[key] = msgspec.structs.replace(record, reason=reason)

    def shown(self, key: Key, displayed_ns: int, error_ns: int = 0) -> Record | None:
        """Take a display report, `displayed_ns` on the server's clock give or take `error_ns`; return the closed
        record, or None when it was closed before."""
        record = self._find(key)
        if record is None:
            return None
        del self._open[key]
        self._closed += 1
        outcome: Outcome = "shown" if displayed_ns <= record.deadline_ns else "late"
        return msgspec.structs.replace(
            record,
            outcome=outcome,
            reason=None,
            displayed_ns=displayed_ns,
            clock_error_ns=max(record.clock_error_ns, error_ns),
        )

    def tick(self, now_ns: int) -> list[Record]:
        """Close, in the order of their deadlines, what was due one grace before `now_ns` and never displayed."""
        closed: list[Record] = []
        while self._due and self._due[0][0] <= now_ns:
            due, key = heapq.heappop(self._due)
            record = self._open.get(key)
            # A key that was closed by a report leaves its entry behind, and may have been opened again since.
            if record is not None and record.deadline_ns + self._grace_ns == due:
                del self._open[key]
                closed.append(msgspec.structs.replace(record, reason=record.reason or UNREPORTED))
        self._closed += len(closed)
        return closed

    def close(self) -> list[Record]:
        """Close all that is open, as if its grace were over; for the end of a session or of the service."""
        return self.tick(max((due for due, _ in self._due), default=0))

    def statistics(self) -> BookStatistics:
        """Return the counters."""
        return BookStatistics(len(self._open), self._closed, self._strays, self._twice)

    def _find(self, key: Key) -> Record | None:
        record = self._open.get(key)
        if record is None:
            self._strays += 1
        return record
