"""Who may record whom: everybody is asked and told, nobody is recorded who did not agree, and the call goes on."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsvc import config
from streamsvc.edge import EncodedPicture
from streamsvc.edge.codecs import Vp8Encoder
from streamsvc.session.consent import Consent
from streamsvc.session.recording import Recordings
from streamsvc.signalling import messages as wire
from streamsvc.signalling.messages import SignallingError
from streamsvc.signalling.rooms import Member, Room


class SetClock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.at_ns = 5_000_000_000

    def now_ns(self) -> int:
        return self.at_ns


class Person:
    """Somebody who is shown and heard, and keeps what they are told."""

    connected = sees = True
    cameras: tuple[str, ...] = ("cam0",)
    view_codec = "VP8"
    settings = SimpleNamespace(width=160, height=120)

    def __init__(self, name: str) -> None:
        self.session, self.name = name.lower(), name
        self.speaking = SimpleNamespace(recorded=None)
        self.view_tap: Any = None
        self.told: list[wire.Recording] = []
        self.noticed: list[wire.Notice] = []
        self._news = asyncio.Event()

    def send(self, message: wire.ServerMessage) -> None:
        if isinstance(message, wire.Notice):
            self.noticed.append(message)
        else:
            assert isinstance(message, wire.Recording)
            self.told.append(message)
        self._news.set()

    @property
    def state(self) -> str:
        return self.told[-1].state if self.told else "off"

    async def hears(self, condition: Callable[[wire.Recording], bool]) -> wire.Recording:
        """Wait until they are told something that fits."""
        await self.until(lambda: bool(self.told) and condition(self.told[-1]))
        return self.told[-1]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something they were told makes it true."""
        async with asyncio.timeout(60):
            while not condition():
                self._news.clear()
                await self._news.wait()


class Case:
    """A service that records Ana and Ben (or Ana alone, in a mirror)."""

    def __init__(self, folder: Path | None, *names: str, mirror: bool = False, **settings: float) -> None:
        self.clock = SetClock()
        self.people = {p.session: p for p in map(Person, names)}
        members = tuple(Member(p.session, p.name) for p in self.people.values())
        self.room = Room("Ana’s room/../x", mirror, members)
        chosen = config.Recording(folder=folder, **settings)  # type: ignore[arg-type]
        self.recordings = Recordings(chosen, self.clock, self.people)  # type: ignore[arg-type]
        self.ana, self.ben = self.people["ana"], self.people.get("ben", self.people["ana"])

    async def does(self, person: Person, action: wire.RecordAction) -> None:
        await self.recordings.record(self.room, person.session, action)

    async def refused(self, person: Person, action: wire.RecordAction, code: str) -> None:
        with pytest.raises(SignallingError) as refused:
            await self.does(person, action)
        assert refused.value.code == code

    def untouched(self) -> bool:
        return all(p.view_tap is None and p.speaking.recorded is None for p in self.people.values())


def kept(folder: Path) -> list[Path]:
    """What is in a folder."""
    return sorted(folder.iterdir())


async def test_a_service_without_a_folder_records_nothing() -> None:
    case = Case(None, "Ana", "Ben")
    assert not case.recordings.possible
    await case.refused(case.ana, "ask", "not-recording")
    assert not case.ana.told and case.untouched()


