"""What a job on a rung will cost: c(l, x) = p k_w (A + B x + C x^2), learned while it is used, in bounded memory.

What is learned of a rung is compute, the CPU time of the thread, which hardly changes with what else the machine does;
p, the pace, is how much longer a lane takes than the thread computes, and does. c is the lane's time. Where compute
can't be told apart from the time it took (a GPU, a simulation) p is 1.

x is the size of the job (pixels, tokens, seconds, batch) in units of the size for which the rung's `cost_ns` was
calibrated, so a stage whose jobs are all alike leaves it at 1. Two speeds of learning: p and k_w, the ratio of measured
to predicted compute, belong to the worker and follow within a second (`Speed`); each rung's A, B, C >= 0 are fitted by
recursive least squares of the *relative* error (each row divided by what was measured), forgetting over a hundred jobs.
A rung that proves to cost something else than it was calibrated for is corrected alone and leaves k_w as it is.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from streamsvc.budget.rung import Rung

FORGET = 0.99
SETTLED = 5
"""Observations after which a level is known: the worker's of k_w, a rung's of its own."""
WINDOW = 128
SHIFT = 0.3
"""A residual of which the logarithm is beyond this is an outlier, or, three times running on one side, a new level."""
LIMIT = 50.0
TRUSTED = 4
"""Jobs that may be given up with nothing measured in between before it is doubted that they had to be."""


class Speed:
    """A ratio that all of a worker's jobs share, k_w or p. Outliers move it little, a new level at once."""

    def __init__(self) -> None:
        self._log = 0.0
        self._count = 0
        self._run = 0
        self._unseen = 0

    @property
    def ratio(self) -> float:
        """What it is now, 1/50 to 50."""
        return math.exp(self._log)

    @property
    def settled(self) -> bool:
        """Has enough been seen to tell a rung that is dear from a worker that is slow?"""
        return self._count >= SETTLED

    def observe(self, residual: float) -> bool:
        """Take one measured ratio, relative to `ratio`; return whether a new level was recognised."""
        error = math.log(residual)
        side = 0 if abs(error) < SHIFT else round(math.copysign(1, error))
        self._run = self._run + side if side * self._run > 0 else side
        self._count += 1
        self._unseen = 0
        shifted = abs(self._run) >= 3
        if self._count <= SETTLED:
            step = error / self._count
        elif shifted:
            step = 0.6 * error
        else:
            step = 0.1 * max(-SHIFT, min(error, SHIFT))
        self._move(step)
        return shifted

    def relax(self) -> None:
        """Believe a fifth less; see `CostModel.relax`."""
        self._unseen += 1
        if self._unseen > TRUSTED:
            self._log *= 0.8

    def _move(self, step: float) -> None:
        bound = math.log(LIMIT)
        self._log = max(-bound, min(self._log + step, bound))


class Fit:
    """A, B and C of one rung by least relative squares, none negative: more work never costs less."""

    def __init__(self, cost: float) -> None:
        self._prior = cost
        self.abc = (cost / 2, cost / 2, 0.0)
        self.count = 0
        self._unseen = 0
        self._normal = [[0.0] * 3 for _ in range(3)]
        self._right = [0.0] * 3
        for x in (0.5, 1.0, 2.0):  # the prior as three weak observations, forgotten like others
            self._add(x, self(x), 0.3)

    def __call__(self, x: float = 1.0) -> float:
        """Return the cost of a job of size `x` where k_w is 1."""
        a, b, c = self.abc
        return a + x * (b + x * c)

    def scale(self, factor: float) -> None:
        """Multiply the whole curve, as if everything before had been measured so."""
        self.abc = (self.abc[0] * factor, self.abc[1] * factor, self.abc[2] * factor)
        self._right = [v / factor for v in self._right]
        self._normal = [[v / factor**2 for v in row] for row in self._normal]

    def relax(self) -> None:
        """Go a fifth of the way back to what was calibrated; see `CostModel.relax`."""
        self._unseen += 1
        if self._unseen > TRUSTED:
            self.scale((self._prior / self()) ** 0.2)

    def see(self) -> None:
        """Count a job."""
        self.count += 1
        self._unseen = 0

    def learn(self, x: float, cost: float) -> None:
        """Take what a job of size `x` cost, k_w taken out."""
        self._normal = [[FORGET * v for v in row] for row in self._normal]
        self._right = [FORGET * v for v in self._right]
        self._add(x, cost, 1.0)
        self._solve()

    def _add(self, x: float, cost: float, weight: float) -> None:
        row = [1 / cost, x / cost, x * x / cost]
        for i in range(3):
            self._right[i] += weight * row[i]
            for j in range(3):
                self._normal[i][j] += weight * row[i] * row[j]

    def _solve(self) -> None:
        """The best non-negative solution: of the few sets of terms that may be above zero, the one with least error.

        What was not excited (all jobs of one size) is held where it is by a weak pull to the present solution.
        """
        pull = 1e-3 * sum(self._normal[i][i] for i in range(3))
        normal = [[v + pull * (i == j) for j, v in enumerate(row)] for i, row in enumerate(self._normal)]
        right = [v + pull * now for v, now in zip(self._right, self.abc, strict=True)]
        best, least = self.abc, math.inf
        for size in (3, 2, 1):
            for terms in combinations(range(3), size):
                found = _solved(normal, right, terms)
                if found is None or min(found) < 0:
                    continue
                error = sum(
                    found[i] * (sum(normal[i][j] * found[j] for j in range(3)) - 2 * right[i]) for i in range(3)
                )
                if error < least:
                    best, least = found, error
            if size == 3 and least < math.inf:
                break
        self.abc = best


