"""Calls whose connection breaks and comes back: the session goes on."""

import asyncio
from pathlib import Path

from calls import BODY, Call, service, until

from streamsvc.edge import live_connections
from streamsvc.peer import PeerOptions
from streamsvc.shaper import Rules, Shaper, parse_network
from streamsvc.shaper.network import Network
from streamsvc.signalling import messages as wire
from streamsvc.signalling.channels import Caption
from streamsvc.signalling.client import SignallingClient
from streamsvc.signalling.messages import SpeechSettings, ViewSettings

VIEW = ViewSettings(width=320, height=240, budget_ms=2000)


class Cable(Shaper):
    """A way that can be cut and mended."""

    def __init__(self) -> None:
        super().__init__(parse_network("clean"))

    def cut(self, cut: bool) -> None:
        self._network = Network("cable", ((0.0, Rules(loss=100.0 if cut else 0.0)),))


def options(url: str, **changes: object) -> PeerOptions:
    return PeerOptions(**{"url": url, "room": "r", "mirror": True, "cameras": BODY, "view": VIEW, **changes})  # type: ignore[arg-type]


async def test_media_that_are_lost_come_back_to_the_same_session(tmp_path: Path) -> None:
    cable = Cable()
    async with service(tmp_path) as (running, url), Call(options(url, way=cable)) as call:
        await call.sees()
        (participant,) = running.hub.participants
        cable.cut(True)
        await until(lambda: participant.presence.is_away, "the loss is noticed")
        cable.cut(False)
        await call.sees(5)
        assert running.hub.participants == (participant,) and not participant.presence.is_away
        # Whichever side noticed first.
        assert any(n.startswith(("connection-lost", "lost")) for n in call.peer.figures.notices)
    await until(lambda: live_connections() == 0, "every connection is closed")
    cable.close()


async def test_a_socket_that_is_cut_is_replaced_under_media_that_flow_on(tmp_path: Path) -> None:
    async with service(tmp_path) as (running, url), Call(options(url)) as call:
        await call.sees()
        (participant,) = running.hub.participants
        connection = call.peer._connection
        client = call.peer._client
        assert client is not None and client._socket is not None
        client._socket.transport.abort()
        await until(lambda: call.peer._client is not client, "a new socket")
        await call.sees()
        assert call.peer._connection is connection and running.hub.participants == (participant,)
        await until(lambda: not participant.presence.is_away, "nothing is waited for")
        # What the service says reaches the new socket.
        participant.notice("hello", "again")
        await until(lambda: "hello: again" in call.peer.figures.notices, "the notice arrives")


async def test_words_and_settings_outlive_a_loss_and_the_other_side_is_told(tmp_path: Path) -> None:
    cable = Cable()
    async with service(tmp_path) as (running, url):
        listener = options(url, mirror=False, name="Lea", way=cable, speech=SpeechSettings(enabled=False))
        speaker = options(url, mirror=False, name="Sam")
        async with Call(listener) as lea, Call(speaker) as sam:
            await lea.sees()
            at_lea, at_sam = sorted(running.hub.participants, key=lambda p: p.name)
            assert at_sam.speaking.listener is at_lea
            await at_lea.configure(wire.Configure(view=ViewSettings(budget_ms=777)))
            cable.cut(True)
            await until(lambda: at_lea.presence.is_away, "the loss is noticed")
            await until(lambda: any(n.startswith("peer-away") for n in sam.peer.figures.notices), "Sam is told")
            said = [
                Caption(id=i, speaker="Sam", text=f"word {i}", source_start_ms=i, source_end_ms=i + 1, wall_ms=i + 2)
                for i in range(1, 6)
            ]
            for caption in said:
                at_lea.caption(caption)
            cable.cut(False)
            await until(lambda: len(lea.peer.figures.captions) == 5, "what was said meanwhile arrives")
            assert lea.peer.figures.captions == said
            await until(lambda: any(n.startswith("peer-back") for n in sam.peer.figures.notices), "Sam is told")
            assert at_lea.settings.budget_ms == 777
            await lea.sees()
    cable.close()


async def test_who_says_goodbye_is_not_waited_for_and_a_stranger_gets_no_session(tmp_path: Path) -> None:
    async with service(tmp_path) as (running, url):
        async with Call(options(url)) as call:
            await call.sees()
            key = running.hub.participants[0].presence.key
        await until(lambda: not running.hub.participants, "the peer has left")
        async with SignallingClient(url) as late:
            joined = await late.join(wire.Join(room="r", name="late", mirror=True, resume=key))
            assert not joined.resumed and joined.resume not in (None, key)
        async with SignallingClient(url) as other, SignallingClient(url) as wrong:
            held = await other.join(wire.Join(room="held", name="Ana", mirror=True))
            taken = await wrong.join(wire.Join(room="elsewhere", name="Bo", mirror=True, resume=held.resume))
            assert not taken.resumed and taken.session != held.session
            async with SignallingClient(url) as odd:
                joined = await odd.join(wire.Join(room="odd", name="Eva", mirror=True, resume="é"))
                assert not joined.resumed


async def test_a_session_that_is_shown_its_key_leaves_the_old_socket(tmp_path: Path) -> None:
    async with service(tmp_path) as (running, url):
        old, new = SignallingClient(url), SignallingClient(url)
        await old.open()
        await new.open()
        first = await old.join(wire.Join(room="r", name="Ana", mirror=True))
        again = await new.join(wire.Join(room="r", name="Ana", mirror=True, resume=first.resume))
        assert again.resumed and again.session == first.session
        await old.leave()
        await asyncio.gather(*(new.configure(wire.Configure(view=ViewSettings(budget_ms=b))) for b in (300, 500)))
        (participant,) = running.hub.participants
        assert participant.settings.budget_ms == 500
        await new.leave()
        await until(lambda: not running.hub.participants, "Ana has left")
