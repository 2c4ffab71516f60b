"""View streams are opened beside the reader: a ladder takes hundredths of a second, that of a large rig a second, in
which the pictures of others and sound must not wait.

Promises: what is for one stream is done in the order in which it came; frame sets wait only for their own stream.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import Counter

from streamsvc.errors import StreamsvcError
from streamsvc.frames import link
from streamsvc.worker.views import Views

log = logging.getLogger(__name__)

Message = link.OpenView | link.SetIn | link.Close


class Openings:
    """Passes on to `views` what is for view streams; `take` is called from one thread."""

    def __init__(self, views: Views) -> None:
        self._views = views
        self._lock = threading.Lock()
        self._waiting: Counter[str] = Counter()
        self._queue: queue.SimpleQueue[Message] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="openings", daemon=True).start()

    def take(self, message: Message) -> None:
        """Do what is asked for, at once unless a stream is to be opened or something of it waits."""
        with self._lock:
            waits = isinstance(message, link.OpenView) or message.stream in self._waiting
            if waits:
                self._waiting[message.stream] += 1
        if waits:
            self._queue.put(message)
        else:
            self._do(message)

    def _run(self) -> None:
        while True:
            message = self._queue.get()
            try:
                self._do(message)
            except StreamsvcError as e:
                log.warning("%s", e)
            except Exception:
                log.exception("a view stream could not be opened")
            with self._lock:
                self._waiting[message.stream] -= 1
                if not self._waiting[message.stream]:
                    del self._waiting[message.stream]

    def _do(self, message: Message) -> None:
        match message:
            case link.OpenView():
                self._views.open(message)
            case link.SetIn():
                self._views.submit(message)
            case link.Close(stream=stream):
                self._views.close(stream)
