"""When to speak what, and how fast: commits become clauses, and a voice that falls behind catches up. Pure.

A clause is spoken whole where its end is known in time. A listener who hears nothing is worse off than one who hears
half a clause, so a voice that is silent, or about to be, says the few words that it has.

Invariants: words come out in the order they went in, each exactly once; the rate stays in [1, 1.25] and moves by at
most `RATE_STEP` a clause; a queue that can't catch up merges clauses and never drops a word.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

AHEAD_S = 0.5
"""Clauses are synthesised while less than this much speech is waiting to be heard: later ones merge and adapt."""
BEHIND_S = 3.0
MAX_RATE = 1.25
RATE_STEP = 0.06
MAX_AGE_S = 1.2
MIN_WORDS = 3
RUNS_OUT_S = 0.2
"""Speech still to be heard below which the voice is about to fall silent: about what a synthesis takes."""
SILENT_S = 0.5
FIRST_WORDS, NEXT_WORDS = 2, 3
"""Words that are worth speaking before their clause is complete, after a silence of `SILENT_S` and in mid-speech."""
LONG_WORDS = 12
MERGED_WORDS = 40
SECONDS_PER_WORD = 0.36
_STRONG = ".?!…"
_WEAK = ",;:—–"


@dataclass(frozen=True, slots=True)
class Clause:
    """`ids` are the commits whose words are in `text`; `rate` is how much faster than normal; `pause_s` follows it."""

    ids: tuple[int, ...]
    text: str
    rate: float
    pause_s: float


def rate_for(behind_s: float, previous: float) -> float:
    """Return the rate for speech that is `behind_s` late: rising from 1 (half a second) to 1.25 (three), smoothly."""
    lateness = min(max((behind_s - AHEAD_S) / (BEHIND_S - AHEAD_S), 0.0), 1.0)
    target = 1 + (MAX_RATE - 1) * lateness
    return min(max(target, previous - RATE_STEP), previous + RATE_STEP)


def pause_after(text: str, behind_s: float) -> float:
    """Return the silence after a clause: by its last character, down to a quarter when the voice is behind."""
    last = text[-1:]
    full = 0.32 if last in _STRONG else 0.14 if last in _WEAK else 0.03
    lateness = min(max((behind_s - AHEAD_S) / (BEHIND_S - AHEAD_S), 0.0), 1.0)
    return full * (1 - 0.75 * lateness)


class Schedule:
    """The queue of one voice. Times are seconds on any one clock that the caller passes in."""

    def __init__(self) -> None:
        self._words: deque[tuple[int, str, float]] = deque()
        self._playout_end = 0.0
        self._rate = 1.0
        self._ended = False

    def say(self, id: int, text: str, now_s: float) -> None:
        """Queue the words of one commit."""
        self._words.extend((id, word, now_s) for word in text.split())

    def end(self) -> None:
        """Say that no more text comes: what is queued needn't wait for the rest of its clause."""
        self._ended = True

    @property
    def waiting_words(self) -> int:
        """Words that haven't been handed out."""
        return len(self._words)

    def unheard_s(self, now_s: float) -> float:
        """Return how much placed speech is still to be heard."""
        return max(self._playout_end - now_s, 0.0)

    def next(self, now_s: float) -> Clause | None:
        """Return the clause to synthesise now, or None while nothing is ready or enough is waiting to be heard."""
        if not self._words or self.unheard_s(now_s) > AHEAD_S:
            return None
        count = self._ready(now_s)
        if not count:
            return None
        behind = self.unheard_s(now_s) + (len(self._words) - count) * SECONDS_PER_WORD
        behind = max(behind, now_s - self._words[0][2] - MAX_AGE_S)
        taken = [self._words.popleft() for _ in range(count)]
        text = " ".join(word for _, word, _ in taken)
        self._rate = rate_for(behind, self._rate)
        return Clause(tuple(dict.fromkeys(i for i, _, _ in taken)), text, self._rate, pause_after(text, behind))

    def placed(self, now_s: float, duration_s: float) -> float:
        """Put synthesised speech that arrived at `now_s` after what is playing; return when it begins to be heard."""
        start = max(self._playout_end, now_s)
        self._playout_end = start + duration_s
        return start

    def wake_s(self, now_s: float) -> float | None:
        """Return when `next` may have something without another word being said; None: not before that."""
        if not self._words:
            return None
        free = self._playout_end - AHEAD_S
        if self._ready(now_s):
            return max(free, now_s)
        return min(max(free, self._words[0][2] + MAX_AGE_S), self._runs_out_s())

    def _ready(self, now_s: float) -> int:
        words = [word for _, word, _ in self._words][:MERGED_WORDS]
        strong = [i + 1 for i, w in enumerate(words) if w[-1] in _STRONG]
        weak = [i + 1 for i, w in enumerate(words) if w[-1] in _WEAK and i + 1 >= MIN_WORDS]
        ends = strong + weak
        if ends:
            # One clause when on time, everything that is complete when words have had to wait.
            return max(ends) if now_s - self._words[0][2] > MAX_AGE_S else min(ends)
        if len(words) >= LONG_WORDS or self._ended or now_s - self._words[0][2] >= MAX_AGE_S:
            return len(words)
        return len(words) if now_s >= self._runs_out_s() else 0

    def _runs_out_s(self) -> float:
        """When the words that wait are worth speaking as they are, because otherwise nothing would be heard."""
        if len(self._words) >= NEXT_WORDS:
            return self._playout_end - RUNS_OUT_S
        return self._playout_end + SILENT_S if len(self._words) >= FIRST_WORDS else float("inf")
