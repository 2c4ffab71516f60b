"""What the probe says and hears: chirps whose age can be told, and when a voice begins.

Pure; sound is 48 kHz mono float32, times are ns on one clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from streamsvc.frames import OUTPUT_RATE, Samples

CHIRP_PERIOD_S = 2.0
LONGEST_S = 1.5
"""A chirp that was not heard after this long is lost; shorter than the period, so no two are confused."""

LIKENESS = 0.5
"""Normalised correlation from which a chirp counts as heard."""

HOP = OUTPUT_RATE // 100
LOUD = 0.01
"""Root mean square of 10 ms from which there is a voice: -40 dBFS."""

QUIET_HOPS, LOUD_HOPS = 40, 5
"""A voice begins with 50 ms of sound after 400 ms without."""

STALL_NS = 200_000_000
"""A track whose sound is overdue by more leaves it out (see `edge.AudioOut`)."""

OPENING_S, LEAD_S = 3.0, 0.3
"""How much of a phrase, and of the quiet before it, is kept to find its first word in."""

LATE_NS = 3_000_000_000
"""An interpreter who is silent for so long after a commit was late with it, or didn't say it."""

_NS = 1_000_000_000
_TO_16K = 3
"""48 kHz by 16; recorded prompts have nothing above 4 kHz."""


def chirp() -> Samples:
    """Return 40 ms that sweep from 1 to 4 kHz under a Hann window."""
    t = np.arange(round(0.04 * OUTPUT_RATE)) / OUTPUT_RATE
    sweep = np.sin(2 * np.pi * (1000 * t + (4000 - 1000) / (2 * t[-1]) * t**2))
    return np.asarray(0.5 * np.hanning(len(t)) * sweep, np.float32)


class Pulled:
    """When the sound that a track pulls was due. A track pulls what follows when it is due or, on a busy machine, later
    and then at once; so late that it counts as a stall, it goes on from now, a whole number of pulls later."""

    def __init__(self) -> None:
        self._next_ns: int | None = None

    def due(self, count: int, now_ns: int) -> int:
        """Return when the first of the next `count` samples was due, which are pulled now."""
        due = now_ns if self._next_ns is None else self._next_ns
        period = count * _NS // OUTPUT_RATE
        if now_ns - due > STALL_NS:
            due += (now_ns - due) // period * period
        # Nothing is pulled before it is due.
        due = min(due, now_ns)
        self._next_ns = due + period
        return due


