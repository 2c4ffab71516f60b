"""One probe of one server: a call whose cameras see a clock card, and what its figures are.

`both`: a mirror room, sender and viewer in this process, so there is one clock. `send` and `watch`: the two halves on
two hosts; cards then show the server's clock as each half knows it from ping-pong, and the error of both is the error
of every latency. A URL with a path of its own (not a page of ours) is any server that takes an SDP offer by POST and
shows what it gets, as aiortc's examples and most Python frameworks do.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from streamsvc.edge import ConnectionStatistics, colour
from streamsvc.frames import Pixels, Samples
from streamsvc.frames.clockmap import ClockMap
from streamsvc.ledger import Record
from streamsvc.ledger.conditions import conditions
from streamsvc.ledger.figures import percentile, summarise
from streamsvc.peer import HeadlessPeer, PeerFigures, PeerOptions, Way
from streamsvc.peer.sources import Voice, open_microphone
from streamsvc.probe.measure import (
    MS,
    TOLERANCE_NS,
    Doubt,
    Joined,
    Sighting,
    captions_of,
    doubts,
    freezes,
    instant_of,
    join,
    regular,
    skews_ms,
    stages,
    stream_of,
)
from streamsvc.probe.options import ProbeOptions, check
from streamsvc.probe.post_offer import call_by_post, takes_post
from streamsvc.probe.quality import mbit_per_s, psnr_db
from streamsvc.probe.sound import ChirpVoice, Onsets, first_heard
from streamsvc.probe.witness import Notes
from streamsvc.scene import open_scene
from streamsvc.scene.card import PERIOD_MS
from streamsvc.shaper import Counts, Shaper
from streamsvc.signalling.channels import FrameTrace
from streamsvc.signalling.messages import SpeechSettings, ViewSettings

PATIENCE_S = 60.0
"""How long who watches waits for a picture of who sends."""

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
    traces: Iterable[FrameTrace] = ()
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


class _Tapped:
    """A voice that is listened to on its way out."""

    def __init__(self, voice: Voice, onsets: Onsets) -> None:
        self._voice, self._onsets = voice, onsets
        self.began_ns: int | None = None

    @property
    def seconds(self) -> float:
        return self._voice.seconds

    @property
    def ended(self) -> bool:
        return self._voice.ended

    def read(self, count: int) -> Samples:
        now = time.monotonic_ns()
        if self.began_ns is None:
            self.began_ns = now
        samples = self._voice.read(count)
        self._onsets.take(samples, now)
        return samples


async def run_probe(options: ProbeOptions, tell: Callable[[str], None]) -> Probed:
    """Run one probe; `tell` gets lines of progress. Raises ProbeError, SignallingError, EdgeError."""
    check(options)
    load_before = os.getloadavg()[0]
    if options.browser:
        from streamsvc.probe.browser import look_in_chromium

        return probed(options, await asyncio.to_thread(look_in_chromium, options, tell), load_before)
    peer: HeadlessPeer | None = None
    own_clock = options.role == "both"

    def card_ns(here_ns: int) -> int | None:
        if own_clock:
            return here_ns
        best = None if peer is None else peer.clock()
        return None if best is None else best.to_ours(here_ns)

    def scene_time(here_ns: int) -> float | None:
        at = card_ns(here_ns)
        return None if at is None else at % (PERIOD_MS * MS) / 1e9

    notes = Notes(card_ns, lambda: None if peer is None else peer.clock())
    spoken = Onsets()
    voice = None if options.role == "watch" else _voice(options, notes, spoken)
    tell(
        f"{options.url}: {options.seconds:g} s, {_cameras(options)}, budget {options.budget_ms:g} ms, "
        f"{'chirps' if options.speech is None else f'speech in {options.speech}'}"
    )
    progress = asyncio.create_task(_progress(options.seconds, notes, tell))
    notices: list[str] = []
    way = None if options.network is None else Shaper(options.network)
    did: ConnectionStatistics | None
    try:
        if takes_post(options.url):
            did = await call_by_post(
                options.url, options.size, options.fps, voice, scene_time, notes, options.seconds, way
            )
        else:
            peer = HeadlessPeer(_peer_options(options, voice, scene_time, notes, way))
            watches = options.role == "watch"
            part = _from_first_picture(peer, options, notes) if watches else peer.run(options.seconds)
            notices = (await part).notices
            did = peer.statistics()
    finally:
        progress.cancel()
        if way is not None:
            way.close()
        await asyncio.to_thread(notes.close)
    if options.role == "send":
        return Probed({"captured": len(notes.captures), "notices": notices}, ())
    frame = notes.latest_read or notes.latest
    elsewhere = options.role == "watch"
    taken = Taken(
        captures=_captures_elsewhere(notes, options.fps) if elsewhere else notes.captures,
        sightings=notes.sightings,
        traces=notes.traces,
        clock=None if peer is None else peer.clock(),
        on_server=not own_clock,
        tolerance_ns=round(0.5e9 / options.fps) if elsewhere else TOLERANCE_NS,
        chirps=notes.ear.heard if isinstance(voice, ChirpVoice) else None,
        speech=_speech(notes, voice, spoken) if isinstance(voice, _Tapped) else {},
        seen=None if frame is None else colour.to_rgb(frame),
        shaped=() if way is None else way.counts,
        notices=notices,
        samples=[(number, colour.to_rgb(frame)) for number, frame in notes.samples] if _sees_one(options) else (),
        received_bytes=None if did is None else sum(track.bytes for track in did.received if track.kind == "video"),
    )
    return probed(options, taken, load_before)


def _sees_one(options: ProbeOptions) -> bool:
    return takes_post(options.url) or options.cameras == 1


def _cameras(options: ProbeOptions) -> str:
    count = 1 if _sees_one(options) else options.cameras
    width, height = options.size
    return f"{count} camera{'s' * (count > 1)} {width}x{height} at {options.fps:g} fps"


def _voice(options: ProbeOptions, notes: Notes, spoken: Onsets) -> Voice:
    if options.speech is None:
        return ChirpVoice(time.monotonic_ns, notes.ear.said)
    return _Tapped(open_microphone(f"synthetic:{options.speech}:{options.seconds:g}"), spoken)


def _peer_options(
    options: ProbeOptions,
    voice: Voice | None,
    scene_time: Callable[[int], float | None],
    notes: Notes,
    way: Way | None,
) -> PeerOptions:
    names = [c.name for c in open_scene("card").rig(options.cameras, *options.size).cameras]
    sends = options.role != "watch"
    return PeerOptions(
        url=options.url,
        room=options.room,
        name=f"probe-{options.role}",
        token=options.token,
        mirror=options.role == "both",
        cameras=dict.fromkeys(names, "synthetic:card") if sends else {},
        mic=voice,
        size=options.size,
        fps=options.fps,
        eye=options.eye,
        speech=SpeechSettings(
            enabled=options.speech is not None,
            policy=options.policy,
            parameters=options.parameters or None,
            source=options.speech,
        ),
        view=ViewSettings(width=options.size[0], height=options.size[1], budget_ms=options.budget_ms),
        insecure=options.insecure,
        scene_time=scene_time,
        witness=notes,
        way=way,
        # One camera passes through; with a rig it would be seen as a plane from the viewer's eye.
        calibrated=options.cameras > 1,
        relay_only=options.relay,
    )


async def _from_first_picture(peer: HeadlessPeer, options: ProbeOptions, notes: Notes) -> PeerFigures:
    """Take part for the options' seconds from the first picture on, because the sender may start later."""
    stop = asyncio.Event()

    async def measure() -> None:
        await notes.pictured.wait()
        await asyncio.sleep(options.seconds)
        stop.set()

    measuring = asyncio.create_task(measure())
    try:
        return await peer.run(PATIENCE_S + options.seconds, stop)
    finally:
        measuring.cancel()


