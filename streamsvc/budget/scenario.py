"""What a simulation is about: sessions, their views and speech, best effort, shocks and noise of one worker.

Typed once: a scenario file has these names as keys (see `streamsvc/scenarios`), and admission makes the same objects
from what runs. Times are milliseconds or seconds as names say; what is out of range is refused where files are read.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Positive = Annotated[float, Meta(gt=0, le=1e5)]
NotNegative = Annotated[float, Meta(ge=0, le=1e5)]
Share = Annotated[float, Meta(ge=0, le=1)]
Name = Annotated[str, Meta(min_length=1, max_length=64)]


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of the file."""


class RungLoad(Part, frozen=True, kw_only=True):
    """A rung: its calibrated cost (the prior), quality in any one unit, and `lie`, true cost over calibrated."""

    name: Name
    cost_ms: Positive
    quality: Annotated[float, Meta(ge=-1e3, le=1e3)]
    lie: Annotated[float, Meta(ge=0.01, le=100)] = 1.0


class ViewLoad(Part, frozen=True, kw_only=True):
    """A view stream. `deadline_ms` from capture to the end of the worker; a frame arrives after a gamma-distributed
    delay of mean `delay_ms`; `floor`: the least quality that counts; `slices`: the parts that a frame's work has."""

    rungs: Annotated[tuple[RungLoad, ...], Meta(min_length=1, max_length=32)]
    floor: Annotated[float, Meta(ge=-1e3, le=1e3)]
    fps: Annotated[float, Meta(ge=0.1, le=240)] = 30.0
    deadline_ms: Positive = 100.0
    delay_ms: NotNegative = 8.0
    slices: Annotated[int, Meta(ge=1, le=100)] = 1
    cap: Name | None = None


class SpeechLoad(Part, frozen=True, kw_only=True):
    """A speaker: every `every_ms` a pass that encodes for `encode_ms`, then makes `tokens`, a slice each."""

    every_ms: Positive = 1000.0
    deadline_ms: Positive = 700.0
    encode_ms: Positive = 25.0
    tokens: Annotated[int, Meta(ge=1, le=500)] = 20
    token_ms: Positive = 3.5


class SessionLoad(Part, frozen=True, kw_only=True):
    """`count` equal sessions, there from `join_s` to `leave_s` (None: to the end); a view, speech, or both."""

    count: Annotated[int, Meta(ge=1, le=64)] = 1
    join_s: NotNegative = 0.0
    leave_s: NotNegative | None = None
    view: ViewLoad | None = None
    speech: SpeechLoad | None = None


class Noise(Part, frozen=True, kw_only=True):
    """Log-normal spread of every slice, and the share of slices that take `slow_factor` times as long."""

    sigma: Annotated[float, Meta(ge=0, le=2)] = 0.15
    slow_share: Share = 0.01
    slow_factor: Annotated[float, Meta(ge=1, le=100)] = 3.0


class Shock(Part, frozen=True, kw_only=True):
    """From `from_s` to `to_s` everything costs `factor` times as much."""

    from_s: NotNegative
    to_s: NotNegative
    factor: Annotated[float, Meta(ge=0.1, le=100)]


class Scenario(Part, frozen=True, kw_only=True):
    """One worker of `lanes` lanes, of which one may run speech, for `seconds`.

    `best_effort_ms`: the slice of a best effort that always has work (0: none). `together`: speech passes that wait to
    be decoded are decoded in one call, so many at most; `batch`: what each further one adds to the cost of the first.
    """

    title: Annotated[str, Meta(min_length=1, max_length=200)]
    sessions: Annotated[tuple[SessionLoad, ...], Meta(min_length=1, max_length=32)]
    seconds: Annotated[float, Meta(ge=1, le=600)] = 30.0
    lanes: Annotated[int, Meta(ge=1, le=16)] = 1
    noise: Noise = Noise()
    shocks: Annotated[tuple[Shock, ...], Meta(max_length=32)] = ()
    best_effort_ms: NotNegative = 0.0
    together: Annotated[int, Meta(ge=1, le=16)] = 1
    batch: Share = 1.0
