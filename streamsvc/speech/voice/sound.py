"""Joining synthesised clauses without clicks: trimmed silence, short fades, the tone of a quiet room under it all."""

from __future__ import annotations

import numpy as np

from streamsvc.frames.audio import OUTPUT_RATE, Samples

TONE_RMS = 2e-4
_FADE_S = 0.006
_AUDIBLE = 0.006
_LEAD_S = 0.02
_TRAIL_S = 0.05


class RoomTone:
    """Faint low-passed noise, -74 dBFS: what fills pauses, so that silence isn't a hole. Deterministic, endless."""

    def __init__(self, seconds: float = 4.0) -> None:
        noise = np.random.default_rng(20230822).standard_normal(int(seconds * OUTPUT_RATE))
        spectrum = np.fft.rfft(noise)
        hertz = np.fft.rfftfreq(len(noise), 1 / OUTPUT_RATE)
        # Periodic by construction, so the loop has no seam.
        tone = np.fft.irfft(spectrum / np.sqrt(1 + (hertz / 400) ** 2), len(noise))
        self._tone = (tone * TONE_RMS / np.sqrt(np.mean(tone**2))).astype(np.float32)
        self._at = 0

    def fill(self, count: int) -> Samples:
        """Return the next `count` samples at 48 kHz."""
        out = np.take(self._tone, np.arange(self._at, self._at + count), mode="wrap")
        self._at = (self._at + count) % len(self._tone)
        return out


def trimmed(speech: Samples, rate: int = OUTPUT_RATE) -> Samples:
    """Return speech without the silence at its ends (20 ms and 50 ms stay), faded in and out over 6 ms."""
    loud = np.flatnonzero(np.abs(speech) > _AUDIBLE)
    if not len(loud):
        return np.zeros(0, np.float32)
    first = max(int(loud[0]) - int(_LEAD_S * rate), 0)
    last = min(int(loud[-1]) + int(_TRAIL_S * rate), len(speech))
    out = speech[first:last].astype(np.float32, copy=True)
    count = min(int(_FADE_S * rate), len(out) // 2)
    ramp = np.sin(np.linspace(0, np.pi / 2, count, dtype=np.float32)) ** 2
    out[:count] *= ramp
    out[len(out) - count :] *= ramp[::-1]
    return out


def with_pause(speech: Samples, pause_s: float, tone: RoomTone) -> Samples:
    """Return trimmed speech and the pause after it, with the room's tone under both."""
    out = tone.fill(len(speech) + int(pause_s * OUTPUT_RATE))
    out[: len(speech)] += speech
    return np.clip(out, -1, 1, out=out)
