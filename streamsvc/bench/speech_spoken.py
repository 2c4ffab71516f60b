"""What a voice said in a call, kept on disk while the call runs, then written down again by the model and compared."""

from __future__ import annotations

import math
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from streamsvc.bench.network_voice import Listener, word_error, words_of
from streamsvc.frames.audio import OUTPUT_RATE, Samples
from streamsvc.speech.voice import Engine

FULL = 32767
QUIETEST_DBFS = -96.0
LEISURELY = 12
"""Words, about a sentence."""


class Spoken:
    """One speaker's voice as a WAV file, 48 kHz mono 16 bits, clause after clause without the waits between them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = wave.open(str(path), "wb")  # noqa: SIM115
        self._file.setnchannels(1)
        self._file.setsampwidth(2)
        self._file.setframerate(OUTPUT_RATE)
        self._last: float | None = None
        self._jump = 0.0

    def add(self, samples: Samples) -> None:
        """Append a clause, (n,) float32."""
        if not len(samples):
            return
        if self._last is not None:
            self._jump = max(self._jump, abs(float(samples[0]) - self._last))
        self._last = float(samples[-1])
        self._file.writeframes((np.clip(samples, -1, 1) * FULL).astype("<i2").tobytes())

    def close(self) -> None:
        """Finish the file; idempotent."""
        self._file.close()

    @property
    def jump_dbfs(self) -> float:
        """The largest step from the last sample of a clause to the first of the next."""
        return max(QUIETEST_DBFS, 20 * math.log10(self._jump)) if self._jump else QUIETEST_DBFS

    def word_error(self, texts: Sequence[str], listener: Listener) -> float | None:
        """Return the word error rate of what `listener` hears against `texts`, both written beside the file; None
        where nothing was said."""
        self.close()
        with wave.open(str(self.path), "rb") as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / np.float32(FULL)
        said, heard = words_of(" ".join(texts)), listener.words(samples)
        told = f"said:\n{' '.join(said)}\n\nheard:\n{' '.join(heard)}\n"
        self.path.with_suffix(".txt").write_text(told, "utf-8")
        return word_error(tuple(said), heard)


def at_leisure(texts: Sequence[str], engine: Engine, listener: Listener) -> float | None:
    """Return the word error rate of the same words said without haste, `LEISURELY` at a time: what the voice and the
    ear get wrong by themselves, words of another language above all."""
    words = " ".join(texts).split()
    said: list[str] = []
    heard: list[str] = []
    for at in range(0, len(words), LEISURELY):
        text = " ".join(words[at : at + LEISURELY])
        samples = np.concatenate([np.zeros(0, np.float32), *engine.synthesise(text, 1.0)])
        said += words_of(text)
        heard += listener.words(samples)
    return word_error(tuple(said), heard)
