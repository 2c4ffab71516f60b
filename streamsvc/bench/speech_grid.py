"""The settings that `bench speech` tries, and how one of them is chosen for a target. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from streamsvc.speech.policies import POLICIES, find_policy, resolve

MAX_WORD_RATIO = 1.1
"""Words said over words of the reference: more of them would lower the lag by words nobody meant."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A policy with every parameter; `name` tells those that differ from the default."""

    policy: str
    name: str
    parameters: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Target:
    """At least this share of offline chrF (and of BLEU) at a lag with compute of at most `lag_ms`."""

    name: str
    chrf_share: float
    bleu_share: float
    lag_ms: float


TARGETS = (Target("97 % at 3 s", 0.97, 0.90, 3000.0), Target("90 % at 2 s", 0.90, 0.75, 2000.0))

_GRID: dict[str, dict[str, Sequence[float]]] = {
    "offline": {},
    "greedy": {"frame_width": (1.0,)},
    "confidence": {"threshold": (0.5, 0.7, 0.9), "frame_width": (1.0,)},
    "consensus": {"threshold": (0.75, 0.9), "frame_width": (0.5, 1.0)},
    "agreement": {"n": (2, 3), "frame_width": (0.5, 0.75, 1.0)},
    "attention": {"frames": (25, 60), "frame_width": (0.5, 1.0)},
    "certain": {"threshold": (-0.5, -0.2), "frame_width": (1.0,)},
}
_PAPER: dict[str, dict[str, Sequence[float]]] = {
    "greedy": {},
    "confidence": {"threshold": (0.5, 0.9)},
    "consensus": {"threshold": (0.5, 0.75)},
}
"""With the paper's thresholds (its table 2); `offline` is the same in both."""


def _settings(policy: str, grid: Mapping[str, Sequence[float]], preset: str) -> Iterable[Setting]:
    for values in product(*grid.values()):
        given = dict(zip(grid, values, strict=True))
        name = " ".join((policy, *(["paper"] if preset == "paper" else []), *(f"{k}={v:g}" for k, v in given.items())))
        yield Setting(policy, name, resolve(policy, given, preset=preset))


def grid(policies: Sequence[str] = ()) -> list[Setting]:
    """Return the settings of the named policies (none: of all), `offline` always and first.

    Raises PolicyError for a name that isn't a policy's.
    """
    wanted = ["offline", *(find_policy(p).name for p in policies or POLICIES)]
    return [
        setting
        for policy in dict.fromkeys(wanted)
        for preset, grids in (("default", _GRID), ("paper", _PAPER))
        if policy in grids
        for setting in _settings(policy, grids[policy], preset)
    ]


def choose(rows: Sequence[Mapping[str, Any]], target: Target) -> Mapping[str, Any] | None:
    """Return the row to use for a target: of those within its lag the best chrF; None where none is.

    Rows hold chrf_share, LAAL_CA, word_ratio; those with too many words aren't considered.
    """
    fit = [r for r in rows if r["LAAL_CA"] <= target.lag_ms and r["word_ratio"] <= MAX_WORD_RATIO]
    return max(fit, key=lambda r: float(r["chrf_share"]), default=None)
