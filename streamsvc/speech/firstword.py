"""Where the first word of a recording ends: what an interpreter is measured from, because nobody can translate less."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from streamsvc.frames.audio import Samples
from streamsvc.speech.errors import SpeechError
from streamsvc.speech.weights import find_model


class FirstWord:
    """Listens to the start of phrases with Whisper, whose word times come from its attention. Loads at construction;
    raises SpeechError when the model can't be used."""

    def __init__(self, model: str | Path | None = None) -> None:
        folder = find_model(model)
        try:
            import faster_whisper
        except ImportError as e:
            raise SpeechError(f"{e.name} isn't installed; install the extra: pip install 'streamsvc[speech]'") from None
        library: Any = faster_whisper
        try:
            self._model: Any = library.WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1)
        except (RuntimeError, ValueError) as e:
            raise SpeechError(f"{folder} can't be loaded ({e}); it is damaged or of another kind") from None

    def ends_s(self, samples: Samples, language: str) -> float | None:
        """Return how many seconds into (n,) float32 16 kHz mono its first word ends; None where no word is found."""
        segments, _ = self._model.transcribe(
            samples,
            language=language,
            beam_size=5,
            temperature=0.0,
            condition_on_previous_text=False,
            word_timestamps=True,
        )
        return next((float(word.end) for segment in segments for word in segment.words or ()), None)
