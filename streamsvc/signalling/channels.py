"""The wire: every message that crosses a data channel of a call.

The client opens three: `viewpoint` (unordered, no retransmits), `captions` (ordered) and `ledger` (unordered). JSON;
what is unknown, oversize or malformed raises `SignallingError`, as in `messages`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, TypeVar

import msgspec

from streamsvc.ledger import Outcome
from streamsvc.signalling.messages import decoded

MAX_VIEWPOINT_BYTES, MAX_LEDGER_UP_BYTES = 4096, 8192
MAX_LEDGER_DOWN_BYTES = 65_536
"""Also what a WebRTC peer takes in one message when its SDP doesn't say (RFC 8841)."""
MAX_FRAMES = 64
MAX_PASSES = 64
Eye = tuple[float, float, float]
Nanoseconds = Annotated[int, msgspec.Meta(ge=-(2**62), le=2**62)]
ClockError = Annotated[int, msgspec.Meta(ge=0, le=60_000_000_000)]
"""In ns: half of a round trip, which on a machine that is starved takes many seconds."""
RtpTimestamp = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]


class ViewpointMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Channel `viewpoint`, client to server, newest wins: eyes in world metres of the shown person's rig."""

    t_us: int
    eyes: Annotated[list[Eye], msgspec.Meta(min_length=1, max_length=2)]


class PackedView(msgspec.Struct, frozen=True, kw_only=True, tag="packed"):
    """Channel `viewpoint`, server to client, for every picture in output mode `packed`, before it: how to warp it.

    The picture with RTP timestamp `rtp` shows, in its upper `width` x `height` pixels, what an eye at `eye` sees
    through the rectangle `screen` (centre and half-extents, as in rig.json; wider than the window). In its lower
    `width` x `height` / 2 pixels luma is inverse depth: row j is that of row 2 j above; 0 is `inverse_far`, 255
    `inverse_near`, linear in between, in 1/m along the screen's normal from the eye. World metres of the shown
    person's rig.
    """

    rtp: int
    eye: Eye
    screen: dict[str, list[float]]
    width: int
    height: int
    inverse_far: float
    inverse_near: float


class Caption(msgspec.Struct, frozen=True, kw_only=True, tag="commit", omit_defaults=True):
    """Channel `captions`, server to client: text that is final. Times are ms since the speaker's microphone began."""

    id: int
    speaker: str
    text: str
    source_start_ms: float
    source_end_ms: float
    wall_ms: float


class Tentative(msgspec.Struct, frozen=True, kw_only=True, tag="tentative"):
    """Channel `captions`: what may come next; replaces the tentative text before it."""

    speaker: str
    text: str


class Revision(msgspec.Struct, frozen=True, kw_only=True, tag="revision"):
    """Channel `captions`: what the commits `ids` of a speaker said, in the words of a second, slower pass over the
    whole phrase: for transcripts. What was shown and spoken stays as it was."""

    speaker: str
    ids: list[int]
    text: str


class Ping(msgspec.Struct, frozen=True, kw_only=True, tag="ping"):
    """Channel `ledger`, client to server: `sent_ns` on the client's monotonic clock."""

    sent_ns: Nanoseconds


class Pong(msgspec.Struct, frozen=True, kw_only=True, tag="pong"):
    """Channel `ledger`, server to client: the ping's `sent_ns`, and the server's monotonic clock when it came."""

    sent_ns: int
    server_ns: int


class Clocks(msgspec.Struct, frozen=True, kw_only=True, tag="clocks"):
    """Channel `ledger`, client to server: the offset so far: server = client wall clock (Unix time, the clock of its
    RTCP sender reports) + offset_ns +- error_ns."""

    offset_ns: Nanoseconds
    error_ns: ClockError


class Shown(msgspec.Struct, frozen=True, kw_only=True, tag="shown"):
    """Channel `ledger`, client to server: pictures that were displayed, [RTP timestamp, server clock in ns]."""

    frames: Annotated[list[tuple[RtpTimestamp, Nanoseconds]], msgspec.Meta(max_length=64)]
    error_ns: ClockError = 0


class Follow(msgspec.Struct, frozen=True, kw_only=True, tag="follow"):
    """Channel `ledger`, client to server, at any time: with `frames` tell me what becomes of each frame set that I am
    due, with `speech` of each pass over the voice that I hear, from now on; without, no longer. Nobody is told
    unasked."""

    frames: bool
    speech: bool = False