async def test_nothing_is_recorded_before_the_other_agrees_and_either_may_stop(tmp_path: Path) -> None:
    case = Case(tmp_path, "Ana", "Ben")
    await case.does(case.ana, "ask")
    assert (case.ana.told[-1].state, case.ana.told[-1].asks_you) == ("asked", False)
    assert (case.ben.told[-1].by, case.ben.told[-1].asks_you, case.ben.told[-1].left_s) == ("Ana", True, 30.0)
    assert case.untouched() and not kept(tmp_path)
    for action in ("ask", "agree", "refuse"):
        await case.refused(case.ana, action, "unexpected")
    await case.does(case.ben, "agree")
    assert case.ana.state == case.ben.state == "on" and not case.untouched()
    await case.refused(case.ben, "ask", "unexpected")
    encoder = Vp8Encoder()
    assert _shown(case, case.ben, encoder, 0, force=False), "a keyframe has to come first"
    for at_ms in range(40, 4000, 40):
        assert not _shown(case, case.ben, encoder, at_ms, force=at_ms == 40)
    assert _shown(case, case.ben, encoder, 20_080, force=False), "one can wind to somewhere every 20 s"
    await case.does(case.ben, "stop")
    assert case.ana.told[-1].code == "stopped" and "Ben stopped" in str(case.ana.told[-1].message)
    assert case.untouched()
    await case.recordings.close()
    (file,) = kept(tmp_path)
    assert file.name.endswith("-anas-room-x.mkv")
    with av.open(str(file)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 100


def _shown(case: Case, viewer: Person, encoder: Vp8Encoder, at_ms: int, *, force: bool) -> bool:
    """One picture on its way to a viewer; returns whether a keyframe is wished for."""
    encoder.encode(np.full((120, 160, 3), at_ms // 40 % 256, np.uint8), at_ms * 90 + 90, force)
    picture = encoder.last
    assert picture is not None
    if not at_ms:
        picture = EncodedPicture(picture.codec, picture.data, False, 160, 120)
    wished: bool = viewer.view_tap(picture, case.clock.at_ns + at_ms * 1_000_000)
    return wished


@pytest.mark.parametrize(
    ("action", "code"), [("refuse", "refused"), ("stop", "stopped")], ids=["the other refuses", "or says stop"]
)
async def test_who_is_asked_may_say_no(tmp_path: Path, action: wire.RecordAction, code: str) -> None:
    case = Case(tmp_path, "Ana", "Ben")
    await case.does(case.ana, "ask")
    await case.does(case.ben, action)
    assert [p.told[-1].code for p in (case.ana, case.ben)] == [code] * 2
    assert case.untouched() and not kept(tmp_path)
    await case.refused(case.ben, "agree", "unexpected")
    await case.does(case.ben, "ask")
    assert case.ana.told[-1].asks_you, "anybody may ask again"
    await case.recordings.close()


async def test_an_answer_that_does_not_come_is_a_no(tmp_path: Path) -> None:
    case = Case(tmp_path, "Ana", "Ben")
    await case.does(case.ana, "ask")
    case.clock.at_ns += 30_000_000_000
    assert (await case.ana.hears(lambda m: m.state == "off")).code == "unanswered"
    await case.refused(case.ben, "agree", "unexpected")


@pytest.mark.parametrize("agreed", [False, True])
@pytest.mark.parametrize("how", ["joined", "left"])
async def test_who_joins_or_leaves_ends_it(tmp_path: Path, agreed: bool, how: str) -> None:
    case = Case(tmp_path, "Ana", "Ben")
    await case.does(case.ana, "ask")
    if agreed:
        await case.does(case.ben, "agree")
    if how == "left":
        del case.people["ben"]
    told = len(case.ben.told)
    case.recordings.members_changed(case.room, "Eve" if how == "joined" else "Ben", how)
    assert case.ana.told[-1].code == how and case.ana.state == "off"
    assert case.ben.view_tap is None and case.ben.speaking.recorded is None
    assert len(case.ben.told) == told + (how == "joined"), "who is gone is told nothing"
    await case.recordings.close()
    assert len(kept(tmp_path)) == agreed


async def test_a_picture_that_comes_after_the_recording_began_is_told_to_be_missing(tmp_path: Path) -> None:
    case = Case(tmp_path, "Ana", "Ben")
    case.ana.cameras = ()
    await case.does(case.ana, "ask")
    await case.does(case.ben, "agree")
    assert case.ana.view_tap is not None and case.ben.view_tap is None
    case.ana.cameras = ("cam0",)
    for person in (case.ana, case.ben):
        await person.until(lambda person=person: bool(person.noticed))
    case.people["ben"].told.clear()
    tap = case.ana.view_tap
    tap._writer.dropped += 1
    await case.ben.hears(lambda m: m.missing == 1)
    assert [n.code for n in case.ben.noticed] == ["not-recorded"], "it is told once"
    assert "the picture of Ana" in case.ben.noticed[0].message and case.ben.state == "on"
    await case.recordings.close()


async def test_in_a_mirror_ones_own_consent_is_enough_and_alone_in_a_room_there_is_nobody(tmp_path: Path) -> None:
    mirror, alone = Case(tmp_path, "Ana", mirror=True), Case(tmp_path, "Ana")
    await mirror.does(mirror.ana, "ask")
    assert mirror.ana.state == "on" and mirror.ana.view_tap is not None
    await alone.refused(alone.ana, "ask", "not-ready")
    await mirror.recordings.close()
    assert mirror.ana.told[-1].code == "stopped"


async def test_recordings_are_counted_and_end_when_they_are_long_enough(tmp_path: Path) -> None:
    case = Case(tmp_path, "Ana", mirror=True, max_recordings=1, max_minutes=0.5)
    await case.does(case.ana, "ask")
    other = Room("another", True, (Member("ana", "Ana"),))
    with pytest.raises(SignallingError) as full:
        await case.recordings.record(other, "ana", "ask")
    assert full.value.code == "recording-full"
    case.clock.at_ns += 31_000_000_000
    assert (await case.ana.hears(lambda m: m.state == "off")).code == "too-long"
    await case.recordings.close()


async def test_a_recording_keeps_its_place_until_its_process_has_ended(tmp_path: Path) -> None:
    case = Case(tmp_path, "Ana", mirror=True, max_recordings=1)
    other = Room("another", True, (Member("ana", "Ana"),))
    await case.does(case.ana, "ask")
    pid = case.ana.view_tap._writer.pid
    os.kill(pid, signal.SIGSTOP)
    await case.does(case.ana, "stop")
    assert case.ana.state == "off"
    with pytest.raises(SignallingError) as full:
        await case.recordings.record(other, "ana", "ask")
    assert full.value.code == "recording-full"
    os.kill(pid, signal.SIGCONT)
    await asyncio.wait(case.recordings._closing)
    await case.recordings.record(other, "ana", "ask")
    assert case.ana.state == "on"
    await case.recordings.close()


async def test_a_writer_that_dies_or_a_disk_that_is_full_is_told_to_everybody(tmp_path: Path) -> None:
    case = Case(tmp_path, "Ana", "Ben")
    await case.does(case.ana, "ask")
    await case.does(case.ben, "agree")
    pid = case.ben.view_tap._writer.pid
    os.kill(pid, signal.SIGKILL)
    for person in (case.ana, case.ben):
        ended = await person.hears(lambda m: m.state == "off")
        assert ended.code == "write-failed" and "died" in str(ended.message)
    assert case.untouched()
    full = Case(tmp_path, "Ana", mirror=True, least_free_mib=1 << 30)
    await full.does(full.ana, "ask")
    assert (await full.ana.hears(lambda m: m.state == "off")).code == "disk-low"
    await full.recordings.close()


async def test_a_writer_that_hangs_costs_pictures_first_then_the_recording_and_never_the_call(tmp_path: Path) -> None:
    case = Case(tmp_path, "Ana", mirror=True)
    await case.does(case.ana, "ask")
    tap = case.ana.view_tap
    voice = case.ana.speaking.recorded
    os.kill(tap._writer.pid, signal.SIGSTOP)
    try:
        at = case.clock.at_ns
        large = [EncodedPicture("VP8", bytes(1 << 20), key, 160, 120) for key in (True, False)]
        wishes = [tap(large[i > 0], at + i) for i in range(12)]
        assert not any(wishes[:4]) and all(wishes[6:]), "what no longer fits begins again with a keyframe"
        case.clock.at_ns += 1
        assert (await case.ana.hears(lambda m: m.missing > 0)).state == "on"
        while case.ana.state == "on":
            voice.original(np.zeros(48_000, np.float32), at)
            await asyncio.sleep(0)
        assert case.ana.told[-1].code == "writer-slow"
    finally:
        os.kill(tap._writer.pid, signal.SIGKILL)
    await case.recordings.close()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(("ask", "agree", "stop"))), max_size=12))
def test_it_is_on_only_after_everybody_else_has_agreed(steps: list[tuple[str, str]]) -> None:
    consent, agreed = Consent(), set[str]()
    for who, what in steps:
        before = consent
        try:
            if what == "ask":
                consent = consent.ask(who, set("abc") - {who}, 0)
                agreed = {who}
            elif what == "agree":
                consent = consent.agree(who)
                agreed |= {who}
            else:
                consent, agreed = consent.stop(), set()
        except SignallingError:
            assert consent == before
        assert (consent.state == "on") == (agreed == set("abc"))
