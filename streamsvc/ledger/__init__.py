"""Say what it cost: records, sinks, report. Imports nothing of ours."""

from streamsvc.ledger.book import Book, Key, key_of
from streamsvc.ledger.reader import LedgerError, LedgerReader, read_ledger
from streamsvc.ledger.records import Kind, Outcome, Record, Stage
from streamsvc.ledger.sinks import Ledger, LedgerStatistics

__all__ = [
    "Book",
    "Key",
    "Kind",
    "Ledger",
    "LedgerError",
    "LedgerReader",
    "LedgerStatistics",
    "Outcome",
    "Record",
    "Stage",
    "key_of",
    "read_ledger",
]
