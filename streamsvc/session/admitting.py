"""Whether there is room for one more beside the calls of others, and on what terms. On the event loop.

Asks the worker what everybody's streams cost and what the newcomer's would, and lets `budget.admission` plan and
replay, a few milliseconds at a time, so that calls go on meanwhile. A newcomer costs what the other one of their room
sees of them, and what they see of the other one, each in the size and mode of who looks. Who has the service to
themselves, or with the other one of their room, is not asked about: there is nobody to protect, and the planner thins
their pictures evenly where the machine is too small. Everybody else is taken whole, with less, or refused, and told
why. Whoever came without cameras, or asks for more later, is asked about then.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec

from streamsvc.budget import Clock, Slices, worker_deadline_ns
from streamsvc.budget.admission import Admission, Offer, admitting
from streamsvc.budget.deadline import START_NS
from streamsvc.budget.scenario import RungLoad, SessionLoad, SpeechLoad, ViewLoad
from streamsvc.frames import Rig, link
from streamsvc.frames.backdrop import parse_backdrop
from streamsvc.frames.outputmode import parse_mode
from streamsvc.session.settings import CallSettings
from streamsvc.session.worker_link import WorkerLink
from streamsvc.signalling.messages import SignallingError

USUAL_FPS = 30.0
"""Of cameras that nobody said more of."""

RATE_SLACK = 2.0
"""Cameras may deliver so many times what was said of them: they keep to it badly, and may be changed in a call. More is
no mistake."""

USUAL_DELAY_NS = 8_000_000
"""From capture to the worker."""

USUAL_EDGE, KNOWN_S = 0.1, 5.0
"""Cores that a participant costs the edge, until so many seconds of stay were seen."""

TOKENS = 8
"""Slices in which a replay decodes a pass; the worker does it in one call of the model, beside views on other lanes."""

BATCH = 0.2
"""What each further pass adds to a decode, as a share of the first (`bench budget --real` measures it)."""

SLICES = 5
"""Slices of a view."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What somebody is taken for: others see them unless not `seen`, from the first pair of their cameras with
    `one_pair`, at one instant in `every`; `given_up` says that in words, empty where nothing is."""

    seen: bool = True
    one_pair: bool = False
    every: int = 1
    given_up: str = ""

    def rig(self, rig: Rig | None) -> Rig | None:
        """Return what is used of a rig."""
        if rig is None or not self.one_pair:
            return rig
        pair = rig.pairs[0]
        return replace(rig, cameras=tuple(c for c in rig.cameras if c.name in pair), pairs=(pair,))


WHOLE = Terms()

UNSEEN = Terms(seen=False)
"""Of who said that they come without cameras: none are shown before there was asked about them."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How a view stream runs: instants due a second, and ns from capture to the worker and to where it must be done."""

    fps: float
    delay_ns: int
    deadline_ns: int


@dataclass(frozen=True, slots=True)
class Newcomer:
    """Who wants to be taken; `fps`: of their cameras, 0 without any, None where they don't say."""

    rig: Rig | None
    settings: CallSettings
    fps: float | None

    def view(self, terms: Terms, eyes: CallSettings) -> link.OpenView:
        """Return the stream of them that somebody with the settings `eyes` would see."""
        rig = terms.rig(self.rig)
        return link.OpenView(
            stream="",
            rig=None if rig is None else rig.to_json(),
            width=eyes.width,
            height=eyes.height,
            mode=eyes.mode,
            backdrop=self.settings.backdrop,
        )

    @property
    def most_fps(self) -> float:
        """Instants a second of their cameras that are shown at most."""
        return RATE_SLACK * max(self.fps or USUAL_FPS, 1.0)

    def exceeds(self, other: Newcomer) -> bool:
        """Whether they ask more of the worker than `other`: speech, more or larger views, or the room hidden."""
        mine, before = self.settings, other.settings
        return (
            mine.speech > before.speech
            or _pixels(mine) > _pixels(before)
            or parse_backdrop(mine.backdrop).hides > parse_backdrop(before.backdrop).hides
        )

    def pace(self, terms: Terms, eyes: CallSettings) -> Pace:
        """Return what is to be expected of that stream before anything was measured."""
        budget = round(eyes.budget_ms * 1e6)
        return Pace(
            (USUAL_FPS if self.fps is None else self.fps) / terms.every,
            USUAL_DELAY_NS,
            worker_deadline_ns(0, budget, START_NS),
        )


class Guest(Protocol):
    """Somebody who is there."""

    terms: Terms

    @property
    def newcomer(self) -> Newcomer:
        """What they ask for now."""

    @property
    def seen_as(self) -> tuple[str, Pace] | None:
        """The view stream that shows them, and how it runs; None while nobody sees them."""


def offered(newcomer: Newcomer) -> list[Terms]:
    """Return the terms on which they could be taken, best first."""
    if newcomer.fps == 0:
        return [UNSEEN]
    found = [WHOLE]
    narrow = newcomer.rig is not None and len(newcomer.rig.pairs) > 1
    if narrow:
        found.append(Terms(one_pair=True, given_up="one pair of cameras"))
    for every, words in ((2, "every second picture"), (4, "every fourth picture")):
        found.append(Terms(one_pair=narrow, every=every, given_up=words + narrow * " of one pair of cameras"))
    if newcomer.settings.speech:
        found.append(Terms(seen=False, given_up="voice and captions, no picture"))
    return found


