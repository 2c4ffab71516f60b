"""The policies by name: how the dispatcher orders jobs, how a frame gets its rung. Ours, and those it has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from streamsvc.budget.dispatcher import OURS, Class, Rules
from streamsvc.budget.planner import Objective


@dataclass(frozen=True, slots=True)
class Policy:
    """One way to spend a worker. `choice` of a frame's rung: always the top one, the best that fits this frame
    ("greedy"), or what the planner says under an objective."""

    name: str
    rules: Rules
    choice: Literal["top", "greedy"] | Objective


_EDF = Rules(depth=None, hopeless=frozenset({Class.VIEW, Class.SPEECH}), reserve_speech=False)
POLICIES = {
    p.name: p
    for p in (
        Policy("fifo", Rules("arrival", None, frozenset()), "top"),
        Policy("newest", Rules("arrival", 1, frozenset()), "top"),
        Policy("edf", _EDF, "top"),
        Policy("edf-greedy", _EDF, "greedy"),
        Policy("planner-quality", OURS, Objective.QUALITY),
        Policy("planner-goodput", OURS, Objective.GOODPUT),
    )
}
DEFAULT_POLICY = POLICIES["planner-goodput"]
