"""The headless peer's sources and eye paths: what is accepted, what is refused and how."""

import wave
from pathlib import Path

import numpy as np
import pytest

from streamsvc.errors import StreamsvcError
from streamsvc.frames import RigError, Screen
from streamsvc.peer.eyes import EyeError, eye_at
from streamsvc.peer.recorder import srt_time
from streamsvc.peer.sources import Microphone, SourceError, open_cameras, open_microphone

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


def test_subrip_times() -> None:
    assert srt_time(3661.0425) == "01:01:01,042"
    assert srt_time(-1) == "00:00:00,000"
