"""Rung: a named way to do a stage, with a calibrated cost and quality. Nothing here knows what a rung is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rung:
    """`cost_ns` is the calibrated 95th percentile of compute on an idle core of the reference machine; `quality` is in
    the stage's own unit (views: PSNR in dB, see `view/rungs.py`), higher is better."""

    name: str
    cost_ns: int
    quality: float


class CostTracker:
    """Measured over predicted, per rung: an exponential mean and deviation give a running 95th percentile."""

    def __init__(self, ladder: Sequence[Rung], smoothing: float = 0.1) -> None:
        self._smoothing = smoothing
        self._mean = {r.name: float(r.cost_ns) for r in ladder}
        self._deviation = {r.name: 0.0 for r in ladder}
        self._ratio = 1.0
        self._calibrated = {r.name: r.cost_ns for r in ladder}
        self._seen: set[str] = set()

    def observe(self, rung: str, measured_ns: int) -> None:
        """Take the measured compute of one job on `rung`."""
        a = self._smoothing if rung in self._seen else 1.0
        self._seen.add(rung)
        error = measured_ns - self._mean[rung]
        self._mean[rung] += a * error
        if a < 1:
            self._deviation[rung] += a * (abs(error) - self._deviation[rung])
        else:
            self._deviation[rung] = 0.15 * measured_ns
        ratio = measured_ns / self._calibrated[rung]
        self._ratio += self._smoothing * (ratio - self._ratio)

    def relax(self, rung: str) -> None:
        """A job was given up because `rung` seemed too slow: believe that a fifth less, so that it is tried again.

        Without this one slow job (a cold start, a paused machine) would be the last that was ever measured.
        """
        self._mean[rung] += 0.2 * (self._calibrated[rung] - self._mean[rung])
        self._deviation[rung] *= 0.8
        self._ratio += 0.2 * (1.0 - self._ratio)

    def mean_ns(self, rung: str) -> int:
        """Expected compute: measured where this rung ran, else calibrated times this worker's running ratio."""
        return round(self._mean[rung] if rung in self._seen else self._calibrated[rung] * self._ratio)

    def c95_ns(self, rung: str) -> int:
        """The compute that 95 % of jobs on this rung stay under (mean + 2 mean absolute deviations)."""
        return round(self.mean_ns(rung) + 2 * self._deviation[rung])
