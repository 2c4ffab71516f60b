"""How long the next pass over a phrase waits for sound. Pure.

One that said nothing is followed soon by the next, because two must hear the same before either can be believed. From
the `PATIENCE`th such in a row on each waits twice as long, so that what never becomes words doesn't cost many.
"""

from __future__ import annotations

from collections.abc import Mapping

from streamsvc.frames.audio import SPEECH_RATE
from streamsvc.speech.vad import PREROLL

PATIENCE = 4


class Pace:
    """Of one phrase at a time, under a policy's `frame_width`, and its `first` and `hurry` where it has them."""

    def __init__(self) -> None:
        self._passes = self._silent = 0

    def begin(self, *, continues: bool) -> None:
        """A phrase begins, or one `continues` that was cut in running speech."""
        self._passes, self._silent = int(continues), 0

    def passed(self, said: bool) -> None:
        """A pass over the phrase ended and said something, or not."""
        self._passes += 1
        self._silent = 0 if said else self._silent + 1

    def samples(self, parameters: Mapping[str, float]) -> float:
        """Return by how many samples the sound has to grow."""
        seconds = parameters["frame_width"]
        if not self._passes and "first" in parameters:
            return parameters["first"] * SPEECH_RATE + PREROLL
        if self._silent and "hurry" in parameters:
            seconds = min(seconds, parameters["hurry"] * 2.0 ** min(max(self._silent - PATIENCE, 0), 10))
        return seconds * SPEECH_RATE
