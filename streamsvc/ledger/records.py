"""What one frame set or one speech pass cost: the typed record, one JSON line each; and beside them, in what a page
saved, what its network did.

All times are on the server's monotonic clock. A record is written once, at the display report or one second after
the deadline, whichever is first. Everything that is reported is computed from these records.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Outcome = Literal["shown", "late", "dropped"]
Kind = Literal["view", "speech"]
Rate = Annotated[float, msgspec.Meta(ge=0, le=1e15)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Stage(msgspec.Struct, frozen=True):
    """One stage: `name` of the slice and its start and end."""

    name: str
    start_ns: int
    end_ns: int


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One frame set (`kind` view) or one speech pass (`kind` speech).

    For a view: `capture_ns` is when the cameras saw it, `deadline_ns` when it must be displayed (r + D),
    `displayed_ns` when the viewer's device showed it (None: never, or unknown, which counts as a miss), `quality` the
    calibrated quality of `rung` in dB. For speech: `capture_ns` is the end of the sound whose translation was committed
    (of what was read, where nothing was), `displayed_ns` when the commit left for the viewer, `text` what was
    committed. `reason` says why an outcome is "dropped".
    """

    v: int = 1
    kind: Kind = "view"
    session: str
    stream: str
    id: int
    capture_ns: int
    deadline_ns: int
    clock_error_ns: int = 0
    rung: str | None = None
    quality: float | None = None
    predicted_ns: int | None = None
    stages: tuple[Stage, ...] = ()
    outcome: Outcome
    reason: str | None = None
    displayed_ns: int | None = None
    cameras: int = 0
    text: str | None = None


class NetworkSample(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="network"):
    """What the connection of one viewer did in the `period_ns` before `at_ns`, by its own statistics (W3C
    webrtc-stats), seen from the viewer: `in_` is what came, `out_` what left.

    `bps`: bits a second of all that the connection carried; `rtt_ns`: its last round trip; `lost`: the share of the RTP
    packets, 0 to 1. None: nobody knows, or there were none.
    """

    v: int = 1
    session: str
    at_ns: int
    period_ns: int
    rtt_ns: int | None = None
    in_bps: Rate | None = None
    out_bps: Rate | None = None
    in_lost: Share | None = None
    out_lost: Share | None = None
