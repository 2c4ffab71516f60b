"""Which packets of a video are missing, when to ask for each (NACK, RFC 4585 section 6.2.1), and when to ask for a
keyframe instead. Pure.

A packet is asked for when the first one after it came, again when the answer is overdue, and then more often than an
answer takes: on a link that loses one packet in twenty it is the second and third loss in a row that freezes a picture,
and what comes twice costs little. What an answer takes is measured on those that were asked for once (Karn's rule).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MS = 1_000_000
FIRST_ANSWER_NS = 100 * MS
"""What an answer is taken to need before one was seen."""

LEAST_NS, MOST_NS = 20 * MS, 250 * MS
MOST_WAIT_NS = 1000 * MS
OVERDUE, AGAIN = 1.2, 0.7
"""Of the time that an answer takes: after the first question, and after every later one."""

KEYFRAME_AFTER_NS = 300 * MS
KEYFRAME_AFTER = 2.5
"""How old a gap is, at least, and in times of what an answer takes, when a keyframe is asked for beside it; whichever
comes first ends it."""

MAX_MISORDER = 3000
"""A packet so far behind isn't a late one but the first of a sequence that was restarted. What is sent again comes late
by a round trip and more, which is hundreds of packets at the rates of large pictures."""

STRAYS, STRAY_NS = 8, 1000 * MS
"""Where so many packets come that nobody waits for, and for so long none that is new, the newest one was no packet of
this sequence, or the sequence was restarted a little behind it."""

MAX_MISSING = 512
"""More than so many missing at once are no gap but an outage, which only a keyframe ends."""


@dataclass(slots=True)
class _Missing:
    since_ns: int
    asked_ns: int = 0
    times: int = 0


class Repair:
    """Stands where aiortc has its NACK generator. Times are ns on a monotonic clock that the caller reads; `missed` is
    how many packets were not there when one after them came."""

    def __init__(self) -> None:
        self.missed = 0
        self.missing: dict[int, _Missing] = {}
        self.overrun = False
        self.now_ns = 0
        self._highest: int | None = None
        self._strays, self._stray_since_ns = 0, 0
        self._measured_ns: int | None = None

    @property
    def highest(self) -> int | None:
        """The newest packet's sequence number."""
        return self._highest

    @property
    def answer_ns(self) -> int:
        """What an answer takes, smoothed."""
        return FIRST_ANSWER_NS if self._measured_ns is None else self._measured_ns

    def add(self, packet: Any) -> bool:
        """Take note that `packet` came at `now_ns`; returns False, because it is us who ask."""
        self.received(packet.sequence_number, self.now_ns)
        return False

    def received(self, sequence: int, now_ns: int) -> None:
        """Take note that the packet `sequence` came; `overrun` is set when too many are missing."""
        if self._highest is None:
            self._highest = sequence
            return
        ahead = (sequence - self._highest) & 0xFFFF
        if MAX_MISORDER <= 0x10000 - ahead <= 0x8000:
            self._restart(sequence)
            return
        if ahead > 0x8000 or ahead == 0:
            found = self.missing.pop(sequence, None)
            if found is None and self._strayed(now_ns):
                self._restart(sequence)
            if found is not None and found.times == 1:
                took = min(max(now_ns - found.asked_ns, LEAST_NS), MOST_NS)
                self._measured_ns = took if self._measured_ns is None else (7 * self._measured_ns + took) // 8
            return
        if ahead - 1 + len(self.missing) > MAX_MISSING:
            self.missing.clear()
            self.overrun = True
        else:
            self.missed += ahead - 1
            for i in range(1, ahead):
                self.missing[(self._highest + i) & 0xFFFF] = _Missing(now_ns)
        self._highest, self._strays = sequence, 0

    def _strayed(self, now_ns: int) -> bool:
        if not self._strays:
            self._stray_since_ns = now_ns
        self._strays += 1
        return self._strays >= STRAYS and now_ns - self._stray_since_ns >= STRAY_NS

    def _restart(self, sequence: int) -> None:
        self.missing.clear()
        self.overrun = True
        self._highest, self._strays = sequence, 0

    def due(self, now_ns: int) -> list[int]:
        """Return the packets to ask for now, which then count as asked for."""
        asked = [sequence for sequence, missing in self.missing.items() if self._due_ns(missing) <= now_ns]
        for sequence in asked:
            missing = self.missing[sequence]
            missing.asked_ns = now_ns
            missing.times += 1
        return asked

    def next_ns(self) -> int | None:
        """Return when something is due next, None while nothing is missing."""
        return min((self._due_ns(missing) for missing in self.missing.values()), default=None)

    def wants_keyframe(self, now_ns: int) -> bool:
        """Whether something has been missing for so long that a keyframe may come sooner."""
        # In the order in which they were missed.
        oldest = next(iter(self.missing.values()), None)
        return oldest is not None and now_ns - oldest.since_ns >= max(
            KEYFRAME_AFTER_NS, KEYFRAME_AFTER * self.answer_ns
        )

    def forget_before(self, sequence: int) -> None:
        """Stop asking for what is before the packet `sequence`, which nobody waits for any more."""
        for missed in [m for m in self.missing if (sequence - m) & 0xFFFF < 0x8000]:
            del self.missing[missed]

    def _due_ns(self, missing: _Missing) -> int:
        if missing.times == 0:
            return missing.since_ns
        # What was asked for in vain twice may be stuck behind a queue that answers do not measure: then more slowly.
        share = OVERDUE if missing.times == 1 else AGAIN * 2 ** max(0, missing.times - 3)
        return missing.asked_ns + min(MOST_WAIT_NS, max(LEAST_NS, round(self.answer_ns * share)))
