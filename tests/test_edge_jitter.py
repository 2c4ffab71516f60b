"""Jitter buffers on lists of packets: release on the marker, padding, reordering, loss, markers that lie."""

from __future__ import annotations

import random

import pytest
from aiortc.rtp import RtpPacket
from hypothesis import given, settings
from hypothesis import strategies as st

from streamsvc.edge.codecs import starts_picture
from streamsvc.edge.jitter import AudioJitterBuffer, VideoJitterBuffer


def packet(sequence: int, timestamp: int, data: bytes, *, marker: bool = False) -> RtpPacket:
    made = RtpPacket(97, int(marker), sequence % 65536, timestamp % 2**32, payload=data)
    made._data = data  # type: ignore[attr-defined]  # the payload without the codec's descriptor
    return made


def frames(sizes: list[int], *, first: int = 10, padding_after: frozenset[int] = frozenset()) -> list[RtpPacket]:
    """Frame i has sizes[i] packets, the last with the marker; padding-only packets follow frames in `padding_after`."""
    out, sequence = [], first
    for i, size in enumerate(sizes):
        for k in range(size):
            out.append(packet(sequence, 3000 * i, b"%d.%d;" % (i, k), marker=k == size - 1))
            sequence += 1
        if i in padding_after:
            for _ in range(2):
                out.append(packet(sequence, 3000 * i, b""))
                sequence += 1
    return out


def video_buffer(capacity: int = 2048) -> VideoJitterBuffer:
    """One for which what begins with K begins a keyframe."""
    return VideoJitterBuffer(lambda p: p._data.startswith(b"K"), capacity)  # type: ignore[attr-defined]


def whole(index: int, size: int) -> bytes:
    return b"".join(b"%d.%d;" % (index, k) for k in range(size))


def feed(buffer: VideoJitterBuffer | AudioJitterBuffer, packets: list[RtpPacket]) -> list[list[bytes]]:
    """Return what is released with each packet."""
    out = []
    for p in packets:
        _, frame = buffer.add(p)
        released = [] if frame is None else [frame.data]
        out.append(released + [f.data for f in buffer.drain()])
    return out


def test_a_frame_leaves_with_its_last_packet() -> None:
    released = feed(video_buffer(), frames([3, 1, 2]))
    assert released == [[], [], [whole(0, 3)], [whole(1, 1)], [], [whole(2, 2)]]


def test_padding_gives_no_empty_frame_and_delays_nothing() -> None:
    released = feed(video_buffer(), frames([2, 1, 3], padding_after=frozenset({0, 1})))
    assert [f for r in released for f in r] == [whole(0, 2), whole(1, 1), whole(2, 3)]
    assert released[1] == [whole(0, 2)] and released[4] == [whole(1, 1)] and released[-1] == [whole(2, 3)]


def test_padding_before_anything_else_is_dropped() -> None:
    packets = [packet(5, 0, b""), packet(6, 0, b""), packet(7, 3000, b"x", marker=True)]
    assert [f for r in feed(video_buffer(), packets) for f in r] == [b"x"]


def test_a_late_packet_releases_all_that_waited_for_it() -> None:
    packets = frames([2, 1, 1])
    released = feed(video_buffer(), [packets[0], packets[2], packets[3], packets[1]])
    assert released == [[], [], [], [whole(0, 2), whole(1, 1), whole(2, 1)]]


def test_loss_holds_back_until_a_keyframe_is_whole_behind_it() -> None:
    packets = frames([2, 2, 2])
    key = [packet(16, 9000, b"K0;"), packet(17, 9000, b"k1;"), packet(18, 9000, b"k2;", marker=True)]
    after = packet(19, 12000, b"after", marker=True)
    buffer = video_buffer()
    assert buffer.skip_to_keyframe() is None
    assert feed(buffer, [packets[0], packets[1], packets[2], packets[4], packets[5]])[-1] == []
    assert buffer.skip_to_keyframe() is None
    assert feed(buffer, [key[0], key[2], after]) == [[], [], []]
    assert buffer.skip_to_keyframe() is None
    assert feed(buffer, [key[1]]) == [[]]
    assert buffer.skip_to_keyframe() == 16
    assert [f.data for f in buffer.drain()] == [b"K0;k1;k2;", b"after"]
    assert feed(buffer, [packets[3]]) == [[]]
    assert buffer.skip_to_keyframe() is None


def test_what_is_sent_again_much_later_changes_nothing() -> None:
    packets = frames([1] * 1500)
    buffer = video_buffer()
    feed(buffer, packets)
    assert buffer.add(packets[0]) == (False, None) and not buffer.overran
    assert feed(buffer, [packet(1510, 4500000, b"x", marker=True)]) == [[b"x"]]


def test_more_than_fits_behind_a_gap_is_given_up_and_told() -> None:
    packets = frames([1] * 100)
    buffer = video_buffer(64)
    feed(buffer, [packets[0], *packets[2:65]])
    assert not buffer.overran
    request, frame = buffer.add(packets[65])
    assert request and frame is None and buffer.overran
    buffer.overran = False
    assert [f.data for f in buffer.drain()] == [whole(65, 1)]
    assert feed(buffer, [packets[66]]) == [[whole(66, 1)]]


def test_going_on_at_a_packet_forgets_what_was_before() -> None:
    packets = frames([2, 2, 2])
    buffer = video_buffer()
    feed(buffer, [packets[0], packets[3], packets[4]])
    buffer.go_on_at(packets[4].sequence_number)
    assert feed(buffer, [packets[1], packets[2], packets[5]]) == [[], [], [whole(2, 2)]]


