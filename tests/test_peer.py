"""The headless peer's sources and eye paths: what is accepted, what is refused and how."""

import asyncio
import threading
import wave
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import av
import numpy as np
import pytest
from port import serving

from streamsvc.edge import Received
from streamsvc.errors import StreamsvcError
from streamsvc.frames import RigError, Screen
from streamsvc.peer import sources
from streamsvc.peer.eyes import EyeError, eye_at
from streamsvc.peer.headless import HeadlessPeer
from streamsvc.peer.options import KEPT, PeerOptions
from streamsvc.peer.recorder import Recorder, RecorderError
from streamsvc.peer.sources import (
    LiveMicrophone,
    Microphone,
    MovieCamera,
    SourceError,
    open_cameras,
    open_microphone,
    rate_of,
)
from streamsvc.signalling.channels import Caption
from streamsvc.signalling.messages import encode

SCREEN = Screen(np.array([0, 0, 0.8]), np.array([0.3, 0, 0]), np.array([0, -0.2, 0]))


def write_wav(path: Path, rate: int, channels: int, seconds: float = 1.0) -> Path:
    t = np.arange(round(rate * seconds)) / rate
    sound = (10_000 * np.sin(2 * np.pi * 300 * t)).astype("<i2")
    with wave.open(str(path), "wb") as f:
        f.setparams((channels, 2, rate, 0, "NONE", ""))
        f.writeframes(np.repeat(sound, channels).tobytes())
    return path


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (44_100, 2), (48_000, 1)])
def test_a_microphone_reads_any_rate_and_layout_and_is_silent_after_its_end(
    tmp_path: Path, rate: int, channels: int
) -> None:
    mic = open_microphone(str(write_wav(tmp_path / "a.wav", rate, channels)), lead_s=0.5)
    assert isinstance(mic, Microphone)
    assert mic.seconds == pytest.approx(1.5, abs=0.02)
    assert not mic.read(24_000).any()
    heard = mic.read(48_000)
    assert np.abs(heard).max() > 0.2
    assert np.argmax(np.abs(np.fft.rfft(heard))) == pytest.approx(300, abs=2)
    mic.read(48_000)
    assert mic.ended and not mic.read(960).any()


@pytest.mark.parametrize("content", [b"", b"not sound at all"])
def test_a_damaged_sound_file_is_a_source_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"a\.wav"):
        open_microphone(str(path))


def test_a_missing_file_or_device_is_a_source_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        open_microphone(str(tmp_path / "a.wav"))
    with pytest.raises(SourceError, match="can't be opened"):
        open_cameras({"cam0": "/dev/video99"}, None, (320, 240), 15)


