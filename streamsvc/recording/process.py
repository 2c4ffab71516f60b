"""The edge's side of a recording: a pipe to the process that writes it, which never makes the edge wait.

Invariants: at most `MOST_WAITING` bytes wait for a writer that is slow; pictures are left out first, a whole view from
one that did not fit up to its next keyframe, and counted; when even sound does not fit the recording has ended.
`on_end(code, message)` is called once, however it ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable

from streamsvc.recording import items

log = logging.getLogger(__name__)

PICTURES_WAITING = 4 << 20
MOST_WAITING = 8 << 20


class Writer:
    """One recording. `start` it once; everything else may be called at any time and never blocks."""

    def __init__(self, begin: items.Begin, on_end: Callable[[str, str], None]) -> None:
        self._begin, self._on_end = begin, on_end
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._broken = {i for i, owner in enumerate(begin.owners) if owner.view}
        self._ended = False
        self.name: str | None = None
        self.dropped = 0

    @property
    def pid(self) -> int | None:
        """The process id."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the process; raises OSError."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "streamsvc.recording.writer",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # Apart from Ctrl-C; a session of its own would make its niceness count for nothing beside ours.
            process_group=0,
        )
        self._reader = asyncio.create_task(self._read(), name="recording")
        self._send(self._begin)

    def picture(self, item: items.Picture) -> bool:
        """Write a picture; returns False when it can only go on with a keyframe."""
        if self._ended or item.at_ns < self._begin.start_ns:
            return True
        if not item.keyframe and item.owner in self._broken:
            self.dropped += self.name is not None
            return False
        fits = self._send(item, PICTURES_WAITING)
        if fits:
            self._broken.discard(item.owner)
        else:
            self.dropped += 1
            self._broken.add(item.owner)
        return fits

    def send(self, item: items.Sound | items.Words | items.Tick) -> None:
        """Write anything else; ends the recording when that is not possible."""
        if not self._ended and not self._send(item):
            self._end("writer-slow", "the disk does not keep up with the recording")
            self._close()

    async def stop(self) -> None:
        """End the recording, and wait until the file is whole and the process has ended; that of a long one takes its
        time."""
        if not self._ended:
            self._send(items.End())
        self._close()
        if self._reader is not None:
            await asyncio.wait({self._reader})

    def _send(self, item: items.Item, limit: int = MOST_WAITING) -> bool:
        pipe = None if self._process is None else self._process.stdin
        if pipe is None or pipe.is_closing() or pipe.transport.get_write_buffer_size() > limit:
            return False
        pipe.write(items.encode(item))
        return True

    def _close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    async def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                size = int.from_bytes(await self._process.stdout.readexactly(4), "little")
                report = items.decode_report(await self._process.stdout.readexactly(size))
                if isinstance(report, items.Opened):
                    self.name = report.name
                    log.info("recording to %s", report.name)
                else:
                    self._end(report.code, report.message)
        await self._process.wait()
        self._end("write-failed", "the process that writes the recording has died")

    def _end(self, code: str, message: str) -> None:
        if not self._ended:
            self._ended = True
            log.info("the recording %s ended: %s", self.name, code)
            self._on_end(code, message)
