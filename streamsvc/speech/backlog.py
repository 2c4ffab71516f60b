"""How far an interpreter is behind its speaker, and what it does without then. Pure; positions are samples.

Who is `BEHIND_S` late only flushes, and greedily, which takes a fraction of the compute. Speech that is `BACKLOG_S`
late is left out, and so is what follows, until the rest is less than `BEHIND_S` late: one gap, not one after another.
"""

from __future__ import annotations

from streamsvc.frames.audio import SPEECH_RATE

BEHIND_S, BACKLOG_S = 10.0, 60.0


class Backlog:
    """`behind` says whether the last pass ended late; `left_out` counts the samples of speech that were left out."""

    def __init__(self) -> None:
        self.behind = False
        self.left_out = 0
        self._left_out_to = 0

    def ended(self, due: int, fed: int) -> None:
        """A pass that was `due` ended when the stream was at `fed`."""
        self.behind = self._is_late(due, fed)

    def caught_up(self) -> None:
        """Everything was said."""
        self.behind = False

    def presses(self, due: int, fed: int) -> bool:
        """Whether a flush that was `due` has to be a quick one."""
        return self.behind or self._is_late(due, fed)

    def leaves_out(self, end: int, fed: int) -> bool:
        """Whether the rest of a phrase that ended at `end` is to be left out."""
        if fed - end > BACKLOG_S * SPEECH_RATE:
            self._left_out_to = fed - int(BEHIND_S * SPEECH_RATE)
        return end <= self._left_out_to

    @staticmethod
    def _is_late(due: int, fed: int) -> bool:
        return fed - due > BEHIND_S * SPEECH_RATE
