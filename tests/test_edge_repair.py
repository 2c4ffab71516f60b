"""What is missing, when it is asked for, and when a keyframe is asked for instead."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtp import RtcpPacket, RtcpRtpfbPacket, RtpPacket
from hypothesis import given, settings
from hypothesis import strategies as st

from streamsvc.edge.repair import (
    AGAIN,
    FIRST_ANSWER_NS,
    KEYFRAME_AFTER_NS,
    LEAST_NS,
    MAX_MISORDER,
    MAX_MISSING,
    MS,
    OVERDUE,
    STRAY_NS,
    Repair,
)
from streamsvc.edge.rtp_receiver import Receiver
from streamsvc.edge.rtp_sender import Sender


def with_gap(first: int = 100, lost: int = 1, now_ns: int = 0) -> Repair:
    repair = Repair()
    repair.received(first, now_ns)
    repair.received((first + lost + 1) & 0xFFFF, now_ns)
    return repair


def test_what_is_missing_is_asked_for_at_once_and_once_while_the_answer_is_due() -> None:
    repair = with_gap(lost=3)
    assert repair.next_ns() == 0 and repair.due(0) == [101, 102, 103]
    overdue = round(FIRST_ANSWER_NS * OVERDUE)
    assert repair.due(overdue - 1) == [] and repair.next_ns() == overdue
    repair.received(102, 5 * MS)
    assert repair.due(overdue) == [101, 103]
    again = overdue + max(LEAST_NS, round(repair.answer_ns * AGAIN))
    assert repair.next_ns() == again and repair.due(again) == [101, 103]
    for sequence in (101, 103):
        repair.received(sequence, again)
    assert repair.next_ns() is None and not repair.wants_keyframe(10**12)


def test_an_answer_is_overdue_by_what_answers_take() -> None:
    repair = with_gap()
    repair.due(0)
    repair.received(101, 60 * MS)
    assert repair.answer_ns == 60 * MS
    repair.received(104, 100 * MS)
    assert repair.due(100 * MS) == [103]
    assert repair.next_ns() == 100 * MS + round(60 * MS * OVERDUE)
    # What was asked for twice doesn't say which question it answers.
    repair.due(200 * MS)
    repair.received(103, 210 * MS)
    assert repair.answer_ns == 60 * MS


def test_a_keyframe_is_wanted_when_the_oldest_gap_is_old() -> None:
    repair = with_gap()
    repair.received(105, KEYFRAME_AFTER_NS - 1)
    assert not repair.wants_keyframe(KEYFRAME_AFTER_NS - 1) and repair.wants_keyframe(KEYFRAME_AFTER_NS)
    repair.received(101, KEYFRAME_AFTER_NS)
    assert not repair.wants_keyframe(KEYFRAME_AFTER_NS)
    repair.forget_before(105)
    assert repair.next_ns() is None


def test_an_outage_is_no_gap() -> None:
    repair = with_gap(lost=MAX_MISSING)
    assert len(repair.missing) == MAX_MISSING and not repair.overrun
    repair.received(100 + MAX_MISSING + 3, 0)
    assert repair.overrun and not repair.missing


def test_a_sequence_that_starts_again_is_followed() -> None:
    repair = Repair()
    repair.received(30_000, 0)
    repair.received(30_000 - MAX_MISORDER + 1, 0)
    assert not repair.overrun and repair.highest == 30_000
    repair.received(100, 0)
    repair.received(102, 0)
    assert repair.overrun and list(repair.missing) == [101]


@settings(max_examples=200)
@given(st.integers(0, 65535), st.integers(0, 2**32), st.floats(0, 0.5))
def test_exactly_what_did_not_come_is_missing(first: int, seed: int, loss: float) -> None:
    rng = random.Random(seed)
    repair = Repair()
    kept = [0, *(i for i in range(1, 300) if rng.random() >= loss)]
    for i in sorted(kept[1:], key=lambda i: i + rng.uniform(0, 8)):
        if repair.highest is None:
            repair.received(first, 0)
        repair.received((first + i) & 0xFFFF, 0)
    expected = {(first + i) & 0xFFFF for i in range(max(kept)) if i not in kept}
    assert set(repair.missing) == expected and set(repair.due(0)) == expected


def test_one_packet_far_ahead_is_not_believed_for_longer_than_a_second() -> None:
    repair = Repair()
    for sequence in range(100, 111):
        repair.received(sequence, 0)
    repair.received(110 + MAX_MISSING + 2, 0)
    assert repair.overrun
    repair.overrun = False
    followed = [n for n in range(60) if repair.received(111 + n, n * 33 * MS) or repair.overrun]
    assert followed[0] * 33 * MS >= STRAY_NS > (followed[0] - 1) * 33 * MS
    assert repair.highest == 111 + 59 and not repair.missing


def test_what_is_sent_twice_in_a_stall_starts_nothing_again() -> None:
    repair = Repair()
    for sequence in range(100, 300):
        repair.received(sequence, 0)
    for sequence in range(150, 300):
        repair.received(sequence, 500 * MS + sequence * MS)
    assert not repair.overrun and repair.highest == 299


async def test_what_is_lost_across_the_wrap_is_asked_for() -> None:
    sent: list[bytes] = []

    async def send(data: bytes) -> None:
        sent.append(data)

    receiver: Any = Receiver("video", SimpleNamespace(state="new", _stats_id="x", _send_rtp=send))
    receiver._set_rtcp_ssrc(5)
    receiver._stock_codecs[96] = RTCRtpCodecParameters("video/VP8", 90000, payloadType=96)
    receiver._stock_decoder_thread = SimpleNamespace()
    for sequence in (65530, 65531, 65532, 3, 4):
        packet = RtpPacket(96, 1, sequence, sequence * 10, 7, b"\x10\x01" + bytes(20))
        await receiver._handle_rtp_packet(packet, 0)
    await receiver._send_rtcp_nack(7, [65533, 65534, 65535, 0, 1, 2])
    asked = {
        n & 0xFFFF for data in sent for p in RtcpPacket.parse(data) if isinstance(p, RtcpRtpfbPacket) for n in p.lost
    }
    assert asked == {65533, 65534, 65535, 0, 1, 2}
    if receiver._timer is not None:
        receiver._timer.cancel()


async def test_sound_is_not_sent_again_however_often_it_is_asked_for() -> None:
    sent: list[bytes] = []

    async def send(data: bytes) -> None:
        sent.append(data)

    sender: Any = Sender("audio", SimpleNamespace(state="new", _stats_id="x", _send_rtp=send))
    sender._history[7] = RtpPacket(96, 0, 7, 0, sender._ssrc, b"voice")
    nack = RtcpRtpfbPacket(fmt=1, ssrc=1, media_ssrc=sender._ssrc, lost=[7] * 1000)
    await sender._handle_rtcp_packet(nack)
    assert sent == [] and sender.retransmitted == 0