async def _progress(seconds: float, notes: Notes, tell: Callable[[str], None]) -> None:
    step = max(5.0, seconds / 12)
    at = 0.0
    while True:
        await asyncio.sleep(step)
        at += step
        read = sum(s.number is not None for s in notes.sightings)
        tell(f"  {at:4.0f} s: {len(notes.captures)} captured, {len(notes.sightings)} seen, {read} cards read")


def probed(options: ProbeOptions, taken: Taken, load_before: float) -> Probed:
    """Return the figures of a call."""
    best = taken.clock
    error_ns = 2 * best.error_ns if taken.on_server and best is not None else 0
    joined = join(
        taken.captures,
        taken.sightings,
        budget_ns=round(options.budget_ms * 1e6),
        warm_up_ns=round(options.warm_up_s * 1e9),
        traces=taken.traces,
        trace_offset_ns=0 if taken.on_server or best is None else best.offset_ns,
        tolerance_ns=taken.tolerance_ns,
        error_ns=error_ns,
    )
    reasons = doubts(joined, error_ns + (0 if best is None else best.error_ns))
    summary = summarise(joined.records)
    count, frozen_ms = freezes(joined.shown)
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
            "cameras": _cameras(options),
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


def _microphone(options: ProbeOptions) -> str:
    if options.speech is not None:
        return f"recorded speech in {options.speech}"
    return "silence" if options.browser else "chirps, not translated"


def _captures_elsewhere(notes: Notes, fps: float) -> list[int]:
    seen = sorted(instant_of(s.number, s.shown_ns) for s in notes.sightings if s.number is not None)
    return regular(seen[0], seen[-1], fps) if seen else []


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


def _clock(joined: Joined, error_ns: int, claims: bool) -> dict[str, Any]:
    off = [c / MS for c in joined.claims] if claims else []
    return {
        "error_ms": error_ns / MS,
        "rtp_minus_card_p50_ms": percentile(off, 50),
        "rtp_minus_card_p95_ms": percentile([abs(x) for x in off], 95),
    }


def _sound(chirps: Sequence[tuple[int, int | None]], joined: Joined) -> dict[str, Any]:
    begin = joined.records[0].capture_ns if joined.records else 0
    heard = [(said, at) for said, at in chirps if said >= begin]
    delays = [(at - said) / MS for said, at in heard if at is not None]
    skews = skews_ms(heard, joined.records)
    return {
        **asdict(stream_of(delays, sum(at is None for _, at in heard))),
        "skew_p50_ms": percentile(skews, 50),
        "skew_worst_ms": max(skews, key=abs, default=None),
    }


def _speech(notes: Notes, voice: _Tapped, spoken: Onsets) -> dict[str, Any]:
    zero = voice.began_ns or 0
    commits = [(zero + round(h.caption.source_start_ms * MS), h.came_ns) for h in notes.captions]
    pairs = first_heard([s[0] for s in spoken.spans], commits, notes.onsets.spans)
    return {
        **captions_of([(h.caption.text, h.caption.wall_ms - h.caption.source_end_ms) for h in notes.captions]),
        "first_caption": asdict(stream_of([(b - a) / MS for a, b, _ in pairs])),
        "first_heard": asdict(stream_of([(c - a) / MS for a, _, c in pairs])),
        "phrases": len(spoken.spans),
    }
