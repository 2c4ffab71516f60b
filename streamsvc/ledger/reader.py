"""Read a ledger back, a service's or one that a page saved: JSON lines to records, damage named by its line.

A service that is killed leaves its last line cut short; that alone is tolerated, and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from streamsvc.errors import StreamsvcError
from streamsvc.ledger.records import NetworkSample, Record

MAX_LINE_BYTES = 1_048_576
MAX_TIME_NS = 2**62
"""No monotonic clock has run for 146 years."""

_decoder = msgspec.json.Decoder(Record)
_network = msgspec.json.Decoder(NetworkSample)


class LedgerError(StreamsvcError):
    """A ledger that can't be read; the message names the file and the line."""


class LedgerReader(Iterator[Record]):
    """The records of an open ledger file, in the order in which they were closed.

    `truncated` is 1 once the end is reached and the last line was cut short, else 0; `network` has what was read of
    the network so far.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self._line = 0
        self.truncated = 0
        self.network: list[NetworkSample] = []

    def __iter__(self) -> LedgerReader:
        return self

    def __next__(self) -> Record:
        while True:
            try:
                line = self._file.readline(MAX_LINE_BYTES + 1)
            except OSError as e:
                raise LedgerError(f"the ledger {self._path} can't be read: {e.strerror}") from None
            if not line:
                self._file.close()
                raise StopIteration
            self._line += 1
            found = self._parse(line)
            if isinstance(found, Record):
                return found
            self.network.append(found)

    def _parse(self, line: bytes) -> Record | NetworkSample:
        if len(line) > MAX_LINE_BYTES:
            raise self._damaged(f"it is longer than {MAX_LINE_BYTES} bytes")
        try:
            found = _decode(line)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as e:
            if not line.endswith(b"\n") and not isinstance(e, msgspec.ValidationError) and line.startswith(b"{"):
                self.truncated = 1
                self._file.close()
                raise StopIteration from None
            raise self._damaged(str(e)) from None
        if found.v != 1:
            raise self._damaged(f"it has version {found.v}; version 1 is read")
        if not all(abs(t) <= MAX_TIME_NS for t in _times(found)):
            raise self._damaged("it has a time that no clock shows")
        if isinstance(found, Record) and found.deadline_ns < found.capture_ns:
            raise self._damaged("its deadline is before its capture")
        return found

    def _damaged(self, why: str) -> LedgerError:
        self._file.close()
        if self._line == 1:
            return LedgerError(f"{self._path} is not a ledger, of which each line is a JSON record; line 1: {why}")
        return LedgerError(f"the ledger {self._path} is damaged in line {self._line}: {why}")


def _decode(line: bytes) -> Record | NetworkSample:
    try:
        return _decoder.decode(line)
    except msgspec.ValidationError:
        if b'"network"' not in line:
            raise
        return _network.decode(line)


def _times(found: Record | NetworkSample) -> Iterator[int]:
    if isinstance(found, NetworkSample):
        yield from (found.at_ns, found.period_ns, found.rtt_ns or 0)
        return
    yield from (found.capture_ns, found.deadline_ns, found.clock_error_ns)
    yield from (found.displayed_ns or 0, found.predicted_ns or 0)
    for stage in found.stages:
        yield from (stage.start_ns, stage.end_ns)


def read_ledger(path: Path) -> LedgerReader:
    """Return an iterator over the records of a ledger; raises LedgerError at once when the file can't be opened, and
    while iterating when a line is not a record."""
    try:
        return LedgerReader(path, path.open("rb"))
    except OSError as e:
        raise LedgerError(f"the ledger {path} can't be read: {e.strerror}") from None
