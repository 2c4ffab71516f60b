"""Sound of any rate, sample format and layout as mono float32 at 16 and 48 kHz."""

from __future__ import annotations

from typing import Any, NamedTuple

import av
import numpy as np

from streamsvc.frames import OUTPUT_RATE, SPEECH_RATE, Samples


class Mono(NamedTuple):
    """The same sound, (n,) float32 in [-1, 1]: `speech` at 16 kHz and `voice` at 48 kHz."""

    speech: Samples
    voice: Samples


class MonoConverter:
    """One stream's converter; follows changes of format in mid-stream."""

    def __init__(self) -> None:
        self._format: tuple[int, str, str] | None = None
        self._speech: Any = None
        self._voice: Any = None

    def convert(self, frame: av.AudioFrame) -> Mono:
        """Return a frame's sound; the resamplers keep a fraction of a ms for the next call."""
        shape = (frame.sample_rate, frame.format.name, frame.layout.name)
        if shape != self._format:
            self._format = shape
            # swresample's own way from stereo to mono is 3 dB too loud, so channels are averaged here instead.
            layout = "mono" if frame.layout.nb_channels == 1 else "stereo"
            self._speech = av.AudioResampler(format="fltp", layout=layout, rate=SPEECH_RATE)
            self._voice = av.AudioResampler(format="fltp", layout=layout, rate=OUTPUT_RATE)
        frame.pts = None
        return Mono(_resampled(self._speech, frame), _resampled(self._voice, frame))


def _resampled(resampler: Any, frame: av.AudioFrame) -> Samples:
    parts = [f.to_ndarray().mean(0, dtype=np.float32) for f in resampler.resample(frame)]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)