class ChirpVoice:
    """A voice that chirps every `CHIRP_PERIOD_S` and tells the instant at which each one's first sample is due:
    `on_chirp(ns)`."""

    seconds = float("inf")
    ended = False

    def __init__(self, now_ns: Callable[[], int], on_chirp: Callable[[int], None]) -> None:
        self._now_ns, self._on_chirp = now_ns, on_chirp
        self._chirp = chirp()
        self._pulled = Pulled()
        self._at = 0

    def read(self, count: int) -> Samples:
        """Return the next `count` samples."""
        period = round(CHIRP_PERIOD_S * OUTPUT_RATE)
        places = (self._at + np.arange(count)) % period
        out = np.where(places < len(self._chirp), self._chirp[np.minimum(places, len(self._chirp) - 1)], 0)
        first = np.flatnonzero(places == 0)
        due = self._pulled.due(count, self._now_ns())
        if len(first):
            self._on_chirp(due + int(first[0]) * _NS // OUTPUT_RATE)
        self._at += count
        return out.astype(np.float32)


class Ear:
    """Finds chirps in what is heard and says how late each was."""

    def __init__(self) -> None:
        self._chirp = chirp()
        self._blocks: deque[tuple[int, Samples]] = deque()
        self._waiting: deque[int] = deque()
        self.heard: list[tuple[int, int | None]] = []
        """(instant said, instant heard), the latter None where it never was."""

    def said(self, at_ns: int) -> None:
        """Take note that a chirp was sent at `at_ns`."""
        self._waiting.append(at_ns)

    def hear(self, samples: Samples, heard_ns: int) -> None:
        """Take sound whose first sample was heard at `heard_ns`."""
        self._blocks.append((heard_ns, samples))
        self.judge(heard_ns)
        oldest = (self._waiting[0] if self._waiting else heard_ns) - _NS // 5
        while self._blocks[0][0] < min(oldest, heard_ns - _NS // 5):
            self._blocks.popleft()

    def judge(self, now_ns: int) -> None:
        """Judge the chirps that can't be heard any more: where sound has died nothing else comes to say so."""
        while self._waiting and now_ns > self._waiting[0] + round(LONGEST_S * _NS):
            said = self._waiting.popleft()
            self.heard.append((said, self._find(said)))

    def _find(self, said: int) -> int | None:
        blocks = [b for b in self._blocks if said <= b[0] <= said + round(LONGEST_S * _NS)]
        if not blocks:
            return None
        starts = np.cumsum([0, *(len(s) for _, s in blocks)])
        sound = np.concatenate([s for _, s in blocks]).astype(np.float64)
        length = len(self._chirp)
        if len(sound) < length:
            return None
        size = 1 << (len(sound) + length).bit_length()
        spectrum = np.fft.rfft(sound, size) * np.conj(np.fft.rfft(self._chirp, size))
        match = np.fft.irfft(spectrum, size)[: len(sound) - length + 1]
        energy = np.concatenate([[0.0], np.cumsum(sound**2)])
        loud = np.sqrt(np.maximum(energy[length:] - energy[:-length], 1e-9)) * float(np.linalg.norm(self._chirp))
        likeness = np.where(loud > 1e-3, match / loud, 0.0)
        best = int(likeness.argmax())
        if likeness[best] < LIKENESS:
            return None
        block = int(np.searchsorted(starts, best, "right")) - 1
        return blocks[block][0] + (best - int(starts[block])) * _NS // OUTPUT_RATE


class Onsets:
    """When a voice begins and ends, from sound as it comes."""

    def __init__(self) -> None:
        self._rest = np.zeros(0, np.float32)
        self._quiet, self._loud = QUIET_HOPS, 0
        self._speaking = False
        self.spans: list[list[int]] = []
        """[begin, end so far] of each stretch of voice, ns."""

    def take(self, samples: Samples, at_ns: int) -> None:
        """Take sound whose first sample is at `at_ns`."""
        at_ns -= len(self._rest) * _NS // OUTPUT_RATE
        sound = np.concatenate([self._rest, samples])
        hops = len(sound) // HOP
        self._rest = sound[hops * HOP :]
        for i, rms in enumerate(_levels(sound[: hops * HOP])):
            self._hop(rms, at_ns + i * HOP * _NS // OUTPUT_RATE)

    def _hop(self, rms: float, at_ns: int) -> None:
        hop_ns = HOP * _NS // OUTPUT_RATE
        if rms >= LOUD:
            self._loud += 1
            self._quiet = 0
            if not self._speaking and self._loud >= LOUD_HOPS:
                self._speaking = True
                self.spans.append([at_ns - (self._loud - 1) * hop_ns, at_ns + hop_ns])
        else:
            self._loud = 0
            self._quiet += 1
            if self._quiet >= QUIET_HOPS:
                self._speaking = False
        if self._speaking and rms >= LOUD:
            self.spans[-1][1] = at_ns + hop_ns


class Openings:
    """The first `OPENING_S` of each stretch of voice that `Onsets` finds, with `LEAD_S` before it: enough for where its
    first word ends."""

    def __init__(self, onsets: Onsets) -> None:
        self._onsets = onsets
        self._held: deque[tuple[int, Samples]] = deque()
        self._found: list[tuple[int, list[Samples]]] = []

    def take(self, samples: Samples, at_ns: int) -> None:
        """Take sound whose first sample is at `at_ns`, after `Onsets` has."""
        self._held.append((at_ns, samples))
        if self._found and at_ns < self._found[-1][0] + round((LEAD_S + OPENING_S) * _NS):
            self._found[-1][1].append(samples)
        for begun, _ in self._onsets.spans[len(self._found) :]:
            held = [(at, s) for at, s in self._held if at + len(s) * _NS // OUTPUT_RATE > begun - round(LEAD_S * _NS)]
            self._found.append((held[0][0], [s for _, s in held]))
        while self._held[0][0] < at_ns - _NS:
            self._held.popleft()

    def ends_ns(self, first_word: Callable[[Samples], float | None]) -> list[int | None]:
        """Return the instant at which the first word of each stretch ended; `first_word` is told (n,) float32 16 kHz
        mono and returns so many seconds into it, or None."""
        ends: list[int | None] = []
        for at_ns, blocks in self._found:
            sound = np.concatenate(blocks)
            whole = sound[: len(sound) // _TO_16K * _TO_16K].reshape(-1, _TO_16K)
            end_s = first_word(whole.mean(1, dtype=np.float32))
            ends.append(None if end_s is None else at_ns + round(end_s * _NS))
        return ends


def _levels(sound: Samples) -> NDArray[np.float64]:
    return np.asarray(np.sqrt((sound.reshape(-1, HOP).astype(np.float64) ** 2).mean(1)), np.float64)


def first_heard(
    begun: Sequence[int], commits: Sequence[tuple[int, int]], heard: Sequence[Sequence[int]], end_ns: int
) -> list[tuple[int, int, int | None]]:
    """Return (instant the speaker began, instant of the first commit, instant the interpreter was first heard), ns; the
    latter None where that wasn't before the next phrase's first commit.

    `begun` are the instants at which the speaker began after a pause; `commits` (instant of the first sound that a
    commit translates, instant it came), in order; `heard` the stretches [begin, end] of the interpreter's voice until
    `end_ns`. A beginning counts only where it can be told: the interpreter was silent when its first commit came, and
    then began, or had `LATE_NS` for it, before the next one's came.
    """
    firsts = []
    for i, start in enumerate(begun):
        following = begun[i + 1] if i + 1 < len(begun) else None
        of = (c for c in commits if c[0] >= start - _NS // 2 and (following is None or c[0] < following - _NS // 2))
        if (first := next(of, None)) is not None:
            firsts.append((start, first[1]))
    told: list[tuple[int, int, int | None]] = []
    for i, (start, came) in enumerate(firsts):
        until = firsts[i + 1][1] if i + 1 < len(firsts) else end_ns
        if any(begin <= came < end for begin, end in heard):
            continue
        onset = next((begin for begin, _ in heard if came <= begin < until), None)
        if onset is not None or until - came > LATE_NS:
            told.append((start, came, onset))
    return told
