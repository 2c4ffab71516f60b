"""What is kept of the sources that a receiver hears is bounded, and always fits into a report."""

from __future__ import annotations

from aiortc.rtp import RtcpReceiverInfo, RtpPacket
from hypothesis import given
from hypothesis import strategies as st

from streamsvc.edge.sources import SourceStatistics, make_room

MS = 1_000_000


class Heard:
    """Statistics of a source of 90 kHz, and the clock that they are on."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.of = SourceStatistics(90_000, lambda: self.now_ns)

    def hear(self, sequence: int, timestamp: int, after_ns: int = 0) -> None:
        self.now_ns += after_ns
        self.of.add(RtpPacket(97, 0, sequence & 0xFFFF, timestamp % 2**32))


def test_even_arrivals_have_no_jitter_across_both_wraps() -> None:
    heard = Heard()
    for i in range(100):
        heard.hear(65_500 + i, 2**32 - 150_000 + 3600 * i, 40 * MS)
        assert heard.of.jitter == 0
    assert heard.of.packets_received == heard.of.packets_expected == 100


def test_jitter_is_the_smoothed_waver_of_what_comes_in_order() -> None:
    heard = Heard()
    for i in range(400):
        heard.hear(2 * i, 3600 * i, (30 if i % 2 else 50) * MS)
        heard.hear(2 * i + 1, 3600 * i)
        heard.hear(2 * i - 1, 3600 * i - 1)
    assert 800 < heard.of.jitter <= 900, "10 ms"


@given(st.lists(st.tuples(st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**62)), max_size=60))
def test_whatever_comes_fits_into_a_report(packets: list[tuple[int, int, int]]) -> None:
    heard = Heard()
    for packet in [(0, 0, 0), *packets]:
        heard.hear(*packet)
        stream = heard.of
        report = (stream.fraction_lost, stream.packets_lost, stream.max_seq, stream.jitter)
        assert len(bytes(RtcpReceiverInfo(1234, *report, lsr=0, dlsr=0))) == 24


def test_room_is_made_of_the_oldest_but_for_the_one_that_is_kept() -> None:
    sources: dict[int, object] = {}
    for ssrc in range(100):
        make_room(sources, ssrc, most=3, kept=0)
        sources[ssrc] = "heard"
    make_room(sources, 98, most=3, kept=0)
    assert list(sources) == [0, 98, 99]