class Admissions:
    """Decides for one worker; one question at a time is up to the caller."""

    def __init__(self, worker: WorkerLink) -> None:
        self._worker = worker

    async def terms(
        self, newcomer: Newcomer, ways: Sequence[Terms], there: Sequence[Guest], partner: Guest | None, beside: float
    ) -> Terms:
        """Return the first of `ways` on which nobody who is there is harmed, where somebody takes `beside` cores
        outside of the worker; `partner` is who of `there` is in the newcomer's room. Raises SignallingError("no-room")
        where there is none. Where the worker doesn't answer, nothing is known against them."""
        watched = partner if partner is not None and partner.terms.seen else None
        if newcomer.fps == 0 and not newcomer.settings.speech and watched is None:
            return ways[0]
        # Whose partner isn't there yet is taken to look at others as they look at them.
        eyes = newcomer.settings if partner is None else partner.newcomer.settings
        seen_by = {id(g): newcomer.settings if g is watched else g.newcomer.settings for g in there}
        rigs = {t.one_pair: newcomer.view(t, eyes) for t in ways if t.seen}
        anew = [g for g in there if g.terms.seen and (g is watched or g.seen_as is None)]
        views = [g.newcomer.view(g.terms, seen_by[id(g)]) for g in anew]
        costs = await self._worker.costs([*rigs.values(), *views])
        if costs is None:
            return ways[0]
        ladders = iter(costs.views)
        shown = {one_pair: next(ladders) for one_pair in rigs}
        told = {id(g): next(ladders) for g in anew}
        running = {id(g): _load_of(g, costs, told.get(id(g)), seen_by[id(g)]) for g in there}
        speaks = newcomer.settings.speech
        loads = [load(speaks, costs, shown[t.one_pair] if t.seen else None, newcomer.pace(t, eyes)) for t in ways]
        if watched is not None and not rigs:  # whoever isn't seen takes what they see
            before = running[id(watched)]
            running[id(watched)] = msgspec.structs.replace(before, view=None)
            loads = [msgspec.structs.replace(own, view=before.view) for own in loads]
        offers = [Offer(own, t.given_up) for own, t in zip(loads, ways, strict=True)]
        answer = await in_slices(
            admitting(
                list(running.values()),
                offers,
                lanes=costs.lanes,
                together=costs.together,
                batch=BATCH,
                idle=math.inf if costs.idle is None else costs.idle,
                busy=costs.busy,
                beside=beside,
            )
        )
        if answer.offer is None:
            raise SignallingError("no-room", _refusal(answer, watches=watched is not None))
        return ways[offers.index(answer.offer)]


class EdgeCost:
    """What one participant costs this process, in cores: its CPU time over the time that people spent in calls."""

    def __init__(self, clock: Clock, cpu_s: Callable[[], float] = time.process_time) -> None:
        self._clock, self._cpu_s = clock, cpu_s
        self._people = 0
        self._since = clock.now_ns(), cpu_s()
        self._stay_s = self._spent_s = 0.0

    def people(self, count: int) -> None:
        """So many are there from now on."""
        now, spent = self._clock.now_ns(), self._cpu_s()
        if self._people:
            self._stay_s += self._people * (now - self._since[0]) / 1e9
            self._spent_s += spent - self._since[1]
        self._since, self._people = (now, spent), count

    @property
    def each(self) -> float:
        """Cores a participant, as far as is known."""
        self.people(self._people)
        return self._spent_s / self._stay_s if self._stay_s > KNOWN_S else USUAL_EDGE


async def in_slices(slices: Slices[Admission]) -> Admission:
    """Run to the end, with everything else of the loop between slices."""
    while True:
        try:
            next(slices)
        except StopIteration as stop:
            answer: Admission = stop.value
            return answer
        await asyncio.sleep(0)


def load(speaks: bool, costs: link.Costs, ladder: Sequence[link.RungCost] | None, pace: Pace) -> SessionLoad:
    """Return what somebody asks of the worker; without a ladder, or frames, nothing for views."""
    view = speech = None
    if ladder and pace.fps:
        rungs = tuple(RungLoad(name=r.name, cost_ms=max(r.cost_ns, 1) / 1e6, quality=r.quality) for r in ladder)
        view = ViewLoad(
            rungs=rungs,
            floor=min(r.quality for r in rungs),
            fps=min(max(pace.fps, 0.1), 240.0),
            deadline_ms=pace.deadline_ns / 1e6,
            delay_ms=min(pace.delay_ns, pace.deadline_ns) / 1e6,
            slices=SLICES,
        )
    if speaks and costs.speech is not None:
        cost = costs.speech
        speech = SpeechLoad(
            every_ms=cost.every_ns / 1e6,
            encode_ms=max(cost.encode_ns, 1) / 1e6,
            tokens=TOKENS,
            token_ms=max(cost.decode_ns, 1) / 1e6 / TOKENS,
        )
    return SessionLoad(view=view, speech=speech)


def _load_of(
    guest: Guest, costs: link.Costs, ladder: Sequence[link.RungCost] | None, eyes: CallSettings
) -> SessionLoad:
    """Return what somebody who is there asks of the worker: their view as it runs, or of `ladder`, seen by `eyes`."""
    stream, pace = guest.seen_as or ("", guest.newcomer.pace(guest.terms, eyes))
    return load(guest.newcomer.settings.speech, costs, costs.streams.get(stream) if ladder is None else ladder, pace)


def _refusal(answer: Admission, *, watches: bool) -> str:
    less = ", or a smaller picture of the other one" if watches else ""
    return f"this machine is busy with other calls ({answer.reasons[-1]}); what fits: {answer.fits}{less}"


def _pixels(settings: CallSettings) -> int:
    mode = parse_mode(settings.mode)
    width, height = mode.view_size(settings.width, settings.height)
    return mode.views * width * height


def told(terms: Terms) -> str:
    """Return what somebody who gives something up is told."""
    return f"this machine is busy with other calls, so others get {terms.given_up} of you until there is room"
