"""View streams of one worker: frame sets in, rungs chosen, views out. Knows the ring; knows no WebRTC."""

from __future__ import annotations

import dataclasses
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from streamsvc.budget import (
    DEFAULT_POLICY,
    Class,
    Clock,
    CostModel,
    Governed,
    Governor,
    Job,
    Policy,
    Rung,
    Slices,
    Speed,
    Ticket,
)
from streamsvc.errors import StreamsvcError
from streamsvc.frames import Frame, FrameSet, Viewpoint, parse_rig
from streamsvc.frames.backdrop import BackdropError, parse_backdrop
from streamsvc.frames.link import (
    FromWorker,
    GiveIn,
    OpenView,
    PackedDepth,
    RungCost,
    SetIn,
    StageSpan,
    Trouble,
    ViewLost,
    ViewOut,
    Window,
)
from streamsvc.frames.outputmode import parse_mode
from streamsvc.frames.ring import Ring, Slots
from streamsvc.view import ViewSynthesizer
from streamsvc.view.health import Finding, news
from streamsvc.view.modes import Picture, take
from streamsvc.worker.failing import Failing
from streamsvc.worker.inorder import InOrder
from streamsvc.worker.lanes import Lanes
from streamsvc.worker.trial import AFTER_SETS, copied, trial

if TYPE_CHECKING:
    from streamsvc.view.net.geometry import NetGeometry

log = logging.getLogger(__name__)

SLICES_OF_A_VIEW = 3
"""The longest slice takes about this part of a view."""


class Predicted(NamedTuple):
    """What a view is expected to take of a lane, and of that in compute."""

    taken_ns: int
    compute_ns: int


class ViewStream:
    """One participant seen by one viewer; `budget` is used under the lock of `Views`. `window_moves`: the screen that
    was told is not yet where it will stay."""

    def __init__(self, name: str, synthesizer: ViewSynthesizer, budget: Governed, clock: Clock) -> None:
        self.name = name
        self.synthesizer = synthesizer
        self.budget = budget
        self.failing = Failing()
        self.window_moves = not synthesizer.settled
        self.troubles: tuple[Finding, ...] = ()
        self.turned: dict[str, float] = {}
        self.telling = threading.Lock()
        self.order = InOrder(clock)
        self.sets = 0

    def used(self, cameras: Sequence[str]) -> int:
        """How many of these cameras show something."""
        ill = {name for trouble in self.troubles if trouble.unusable for name in trouble.cameras}
        return sum(camera not in ill for camera in cameras)


