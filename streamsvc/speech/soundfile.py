"""Sound files: anything that FFmpeg reads becomes 16 kHz mono; what is spoken becomes a WAV file."""

from __future__ import annotations

import wave
from pathlib import Path

import av
import numpy as np

from streamsvc.frames.audio import OUTPUT_RATE, SPEECH_RATE, Samples
from streamsvc.speech.errors import AudioError


def read_speech(path: str | Path) -> Samples:
    """Return the first sound track of a file as (n,) float32 mono at 16 kHz, channels averaged.

    Raises AudioError when the file is missing, empty, damaged or holds no sound. Damage in the middle of a file is an
    error too: half a talk would look like a whole one.
    """
    path = Path(path)
    if not path.is_file():
        raise AudioError(f"{path}: there is no such file")
    if path.stat().st_size == 0:
        raise AudioError(f"{path} is empty; a sound file is needed (WAV, FLAC, MP3, Ogg, MP4, ...)")
    parts: list[Samples] = []
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise AudioError(f"{path} holds no sound track")
            # Channels are averaged here: swresample adds float channels without normalising, and clips.
            resampler = av.AudioResampler(format="fltp", rate=SPEECH_RATE)
            for frame in container.decode(audio=0):
                parts += [f.to_ndarray().mean(axis=0) for f in resampler.resample(frame)]
            parts += [f.to_ndarray().mean(axis=0) for f in resampler.resample(None)]
    except (av.error.FFmpegError, ValueError, EOFError) as e:
        raise AudioError(f"{path} can't be read as sound ({e}); it is damaged or of another kind") from None
    samples = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if not len(samples):
        raise AudioError(f"{path} holds no samples")
    return samples.astype(np.float32, copy=False)


def write_speech(path: str | Path, samples: Samples) -> None:
    """Write (n,) float32 mono 48 kHz as 16-bit WAV; raises AudioError when the file can't be written."""
    try:
        # Opened here: `wave` has more to say about a file that it can't open than the error.
        with Path(path).open("wb") as file, wave.open(file, "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(OUTPUT_RATE)
            out.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    except OSError as e:
        raise AudioError(f"{path} can't be written ({e.strerror or e})") from None
