"""How connections end and what they survive: goodbye, no goodbye, a hang, SIGTERM, malformed packets, bad offers."""

from __future__ import annotations

import asyncio
import gc
import random
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription, VideoStreamTrack, clock
from aiortc.rtcdtlstransport import RTCCertificate, SRTPProtectionProfile, generate_certificate
from cryptography.hazmat.primitives.asymmetric import rsa
from edge_pair import bars, call, filming, until
from OpenSSL import SSL

from streamsvc.edge import (
    ChannelSpec,
    Connection,
    EdgeError,
    IceServer,
    VideoOut,
    close_all,
    live_connections,
    peerconnection,
)

ROOT = Path(__file__).parents[2]


async def test_goodbye_is_heard_by_the_other_side_and_close_may_be_repeated() -> None:
    async with call() as pair:
        await pair.peer.close()
        await pair.peer.close()
        await until(lambda: pair.server.state == "closed")
        assert pair.states["server"][-1] == "closed" and pair.states["peer"][-1] == "closed"
        (incoming,) = pair.server.videos.values()
        assert await incoming.next() is None
        await pair.server.close()
    assert live_connections() == 0


async def test_a_peer_that_vanishes_without_goodbye_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peerconnection, "CONSENT_INTERVAL_S", 0.2)
    async with call() as pair:
        for transport in pair.peer._pc.ice_transports:
            for protocol in transport._connection._protocols:
                protocol.transport.abort()
        await until(lambda: pair.server.state != "connected")
        assert pair.states["server"] == ["connecting", "connected", "failed"]


async def test_a_peer_that_never_answers_fails_in_bounded_time() -> None:
    states: list[str] = []
    connection = Connection(on_state=states.append, connect_timeout_s=0.3)
    peer = Connection()
    await connection.answer(await peer.offer([VideoOut()], None), video=None, audio=None)
    await peer.close()
    await until(lambda: states and states[-1] == "failed")
    await connection.close()
    assert states.count("failed") == 1 and "closed" not in states


async def test_close_ends_even_when_the_stack_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    async with call() as pair:
        never = asyncio.Event()
        monkeypatch.setattr(pair.server._pc, "close", never.wait)
        await pair.server.close(timeout=0.05)
        assert pair.server.state == "closed"
        # The sockets are gone too, so the peer hears nothing more.
        assert all(p.transport.is_closing() for t in pair.server._pc.ice_transports for p in t._connection._protocols)
    assert live_connections() == 0


@pytest.mark.parametrize("hangs", ["the first", "a relay", "a receiver"])
async def test_a_close_that_is_cut_short_leaves_no_task(monkeypatch: pytest.MonkeyPatch, hangs: str) -> None:
    before, never, answered = asyncio.all_tasks(), asyncio.Event(), asyncio.Event()
    async with call(channels=[ChannelSpec("captions")]) as pair:
        connection = pair.server._pc
        match hangs:
            case "the first":
                monkeypatch.setattr(connection.getTransceivers()[0], "stop", never.wait)
            case "a relay":
                # As of a TURN server that doesn't answer: its transport has no `abort`.
                relay = SimpleNamespace(transport=SimpleNamespace(close=lambda: None), close=answered.wait)
                (ice,) = connection.ice_transports
                ice._connection._protocols.insert(0, relay)
            case "a receiver":
                monkeypatch.setattr(peerconnection, "CUT_S", 0.1)
                (receiver, *_) = connection.getReceivers()
                receiver._RTCRtpReceiver__rtcp_exited = SimpleNamespace(set=lambda: None, wait=never.wait)
        await pair.server.close(timeout=0.05)
        assert pair.server.state == "closed"
        answered.set()
    await until(lambda: asyncio.all_tasks() <= before)
    assert live_connections() == 0


def test_a_process_with_open_calls_ends_on_sigterm() -> None:
    program = """
        import asyncio, signal, sys
        sys.path[:0] = [%r, %r]
        from edge_pair import bars, call, filming
        from streamsvc.edge import close_all

        async def main():
            stop = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
            async with call(cameras=2) as pair:
                async with filming([*pair.peer_videos, pair.server_video], lambda _: bars(160, 120)):
                    print("up", flush=True)
                    await stop.wait()
                    await close_all(1.0)
            print("down", flush=True)

        asyncio.run(main())
    """
    source = textwrap.dedent(program) % (str(ROOT), str(Path(__file__).parent))
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "up\n"
            process.send_signal(signal.SIGTERM)
            rest, _ = process.communicate(timeout=20)
        finally:
            process.kill()
    assert rest == "down\n" and process.returncode == 0


