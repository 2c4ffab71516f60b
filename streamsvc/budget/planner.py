"""Four times a second: which rung each view stream runs on, and which of its frames are thinned out.

A pure function of what is asked for, what it costs and the plan before. Promises:

* no rung under a stream's floor (`QUALITY`, there for comparison, goes under it rather than thin), none above its cap,
  none that takes longer (c95) than a frame has;
* what is planned loads the lanes to at most `LOAD`, speech reserved first, unless not even the floors fit: then the
  frames of all streams are thinned by the same share to `THIN_LOAD`, since a late frame costs as much as a good one;
* most streams at their floor first, then the best worst quality, then the sum;
* down at once; up, or the same load shared better, one rung after `UP_AFTER_NS` of headroom.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

PLAN_EVERY_NS = 250_000_000
LOAD = 0.85
UP_LOAD = 0.82
"""What may be filled by going up; the gap to `LOAD` keeps a plan from swinging."""
THIN_LOAD = 0.97
UP_AFTER_NS = 2_000_000_000
LEAST_KEPT = 0.05


class Objective(Enum):
    """What gives when the floors don't fit: quality (every frame, under the floor) or frames (fewer, good)."""

    QUALITY = "quality"
    GOODPUT = "goodput"


@dataclass(frozen=True, slots=True)
class Step:
    """One rung as the planner sees it: expected compute, its 95th percentile, quality in the stage's unit."""

    rung: str
    mean_ns: int
    c95_ns: int
    quality: float


@dataclass(frozen=True, slots=True)
class Demand:
    """One view stream: its `steps` rising in cost and quality (see `staircase`), the least quality that counts, the
    frame period, how long a frame has from its arrival to its deadline, and the quality above which more is not wanted
    or can't be carried (see `carried_db`)."""

    stream: str
    steps: tuple[Step, ...]
    floor: float
    period_ns: int
    slack_ns: int
    cap: float = math.inf

    @property
    def bottom(self) -> int:
        """The cheapest step that counts; the last one where none does."""
        return self.held(self.floor)

    @property
    def top(self) -> int:
        """The highest step that the cap and the deadline allow, never under the bottom."""
        allowed = (i for i, s in enumerate(self.steps) if s.quality <= self.cap and s.c95_ns <= self.slack_ns)
        return max(self.bottom, max(allowed, default=0))

    def held(self, quality: float) -> int:
        """The step of a rung of this quality or, where cheaper ones have beaten it since, the next better one; the last
        where none is as good."""
        return next((i for i, s in enumerate(self.steps) if s.quality >= quality), len(self.steps) - 1)

    def load(self, step: int) -> float:
        """The share of one lane that the stream takes on a step."""
        return self.steps[step].mean_ns / self.period_ns


@dataclass(frozen=True, slots=True)
class Allotment:
    """The rung that a stream runs on, its quality, and the share of the stream's frames that are processed."""

    rung: str
    quality: float
    keep: float = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """An allotment for each stream; `load` is what it takes of one lane, speech included, and `headroom_since_ns` since
    when a better one would have fitted."""

    allotments: Mapping[str, Allotment] = field(default_factory=dict)
    load: float = 0.0
    headroom_since_ns: int | None = None


