"""Read a ledger back: JSON lines to records, damage named by its line.

A service that is killed leaves its last line cut short; that alone is tolerated, and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from streamsvc.errors import StreamsvcError
from streamsvc.ledger.records import Record

MAX_LINE_BYTES = 1_048_576

_decoder = msgspec.json.Decoder(Record)


class LedgerError(StreamsvcError):
    """A ledger that can't be read; the message names the file and the line."""


class LedgerReader(Iterator[Record]):
    """The records of an open ledger file, in the order in which they were closed.

    `truncated` is 1 once the end is reached and the last line was cut short, else 0.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self._line = 0
        self.truncated = 0

    def __iter__(self) -> LedgerReader:
        return self

    def __next__(self) -> Record:
        try:
            line = self._file.readline(MAX_LINE_BYTES + 1)
        except OSError as e:
            raise LedgerError(f"the ledger {self._path} can't be read: {e.strerror}") from None
        if not line:
            self._file.close()
            raise StopIteration
        self._line += 1
        if len(line) > MAX_LINE_BYTES:
            raise self._damaged(f"it is longer than {MAX_LINE_BYTES} bytes")
        try:
            record = _decoder.decode(line)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as e:
            if not line.endswith(b"\n") and not isinstance(e, msgspec.ValidationError):
                self.truncated = 1
                self._file.close()
                raise StopIteration from None
            raise self._damaged(str(e)) from None
        if record.v != 1:
            raise self._damaged(f"it has version {record.v}; version 1 is read")
        return record

    def _damaged(self, why: str) -> LedgerError:
        self._file.close()
        return LedgerError(f"the ledger {self._path} is damaged in line {self._line}: {why}")


def read_ledger(path: Path) -> LedgerReader:
    """Return an iterator over the records of a ledger; raises LedgerError at once when the file can't be opened, and
    while iterating when a line is not a record."""
    try:
        return LedgerReader(path, path.open("rb"))
    except OSError as e:
        raise LedgerError(f"the ledger {path} can't be read: {e.strerror}") from None
