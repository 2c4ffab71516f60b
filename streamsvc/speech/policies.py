"""Speak policies: how much of a pass may be spoken now. Pure functions, their parameters declared as data.

A policy sees the units (words, or segments as in the paper) of one pass that aren't committed yet, and says how many of
them, from the front, may be: it stops at the first refusal, so order is kept and nothing is lost. Its state covers
uncommitted units only. The end of a phrase commits everything and is the interpreter's business, for every policy.

From Learning When to Speak (Dugan et al., Interspeech 2023), section 3, with its mechanics repaired; `agreement` is
LocalAgreement-n (Liu et al., Interspeech 2020), `attention` AlignAtt (Papi et al., Interspeech 2023).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from streamsvc.speech.errors import PolicyError
from streamsvc.speech.text import common_prefix, fold, ratio


@dataclass(frozen=True, slots=True)
class Unit:
    """One word or segment. `probability` is its tokens' mean and `frames_left` how many encoder frames the audio
    goes on after the one it attends to, both None where the pass wasn't aligned; `no_speech` is the pass's."""

    text: str
    probability: float | None
    no_speech: float
    frames_left: float | None = None


FRAME_S = 0.02
"""Seconds of one frame of the encoder."""

Units = tuple[Unit, ...]
State = tuple[Units, ...]
"""The uncommitted units of earlier passes, oldest first."""

Values = Mapping[str, float]
Decide = Callable[[State, Units, Values], tuple[int, State]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A number that may be set: flags, sliders and the documentation are made from this."""

    name: str
    default: float
    minimum: float
    maximum: float
    meaning: str
    integer: bool = False

    def check(self, value: float) -> float:
        """Return the value; raises PolicyError when it isn't a number in the range."""
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not self.minimum <= number <= self.maximum or (self.integer and number != int(number)):
            kind = "a whole number" if self.integer else "a number"
            raise PolicyError(
                f"{self.name} = {value!r} isn't accepted: {kind} from {self.minimum:g} to {self.maximum:g} "
                f"({self.meaning})"
            )
        return number


@dataclass(frozen=True, slots=True)
class Policy:
    """`waits`: no pass before the phrase is over. `aligned`: the decision needs words that were aligned (probabilities,
    frames), which costs a pass of its own through the decoder."""

    name: str
    meaning: str
    decide: Decide
    parameters: tuple[Parameter, ...]
    waits: bool = False
    aligned: bool = False


def _front(units: Units, accepts: Callable[[int, Unit], bool]) -> int:
    for i, unit in enumerate(units):
        if not accepts(i, unit):
            return i
    return len(units)


def greedy(state: State, units: Units, values: Values) -> tuple[int, State]:
    """Wait-k: everything."""
    return len(units), ()


def offline(state: State, units: Units, values: Values) -> tuple[int, State]:
    """Nothing before the end of the phrase."""
    return 0, ()


def confidence(state: State, units: Units, values: Values) -> tuple[int, State]:
    """A segment with no_speech_prob < 1 - threshold; a word whose mean token probability is >= threshold."""
    threshold = values["threshold"]
    if values["segments"]:
        return _front(units, lambda _, u: u.no_speech < 1 - threshold), ()
    return _front(units, lambda _, u: u.probability is not None and u.probability >= threshold), ()


def consensus(state: State, units: Units, values: Values) -> tuple[int, State]:
    """A unit that the previous pass has at the same index, alike enough; none on a first pass."""
    previous = state[-1] if state else ()
    count = _front(units, lambda i, u: i < len(previous) and ratio(u.text, previous[i].text) >= values["threshold"])
    return count, (units[count:],)


def agreement(state: State, units: Units, values: Values) -> tuple[int, State]:
    """LocalAgreement-n: the longest common prefix of the last n passes, case and punctuation folded."""
    passes = (*state, units)[-int(values["n"]) :]
    if len(passes) < int(values["n"]):
        return 0, passes
    count = common_prefix([[fold(u.text) for u in p] for p in passes])
    return count, tuple(p[count:] for p in passes)


def attention(state: State, units: Units, values: Values) -> tuple[int, State]:
    """AlignAtt: words that attend to sound further than `frames` from the end; the last word waits."""
    far = _front(units, lambda _, u: u.frames_left is not None and u.frames_left > values["frames"])
    return max(min(far, len(units) - 1), 0), ()


def certain(state: State, units: Units, values: Values) -> tuple[int, State]:
    """Words while the running mean of their log-probabilities stays above the threshold."""
    total = 0.0

    def accepts(i: int, unit: Unit) -> bool:
        nonlocal total
        total += math.log(max(unit.probability or 0.0, 1e-9))
        return total / (i + 1) > values["threshold"]

    return _front(units, accepts), ()


