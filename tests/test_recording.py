"""Recordings as files: what is in them, where it lies, what a crash and a full disk leave of them."""

from __future__ import annotations

import io
import os
import re
import resource
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsvc.edge.codecs import H264Encoder, VideoEncoder, Vp8Encoder
from streamsvc.peer.sources import MovieCamera, SourceError, read_sound
from streamsvc.recording import RecordingError, items, prepare, stem_of
from streamsvc.recording.film import Film, settle
from streamsvc.recording.folder import claim
from streamsvc.recording.voiceline import FRAME, JUMP, VoiceLine
from streamsvc.recording.writer import write

MS = 1_000_000
START = 7_000 * MS
ANA = items.Owner(name="Ana", view=True, codec="VP8", width=160, height=120)
BEN = items.Owner(name="Ben", view=False, codec="VP8", width=160, height=120)
FPS, FLASH_MS, SIZE = 25, 200, (160, 120)
LEVEL = 12_000


def picture(encoder: VideoEncoder, at_ms: int, *, force: bool, size: tuple[int, int] = SIZE) -> items.Picture:
    """White from every whole second on for `FLASH_MS`, else black."""
    pixels = np.full((size[1], size[0], 3), 235 if at_ms % 1000 < FLASH_MS else 16, np.uint8)
    encoder.encode(pixels, at_ms * 90, force)
    encoded = encoder.last
    assert encoded is not None
    return items.Picture(
        owner=0,
        codec=encoded.codec,
        keyframe=encoded.keyframe,
        width=encoded.width,
        height=encoded.height,
        at_ns=START + at_ms * MS,
        data=encoded.data,
    )


def beep(at_ms: int, owner: int = 0, translated: bool = False) -> items.Sound:
    """20 ms of a voice that hums while it is white."""
    hum = LEVEL * np.sin(2 * np.pi * 400 * np.arange(960) / 48_000)
    samples = (hum if at_ms % 1000 < FLASH_MS else np.zeros(960)).astype("<i2").tobytes()
    return items.Sound(owner=owner, translated=translated, at_ns=START + at_ms * MS, samples=samples)


def script(encoder: VideoEncoder, seconds: int, *, larger_from_ms: int = 1 << 40) -> list[items.Item]:
    """A call as its edge tells it: one who is seen and heard, another who says something at 1.2 s, told at 2.7 s."""
    told: list[items.Item] = []
    for at in range(0, seconds * 1000, 20):
        if at % 40 == 0:
            size = (320, 240) if at >= larger_from_ms else SIZE
            told.append(picture(encoder, at, force=at == 0, size=size))
        told.append(beep(at))
        if at == 2700:
            text = "I am glad to see you."
            told.append(items.Words(owner=1, text=text, start_ns=START + 1200 * MS, end_ns=START + 2100 * MS))
        if at % 200 == 0:
            told.append(items.Tick(now_ns=START + at * MS))
    return [*told, items.Tick(now_ns=START + seconds * 1000 * MS)]


def begin(folder: Path, *, least_free_bytes: int = 0, codec: str = "VP8") -> items.Begin:
    return items.Begin(
        folder=str(folder),
        stem="call",
        title="Ana & Ben",
        owners=[msgspec.structs.replace(ANA, codec=codec), BEN],
        start_ns=START,
        least_free_bytes=least_free_bytes,
    )


def written(folder: Path, told: list[items.Item], **changes: Any) -> list[items.FromWriter]:
    """Write a recording in this process and return what the writer reported."""
    said = io.BytesIO()
    write(io.BytesIO(b"".join(map(items.encode, [begin(folder, **changes), *told]))), said)
    said.seek(0)
    reports = []
    while size := int.from_bytes(said.read(4), "little"):
        reports.append(items.decode_report(said.read(size)))
    return reports


