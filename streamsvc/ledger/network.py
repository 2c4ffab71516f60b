"""The network of a call in words and pictures, from what a page saved of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from streamsvc.ledger import charts
from streamsvc.ledger.charts import number
from streamsvc.ledger.figures import percentile
from streamsvc.ledger.records import NetworkSample


def network_in_words(samples: Sequence[NetworkSample]) -> str:
    """Return the round trip, and what came and left and was lost, as the viewer's connection counted them."""
    trips = [s.rtt_ns / 1e6 for s in samples if s.rtt_ns is not None]
    median, high = percentile(trips, 50), percentile(trips, 95)
    trip = "" if median is None or high is None else f"Round trip {number(median)} ms (p50), {number(high)} ms (p95). "
    came = _share("came", (s.in_bps for s in samples), (s.in_lost for s in samples))
    left = _share("left", (s.out_bps for s in samples), (s.out_lost for s in samples))
    return f"The viewer's connection, by its own statistics. {trip}{came}; {left}."


def _share(what: str, rates: Iterable[float | None], lost: Iterable[float | None]) -> str:
    known = [r / 1e6 for r in rates if r is not None]
    if not known:
        return f"nothing is known of what {what}"
    worst = max((x for x in lost if x is not None), default=0.0)
    return f"{number(sum(known) / len(known))} Mb/s {what} on average, {100 * worst:.1f} % lost in the worst second"


def network_charts(samples: Sequence[NetworkSample], start_ns: int, end_s: float) -> str:
    """Return two charts over the time since `start_ns`, at least `end_s` long: the round trip, and bitrates."""

    def at(sample: NetworkSample) -> float:
        return (sample.at_ns - start_ns) / 1e9

    drawn = sorted((s for s in samples if s.at_ns >= start_ns), key=at)
    end = max([end_s, *(at(s) for s in drawn)])
    trips = [(at(s), s.rtt_ns / 1e6) for s in drawn if s.rtt_ns is not None]
    came = [(at(s), s.in_bps / 1e6) for s in drawn if s.in_bps is not None]
    left = [(at(s), s.out_bps / 1e6) for s in drawn if s.out_bps is not None]
    return (
        '<div class="pair">'
        + charts.lines({"": trips}, end, "round trip, ms", "round trip over time")
        + charts.lines({"in": came, "out": left}, end, "Mb/s", "bitrates over time")
        + "</div>"
    )
