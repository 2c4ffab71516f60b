"""Calls over the port, for real: uvicorn on loopback, our client, and a hub that fails."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from port import JOIN, ask, serving

from streamsvc.config import Limits, Settings
from streamsvc.errors import StreamsvcError
from streamsvc.signalling.client import ConnectionLostError
from streamsvc.signalling.messages import (
    Candidate,
    Configure,
    Error,
    Join,
    Joined,
    Notice,
    Offer,
    Peers,
    Record,
    Recording,
    SignallingError,
    ViewSettings,
    decode_server,
    encode,
)


async def test_two_people_join_negotiate_configure_and_leave(web: Path) -> None:
    async with serving(web) as s, s.client() as ana:
        joined = await ana.join(JOIN)
        assert (joined.room, joined.peers) == ("lab", [])
        assert (await ana.offer(Offer(sdp="v=0"))).sdp == "answer to 3"
        await ana.candidate(Candidate(candidate="candidate:1"))
        configured = await ana.configure(Configure(view=ViewSettings(width=320)))
        assert configured.settings["view"] == {"width": 320}
        assert await ana.record(Record(action="ask")) == Recording(state="off")
        s.hub.raises["record"] = SignallingError("not-recording", "this service does not record")
        with pytest.raises(SignallingError, match="does not record"):
            await ana.record(Record(action="ask"))
        news = ana.messages()
        assert await anext(news) == Peers(peers=[])
        async with s.client() as bo:
            assert (await bo.join(Join(room="lab", name="Bo"))).peers == ["Ana"]
            assert await anext(news) == Peers(peers=["Bo"])
            s.hub.push("s1", Notice(code="no-rig", message="passes through"))
            assert await anext(news) == Notice(code="no-rig", message="passes through")
        assert await anext(news) == Peers(peers=[])
        await ana.leave()
        assert [m async for m in news] == []
    assert [what for session, what in s.hub.calls if session == "s1"] == [
        "offer",
        "candidate",
        "configure",
        "record",
        "record",
        "leave",
    ]
    assert not s.hub.rooms.rooms()


async def test_joined_comes_before_what_the_hub_sends_while_it_admits(web: Path) -> None:
    async with serving(web) as s, s.raw() as socket:
        assert isinstance(await ask(socket, encode(JOIN)), Joined)
        assert decode_server(await socket.recv()) == Peers(peers=[])


async def test_participant_leaves_once_when_the_socket_vanishes(web: Path) -> None:
    async with serving(web) as s:
        async with s.client() as ana:
            await ana.join(JOIN)
            assert ana._socket is not None
            ana._socket.transport.abort()
            await s.hub.left.wait()
            with pytest.raises(ConnectionLostError):
                await ana.offer(Offer(sdp="v=0"))
            with pytest.raises(ConnectionLostError):
                async for _ in ana.messages():
                    pass
        assert s.hub.calls.count(("s1", "leave")) == 1
        async with s.client() as again:
            await again.join(JOIN)


async def test_who_vanished_has_the_session_again_on_another_socket(web: Path) -> None:
    async with serving(web) as s:
        s.hub.waits = True
        ana = s.client()
        await ana.open()
        joined = await ana.join(JOIN)
        assert joined.resume == "s1" and not joined.resumed
        await ana.abandon()
        async with s.client() as again:
            back = await again.join(msgspec.structs.replace(JOIN, resume=joined.resume))
            assert back.resumed and back.session == joined.session
            s.hub.push("s1", Notice(code="x", message="to the new socket"))
            assert await anext(again.messages()) == Notice(code="x", message="to the new socket")
        await s.hub.left.wait()
        assert s.hub.calls.count(("s1", "leave")) == 1 and s.hub.calls.count(("s1", "detach")) <= 1


async def test_an_old_socket_does_not_end_what_a_new_one_has_taken_up(web: Path) -> None:
    async with serving(web) as s:
        old = s.client()
        await old.open()
        joined = await old.join(JOIN)
        async with s.client() as new:
            await new.join(msgspec.structs.replace(JOIN, resume=joined.resume))
            await old.leave()
            assert (await new.offer(Offer(sdp="v=0"))).sdp == "answer to 3"
            assert ("s1", "leave") not in s.hub.calls and ("s1", "detach") not in s.hub.calls


# What the hub raises.


class BadSdpError(StreamsvcError):
    code = "bad-sdp"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (BadSdpError("that is not SDP"), "bad-sdp", "that is not SDP"),
        (StreamsvcError("the rig has no cameras"), "bad-input", "the rig has no cameras"),
        (ValueError("v=0 secret-sdp"), "internal", "its log says why"),
    ],
)
async def test_errors_of_the_hub_become_codes_and_the_call_goes_on(
    web: Path, error: Exception, code: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(web) as s, s.client() as ana:
        await ana.join(JOIN)
        s.hub.raises["offer"] = error
        with pytest.raises(SignallingError, match=message) as e:
            await ana.offer(Offer(sdp="v=0"))
        assert e.value.code == code
        s.hub.raises.clear()
        await ana.offer(Offer(sdp="v=0"))
    assert "secret-sdp" not in caplog.text
    assert ("offer failed with ValueError" in caplog.text) == (code == "internal")


async def test_a_failed_candidate_is_told_unasked(web: Path) -> None:
    async with serving(web) as s, s.client() as ana:
        await ana.join(JOIN)
        await ana.offer(Offer(sdp="v=0"))
        s.hub.raises["candidate"] = StreamsvcError("not a candidate")
        await ana.candidate(Candidate(candidate="nonsense"))
        await ana.configure(Configure())
        news = [await anext(ana.messages()) for _ in range(2)]
        assert Error(code="bad-input", message="not a candidate", re="candidate") in news


async def test_a_hub_that_hangs_is_cut_off_and_told(web: Path) -> None:
    async with serving(web, Settings(limits=Limits(answer_timeout_s=0.1))) as s, s.client() as ana:
        s.hub.hangs.add("join")
        with pytest.raises(SignallingError) as e:
            await ana.join(JOIN)
        assert e.value.code == "timeout"
        s.hub.hangs.clear()
        await ana.join(JOIN)


async def test_a_participant_that_fails_to_leave_harms_nobody(web: Path) -> None:
    async with serving(web) as s, s.client() as bo:
        async with s.client() as ana:
            await ana.join(JOIN)
            s.hub.raises["leave"] = RuntimeError("v=0")
        await bo.join(JOIN)
        s.hub.raises.clear()
