"""Which rung a view frame gets: the best that fits its deadline and the worker's share, up slowly and down at once.

Pure. One `RungChooser` per stream; `share` is the fraction of one lane that the stream may use, set by the worker from
what runs beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

from streamsvc.budget.rung import CostTracker, Rung

UP_AFTER_NS = 2_000_000_000
MAX_SHARE = 0.85


class RungChooser:
    """Climbs one rung after 2 s in which the next would have fitted; falls at once to the rung that fits now."""

    def __init__(self, ladder: Sequence[Rung], tracker: CostTracker) -> None:
        if not ladder:
            raise ValueError("a ladder needs at least one rung")
        self._ladder = tuple(sorted(ladder, key=lambda r: r.quality))
        self._tracker = tracker
        self._at = 0
        self._headroom_since: int | None = None

    @property
    def floor(self) -> Rung:
        """The rung of the least quality that may be shown."""
        return self._ladder[0]

    def choose(
        self, now_ns: int, deadline_ns: int, period_ns: int, share: float = MAX_SHARE, cap: str | None = None
    ) -> Rung:
        """Return the rung for a frame that starts now.

        `period_ns` is the stream's frame period; `cap` names the highest rung that the viewer wants.
        """
        top = next((i for i, r in enumerate(self._ladder) if r.name == cap), len(self._ladder) - 1)
        slack, limit = deadline_ns - now_ns, share * period_ns

        def fits(i: int) -> bool:
            name = self._ladder[i].name
            return self._tracker.c95_ns(name) <= slack and self._tracker.mean_ns(name) <= limit

        best = max((i for i in range(top + 1) if fits(i)), default=0)
        if best <= self._at:
            self._at, self._headroom_since = best, None
        elif self._headroom_since is None:
            self._headroom_since = now_ns
        elif now_ns - self._headroom_since >= UP_AFTER_NS:
            self._at, self._headroom_since = self._at + 1, now_ns
        return self._ladder[self._at]
