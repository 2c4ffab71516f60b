"""A worker on this host: started, fed, watched, and replaced when it dies or hangs, without the sessions noticing more
than a pause.

The edge side of `frames.link`. Invariants: a stream that is open stays open across replacements (its `Open...` message,
with the settings of later `Configure...` messages folded in, is replayed); nothing here blocks the loop; slots of a
dead worker's ring are never reused, because a new worker gets a new ring; of what waits for a worker that doesn't read
only pictures, sound and questions are dropped, which come anew; a listener that raises is logged, and keeps neither the
others nor the supervision from going on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from streamsvc.budget import Clock
from streamsvc.errors import StreamsvcError
from streamsvc.fleet.watchdog import Watchdog
from streamsvc.frames import link
from streamsvc.frames.ring import Ring, Slots

log = logging.getLogger(__name__)

T = TypeVar("T")

READY_TIMEOUT_S = 180.0
BACKOFF_S = (0.0, 0.5, 1.0, 2.0, 5.0)
STEADY_S = 30.0
STOP_S = 1.0
KILL_S = 2.0
"""What a kill may take; a process whose driver holds it doesn't end at all."""
LOOK_S = 0.1
ANSWER_TIMEOUT_S = 0.6
RENEWED = (link.SetIn, link.SoundIn, link.AskCosts)
SEND_LIMIT = 8 * 1024 * 1024
"""Bytes that wait for a worker that doesn't read: then nothing of `RENEWED` is sent, and soon it is replaced."""
# glibc gives each thread a heap of its own by default; in a worker they grow apart for many minutes.
MALLOC_ARENAS = "2"

Listener = Callable[[link.FromWorker], None]


class WorkerError(StreamsvcError):
    """The worker could not be started."""


@dataclass(frozen=True, slots=True)
class WorkerStatistics:
    """`restarts` counts replacements; `load` is the busy share of all lanes, 0 to 1."""

    up: bool
    restarts: int
    load: float
    waiting: int
    resident_bytes: int


