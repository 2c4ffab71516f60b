"""Rung: a named way to do a stage, with a calibrated cost and quality. Nothing here knows what a rung is made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rung:
    """`cost_ns` is the calibrated 95th percentile of compute on an idle core of the reference machine; `quality` is in
    the stage's own unit (views: PSNR in dB, see `view/rungs.py`), higher is better."""

    name: str
    cost_ns: int
    quality: float
