"""Pictures on their way: a `Frame` is one camera at one instant, a `FrameSet` is all cameras at that instant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""(height, width, 3) uint8 RGB, full range, C-contiguous, row 0 at the top."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of one camera.

    `pixels` is (height, width, 3) uint8 RGB; `capture_ns` is on the server's monotonic clock.
    """

    camera: str
    pixels: Pixels
    capture_ns: int

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]


@dataclass(frozen=True, slots=True)
class FrameSet:
    """The pictures that several cameras took at one instant; the unit that is processed, dropped and accounted for.

    `frames` are in rig order; cameras that were late or gone are absent. `capture_ns` is the instant of the
    earliest picture and `deadline_ns` the worker deadline d = r + D - R_s, both on the server's monotonic clock.
    """

    stream: str
    id: int
    capture_ns: int
    deadline_ns: int
    frames: tuple[Frame, ...]

    def frame(self, camera: str) -> Frame | None:
        """Return the picture of `camera`, or None when it was left out of this set."""
        return next((f for f in self.frames if f.camera == camera), None)
