"""What one viewer sees of one owner: frame sets of the owner's cameras to the worker, views back to the viewer.

Runs on the event loop; only colour conversion leaves it, for the codec threads. Invariants: every set that is due
has one record in the ledger; at most one set is being converted, and a newer one replaces the one
that waits; views leave in capture order; no picture is queued anywhere else.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from streamsvc.budget import AfterWorker, Clock, worker_deadline_ns
from streamsvc.budget.planner import carried_db
from streamsvc.edge import FrameSets, Received, VideoOut, colour, executors, rtp_timestamp_of
from streamsvc.frames import link
from streamsvc.frames.ring import Ring
from streamsvc.ledger import Key, Ledger, Record, Stage
from streamsvc.session.admitting import Pace
from streamsvc.session.settings import CallSettings, picture_size
from streamsvc.session.worker_link import WorkerLink
from streamsvc.signalling import channels
from streamsvc.signalling.protocol import TokenBucket

log = logging.getLogger(__name__)

REMEMBERED = 256
FIRST_PERIOD_NS = 33_333_333
WAIT_SHARE = 4
"""A set waits for a late camera for at most this part of the budget: a view from fewer cameras is worse than one that
comes a little later, but one that comes too late is worth nothing."""


@dataclass(frozen=True, slots=True)
class _Pending:
    """A complete set on its way to the ring."""

    key: Key
    capture_ns: int
    deadline_ns: int
    pictures: dict[str, Received]


class Watching:
    """One view stream; of the instants that the cameras capture one in `every` is due, of at most `most_fps` a second,
    thinned evenly: what comes above the rate agreed is as if it had not been captured. `ids` number the sets: those of
    an earlier stream of the same name, which may still be under way, must not come again. `counts` are those of
    `FrameSets`. `bitrate` tells what views are encoded at, bits per second, None where that isn't known yet."""

    def __init__(
        self,
        *,
        session: str,
        stream: str,
        cameras: Sequence[str],
        rig: dict[str, Any] | None,
        settings: CallSettings,
        backdrop: str,
        every: int,
        most_fps: float,
        worker: WorkerLink,
        ledger: Ledger,
        clock: Clock,
        video: VideoOut,
        ids: Iterator[int],
        counts: Counter[str],
        bitrate: Callable[[], int | None],
        tell: Callable[[str, str], None],
        tell_owner: Callable[[str, str], None],
        windowed: Callable[[], None],
        packed: Callable[[channels.PackedView], None],
    ) -> None:
        self.stream = stream
        self.screen: dict[str, Any] | None = None
        self.eyes: list[tuple[float, float, float]] | None = None
        self._session, self._cameras, self._rig = session, tuple(cameras), rig
        self._settings, self._worker, self._ledger, self._clock = settings, worker, ledger, clock
        self._backdrop, self._every, self._most_fps = backdrop, every, most_fps
        # A second's worth at once, so that neither jitter nor a network that stalls costs anybody pictures.
        self._within = TokenBucket(per_s=most_fps, burst=math.ceil(most_fps) + 1, now_ns=clock.now_ns())
        self._video, self._windowed, self._packed = video, windowed, packed
        self._tell, self._tell_owner = tell, tell_owner
        self._sets: FrameSets[Received] = FrameSets(cameras, FIRST_PERIOD_NS, self._budget_ns // WAIT_SHARE, counts)
        self._after = AfterWorker()
        self._ids, self._bitrate = ids, bitrate
        self._instants = 0
        self._delay_ns = 0.0
        self._waiting: _Pending | None = None
        self._task: asyncio.Task[None] | None = None
        self._wake: asyncio.TimerHandle | None = None
        self._open: OrderedDict[int, tuple[Key, int, Ring]] = OrderedDict()
        self._sent: OrderedDict[int, tuple[Key, int]] = OrderedDict()
        self._last_view_ns = 0
        self._closed = False
        worker.open(self._open_message(), self._on_worker)

    def _open_message(self) -> link.OpenView:
        s = self._settings
        return link.OpenView(
            stream=self.stream, rig=self._rig, width=s.width, height=s.height, mode=s.mode, backdrop=self._backdrop
        )

    def show_before(self, backdrop: str) -> None:
        """Take what the owner wants to be seen in place of their room."""
        if backdrop != self._backdrop:
            self._backdrop = backdrop
            self._worker.open(self._open_message(), self._on_worker)

    def configure(self, settings: CallSettings) -> None:
        """Take the viewer's new settings; another size or output mode opens the stream anew at the worker."""
        before = self._open_message()
        self._settings = settings
        self._sets.wait_ns = self._budget_ns // WAIT_SHARE
        if self._open_message() != before:
            self._worker.open(self._open_message(), self._on_worker)

    def close(self) -> None:
        """End the stream; idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._wake is not None:
            self._wake.cancel()
        # What is being converted goes on: its threads write into slots that are free only afterwards.
        self._worker.close(self.stream)
        self._lose("closed")

    def worker_lost(self) -> None:
        """Take note that what the worker had is lost, and its ring with it."""
        self._lose("worker-down")

    def picture(self, camera: str, received: Received, capture_ns: int, error_ns: int) -> None:
        """Take one camera's picture, captured at `capture_ns` on our clock."""
        if camera in self._cameras:
            self._sets.put(camera, capture_ns, received, self._clock.now_ns())
            self._pump(error_ns)

    def shown(self, rtp_timestamp: int, displayed_ns: int, error_ns: int) -> None:
        """Take the viewer's report that a view was displayed, `displayed_ns` on our clock."""
        key, left_worker_ns = self._sent.get(rtp_timestamp, (None, 0))
        # Nobody has seen a picture before it was made; a wrong clock must not improve the figures.
        if key is None or displayed_ns < left_worker_ns - error_ns:
            return
        del self._sent[rtp_timestamp]
        self._after.observe(displayed_ns - left_worker_ns, self._clock.now_ns())
        self._ledger.shown(key, displayed_ns, error_ns)

    @property
    def closed(self) -> bool:
        """Whether the stream has ended."""
        return self._closed

    @property
    def pace(self) -> Pace:
        """How the stream runs now."""
        deadline = worker_deadline_ns(0, self._budget_ns, self._after.ns(self._clock.now_ns()))
        return Pace(self._fps, round(self._delay_ns), deadline)

    @property
    def _fps(self) -> float:
        """Instants due a second."""
        return min(1e9 / self._sets.period_ns, self._most_fps) / self._every

    def _pump(self, error_ns: int) -> None:
        if self._closed:
            return
        now = self._clock.now_ns()
        taken = self._sets.take(now)
        if taken is not None and self._is_due(now):
            capture_ns, pictures = taken
            key = self._record(capture_ns, error_ns, len(pictures))
            deadline = worker_deadline_ns(capture_ns, self._budget_ns, self._after.ns(now))
            arrived = max(p.arrived_ns for p in pictures.values())
            self._ledger.stage(key, Stage("receive", capture_ns, arrived), Stage("align", arrived, now))
            if self._waiting is not None:
                self._drop(self._waiting.key, "superseded")
            self._waiting = _Pending(key, capture_ns, deadline, pictures)
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._submit_waiting(), name=f"submit {self.stream}")
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        wake = self._sets.next_wake_ns()
        if wake is not None:
            self._wake = asyncio.get_running_loop().call_later(max(wake - now, 0) / 1e9, self._pump, error_ns)

    @property
    def _budget_ns(self) -> int:
        return round(self._settings.budget_ms * 1e6)

    def _is_due(self, now_ns: int) -> bool:
        """Whether the instant that is complete now is one of those agreed."""
        if not self._within.take(now_ns):
            return False
        self._instants += 1
        return self._instants % self._every == 0

    def _record(self, capture_ns: int, error_ns: int, cameras: int) -> Key:
        return self._ledger.open(
            Record(
                kind="view",
                session=self._session,
                stream=self.stream,
                id=next(self._ids),
                capture_ns=capture_ns,
                deadline_ns=capture_ns + self._budget_ns,
                clock_error_ns=error_ns,
                cameras=cameras,
                outcome="dropped",
            )
        )

    def _lose(self, reason: str) -> None:
        while self._open:
            _, (key, _, _) = self._open.popitem()
            self._drop(key, reason)

    def _drop(self, key: Key, reason: str) -> None:
        self._ledger.drop(key, reason)

    async def _submit_waiting(self) -> None:
        while (pending := self._waiting) is not None:
            self._waiting = None
            await self._submit(pending)

    async def _submit(self, pending: _Pending) -> None:
        ring = self._worker.ring
        if self._closed or not self._worker.up or ring is None:
            self._drop(pending.key, "closed" if self._closed else "worker-down")
            return
        slots = self._worker.slots.take(len(pending.pictures))
        if slots is None:
            self._drop(pending.key, "ring-full")
            return
        start = self._clock.now_ns()
        # All of them: a slot is free only when no thread writes into it any more.
        converted = await asyncio.gather(
            *(
                executors.run(executors.decoding(), _into_slot, ring, slot, camera, received)
                for slot, (camera, received) in zip(slots, pending.pictures.items(), strict=True)
            ),
            return_exceptions=True,
        )
        pictures = [p for p in converted if not isinstance(p, BaseException)]
        if self._closed or len(pictures) < len(converted):
            self._give_back(ring, slots)
            self._drop(pending.key, "closed" if self._closed else "bad-picture")
            for error in (p for p in converted if isinstance(p, BaseException)):
                log.warning("a picture of %s can't be used: %r", self.stream, error)
            return
        self._ledger.stage(pending.key, Stage("convert", start, self._clock.now_ns()))
        message = link.SetIn(
            stream=self.stream,
            id=pending.key.id,
            capture_ns=pending.capture_ns,
            deadline_ns=pending.deadline_ns,
            period_ns=round(1e9 / self._fps),
            pictures=pictures,
            eyes=self.eyes,
            rung=self._settings.rung,
            carried_db=self._carried_db(),
        )
        if ring is not self._worker.ring or not self._worker.send(message):
            self._give_back(ring, slots)
            self._drop(pending.key, "worker-down")
            return
        self._delay_ns += 0.1 * (self._clock.now_ns() - pending.capture_ns - self._delay_ns)
        self._open[pending.key.id] = (pending.key, pending.capture_ns, ring)
        while len(self._open) > REMEMBERED:
            self._open.popitem(last=False)

    def _carried_db(self) -> float | None:
        bitrate = self._bitrate()
        if bitrate is None:
            return None
        width, height = picture_size(self._settings)
        return carried_db(bitrate, width, height, self._fps)

    def _give_back(self, ring: Ring, slots: list[int]) -> None:
        # Slots of a replaced ring are gone with it, and their numbers mean others now.
        if ring is self._worker.ring:
            self._worker.slots.give(slots)

    def _on_worker(self, message: link.FromWorker) -> None:
        match message:
            case link.ViewOut():
                asyncio.get_running_loop().create_task(self._deliver(message), name=f"deliver {self.stream}")
            case link.ViewLost():
                opened = self._open.pop(message.id, None)
                if opened is not None:
                    self._ledger.stage(opened[0], *_stages(message.stages))
                    self._drop(opened[0], message.reason)
            case link.Window(screen=screen):
                self.screen = screen
                self._windowed()
            case link.Trouble():
                (self._tell_owner if message.owner else self._tell)(message.code, message.message)
            case _:
                log.warning("a view stream was sent %s", type(message).__name__)

    async def _deliver(self, message: link.ViewOut) -> None:
        opened = self._open.pop(message.id, None)
        arrived = self._clock.now_ns()
        if opened is None:
            self._worker.send(link.GiveOut(slots=[message.slot]))
            return
        key, capture_ns, ring = opened
        self._ledger.plan(
            key,
            rung=message.rung,
            quality=message.quality,
            predicted_ns=message.predicted_ns,
            cameras=message.cameras,
        )
        pixels = ring.pixels(message.slot, message.width, message.height)
        try:
            frame = await executors.run(executors.encoding(), colour.to_yuv, pixels)
        finally:
            if ring is self._worker.ring:
                self._worker.send(link.GiveOut(slots=[message.slot]))
        self._ledger.stage(key, *_stages(message.stages), Stage("return", arrived, self._clock.now_ns()))
        if self._closed or capture_ns <= self._last_view_ns:
            self._drop(key, "closed" if self._closed else "out-of-order")
            return
        self._last_view_ns = capture_ns
        rtp = rtp_timestamp_of(capture_ns)
        if message.packed is not None:
            self._packed(_packed_view(rtp, message.packed))
        self._video.put(frame, capture_ns)
        self._sent[rtp] = (key, message.stages[-1].end_ns if message.stages else arrived)
        while len(self._sent) > REMEMBERED:
            self._sent.popitem(last=False)


def _into_slot(ring: Ring, slot: int, camera: str, received: Received) -> link.PictureIn:
    pixels = colour.to_rgb(received.frame)
    height, width = pixels.shape[:2]
    np.copyto(ring.pixels(slot, width, height), pixels)
    return link.PictureIn(camera, slot, width, height, received.arrived_ns)


def _packed_view(rtp: int, depth: link.PackedDepth) -> channels.PackedView:
    return channels.PackedView(
        rtp=rtp,
        eye=depth.eye,
        screen=depth.screen,
        width=depth.width,
        height=depth.height,
        inverse_far=depth.inverse_far,
        inverse_near=depth.inverse_near,
    )


def _stages(spans: Sequence[link.StageSpan]) -> list[Stage]:
    return [Stage(s.name, s.start_ns, s.end_ns) for s in spans]
