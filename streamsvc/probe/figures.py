"""What was taken down in a call, and the figures of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from streamsvc.frames import Pixels
from streamsvc.frames.clockmap import ClockMap
from streamsvc.ledger import Record
from streamsvc.ledger.conditions import conditions
from streamsvc.ledger.figures import percentile, summarise
from streamsvc.probe.measure import (
    MS,
    TOLERANCE_NS,
    Doubt,
    Joined,
    Sighting,
    doubts,
    freezes,
    join,
    skews_ms,
    stages,
    stream_of,
    undecided,
)
from streamsvc.probe.options import ProbeOptions, sees_one
from streamsvc.probe.quality import mbit_per_s, psnr_db
from streamsvc.shaper import Counts
from streamsvc.signalling.channels import FrameTrace

GOOD = 0.95
"""Goodput from which a verdict is "good": the share that capacity is defined by."""


@dataclass(frozen=True, slots=True)
class Probed:
    """What one probe found: figures as plain JSON values, the records that they were computed from, and the last view
    whose card was read, (H, W, 3) uint8 RGB."""

    figures: dict[str, Any]
    records: tuple[Record, ...]
    seen: Pixels | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What was taken down in a call, on the card's clock: see `join`. `clock` puts that clock on the server's; where
    the cards themselves show the server's (`on_server`) its error is that of every latency. `tolerance_ns` is how far a
    card may be from a capture; `samples` are pictures of the one camera, each with the number on its card;
    `received_bytes` of video came in all (None: not known)."""

    captures: Sequence[int]
    sightings: Sequence[Sighting]
    traces: Collection[FrameTrace] = ()
    clock: ClockMap | None = None
    on_server: bool = False
    tolerance_ns: int = TOLERANCE_NS
    chirps: Sequence[tuple[int, int | None]] | None = None
    speech: dict[str, Any] = field(default_factory=dict)
    seen: Pixels | None = None
    shaped: Sequence[Counts] = ()
    notices: Sequence[str] = ()
    samples: Sequence[tuple[int, Pixels]] = ()
    received_bytes: int | None = None


def probed(options: ProbeOptions, taken: Taken, load_before: float) -> Probed:
    """Return the figures of a call."""
    best = taken.clock
    own_ns = 0 if best is None else best.error_ns
    error_ns = _error_ns(taken, options.warm_up_s)
    at_least_ns = own_ns if error_ns is None else error_ns
    joined = join(
        taken.captures,
        taken.sightings,
        budget_ns=round(options.budget_ms * 1e6),
        warm_up_ns=round(options.warm_up_s * 1e9),
        traces=taken.traces,
        trace_offset_ns=0 if taken.on_server or best is None else best.offset_ns,
        tolerance_ns=taken.tolerance_ns,
        error_ns=at_least_ns,
    )
    reasons = [*doubts(joined, at_least_ns + own_ns), *undecided(joined.records, error_ns, GOOD)]
    summary = summarise(joined.records)
    count, frozen_ms = freezes([*joined.shown, *taken.captures[-1:]])
    figures = {
        "verdict": verdict(summary.view.goodput, reasons),
        "doubts": [asdict(d) for d in reasons],
        "view": {
            **{k: v for k, v in asdict(summary.view).items() if k != "clock_error_ms"},
            "unreadable": joined.unreadable,
            "strange": joined.strange,
            "freezes": count,
            "frozen_ms": frozen_ms,
            "psnr_db": psnr_db(taken.samples, options.size),
            "mbit_per_s": mbit_per_s(taken.received_bytes, taken.sightings),
        },
        "clock": _clock(joined, error_ns, best is not None),
        "sound": {} if taken.chirps is None else _sound(taken.chirps, joined),
        "speech": taken.speech,
        "stages": stages(joined.records),
        "conditions": {
            "url": options.url,
            "viewer": "headless Chromium" if options.browser else f"our peer, role {options.role}",
            "cameras": cameras_of(options),
            "view": "none" if taken.seen is None else f"{taken.seen.shape[1]}x{taken.seen.shape[0]}",
            "network": _network(options, taken.shaped),
            "seconds": f"{options.seconds:g}, of which the first {options.warm_up_s:g} are discarded",
            "budget": f"{options.budget_ms:g} ms from capture to display",
            "microphone": _microphone(options),
            **conditions(),
            "load before": f"{load_before:.2f} (1 min)",
        },
        "notices": list(taken.notices),
    }
    return Probed(figures, joined.records, taken.seen)


def _error_ns(taken: Taken, warm_up_s: float) -> int | None:
    """Return by how much latencies may be off: where cards show the server's clock, by the sender's error, which the
    service passes on with what became of each frame, and by ours. None: nobody told the sender's."""
    if not taken.on_server or taken.clock is None:
        return 0
    begin = min(taken.captures, default=0) + round(warm_up_s * 1e9)
    told = [t.clock_error_ns for t in taken.traces if t.capture_ns >= begin]
    return max(told) + taken.clock.error_ns if told else None


def _microphone(options: ProbeOptions) -> str:
    if options.speech is not None:
        return f"recorded speech in {options.speech}"
    return "silence" if options.browser else "chirps, not translated"


def _network(options: ProbeOptions, shaped: Sequence[Counts]) -> str:
    if options.relay:
        return "through the TURN server that the service offers, only"
    if options.network is None:
        return "straight"
    counts = (
        f"{c.packets} packets {way}, {c.lost} lost, {c.overflowed} where the queue was full"
        for way, c in zip(("up", "down"), shaped, strict=False)
    )
    return "; ".join((f"{options.network.name} (a UDP relay in the probe's process)", *counts))


def verdict(goodput: float | None, reasons: list[Doubt]) -> str:
    """Return "good", "poor" or "refused"; a refusal is worth more than a wrong figure."""
    if reasons or goodput is None:
        return "refused"
    return "good" if goodput >= GOOD else "poor"


def _clock(joined: Joined, error_ns: int | None, claims: bool) -> dict[str, Any]:
    off = [c / MS for c in joined.claims] if claims else []
    return {
        "error_ms": None if error_ns is None else error_ns / MS,
        "rtp_minus_card_p50_ms": percentile(off, 50),
        "rtp_minus_card_p95_ms": percentile([abs(x) for x in off], 95),
    }


def _sound(chirps: Sequence[tuple[int, int | None]], joined: Joined) -> dict[str, Any]:
    begin = joined.records[0].capture_ns if joined.records else 0
    heard = [(said, at) for said, at in chirps if said >= begin]
    delays = [None if at is None else (at - said) / MS for said, at in heard]
    skews = skews_ms(heard, joined.records)
    return {
        **asdict(stream_of(delays)),
        "skew_p50_ms": percentile(skews, 50),
        "skew_worst_ms": max(skews, key=abs, default=None),
    }


def cameras_of(options: ProbeOptions) -> str:
    """Return what sees the card, in words."""
    count = 1 if sees_one(options) else options.cameras
    width, height = options.size
    return f"{count} camera{'s' * (count > 1)} {width}x{height} at {options.fps:g} fps"