def flashes_and_beeps(file: Path) -> tuple[list[float], list[float]]:
    """The instants (ms) at which the picture turns white, and at which the voice begins."""
    with av.open(str(file)) as container:
        light = [(f.time * 1000, f.to_ndarray(format="gray").mean() > 128) for f in container.decode(video=0)]
    voice = np.abs(read_sound(str(file)))
    loud = np.flatnonzero(voice > LEVEL / 32767 / 4) / 48
    flashes = [t for (t, on), (_, before) in zip(light[1:], light, strict=False) if on and not before]
    return flashes, [float(b) for a, b in zip([-1e9, *loud], loud, strict=False) if b - a > 300]


@pytest.mark.parametrize("encoder", [Vp8Encoder, H264Encoder])
def test_a_file_has_a_view_two_voices_and_words_of_each_in_time(tmp_path: Path, encoder: type[VideoEncoder]) -> None:
    reports = written(tmp_path, [*script(encoder(), 6), items.End()])
    assert reports == [
        items.Opened(name="call.mkv"),
        items.Closed(code="finished", message="the recording is saved"),
    ]
    file = tmp_path / "call.mkv"
    assert [p.name for p in tmp_path.iterdir()] == ["call.mkv"] and stat.S_IMODE(file.stat().st_mode) == 0o600
    with av.open(str(file)) as container:
        assert container.metadata["title"] == "Ana & Ben" and container.duration == pytest.approx(6e6, abs=1e5)
        assert [(s.type, s.metadata["title"]) for s in container.streams] == [
            ("video", "Ana (view)"),
            ("audio", "Ana (voice)"),
            ("audio", "Ana (translation)"),
            ("audio", "Ben (voice)"),
            ("audio", "Ben (translation)"),
            ("subtitle", "Ana"),
            ("subtitle", "Ben"),
        ]
        codec = container.streams.video[0].codec_context.name
        assert codec == {Vp8Encoder: "vp8", H264Encoder: "h264"}[encoder]
        assert {s.rate for s in container.streams.audio} == {48_000}
        before, cue = [], None
        for packet in container.demux():
            if packet.stream.type == "subtitle" and packet.pts is not None:
                cue = (packet.pts, packet.duration, bytes(packet).decode())
                assert 1100 <= max(before) <= 1300, "it lies in the file where it is spoken"
            elif packet.pts is not None and packet.stream.type == "video":
                before.append(packet.pts)
    assert cue == (1200, 1000, "I am glad to see you."), "shown for a second at least"
    flashes, beeps = flashes_and_beeps(file)
    assert len(flashes) >= 5 and all(any(abs(f - b) <= 45 for b in beeps) for f in flashes), (flashes, beeps)


def test_a_view_that_changes_its_size_goes_on_in_the_same_track(tmp_path: Path) -> None:
    written(tmp_path, [*script(Vp8Encoder(), 4, larger_from_ms=2000), items.End()])
    with av.open(str(tmp_path / "call.mkv")) as container:
        sizes = [(f.width, f.height) for f in container.decode(video=0)]
    assert sizes == [SIZE] * 50 + [(320, 240)] * 50


@pytest.mark.parametrize("encoder", [Vp8Encoder, H264Encoder])
def test_a_voice_without_pictures_is_recorded_and_a_late_picture_finds_its_track(
    tmp_path: Path, encoder: type[VideoEncoder]
) -> None:
    told = [t for t in script(Vp8Encoder(), 4) if not isinstance(t, items.Picture)]
    late = encoder()
    pictures = [picture(late, at, force=at == 3000) for at in (3000, 3040)]
    reports = written(tmp_path, [*told, *pictures, items.End()], codec=pictures[0].codec)
    assert [r.code for r in reports if isinstance(r, items.Closed)] == ["finished"]
    with av.open(str(tmp_path / "call.mkv")) as container:
        assert [round(f.time * 1000) for f in container.decode(video=0)] == [3000, 3040]
    assert len(read_sound(str(tmp_path / "call.mkv"))) >= 4 * 48_000


