"""WHIP and WHEP over the fake hub: every status, every limit, and nothing left behind."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from fakehub import FakeHub
from port import Service, fetch, serving

from streamsvc.budget import MockClock
from streamsvc.config import Limits, Settings
from streamsvc.config import Server as ServerSettings
from streamsvc.edge.errors import EdgeError
from streamsvc.signalling.admission import MAX_ADDRESSES, Admission
from streamsvc.signalling.auth import bearer_token, sign
from streamsvc.signalling.grants import Grant
from streamsvc.signalling.messages import MAX_SDP_BYTES, Candidate, Join, SignallingError, SpeechSettings, ViewSettings
from streamsvc.signalling.sdpfrag import MAX_FRAGMENT_BYTES, parse_fragment, username_fragments
from streamsvc.signalling.whip import _ice_links

SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"
OFFER = b"v=0\r\na=ice-ufrag:EsAw\r\na=ice-pwd:secret-password\r\n"
TRICKLE = (
    b"a=ice-ufrag:EsAw\r\na=ice-pwd:secret-password\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n"
    b"a=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host\r\na=end-of-candidates\r\n"
)


async def post(
    s: Service, path: str = "/whip/lab", body: bytes = OFFER, kind: str = SDP, **headers: str
) -> tuple[int, Any, bytes]:
    return await fetch(s.url + path, "POST", body, **{"Content-Type": kind, **headers})


async def patch(
    s: Service, session: str, etag: str | None, body: bytes = TRICKLE, kind: str = FRAGMENT, **headers: str
) -> Any:
    more = {} if etag is None else {"If-Match": etag}
    return await fetch(s.url + session, "PATCH", body, **{"Content-Type": kind, **more, **headers})


async def opened(s: Service, path: str = "/whip/lab", **headers: str) -> tuple[str, str]:
    status, answered, _ = await post(s, path, **headers)
    assert status == 201
    return answered["location"], answered["etag"]


def refused(answer: tuple[int, Any, bytes]) -> tuple[int, str]:
    status, headers, body = answer
    told = json.loads(body)
    assert set(told) == {"code", "message"} and headers["content-type"] == "application/json"
    assert "Traceback" not in told["message"]
    assert (headers["www-authenticate"] == "Bearer") == (status == 401)
    assert (headers["retry-after"] is not None) == (status in (429, 503))
    return status, told["code"]


def nobody(s: Service) -> bool:
    return s.app.state.statistics().open == 0 and not s.hub.rooms.rooms()


# The ordinary way.


async def test_a_call_is_made_trickled_to_and_ended(web: Path) -> None:
    async with serving(web) as s:
        status, headers, body = await post(s, "/whip/my%20lab%2B")
        assert (status, headers["content-type"], body) == (201, SDP, f"answer to {len(OFFER)}".encode())
        assert headers["etag"].startswith('"') and headers["accept-patch"] == FRAGMENT
        session = headers["location"]
        assert session.startswith("/whip/my%20lab%2B/") and len(session.rpartition("/")[2]) >= 32
        (participant,) = s.hub.participants.values()
        assert s.hub.joins[0].room == "my lab+"
        assert (await patch(s, session, headers["etag"]))[0] == 204
        assert participant.candidates == [
            Candidate(candidate="candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host", sdp_mid="0"),
            Candidate(candidate=None, sdp_mid="0"),
        ]
        assert s.app.state.statistics().open == 1
        assert (await fetch(s.url + session, "DELETE"))[0] == 200
        assert nobody(s)
        for method in ("DELETE", "PATCH"):
            assert refused(await fetch(s.url + session, method)) == (404, "not-found")
        assert [what for _, what in s.hub.calls] == ["join", "offer", "candidate", "candidate", "leave"]


@pytest.mark.parametrize(
    ("path", "join"),
    [
        ("/whip/lab", Join(room="lab", name="whip")),
        ("/whep/lab", Join(room="lab", name="whep", fps=0, speech=SpeechSettings(enabled=False))),
        ("/whip/lab?mirror", Join(room="lab", name="whip", mirror=True)),
        ("/whip/lab?mirror=0&name=Ana%20B", Join(room="lab", name="Ana B")),
        ("/whip/lab?source=es", Join(room="lab", name="whip", speech=SpeechSettings(source="es"))),
        (
            "/whep/lab?width=320&height=240&budget_ms=150.5",
            Join(
                room="lab",
                name="whep",
                fps=0,
                speech=SpeechSettings(enabled=False),
                view=ViewSettings(width=320, height=240, budget_ms=150.5),
            ),
        ),
    ],
)
async def test_the_query_is_the_join_message(web: Path, path: str, join: Join) -> None:
    async with serving(web) as s:
        await opened(s, path)
        assert s.hub.joins == [join]


@pytest.mark.parametrize(
    "path",
    [
        "/whip/lab?colour=red",
        "/whip/lab?name=",
        "/whip/lab?name=" + "x" * 65,
        "/whip/lab?name=%00",
        "/whip/" + "x" * 65,
        "/whip/lab?mirror=perhaps",
        "/whep/lab?width=32",
        "/whep/lab?width=wide",
        "/whep/lab?width=320.5",
        "/whep/lab?height=1e999",
        "/whep/lab?budget_ms=nan",
        "/whep/lab?budget_ms=[400]",
        "/whip/lab?source=" + "x" * 9,
    ],
)
async def test_what_the_messages_dont_allow_is_refused(web: Path, path: str) -> None:
    async with serving(web) as s:
        assert refused(await post(s, path)) == (400, "bad-message")
        assert not s.hub.calls and nobody(s)


async def test_a_session_is_found_only_under_its_own_address(web: Path) -> None:
    async with serving(web) as s:
        session, _ = await opened(s)
        id = session.rpartition("/")[2]
        for path in (f"/whep/lab/{id}", f"/whip/other/{id}", f"/whip/lab/{id[:-1]}", "/whip/lab/s1"):
            assert refused(await fetch(s.url + path, "DELETE")) == (404, "not-found")
        assert (await fetch(s.url + f"/whip/LAB/{id}", "DELETE"))[0] == 200


async def test_a_session_whose_participant_left_ends_by_itself(web: Path) -> None:
    async with serving(web, Settings(limits=Limits(max_connections=1))) as s:
        session, etag = await opened(s)
        (participant,) = s.hub.participants.values()
        await participant.leave()
        assert nobody(s)
        assert refused(await patch(s, session, etag)) == (404, "not-found")
        await opened(s)


# What is wrong with a request.


async def test_methods_and_types_that_arent_meant_are_refused(web: Path) -> None:
    async with serving(web) as s:
        session, etag = await opened(s)
        for path, methods in (("/whep/lab", ("GET", "PUT", "PATCH", "DELETE")), (session, ("GET", "POST", "PUT"))):
            for method in methods:
                answer = await fetch(s.url + path, method)
                assert refused(answer) == (405, "bad-method") and "OPTIONS" in answer[1]["allow"]
            assert (await fetch(s.url + path, "HEAD"))[0] == 405
        for kind in ("text/plain", "application/json", ""):
            answer = await post(s, kind=kind)
            assert refused(answer) == (415, "bad-content-type") and answer[1]["accept-post"] == SDP
            answer = await patch(s, session, etag, kind=kind)
            assert refused(answer) == (415, "bad-content-type") and answer[1]["accept-patch"] == FRAGMENT
        assert (await post(s, "/whip/b", kind="Application/SDP; charset=utf-8"))[0] == 201


async def test_malformed_sdp_is_told_and_leaves_nothing_behind(web: Path) -> None:
    async with serving(web) as s:
        s.hub.raises["offer"] = EdgeError("bad-sdp", "the description is not SDP: it must start with v=0")
        assert refused(await post(s)) == (400, "bad-sdp")
        s.hub.raises.clear()
        assert refused(await post(s, body=b"v=0\xff")) == (400, "bad-sdp")
        assert nobody(s)
        await opened(s)


async def test_a_body_that_is_too_large_is_refused_before_and_while_it_is_read(web: Path) -> None:
    async with serving(web) as s:
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
        head = f"POST /whip/lab HTTP/1.1\r\nHost: x\r\nContent-Type: {SDP}\r\n"
        writer.write(f"{head}Content-Length: {MAX_SDP_BYTES + 1}\r\n\r\n".encode())
        assert (await reader.readline()).split()[1] == b"413"
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
        chunk = b"x" * (MAX_SDP_BYTES + 1)
        writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\n{len(chunk):x}\r\n".encode() + chunk)
        assert (await reader.readline()).split()[1] == b"413"
        writer.close()
        session, etag = await opened(s)
        assert refused(await patch(s, session, etag, b"a=b" * MAX_FRAGMENT_BYTES)) == (413, "too-large")
        assert [what for _, what in s.hub.calls] == ["join", "offer"]


async def test_a_body_that_doesnt_come_or_ends_early_gives_its_place_back(web: Path) -> None:
    async with serving(web, Settings(limits=Limits(join_timeout_s=0.1, max_connections=1))) as s:
        head = f"POST /whip/lab HTTP/1.1\r\nHost: x\r\nContent-Type: {SDP}\r\nContent-Length: 9\r\n\r\nv=0".encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
        writer.write(head)
        assert (await reader.readline()).split()[1] == b"408"
        writer.close()
        assert nobody(s)
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
        writer.write(head)
        writer.close()
        while (s.app.state.statistics().opened_total, s.app.state.statistics().open) != (2, 0):  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert not s.hub.calls


@pytest.mark.parametrize(
    ("raises", "status", "code"),
    [
        (SignallingError("bad-settings", "no such language"), 400, "bad-settings"),
        (SignallingError("too-many-rooms", "all rooms are in use"), 503, "too-many-rooms"),
        (RuntimeError("v=0 secret-password"), 500, "internal"),
        (TimeoutError(), 503, "timeout"),
    ],
)
async def test_what_the_hub_refuses_or_fails_at_is_told_by_status(
    web: Path, raises: Exception, status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(web) as s:
        for what in ("join", "offer"):
            s.hub.raises = {what: raises}
            assert refused(await post(s)) == (status, code)
            assert nobody(s)
        s.hub.raises.clear()
        await opened(s)
    assert "secret-password" not in caplog.text


async def test_a_hub_that_hangs_is_given_up(web: Path) -> None:
    async with serving(web, Settings(limits=Limits(answer_timeout_s=0.1))) as s:
        for what in ("join", "offer"):
            s.hub.hangs = {what}
            assert refused(await post(s)) == (503, "timeout")
            assert nobody(s)


async def test_rooms_that_dont_take_the_client_conflict(web: Path) -> None:
    async with serving(web, hub=FakeHub(max_participants=3)) as s:
        await opened(s, "/whip/lab")
        assert refused(await post(s, "/whip/lab?name=WHIP")) == (409, "name-taken")
        assert refused(await post(s, "/whip/lab?name=b&mirror")) == (409, "wrong-kind")
        await opened(s, "/whep/lab")
        assert refused(await post(s, "/whep/lab?name=c")) == (409, "room-full")
        await opened(s, "/whip/b")
        assert refused(await post(s, "/whip/c")) == (503, "service-full")
        assert s.app.state.statistics().open == 3


# Trickled candidates.


async def test_a_patch_needs_the_etag_and_a_restart_is_refused(web: Path) -> None:
    async with serving(web) as s:
        session, etag = await opened(s)
        (participant,) = s.hub.participants.values()
        restart = b"a=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y\r\n"
        for tag, body, told in (
            (None, TRICKLE, (428, "no-condition")),
            ('"other"', TRICKLE, (412, "out-of-date")),
            (f"W/{etag}", TRICKLE, (412, "out-of-date")),
            ("*", restart, (422, "no-restart")),
            (etag, restart, (422, "no-restart")),
            (etag, b"hello", (400, "bad-fragment")),
            (etag, b"a=mid:" + b"x" * 17 + b"\r\na=candidate:1\r\n", (400, "bad-message")),
        ):
            assert refused(await patch(s, session, tag, body)) == told
        assert not participant.candidates
        for tag, body in ((f'"other", {etag}', TRICKLE), ("*", TRICKLE), (etag, b""), (etag, b"a=candidate:2 1\r\n")):
            assert (await patch(s, session, tag, body))[0] == 204
        assert [c.sdp_mid for c in participant.candidates] == ["0", "0", "0", "0", None]


async def test_a_candidate_that_the_edge_refuses_is_told(web: Path) -> None:
    async with serving(web) as s:
        session, etag = await opened(s)
        s.hub.raises["candidate"] = EdgeError("bad-candidate", "at most 256 candidates are accepted")
        assert refused(await patch(s, session, etag)) == (400, "bad-candidate")
        assert (await fetch(s.url + session, "DELETE"))[0] == 200


def test_a_fragment_names_its_sections() -> None:
    fragment = parse_fragment("a=candidate:1\nm=audio 9 X 0\na=mid:a\n\na=candidate:2\nm=video 9 X 0\na=candidate:3\n")
    assert [(c.candidate, c.sdp_mid) for c in fragment.candidates] == [
        ("candidate:1", None),
        ("candidate:2", "a"),
        ("candidate:3", None),
    ]
    assert not fragment.usernames
    assert username_fragments("v=0\r\na=ice-ufrag:a\r\nm=x\r\na=ice-ufrag:b\r\n") == {"a", "b"}


# Tokens, origins, limits of the port.


async def test_every_request_needs_a_token_of_the_room(
    web: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    tokens = tmp_path / "tokens"
    tokens.write_text("alpha-token\nbeta-token room=other\n")
    async with serving(web, Settings(server=ServerSettings(token_file=tokens))) as s:
        alpha = {"Authorization": "Bearer alpha-token"}
        wrong: tuple[dict[str, str], ...] = (
            {},
            {"Authorization": "Bearer wrong-token"},
            {"Authorization": "Bearer beta-token"},
            {"Authorization": "Basic alpha-token"},
        )
        session, _ = await opened(s, **alpha)
        for headers in wrong:
            assert refused(await post(s, "/whep/lab", **headers)) == (401, "bad-token")
            for method in ("DELETE", "PATCH"):
                for path in (session, "/whip/lab/none"):
                    assert refused(await fetch(s.url + path, method, **headers)) == (401, "bad-token")
        assert [what for _, what in s.hub.calls] == ["join", "offer"]
        await opened(s, "/whip/other", Authorization="bearer beta-token")
        assert (await fetch(s.url + session, "DELETE", **alpha))[0] == 200
    assert "-token" not in caplog.text and session.rpartition("/")[2] not in caplog.text


async def test_a_call_is_ended_with_a_token_that_has_ended_since_but_none_is_begun(web: Path, tmp_path: Path) -> None:
    tokens, key = tmp_path / "tokens", "k" * 40
    tokens.write_text(f"key={key}\nalpha\n")
    async with serving(web, Settings(server=ServerSettings(token_file=tokens))) as s:
        session, etag = await opened(s, Authorization="Bearer alpha")
        ended = {"Authorization": f"Bearer {sign(Grant(until=9, room='lab'), key)}"}
        elsewhere = {"Authorization": f"Bearer {sign(Grant(until=9, room='other'), key)}"}
        assert refused(await post(s, "/whep/lab", **ended)) == (401, "bad-token")
        assert refused(await fetch(s.url + session, "DELETE", **elsewhere)) == (401, "bad-token")
        assert (await patch(s, session, etag, **ended))[0] == 204
        assert (await fetch(s.url + session, "DELETE", **ended))[0] == 200 and nobody(s)


def test_only_bearer_carries_a_token() -> None:
    assert bearer_token("Bearer  abc ") == "abc"
    assert bearer_token("Basic abc") is bearer_token(None) is None


async def test_pages_of_other_sites_are_refused_and_those_that_are_welcome_can_read_the_answers(web: Path) -> None:
    friend = "https://friend.example"
    async with serving(web, Settings(server=ServerSettings(allowed_origins=(friend,)))) as s:
        session, _ = await opened(s)
        evil = {"Origin": "https://evil.example"}
        for answer in (
            await post(s, **evil),
            await fetch(s.url + "/whip/lab", "OPTIONS", **evil),
            await fetch(s.url + session, "DELETE", **evil),
        ):
            assert refused(answer) == (403, "foreign-origin") and answer[1]["access-control-allow-origin"] is None
        for path, methods, accepts in (
            ("/whip/lab", "POST, OPTIONS", "accept-post"),
            (session, "PATCH, DELETE, OPTIONS", "accept-patch"),
        ):
            status, headers, _ = await fetch(s.url + path, "OPTIONS", Origin=friend)
            assert status == 200 and headers[accepts]
            assert headers["allow"] == headers["access-control-allow-methods"] == methods
            assert headers["access-control-allow-origin"] == friend and headers["vary"] == "Origin"
            assert "Authorization" in headers["access-control-allow-headers"]
        for path, status in (("/whep/lab", 201), ("/whep/lab?no", 400)):
            answered, headers, _ = await post(s, path, Origin=friend)
            assert (answered, headers["access-control-allow-origin"]) == (status, friend)
            assert "Location" in headers["access-control-expose-headers"]


async def test_sockets_and_sessions_share_the_places_of_the_port(web: Path) -> None:
    async with serving(web, Settings(limits=Limits(max_connections=2))) as s, s.client() as ana:
        await ana.join(Join(room="lab", name="Ana"))
        session, _ = await opened(s)
        assert refused(await post(s, "/whip/b")) == (503, "service-full")
        with pytest.raises(SignallingError) as e:
            async with s.client() as bo:
                await bo.join(Join(room="b", name="Bo"))
        assert e.value.code == "service-full"
        assert (await fetch(s.url + session, "DELETE"))[0] == 200
        await opened(s, "/whip/b")
        assert s.app.state.statistics().refused_total == 2


async def test_who_asks_too_often_is_told_to_wait(web: Path) -> None:
    async with serving(web, Settings(limits=Limits(messages_per_s=0.1, message_burst=2))) as s:
        session, etag = await opened(s)
        assert (await patch(s, session, etag))[0] == 204
        assert refused(await patch(s, session, etag)) == (429, "too-many-messages")
        assert (await fetch(s.url + session, "OPTIONS"))[0] == 200


def test_addresses_have_a_pace_of_their_own_and_few_are_remembered() -> None:
    clock = MockClock()
    admission = Admission(Limits(messages_per_s=1, message_burst=1))
    admission.pace("a", clock.now_ns())
    admission.pace("b", clock.now_ns())
    with pytest.raises(SignallingError):
        admission.pace("a", clock.now_ns())
    for i in range(MAX_ADDRESSES):
        admission.pace(f"c{i}", clock.now_ns())
    admission.pace("a", clock.now_ns())


async def test_the_ice_servers_are_told_as_links(web: Path) -> None:
    async with serving(web) as s:
        joined = (await s.hub.join(Join(room="x", name="x"), lambda _: None))[1]
    joined.ice_servers.extend(
        (
            {"urls": ["stun:stun.example.net"]},
            {"urls": ["turn:turn.example.net?transport=udp"], "username": 'u"1', "credential": "p"},
            {"urls": ["turn:x"], "username": "é\n", "credential": "p"},
        )
    )
    assert _ice_links(joined) == [
        '<stun:stun.example.net>; rel="ice-server"',
        '<turn:turn.example.net?transport=udp>; rel="ice-server"; username="u\\"1"; credential="p"; '
        'credential-type="password"',
    ]


async def test_stop_ends_with_a_session_open(web: Path) -> None:
    async with serving(web) as s:
        await opened(s)
        s.stop.set()
        await s.task
