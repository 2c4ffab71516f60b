"""Recording rooms: asking everybody, taking down what they agreed to, and telling them of every change.

Lives on the event loop. Invariants: a room is recorded only while its members are those who agreed, and each of them
has been told; whatever becomes of the recording, the call goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from streamsvc import config
from streamsvc.budget import Clock
from streamsvc.recording import Writer, items, prepare, stem_of
from streamsvc.session.consent import Consent
from streamsvc.session.settings import CallSettings
from streamsvc.session.speaking import Speaking
from streamsvc.session.taps import ViewTap, VoiceTap
from streamsvc.signalling import messages as wire
from streamsvc.signalling.messages import SignallingError
from streamsvc.signalling.rooms import Room, same_name

log = logging.getLogger(__name__)

TICK_S = 0.2
END_S = 5.0
TELL_TICKS = 5


class Recorded(Protocol):
    """Somebody who can be recorded."""

    session: str
    name: str
    settings: CallSettings
    speaking: Speaking
    view_tap: ViewTap | None
    """Takes what is sent to them as the view of another."""

    @property
    def connected(self) -> bool:
        """True once media was negotiated."""

    @property
    def sees(self) -> bool:
        """True when they take a picture."""

    @property
    def view_codec(self) -> str:
        """What the picture that they take is encoded with."""

    @property
    def cameras(self) -> tuple[str, ...]:
        """The cameras that show them."""

    def send(self, message: wire.ServerMessage) -> None:
        """Tell them something."""


@dataclass(slots=True)
class _Take:
    """One room's question or recording; `people` are those whom it is about."""

    room: Room
    people: list[Recorded]
    consent: Consent = field(default_factory=Consent)
    writer: Writer | None = None
    start_ns: int = 0
    unseen: list[tuple[Recorded, Recorded]] = field(default_factory=list)
    """Who has no track for a view, with whom they would be shown to."""

    task: asyncio.Task[None] | None = None


