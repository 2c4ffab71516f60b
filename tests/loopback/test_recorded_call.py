"""Calls that are recorded: asked, agreed, in one file, in time."""

import dataclasses
import stat
import time
from pathlib import Path

import av
import numpy as np
import pytest
from calls import BODY, Call, service, until

from streamsvc.peer import PeerOptions
from streamsvc.probe.reading import CardReader
from streamsvc.probe.sound import ChirpVoice, Ear
from streamsvc.session.participant import Participant
from streamsvc.signalling import messages as wire
from streamsvc.signalling.client import SignallingClient
from streamsvc.signalling.messages import SignallingError, SpeechSettings, ViewSettings

MS, SECOND = 1_000_000, 1_000_000_000
VIEW = ViewSettings(width=320, height=240, budget_ms=2000)
CARD = {"cam0": "synthetic:card", "cam1": "synthetic:card"}


def options(url: str, name: str, **changes: object) -> PeerOptions:
    return PeerOptions(**{"url": url, "room": "r", "name": name, "cameras": BODY, "view": VIEW, **changes})  # type: ignore[arg-type]


async def ask(participant: Participant, action: wire.RecordAction = "ask") -> None:
    await participant.record(wire.Record(action=action))


def kept(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def only(folder: Path) -> Path:
    (file,) = kept(folder)
    return file


def cards(file: Path) -> list[tuple[int, int]]:
    """(ms of the file, number on the card) of every picture of the first view."""
    reader, found = CardReader(), []
    with av.open(str(file)) as container:
        for frame in container.decode(container.streams.video[0]):
            reading = reader.read(frame.to_ndarray(format="gray"))
            if reading is not None and frame.time is not None:
                found.append((round(frame.time * 1000), reading.number))
    return found


def heard(file: Path, track: int) -> np.ndarray:
    """A voice of the file on its line of time, (n,) float32."""
    out = np.zeros(0, np.float32)
    with av.open(str(file)) as container:
        for frame in container.decode(container.streams.audio[track]):
            assert frame.time is not None
            samples = frame.to_ndarray().astype(np.float32).mean(0)
            at = round(frame.time * 48_000)
            assert abs(at - len(out)) <= 48, "the voice has no holes"
            out = np.concatenate([out, samples])
    return out


def skew(file: Path, start_ns: int, said: list[int]) -> float:
    """How much later than the picture (ms) the chirps are that were said at the instants `said`: by the file, the
    picture that shows the clock of the scene, which began at `start_ns`, and the voice."""
    zero_ns = start_ns + round(float(np.median([number - at for at, number in cards(file)]))) * MS
    ear, voice = Ear(), heard(file, 0)
    end_ns = zero_ns + len(voice) * SECOND // 48_000
    # The ear takes nothing that comes before it was said.
    for at_ns in said:
        if zero_ns + 200 * MS < at_ns < end_ns - 2 * SECOND:
            ear.said(at_ns - 200 * MS)
    for i in range(0, len(voice), 960):
        ear.hear(voice[i : i + 960], zero_ns + i * SECOND // 48_000)
    found = [(at_ns - said_ns - 200 * MS) / MS for said_ns, at_ns in ear.heard if at_ns is not None]
    assert found, "a chirp is in the file"
    return float(np.median(found))


async def test_two_agree_and_the_file_has_both_of_them_with_picture_and_sound_in_time(tmp_path: Path) -> None:
    start = time.monotonic_ns()
    said: list[int] = []
    folder = tmp_path / "kept"
    async with service(tmp_path, **{"recording.folder": folder}) as (running, url):
        ana = options(
            url,
            "Ana",
            cameras=CARD,
            mic=ChirpVoice(time.monotonic_ns, said.append),
            scene_time=lambda ns: (ns - start) / 1e9,
        )
        async with Call(ana) as a, Call(options(url, "Ben", agrees=True)) as b:
            await b.sees(3)
            people = {p.name: p for p in running.hub.participants}
            with pytest.raises(SignallingError, match="nobody waits"):
                await ask(people["Ben"], "agree")
            await ask(people["Ana"])
            await until(lambda: a.peer.recording.state == "on" and b.peer.recording.state == "on", "it records")
            begun, chirps = time.monotonic_ns(), len(said)
            await until(lambda: len(said) >= chirps + 3, "three chirps")
            await b.sees(5)
            await ask(people["Ben"], "stop")
            await until(lambda: a.peer.recording.state == "off", "both are told that it has ended")
            assert a.peer.recording.code == "stopped" and "Ben stopped" in (a.peer.recording.message or "")
            await b.sees(3)
    file = only(folder)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and file.name.endswith("-r.mkv")
    with av.open(str(file)) as container:
        titles = [s.metadata["title"] for s in container.streams]
        kinds = [(s.type, s.codec_context.name) for s in container.streams]
        seconds = (container.duration or 0) / 1e6
    both = [f"{n} ({t})" for n in ("Ana", "Ben") for t in ("voice", "translation")]
    assert titles == ["Ana (view)", "Ben (view)", *both, "Ana", "Ben"]
    assert kinds == [("video", "vp8")] * 2 + [("audio", "opus")] * 4 + [("subtitle", "srt")] * 2
    assert 4 < seconds < (time.monotonic_ns() - begun) / 1e9 + 1
    assert len(cards(file)) > 10
    assert abs(skew(file, start, said)) <= 45


async def test_a_recording_is_played_into_a_call_and_what_is_recorded_of_that_is_in_time_too(tmp_path: Path) -> None:
    start = time.monotonic_ns()
    said: list[int] = []

    async def record(name: str, **changes: object) -> Path:
        """Record 75 pictures of a mirror call and return the file."""
        folder = tmp_path / name
        async with (
            service(tmp_path, **{"recording.folder": folder}) as (running, url),
            Call(options(url, "Ana", mirror=True, **changes)) as call,
        ):
            await call.sees(3)
            await ask(running.hub.participants[0])
            await call.sees(75)
            await ask(running.hub.participants[0], "stop")
        return only(folder)

    chirps = ChirpVoice(time.monotonic_ns, said.append)
    first = await record(
        "first", cameras={"cam0": "synthetic:card"}, mic=chirps, scene_time=lambda ns: (ns - start) / 1e9
    )
    second = await record("second", cameras={"cam0": f"{first}#Ana"}, mic=f"{first}#Ana")
    assert abs(skew(first, start, said)) <= 45
    assert abs(skew(second, start, said)) <= 45


async def test_words_lie_where_they_were_spoken_and_the_translation_where_it_was_heard(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    speaker = options("", "Ana", mirror=True, cameras={}, mic="synthetic:es:9", speech=SpeechSettings(source="es"))
    async with (
        service(tmp_path, **{"recording.folder": folder, "speech.enabled": True}) as (running, url),
        Call(dataclasses.replace(speaker, url=url)) as call,
    ):
        await until(lambda: running.hub.participants and running.hub.participants[0].connected, "she is there")
        (ana,) = running.hub.participants
        await ask(ana)
        assert call.peer.microphone is not None
        await until(lambda: call.peer.microphone.ended, "all was said")  # type: ignore[union-attr]
        await until(lambda: len(call.peer.figures.captions) >= 2, "two captions")
        await until(lambda: ana.mixer.waiting_s > 0, "the interpreter speaks")
        await until(lambda: ana.mixer.waiting_s == 0, "the interpreter has spoken")
        spoken = " ".join(c.text for c in call.peer.figures.captions)
        await ask(ana, "stop")
    file = only(folder)
    with av.open(str(file)) as container:
        assert [s.type for s in container.streams] == ["audio", "audio", "subtitle"]
        cues = [(p.pts, p.duration, bytes(p).decode()) for p in container.demux(subtitles=0) if p.pts is not None]
    assert spoken.startswith(" ".join(text for _, _, text in cues)) and cues
    voice, translation = heard(file, 0), heard(file, 1)
    loud = np.flatnonzero(np.abs(voice) > 0.02) / 48
    assert abs(cues[0][0] - loud[0]) < 500, "the first words begin with the voice"
    for start, duration, _ in cues:
        assert ((loud >= start) & (loud < start + (duration or 0))).any(), "somebody speaks there"
    begins = np.flatnonzero(np.abs(translation) > 0.02)[0] / 48
    assert loud[0] + 300 < begins < loud[0] + 15_000, "it is heard after what it translates"


async def test_a_service_that_does_not_record_says_so_and_a_refusal_leaves_the_call_alone(tmp_path: Path) -> None:
    async with service(tmp_path) as (_, url), SignallingClient(url) as client:
        joined = await client.join(wire.Join(room="x", name="eve", mirror=True))
        assert not joined.records
        with pytest.raises(SignallingError) as refused:
            await client.record(wire.Record(action="ask"))
        assert refused.value.code == "not-recording"
    folder = tmp_path / "kept"
    async with service(tmp_path, **{"recording.folder": folder}) as (running, url):
        async with Call(options(url, "Ana")) as a, Call(options(url, "Ben")) as b:
            await b.sees(3)
            await ask(next(p for p in running.hub.participants if p.name == "Ana"))
            await until(lambda: a.peer.recording.code == "refused", "Ben's peer says no by itself")
            await b.sees(3)
        assert not kept(folder)