async def test_malformed_packets_are_counted_and_the_call_goes_on() -> None:
    async with call() as pair:
        (incoming,) = pair.server.videos.values()
        (transport,) = {t.receiver.transport for t in pair.server._pc.getTransceivers()}
        extensions = pair.server._pc.getTransceivers()[0]._headerExtensions
        send_time = next(e.id for e in extensions if "abs-send-time" in e.uri)
        # abs-send-time has 3 bytes; one byte is what aiortc's parser raises struct.error for.
        header = bytes([0x90, 97, 0, 1, 0, 0, 0, 1, 0, 0, 0, 9, 0xBE, 0xDE, 0, 1, send_time << 4, 7, 0, 0])
        take = {False: transport._handle_rtp_data, True: transport._handle_rtcp_data}
        await pair.server._pc._surviving(take[False])(header + b"payload", arrival_time_ms=0)
        for data in (b"\x81\xce\x00\x03" + bytes(12), b"\x81"):
            await pair.server._pc._surviving(take[True])(data)
        assert pair.server.statistics().malformed >= 1
        async with filming(pair.peer_videos, lambda _: bars(160, 120)):
            await until(lambda: incoming.frames >= 5)


async def test_mutilated_packets_do_not_end_a_call(caplog: pytest.LogCaptureFixture) -> None:
    async with call(cameras=2) as pair:
        (transport,) = {t.receiver.transport for t in pair.server._pc.getTransceivers()}
        heard: list[tuple[bool, bytes]] = []
        handlers = {False: transport._handle_rtp_data, True: transport._handle_rtcp_data}

        async def rtp(data: bytes, arrival_time_ms: int) -> None:
            heard.append((False, data))
            await handlers[False](data, arrival_time_ms=arrival_time_ms)

        async def rtcp(data: bytes) -> None:
            heard.append((True, data))
            await handlers[True](data)

        transport._handle_rtp_data, transport._handle_rtcp_data = rtp, rtcp
        rng = random.Random(0)
        async with filming([*pair.peer_videos, pair.server_video], lambda i: np.roll(bars(160, 120), i, 1)):
            await until(lambda: sum(control for control, _ in heard) >= 4 and len(heard) >= 100)
            transport._handle_rtp_data, transport._handle_rtcp_data = handlers[False], handlers[True]
            for _ in range(3000):
                control, data = rng.choice(heard)
                broken = bytearray(data[: rng.randrange(1, len(data) + 1)] if rng.random() < 0.5 else data)
                for _ in range(rng.randrange(1, 4)):
                    broken[rng.randrange(min(len(broken), 40))] = rng.randrange(256)
                arrival = {} if control else {"arrival_time_ms": clock.current_ms()}
                await pair.server._pc._surviving(handlers[control])(bytes(broken), **arrival)
            assert pair.server.state == "connected"
            # New pictures come through on every camera, after a keyframe where the mutilated ones did harm.
            marks = {mid: incoming.frames for mid, incoming in pair.server.videos.items()}
            await until(lambda: all(pair.server.videos[mid].frames > count + 5 for mid, count in marks.items()))
        assert "could not be handled" not in caplog.text


async def test_a_bad_offer_leaves_the_connection_usable() -> None:
    server, peer = Connection(), Connection()
    offer = await peer.offer([VideoOut()], None)
    section = "m=" + offer.split("m=")[1]
    many = offer + "".join(section.replace("a=mid:0", f"a=mid:{i}") for i in range(1, 41))
    no_print = "\r\n".join(line for line in offer.split("\r\n") if not line.startswith("a=fingerprint"))
    for bad in (many, no_print, "not SDP", offer.replace("VP8", "AV9").replace("H264", "X")):
        with pytest.raises(EdgeError) as caught:
            await server.answer(bad, video=None, audio=None)
        assert caught.value.code == "bad-sdp" and "Traceback" not in str(caught.value)
    await server.close()

    server = Connection()
    for bad in (many, no_print, "not SDP"):
        with pytest.raises(EdgeError):
            await server.answer(bad, video=None, audio=None)
    await peer.accept(await server.answer(offer, video=None, audio=None))
    await until(lambda: server.state == peer.state == "connected")
    await close_all()


async def test_an_empty_datagram_from_anybody_ends_no_call() -> None:
    async with call() as pair:
        (ice,) = pair.server._pc.ice_transports
        (nominated,) = ice._connection._nominated.values()
        host, port, *_ = nominated.protocol.transport.get_extra_info("sockname")
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as anybody:
            for _ in range(5):
                anybody.sendto(b"", (host, port))
        await until(lambda: pair.server._pc.malformed >= 5)
        (video,) = pair.server.videos.values()
        async with filming(pair.peer_videos, lambda _: bars(160, 120)):
            await until(lambda: video.frames > 5)
        assert pair.server.state == "connected"


async def test_an_empty_datagram_ends_no_handshake() -> None:
    server, client = Connection(), RTCPeerConnection(RTCConfiguration(iceServers=[]))
    client.addTransceiver(VideoStreamTrack(), "sendonly")
    await client.setLocalDescription(await client.createOffer())
    answer = await server.answer(client.localDescription.sdp, video=None, audio=None)
    for transport in server._pc.ice_transports:
        transport._connection.data_received(b"", 1)
    await client.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    await until(lambda: server.state == "connected")
    assert server._pc.malformed == 1
    await client.close()
    await close_all()


