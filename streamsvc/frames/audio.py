"""Sound on its way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SPEECH_RATE = 16_000
"""Samples per second of everything that goes into the interpreter (mono)."""

OUTPUT_RATE = 48_000
"""Samples per second of everything that is heard (mono)."""

Samples = NDArray[np.float32]
"""(n,) float32 mono in [-1, 1]."""


@dataclass(frozen=True, slots=True)
class AudioBlock:
    """A run of mono samples, float32 in [-1, 1], at `rate` per second.

    `start` counts samples since the stream began, so gaps show; `capture_ns` is the instant of sample 0 of the
    block on the server's monotonic clock.
    """

    samples: Samples
    rate: int
    start: int
    capture_ns: int

    @property
    def duration_ns(self) -> int:
        """Length of the block in nanoseconds."""
        return len(self.samples) * 1_000_000_000 // self.rate
