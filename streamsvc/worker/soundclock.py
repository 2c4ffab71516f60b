"""When the sound of one stream was captured: its samples against the instants that came with them.

Pure. Samples are counted from the stream's first one. They don't come without a break: a connection is lost and taken
up again, or the sender's clock is estimated anew. Each stretch without one keeps the newest instant known of it.
"""

from __future__ import annotations

from collections import deque

from streamsvc.frames import SPEECH_RATE

BREAK_NS = 100_000_000
STRETCHES = 64
"""Stretches that are remembered: words are asked about within a minute or so."""


def nanoseconds(samples: int) -> int:
    """Return how long so many samples last."""
    return samples * 1_000_000_000 // SPEECH_RATE


class SoundClock:
    """`end` samples came so far."""

    def __init__(self) -> None:
        self.end = 0
        self._stretches: deque[tuple[int, int]] = deque(maxlen=STRETCHES)
        """The end of each: (samples, instant in ns)."""

    def missing_ns(self, samples: int, end_ns: int) -> int:
        """Return how much is missing before a block of `samples` whose end was captured at `end_ns`; negative where the
        block is earlier than was to be expected."""
        return end_ns - nanoseconds(samples) - self._stretches[-1][1] if self._stretches else 0

    def took(self, samples: int, end_ns: int) -> None:
        """Take note of a block."""
        if self._stretches and abs(self.missing_ns(samples, end_ns)) < BREAK_NS:
            self._stretches.pop()
        self.end += samples
        self._stretches.append((self.end, end_ns))

    def instant(self, position: float) -> int:
        """Return when the sample at `position` was captured; raises ValueError before the first block."""
        if not self._stretches:
            raise ValueError("no sound came yet")
        end, end_ns = next((s for s in self._stretches if s[0] >= position), self._stretches[-1])
        return end_ns - round((end - position) * 1e9 / SPEECH_RATE)
