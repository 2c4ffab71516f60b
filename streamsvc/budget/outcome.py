"""What came of a load: everything that was due, session by session, what was predicted, and how busy the lanes were."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from streamsvc.budget.dispatcher import DispatcherStatistics
from streamsvc.budget.goodput import Due, goodput
from streamsvc.budget.governor import GovernorStatistics


@dataclass(frozen=True, slots=True)
class SessionOutcome:
    """All that one session was due, in the order of capture; `floor` is what its views' quality is held to."""

    name: str
    views: tuple[Due, ...]
    speech: tuple[Due, ...]
    floor: float

    @property
    def view_goodput(self) -> float | None:
        """Good frames over captured frames; None for a session without a view."""
        return goodput(self.views, self.floor)

    @property
    def speech_goodput(self) -> float | None:
        """Words in time over words spoken; None for a session without speech."""
        return goodput(self.speech)

    @property
    def longest_gap_ns(self) -> int | None:
        """The longest time between two good frames."""
        shown = sorted(d.displayed_ns for d in self.views if d.good(self.floor) and d.displayed_ns is not None)
        return max((b - a for a, b in pairwise(shown)), default=None)

    @property
    def switches(self) -> int:
        """How often two processed frames in a row ran on different rungs."""
        rungs = [d.rung for d in self.views if d.rung is not None]
        return sum(a != b for a, b in pairwise(rungs))


@dataclass(frozen=True, slots=True)
class Cost:
    """One frame's compute: what was expected when it began, at `begun_ns`, and what its slices then took."""

    begun_ns: int
    predicted_ns: int
    measured_ns: int

    @property
    def error(self) -> float:
        """The prediction's error, relative to what was measured."""
        return abs(self.predicted_ns - self.measured_ns) / self.measured_ns


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run. Shares are of all lanes: `busy` by anything, `best_effort` by best effort; `costs` of all frames that
    were made, in the order of their ends."""

    sessions: tuple[SessionOutcome, ...]
    busy: float
    best_effort: float
    dispatcher: DispatcherStatistics
    governor: GovernorStatistics
    costs: tuple[Cost, ...] = ()