def test_a_sender_without_markers_is_served_by_the_stock_rule() -> None:
    packets = [packet(i, 3000 * (i // 2), b"%d" % i) for i in range(6)]
    assert [f for r in feed(video_buffer(), packets) for f in r] == [b"01", b"23"]


def test_a_marker_that_lies_is_believed_once_only() -> None:
    buffer = video_buffer()
    packets = [packet(i, 3000 * (i // 2), b"%d" % i, marker=True) for i in range(8)]
    out = [f for r in feed(buffer, packets) for f in r]
    assert out[:2] == [b"0", b"1"] and out[2:] == [b"23", b"45"]


def test_pictures_that_repeat_a_timestamp_are_told_apart_by_where_they_begin() -> None:
    buffer = VideoJitterBuffer(lambda p: False, starts_picture=lambda p: starts_picture("VP8", p.payload))
    packets = []
    for sequence, (descriptor, data, marker) in enumerate(
        [(0x90, b"a", False), (0x80, b"b", True), (0x90, b"c", True), (0xB0, b"d", False), (0x80, b"e", True)]
    ):
        packets.append(packet(sequence, 3000, data, marker=marker))
        packets[-1].payload = bytes([descriptor, 0x80, 1]) + data
    assert [f for r in feed(buffer, packets) for f in r] == [b"ab", b"c", b"de"]
    lying = packet(5, 3000, b"f", marker=True)
    lying.payload = b"\x80\x80\x01f"
    whole = [packet(6, 6000, b"g", marker=True), packet(7, 9000, b"h")]
    assert feed(buffer, [lying, *whole]) == [[b"f"], [], [b"g"]], "markers are believed no more"
    # Partition 1 of a picture is no beginning, and other codecs don't say.
    assert not starts_picture("VP8", b"\x11") and not starts_picture("VP8", b"") and not starts_picture("H264", b"\x10")


def test_duplicates_and_old_packets_change_nothing() -> None:
    packets = frames([2, 2])
    doubled = [p for p in packets for _ in range(2)]
    assert [f for r in feed(video_buffer(), doubled) for f in r] == [whole(0, 2), whole(1, 2)]


def test_a_restarted_sequence_asks_for_a_keyframe() -> None:
    buffer = video_buffer()
    feed(buffer, frames([1, 1], first=30000))
    request, frame = buffer.add(packet(100, 9000, b"n", marker=True))
    assert request and frame is None and buffer.overran
    assert [f.data for f in buffer.drain()] == [b"n"]


@settings(max_examples=200)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=25), st.integers(0, 2**32), st.integers(0, 65535))
def test_reordered_and_padded_frames_come_out_whole_and_in_order(sizes: list[int], seed: int, first: int) -> None:
    rng = random.Random(seed)
    padding = frozenset(i for i in range(len(sizes)) if rng.random() < 0.3)
    packets = frames(sizes, first=first, padding_after=padding)
    # The first packet sets the origin, so it stays first; the others move by a few places.
    order = [0, *sorted(range(1, len(packets)), key=lambda i: i + rng.uniform(0, 5))]
    out = [f for r in feed(video_buffer(), [packets[i] for i in order]) for f in r]
    assert out == [whole(i, n) for i, n in enumerate(sizes)]


@settings(max_examples=200)
@given(st.integers(0, 2**32), st.floats(0, 0.3))
def test_under_loss_every_frame_that_comes_out_is_one_that_went_in(seed: int, loss: float) -> None:
    rng = random.Random(seed)
    sizes = [rng.randrange(1, 5) for _ in range(40)]
    packets = frames(sizes)
    kept = [packets[0], *(p for p in packets[1:] if rng.random() >= loss)]
    buffer = video_buffer()
    out = []
    for p in kept:
        out += feed(buffer, [p])[0]
        if rng.random() < 0.2:
            buffer.go_on_at(p.sequence_number)
            out += [f.data for f in buffer.drain()]
    indices = [int(d.split(b".")[0]) for d in out]
    assert indices == sorted(indices)
    for data, index in zip(out, indices, strict=True):
        assert set(data.split(b";")[:-1]) <= {b"%d.%d" % (index, k) for k in range(sizes[index])}


@pytest.mark.parametrize("first", [0, 65530])
def test_sound_leaves_at_once_in_order(first: int) -> None:
    packets = [packet(first + i, 960 * i, b"%d" % i) for i in range(12)]
    assert feed(AudioJitterBuffer(), packets) == [[b"%d" % i] for i in range(12)]


def test_sound_waits_behind_two_packets_at_most() -> None:
    packets = [packet(i, 960 * i, b"%d" % i) for i in range(6)]
    assert feed(AudioJitterBuffer(), [packets[0], packets[2], packets[3], packets[4]]) == [
        [b"0"],
        [],
        [],
        [b"2", b"3", b"4"],
    ]


def test_reordered_sound_is_put_right_and_what_is_too_late_is_dropped() -> None:
    packets = [packet(i, 960 * i, b"%d" % i) for i in range(7)]
    order = [0, 2, 1, 4, 5, 6, 3]
    assert [f for r in feed(AudioJitterBuffer(), [packets[i] for i in order]) for f in r] == [
        b"0",
        b"1",
        b"2",
        b"4",
        b"5",
        b"6",
    ]


def test_sound_that_restarts_its_sequence_goes_on() -> None:
    buffer = AudioJitterBuffer()
    feed(buffer, [packet(30000 + i, 0, b"a") for i in range(3)])
    assert feed(buffer, [packet(50 + i, 0, b"b") for i in range(2)]) == [[b"b"], [b"b"]]