def test_a_sound_file_is_no_camera(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no video"):
        open_cameras({"cam0": str(write_wav(tmp_path / "a.wav", 8000, 1))}, None, (320, 240), 15)


def test_unknown_scenes_and_cameras_are_refused() -> None:
    with pytest.raises(StreamsvcError, match="no scene"):
        open_cameras({"cam0": "synthetic:ghost"}, None, (320, 240), 15)
    with pytest.raises(RigError, match="no camera 'door'"):
        open_cameras({"door": "synthetic:body"}, None, (320, 240), 15)


def film(path: Path, fps: int, pictures: int = 4) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(pictures):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 60 * i, np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_the_rate_that_is_told_is_that_of_the_quickest_camera_and_of_a_film_its_own(tmp_path: Path) -> None:
    slow, quick = film(tmp_path / "slow.mp4", 1), film(tmp_path / "quick.mp4", 25)

    def told(*sources: str) -> float | None:
        groups, _ = open_cameras({f"cam{i}": s for i, s in enumerate(sources)}, None, (64, 48), 15)
        return rate_of(groups)

    assert told() == 0
    assert told("synthetic:card") == 15
    assert told(str(slow)) == 1
    assert told(str(slow), str(quick)) == 25
    groups, _ = open_cameras({"cam0": str(slow)}, None, (64, 48), 15)
    groups[0].fps = None
    assert rate_of(groups) is None


def test_a_film_without_a_picture_that_can_be_decoded_is_told_and_not_tried_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera = MovieCamera("cam0", str(film(tmp_path / "film.mp4", 5)), None, 15)
    tries = []
    monkeypatch.setattr(camera, "_frames", lambda absolute: iter(()) if not tries and not tries.append(1) else 1 / 0)
    with pytest.raises(SourceError, match=r"film\.mp4 has no picture"):
        camera.run(lambda *_: None, threading.Event())


@pytest.mark.parametrize("error", [av.error.InvalidDataError(1, "bad data"), OSError(19, "No such device")])
async def test_a_camera_that_ends_in_a_call_is_told_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    source = str(film(tmp_path / "film.mp4", 5))
    peer = HeadlessPeer(PeerOptions(url="http://x", room="r", cameras={"cam0": source}))

    def broken(*_: object) -> object:
        raise error

    container = MagicMock(decode=broken)
    container.__enter__.return_value = container
    monkeypatch.setattr(sources, "_open", lambda *_: container)
    monkeypatch.setattr(sources, "_track", lambda *_: None)
    await asyncio.to_thread(peer._film, peer._groups[0], asyncio.get_running_loop())
    await asyncio.sleep(0)
    (told,) = peer.figures.notices
    assert told == f"camera-ended: {source} can't be read any more: {error.strerror}"


def test_a_microphone_that_is_pulled_out_is_told_and_silent(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(*_: object) -> object:
        raise OSError(19, "No such device")

    monkeypatch.setattr(sources.av, "open", lambda *_, **__: MagicMock(decode=gone))
    monkeypatch.setattr(threading.Thread, "start", lambda thread: None)
    microphone = LiveMicrophone("hw:7")
    microphone._run()
    assert "hw:7 can't be read any more: No such device" in caplog.text
    assert not microphone.read(960).any()


def test_a_scene_brings_its_rig() -> None:
    _, rig = open_cameras({"cam0": "synthetic:body", "cam1": "synthetic:body"}, None, (160, 120), 15)
    assert rig is not None and rig.cameras[0].width == 160 and rig.pairs


def test_eye_paths() -> None:
    assert eye_at("still", 1.0, SCREEN) is None
    assert eye_at("0.1,-0.2,-0.5", 0, SCREEN) == (0.1, -0.2, -0.5)
    assert eye_at("sway", 0.0, None) is None
    path = np.array([eye_at("sway", t, SCREEN) for t in np.linspace(0, 12, 60)])
    assert np.ptp(path[:, 0]) == pytest.approx(0.24, abs=0.01)
    assert (path[:, 2] < SCREEN.centre[2]).all()
    for bad in ("walk", "1,2", "nan,0,0"):
        with pytest.raises(EyeError):
            eye_at(bad, 0, SCREEN)


def test_an_eye_that_is_no_path_is_refused_before_the_call() -> None:
    peer = HeadlessPeer(PeerOptions(url="http://127.0.0.1:1", room="lab", eye="up"))
    with pytest.raises(EyeError, match="still, sway or x,y,z"):
        asyncio.run(peer.run(1.0))


def test_a_recording_keeps_pictures_sound_and_captions_on_one_clock(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    start = 5_000_000_000
    tone = np.sin(2 * np.pi * 440 / 48_000 * np.arange(960)).astype(np.float32) * 0.5
    for i in range(100):  # two seconds; silence in the second one
        recorder.sound(tone if i < 50 else np.zeros(960, np.float32), start + (i + 1) * 20_000_000)
        if i % 13 == 2:  # eight pictures, a grey that grows
            luma = np.full((180, 160), 128, np.uint8)
            luma[:120] = 60 + i
            recorder.picture(av.VideoFrame.from_ndarray(luma, "yuv420p"), start + i * 20_000_000)
    for id, (at_ms, text) in enumerate(
        ((300, "The conference"), (700, "is now"), (1200, "unlocked."), (1800, "I feel it."))
    ):
        recorder.caption("Ana", id, text, start + at_ms * 1_000_000)
    recorder.revise("Ana", [0, 1, 2], "The conference is now unblocked.")
    recorder.revise("Ben", [3], "of somebody who said nothing")
    recorder.close()
    with wave.open(str(tmp_path / "speech.wav")) as saved:
        assert (saved.getframerate(), saved.getnchannels(), saved.getnframes()) == (48_000, 1, 96_000)
    with av.open(str(tmp_path / "view.mp4")) as film:
        pictures = [(float(f.pts * f.time_base), f.to_ndarray()[20, 20]) for f in film.decode(video=0)]
        film.seek(0)
        sound = np.concatenate([f.to_ndarray()[0] for f in film.decode(audio=0)])
    assert [round(t, 3) for t, _ in pictures] == [round((i * 13 + 2) * 0.02, 3) for i in range(8)]
    assert all(abs(int(y) - (62 + 13 * i)) <= 3 for i, (_, y) in enumerate(pictures))
    assert np.sqrt(np.mean(sound[4800:43_200] ** 2)) == pytest.approx(0.354, abs=0.03)
    assert np.abs(sound[52_800:90_000]).max() < 0.02
    captions = (tmp_path / "captions.srt").read_text()
    assert captions == (
        "1\n00:00:00,300 --> 00:00:01,800\nThe conference is now unlocked.\n\n"
        "2\n00:00:01,800 --> 00:00:03,300\nI feel it.\n"
    )
    assert (tmp_path / "transcript.srt").read_text() == captions.replace("unlocked", "unblocked")


@pytest.mark.parametrize("size", [(161, 121), (160, 121), (161, 120)])
def test_a_film_of_an_odd_size_loses_its_last_column_and_row(tmp_path: Path, size: tuple[int, int]) -> None:
    recorder = Recorder(tmp_path)
    columns = np.linspace(40, 200, size[0]).astype(np.uint8)
    picture = np.repeat(np.broadcast_to(columns, (size[1], size[0]))[..., None], 3, axis=2)
    for i in range(6):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24").reformat(format="yuv420p")
        recorder.picture(frame, 10**9 + i * 33_000_000)
    recorder.close()
    with av.open(str(tmp_path / "view.mp4")) as film:
        frames = list(film.decode(video=0))
    assert len(frames) == 6 and (frames[0].width, frames[0].height) == (160, 120)
    # Cut, not scaled: every column is where it was.
    assert np.abs(frames[-1].to_ndarray(format="rgb24")[60, :, 1].astype(int) - columns[:160]).max() <= 6


def test_a_film_that_can_not_be_written_is_an_error_and_keeps_nothing_waiting(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.picture(av.VideoFrame.from_ndarray(np.zeros((1, 1, 3), np.uint8), format="rgb24"), 10**9)
    recorder._thread.join(10)
    recorder.caption("Ana", 0, "Still here.", 10**9)
    for i in range(100):
        recorder.sound(np.zeros(960, np.float32), 10**9 + (i + 1) * 20_000_000)
    assert recorder._queue.qsize() == 0
    with pytest.raises(RecorderError, match=r"view\.mp4"):
        recorder.close()
    # What could be saved is.
    assert "Still here." in (tmp_path / "captions.srt").read_text()
    with wave.open(str(tmp_path / "speech.wav")) as saved:
        assert saved.getnframes() == 96_000


def test_only_the_latest_words_of_who_joined_anew_are_revised(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    start = 10**9
    recorder.sound(np.zeros(960, np.float32), start)
    said = ((0, 3, "My number is five."), (1, 6, "Call me on Monday."), (0, 60, "Hello again,"), (1, 62, "I am bag."))
    for id, at_s, text in said[:3]:
        recorder.caption("Ann", id, text, start + at_s * 10**9)
    # Words 1 were said before words 0: no phrase has both.
    recorder.revise("Ann", [0, 1], "of two calls")
    recorder.caption("Ann", *said[3][::2], start + said[3][1] * 10**9)
    recorder.revise("Ann", [0, 1], "Hello again, I am back.")
    recorder.close()
    transcript = (tmp_path / "transcript.srt").read_text()
    assert "five." in transcript and "Monday." in transcript and "of two calls" not in transcript
    assert transcript.count("Hello again, I am back.") == 1 and "bag" not in transcript


def test_a_recording_of_nothing_is_empty_and_whole(tmp_path: Path) -> None:
    Recorder(tmp_path).close()
    with wave.open(str(tmp_path / "speech.wav")) as saved:
        assert saved.getnframes() == 0
    assert (tmp_path / "captions.srt").read_text() == "" and not (tmp_path / "view.mp4").exists()


class Taker:
    """A track that takes every picture."""

    def put(self, pixels: object, capture_ns: int) -> None: ...


def peer_that_saw(count: int, **more: bool) -> HeadlessPeer:
    """A peer that captured, saw and read `count` times each."""
    peer = HeadlessPeer(PeerOptions(url="http://x", room="r", **more))
    peer._account.clock.ping(0, 10**15, 1000)
    peer._outs = {"cam0": Taker()}  # type: ignore[dict-item]
    frame = av.VideoFrame(16, 16, "yuv420p")
    for k in range(count):
        peer._picture("cam0", np.zeros((2, 2, 3), np.uint8), 10**15 + k * 33_000_000)
        peer._on_view(Received(frame, 3000 * k, 0, None))
        words = Caption(id=k, speaker="Ann", text=str(k), source_start_ms=0, source_end_ms=1, wall_ms=2)
        peer._on_message("captions", encode(words))
    return peer


def test_a_peer_that_nobody_ends_keeps_only_the_latest_and_counts_all() -> None:
    figures = peer_that_saw(KEPT + 50).figures
    assert (figures.captured, figures.viewed, figures.captioned) == (KEPT + 50,) * 3
    assert len(figures.captures) == len(figures.views) == len(figures.captions) == KEPT
    assert figures.captions[-1].text == str(KEPT + 49) and figures.captions[0].text == "50"


def test_a_peer_keeps_everything_when_asked_to() -> None:
    figures = peer_that_saw(KEPT + 50, keep_all=True).figures
    assert len(figures.captures) == len(figures.views) == len(figures.captions) == KEPT + 50


class Made:
    """A connection that carried so much video, and a voice."""

    def __init__(self, video: int) -> None:
        self._tracks = [SimpleNamespace(kind="video", bytes=video), SimpleNamespace(kind="audio", bytes=10**6)]
        self.on_state = None
        self.closed = False

    def statistics(self) -> SimpleNamespace:
        return SimpleNamespace(received=self._tracks)

    async def close(self) -> None:
        self.closed = True


async def test_the_video_of_a_call_is_that_of_all_its_connections() -> None:
    peer = HeadlessPeer(PeerOptions(url="http://x", room="r"))
    assert peer.video_bytes == 0
    first = Made(1000)
    peer._connection = first  # type: ignore[assignment]
    assert peer.video_bytes == 1000
    await peer._give_up()
    assert first.closed and peer.video_bytes == 1000
    peer._connection = Made(500)  # type: ignore[assignment]
    assert peer.video_bytes == 1500


async def test_who_came_back_as_somebody_new_asks_again_to_be_told_of_frames(web: Path) -> None:
    async with serving(web) as s:
        peer = HeadlessPeer(PeerOptions(url=s.url, room="lab"))
        await peer._enter()
        peer._following = True
        first = peer._client
        assert await peer._enter() and peer._following
        assert first is not None and peer._client is not None
        await first.abandon()
        await peer._client.leave()
        await s.hub.left.wait()
        assert not await peer._enter() and not peer._following
        await peer._client.leave()