class Recordings:
    """The recordings of one service; raises RecordingError when there is a folder that can't be used."""

    def __init__(self, settings: config.Recording, clock: Clock, people: Mapping[str, Recorded]) -> None:
        self._settings, self._clock, self._people = settings, clock, people
        self._takes: dict[str, _Take] = {}
        self._closing: set[asyncio.Task[None]] = set()
        if settings.folder is not None:
            prepare(settings.folder)

    @property
    def possible(self) -> bool:
        """True when this service was started with a folder for recordings."""
        return self._settings.folder is not None

    async def record(self, room: Room, session: str, action: wire.RecordAction) -> None:
        """Do what a member asks for; raises SignallingError (not-recording, not-ready, recording-full, unexpected)."""
        if not self.possible:
            raise SignallingError(
                "not-recording", "this service does not record calls; whoever runs it can change that"
            )
        take = self._takes.get(same_name(room.name)) or self._new(room)
        name = self._people[session].name
        match action:
            case "ask":
                await self._ask(take, session)
            case "agree":
                take.consent = take.consent.agree(session)
                await self._go_on(take)
            case "refuse":
                take.consent.agree(session)
                self._end(take, "refused", f"{name} does not want the call to be recorded")
            case "stop":
                was = take.consent.state
                take.consent.stop()
                ended = "does not want to record any more" if was == "asked" else "stopped the recording; it is kept"
                self._end(take, "stopped", f"{name} {ended}")

    def members_changed(self, room: Room, who: str, how: str) -> None:
        """Take note that `who` joined or left ("joined", "left"): nobody is recorded who was not asked."""
        take = self._takes.get(same_name(room.name))
        if take is not None:
            kept = "; the recording has ended and is kept" if take.consent.state == "on" else "; nothing is recorded"
            self._end(take, how, f"{who} {how}{kept}")

    def remind(self, room: Room) -> None:
        """Tell the members of a room how things stand, if there is anything to tell."""
        take = self._takes.get(same_name(room.name))
        if take is not None:
            self._tell(take)

    async def close(self) -> None:
        """End every recording, and wait until the files are whole, but not for long: a long one is put in order
        later."""
        for take in list(self._takes.values()):
            self._end(take, "stopped", "the service stops; the recording is kept")
        if self._closing:
            await asyncio.wait(self._closing, timeout=END_S)

    def _new(self, room: Room) -> _Take:
        return _Take(room, [self._people[m.session] for m in room.members])

    async def _ask(self, take: _Take, session: str) -> None:
        others = [p.session for p in take.people if p.session != session]
        until = self._clock.now_ns() + round(self._settings.answer_s * 1e9)
        consent = take.consent.ask(session, others, until)
        if not (others or take.room.mirror) or not all(p.connected for p in take.people):
            raise SignallingError("not-ready", "there is nobody to record yet; ask again when you see each other")
        # A recording that has ended keeps its place while its process puts the file in order.
        if len(self._takes) + len(self._closing) >= self._settings.max_recordings:
            most = self._settings.max_recordings
            raise SignallingError("recording-full", f"the service records {most} calls already; ask again later")
        take.consent = consent
        self._takes[same_name(take.room.name)] = take
        take.task = asyncio.create_task(self._watch(take), name="recording")
        await self._go_on(take)

    async def _go_on(self, take: _Take) -> None:
        """Begin to record once everybody has agreed, and tell everybody how things stand."""
        if take.consent.state == "on":
            try:
                await self._start(take)
            except (OSError, asyncio.CancelledError) as e:
                self._end(take, "write-failed", "the recording can't be started")
                if isinstance(e, asyncio.CancelledError):
                    raise
                log.exception("a recording can't be started")
                return
        if take.consent.state != "off":
            self._tell(take)

    async def _start(self, take: _Take) -> None:
        start_ns = self._clock.now_ns()
        # Whoever is shown, with whom they are shown to: in a mirror, themselves.
        pairs = list(zip(take.people, reversed(take.people), strict=True))
        owners = [
            items.Owner(
                name=owner.name,
                view=_shown(owner, viewer),
                codec=viewer.view_codec,
                width=viewer.settings.width,
                height=viewer.settings.height,
            )
            for owner, viewer in pairs
        ]
        begin = items.Begin(
            folder=str(self._settings.folder),
            stem=stem_of(take.room.name, datetime.now(UTC)),
            title=take.room.name,
            owners=owners,
            start_ns=start_ns,
            least_free_bytes=self._settings.least_free_mib << 20,
        )
        writer = Writer(begin, lambda code, message: self._end(take, code, f"{message}; the recording has ended"))
        await writer.start()
        if take.consent.state != "on":  # meanwhile somebody left
            self._finish(writer)
            return
        take.writer, take.start_ns = writer, start_ns
        take.unseen = [pair for pair, owner in zip(pairs, owners, strict=True) if not owner.view]
        for i, (owner, viewer) in enumerate(pairs):
            viewer.view_tap = ViewTap(writer, i, start_ns) if owners[i].view else None
            owner.speaking.recorded = VoiceTap(writer, i, start_ns)

    async def _watch(self, take: _Take) -> None:
        """Keep time, until cancelled."""
        told, ticks = 0, 0
        longest_ns = round(self._settings.max_minutes * 60e9)
        while True:
            await asyncio.sleep(TICK_S)
            now = self._clock.now_ns()
            if take.consent.late(now):
                self._end(take, "unanswered", "not everybody has answered; nothing is recorded")
            writer = take.writer
            if writer is None:
                continue
            writer.send(items.Tick(now_ns=now))
            ticks += 1
            if now - take.start_ns > longest_ns:
                self._end(
                    take, "too-long", "the recording is as long as recordings may become; it has ended and is kept"
                )
            elif ticks % TELL_TICKS == 0:
                self._tell_unseen(take)
                if writer.dropped != told:
                    told = writer.dropped
                    self._tell(take)

    def _end(self, take: _Take, code: str, message: str) -> None:
        """End a question or a recording; idempotent."""
        if self._takes.get(same_name(take.room.name)) is not take:
            return
        del self._takes[same_name(take.room.name)]
        take.consent = Consent()
        for person in take.people:
            person.view_tap = person.speaking.recorded = None
        if take.task is not None:
            take.task.cancel()
        if take.writer is not None:
            take.writer.send(items.Tick(now_ns=self._clock.now_ns()))
            self._finish(take.writer)
        self._tell(take, code, message)

    def _finish(self, writer: Writer) -> None:
        task = asyncio.get_running_loop().create_task(writer.stop(), name="recording-end")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _tell(self, take: _Take, code: str | None = None, message: str | None = None) -> None:
        by = next((p.name for p in take.people if p.session == take.consent.asker), None)
        left_s = max(0.0, (take.consent.until_ns - self._clock.now_ns()) / 1e9)
        for person in _present(take.people, self._people):
            person.send(
                wire.Recording(
                    state=take.consent.state,
                    by=by,
                    asks_you=person.session in take.consent.waiting,
                    left_s=left_s if take.consent.state == "asked" else None,
                    missing=0 if take.writer is None else take.writer.dropped,
                    code=code,
                    message=message,
                )
            )

    def _tell_unseen(self, take: _Take) -> None:
        """Tell everybody whose picture came too late to be in the file, once."""
        for pair in [p for p in take.unseen if _shown(*p)]:
            take.unseen.remove(pair)
            told = (
                f"the picture of {pair[0].name} came after the recording began and is not in it; stop and record again"
            )
            for person in _present(take.people, self._people):
                person.send(wire.Notice(code="not-recorded", message=told))


def _shown(owner: Recorded, viewer: Recorded) -> bool:
    return viewer.sees and bool(owner.cameras)


def _present(people: Sequence[Recorded], known: Mapping[str, Recorded]) -> list[Recorded]:
    return [p for p in people if known.get(p.session) is p]
