"""One participant on the edge: what they offer, what they report, and how everybody's end is found."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from streamsvc.budget.clock import MockClock
from streamsvc.config import load
from streamsvc.edge import AudioOut, Connection, VideoOut, live_connections
from streamsvc.edge.codecs import Vp8Encoder
from streamsvc.frames import link
from streamsvc.frames.ring import Slots
from streamsvc.ledger import Ledger
from streamsvc.ledger.live import LiveBoard
from streamsvc.session.hub import CallHub
from streamsvc.session.participant import Participant
from streamsvc.signalling import messages as wire
from streamsvc.signalling.auth import EVERYTHING
from streamsvc.signalling.channels import Clocks, Ping, Shown, ViewpointMessage
from streamsvc.signalling.grants import Grant
from streamsvc.signalling.messages import SignallingError

MS = 1_000_000


class Worker:
    """A worker that is down."""

    ready = ring = None
    slots = Slots(range(1))
    up = False

    async def costs(self, views: Any) -> None: ...
    def open(self, message: Any, listener: Callable[[link.FromWorker], None]) -> None: ...
    def configure(self, message: Any) -> None: ...
    def close(self, stream: str) -> None: ...
    def send(self, message: Any) -> bool:
        return False

    def on_state(self, listener: Callable[[bool], None]) -> None: ...


@pytest.fixture
async def hub() -> AsyncIterator[CallHub]:
    ledger, settings = Ledger(), load(None, {}, {"limits.admission": False, "view.max_mbps": 40})
    made = CallHub(settings, worker=Worker(), ledger=ledger, board=LiveBoard(), clock=MockClock())  # type: ignore[arg-type]
    yield made
    await made.close()
    ledger.close()


async def joined(hub: CallHub, name: str = "Ana") -> tuple[Participant, list[wire.ServerMessage]]:
    said: list[wire.ServerMessage] = []
    participant, _ = await hub.join(wire.Join(room="lab", name=name), said.append)
    return participant, said


async def test_the_views_of_a_service_take_as_much_as_it_lets_them(hub: CallHub) -> None:
    (ana, _), peer = await joined(hub), Connection()
    await ana.offer(wire.Offer(sdp=await offered(peer)), Grant(until=4e9))
    assert ana._video is not None and ana._video.max_bitrate == 40_000_000
    encoder = Vp8Encoder(ana._video.max_bitrate)
    encoder.target_bitrate = 50_000_000
    encoder.encode(np.zeros((48, 64, 3), np.uint8), 0, False)
    assert encoder.target_bitrate == 40_000_000
    await peer.close()


async def offered(peer: Connection) -> str:
    return await peer.offer([VideoOut()], None)


def notices(said: list[wire.ServerMessage]) -> list[str]:
    return [m.code for m in said if isinstance(m, wire.Notice)]


# What they offer.


@pytest.mark.parametrize(
    "edit",
    [
        lambda sdp: sdp,
        lambda sdp: sdp.replace("a=sendrecv\r\n", ""),
        lambda sdp: sdp.replace("a=sendrecv\r\n", "a=sendrecv\r\n a=recvonly\r\n"),
        lambda sdp: sdp.replace("a=sendrecv\r\n", "a=recvonly\r\na=sendrecv:1\r\n"),
        lambda sdp: sdp.replace("a=sendrecv\r\n", "a=recvonly\x85a=sendrecv\r\n"),
    ],
    ids=["plainly", "by default", "leading blank", "with a value", "another line end"],
)
async def test_who_may_only_watch_sends_nothing_however_the_offer_is_worded(
    hub: CallHub, edit: Callable[[str], str]
) -> None:
    (ana, _), peer, before = await joined(hub), Connection(), live_connections()
    sdp = edit(await offered(peer))
    with pytest.raises(SignallingError) as refused:
        await ana.offer(wire.Offer(sdp=sdp), Grant(until=4e9, watch=True))
    assert refused.value.code == "not-allowed" and live_connections() == before
    assert not ana.connected
    await ana.offer(wire.Offer(sdp=sdp), Grant(until=4e9, cameras=1))
    assert ana.cameras == ("cam0",)
    await peer.close()


async def test_a_recording_that_begins_while_they_negotiate_gets_what_they_see_from_then_on(
    hub: CallHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ana, _), peer, answer = await joined(hub), Connection(), Connection.answer

    def tap(picture: Any, capture_ns: int) -> bool:
        return False

    async def meanwhile(self: Connection, *arguments: Any, **more: Any) -> str:
        found = await answer(self, *arguments, **more)
        ana.view_tap = tap  # type: ignore[assignment]
        return found

    monkeypatch.setattr(Connection, "answer", meanwhile)
    await ana.offer(wire.Offer(sdp=await offered(peer)), EVERYTHING)
    assert ana._video is not None and ana._video.on_encoded is tap
    await peer.close()


async def test_an_offer_that_is_cut_off_while_the_old_connection_closes_is_taken_up_all_the_same(
    hub: CallHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ana, _), peer = await joined(hub), Connection()
    sdp = await offered(peer)
    await ana.offer(wire.Offer(sdp=sdp), EVERYTHING)
    old, news = ana._connection, []
    assert old is not None

    async def hangs() -> None:
        await asyncio.Event().wait()

    with monkeypatch.context() as patched:
        patched.setattr(old, "close", hangs)
        patched.setattr(ana, "_changed_media", lambda: news.append(ana._connection))
        again = asyncio.create_task(ana.offer(wire.Offer(sdp=sdp), EVERYTHING))
        while ana._connection is old:  # noqa: ASYNC110 candidates are gathered meanwhile
            await asyncio.sleep(0)
        again.cancel()
        with pytest.raises(asyncio.CancelledError):
            await again
    assert news == [ana._connection]
    await old.close()
    await peer.close()


async def test_the_newest_offer_wins_though_an_older_one_is_answered_last(
    hub: CallHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ana, _), peer, answer = await joined(hub), Connection(), Connection.answer
    sdp, before = await offered(peer), live_connections()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(self: Connection, *arguments: Any, **more: Any) -> str:
        begun.set()
        await go_on.wait()
        return await answer(self, *arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(Connection, "answer", slowly)
        older = asyncio.create_task(ana.offer(wire.Offer(sdp=sdp), EVERYTHING))
        await begun.wait()
    await ana.offer(wire.Offer(sdp=sdp), EVERYTHING)
    newer = ana._connection
    go_on.set()
    with pytest.raises(SignallingError, match="newer offer") as refused:
        await older
    assert refused.value.code == "out-of-date"
    assert ana._connection is newer and live_connections() == before + 1
    await peer.close()


async def test_whose_cameras_are_taken_away_is_seen_no_longer_and_the_other_is_told(hub: CallHub) -> None:
    (ana, _), (ben, to_ben) = await joined(hub), await joined(hub, "Ben")
    peers = [Connection() for _ in range(4)]
    for who, peer in zip((ana, ben), peers, strict=False):
        await who.offer(wire.Offer(sdp=await offered(peer)), EVERYTHING)
    seen = ben.watching
    assert seen is not None and ana.watcher is seen
    await ana.offer(wire.Offer(sdp=await peers[2].offer([], AudioOut(np.zeros))), EVERYTHING)
    assert ana.cameras == () and seen.closed and ben.watching is None
    assert notices(to_ben) == ["no-picture"]
    await ana.offer(wire.Offer(sdp=await offered(peers[3])), EVERYTHING)
    assert ben.watching is not None and ana.watcher is ben.watching
    for peer in peers:
        await peer.close()


# What they are told.


async def test_a_view_that_fails_again_is_told_again_and_a_hidden_room_to_both(
    hub: CallHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    listeners: list[Callable[[link.FromWorker], None]] = []
    monkeypatch.setattr(Worker, "open", lambda self, message, listener: listeners.append(listener))
    (ana, to_ana), (ben, to_ben) = await joined(hub), await joined(hub, "Ben")
    ana._video = VideoOut()
    monkeypatch.setattr(Participant, "shown_cameras", ("cam0",))
    ana.watch(ben, lambda: None)
    for _ in range(2):
        for code in ("view-failed", "view-failed-over", "bad-backdrop", "bad-backdrop-over"):
            listeners[0](link.Trouble(stream="s", code=code, message="why"))
        listeners[0](link.Trouble(stream="s", code="bad-rig", message="why", owner=True))
    assert notices(to_ana) == 2 * ["view-failed", "view-failed-over", "bad-backdrop", "bad-backdrop-over"]
    assert notices(to_ben) == 2 * ["bad-backdrop", "bad-backdrop-over", "bad-rig"]
    to_ana.clear()
    ana.watch(ana, lambda: None)
    listeners[1](link.Trouble(stream="s", code="bad-backdrop", message="why"))
    assert notices(to_ana) == ["bad-backdrop"]
    ana.stop_watching()


# What they report.


async def test_the_newest_eyes_win_whatever_comes_last(hub: CallHub) -> None:
    ana, _ = await joined(hub)
    for t_us, x in ((2_000, 0.2), (3_000, 0.3), (1_000, 0.1)):
        ana._data._on_message("viewpoint", wire.encode(ViewpointMessage(t_us=t_us, eyes=[(x, 0.0, -0.6)])))
    assert ana._data.eyes == [(0.3, 0.0, -0.6)]


@pytest.mark.parametrize(
    "report",
    [
        Shown(frames=[(2**32, 0)]),
        Shown(frames=[(-1, 0)]),
        Shown(frames=[(0, 2**62 + 1)]),
        Shown(frames=[(0, 0)], error_ns=-1),
        Shown(frames=[(0, 0)], error_ns=3_600_000_000_000),
        Clocks(offset_ns=-(2**62) - 1, error_ns=0),
        Clocks(offset_ns=0, error_ns=10**11),
        Ping(sent_ns=2**63 - 1),
    ],
)
async def test_reports_that_no_clock_makes_are_told_and_change_nothing(hub: CallHub, report: msgspec.Struct) -> None:
    ana, said = await joined(hub)
    ana._data._on_message("ledger", wire.encode(report))
    assert notices(said) == ["bad-message"] and ana._data.time._told is None


async def test_an_old_page_that_says_its_wall_clock_in_a_ping_is_answered(hub: CallHub) -> None:
    ana, said = await joined(hub)
    ana._data._on_message("ledger", '{"type": "ping", "sent_ns": 1, "wall_ns": 2}')
    assert not notices(said)


# The end of all.


async def test_one_who_leaves_slowly_holds_up_neither_the_others_nor_the_recordings(
    hub: CallHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ana, _), (ben, _) = await joined(hub), await joined(hub, "Ben")
    left, recordings = asyncio.Event(), asyncio.Event()
    leave = ben.leave

    async def slowly() -> None:
        await asyncio.Event().wait()

    async def soon() -> None:
        await leave()
        left.set()

    async def close() -> None:
        recordings.set()

    with monkeypatch.context() as patched:
        patched.setattr(ana, "leave", slowly)
        patched.setattr(ben, "leave", soon)
        patched.setattr(hub._recordings, "close", close)
        closing = asyncio.create_task(hub.close())
        await left.wait()
        await recordings.wait()
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