def _solved(normal: list[list[float]], right: list[float], terms: Sequence[int]) -> tuple[float, float, float] | None:
    """Solve the equations of `terms` alone by elimination, the other terms zero; None when they have no solution."""
    rows = [[normal[i][j] for j in terms] + [right[i]] for i in terms]
    n = len(rows)
    for k in range(n):
        if rows[k][k] <= 0:
            return None
        for i in range(k + 1, n):
            f = rows[i][k] / rows[k][k]
            rows[i] = [a - f * b for a, b in zip(rows[i], rows[k], strict=True)]
    found = [0.0] * 3
    for k in reversed(range(n)):
        known = sum(rows[k][j] * found[terms[j]] for j in range(k + 1, n))
        found[terms[k]] = (rows[k][n] - known) / rows[k][k]
    return found[0], found[1], found[2]


@dataclass(frozen=True, slots=True)
class CostStatistics:
    """What has been learned: k_w, p, c95 / c, and per rung the jobs seen and the cost expected at x = 1 (ns)."""

    ratio: float
    pace: float
    tail: float
    observed: Mapping[str, int]
    mean_ns: Mapping[str, int]


class CostModel:
    """The costs of one ladder on one worker. Workers share their `speed` and `pace` between the models of their
    streams."""

    def __init__(self, ladder: Sequence[Rung], speed: Speed | None = None, pace: Speed | None = None) -> None:
        self._speed, self._pace = speed or Speed(), pace or Speed()
        self._fits = {r.name: Fit(float(max(r.cost_ns, 1))) for r in ladder}
        self._residuals: deque[float] = deque(maxlen=WINDOW)
        self._tail = 1.0

    def observe(self, rung: str, compute_ns: int, x: float = 1.0, *, taken_ns: int | None = None) -> None:
        """Take the measured compute of one job of size `x` > 0, and how long a lane took for it where that is known; a
        time that isn't positive (a clock that jumped) is ignored."""
        if compute_ns <= 0 or (taken_ns is not None and taken_ns <= 0):
            return
        fit = self._fits[rung]
        residual = _within(compute_ns / (self._speed.ratio * fit(x)))
        slowed = 1.0 if taken_ns is None else _within(taken_ns / compute_ns / self._pace.ratio)
        moved = taken_ns is not None and self._pace.observe(slowed)
        if fit.count < SETTLED and self._speed.settled:
            fit.scale(residual ** (1 / (fit.count + 1)))
        elif self._speed.observe(residual) or moved:
            # What led up to a new level says nothing about the spread around it.
            for _ in range(min(2, len(self._residuals))):
                self._residuals.pop()
        else:
            self._residuals.append(residual * slowed)
            self._measure_tail()
        fit.see()
        if abs(math.log(residual)) < 2 * SHIFT:  # what may be a new level of k_w isn't the rung's to learn
            fit.learn(x, compute_ns / self._speed.ratio)

    def relax(self, rung: str) -> None:
        """A job was given up because `rung` seemed too slow: where that was so with `TRUSTED` others and nothing has
        been measured since, believe a fifth less, of the worker and of the rung, so that it is tried again.

        Without this one slow job (a cold start, a paused machine) would be the last that was ever measured.
        """
        self._speed.relax()
        self._pace.relax()
        self._fits[rung].relax()
        if self._residuals:
            self._residuals.remove(max(self._residuals))
        self._measure_tail()

    def compute_ns(self, rung: str, x: float = 1.0) -> int:
        """The compute to expect of a job of size `x`."""
        return round(self._speed.ratio * self._fits[rung](x))

    def mean_ns(self, rung: str, x: float = 1.0) -> int:
        """c: the time that a lane is expected to take for a job of size `x`."""
        return round(self._pace.ratio * self._speed.ratio * self._fits[rung](x))

    def c95_ns(self, rung: str, x: float = 1.0) -> int:
        """c95: the time that 95 % of jobs of size `x` stay under."""
        return round(self._tail * self._pace.ratio * self._speed.ratio * self._fits[rung](x))

    @property
    def unseen(self) -> tuple[str, ...]:
        """The rungs of which no job was measured."""
        return tuple(name for name, fit in self._fits.items() if not fit.count)

    def statistics(self) -> CostStatistics:
        """Return what has been learned."""
        return CostStatistics(
            self._speed.ratio,
            self._pace.ratio,
            self._tail,
            {name: fit.count for name, fit in self._fits.items()},
            {name: self.mean_ns(name) for name in self._fits},
        )

    def _measure_tail(self) -> None:
        ordered = sorted(self._residuals)
        self._tail = max(1.0, ordered[math.ceil(0.95 * len(ordered)) - 1]) if ordered else 1.0


def _within(ratio: float) -> float:
    return max(1 / LIMIT, min(ratio, LIMIT))
