"""Networks of rules: the link in virtual time, what flags say, and datagrams through the relay."""

from __future__ import annotations

import asyncio
import random
import socket
from itertools import pairwise
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamsvc.shaper import NETWORKS, Link, Rules, Shaper, ShaperError, parse_network
from streamsvc.shaper.link import MS, SECOND_NS, Kind


def through(rules: Rules, count: int, *, every_ms: float = 1.0, size: int = 1000, seed: int = 1) -> list[list[float]]:
    """Return by how many ms each of some datagrams is late, nothing for one that is lost."""
    link = Link(rules, seed)
    out = []
    for i in range(count):
        at = round(i * every_ms * MS)
        out.append([(t - at) / MS for t in link.put(at, size)])
    return out


def test_a_link_without_rules_passes_everything_on_at_once() -> None:
    assert through(Rules(), 50) == [[0.0]] * 50


def test_the_same_seed_loses_the_same_and_another_one_something_else() -> None:
    rules = Rules(delay=10, jitter=5, loss=10, duplicate=3, reorder=2)
    assert through(rules, 500) == through(rules, 500) != through(rules, 500, seed=2)


@pytest.mark.parametrize(("burst", "mean"), [(0.0, 1.06), (6.0, 6.0)])
def test_loss_has_the_share_and_the_bursts_that_were_asked_for(burst: float, mean: float) -> None:
    lost = [not late for late in through(Rules(loss=5, burst=burst), 100_000)]
    runs = [len(run) for run in "".join("x" if x else " " for x in lost).split()]
    assert fmean(lost) == pytest.approx(0.05, abs=0.006)
    assert fmean(runs) == pytest.approx(mean, rel=0.1)


@settings(max_examples=50)
@given(st.floats(0, 80), st.floats(0, 60), st.integers(0, 1000))
def test_delay_varies_within_the_jitter_and_keeps_the_order(delay: float, jitter: float, seed: int) -> None:
    late = [x for (x,) in through(Rules(delay=delay, jitter=jitter), 200, every_ms=0.5, seed=seed)]
    assert all(max(0.0, delay - jitter) - 1e-5 <= x <= delay + jitter + 1e-5 for x in late)
    out = [0.5 * i + x for i, x in enumerate(late)]
    assert all(b - a >= -1e-5 for a, b in pairwise(out))


def test_a_rate_queues_and_drops_what_would_wait_too_long() -> None:
    # 8 Mb/s come into 1 Mb/s.
    late = through(Rules(rate=1000, queue=100), 1000)
    assert len(late[0]) == 1 and late[0][0] == pytest.approx(1028 * 8 / 1000)
    waits = [x for passed in late for x in passed]
    assert 100 < max(waits) < 110
    assert len(waits) == pytest.approx(1000 / 8, rel=0.25)


def test_reordered_packets_come_behind_those_that_followed_and_duplicates_come_twice() -> None:
    late = through(Rules(delay=5, reorder=10, duplicate=10), 2000)
    held = [passed[0] for passed in late if passed[0] > 5]
    assert all(x == pytest.approx(15) for x in held)
    assert len(held) == pytest.approx(200, rel=0.3)
    assert sum(len(passed) == 2 for passed in late) == pytest.approx(200, rel=0.3)


def test_a_packet_is_lost_twice_at_the_interval_asked_for_and_nothing_else() -> None:
    link = Link(Rules(lost_twice=1), seed=1)
    lost: list[tuple[int, Kind]] = []
    for ms in range(5000):
        for kind in (Kind.OTHER, Kind.MEDIA, *([Kind.RETRANSMISSION] if ms % 10 == 5 else [])):
            if not link.put(ms * MS, 500, kind):
                lost.append((ms, kind))
    assert lost == [
        (t, k) for s in (1, 2, 3, 4) for t, k in ((1000 * s, Kind.MEDIA), (1000 * s + 5, Kind.RETRANSMISSION))
    ]


def test_every_name_is_a_network_and_rules_change_over_time() -> None:
    for name in NETWORKS:
        assert parse_network(name).name == name
    network = parse_network("delay=10, rate=20000/@15:rate=3000/@35.5:lost-twice=2,rate=0")
    assert network.at(0) == network.at(14.9) == Rules(delay=10, rate=20000)
    assert network.at(15) == Rules(delay=10, rate=3000)
    assert network.at(1e6) == Rules(delay=10, lost_twice=2)
    late = parse_network("@5:loss=1")
    assert late.at(1) == Rules() and late.at(6) == Rules(loss=1)


@pytest.mark.parametrize("text", ["loss=90,burst=2", "burst=3,loss=80", "loss=60,burst=1.2", "burst=4/@5:loss=81"])
def test_more_loss_than_bursts_of_that_length_can_make_is_refused_with_what_they_can(text: str) -> None:
    with pytest.raises(ShaperError, match=r"at most (54\.5|66\.6|75|80) %"):
        parse_network(text)


@pytest.mark.parametrize(("loss", "burst"), [(66.6, 2), (75, 3), (50, 1.5), (100, 5), (60, 1)])
def test_as_much_loss_as_bursts_can_make_is_what_they_make(loss: float, burst: float) -> None:
    rules = parse_network(f"loss={loss},burst={burst}").at(0)
    lost = sum(not late for late in through(rules, 20_000))
    assert lost / 20_000 == pytest.approx(loss / 100, abs=0.015)


