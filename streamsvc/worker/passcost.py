"""What passes of speech take on this worker, learned from all its speakers, so that views leave room for them."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from streamsvc.frames.link import SpeechCost, StageSpan

ENCODE_NS, DECODE_NS, EVERY_NS = 65e6, 165e6, 1e9
"""Before anything was measured: Whisper base int8 on one core, the default policy."""

LEARN = 0.1
PAUSE_NS = 2_500_000_000
"""Passes that are further apart have a pause of the speaker between them."""


class PassCosts:
    """Running means; one for all speakers, because they share a model. May be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._encode, self._decode, self._every = ENCODE_NS, DECODE_NS, EVERY_NS

    def observe(self, spans: Sequence[StageSpan]) -> None:
        """Take the slices of a pass that ran to its end. What was decoded along with another pass counts where it was
        decoded, so that the mean is what one takes in company."""
        encode = sum(s.end_ns - s.start_ns for s in spans if s.name == "encode")
        whole = sum(s.end_ns - s.start_ns for s in spans)
        with self._lock:
            self._encode += LEARN * (encode - self._encode)
            self._decode += LEARN * (whole - encode - self._decode)

    def followed(self, after_ns: int) -> None:
        """A pass of a speaker became due so long after the one before."""
        if 0 < after_ns <= PAUSE_NS:
            with self._lock:
                self._every += LEARN * (after_ns - self._every)

    def speaker(self) -> SpeechCost:
        """Return what a speaker takes while they speak."""
        with self._lock:
            return SpeechCost(round(self._every), round(self._encode), round(self._decode))

    @property
    def pass_ns(self) -> int:
        """The compute to expect of a pass."""
        with self._lock:
            return round(self._encode + self._decode)

    @property
    def share(self) -> float:
        """The share of a lane that a speaker takes."""
        return self.pass_ns / self.speaker().every_ns
