"""What sound is, here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SPEECH_RATE = 16_000
"""Samples per second of everything that goes into the interpreter (mono)."""

OUTPUT_RATE = 48_000
"""Samples per second of everything that is heard (mono)."""

Samples = NDArray[np.float32]
"""(n,) float32 mono in [-1, 1]."""
