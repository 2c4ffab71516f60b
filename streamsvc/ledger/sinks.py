"""Where closed records go: a file of JSON lines, and whoever listens. Never blocks its callers.

Owns one thread. Callers on any thread, the event loop included, only take a short lock and append to a bounded queue;
the thread closes records whose grace is over, writes lines and calls the listeners. When the disk is slower than the
records, or full, records are lost and counted: a call is worth more than its bookkeeping.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import msgspec

from streamsvc.ledger.book import Book, BookStatistics, Key
from streamsvc.ledger.reader import LedgerError
from streamsvc.ledger.records import Record, Stage

TICK_S = 0.25
QUEUE_LIMIT = 16_384

Listener = Callable[[Record], None]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LedgerStatistics:
    """`written`: lines in the file; `lost`: closed records that reached neither file nor listeners, or not the file."""

    book: BookStatistics
    queued: int
    written: int
    lost: int


class Ledger:
    """The service's ledger: the `Book`, thread-safe, with its file.

    Args: `path` of the file, appended to (None: no file); `listeners` are called with each closed record on the
    ledger's own thread; `now_ns` is the server's monotonic clock.
    Raises LedgerError when the file can't be opened.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        listeners: Sequence[Listener] = (),
        now_ns: Callable[[], int] = time.monotonic_ns,
        queue_limit: int = QUEUE_LIMIT,
    ) -> None:
        self._book = Book()
        self._lock = threading.Lock()
        self._listeners = tuple(listeners)
        self._now_ns = now_ns
        self._queue: queue.Queue[Record] = queue.Queue(queue_limit)
        self._stop = threading.Event()
        self._written = self._lost = 0
        self._file: FileIO | None = None
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._file = path.open("ab", buffering=0)
            except OSError as e:
                raise LedgerError(f"the ledger {path} can't be written: {e.strerror}") from None
        self._encoder = msgspec.json.Encoder()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    def open(self, record: Record) -> Key:
        """Begin a record at its capture; see `Book.open`."""
        with self._lock:
            return self._book.open(record)

    def stage(self, key: Key, *stages: Stage) -> None:
        """Append stages; see `Book.stage`."""
        with self._lock:
            self._book.stage(key, *stages)

    def plan(
        self,
        key: Key,
        *,
        rung: str | None,
        quality: float | None = None,
        predicted_ns: int | None = None,
        cameras: int | None = None,
    ) -> None:
        """Say how the job ran; see `Book.plan`."""
        with self._lock:
            self._book.plan(key, rung=rung, quality=quality, predicted_ns=predicted_ns, cameras=cameras)

    def drop(self, key: Key, reason: str) -> None:
        """Say why this won't be displayed; see `Book.drop`."""
        with self._lock:
            self._book.drop(key, reason)

    def shown(self, key: Key, displayed_ns: int, error_ns: int = 0) -> Record | None:
        """Take a display report and write the record; see `Book.shown`."""
        with self._lock:
            record = self._book.shown(key, displayed_ns, error_ns)
        if record is not None:
            self._put(record)
        return record

    def write(self, record: Record) -> None:
        """Write a record that is closed already, past the book: a speech pass, which knows its end when it ends."""
        self._put(record)

    def close(self) -> None:
        """Close what is open, write everything, end the thread. May block for the disk; a second call does nothing."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._thread.join()
        records: list[Record] = []
        while not self._queue.empty():
            records.append(self._queue.get_nowait())
        with self._lock:
            records += self._book.close()
        self._deliver(records)
        if self._file is not None:
            self._file.close()

    def statistics(self) -> LedgerStatistics:
        """Return the counters."""
        with self._lock:
            return LedgerStatistics(self._book.statistics(), self._queue.qsize(), self._written, self._lost)

    def _put(self, record: Record) -> None:
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            self._lose(1, "records come faster than they can be written")

    def _lose(self, count: int, why: str) -> None:
        with self._lock:
            first = self._lost == 0
            self._lost += count
        if first:
            log.warning("the ledger loses records: %s", why)

    def _run(self) -> None:
        while not self._stop.is_set():
            batch: list[Record] = []
            try:
                batch.append(self._queue.get(timeout=TICK_S))
                while len(batch) < 256:
                    batch.append(self._queue.get_nowait())
            except queue.Empty:
                pass
            with self._lock:
                batch += self._book.tick(self._now_ns())
            self._deliver(batch)

    def _deliver(self, records: list[Record]) -> None:
        if not records:
            return
        if self._file is not None:
            try:
                _append(self._file, self._encoder.encode_lines(records))
                with self._lock:
                    self._written += len(records)
            except OSError as e:
                self._lose(len(records), f"the file can't be written ({e.strerror})")
        for listener in self._listeners:
            for record in records:
                try:
                    listener(record)
                except Exception:  # a listener's fault must not end the bookkeeping of all sessions
                    log.exception("a listener of the ledger failed")


def _append(file: FileIO, data: bytes) -> None:
    """Write all of `data` or nothing: a disk that fills up must not leave half a line for the next one to follow."""
    start = file.seek(0, os.SEEK_END)
    view = memoryview(data)
    try:
        while view:
            view = view[file.write(view) :]
    except OSError:
        with contextlib.suppress(OSError):
            file.truncate(start)
        raise