def staircase(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Return the steps that no other beats at no greater cost, rising in cost and so in quality."""
    kept: list[Step] = []
    for step in sorted(steps, key=lambda s: (s.mean_ns, -s.quality)):
        if not kept or step.quality > kept[-1].quality:
            kept.append(step)
    return tuple(kept)


def carried_db(bits_per_s: float, width: int, height: int, fps: float) -> float:
    """Return the PSNR in dB at which a stream of this bitrate carries pictures: rungs above it are wasted.

    x264 superfast at 2048x2048 and 30 fps gave 37 dB at 12.5 Mb/s and 24 dB at 1 Mb/s: 3.6 dB for each doubling.
    """
    per_pixel = bits_per_s / (width * height * fps)
    return 37.0 + 3.57 * math.log2(max(per_pixel, 1e-6) / 0.0993)


def plan(
    now_ns: int,
    before: Plan,
    demands: Sequence[Demand],
    *,
    objective: Objective = Objective.GOODPUT,
    lanes: int = 1,
    speech_load: float = 0.0,
) -> Plan:
    """Return the plan for the next quarter of a second.

    `speech_load` is the share of one lane that speech takes; streams that `before` doesn't know start at the bottom.
    """
    demands = sorted(demands, key=lambda d: d.stream)
    bases = [0 if objective is Objective.QUALITY else d.bottom for d in demands]
    tops = [d.top for d in demands]
    now = [_level(d, before, base, top) for d, base, top in zip(demands, bases, tops, strict=True)]
    room = LOAD * lanes - speech_load
    since = None
    if _load(demands, now) > room:
        levels = _filled(demands, bases, now, room)
    else:
        levels = now
        better = _filled(demands, bases, tops, UP_LOAD * lanes - speech_load, prefer=now)
        if _worth(demands, better) > _worth(demands, now):
            since = now_ns if before.headroom_since_ns is None else before.headroom_since_ns
            if now_ns - since >= UP_AFTER_NS:
                levels, since = [min(a + 1, b) for a, b in zip(now, better, strict=True)], now_ns
    keep, load = 1.0, _load(demands, levels)
    if objective is Objective.GOODPUT and load > max(0.0, THIN_LOAD * lanes - speech_load):
        keep = max(LEAST_KEPT, (THIN_LOAD * lanes - speech_load) / load)
    allotments = {
        d.stream: Allotment(d.steps[i].rung, d.steps[i].quality, keep) for d, i in zip(demands, levels, strict=True)
    }
    return Plan(allotments, keep * load + speech_load, since)


def _level(demand: Demand, before: Plan, base: int, top: int) -> int:
    """The step that the plan before put the stream on, within what is now allowed."""
    held = before.allotments.get(demand.stream)
    at = demand.bottom if held is None else demand.held(held.quality)
    return max(base, min(at, top))


def _load(demands: Sequence[Demand], levels: Sequence[int]) -> float:
    return sum(d.load(i) for d, i in zip(demands, levels, strict=True))


def _worth(demands: Sequence[Demand], levels: Sequence[int]) -> tuple[int, list[float]]:
    """Streams at their floor, then the qualities from the worst up: what plans are compared by."""
    qualities = [d.steps[i].quality for d, i in zip(demands, levels, strict=True)]
    return sum(q >= d.floor for d, q in zip(demands, qualities, strict=True)), sorted(qualities)


def _filled(
    demands: Sequence[Demand],
    bases: Sequence[int],
    tops: Sequence[int],
    room: float,
    prefer: Sequence[int] | None = None,
) -> list[int]:
    """Raise steps from `bases` towards `tops` while they fit: the cheapest floor first, then the worst quality.

    Among equals a stream that `prefer` has higher goes first, so that streams don't swap places.
    """
    levels = list(bases)
    load = _load(demands, levels)
    for i in sorted(range(len(demands)), key=lambda i: demands[i].load(min(demands[i].bottom, tops[i]))):
        at = min(demands[i].bottom, tops[i])
        extra = demands[i].load(at) - demands[i].load(levels[i])
        if at > levels[i] and load + extra <= room:
            levels[i], load = at, load + extra
    stuck: set[int] = set()
    while len(stuck) < len(demands):
        i = min(
            (i for i in range(len(demands)) if i not in stuck),
            key=lambda i: (demands[i].steps[levels[i]].quality, -prefer[i] if prefer else 0, i),
        )
        extra = demands[i].load(levels[i] + 1) - demands[i].load(levels[i]) if levels[i] < tops[i] else math.inf
        if load + extra <= room:
            levels[i], load = levels[i] + 1, load + extra
        else:
            stuck.add(i)
    return levels