class Views:
    """All view streams; `send` may be called from any thread."""

    def __init__(
        self,
        ring: Ring,
        lanes: Lanes,
        clock: Clock,
        send: Callable[[FromWorker], None],
        *,
        device: str = "cpu",
        extra_stage_ms: float = 0.0,
        net: NetGeometry | None = None,
        policy: Policy = DEFAULT_POLICY,
    ) -> None:
        self._ring, self._lanes, self._clock, self._send = ring, lanes, clock, send
        self._device, self._net = device, net
        # Where a GPU computes, a thread's CPU time says nothing of it.
        self._computed_ns = time.thread_time_ns if device == "cpu" else clock.now_ns
        self._extra_stage_ms = extra_stage_ms
        self._out = Slots(ring.outward)
        self._out_lock = threading.Lock()
        self._streams: dict[str, ViewStream] = {}
        self._budget_lock = threading.Lock()
        self._speed, self._pace = Speed(), Speed()
        self._governor = Governor(policy, lanes.count)
        self._spoken_ns = 0

    def open(self, message: OpenView) -> None:
        """Start or restart a stream. A rig that can't be used is reported and the picture passes through, except where
        the room is to be hidden: then nothing is shown."""
        mode, backdrop = parse_mode(message.mode), parse_backdrop(message.backdrop)
        try:
            rig = None if message.rig is None else parse_rig(message.rig)
            synthesizer = ViewSynthesizer(
                rig, message.width, message.height, mode=mode, device=self._device, net=self._net, backdrop=backdrop
            )
        except StreamsvcError as e:
            if backdrop.hides or isinstance(e, BackdropError):
                self._send(Trouble(stream=message.stream, code="bad-backdrop", message=str(e)))
                self.close(message.stream)  # what waits would still show the room
                return
            self._send(Trouble(stream=message.stream, code="bad-rig", message=str(e), owner=True))
            synthesizer = ViewSynthesizer(None, message.width, message.height, mode=mode, device=self._device)
        with self._budget_lock:
            model = CostModel(synthesizer.ladder, self._speed, self._pace)
            budget = self._governor.open(message.stream, synthesizer.ladder, model)
        self._streams[message.stream] = ViewStream(message.stream, synthesizer, budget, self._clock)
        if self._device != "cpu":
            threading.Thread(target=_prepare, args=(synthesizer, message.stream), daemon=True).start()
        if synthesizer.screen is not None:
            self._send(Window(stream=message.stream, screen=synthesizer.screen.to_json()))

    def close(self, stream: str) -> None:
        """End a stream."""
        self._streams.pop(stream, None)
        with self._budget_lock:
            self._governor.close(stream)
            self._lanes.crowded = self._governor.crowded
        self._lanes.close_stream(stream)

    def expect_speech(self, share: float) -> None:
        """Plan with a speaker who will take this share of a lane, or (negative) has gone."""
        with self._budget_lock:
            self._governor.expect_speech(share)

    def plan(self) -> None:
        """Plan for now if it is time, and send what has waited enough: frames, which do that too, may have stopped
        coming."""
        for stream in list(self._streams.values()):
            stream.order.release()
        with self._budget_lock:
            self._tell_spoken()
            self._governor.refresh(self._clock.now_ns())
            self._lanes.crowded = self._governor.crowded

    def costs(self) -> dict[str, list[RungCost]]:
        """Return the ladders of all streams with what has been learned of them."""
        with self._budget_lock:
            return {name: _costs(stream.budget.costs()) for name, stream in list(self._streams.items())}

    def would_cost(self, message: OpenView) -> list[RungCost]:
        """Return the ladder that a stream would have, as dear as rungs turn out on this worker; none where it can't be
        opened."""
        try:
            synthesizer = ViewSynthesizer(
                None if message.rig is None else parse_rig(message.rig),
                message.width,
                message.height,
                mode=parse_mode(message.mode),
                device=self._device,
                net=self._net,
                backdrop=parse_backdrop(message.backdrop),
            )
        except StreamsvcError:
            return []
        with self._budget_lock:
            ratio = self._speed.ratio * self._pace.ratio
        return _costs([dataclasses.replace(r, cost_ns=round(ratio * r.cost_ns)) for r in synthesizer.ladder])

    def give(self, slots: list[int]) -> None:
        """Take outward slots back from the edge."""
        with self._out_lock:
            self._out.give(slots)

    def submit(self, message: SetIn) -> None:
        """Queue a frame set."""
        stream = self._streams.get(message.stream)
        if stream is None:
            self._lost(message, "closed", [])
            return
        with self._budget_lock:
            self._tell_spoken()
            ticket = stream.budget.frame(
                self._clock.now_ns(),
                message.deadline_ns,
                message.period_ns,
                self._lanes.backlog_ns,
                message.rung,
                math.inf if message.carried_db is None else message.carried_db,
            )
            self._lanes.crowded = self._governor.crowded
        if ticket is None:
            self._lost(message, "thinned", [])
            return
        number = self._lanes.next_id()
        job = Job(number, message.stream, Class.VIEW, message.deadline_ns, ticket.floor_ns, message.period_ns)

        def on_end(reason: str | None, spans: list[StageSpan]) -> None:
            if reason == "hopeless":
                with self._budget_lock:
                    stream.budget.given_up()
            if reason is not None:
                self._lost(message, reason, spans)
                stream.order.lost(message.capture_ns)

        self._lanes.submit(job, lambda: self._work(stream, message, number, ticket), on_end)
        stream.sets += 1
        if stream.sets == AFTER_SETS and self._device == "cpu":
            self._try_rungs(stream, message)

    def _tell_spoken(self) -> None:
        spoken = self._lanes.spent_ns(Class.SPEECH)
        self._governor.speech(spoken - self._spoken_ns)
        self._spoken_ns = spoken

    def _try_rungs(self, stream: ViewStream, message: SetIn) -> None:
        """Let idle time tell what the stream's other rungs cost."""
        frames = copied(self._frame_set(message))
        with self._budget_lock:
            rungs, dearest = stream.budget.unseen, max(r.cost_ns for r in stream.budget.costs())
        if frames is None or not rungs:
            return
        live = stream.synthesizer

        def tell(rung: str, cost_ns: int) -> None:
            with self._budget_lock:
                if rung in stream.budget.unseen:
                    stream.budget.observe(rung, cost_ns)

        def work() -> Slices[None]:
            own = ViewSynthesizer(
                live.rig, live.width, live.height, mode=live.mode, net=live.net, backdrop=live.backdrop
            )
            yield "try open"
            yield from trial(own, frames, rungs, self._computed_ns, tell)

        job = Job(self._lanes.next_id(), stream.name, Class.BEST_EFFORT, 0, slice_ns=dearest // SLICES_OF_A_VIEW)
        self._lanes.submit(job, work, lambda reason, spans: None)

    def _lost(self, message: SetIn, reason: str, spans: list[StageSpan]) -> None:
        self._send(GiveIn(slots=[p.slot for p in message.pictures]))
        self._send(ViewLost(stream=message.stream, id=message.id, reason=reason, stages=spans))

    def _frame_set(self, message: SetIn) -> FrameSet:
        frames = tuple(
            Frame(p.camera, self._ring.pixels(p.slot, p.width, p.height), p.capture_ns) for p in message.pictures
        )
        return FrameSet(message.stream, message.id, message.capture_ns, message.deadline_ns, frames)

    def _work(self, stream: ViewStream, message: SetIn, job: int, ticket: Ticket) -> Slices[None]:
        with self._budget_lock:
            rung = stream.budget.choose(ticket, lambda costs: self._lanes.afford(job, costs))
            predicted = Predicted(stream.budget.mean_ns(rung.name), stream.budget.compute_ns(rung.name))
        spans: list[StageSpan] = []
        computed = 0
        start, computing = self._clock.now_ns(), self._computed_ns()
        stream.order.begun(message.capture_ns, predicted.taken_ns)
        eyes = None if message.eyes is None else Viewpoint(0, tuple(message.eyes))
        shot = stream.synthesizer.shot(eyes)
        slices = take(shot, stream.synthesizer.views(self._frame_set(message), shot.cameras, rung.name))
        while True:
            try:
                name = next(slices)
            except StopIteration as stop:
                picture = stop.value
                break
            except StreamsvcError as e:
                self._tell_troubles(stream)
                code = getattr(e, "code", "view-failed")
                self._tell(stream, stream.failing.failed(code, str(e), self._clock.now_ns()))
                raise
            computed += self._computed_ns() - computing
            spans.append(StageSpan(name, start, self._clock.now_ns()))
            yield name
            start, computing = self._clock.now_ns(), self._computed_ns()
        if self._extra_stage_ms:
            time.sleep(self._extra_stage_ms / 1000)
            spans.append(StageSpan("extra", start, self._clock.now_ns()))
            computed += spans[-1].end_ns - start
            yield "extra"
        taken = sum(s.end_ns - s.start_ns for s in spans)
        with self._budget_lock:
            stream.budget.observe(rung.name, computed, taken)
        self._tell_troubles(stream)
        self._tell(stream, stream.failing.made(self._clock.now_ns()))
        stream.order.ready(
            message.capture_ns,
            message.deadline_ns,
            lambda: self._deliver(stream, message, rung, predicted, computed, spans, picture),
        )

    def _deliver(
        self,
        stream: ViewStream,
        message: SetIn,
        rung: Rung,
        predicted: Predicted,
        computed_ns: int,
        spans: list[StageSpan],
        picture: Picture,
    ) -> None:
        height, width = picture.pixels.shape[:2]
        with self._out_lock:
            slots = self._out.take()
        if slots is None:
            self._lost(message, "no-slot", spans)
            return
        start = self._clock.now_ns()
        np.copyto(self._ring.pixels(slots[0], width, height), picture.pixels)
        spans.append(StageSpan("copy", start, self._clock.now_ns()))
        self._send(GiveIn(slots=[p.slot for p in message.pictures]))
        passed = any(span.name == "pass" for span in spans)
        self._send(
            ViewOut(
                stream=message.stream,
                id=message.id,
                slot=slots[0],
                width=width,
                height=height,
                rung="pass" if passed else rung.name,
                quality=None if passed else rung.quality,
                predicted_ns=predicted.taken_ns,
                compute_ns=computed_ns,
                predicted_compute_ns=predicted.compute_ns,
                cameras=stream.used([p.camera for p in message.pictures]),
                stages=spans,
                packed=_packed(picture),
            )
        )

    def _tell_troubles(self, stream: ViewStream) -> None:
        """Say what has gone wrong with the cameras or the rig since the last set, and what is over."""
        with stream.telling:
            before, stream.troubles = stream.troubles, stream.synthesizer.troubles
            self._tell(stream, news(before, stream.troubles), owner=True)
            if (turned := stream.synthesizer.turned) != stream.turned and any(turned.values()):
                by = ", ".join(f"{name} by {degrees:.2f}" for name, degrees in turned.items())
                log.info("the view %s turns cameras to where their pictures show them: %s degrees", stream.name, by)
            stream.turned = turned
            if stream.window_moves and stream.synthesizer.settled:
                stream.window_moves = False
                assert stream.synthesizer.screen is not None
                self._send(Window(stream=stream.name, screen=stream.synthesizer.screen.to_json()))

    def _tell(self, stream: ViewStream, told: Sequence[tuple[str, str]], *, owner: bool = False) -> None:
        for code, text in told:
            self._send(Trouble(stream=stream.name, code=code, message=text, owner=owner))


def _prepare(synthesizer: ViewSynthesizer, stream: str) -> None:
    """Have ready what a GPU needs, beside what goes on: frames that come meanwhile make their own."""
    try:
        synthesizer.prepare()
    except StreamsvcError as e:
        log.warning("the view %s isn't ready on the GPU: %s", stream, e)


def _costs(ladder: Sequence[Rung]) -> list[RungCost]:
    return [RungCost(r.name, r.cost_ns, r.quality) for r in ladder]


def _packed(picture: Picture) -> PackedDepth | None:
    if picture.depth is None:
        return None
    x, y, z = (float(v) for v in picture.eye)
    height, width = picture.pixels.shape[:2]
    return PackedDepth(
        eye=(x, y, z),
        screen=picture.screen.to_json(),
        width=width,
        height=height * 2 // 3,
        inverse_far=picture.depth.far,
        inverse_near=picture.depth.near,
    )
