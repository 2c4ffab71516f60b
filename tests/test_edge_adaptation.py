"""The layer over aiortc: what it relies on is checked loudly; its sender and receiver on a transport made for tests."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import aiortc.rtcrtpreceiver
import av
import numpy as np
import pytest
from aiortc.jitterbuffer import JitterFrame
from aiortc.mediastreams import MediaStreamError
from aiortc.rtcrtpparameters import (
    RTCRtpCodecParameters,
    RTCRtpHeaderExtensionParameters,
    RTCRtpParameters,
    RTCRtpReceiveParameters,
    RTCRtpSendParameters,
)
from aiortc.rtcrtpreceiver import RemoteStreamTrack
from aiortc.rtp import (
    RTCP_PSFB_PLI,
    RtcpPacket,
    RtcpPsfbPacket,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSenderInfo,
    RtcpSrPacket,
    RtpPacket,
    is_rtcp,
    pack_remb_fci,
)
from hypothesis import given
from hypothesis import strategies as st

from streamsvc.edge import (
    Connection,
    EdgeError,
    VideoOut,
    adaptation,
    close_all,
    codecs,
    decoding,
    peerconnection,
    rtp_receiver,
    rtp_sender,
    rtp_timestamp_of,
    wall_offset_ns,
)
from streamsvc.edge.codecs import H264Encoder, OpusEncoder, Vp8Encoder, is_keyframe
from streamsvc.edge.decoding import Decoded, DecodeQueue
from streamsvc.edge.extensions import COLOUR_SPACE, PLAYOUT_DELAY, ColourSpace, ExtensionsMap, agreed_extras
from streamsvc.edge.rate import SentRate, next_target
from streamsvc.edge.rtp_receiver import MAX_SOURCES, Receiver
from streamsvc.edge.rtp_sender import Sender, audio_level
from streamsvc.edge.rtpclock import SenderClock, ntp_of, unix_ns_of
from streamsvc.edge.send import Picture
from streamsvc.edge.statistics import sent_statistics

VP8 = RTCRtpCodecParameters(mimeType="video/VP8", clockRate=90_000, payloadType=97)
RTX = RTCRtpCodecParameters(mimeType="video/rtx", clockRate=90_000, payloadType=98, parameters={"apt": 97})
SECOND_NS = 1_000_000_000


class Wire:
    """A transport that keeps what is sent on it; `state` and the registrations are what aiortc asks of one."""

    state = "new"
    _stats_id = "wire"

    def __init__(self) -> None:
        self.rtp: list[RtpPacket] = []
        self.rtcp: list[Any] = []

    async def _send_rtp(self, data: bytes) -> None:
        if is_rtcp(data):
            self.rtcp += RtcpPacket.parse(data)
        else:
            self.rtp.append(RtpPacket.parse(data))

    def _register_rtp_sender(self, *_: Any) -> None: ...
    def _register_rtp_receiver(self, *_: Any) -> None: ...
    def _unregister_rtp_sender(self, *_: Any) -> None: ...
    def _unregister_rtp_receiver(self, *_: Any) -> None: ...


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 what is waited for has no event to offer
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("version", ["1.15.0", "1.9", "0.99"])
def test_an_old_aiortc_is_refused(version: str) -> None:
    with pytest.raises(EdgeError) as caught:
        adaptation.check_version(version)
    assert caught.value.code == "unsupported-aiortc"


@pytest.mark.parametrize("version", ["1.16.0", "1.17", "2.0.1"])
def test_a_newer_aiortc_is_judged_by_its_attributes(version: str) -> None:
    adaptation.check_version(version)


async def test_an_attribute_that_vanished_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    adaptation.require_aiortc.cache_clear()
    adaptation.require_aiortc()
    adaptation.require_aiortc.cache_clear()
    monkeypatch.setitem(adaptation.INSTANCE_ATTRIBUTES, adaptation.RtpRouter, {"mid_table", "gone_table"})
    with pytest.raises(EdgeError) as caught:
        adaptation.require_aiortc()
    adaptation.require_aiortc.cache_clear()
    assert caught.value.code == "unsupported-aiortc" and "RtpRouter().gone_table" in str(caught.value)


async def test_sender_reports_carry_the_clock_of_the_capture_and_none_leaves_before_a_picture() -> None:
    wire, track = Wire(), VideoOut()
    sender = Sender(track, wire)
    await sender.send(RTCRtpSendParameters(codecs=[VP8], muxId="0"))
    await sender._send_rtcp([RtcpSrPacket(1, RtcpSenderInfo(0, 0, 0, 0))])
    assert wire.rtcp == []
    # A picture that was seen 3 s before it is sent.
    capture_ns = time.monotonic_ns() - 3 * SECOND_NS
    track.put(np.zeros((48, 64, 3), np.uint8), capture_ns)
    await until(lambda: wire.rtcp)
    report = wire.rtcp[0]
    assert isinstance(report, RtcpSrPacket)
    assert rtp_timestamp_of(capture_ns) == wire.rtp[0].timestamp
    clock = SenderClock(90_000)
    clock.report(report.sender_info.rtp_timestamp, report.sender_info.ntp_timestamp)
    told = clock.to_unix_ns(wire.rtp[0].timestamp)
    assert told is not None and abs(told - wall_offset_ns() - capture_ns) < 2_000_000
    # Who takes its NTP time for the moment of sending, as browsers do, must not be 3 s off.
    sent_ns = unix_ns_of(report.sender_info.ntp_timestamp) - wall_offset_ns()
    assert capture_ns + 3 * SECOND_NS <= sent_ns + 2_000_000 and sent_ns <= time.monotonic_ns() + 2_000_000
    assert sender._stock_lsr == report.sender_info.ntp_timestamp >> 16 & 0xFFFFFFFF
    assert wire.rtp[-1].marker == 1
    await sender.stop()


async def test_a_packet_is_sent_again_from_a_history_of_a_thousand() -> None:
    wire, track = Wire(), VideoOut()
    sender = Sender(track, wire)
    await sender.send(RTCRtpSendParameters(codecs=[VP8], muxId="0"))
    rng = np.random.default_rng(0)
    for i in range(40):
        sent = len(wire.rtp)
        track.put(rng.integers(0, 256, (480, 640, 3), dtype=np.uint8), (i + 1) * SECOND_NS // 30)
        await until(lambda sent=sent: len(wire.rtp) > sent and wire.rtp[-1].marker)
    assert len(wire.rtp) > 200
    old = wire.rtp[-180]
    await sender._handle_rtcp_packet(
        RtcpRtpfbPacket(fmt=1, ssrc=1, media_ssrc=sender._ssrc, lost=[old.sequence_number])
    )
    assert wire.rtp[-1].sequence_number == old.sequence_number and wire.rtp[-1].payload == old.payload
    await sender.stop()


async def test_an_estimate_is_shared_by_the_videos_of_a_connection_and_repairs_come_out_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [SECOND_NS]
    monkeypatch.setattr(rtp_sender.time, "monotonic_ns", lambda: now[0])
    wire, tracks = Wire(), (VideoOut(), VideoOut())
    senders = [Sender(track, wire) for track in tracks]
    wire._rtp_router = SimpleNamespace(senders={s._ssrc: s for s in senders})  # type: ignore[attr-defined]
    rng = np.random.default_rng(0)
    for sender, track in zip(senders, tracks, strict=True):
        await sender.send(RTCRtpSendParameters(codecs=[VP8], muxId="0"))
        sent = len(wire.rtp)
        track.put(rng.integers(0, 256, (480, 640, 3), dtype=np.uint8), SECOND_NS)
        await until(lambda sent=sent: len(wire.rtp) > sent and wire.rtp[-1].marker)
        now[0] += SECOND_NS // 10
    streams = [s._ssrc for s in senders]

    async def told(estimate: int) -> list[int]:
        fci = pack_remb_fci(estimate, [*streams, 999])
        for sender in senders:
            await sender._handle_rtcp_packet(RtcpPsfbPacket(fmt=15, ssrc=1, media_ssrc=0, fci=fci))
        return [s.encoder.target_bitrate for s in senders]

    assert await told(4_000_000) == pytest.approx([2_000_000] * 2, rel=0.01)
    first = wire.rtp[0]
    for _ in range(40):
        await senders[0]._handle_rtcp_packet(
            RtcpRtpfbPacket(fmt=1, ssrc=1, media_ssrc=streams[0], lost=[first.sequence_number])
        )
    # 0.3 of the target, and half a second of that at once: what a full link would only lose again is not sent.
    assert senders[0].retransmitted * len(first.payload) * 8 == pytest.approx(0.3 * 1_000_000, rel=0.1)
    assert senders[0].retransmitted + senders[0].held_back == 40
    one, other = await told(5_600_000)
    assert other == pytest.approx(2_800_000, rel=0.01) and one == pytest.approx(2_800_000 - 300_000, rel=0.02)
    for sender in senders:
        await sender.stop()


async def test_feedback_that_is_no_estimate_does_not_keep_what_comes_beside_it_from_being_heard() -> None:
    sender = Sender("video", Wire())
    transport = Connection()._pc._RTCPeerConnection__createDtlsTransport()
    transport._rtp_router.register_sender(sender, ssrc=sender._ssrc)
    unknown = RtcpPsfbPacket(fmt=15, ssrc=1, media_ssrc=sender._ssrc, fci=b"LNTF\0\0\0\0")
    wanted = RtcpPsfbPacket(fmt=RTCP_PSFB_PLI, ssrc=1, media_ssrc=sender._ssrc)
    await transport._handle_rtcp_data(bytes(unknown) + bytes(wanted))
    assert sender._stock_force_keyframe
    await close_all()


@pytest.mark.parametrize("error", ["not a picture", 0], ids=["TypeError", "IndexError"])
async def test_pictures_that_cannot_be_encoded_are_left_out_and_the_track_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Any
) -> None:
    wire, track = Wire(), VideoOut()
    sender = Sender(track, wire)
    await sender.send(RTCRtpSendParameters(codecs=[VP8], muxId="0"))
    with monkeypatch.context() as broken:
        broken.setattr(Vp8Encoder, "encode", lambda *_: [][error])
        for i in range(2):
            track.put(np.zeros((48, 64, 3), np.uint8), (i + 1) * SECOND_NS)
            await until(lambda i=i: sender.errors == i + 1)
    track.put(np.zeros((48, 64, 3), np.uint8), 3 * SECOND_NS)
    await until(lambda: wire.rtp)
    assert sender.errors == 2 and track.readyState == "live"
    assert len([r for r in caplog.records if "left out" in r.getMessage()]) == 1
    await sender.stop()


async def test_a_picture_that_is_not_newer_is_not_sent() -> None:
    track = VideoOut()
    now = 100 * SECOND_NS
    picture = np.zeros((48, 64, 3), np.uint8)
    track.put(picture, now)
    assert (await track.recv()).capture_ns == now
    track.put(picture, now - SECOND_NS)
    waiting = asyncio.ensure_future(track.recv())
    await asyncio.sleep(0)
    track.put(picture, now + SECOND_NS)
    assert (await waiting).capture_ns == now + SECOND_NS
    track.stop()
    with pytest.raises(MediaStreamError):
        await track.recv()


def encoded(count: int, *, keyframes: frozenset[int] = frozenset()) -> list[list[bytes]]:
    """RTP payloads of `count` VP8 pictures, 320x240, several packets each."""
    encoder = Vp8Encoder()
    encoder.target_bitrate = 1_500_000
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (240, 320, 3), dtype=np.uint8)
    return [encoder.encode(np.roll(noise, 5 * i, 1), 3000 * i, i in keyframes) for i in range(count)]


def packets(pictures: list[list[bytes]]) -> list[list[RtpPacket]]:
    sequence, out = 100, []
    for i, payloads in enumerate(pictures):
        run = []
        for k, payload in enumerate(payloads):
            run.append(RtpPacket(97, int(k == len(payloads) - 1), sequence, 3000 * i, 1234, payload))
            sequence += 1
        out.append(run)
    return out


async def receiver(wire: Wire) -> tuple[Receiver, list[Decoded]]:
    made = Receiver("video", wire)
    made._track = RemoteStreamTrack(kind="video")
    made._set_rtcp_ssrc(1)
    await made.receive(RTCRtpReceiveParameters(codecs=[VP8, RTX]))
    out: list[Decoded] = []

    async def read() -> None:
        while True:
            out.append(await made._track._queue.get())  # type: ignore[union-attr, arg-type]

    made.reading = asyncio.ensure_future(read())  # type: ignore[attr-defined]
    return made, out


async def test_every_picture_of_a_clean_stream_is_decoded_with_its_own_timestamp() -> None:
    wire = Wire()
    made, out = await receiver(wire)
    for run in packets(encoded(8)):
        for p in run:
            await made._handle_rtp_packet(p, arrival_time_ms=0)
    await until(lambda: len(out) == 8)
    assert [d.rtp_timestamp for d in out] == [3000 * i for i in range(8)]
    assert wire.rtcp == []
    await made.stop()


async def test_a_flood_of_sources_leaves_a_report_that_can_be_sent_and_the_stream_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(aiortc.rtcrtpreceiver.random, "random", lambda: -0.49)
    wire = Wire()
    made, out = await receiver(wire)
    runs = packets(encoded(8))
    for i, run in enumerate(runs):
        for source in range(100):
            # An unknown payload type, as a packet has whose header was damaged on the way.
            await made._handle_rtp_packet(RtpPacket(111, 1, 7, 0, 5000 + 100 * i + source, b"x"), arrival_time_ms=0)
            await made._handle_rtp_packet(RtpPacket(98, 1, 7, 0, 5000 + 100 * i + source, b"x"), arrival_time_ms=0)
        for p in run:
            await made._handle_rtp_packet(p, arrival_time_ms=0)
    await until(lambda: len(out) == 8 and any(isinstance(p, RtcpRrPacket) for p in wire.rtcp))
    reported = next(p for p in wire.rtcp if isinstance(p, RtcpRrPacket))
    assert len(reported.reports) <= MAX_SOURCES
    assert 1234 in [r.ssrc for r in reported.reports] and made.packets[0] == sum(map(len, runs))
    await made.stop()


async def test_sender_reports_of_ever_new_sources_are_forgotten_again() -> None:
    made, _ = await receiver(Wire())
    for ssrc in (1234, *range(5000, 5100)):
        report = RtcpSrPacket(ssrc, RtcpSenderInfo(ntp_of(0), 0, 0, 0))
        await made._handle_rtcp_packet(report)
        await made._handle_rtp_packet(RtpPacket(97, 1, 7, 0, 1234, b"x"), arrival_time_ms=0)
    assert list(made._stock_lsr) == list(made._stock_lsr_time) == [1234, *range(5093, 5100)]
    await made.stop()


async def test_jitter_does_not_leap_where_timestamps_wrap() -> None:
    made, _ = await receiver(Wire())
    for i in range(4):
        packet = RtpPacket(97, 1, i, (2**32 - 6000 + 3000 * i) % 2**32, 1234, b"x")
        await made._handle_rtp_packet(packet, arrival_time_ms=0)
    assert made.packets == (4, 0) and 0 < made.jitter_ticks < 2**20
    await made.stop()


async def test_a_gap_is_asked_for_again_given_up_and_healed_by_a_keyframe(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [10 * SECOND_NS]
    monkeypatch.setattr(rtp_receiver.time, "monotonic_ns", lambda: now[0])
    wire = Wire()
    made, out = await receiver(wire)
    runs = packets(encoded(30, keyframes=frozenset({24})))
    lost = runs[3][1].sequence_number
    for run in runs:
        for p in run:
            if p.sequence_number != lost:
                await made._handle_rtp_packet(p, arrival_time_ms=0)
        now[0] += 33_000_000
    nacks = [p for p in wire.rtcp if isinstance(p, RtcpRtpfbPacket)]
    assert len(nacks) >= 3 and all(n.lost == [lost] for n in nacks)
    plis = [p for p in wire.rtcp if isinstance(p, RtcpPsfbPacket) and p.fmt == RTCP_PSFB_PLI]
    assert 1 <= len(plis) <= 3 and made.given_up == 1
    await until(lambda: out and out[-1].rtp_timestamp == 3000 * 29)
    # Nothing between the gap and the keyframe is shown, and everything else is.
    assert [d.rtp_timestamp // 3000 for d in out] == [0, 1, 2, *range(24, 30)]
    await made.stop()


async def test_a_packet_that_makes_no_sense_does_not_hold_up_what_follows() -> None:
    made, out = await receiver(Wire())
    runs = packets(encoded(8))
    for i, run in enumerate(runs):
        for p in run:
            p.sequence_number += int(i > 3)
    # Whose VP8 descriptor is cut off (RFC 7741 section 4.2).
    runs.insert(4, [RtpPacket(97, 0, runs[4][0].sequence_number - 1, 3000 * 4, 1234, b"\x80")])
    for run in runs:
        for p in run:
            await made._handle_rtp_packet(p, arrival_time_ms=0)
    await until(lambda: len(out) == 8)
    await made.stop()


async def test_a_picture_that_claims_more_pixels_than_are_decoded_is_refused_before_it_is_decoded() -> None:
    track = RemoteStreamTrack(kind="video")
    asked = asyncio.Event()
    queue = DecodeQueue("video", track, asked)
    pictures = [b"".join(p[4:] for p in payloads) for payloads in encoded(6, keyframes=frozenset({4}))]
    bomb = pictures[0][:6] + (16383).to_bytes(2, "little") * 2 + pictures[0][10:]
    for i, data in enumerate([pictures[0], bomb, *pictures[1:]]):
        queue.put((VP8, JitterFrame(data=data, timestamp=3000 * i)))
    queue.put(None)
    out = []
    while (item := await track._queue.get()) is not None:
        out.append((item.rtp_timestamp // 3000, item.frame.width))
    assert queue.errors >= 1 and asked.is_set()
    assert all(width == 320 for _, width in out) and out[0][0] == 0 and out[-1][0] == 6
    assert 1 not in [at for at, _ in out]


async def test_an_h264_picture_with_too_many_pixels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    h264 = RTCRtpCodecParameters(
        mimeType="video/H264", clockRate=90_000, payloadType=99, parameters={"packetization-mode": "1"}
    )
    codec = av.CodecContext.create("libx264", "w")
    codec.width, codec.height, codec.pix_fmt, codec.time_base = 320, 240, "yuv420p", Fraction(1, 30)
    codec.options = {"tune": "zerolatency"}
    picture = av.VideoFrame.from_ndarray(np.zeros((360, 320), np.uint8), "yuv420p")
    data = b"".join(bytes(p) for p in codec.encode(picture))
    for most, seen in ((320 * 240, 1), (320 * 240 - 1, 0)):
        monkeypatch.setattr(decoding, "MAX_PIXELS", most)
        track = RemoteStreamTrack(kind="video")
        queue = DecodeQueue("video", track, asyncio.Event())
        for i in range(3):
            queue.put((h264, JitterFrame(data=data, timestamp=3000 * i)))
        queue.put(None)
        count = 0
        while await track._queue.get() is not None:
            count += 1
        assert (count > 0) == bool(seen) and (queue.errors > 0) != bool(seen)


async def test_a_decoder_that_falls_behind_drops_to_the_next_keyframe_and_asks_for_one() -> None:
    track = RemoteStreamTrack(kind="video")
    asked = asyncio.Event()
    queue = DecodeQueue("video", track, asked)
    pictures = [b"".join(p[4:] for p in payloads) for payloads in encoded(60, keyframes=frozenset({50}))]
    for i, data in enumerate(pictures):
        queue.put((VP8, JitterFrame(data=data, timestamp=3000 * i)))
    assert asked.is_set() and queue.dropped >= 20 and not queue.awaits_keyframe
    queue.put(None)
    out = []
    while (item := await track._queue.get()) is not None:
        out.append(item.rtp_timestamp // 3000)
    assert out == list(range(50, 60))


async def test_a_sender_report_maps_rtp_to_the_senders_clock() -> None:
    made = Receiver("video", Wire())
    info = RtcpSenderInfo((5_000_000_000 << 32) | 1 << 31, 90_000, 1, 1)
    await made._handle_rtcp_packet(RtcpSrPacket(1, info))
    unix = (5_000_000_000 - 2_208_988_800) * SECOND_NS + SECOND_NS // 2
    assert made.sender_clock.to_unix_ns(180_000) == unix + SECOND_NS


@pytest.mark.parametrize("make", [Vp8Encoder, H264Encoder])
def test_an_encoder_follows_size_target_and_keyframe_requests(make: type[Vp8Encoder] | type[H264Encoder]) -> None:
    encoder = make()
    picture = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)

    def keyframe(picture: np.ndarray, number: int, *, force: bool = False) -> bool:
        assert sum(map(len, encoder.encode(picture, 3000 * number, force))) > 0
        assert encoder.last is not None
        return encoder.last.keyframe

    assert [keyframe(picture, i) for i in range(3)] == [True, False, False]
    assert keyframe(picture, 3, force=True)
    assert keyframe(picture[:120, :160].copy(), 4)
    encoder.target_bitrate = 1
    assert encoder.target_bitrate > 10_000
    encoder.target_bitrate = 10**9
    assert encoder.target_bitrate < 10**8


@pytest.mark.parametrize("make", [Vp8Encoder, H264Encoder])
def test_odd_sides_can_be_encoded(make: type[Vp8Encoder] | type[H264Encoder]) -> None:
    assert make().encode(np.zeros((121, 161, 3), np.uint8), 0, False)


def test_keyframes_are_told_apart() -> None:
    pictures = [b"".join(p[4:] for p in payloads) for payloads in encoded(4, keyframes=frozenset({2}))]
    assert [is_keyframe("VP8", data) for data in pictures] == [True, False, True, False]
    assert is_keyframe("H264", b"\0\0\0\1\x67abc\0\0\1\x68x") and is_keyframe("H264", b"\0\0\1\x65abc")
    assert not is_keyframe("H264", b"\0\0\1\x41abc") and not is_keyframe("H264", b"") and not is_keyframe("VP8", b"")


def test_x264_sends_more_when_its_target_rises_and_less_when_it_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(codecs.time, "monotonic", lambda: now[0])
    encoder, rng, at = H264Encoder(max_bitrate=20_000_000), np.random.default_rng(0), 0

    def second() -> float:
        """Noise, which takes all that it may; Mb."""
        nonlocal at
        sent = 0
        for _ in range(30):
            at, now[0] = at + 3000, now[0] + 1 / 30
            picture = rng.integers(0, 256, (240, 320, 3), dtype=np.uint8)
            sent += sum(map(len, encoder.encode(picture, at, False)))
        return sent * 8 / 1e6

    rates = {}
    for target in (2.0, 6.0, 1.0):
        encoder.target_bitrate = round(target * 1e6)
        rates[target] = [second() for _ in range(6)][-1]
    for target, rate in rates.items():
        assert 0.8 * target < rate < 1.2 * target


@given(st.integers(100_000, 10_000_000), st.integers(10_000, 20_000_000), st.floats(0, 12_000_000))
def test_an_estimate_counts_when_it_is_about_the_network(target: int, estimate: int, sent: float) -> None:
    new = next_target(target, estimate, sent)
    assert new in (target, estimate)
    if estimate >= target or estimate <= 0.8 * sent or sent >= target:
        assert new == estimate


def test_a_still_picture_does_not_starve_the_next_movement() -> None:
    assert next_target(2_000_000, 300_000, 200_000) == 2_000_000
    assert next_target(2_000_000, 900_000, 1_900_000) == 900_000
    assert next_target(2_000_000, 900_000, 1_050_000) == 900_000
    assert next_target(2_000_000, 17_000, 20_000) == 2_000_000
    assert next_target(2_000_000, 300_000, 900_000) == 300_000


def test_the_sent_rate_forgets_after_a_second() -> None:
    rate = SentRate()
    for i in range(100):
        rate.add(1000, i * SECOND_NS // 50)
    assert rate.bits_per_second(99 * SECOND_NS // 50) == 50 * 8000
    assert rate.bits_per_second(10 * SECOND_NS) == 0


def extensions_map() -> ExtensionsMap:
    made = ExtensionsMap()
    uris = ["urn:ietf:params:rtp-hdrext:sdes:mid", PLAYOUT_DELAY, COLOUR_SPACE]
    offered = [RTCRtpHeaderExtensionParameters(id=i + 3, uri=uri) for i, uri in enumerate(uris)]
    made.configure(RTCRtpParameters(headerExtensions=offered))
    assert [e.uri for e in agreed_extras(offered)] == uris[1:]
    return made


def test_the_playout_delay_is_zero_on_every_packet_and_the_colour_space_is_read() -> None:
    made = extensions_map()
    packet = RtpPacket(97, 1, 1, 2, 3, b"x")
    packet.extensions.mid = "0"
    data = packet.serialize(made)
    assert bytes([4 << 4 | 2, 0, 0, 0]) in data
    assert RtpPacket.parse(data, made).extensions.mid == "0"
    header = struct.pack("!BBHLLHH", 0x90, 97, 1, 2, 3, 0xBEDE, 2) + bytes([5 << 4 | 3, 1, 13, 1, 2 << 4, 0, 0, 0])
    parsed: Any = RtpPacket.parse(header + b"x", made).extensions
    assert parsed.colour_space == ColourSpace(matrix=1, full=True)
    assert not hasattr(RtpPacket.parse(RtpPacket(97, payload=b"x").serialize(), made).extensions, "colour_space")


def test_the_audio_level_is_in_dbov() -> None:
    assert audio_level(np.zeros(960, np.float32)) == -127
    assert audio_level(np.ones(960, np.float32)) == 0
    assert audio_level(np.full(960, 0.1, np.float32)) == -20


async def test_consent_is_asked_for_no_longer_than_the_connection_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    # As when it was closed just as it had connected: the checks begin after their end.
    ice = SimpleNamespace(_closed=False, _nominated={})
    waits = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        ice._closed = len(waits) == 3

    monkeypatch.setattr(peerconnection.asyncio, "sleep", sleep)
    await peerconnection.query_consent(ice, lambda: 0.0, lambda: pytest.fail("nobody was lost"))
    assert len(waits) == 3 and max(waits) < 0.5


async def test_an_estimate_is_made_on_a_clock_that_does_not_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtp_receiver.time, "monotonic_ns", lambda: 77 * SECOND_NS)
    made, arrivals = Receiver("video", Wire()), []
    monkeypatch.setattr(made._estimator, "add", lambda **packet: arrivals.append(packet["arrival_time_ms"]))
    packet = RtpPacket(97, 1, 7, 0, 1234, b"x")
    packet.extensions.abs_send_time = 5
    await made._handle_rtp_packet(packet, arrival_time_ms=1_700_000_000_000)
    assert arrivals == [77_000]


async def test_sound_that_claims_a_colour_is_heard_all_the_same() -> None:
    opus = RTCRtpCodecParameters(mimeType="audio/opus", clockRate=48_000, channels=2, payloadType=96)
    track = RemoteStreamTrack(kind="audio")
    queue = DecodeQueue("audio", track, asyncio.Event())
    queue.colour_space = ColourSpace(matrix=1, full=True)
    for i in range(2):
        payload = OpusEncoder().encode(np.zeros(960, np.float32), 960 * i)[0]
        queue.put((opus, JitterFrame(data=payload, timestamp=960 * i)))
    queue.put(None)
    assert [(await track._queue.get()).rtp_timestamp for _ in range(2)] == [0, 960]
    assert await track._queue.get() is None


async def test_keyframes_go_on_being_counted_when_an_encoder_was_given_up() -> None:
    sender, track = Sender("video", Wire()), VideoOut()
    sender._carried = track
    for i in range(2):
        sender._stock_encoder = None
        await sender._encode(VP8, [Picture(np.zeros((48, 64, 3), np.uint8), i * SECOND_NS)])
    sender._stock_encoder = None
    assert sent_statistics(sender).keyframes == 2


async def test_what_is_sent_to_a_connection_that_nobody_reads_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peerconnection, "MAX_UNREAD", 3)
    connection = Connection()
    await connection.offer([VideoOut()], None)
    (ice,) = connection._pc.ice_transports
    for protocol in ice._connection._protocols:
        for _ in range(10):
            protocol.datagram_received(b"\xff" * 1200, ("127.0.0.1", 9))
    assert ice._connection._queue.qsize() == 3
    await connection.close()


def test_sources_that_nobody_announced_are_forgotten_again() -> None:
    router, heard = peerconnection.MidRouter(), object()
    router.register_receiver(heard, ssrcs=[1], payload_types=[97], mid="0")
    for ssrc in range(1000, 3000):
        packet = RtpPacket(97, 1, 7, 0, ssrc, b"x")
        packet.extensions.mid = "0" if ssrc % 2 else None
        assert router.route_rtp(packet) is heard
    assert len(router.ssrc_table) == 1 + peerconnection.MAX_LEARNED and router.ssrc_table[1] is heard
