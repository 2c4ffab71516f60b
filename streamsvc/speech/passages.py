"""What was said since the last passage was over, for the second pass: commits, where their sound begins, the language.

A passage is never longer than what the second pass hears (`PASSAGE_S`), because its text replaces all of them.
"""

from __future__ import annotations

from streamsvc.frames.audio import SPEECH_RATE
from streamsvc.speech.buffer import SoundBuffer
from streamsvc.speech.events import Commit, Passage
from streamsvc.speech.terms import Terms

PASSAGE_S = 27.0
"""See Translator.encode."""
_SHORTEST = SPEECH_RATE // 4


class OpenPassage:
    """Positions are samples since the stream began."""

    def __init__(self) -> None:
        self.start = 0
        self._commits: list[Commit] = []
        self._language = ""

    def begin(self, start: int) -> None:
        """Begin at `start`, with nothing said."""
        self.start = start
        self._commits.clear()

    def add(self, commit: Commit, language: str) -> None:
        """Take what a pass said, and the language that it heard."""
        self._commits.append(commit)
        self._language = language

    def has_room(self, end: int) -> bool:
        """Whether a passage that goes on to `end` is short enough."""
        return end - self.start <= PASSAGE_S * SPEECH_RATE

    def close(self, end: int, sound: SoundBuffer, terms: Terms) -> list[Passage]:
        """Return the passage that ends at `end`, if anything was said in it, and begin the next there. In a quarter of
        a second nothing else would be heard."""
        commits, start = self._commits.copy(), self.start
        self.begin(end)
        if not commits or end - start < _SHORTEST:
            return []
        text = " ".join(c.text for c in commits)
        ids = tuple(c.id for c in commits)
        return [Passage(ids, text, sound.read(start, end), self._language, terms.tokens, terms.words)]