class LocalWorker:
    """One worker process and the ring to it."""

    def __init__(self, settings: link.WorkerSettings, clock: Clock, *, hang_s: float = 2.0) -> None:
        self._settings, self._clock, self._hang_s = settings, clock, hang_s
        self._opens: dict[str, link.OpenView | link.OpenSpeech] = {}
        self._listeners: dict[str, Listener] = {}
        self._state_listeners: list[Callable[[bool], None]] = []
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._runner: asyncio.Task[None] | None = None
        self._beat: link.Beat | None = None
        self._watchdog = self._new_watchdog()
        self._restarts = 0
        self._asked: dict[int, asyncio.Future[link.Costs]] = {}
        self._asked_id = 0
        self._unable: str | None = None
        self._grace_s = 0.0
        self._up = asyncio.Event()
        self.ready: link.Ready | None = None
        self.ring: Ring | None = None
        self.slots = Slots(range(0))

    @property
    def up(self) -> bool:
        """True while a warm worker is connected."""
        return self._up.is_set()

    @property
    def pid(self) -> int | None:
        """The worker's process id."""
        return None if self._process is None else self._process.pid

    async def start(self) -> link.Ready:
        """Start the first worker and wait until it is warm; raises WorkerError when that isn't possible, when it ends,
        and when it takes over 3 minutes."""
        self._runner = asyncio.create_task(self._run(), name="worker-supervisor")
        up = asyncio.create_task(self._up.wait())
        done, _ = await asyncio.wait({up, self._runner}, return_when=asyncio.FIRST_COMPLETED)
        if self._runner in done:
            up.cancel()
            self._runner.result()
        assert self.ready is not None
        return self.ready

    async def stop(self) -> None:
        """End the worker; it has a second to go by itself."""
        self._grace_s = STOP_S
        if self._runner is not None:
            self._runner.cancel()
            with contextlib.suppress(asyncio.CancelledError, WorkerError):
                await self._runner

    def on_state(self, listener: Callable[[bool], None]) -> None:
        """Call `listener(up)` whenever a worker is lost or back."""
        self._state_listeners.append(listener)

    def open(self, message: link.OpenView | link.OpenSpeech, listener: Listener) -> None:
        """Open a stream (or open it anew with other settings); its messages go to `listener`."""
        self._opens[message.stream] = message
        self._listeners[message.stream] = listener
        self._send(message)

    def configure(self, message: link.ConfigureSpeech) -> None:
        """Change an open speaker's settings, now and for every later worker."""
        old = self._opens.get(message.stream)
        if not isinstance(old, link.OpenSpeech):
            return
        changes = {
            name: value
            for name in ("policy", "parameters", "source", "target", "glossary", "voice", "spoken")
            if (value := getattr(message, name)) is not None
        }
        self._opens[message.stream] = msgspec.structs.replace(old, **changes)
        self._send(message)

    def close(self, stream: str) -> None:
        """End a stream; a speaker's last words still come, until the worker says that they were the last."""
        opened = self._opens.pop(stream, None)
        if opened is not None:
            told = self._send(link.Close(stream=stream))
            if not (told and isinstance(opened, link.OpenSpeech)):
                self._listeners.pop(stream, None)

    def send(self, message: link.SetIn | link.SoundIn | link.GiveOut) -> bool:
        """Pass a message on; False when no worker is up or it does not read, and then the message is lost."""
        return self.up and self._send(message)

    async def costs(self, views: Sequence[link.OpenView]) -> link.Costs | None:
        """Ask what streams cost, and what `views` would; None when no worker is up or it doesn't answer in time."""
        self._asked_id += 1
        number = self._asked_id
        answer: asyncio.Future[link.Costs] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            if not self.up or not self._send(link.AskCosts(id=number, views=list(views))):
                return None
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return await answer
        except TimeoutError:
            return None
        finally:
            del self._asked[number]

    def statistics(self) -> WorkerStatistics:
        """Return the state with the figures of the last heartbeat."""
        beat = self._beat
        if beat is None:
            return WorkerStatistics(self.up, self._restarts, 0.0, 0, 0)
        return WorkerStatistics(self.up, self._restarts, beat.load, beat.waiting, beat.resident_bytes)

    def _send(self, message: link.Message) -> bool:
        writer = self._writer
        if writer is None or writer.is_closing() or (isinstance(message, RENEWED) and not _reads(writer)):
            return False
        writer.write(link.encode(message))
        return True

    def _tell_state(self, up: bool) -> None:
        for listener in self._state_listeners:
            _tell(listener, up)

    async def _run(self) -> None:
        failures = 0
        while True:
            started = self._clock.now_ns()
            self._unable = None
            why = ""
            try:
                await self._one_life()
            except WorkerError as error:
                if self.ready is None:
                    raise
                why = f" ({error})"
            except Exception as error:
                if self.ready is None:
                    raise WorkerError(f"the worker can't be started: {error}") from error
                log.exception("the link to the worker broke")
            finally:
                was_up = self.up
                self._up.clear()
                self._writer = None
                await self._end_process(self._grace_s)
                self._listeners = {s: told for s, told in self._listeners.items() if s in self._opens}
                if was_up:
                    self._tell_state(False)
            self._restarts += 1
            steady = self._clock.now_ns() - started > STEADY_S * 1e9
            failures = 0 if steady else failures + 1
            delay = BACKOFF_S[min(failures, len(BACKOFF_S) - 1)]
            log.warning("the worker ended%s; a new one starts in %.1f s", why, delay)
            await asyncio.sleep(delay)

    async def _one_life(self) -> None:
        ours, theirs = socket.socketpair()
        try:
            self.ring = Ring.create()
        except BaseException:
            ours.close()
            theirs.close()
            raise
        self.slots = Slots(self.ring.inward)
        fds = (theirs.fileno(), self.ring.fd)
        try:
            process = self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "streamsvc.worker",
                *("--control-fd", str(fds[0]), "--ring-fd", str(fds[1])),
                *("--settings", msgspec.json.encode(self._settings).decode()),
                pass_fds=fds,
                stdin=asyncio.subprocess.DEVNULL,
                env={"MALLOC_ARENA_MAX": MALLOC_ARENAS, **os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
                start_new_session=True,
            )
            reader, writer = await asyncio.open_connection(sock=ours)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            self.ring.close()
        self._watchdog = self._new_watchdog()
        watching = asyncio.create_task(self._watch(writer), name="worker-watchdog")
        try:
            with contextlib.suppress(ConnectionError):  # how the stream of a worker that was killed ends
                await self._read(reader, writer)
        finally:
            watching.cancel()
            writer.close()
        if not self.up:
            code = await _status(process, STOP_S)
            ended = "is not ready and hangs" if code is None else f"ended with status {code} before it was ready"
            raise WorkerError(self._unable or f"the worker process {ended}; its log says why")

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        unframer = link.Unframer()
        while data := await reader.read(1 << 18):
            for body in unframer.feed(data):
                self._handle(link.decode_from_worker(body), writer)

    def _handle(self, message: link.FromWorker, writer: asyncio.StreamWriter) -> None:
        match message:
            case link.GiveIn(slots=slots):
                self.slots.give(slots)
            case link.Costs(id=number):
                asked = self._asked.get(number)
                if asked is not None and not asked.done():
                    asked.set_result(message)
            case link.Unable(reason=reason):
                self._unable = reason
            case link.Beat():
                self._beat = message
                self._watchdog.heard(self._clock.now_ns(), message.overdue_ns)
            case link.SpeechOver(stream=stream):
                if stream not in self._opens:
                    self._listeners.pop(stream, None)
            case link.Ready():
                self.ready, self._writer = message, writer
                self._watchdog.heard(self._clock.now_ns())
                for open_message in self._opens.values():
                    self._send(open_message)
                self._up.set()
                self._tell_state(True)
            case _:
                listener = self._listeners.get(message.stream)
                if listener is not None:
                    _tell(listener, message)
                elif isinstance(message, link.ViewOut):
                    self._send(link.GiveOut(slots=[message.slot]))

    def _new_watchdog(self) -> Watchdog:
        return Watchdog(hang_ns=self._hang_s * 1e9, ready_ns=READY_TIMEOUT_S * 1e9, now_ns=self._clock.now_ns())

    async def _watch(self, writer: asyncio.StreamWriter) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            hangs = self._watchdog.look(self._clock.now_ns(), reads=_reads(writer))
            if hangs is not None:
                log.error("the worker hangs (%s); it is replaced", hangs)
                writer.transport.abort()
                return

    async def _end_process(self, grace_s: float) -> None:
        process, self._beat = self._process, None
        if process is None or process.returncode is not None:
            return
        if grace_s and await _status(process, grace_s) is not None:
            return
        # The worker leads its own process group, so its voice processes go with it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if await _status(process, KILL_S) is None:
            log.error("the worker %d can't be killed and is left behind", process.pid)


async def _status(process: asyncio.subprocess.Process, within_s: float) -> int | None:
    """Return the exit status, None when the process hasn't ended within so many seconds."""
    with contextlib.suppress(TimeoutError):
        return await asyncio.wait_for(process.wait(), within_s)
    return None


def _reads(writer: asyncio.StreamWriter) -> bool:
    """Whether the other end keeps up with what is written."""
    return writer.transport.get_write_buffer_size() <= SEND_LIMIT


def _tell(listener: Callable[[T], None], what: T) -> None:
    """Call a listener. What one stream's listener gets wrong must not end the supervision of the worker of all."""
    try:
        listener(what)
    except Exception:
        log.exception("a listener failed at %s", type(what).__name__)