_FRAME = Parameter("frame_width", 1.0, 0.25, 5.0, "seconds by which the audio grows between passes")
_FIRST = Parameter("first", 1.0, 0.2, 5.0, "seconds of a phrase before its first pass")
_HURRY = Parameter("hurry", 0.3, 0.2, 5.0, "seconds to the next pass after one that said nothing")
_BEAM = Parameter("beam", 1, 1, 5, "hypotheses that the model weighs in a pass before the last", True)
_PHRASE = Parameter("phrase_timeout", 0.7, 0.3, 15.0, "seconds of silence that end a phrase and say all that is left")
_CONTEXT = Parameter("context", 0, 0, 223, "tokens of what was said before that the model is reminded of", True)
_COMMON = (_PHRASE, _CONTEXT)
_PASSES = (_FRAME, _BEAM, *_COMMON)
# Three are worth 1.6 chrF and 1.1 BLEU over one (141 recorded prompts as streams) for a tenth more compute.
_WIDE = replace(_BEAM, default=3)
_SEGMENTS = Parameter("segments", 0, 0, 1, "1 decides on whole segments and cuts the audio, as the paper does", True)

POLICIES: dict[str, Policy] = {
    p.name: p
    for p in (
        Policy(
            "agreement",
            "says words that the last n passes agree on (LocalAgreement-n)",
            agreement,
            (Parameter("n", 2, 2, 5, "passes that must agree", True), _FRAME, _FIRST, _HURRY, _WIDE, *_COMMON),
        ),
        Policy(
            "attention",
            "says words that the model finds far enough from the end of the sound (AlignAtt)",
            attention,
            (Parameter("frames", 25, 1, 100, "frames of 20 ms that must follow a word", True), *_PASSES),
            aligned=True,
        ),
        Policy(
            "certain",
            "says words while the model is sure of them on average",
            certain,
            (Parameter("threshold", -0.5, -5, 0, "least mean log-probability"), *_PASSES),
            aligned=True,
        ),
        Policy("greedy", "says everything that each pass gives (wait-k)", greedy, (*_PASSES, _SEGMENTS)),
        Policy(
            "confidence",
            "says what the model is sure of",
            confidence,
            (Parameter("threshold", 0.7, 0, 1, "how sure, as a probability"), *_PASSES, _SEGMENTS),
            aligned=True,
        ),
        Policy(
            "consensus",
            "says what the previous pass said almost alike at the same place",
            consensus,
            (Parameter("threshold", 0.9, 0, 1, "how alike, as a Levenshtein ratio"), *_PASSES, _SEGMENTS),
        ),
        Policy(
            "offline",
            "waits until the phrase is over, then says all of it",
            offline,
            (replace(_PHRASE, default=2.0), _CONTEXT),
            waits=True,
        ),
    )
}

DEFAULT_POLICY = "agreement"


@dataclass(frozen=True, slots=True)
class Preset:
    """Parameters that differ from the defaults, by policy."""

    name: str
    meaning: str
    parameters: Mapping[str, Mapping[str, float]]


# What they are worth is in the README: lags of 1.7, 2.0 and 2.5 s with measured compute.
PRESETS: dict[str, Preset] = {
    p.name: p
    for p in (
        Preset("fast", "words come a little sooner, and cost more compute", {"agreement": {"frame_width": 0.75}}),
        Preset("default", "words come soon, and few of them are wrong for that", {}),
        Preset(
            "careful",
            "words come half a second later, are better and cost less compute",
            {"agreement": {"first": 0.7, "hurry": 0.7}},
        ),
        Preset(
            "paper",
            "as Learning When to Speak has it: decisions on segments, phrases that end after 2 s",
            # `offline` is so by default.
            {name: {"segments": 1, "phrase_timeout": 2.0} for name in ("greedy", "confidence", "consensus")},
        ),
    )
}


def describe() -> list[dict[str, Any]]:
    """Return the table of policies as plain data, default policy first: name, meaning, parameters (name, default,
    minimum, maximum, meaning, integer), and presets from the fastest (name, meaning, all parameters), where there is
    one beside the default."""
    return [
        {
            "name": p.name,
            "meaning": p.meaning,
            "parameters": [asdict(q) for q in p.parameters],
            "presets": _presets(p.name),
        }
        for p in POLICIES.values()
    ]


def _presets(policy: str) -> list[dict[str, Any]]:
    found = [p for p in PRESETS.values() if p.name == "default" or policy in p.parameters]
    return [
        {"name": p.name, "meaning": p.meaning, "parameters": resolve(policy, preset=p.name)}
        for p in found
        if len(found) > 1
    ]


def find_policy(name: str) -> Policy:
    """Return the policy; raises PolicyError with the names that exist."""
    try:
        return POLICIES[name]
    except KeyError:
        raise PolicyError(f"policy {name!r} isn't known; one of {', '.join(POLICIES)}") from None


def resolve(name: str, parameters: Mapping[str, float] | None = None, *, preset: str = "default") -> dict[str, float]:
    """Return every parameter of policy `name`: what was given, else the preset's, else the default.

    Raises PolicyError for an unknown policy, preset or parameter and for a value out of its range.
    """
    policy = find_policy(name)
    if preset not in PRESETS:
        raise PolicyError(f"preset {preset!r} isn't known; one of {', '.join(PRESETS)}")
    values = {p.name: p.default for p in policy.parameters} | dict(PRESETS[preset].parameters.get(name, {}))
    known = {p.name: p for p in policy.parameters}
    for key, value in (parameters or {}).items():
        if key not in known:
            raise PolicyError(f"policy {name} has no parameter {key!r}; it has {', '.join(known)}")
        values[key] = known[key].check(value)
    return values
