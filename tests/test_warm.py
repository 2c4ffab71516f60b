"""Before a worker is ready: what callers start with can be had, and so can whatever was named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamsvc.errors import StreamsvcError
from streamsvc.frames.link import WorkerSettings
from streamsvc.speech.errors import SpeechError
from streamsvc.worker import warm


class Model:
    """Loads at once."""

    def __init__(self, *arguments: object) -> None:
        pass

    def encode(self, samples: np.ndarray) -> None:
        pass

    def identify(self, encoded: None) -> None:
        pass


def absent(*arguments: object) -> None:
    raise StreamsvcError("it is not installed")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (WorkerSettings(policy="foo"), "policy 'foo'"),
        (WorkerSettings(parameters={"m": 2}), "no parameter 'm'"),
        (WorkerSettings(parameters={"n": 99}), "n = 99"),
        (WorkerSettings(source="xx"), "source language 'xx'"),
        (WorkerSettings(target="es"), "target language 'es'"),
    ],
)
def test_what_no_caller_could_start_with_is_refused_unless_nobody_is_interpreted(
    settings: WorkerSettings, told: str
) -> None:
    with pytest.raises(SpeechError, match=told):
        warm.check_speech(settings)
    warm.check_speech(WorkerSettings(speech=False, policy="foo"))
    warm.check_speech(WorkerSettings())


def test_a_model_that_is_named_is_needed_and_the_installed_one_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(SpeechError, match=r"speech\.model, .*nowhere"):
        warm.load_speech(WorkerSettings(model=str(tmp_path / "nowhere")))
    monkeypatch.setattr(warm, "Whisper", absent)
    parts = warm.load_speech(WorkerSettings())
    assert parts.translator is None and parts.notes == ["no speech translation: it is not installed"]


@pytest.mark.parametrize("voice", ["nowhere.onnx", "auto"])
def test_a_voice_that_is_named_is_needed_and_the_usual_one_is_not(monkeypatch: pytest.MonkeyPatch, voice: str) -> None:
    monkeypatch.setattr(warm, "Whisper", Model)
    monkeypatch.setattr(warm, "open_voices", absent)
    with pytest.raises(SpeechError, match=rf"speech\.voice, {voice}"):
        warm.load_speech(WorkerSettings(voice=voice))
    monkeypatch.setattr(warm, "open_voice", absent)
    parts = warm.load_speech(WorkerSettings())
    assert parts.translator is not None and parts.voice is None
    assert parts.notes == ["captions only: it is not installed"]