def test_another_codec_ends_the_recording_and_what_there_was_is_kept(tmp_path: Path) -> None:
    told = [*script(Vp8Encoder(), 2), picture(H264Encoder(), 2000, force=True)]
    assert [r.code for r in written(tmp_path, told) if isinstance(r, items.Closed)] == ["codec-changed"]
    with av.open(str(tmp_path / "call.mkv")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 50


def test_a_full_disk_ends_the_recording_before_it_is_full(tmp_path: Path) -> None:
    reports = written(tmp_path, script(Vp8Encoder(), 3), least_free_bytes=1 << 62)
    assert reports[-1] == items.Closed(code="disk-low", message="the disk of the service is nearly full")
    assert av.open(str(tmp_path / "call.mkv")).streams.video


def test_a_file_that_cannot_grow_is_an_error_that_says_so(tmp_path: Path) -> None:
    source = b"".join(map(items.encode, [begin(tmp_path), *script(Vp8Encoder(), 8)]))
    done = subprocess.run(
        [sys.executable, "-m", "streamsvc.recording.writer"],
        input=source,
        stdout=subprocess.PIPE,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    closed = items.decode_report(done.stdout[4 + int.from_bytes(done.stdout[:4], "little") + 4 :])
    assert isinstance(closed, items.Closed) and closed.code == "write-failed"
    assert (tmp_path / "call.mkv").stat().st_size <= 20_000


def test_a_writer_that_is_killed_loses_less_than_two_seconds(tmp_path: Path) -> None:
    seconds = 6
    process = subprocess.Popen(
        [sys.executable, "-m", "streamsvc.recording.writer"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None and process.stdout is not None
    told = [begin(tmp_path), *script(Vp8Encoder(), seconds)]
    process.stdin.write(b"".join(map(items.encode, told)))
    # What follows fills the pipe: once it has gone through, everything before it was taken.
    for _ in range(40):
        process.stdin.write(items.encode(items.Words(owner=0, text="x" * 65_536, start_ns=0, end_ns=0)))
    process.stdin.flush()
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()
    with av.open(str(tmp_path / "call.mkv")) as container:
        last = {}
        for packet in container.demux():
            if packet.pts is not None:
                last[packet.stream.metadata["title"]] = float(packet.pts * packet.time_base)
    assert min(last[t] for t in ("Ana (view)", "Ana (voice)", "Ben (translation)")) > seconds - 2
    settle(tmp_path / "call.mkv")
    flashes, beeps = flashes_and_beeps(tmp_path / "call.mkv")
    assert len(flashes) >= 3 and all(any(abs(f - b) <= 45 for b in beeps) for f in flashes)


@pytest.mark.parametrize("share", [0.3, 0.55, 0.8, 0.97])
def test_a_file_that_was_cut_anywhere_plays_up_to_there(tmp_path: Path, share: float) -> None:
    film = Film(tmp_path / "call.mkv", "t", [ANA, BEN], START)
    for item in script(Vp8Encoder(), 5):
        match item:
            case items.Picture():
                film.picture(item)
            case items.Sound():
                film.sound(item)
            case items.Tick():
                film.advance(item.now_ns)
    film.close(START + 5000 * MS)
    whole = (tmp_path / "call.mkv").read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole[: int(len(whole) * share)])
    with av.open(str(cut)) as container:
        times = [f.time for f in container.decode(video=0)]
    assert times and times[-1] >= 5 * share - 1.5


def test_a_recording_is_a_source_for_a_camera_and_a_microphone_by_name(tmp_path: Path) -> None:
    told = [msgspec.structs.replace(t, owner=1) if isinstance(t, items.Sound) else t for t in script(Vp8Encoder(), 3)]
    written(tmp_path, [*told, items.End()])
    file = str(tmp_path / "call.mkv")
    frames = list(MovieCamera("cam0", f"{file}#Ana", None, 15.0)._frames())
    assert len(frames) == 75 and frames[0][1].shape == (120, 160, 3) and frames[0][1].mean() > 200
    assert np.abs(read_sound(f"{file}#Ben")).max() > 0.2
    assert np.abs(read_sound(file)).max() < 0.01, "without a name it is the voice of who is seen"
    with pytest.raises(SourceError, match="nothing of 'Eve'; it has Ana, Ben"):
        read_sound(f"{file}#Eve")
    with pytest.raises(SourceError, match="nothing of 'Ben'; it has Ana"):
        MovieCamera("cam0", f"{file}#Ben", None, 15.0)


@given(st.text(max_size=64))
def test_a_name_is_harmless_whatever_the_room_is_called(room: str) -> None:
    stem = stem_of(room, datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert re.fullmatch(r"2030-01-02T030405-[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", stem)


def test_a_file_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "call.mkv").write_text("mine")
    (tmp_path / "call-2.mkv").symlink_to(tmp_path / "elsewhere")
    assert claim(tmp_path, "call").name == "call-3.mkv"
    assert (tmp_path / "call.mkv").read_text() == "mine" and not (tmp_path / "elsewhere").exists()


def test_a_folder_is_made_for_its_owner_and_one_that_cannot_be_is_named(tmp_path: Path) -> None:
    prepare(tmp_path / "a" / "b")
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    (tmp_path / "file").touch()
    with pytest.raises(RecordingError, match="can't be made"):
        prepare(tmp_path / "file" / "folder")
    if os.geteuid():
        (tmp_path / "a").chmod(0o500)
        with pytest.raises(RecordingError, match="can't be written"):
            prepare(tmp_path / "a")


def positions(line: VoiceLine, until: int) -> np.ndarray:
    """What is on a line, up to a position."""
    return np.concatenate([f for _, f in line.take(until)]) if until >= FRAME else np.zeros(0, np.int16)


@given(st.lists(st.integers(-400, 400), min_size=100, max_size=100))
def test_a_clock_that_wavers_does_not_tear_a_voice(waver: list[int]) -> None:
    line = VoiceLine()
    for i, off in enumerate(waver):
        line.put(np.full(FRAME, i + 1, np.int16), 4 * FRAME + i * FRAME + off)
    heard = positions(line, 110 * FRAME)
    first = int(np.flatnonzero(heard)[0])
    assert abs(first - 4 * FRAME) <= 400
    assert np.array_equal(heard[first : first + 100 * FRAME], np.repeat(np.arange(1, 101, dtype=np.int16), FRAME))


@pytest.mark.parametrize("drift", [0.997, 1.003])
def test_a_line_stays_with_a_clock_that_goes_slower_or_faster(drift: float) -> None:
    line = VoiceLine()
    for i in range(3000):
        samples = np.zeros(FRAME, np.int16)
        samples[0] = 1 + i
        line.put(samples, round(i * FRAME * drift))
    heard = positions(line, 3100 * FRAME)
    where = {int(heard[p]) - 1: int(p) for p in np.flatnonzero(heard)}
    assert all(abs(p - i * FRAME * drift) <= 48 * 40 for i, p in where.items()), "within 40 ms, always"
    assert len(where) > 2900


def test_a_pause_is_silence_and_what_comes_too_late_is_left_out() -> None:
    line = VoiceLine()
    line.put(np.full(FRAME, 1, np.int16), 0)
    assert [at for at, _ in line.take(2 * FRAME)] == [0, FRAME]
    line.put(np.full(FRAME, 2, np.int16), FRAME)  # its time was taken already
    line.put(np.full(FRAME, 3, np.int16), 4 * JUMP)
    heard = positions(line, 4 * JUMP + FRAME)
    assert not (heard == 2).any() and np.flatnonzero(heard == 3)[0] == 4 * JUMP - 2 * FRAME
