"""One probe of one server: a call whose cameras see a clock card.

`both`: a mirror room, sender and viewer in this process, so there is one clock. `send` and `watch`: the two halves on
two hosts; cards then show the server's clock as each half knows it from ping-pong, and the error of both is the error
of every latency: the sender tells the service its own, which passes it on with what became of each frame. A URL with a
path of its own (not a page of ours) is any server that takes an SDP offer by POST and shows what it gets, as aiortc's
examples and most Python frameworks do.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from streamsvc.edge import colour
from streamsvc.frames import Samples
from streamsvc.peer import HeadlessPeer, PeerFigures, PeerOptions, Way
from streamsvc.peer.sources import Voice, open_microphone
from streamsvc.probe.figures import Probed, Taken, cameras_of, probed
from streamsvc.probe.measure import MS, SETTLE_NS, TOLERANCE_NS, captions_of, due_elsewhere, stream_of
from streamsvc.probe.options import ProbeOptions, check, sees_one
from streamsvc.probe.post_offer import call_by_post, takes_post
from streamsvc.probe.sound import ChirpVoice, Onsets, Openings, Pulled, first_heard
from streamsvc.probe.witness import Notes
from streamsvc.scene import open_scene
from streamsvc.scene.card import PERIOD_MS
from streamsvc.shaper import Shaper
from streamsvc.signalling.messages import SpeechSettings, ViewSettings

PATIENCE_S = 60.0
"""How long who watches waits for a picture of who sends."""


FirstWord = Callable[[Samples, str], float | None]
"""(n,) float32 16 kHz mono and its language, to the seconds at which its first word ends; None: it isn't known."""


class _Tapped:
    """A voice that is listened to on its way out."""

    def __init__(self, voice: Voice, onsets: Onsets) -> None:
        self._voice, self._onsets = voice, onsets
        self.openings = Openings(onsets)
        self._pulled = Pulled()
        self.began_ns: int | None = None

    @property
    def seconds(self) -> float:
        return self._voice.seconds

    @property
    def ended(self) -> bool:
        return self._voice.ended

    def read(self, count: int) -> Samples:
        due = self._pulled.due(count, time.monotonic_ns())
        if self.began_ns is None:
            self.began_ns = due
        samples = self._voice.read(count)
        self._onsets.take(samples, due)
        self.openings.take(samples, due)
        return samples


async def run_probe(options: ProbeOptions, tell: Callable[[str], None], first_word: FirstWord | None = None) -> Probed:
    """Run one probe; `tell` gets lines of progress, `first_word` is asked when the call is over. Raises ProbeError,
    SignallingError, EdgeError."""
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
        f"{options.url}: {options.seconds:g} s, {cameras_of(options)}, budget {options.budget_ms:g} ms, "
        f"{'chirps' if options.speech is None else f'speech in {options.speech}'}"
    )
    progress = asyncio.create_task(_progress(options.seconds, notes, tell))
    notices: list[str] = []
    way = None if options.network is None else Shaper(options.network)
    try:
        if takes_post(options.url):
            received_bytes = await call_by_post(
                options.url, options.size, options.fps, voice, scene_time, notes, options.seconds, way
            )
        else:
            peer = HeadlessPeer(_peer_options(options, voice, scene_time, notes, way))
            watches = options.role == "watch"
            part = _from_first_picture(peer, options, notes) if watches else peer.run(options.seconds)
            notices = (await part).notices
            received_bytes = peer.video_bytes
    finally:
        progress.cancel()
        if way is not None:
            way.close()
        await asyncio.to_thread(notes.close)
    clock = None if peer is None else peer.clock()
    if options.role == "send":
        error_ms = None if clock is None else clock.error_ns / MS
        return Probed({"captured": len(notes.captures), "clock_error_ms": error_ms, "notices": notices}, ())
    frame = notes.latest_read or notes.latest
    elsewhere = options.role == "watch"
    if elsewhere:
        notices = [*notices, *_stopped(notes, options.seconds)]
    speech: dict[str, Any] = {}
    if isinstance(voice, _Tapped):
        speech = await asyncio.to_thread(_speech, options, notes, voice, spoken, first_word)
    taken = Taken(
        captures=_due(notes, options) if elsewhere else notes.captures,
        sightings=notes.sightings,
        traces=notes.traces,
        clock=clock,
        on_server=not own_clock,
        tolerance_ns=round(0.5e9 / options.fps) if elsewhere else TOLERANCE_NS,
        chirps=notes.ear.heard if isinstance(voice, ChirpVoice) else None,
        speech=speech,
        seen=None if frame is None else colour.to_rgb(frame),
        shaped=() if way is None else way.counts,
        notices=notices,
        samples=[(number, colour.to_rgb(frame)) for number, frame in notes.samples] if sees_one(options) else (),
        received_bytes=received_bytes,
    )
    return probed(options, taken, load_before)


def _end_ns(notes: Notes, seconds: float) -> int:
    """Return when who watches stops measuring, on the card's clock."""
    return notes.sightings[0].shown_ns + round(seconds * 1e9) if notes.sightings else 0


def _due(notes: Notes, options: ProbeOptions) -> list[int]:
    return due_elsewhere(notes.sightings, options.fps, _end_ns(notes, options.seconds))


def _stopped(notes: Notes, seconds: float) -> list[str]:
    """Return a hint where the picture stopped before measuring did: to who watches that looks like a sender's end."""
    left_s = (_end_ns(notes, seconds) - notes.sightings[-1].shown_ns) / 1e9 if notes.sightings else 0.0
    if left_s * 1e9 < SETTLE_NS:
        return []
    return [
        f"stopped: no picture came in the last {left_s:.1f} s; whoever sends must do so for longer than this watches"
    ]


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


def _speech(
    options: ProbeOptions, notes: Notes, voice: _Tapped, spoken: Onsets, first_word: FirstWord | None
) -> dict[str, Any]:
    zero = voice.began_ns or 0
    commits = [(zero + round(h.caption.source_start_ms * MS), h.came_ns) for h in notes.captions]
    begun = [s[0] for s in spoken.spans]
    told = first_heard(begun, commits, notes.onsets.spans, notes.until_ns)
    ends: list[int | None] = [None] * len(begun)
    if first_word is not None and options.speech is not None:
        language = options.speech
        ends = voice.openings.ends_ns(lambda samples: first_word(samples, language))
    end_of = dict(zip(begun, ends, strict=True))
    after_word = [(end, c) for a, _, c in told if (end := end_of[a]) is not None]
    return {
        **captions_of([(h.caption.text, h.caption.wall_ms - h.caption.source_end_ms) for h in notes.captions]),
        "first_caption": asdict(stream_of([(b - a) / MS for a, b, _ in told])),
        "first_heard": asdict(stream_of([None if c is None else (c - a) / MS for a, _, c in told], ranked=True)),
        "after_first_word": asdict(
            stream_of([None if c is None else (c - end) / MS for end, c in after_word], ranked=True)
        ),
        "phrases": len(spoken.spans),
    }