async def test_text_that_is_no_utf_8_ends_no_call() -> None:
    server, client = Connection(), RTCPeerConnection(RTCConfiguration(iceServers=[]))
    channel = client.createDataChannel("captions")
    await client.setLocalDescription(await client.createOffer())
    answer = await server.answer(client.localDescription.sdp, video=None, audio=None)
    await client.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    await until(lambda: channel.readyState == "open")
    await client.sctp._send(channel.id, 51, b"\xff\xfe")
    await until(lambda: server._pc.malformed == 1)
    assert server.state == "connected"
    await client.close()
    await close_all()


async def test_a_peer_that_is_lost_while_it_connects_leaves_no_failed_task() -> None:
    unheard: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    server, client = Connection(), RTCPeerConnection(RTCConfiguration(iceServers=[]))
    client.addTransceiver(VideoStreamTrack(), "sendonly")
    await client.setLocalDescription(await client.createOffer())
    await server.answer(client.localDescription.sdp, video=None, audio=None)
    for transport in server._pc.ice_transports:
        await transport.stop()
    await server.answer(client.localDescription.sdp, video=None, audio=None)
    await until(lambda: not any("__connect" in repr(task) for task in asyncio.all_tasks()))
    gc.collect()
    assert not unheard
    await client.close()
    await close_all()


async def test_a_camera_may_be_added_by_a_second_offer() -> None:
    server, client = Connection(), RTCPeerConnection(RTCConfiguration(iceServers=[]))
    video = VideoOut()
    for cameras in (1, 2):
        client.addTransceiver(VideoStreamTrack(), "sendrecv")
        await client.setLocalDescription(await client.createOffer())
        answer = await server.answer(client.localDescription.sdp, video=video, audio=None)
        await client.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await until(lambda cameras=cameras: sum(v.frames > 0 for v in server.videos.values()) == cameras)
    assert server.state == "connected" and [s.kind for s in server.statistics().sent] == ["video"]
    await client.close()
    await close_all()


class RsaCertificate(RTCCertificate):
    """What GStreamer's webrtcbin has, and all that it can agree on as a DTLS server."""

    def _create_ssl_context(self, srtp_profiles: list[SRTPProtectionProfile]) -> SSL.Context:
        context = super()._create_ssl_context(srtp_profiles)
        context.set_cipher_list(b"ECDHE-RSA-AES128-GCM-SHA256")
        return context


async def test_a_peer_with_an_rsa_certificate_is_understood() -> None:
    server, client = Connection(), RTCPeerConnection(RTCConfiguration(iceServers=[]))
    key = rsa.generate_private_key(65537, 2048)
    client._RTCPeerConnection__certificates = [RsaCertificate(key, generate_certificate(key))]
    client.addTransceiver(VideoStreamTrack(), "sendonly")
    await client.setLocalDescription(await client.createOffer())
    answer = await server.answer(client.localDescription.sdp, video=None, audio=None)
    assert "a=setup:active" in answer
    await client.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    await until(lambda: server.state not in ("new", "connecting"))
    assert server.state == "connected"
    await client.close()
    await close_all()


async def test_an_answer_out_of_turn_and_bad_candidates_are_typed_errors() -> None:
    server, peer = Connection(), Connection()
    answer = await server.answer(await peer.offer([VideoOut()], None), video=None, audio=None)
    fresh = Connection()
    with pytest.raises(EdgeError) as caught:
        await fresh.accept(answer)
    assert caught.value.code == "bad-state"
    with pytest.raises(EdgeError) as caught:
        await fresh.add_candidate("candidate:1 1 udp 1 192.0.2.9 9 typ host", "0")
    assert caught.value.code == "bad-candidate"
    with pytest.raises(EdgeError):
        await server.add_candidate("candidate:nonsense", "0")
    await server.add_candidate("candidate:1 1 udp 1 192.0.2.9 9 typ host", "0")
    await server.add_candidate(None, None)
    await close_all()


async def test_no_server_is_contacted_unless_it_is_named_and_a_bad_name_is_refused() -> None:
    connection = Connection()
    offer = await connection.offer([VideoOut()], None)
    candidates = [line for line in offer.split("\r\n") if line.startswith("a=candidate")]
    assert candidates and all(" typ host" in c for c in candidates)
    assert "a=end-of-candidates" in offer
    with pytest.raises(EdgeError) as caught:
        await Connection(ice_servers=[IceServer(("carrier-pigeon:loft",))]).offer([VideoOut()], None)
    assert caught.value.code == "bad-ice-server"
    await close_all()


async def test_the_answer_keeps_several_cameras_of_a_browser_alive() -> None:
    server, peer = Connection(), Connection()
    answer = await server.answer(await peer.offer([VideoOut(), VideoOut()], None), video=None, audio=None)
    assert answer.count("x-google-min-bitrate=800;x-google-start-bitrate=2000") >= 2
    await close_all()
