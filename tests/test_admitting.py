"""Who is taken beside the calls of others, and for how much of them: the hub over a worker that only tells costs."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import count
from types import SimpleNamespace
from typing import Any, ClassVar

import av
import msgspec
import numpy as np
import pytest

from streamsvc.budget import MockClock
from streamsvc.config import load
from streamsvc.edge import Received, VideoOut
from streamsvc.frames import link
from streamsvc.frames.ring import Slots
from streamsvc.ledger import Ledger, Record
from streamsvc.ledger.live import LiveBoard
from streamsvc.scene import open_scene
from streamsvc.session.admitting import UNSEEN, USUAL_EDGE, WHOLE, EdgeCost, Newcomer, Terms, offered
from streamsvc.session.hub import CallHub
from streamsvc.session.participant import Participant
from streamsvc.session.watching import Watching
from streamsvc.signalling import messages as wire
from streamsvc.signalling.grants import Grant
from streamsvc.signalling.messages import SignallingError

RIG = open_scene("body:1").rig(2, 320, 240).to_json()
POLICIES = [{"name": "agreement", "parameters": []}]
SPEECH = link.SpeechCost(1_000_000_000, 50_000_000, 150_000_000)


class Worker:
    """Two lanes; a frame of anybody takes `cost_ms` at the least, and as much `more` for each 640 x 480 pixels."""

    ring = None
    slots = Slots(range(1))
    up = False

    def __init__(self) -> None:
        self.ready = link.Ready(device="cpu", rungs=[], policies=POLICIES, notes=[])
        self.cost_ms, self.more = 10.0, 0.0
        self.asked: list[Sequence[link.OpenView]] = []
        self.opened: list[str] = []
        self.silent = False

    async def costs(self, views: Sequence[link.OpenView]) -> link.Costs | None:
        self.asked.append(views)
        if self.silent:
            return None
        ladders = [self._ladder(round((self.cost_ms + self.more * v.width * v.height / 307_200) * 1e6)) for v in views]
        return link.Costs(id=1, views=ladders, streams={}, speech=SPEECH, lanes=2, together=4)

    def _ladder(self, ns: int) -> list[link.RungCost]:
        return [link.RungCost("small", ns, 24.0), link.RungCost("large", 3 * ns, 27.0)]

    def open(self, message: Any, listener: Callable[[link.FromWorker], None]) -> None:
        if isinstance(message, link.OpenView):
            self.opened.append(message.stream)

    def configure(self, message: Any) -> None: ...
    def close(self, stream: str) -> None: ...
    def send(self, message: Any) -> bool:
        return False

    def on_state(self, listener: Callable[[bool], None]) -> None: ...


class Media:
    """A connection that was agreed on at once; a description is the mids of the cameras."""

    state, channels, sends = "connecting", True, frozenset({"video", "audio"})
    on_video: Callable[[str, Any], None]
    cameras: ClassVar[dict[str, Any]] = {}

    def __init__(self, ice_servers: object) -> None: ...
    async def answer(self, sdp: str, **_: object) -> str:
        for mid in sdp.split():
            self.cameras[mid] = SimpleNamespace()
            self.on_video(mid, self.cameras[mid])
        return "answer"

    def send(self, label: str, text: str) -> bool:
        return True

    async def close(self) -> None: ...


LARGE = wire.ViewSettings(width=2048, height=2048)
WATCHES: dict[str, Any] = {"fps": 0, "speech": wire.SpeechSettings(enabled=False)}


class Calls:
    """A hub, and everything that it said to whoever joined."""

    def __init__(self, **flags: object) -> None:
        self.records: list[Record] = []
        self.worker, self.ledger, self.clock = Worker(), Ledger(listeners=[self.records.append]), MockClock()
        settings = load(None, {}, {"speech.policy": "agreement", **flags})
        self.hub = CallHub(settings, worker=self.worker, ledger=self.ledger, board=LiveBoard(), clock=self.clock)
        self.said: dict[str, list[wire.ServerMessage]] = {}

    async def join(self, room: str, name: str = "Ana", **more: Any) -> Participant:
        said = self.said[room + name] = []
        more = {"rig": RIG, "fps": 30} | more
        participant, _ = await self.hub.join(wire.Join(room=room, name=name, **more), said.append)
        return participant

    def notices(self, room: str, name: str = "Ana") -> list[tuple[str, str]]:
        return [(m.code, m.message) for m in self.said[room + name] if isinstance(m, wire.Notice)]


async def offer(calls: Calls, room: str, cameras: int = 2, names: Sequence[str] = ()) -> None:
    (who,) = (p for p in calls.hub.participants if calls.hub.rooms.room_of(p.session).name == room)  # type: ignore[union-attr]
    tracks = [wire.CameraTrack(name=n, mid=str(i)) for i, n in enumerate(names)]
    mids = " ".join(str(i) for i in range(len(names) or cameras))
    await who.offer(wire.Offer(sdp=mids, cameras=tracks), Grant(until=4e9))


@pytest.fixture
async def calls(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Calls]:
    monkeypatch.setattr("streamsvc.session.participant.Connection", Media)
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
    assert [p.name for p in calls.hub.participants] == ["Ana"] and len(calls.hub.rooms.rooms()) == 1


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


async def test_who_only_watches_has_room_where_there_is_nobody_to_see(calls: Calls) -> None:
    calls.worker.cost_ms = 60
    await calls.join("one")
    assert (await calls.join("two", **WATCHES)).terms == UNSEEN
    await offer(calls, "two", cameras=0)
    assert not calls.notices("two")


@pytest.mark.parametrize("more", [WATCHES, {"fps": 0}, {}], ids=["watches", "speaks", "is seen"])
async def test_what_a_newcomer_sees_is_asked_about_in_their_size(calls: Calls, more: dict[str, Any]) -> None:
    await calls.join("one")
    await calls.join("two", view=wire.ViewSettings(width=320, height=240))
    calls.worker.cost_ms, calls.worker.more = 0.5, 7.0  # 0.2 of a lane, of 2048 x 2048 pixels 2.9
    with pytest.raises(SignallingError, match="or a smaller picture of the other one") as refused:
        await calls.join("two", "Ben", view=LARGE, **more)
    assert refused.value.code == "no-room"
    seen = [(v.width, v.height) for v in calls.worker.asked[-1]]
    assert (2048, 2048) in seen and seen.count((320, 240)) == (not more), "they are seen in the other's size"
    assert (await calls.join("two", "Ben", **more)).terms == (UNSEEN if more else WHOLE)


async def test_two_who_have_the_service_to_themselves_see_each_other_as_large_as_they_like(calls: Calls) -> None:
    calls.worker.cost_ms = 500
    await calls.join("one")
    assert (await calls.join("one", "Ben", view=LARGE)).terms == WHOLE and calls.worker.asked == []


async def test_who_watches_and_asks_for_a_larger_picture_is_asked_about_with_what_they_see(calls: Calls) -> None:
    await calls.join("one")
    await calls.join("two")
    ben = await calls.join("two", "Ben", **WATCHES)
    calls.worker.more = 7.0
    for view in (LARGE, wire.ViewSettings(mode="quilt:4x4")):
        calls.worker.cost_ms = 10.0 if view is LARGE else 60.0
        with pytest.raises(SignallingError) as refused:
            await ben.configure(wire.Configure(view=view))
        assert refused.value.code == "no-room" and ben.settings.width == 640 and ben.settings.mode == "window"
    assert calls.worker.asked[-1][-1].mode == "quilt:4x4"


async def test_who_came_without_cameras_and_offers_some_is_asked_about_then(calls: Calls) -> None:
    calls.worker.cost_ms = 60
    first, second = await calls.join("one"), await calls.join("two", **WATCHES)
    await offer(calls, "two", cameras=0)
    with pytest.raises(SignallingError) as refused:
        await offer(calls, "two")
    assert refused.value.code == "no-room"
    assert second.terms == UNSEEN and second.cameras == () and second.connected, "as before"
    calls.worker.cost_ms = 24
    await offer(calls, "two")
    assert second.terms.every == 2 and second.cameras == ("cam0", "cam1")
    assert [code for code, _ in calls.notices("two")] == ["less"]
    await first.leave()
    assert calls.hub.reconsidering is not None
    await calls.hub.reconsidering
    assert second.terms == WHOLE


async def test_who_is_alone_is_seen_though_they_came_without_cameras(calls: Calls) -> None:
    calls.worker.cost_ms = 500
    mirrored = await calls.join("one", mirror=True, **WATCHES)
    await offer(calls, "one")
    assert mirrored.terms == WHOLE and calls.worker.opened == [f"{mirrored.session}>{mirrored.session}/view"]


@pytest.mark.parametrize(
    "growth", [wire.Configure(speech=wire.SpeechSettings(enabled=True)), wire.Configure(view=LARGE)]
)
async def test_who_asks_for_more_is_refused_where_there_is_no_room_and_nothing_is_changed(
    calls: Calls, growth: wire.Configure
) -> None:
    await calls.join("one")
    second = await calls.join("two", speech=wire.SpeechSettings(enabled=False))
    before = second.settings
    calls.worker.cost_ms = 60
    with pytest.raises(SignallingError) as refused:
        await second.configure(growth)
    assert refused.value.code == "no-room" and second.settings == before
    calls.worker.cost_ms = 10
    await second.configure(growth)
    assert second.settings != before and calls.worker.asked[-1][0].width == second.settings.width


@pytest.mark.parametrize("mode", ["stereo", "anaglyph", "packed", "quilt"])
async def test_more_views_are_more_though_the_picture_is_no_larger(calls: Calls, mode: str) -> None:
    settings = (await calls.join("one")).settings
    flat, deep = (Newcomer(None, msgspec.structs.replace(settings, mode=m), 30) for m in ("window", mode))
    assert deep.exceeds(flat) and not flat.exceeds(deep)


async def test_who_asks_for_no_more_is_not_asked_about(calls: Calls) -> None:
    await calls.join("one")
    second = await calls.join("two")
    calls.worker.cost_ms = 500
    asked = len(calls.worker.asked)
    small = wire.ViewSettings(width=160, height=120, budget_ms=300)
    await second.configure(wire.Configure(speech=wire.SpeechSettings(enabled=False), view=small))
    assert second.settings.width == 160 and len(calls.worker.asked) == asked


async def test_a_stream_that_is_made_anew_goes_on_numbering_its_sets(calls: Calls) -> None:
    await calls.join("one", mirror=True)
    for _ in range(2):
        await offer(calls, "one", cameras=1)
        for n in range(3):
            calls.clock.advance(33_333_333)
            received = Received(av.VideoFrame(16, 16, "yuv420p"), n, calls.clock.now_ns(), None)
            Media.cameras["0"].on_frame(received)
    calls.ledger.close()
    assert len({r.stream for r in calls.records}) == 1
    assert sorted(r.id for r in calls.records) == [1, 2, 3, 4, 5, 6]


async def test_whose_one_pair_was_not_offered_is_told_that_nobody_sees_them(calls: Calls) -> None:
    wide = open_scene("body:1").rig(4, 320, 240)
    owner = await calls.join("one", rig=wide.to_json(), mirror=True)
    owner.terms = Terms(one_pair=True, given_up="one pair of cameras")
    other = [n for n in (c.name for c in wide.cameras) if n not in wide.pairs[0]]
    await offer(calls, "one", names=other)
    assert calls.worker.opened == [] and calls.notices("one")[-1][0] == "not-seen"
    await offer(calls, "one", names=[*other, wide.pairs[0][0]])
    assert len(calls.worker.opened) == 1 and owner.shown_cameras == wide.pairs[0][:1]


@pytest.mark.parametrize(("said", "sent", "shown"), [(10, 50, 22), (15, 30, 30), (None, 50, 50), (1, 30, 2.3)])
async def test_whose_cameras_deliver_far_more_than_was_said_is_shown_at_twice_the_rate_that_was_said(
    calls: Calls, said: float | None, sent: int, shown: float
) -> None:
    """`said` and `sent` pictures a second, ten seconds of them, in pairs 10 ms apart; `shown` a second."""
    owner = await calls.join("one", mirror=True, fps=said)
    await offer(calls, "one", cameras=1)
    for n in range(10 * sent):
        calls.clock.advance(10_000_000 if n % 2 else 2_000_000_000 // sent - 10_000_000)
        Media.cameras["0"].on_frame(Received(av.VideoFrame(16, 16, "yuv420p"), n, calls.clock.now_ns(), None))
    assert owner.seen_as is not None
    if said is not None and said < sent / 2:
        assert owner.seen_as[1].fps == pytest.approx(2 * said)
    calls.ledger.close()
    assert len(calls.records) == pytest.approx(10 * shown, abs=2)
    if said == 10:
        late = sorted(r.capture_ns for r in calls.records)[-50:]
        assert max(np.diff(late)) < 2.1 * np.mean(np.diff(late)), "evenly"


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
        every=every, most_fps=60.0, worker=calls.worker, ledger=calls.ledger, clock=clock, video=VideoOut(),
        ids=count(1), bitrate=lambda: None, tell=lambda *_: None, tell_owner=lambda *_: None, windowed=lambda: None,
        counts=Counter(),
        packed=lambda _: None,
    )  # fmt: skip
    frame = av.VideoFrame(16, 16, "yuv420p")
    for n in range(12):
        clock.advance(period)
        watching.picture("cam0", Received(frame, n, clock.now_ns(), None), clock.now_ns(), 0)
        watching.picture("cam7", Received(frame, n, clock.now_ns(), None), clock.now_ns(), 0)  # not one of those
    assert watching.pace.fps == pytest.approx(30 / every, rel=0.01)
    watching.close()
    calls.ledger.close()
    assert watching.closed and len(calls.records) == due


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
