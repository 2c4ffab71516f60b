"""Networks by name or by rules: what a flag says, as rules that may change over time. Pure."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields, replace

from streamsvc.errors import StreamsvcError
from streamsvc.shaper.link import Rules

NETWORKS = {
    "clean": "",
    "lossy": "delay=50,jitter=20,loss=5",
    "bursty": "delay=30,jitter=10,loss=2,burst=5",
    "lost-twice": "delay=10,lost_twice=4",
    "narrowing": "delay=10,rate=20000,queue=200/@15:rate=3000/@35:rate=20000",
    "mobile": "delay=40,jitter=15,loss=1,rate=4000,queue=300",
}
MOST = {"loss": 100.0, "reorder": 100.0, "duplicate": 100.0, "delay": 10_000.0, "jitter": 10_000.0, "burst": 1000.0}
LEAST = {"rate": 8.0}
"""What is above 0 but below this is a slip."""

_STAGE = re.compile(r"@(?P<at>[^:]*):(?P<rules>.*)")


class ShaperError(StreamsvcError):
    """A network that can't be: the message says what can."""


@dataclass(frozen=True, slots=True)
class Network:
    """`stages` are the rules from an instant (s since the first packet of media) on, in order, the first from 0;
    `name` is what the user said."""

    name: str
    stages: tuple[tuple[float, Rules], ...]

    def at(self, seconds: float) -> Rules:
        """Return the rules in force."""
        return [rules for start, rules in self.stages if start <= max(seconds, 0.0)][-1]


def parse_network(text: str) -> Network:
    """Return the network of a name, or of `key=value,...` with later changes as `/@seconds:key=value,...`.

    Keys are those of `Rules`. Raises ShaperError.
    """
    stages: list[tuple[float, Rules]] = []
    rules = Rules()
    for number, stage in enumerate(NETWORKS.get(text.strip(), text).split("/")):
        start = 0.0
        if found := _STAGE.fullmatch(stage.strip()):
            start, stage = _number(text, "@", found["at"]), found["rules"]
        elif number:
            raise _refusal(text, f"{stage.strip()!r} does not say from when (@seconds:)")
        if stages and start <= stages[-1][0]:
            raise _refusal(text, "later rules come later")
        rules = _changed(text, rules, stage)
        stages.append((start, rules))
    if stages[0][0] > 0:
        stages.insert(0, (0.0, Rules()))
    return Network(text.strip(), tuple(stages))


def _changed(text: str, rules: Rules, stage: str) -> Rules:
    keys = {f.name for f in fields(Rules)}
    for part in filter(None, (p.strip() for p in stage.split(","))):
        key, equals, value = (x.strip() for x in part.partition("="))
        key = key.replace("-", "_")
        if not equals or key not in keys:
            raise _refusal(text, f"{part!r} is no rule")
        number = _number(text, key, value)
        if number > MOST.get(key, math.inf):
            raise _refusal(text, f"{key} is at most {MOST[key]:g}")
        if 0 < number < LEAST.get(key, 0.0):
            raise _refusal(text, f"{key} is in kb/s, 0 (no bound) or at least {LEAST[key]:g}")
        rules = replace(rules, **{key: number})
    # Between two bursts at least one packet arrives.
    most = 100 * rules.burst / (rules.burst + 1)
    if rules.burst > 1 and most < rules.loss < 100:
        raise _refusal(
            text,
            f"bursts of {rules.burst:g} packets lose at most {math.floor(10 * most) / 10:g} %, or 100 %",
        )
    return rules


def _number(text: str, key: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise _refusal(text, f"{key}={value} is no number from 0 on")
    return number


def _refusal(text: str, reason: str) -> ShaperError:
    return ShaperError(
        f"the network {text!r}: {reason}. Names are {', '.join(NETWORKS)}; rules are like "
        f"{NETWORKS['lossy']} (ms, ms, percent), keys {', '.join(f.name for f in fields(Rules))}, and change later by "
        "/@seconds:key=value"
    )
