"""The settings that `bench speech` tries, and how one of them is chosen for a target. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streamsvc.flags import parameters
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

_GRID: dict[str, tuple[dict[str, float], ...]] = {
    "offline": ({}, {"phrase_timeout": 0.7}),
    "greedy": ({"frame_width": 1.0},),
    "confidence": tuple({"threshold": t, "frame_width": 1.0} for t in (0.4, 0.6)),
    "consensus": tuple({"threshold": t, "frame_width": f} for t, f in ((0.75, 0.5), (0.75, 1.0), (0.9, 1.0))),
    "agreement": tuple(
        {"n": n, "frame_width": f, "first": s, "hurry": h, "beam": b}
        for n, f, s, h, b in (
            (2, 0.5, 0.8, 0.25, 1),
            (2, 0.75, 1.0, 0.3, 3),
            (2, 1.0, 0.7, 0.3, 3),
            (2, 1.0, 1.0, 0.3, 3),
            (2, 1.0, 1.0, 1.0, 3),
            (3, 1.0, 1.0, 0.3, 3),
            (4, 0.5, 0.5, 0.5, 3),
        )
    ),
    "attention": tuple({"frames": n, "frame_width": f} for n, f in ((25, 1.0), (50, 0.5), (75, 0.5), (75, 1.0))),
    "certain": tuple({"threshold": t, "frame_width": 1.0} for t in (-1.0, -0.5)),
}
_PAPER: dict[str, tuple[dict[str, float], ...]] = {
    "greedy": ({},),
    "confidence": ({"threshold": 0.5}, {"threshold": 0.9}),
    "consensus": ({"threshold": 0.5}, {"threshold": 0.75}),
}
"""With the paper's thresholds (its table 2); `offline` is the same in both."""


def _setting(policy: str, given: Mapping[str, float], preset: str) -> Setting:
    label = " ".join((policy, *(["paper"] if preset == "paper" else []), *(f"{k}={v:g}" for k, v in given.items())))
    return Setting(policy, label, resolve(policy, given, preset=preset))


def grid(policies: Sequence[str] = ()) -> list[Setting]:
    """Return the settings of the named policies (none: of all), `offline` always and first.

    Raises PolicyError for a name that isn't a policy's.
    """
    wanted = dict.fromkeys(["offline", *(find_policy(p).name for p in policies or POLICIES)])
    return [
        _setting(policy, given, preset)
        for policy in wanted
        for preset, grids in (("default", _GRID), ("paper", _PAPER))
        for given in grids.get(policy, ())
    ]


def named(texts: Sequence[str]) -> list[Setting]:
    """Return the settings of texts like "agreement n=2 frame_width=1", and `offline`, first.

    Raises PolicyError for a policy or parameter that there isn't, or a value that isn't accepted, UsageError for what
    isn't a number.
    """
    found = {s.name: s for s in grid(["offline"]) if s.name == "offline"}
    for text in texts:
        policy, *given = text.split() or [""]
        setting = _setting(find_policy(policy).name, parameters(given), "default")
        found[setting.name] = setting
    return list(found.values())


def choose(rows: Sequence[Mapping[str, Any]], target: Target, word_ratio: float) -> Mapping[str, Any] | None:
    """Return the row to use for a target: of those within its lag the best chrF; None where none is.

    Rows hold chrf_share, LAAL_CA, word_ratio. Those that say more words than the target allows aren't considered,
    unless offline (`word_ratio`) says as many: then the references are terse, and nobody made words up.
    """
    most = max(MAX_WORD_RATIO, word_ratio)
    fit = [r for r in rows if r["LAAL_CA"] <= target.lag_ms and r["word_ratio"] <= most]
    return max(fit, key=lambda r: float(r["chrf_share"]), default=None)


def misses(row: Mapping[str, Any], target: Target) -> list[str]:
    """Return in what a row misses a target."""
    found = []
    for name, least in (("chrf", target.chrf_share), ("bleu", target.bleu_share)):
        if row[f"{name}_share"] < least:
            found.append(f"{name} {100 * row[f'{name}_share']:.1f} % < {100 * least:.0f} %")
    if row["LAAL_CA"] > target.lag_ms:
        found.append(f"lag {row['LAAL_CA'] / 1000:.2f} s > {target.lag_ms / 1000:g} s")
    if row["word_ratio"] > MAX_WORD_RATIO:
        found.append(f"words / reference {row['word_ratio']:.2f} > {MAX_WORD_RATIO}")
    return found
