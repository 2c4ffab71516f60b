"""Who is taken beside the calls of others, and for how much of them: the hub over a worker that only tells costs."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import av
import pytest

from streamsvc.budget import MockClock
from streamsvc.config import load
from streamsvc.edge import Received, VideoOut
from streamsvc.frames import link
from streamsvc.frames.ring import Slots
from streamsvc.ledger import Ledger
from streamsvc.ledger.live import LiveBoard
from streamsvc.scene import open_scene
from streamsvc.session.admitting import USUAL_EDGE, WHOLE, EdgeCost, Newcomer, Terms, offered
from streamsvc.session.hub import CallHub
from streamsvc.session.participant import Participant
from streamsvc.session.watching import Watching
from streamsvc.signalling import messages as wire
from streamsvc.signalling.messages import SignallingError

RIG = open_scene("body:1").rig(2, 320, 240).to_json()
POLICIES = [{"name": "agreement", "parameters": []}]
SPEECH = link.SpeechCost(1_000_000_000, 50_000_000, 150_000_000)


class Worker:
    """Two lanes; a frame of anybody takes `cost_ms` at the least."""

    ring = None
    slots = Slots(range(1))
    up = False

    def __init__(self) -> None:
        self.ready = link.Ready(device="cpu", rungs=[], policies=POLICIES, notes=[])
        self.cost_ms = 10.0
        self.asked: list[Sequence[link.OpenView]] = []
        self.silent = False

    async def costs(self, views: Sequence[link.OpenView]) -> link.Costs | None:
        self.asked.append(views)
        if self.silent:
            return None
        ns = round(self.cost_ms * 1e6)
        ladder = [link.RungCost("small", ns, 24.0), link.RungCost("large", 3 * ns, 27.0)]
        return link.Costs(id=1, views=[ladder for _ in views], streams={}, speech=SPEECH, lanes=2, together=4)

    def open(self, message: Any, listener: Callable[[link.FromWorker], None]) -> None: ...
    def configure(self, message: Any) -> None: ...
    def close(self, stream: str) -> None: ...
    def send(self, message: Any) -> bool:
        return False

    def on_state(self, listener: Callable[[bool], None]) -> None: ...


class Calls:
    """A hub, and everything that it said to whoever joined."""

    def __init__(self, **flags: object) -> None:
        self.worker, self.ledger = Worker(), Ledger()
        settings, clock = load(None, {}, {"speech.policy": "agreement", **flags}), MockClock()
        self.hub = CallHub(settings, worker=self.worker, ledger=self.ledger, board=LiveBoard(), clock=clock)
        self.said: dict[str, list[wire.ServerMessage]] = {}

    async def join(self, room: str, name: str = "Ana", **more: Any) -> Participant:
        said = self.said[room + name] = []
        more = {"rig": RIG, "fps": 30} | more
        participant, _ = await self.hub.join(wire.Join(room=room, name=name, **more), said.append)
        return participant

    def notices(self, room: str, name: str = "Ana") -> list[tuple[str, str]]:
        return [(m.code, m.message) for m in self.said[room + name] if isinstance(m, wire.Notice)]


@pytest.fixture
async def calls() -> AsyncIterator[Calls]:
    made = Calls()
    yield made
    await made.hub.close()
    made.ledger.close()


async def test_who_has_the_service_to_themselves_is_not_asked_about(calls: Calls) -> None:
    calls.worker.cost_ms = 500
    assert (await calls.join("one")).terms == WHOLE
    assert (await calls.join("One ", "Ben")).terms == WHOLE, "the other one of the room"
    assert calls.worker.asked == []


async def test_there_is_room_for_another_call(calls: Calls) -> None:
    await calls.join("one")
    assert (await calls.join("two")).terms == WHOLE
    views = calls.worker.asked[0]
    assert [(v.rig is not None, v.width) for v in views] == [(True, 640)] * 2, "the newcomer, and who is there"
    assert not calls.notices("two")


async def test_with_little_room_somebody_is_taken_with_less_and_told_so(calls: Calls) -> None:
    calls.worker.cost_ms = 21  # 0.63 of a lane at the floor, and speech 0.2: 1.6 are to be had
    await calls.join("one")
    second = await calls.join("two")
    assert second.terms == Terms(every=2, given_up="every second picture")
    assert calls.notices("two") == [
        ("less", "this machine is busy with other calls, so others get every second picture of you until there is room")
    ]
    third = await calls.join("three")
    assert not third.terms.seen and "captions" in calls.notices("three")[0][1]


async def test_who_does_not_fit_is_refused_with_the_reason_and_leaves_nothing_behind(calls: Calls) -> None:
    calls.worker.cost_ms = 60
    await calls.join("one")
    with pytest.raises(SignallingError, match=r"busy with other calls \(.*0\.00 is free\); what fits: ") as refused:
        await calls.join("two")
    assert refused.value.code == "no-room"
    assert [p.name for p in calls.hub.participants] == ["Ana"] and calls.hub.rooms.statistics().participants == 1


async def test_when_somebody_leaves_those_with_less_get_what_there_is_room_for(calls: Calls) -> None:
    calls.worker.cost_ms = 21
    first, second = await calls.join("one"), await calls.join("two")
    await first.leave()
    assert calls.hub.reconsidering is not None
    await calls.hub.reconsidering
    assert second.terms == WHOLE
    assert calls.notices("two")[1:] == [("more", "there is room again, now for all of you")]


async def test_nothing_is_taken_back_from_whoever_stays_with_less(calls: Calls) -> None:
    calls.worker.cost_ms = 21
    await calls.join("one")
    second, third = await calls.join("two"), await calls.join("three")
    calls.worker.cost_ms = 60
    await third.leave()
    assert calls.hub.reconsidering is not None
    await calls.hub.reconsidering
    assert second.terms.every == 2 and len(calls.notices("two")) == 1


async def test_who_only_watches_always_has_room(calls: Calls) -> None:
    calls.worker.cost_ms = 60
    await calls.join("one")
    watcher = await calls.join("two", rig=None, fps=0, speech=wire.SpeechSettings(enabled=False))
    assert watcher.terms == WHOLE


async def test_a_worker_that_does_not_answer_says_nothing_against_anybody(calls: Calls) -> None:
    calls.worker.silent, calls.worker.cost_ms = True, 500
    await calls.join("one")
    assert (await calls.join("two")).terms == WHOLE


async def test_admission_can_be_switched_off() -> None:
    calls = Calls(**{"limits.admission": False})
    calls.worker.cost_ms = 500
    await calls.join("one")
    assert (await calls.join("two")).terms == WHOLE and calls.worker.asked == []
    await calls.hub.close()
    calls.ledger.close()


async def test_of_several_pairs_one_may_have_to_do(calls: Calls) -> None:
    wide = open_scene("body:1").rig(4, 320, 240)
    first = await calls.join("one", rig=wide.to_json())
    ways = offered(Newcomer(wide, first.settings, 30))
    assert [t.given_up for t in ways][:2] == ["", "one pair of cameras"]
    narrow = ways[1].rig(wide)
    assert narrow is not None
    assert narrow.pairs == wide.pairs[:1] and {c.name for c in narrow.cameras} == set(wide.pairs[0])


@pytest.mark.parametrize(("every", "due"), [(1, 12), (2, 6), (4, 3)])
async def test_of_whom_only_some_pictures_are_agreed_only_those_are_due(calls: Calls, every: int, due: int) -> None:
    settings = (await calls.join("one")).settings
    clock, period = MockClock(), 33_333_333
    watching = Watching(
        session="ana", stream="ben>ana/view", cameras=("cam0",), rig=None, settings=settings, backdrop="room",
        every=every, worker=calls.worker, ledger=calls.ledger, clock=clock, video=VideoOut(), tell=lambda *_: None,
        tell_owner=lambda *_: None, windowed=lambda: None, packed=lambda _: None,
    )  # fmt: skip
    frame = av.VideoFrame(16, 16, "yuv420p")
    for n in range(12):
        clock.advance(period)
        watching.picture("cam0", Received(frame, n, None, clock.now_ns()), clock.now_ns(), 0)
        watching.picture("cam7", Received(frame, n, None, clock.now_ns()), clock.now_ns(), 0)  # not one of those
    assert watching.statistics().sets == due
    assert watching.pace.fps == pytest.approx(30 / every, rel=0.01)
    watching.close()
    assert watching.closed


def test_what_a_participant_costs_the_edge_is_its_cpu_time_over_their_stay() -> None:
    clock, spent = MockClock(), [0.0]
    edge = EdgeCost(clock, lambda: spent[0])
    spent[0] = 3.0  # starting up is nobody's
    assert edge.each == USUAL_EDGE
    edge.people(2)
    clock.advance(10_000_000_000)
    spent[0] += 4.0
    assert edge.each == pytest.approx(0.2)
    edge.people(0)
    clock.advance(60_000_000_000)
    spent[0] += 1.0
    assert edge.each == pytest.approx(0.2), "while nobody is there nothing is counted"
