"""The sound of a stream as far as it is still needed, by its position in samples since the stream began.

Kept in the blocks in which it came, so that taking one costs the same however much is held.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from streamsvc.frames.audio import Samples


class SoundBuffer:
    """Holds the samples from `start` to `end`."""

    def __init__(self) -> None:
        self.start = self.end = 0
        self._blocks: deque[Samples] = deque()

    def append(self, block: Samples) -> None:
        """Take (n,) float32 that follow what came before; the array is kept and mustn't be changed."""
        if len(block):
            self._blocks.append(block)
            self.end += len(block)

    def forget(self, position: int) -> None:
        """Forget what lies before `position`."""
        drop = min(position, self.end) - self.start
        while drop > 0:
            first = self._blocks.popleft()
            gone = min(drop, len(first))
            if gone < len(first):
                self._blocks.appendleft(first[gone:].copy())
            self.start += gone
            drop -= gone

    def read(self, start: int, end: int) -> Samples:
        """Return a copy of what is held from `start` up to `end`."""
        parts = [np.zeros(0, np.float32)]
        at = self.start
        for block in self._blocks:
            if at >= end:
                break
            if at + len(block) > start:
                parts.append(block[max(start - at, 0) : end - at])
            at += len(block)
        return np.concatenate(parts)
