"""Rate control and repair over links of rules, in virtual time: the parts of sender and receiver, without sockets."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from itertools import count, pairwise

import pytest
from aiortc.rtp import RtpPacket
from hypothesis import given, settings
from hypothesis import strategies as st

from streamsvc.edge.estimate import Estimator, Loss, QueueDelay, RateControl, Throughput
from streamsvc.edge.jitter import VideoJitterBuffer
from streamsvc.edge.rate import AGAIN_BURST_NS, AGAIN_SHARE, BURST_NS, PACE, Pacer, SentRate, next_target
from streamsvc.edge.repair import Repair
from streamsvc.ledger.figures import percentile
from streamsvc.shaper import Link, Network, parse_network
from streamsvc.shaper.link import MS, SECOND_NS, Kind

FPS, PACKET = 30, 1150
LEAST, MOST = 200_000, 6_000_000


class Call:
    """One video that would like `wanted` bits per second, through a network both ways; what was shown is `shown`:
    (captured, shown) in ns. Every 1.7 s the receiver is busy for `stalls_ms`; the sizes of pictures vary by a share of
    about `uneven`."""

    def __init__(
        self,
        network: Network,
        wanted: int,
        seed: int = 1,
        *,
        stalls_ms: int = 0,
        start: int = 2_000_000,
        uneven: float = 0.0,
    ) -> None:
        self.shown: list[tuple[int, int]] = []
        self.sent_bits: dict[int, int] = {}
        self.target = start
        self._stalls_ns = stalls_ms * MS
        self._uneven, self._random = uneven, random.Random(seed)
        self._network, self._wanted = network, wanted
        self._down, self._up = Link(network.at(0), seed), Link(network.at(0), seed + 1)
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()
        self.now = 0
        self._sequence = 0
        self._history: dict[int, RtpPacket] = {}
        self._pacer, self._again = Pacer(), Pacer(AGAIN_BURST_NS)
        self._rate, self._again_rate = SentRate(), SentRate()
        self._keyframe = True
        self._busy_until = 0
        self._repair, self._estimator = Repair(), Estimator()
        self._jitter = VideoJitterBuffer(lambda p: p._data.startswith(b"K"))  # type: ignore[attr-defined]
        self._asked_keyframe = -SECOND_NS
        self._broken = False

    def run(self, seconds: float) -> Call:
        for i in range(int(seconds * FPS)):
            self._at(i * SECOND_NS // FPS, lambda at=i * SECOND_NS // FPS: self._frame(at))  # type: ignore[misc]
        for i in range(int(seconds * 50)):
            self._at(i * 20 * MS, self._mend)
        while self._events:
            self.now, _, event = heapq.heappop(self._events)
            event()
        return self

    def _at(self, instant: int, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (max(instant, self.now), next(self._order), event))

    # The sender.

    def _frame(self, captured: int) -> None:
        if self.now < self._busy_until:
            return  # the picture before is still being sent, and the next one will replace this one
        key, self._keyframe = self._keyframe, False
        share = (6 if key else 1) * self._random.lognormvariate(0, self._uneven)
        size = max(300, int(min(self.target, self._wanted) / 8 / FPS * share))
        sizes = [PACKET] * (size // PACKET) + [size % PACKET or 1]
        at = self.now
        for i, length in enumerate(sizes):
            at += self._pacer.wait_ns(at)
            self._pacer.sent(length, at, PACE * self.target)
            data = (b"K" if key and i == 0 else b"x") * length
            packet = RtpPacket(97, int(i == len(sizes) - 1), self._sequence, captured % 2**32, payload=data)
            packet._data = data  # type: ignore[attr-defined]
            packet.captured = captured  # type: ignore[attr-defined]
            self._sequence = (self._sequence + 1) & 0xFFFF
            self._at(at, lambda p=packet: self._send(p, Kind.MEDIA))  # type: ignore[misc]
        self._busy_until = at

    def _send(self, packet: RtpPacket, kind: Kind) -> None:
        self._history[packet.sequence_number] = packet
        (self._rate if kind is Kind.MEDIA else self._again_rate).add(len(packet.payload), self.now)
        second = self.now // SECOND_NS
        self.sent_bits[second] = self.sent_bits.get(second, 0) + 8 * len(packet.payload)
        self._down.rules = self._network.at(self.now / SECOND_NS)
        sent = self.now
        for at in self._down.put(self.now, len(packet.payload) + 40, kind):
            self._at(self._awake(at), lambda: self._arrive(packet, sent))

    def _awake(self, instant: int) -> int:
        """Return when a receiver that is held up every 1.7 s looks at what came."""
        into = instant % (1700 * MS)
        return instant - into + self._stalls_ns if into < self._stalls_ns else instant

    def _on_nack(self, lost: list[int]) -> None:
        for sequence in lost:
            packet = self._history.get(sequence)
            if packet is not None and self._again.wait_ns(self.now) == 0:
                self._again.sent(len(packet.payload), self.now, AGAIN_SHARE * self.target)
                self._send(packet, Kind.RETRANSMISSION)

    def _on_estimate(self, estimate: int) -> None:
        again = self._again_rate.bits_per_second(self.now)
        sent = self._rate.bits_per_second(self.now)
        self.target = min(MOST, max(LEAST, next_target(self.target, estimate - round(again), sent)))

    def _on_keyframe_request(self) -> None:
        self._keyframe = True

    # The receiver.

    def _back(self, event: Callable[[], None]) -> None:
        self._up.rules = self._network.at(self.now / SECOND_NS)
        for at in self._up.put(self.now, 80):
            self._at(at, event)

    def _arrive(self, packet: RtpPacket, sent: int) -> None:
        stamp = (sent << 18) // SECOND_NS & 0xFFFFFF
        told = self._estimator.add(stamp, self.now // MS, len(packet.payload), 1234)
        if told is not None:
            self._back(lambda: self._on_estimate(told[0]))
        missed = self._repair.missed
        self._repair.received(packet.sequence_number, self.now)
        if self._repair.missed > missed:
            self._estimator.lost(self._repair.missed - missed, self.now // MS)
        _, frame = self._jitter.add(packet)
        self._show(frame)
        self._mend()

    def _show(self, frame: object) -> None:
        for f in ([frame] if frame is not None else []) + list(self._jitter.drain()):  # type: ignore[operator]
            self._broken = self._broken and not f.data.startswith(b"K")
            if not self._broken:
                captured = f.timestamp + (self.now // 2**32) * 2**32
                captured -= 2**32 if captured > self.now else 0
                self.shown.append((captured, self.now))

    def _mend(self) -> None:
        if self._jitter.overran or self._repair.overrun:
            self._jitter.overran = self._repair.overrun = False
            self._repair.missing.clear()
            if self._repair.highest is not None:
                self._jitter.go_on_at(self._repair.highest)
            self._broken = True
        wanted = self._repair.wants_keyframe(self.now) or self._broken
        if wanted and (start := self._jitter.skip_to_keyframe()) is not None:
            self._repair.forget_before(start)
            wanted = False
        self._show(None)
        if lost := self._repair.due(self.now):
            self._back(lambda: self._on_nack(lost))
        if wanted and self.now - self._asked_keyframe >= max(250 * MS, 2 * self._repair.answer_ns):
            self._asked_keyframe = self.now
            self._back(self._on_keyframe_request)

    # What came of it.

    def late_ms(self, start: float, end: float, q: float = 95) -> float | None:
        """Latency of what was captured in a time, seconds."""
        return percentile([(at - c) / MS for c, at in self.shown if start <= c / SECOND_NS < end], q)

    def gaps_ms(self, start: float, end: float) -> list[float]:
        at = sorted(t for _, t in self.shown if start <= t / SECOND_NS < end)
        return [(b - a) / MS for a, b in pairwise(at)]

    def bits(self, start: int, end: int) -> float:
        return sum(self.sent_bits.get(s, 0) for s in range(start, end)) / (end - start)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_link_that_narrows_in_mid_call_is_followed_down_and_up(seed: int) -> None:
    network = parse_network("delay=10,rate=20000,queue=200/@15:rate=3000/@35:rate=20000")
    call = Call(network, 5_000_000, seed).run(55)
    assert call.bits(8, 15) > 4_500_000
    for second in range(20, 35):
        late = call.late_ms(second, second + 1)
        assert late is not None and late < 250, second
    for second in range(1, 54):
        assert call.late_ms(second, second + 1) is not None, second
    assert call.bits(25, 35) > 0.7 * 3_000_000
    assert call.bits(45, 50) > 0.8 * 5_000_000


@pytest.mark.parametrize("stalls_ms", [0, 40, 100])
@pytest.mark.parametrize("seed", [1, 2])
def test_who_feels_for_a_narrow_link_does_not_step_over_its_edge(seed: int, stalls_ms: int) -> None:
    network = parse_network("delay=10,rate=20000,queue=200/@15:rate=3000/@35:rate=20000")
    call = Call(network, 5_000_000, seed, stalls_ms=stalls_ms, start=5_000_000, uneven=0.2).run(50)
    assert [s for s in range(17, 35) if (call.late_ms(s, s + 1) or 1e9) > 250] == []
    # It is found at once how much the link carries, and not doubted again and again.
    assert call.bits(17, 20) > 0.65 * 3_000_000 and call.bits(20, 35) > 0.85 * 3_000_000
    assert any(call.bits(s, s + 1) > 0.8 * 5_000_000 for s in range(35, 44))


def test_a_queue_too_short_to_be_seen_by_its_delay_is_told_by_what_is_lost_as_it_builds() -> None:
    call = Call(parse_network("rate=3000,queue=60"), 8_000_000, uneven=0.2, start=1_000_000).run(40)
    assert call.bits(15, 39) > 0.8 * 3_000_000
    assert len(call.shown) > 0.9 * 40 * FPS


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_one_packet_in_twenty_lost_at_a_hundred_ms_freezes_nothing_for_long(seed: int) -> None:
    call = Call(parse_network("lossy"), 2_000_000, seed).run(60)
    gaps = call.gaps_ms(2, 59)
    assert max(gaps) < 800 and (percentile(gaps, 99) or 0) < 400
    early, late = call.late_ms(5, 20, 50), call.late_ms(40, 59, 50)
    assert early is not None and late is not None and late < early + 20
    assert call.bits(30, 59) > 1_500_000


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_call_that_began_small_grows_on_a_link_that_loses_and_a_machine_that_is_busy(seed: int) -> None:
    call = Call(parse_network("lossy"), 2_000_000, seed, stalls_ms=100, start=250_000).run(60)
    assert call.bits(30, 59) > 1_200_000


@pytest.mark.parametrize("seed", [1, 2])
def test_a_packet_whose_repair_is_lost_too_holds_the_picture_up_for_less_than_300_ms(seed: int) -> None:
    call = Call(parse_network("lost-twice"), 1_500_000, seed).run(40)
    assert max(call.gaps_ms(1, 39)) < 300


def test_a_link_that_loses_because_it_is_full_is_not_filled_with_repairs() -> None:
    # A queue so short that delay says nothing.
    call = Call(parse_network("delay=10,rate=1500,queue=15"), 5_000_000).run(40)
    assert 700_000 < call.bits(20, 40) < 1_700_000
    assert all(call.late_ms(s, s + 1) is not None for s in range(5, 39))


def test_a_way_that_becomes_longer_is_not_taken_for_a_full_queue_for_ever() -> None:
    call = Call(parse_network("delay=10,rate=8000/@10:delay=250"), 3_000_000).run(60)
    assert call.bits(40, 60) > 2_500_000


def test_a_narrow_link_carries_most_of_what_it_can_with_little_delay() -> None:
    call = Call(parse_network("delay=20,rate=1000,queue=500"), 4_000_000).run(60)
    assert call.bits(20, 60) > 650_000
    assert (call.late_ms(20, 59, 95) or 1e9) < 250


def test_what_stands_in_the_queue_is_told_apart_from_the_way() -> None:
    queue = QueueDelay()
    for i in range(100):
        assert queue.add(5000 + (7 if i % 3 else 0), 10 * i) <= 7
    for i in range(20):
        waits = queue.add(5080, 1000 + 10 * i)
    assert waits == 80
    queue.rebase()
    assert queue.add(5080, 1300) == 0


@pytest.mark.parametrize("busy", [True, False])
def test_what_a_busy_machine_looks_at_late_did_not_stand_in_a_queue(busy: bool) -> None:
    estimator = Estimator()

    def arrives(sent_ms: int, at_ms: int) -> None:
        estimator.add((sent_ms << 18) // 1000 & 0xFFFFFF, at_ms, 1000, 1)

    for ms in range(0, 3000, 5):
        arrives(ms, ms + 20)
    before = estimator.estimate_bps
    assert before is not None
    for i in range(40):
        # For 200 ms nothing is seen, and then all of it within 20 ms, or at the pace at which it was sent.
        arrives(3000 + 5 * i, 3220 + (i // 2 if busy else 5 * i))
    assert estimator.estimate_bps is not None and (estimator.estimate_bps >= before) is busy


def test_throughput_and_loss_are_of_the_last_half_second() -> None:
    flow = Throughput()
    assert flow.bps(0) is None
    for ms in range(0, 2000, 5):
        flow.add(1000, ms)
    assert flow.bps(1999) == pytest.approx(1.6e6, rel=0.02)
    flow.add(1000, 2600)
    assert flow.bps(2600) == pytest.approx(16_000)
    for ms in range(2605, 2800, 5):
        flow.add(500, ms)
    assert flow.queued_bps(2799) == pytest.approx(800_000, rel=0.05)


def test_much_loss_of_few_packets_is_chance_and_little_more_of_many_is_not() -> None:
    for packets, share, too_much in ((20, 0.25, False), (200, 0.25, True), (2000, 0.16, True), (2000, 0.12, False)):
        loss = Loss()
        for i in range(packets):
            lost = int((i + 1) * share) > int(i * share)
            loss.add(not lost, lost, i * 900 // packets)
        assert loss.share == pytest.approx(share, abs=0.01) and loss.exceeds(0.12) is too_much, (packets, share)
        loss.add(1, 0, 10_000)
        assert loss.share == 0 and not loss.exceeds(0.12)


def test_the_estimate_falls_below_what_arrives_and_lower_when_a_queue_stands() -> None:
    for queue_ms, kept in ((0.0, 0.85), (200.0, 0.65), (2000.0, 0.5)):
        control = RateControl()
        control.rise(2e6, 0)
        control.fall(1e6, queue_ms, 100)
        assert control.estimate_bps == pytest.approx(kept * 1e6)
        assert control.settling(500) and not control.settling(700)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1e9), st.floats(0, 1e4), st.integers(0, 5000)), max_size=60))
def test_the_estimate_is_never_without_bounds(steps: list[tuple[bool, float, float, int]]) -> None:
    control, now, most = RateControl(), 0, 0.0
    for falls, arrives, queue_ms, wait in steps:
        now += wait
        before = control.estimate_bps
        if falls:
            control.fall(arrives, queue_ms, now)
        else:
            control.rise(arrives, now)
        assert control.estimate_bps is not None and 30_000 <= control.estimate_bps <= 1.5e9 + 10_000
        if before is not None:
            # Faster only back to what it once was.
            assert control.estimate_bps <= max(before * 1.2, min(before * 1.4, most)) + 1
            assert not falls or control.estimate_bps <= max(before, 30_000)
        most = max(most, control.estimate_bps)


def test_on_a_link_that_widened_the_estimate_is_soon_what_it_was() -> None:
    control, now = RateControl(), 0
    control.rise(6e6, now)
    control.fall(2.8e6, 100.0, now := 1000)
    assert control.estimate_bps is not None and control.estimate_bps < 2.2e6
    passed = {}
    for goal in (2.8e6, 9e6):
        while control.estimate_bps < goal:
            now += 250
            control.rise(control.estimate_bps, now)
        passed[goal] = now / 1000
    # Slowly where it was full, and from there three times as much within five seconds.
    assert passed[9e6] - passed[2.8e6] < 8
    control.fall(2.8e6, 0.0, now)
    before = control.estimate_bps
    control.rise(9e6, now + 1000)
    assert control.estimate_bps <= before * 1.2 + 1, "what has fallen again isn't believed to have widened"


@settings(max_examples=100)
@given(st.lists(st.integers(50, 1400), min_size=1, max_size=300), st.integers(100_000, 10_000_000))
def test_a_pacer_lets_a_burst_pass_and_spreads_the_rest(sizes: list[int], rate: int) -> None:
    pacer, now, sent = Pacer(), 0, 0
    for size in sizes:
        wait = pacer.wait_ns(now)
        now += wait
        pacer.sent(size, now, rate)
        sent += size
        # Never more than the rate and a burst, plus the packet that goes over it.
        assert (sent - size) * 8 * SECOND_NS / rate <= now + BURST_NS + len(sizes)