@pytest.mark.parametrize(
    "text",
    [
        *("looss", "loss", "loss=", "loss=-1", "loss=101", "loss=nan", "delay=inf", "rate=0.5", "delay=5/loss=1"),
        *("delay=1/@5:loss=1/@5:loss=2", "delay=1/@x:loss=1", "mode=3", "delay=1e9", "__class__=1"),
    ],
)
def test_what_is_no_network_is_refused_with_what_is(text: str) -> None:
    with pytest.raises(ShaperError, match="lossy") as refused:
        parse_network(text)
    assert "\n" not in str(refused.value)


SDP = (
    "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"
    "m=audio 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n"
    "a=candidate:1 1 udp 100 127.0.0.1 {low} typ host\r\na=candidate:2 1 udp 200 127.0.0.1 {high} typ host\r\n"
    "a=candidate:3 1 tcp 300 127.0.0.1 9 typ host tcptype active\r\na=end-of-candidates\r\n"
    "m=video 9 UDP/TLS/RTP/SAVPF 97 98\r\na=mid:1\r\na=fmtp:98 apt=97\r\n"
    "a=candidate:1 1 udp 100 127.0.0.1 {low} typ host\r\n"
)


def bound() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 0))
    made.setblocking(False)
    return made


def candidates(sdp: str) -> list[tuple[str, int]]:
    lines = [line.split() for line in sdp.splitlines() if line.startswith("a=candidate")]
    return [(words[4], int(words[5])) for words in lines]


async def test_both_ends_know_only_the_relay_and_reach_each_other_through_it() -> None:
    loop = asyncio.get_running_loop()
    shaper = Shaper(parse_network("clean"))
    with bound() as here, bound() as there, bound() as elsewhere:
        spare = elsewhere.getsockname()[1]
        offer = await shaper.offer(SDP.format(low=spare, high=here.getsockname()[1]))
        answer = await shaper.answer(SDP.format(low=spare, high=there.getsockname()[1]))
        assert "tcptype" not in offer and "end-of-candidates" in offer
        (far, _), (near, _) = candidates(offer), candidates(answer)
        assert candidates(offer) == [far, far] and candidates(answer) == [near, near] and far != near
        there.sendto(b"hello, before you said a word", far)
        assert await loop.sock_recv(here, 100) == b"hello, before you said a word"
        here.sendto(b"hello", near)
        data, source = await loop.sock_recvfrom(there, 100)
        assert (data, source) == (b"hello", far)
        assert [c.packets for c in shaper.counts] == [1, 1]
        shaper.close()


async def test_what_is_lost_does_not_arrive_and_is_counted() -> None:
    loop = asyncio.get_running_loop()
    shaper = Shaper(parse_network("loss=50"), seed=3)
    link = Link(Rules(loss=50), seed=3)
    fate = [bool(link.put(0, 2)) for _ in range(40)]
    with bound() as here, bound() as there:
        port = here.getsockname()[1], there.getsockname()[1]
        await shaper.offer(SDP.format(low=port[0], high=port[0]))
        answer = await shaper.answer(SDP.format(low=port[1], high=port[1]))
        for i in range(40):
            here.sendto(b"%02d" % i, candidates(answer)[0])
        came = [int(await loop.sock_recv(there, 10)) for _ in range(sum(fate))]
        assert came == [i for i, passed in enumerate(fate) if passed]
        assert shaper.counts[0].lost == 40 - sum(fate)
        shaper.close()


async def test_what_is_delayed_stays_in_order_and_a_shorter_way_is_not_held_up_by_a_longer_one() -> None:
    loop = asyncio.get_running_loop()
    shaper = Shaper(parse_network("delay=20,jitter=20"), seed=5)
    with bound() as here, bound() as there:
        port = here.getsockname()[1], there.getsockname()[1]
        await shaper.offer(SDP.format(low=port[0], high=port[0]))
        answer = await shaper.answer(SDP.format(low=port[1], high=port[1]))
        for i in range(200):
            here.sendto(b"%03d" % i, candidates(answer)[0])
            if i % 20 == 0:
                await asyncio.sleep(0)
        assert [int(await loop.sock_recv(there, 10)) for _ in range(200)] == list(range(200))
        shaper.close()


def test_datagrams_are_told_apart_by_what_the_sdp_says() -> None:
    shaper = Shaper(parse_network("clean"))

    async def read() -> None:
        await shaper.offer(SDP.format(low=9, high=9))
        shaper.close()

    asyncio.run(read())

    def rtp(payload_type: int) -> bytes:
        return bytes([128, payload_type]) + bytes(20)

    assert [shaper.kind(rtp(n)) for n in (97, 97 | 128, 98, 96)] == [
        *(Kind.MEDIA, Kind.MEDIA, Kind.RETRANSMISSION, Kind.OTHER)
    ]
    assert {shaper.kind(d) for d in (rtp(200), bytes(20), b"", b"\x16" + bytes(40), rtp(97)[:11])} == {Kind.OTHER}


async def test_rules_count_from_the_first_media() -> None:
    shaper = Shaper(parse_network("delay=1/@2:delay=7"))
    start = random.Random(1).randrange(10**15)
    assert shaper.rules(start, Kind.OTHER).delay == 1
    assert shaper.rules(start + 9 * SECOND_NS, Kind.MEDIA).delay == 1
    assert shaper.rules(start + 10 * SECOND_NS, Kind.OTHER).delay == 1
    assert shaper.rules(start + 11 * SECOND_NS, Kind.OTHER).delay == 7


async def test_a_description_without_an_address_is_refused() -> None:
    with pytest.raises(ShaperError, match="IPv4"):
        await Shaper(parse_network("clean")).offer(
            "v=0\r\nm=audio 9 RTP 0\r\na=candidate:1 1 udp 1 x.local 5 typ host\r\n"
        )