class FrameTrace(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one frame set, as the ledger has it; ns on the server's monotonic clock, give or take
    `clock_error_ns`.

    `capture_ns` is when the cameras saw it, `deadline_ns` when it had to be displayed, `displayed_ns` when it was;
    None: never, or nobody knows, and `reason` says why. The view was made on `rung`, of a calibrated `quality` in dB
    and of a predicted cost, from so many `cameras`. `stages` are [name, start, end], in the order in which they ran.
    """

    capture_ns: int
    displayed_ns: int | None
    deadline_ns: int
    clock_error_ns: int
    outcome: Outcome
    reason: str | None
    rung: str | None
    cameras: int
    stages: list[tuple[str, int, int]]
    quality: float | None = None
    predicted_ns: int | None = None


class Frames(msgspec.Struct, frozen=True, kw_only=True, tag="frames"):
    """Channel `ledger`, server to client, twice a second to who asked by `follow`: what became of frame sets, each told
    once, after it was reported as shown or a second after its deadline; in no order that can be relied on."""

    frames: Annotated[list[FrameTrace], msgspec.Meta(max_length=MAX_FRAMES)]


class PassTrace(msgspec.Struct, frozen=True, kw_only=True):
    """What one speech pass came to, as the ledger has it; ns on the server's monotonic clock.

    `capture_ns` is the end of the sound whose translation was committed (of what was read, where nothing was),
    `deadline_ns` when the commit should have left, `displayed_ns` when it did, `text` what was committed. `stages` are
    [name, start, end], in the order in which they ran.
    """

    capture_ns: int
    displayed_ns: int | None
    deadline_ns: int
    outcome: Outcome
    text: str | None
    stages: list[tuple[str, int, int]]


class Passes(msgspec.Struct, frozen=True, kw_only=True, tag="passes"):
    """Channel `ledger`, server to client, twice a second to who asked by `follow`: the passes over the voice that they
    hear, each told once, when it is over."""

    passes: Annotated[list[PassTrace], msgspec.Meta(max_length=MAX_PASSES)]


class Live(msgspec.Struct, frozen=True, kw_only=True, tag="live"):
    """Channel `ledger`, server to client, twice a second: the figures of the last seconds of what you see and hear."""

    latency_ms: float | None
    goodput: float | None
    fps: float
    rung: str | None
    budget_ms: float
    cameras: int
    speech_lag_ms: float | None
    dropped: dict[str, int]


ViewpointDown = PackedView
LedgerUp = Ping | Clocks | Shown | Follow
LedgerDown = Pong | Live | Frames | Passes
CaptionsDown = Caption | Tentative | Revision
Trace = TypeVar("Trace", FrameTrace, PassTrace)

_viewpoint = msgspec.json.Decoder(ViewpointMessage)
_viewpoint_down = msgspec.json.Decoder(ViewpointDown)
_ledger_up = msgspec.json.Decoder(LedgerUp)
_ledger_down = msgspec.json.Decoder(LedgerDown)
_captions = msgspec.json.Decoder(CaptionsDown)


def in_messages(frames: Iterable[FrameTrace]) -> list[Frames]:
    """Return `frames`, in their order, in messages that `decode_ledger_down` takes; a frame has dozens of stages, not
    hundreds."""
    return [Frames(frames=batch) for batch in _batches(frames, Frames(frames=[]), MAX_FRAMES)]


def passes_in_messages(passes: Iterable[PassTrace]) -> list[Passes]:
    """Return `passes`, in their order, in messages that `decode_ledger_down` takes; a pass commits few words."""
    return [Passes(passes=batch) for batch in _batches(passes, Passes(passes=[]), MAX_PASSES)]


def _batches(traces: Iterable[Trace], empty: msgspec.Struct, most: int) -> Iterator[list[Trace]]:
    """Yield `traces` in lists that fit into messages like `empty`, at most so many in each."""
    batch: list[Trace] = []
    start = size = len(msgspec.json.encode(empty))
    for trace in traces:
        more = len(msgspec.json.encode(trace)) + len(",")
        if batch and (len(batch) == most or size + more > MAX_LEDGER_DOWN_BYTES):
            yield batch
            batch, size = [], start
        batch.append(trace)
        size += more
    if batch:
        yield batch


def decode_viewpoint(data: bytes | str) -> ViewpointMessage:
    """Return one viewpoint; raises SignallingError."""
    message: ViewpointMessage = decoded(_viewpoint, data, MAX_VIEWPOINT_BYTES)
    return message


def decode_viewpoint_down(data: bytes | str) -> ViewpointDown:
    """Return what the server says of a picture; raises SignallingError."""
    message: ViewpointDown = decoded(_viewpoint_down, data, MAX_VIEWPOINT_BYTES)
    return message


def decode_ledger_up(data: bytes | str) -> LedgerUp:
    """Return one client report; raises SignallingError."""
    message: LedgerUp = decoded(_ledger_up, data, MAX_LEDGER_UP_BYTES)
    return message


def decode_ledger_down(data: bytes | str) -> LedgerDown:
    """Return one server report; raises SignallingError."""
    message: LedgerDown = decoded(_ledger_down, data, MAX_LEDGER_DOWN_BYTES)
    return message


def decode_captions(data: bytes | str) -> CaptionsDown:
    """Return one caption; raises SignallingError."""
    message: CaptionsDown = decoded(_captions, data, 65_536)
    return message
