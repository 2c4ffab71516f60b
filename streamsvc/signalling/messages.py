"""The wire: every message that crosses the signalling WebSocket or a data channel, as tagged structs with `v: 1`.

JSON, at most `MAX_MESSAGE_BYTES` a message. `decode` never lets a library's exception out: what is unknown, oversize or
malformed raises `SignallingError`, whose code and message are what the other side is told.

A session on the WebSocket: client `join` -> server `joined`; client `offer` -> server `answer`; `candidate` either way;
`configure` at any time -> `configured`; `record` -> `recording`; `leave`. `peers`, `notice` and `recording` also come
from the server unasked. Data channels,
opened by the client: `viewpoint` (unordered, no retransmits), `captions` (ordered), `ledger` (unordered).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from streamsvc.errors import StreamsvcError
from streamsvc.frames import rigsetup
from streamsvc.ledger import Outcome

MAX_MESSAGE_BYTES = 262_144
MAX_LEDGER_DOWN_BYTES = 65_536
"""Also what a WebRTC peer takes in one message when its SDP doesn't say (RFC 8841)."""
MAX_SDP_BYTES = 200_000
MAX_FRAMES = 64
MAX_PASSES = 64
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
Token = Annotated[str, msgspec.Meta(max_length=2048)]
Eye = tuple[float, float, float]


class SignallingError(StreamsvcError):
    """`code` is for programs (kebab-case, stable), the message for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Wire(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="type",
    omit_defaults=False,
):
    """What all messages have: a type and the version of this protocol."""

    v: Annotated[int, msgspec.Meta(ge=1, le=1)] = 1


class CameraTrack(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which SDP media section (`mid`) carries which camera of the rig."""

    name: Name
    mid: Annotated[str, msgspec.Meta(max_length=16)]


class SpeechSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How the participant's own voice is interpreted; None leaves a setting as it is. `glossary`: names and terms that
    the translation spells like this; `voice`: one of the `voices` of `joined`, or "auto", the one nearest to theirs."""

    enabled: bool | None = None
    policy: Annotated[str, msgspec.Meta(max_length=32)] | None = None
    parameters: dict[str, float] | None = None
    source: Annotated[str, msgspec.Meta(max_length=8)] | None = None
    target: Annotated[str, msgspec.Meta(max_length=8)] | None = None
    glossary: Annotated[list[Annotated[str, msgspec.Meta(max_length=200)]], msgspec.Meta(max_length=200)] | None = None
    voice: Annotated[str, msgspec.Meta(max_length=64)] | None = None


class ViewSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the participant wants to see: size of a view, latency budget, an upper rung, and the output mode (window,
    stereo, anaglyph, packed, cutout, quilt, quilt:COLUMNSxROWS, quilt:COLUMNSxROWS:DEGREES); None leaves it."""

    width: Annotated[int, msgspec.Meta(ge=64, le=2048)] | None = None
    height: Annotated[int, msgspec.Meta(ge=64, le=2048)] | None = None
    budget_ms: Annotated[float, msgspec.Meta(ge=20, le=5000)] | None = None
    rung: Annotated[str, msgspec.Meta(max_length=32)] | None = None
    mode: Annotated[str, msgspec.Meta(max_length=32)] | None = None


class AppearanceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How others see the participant: `backdrop` is what they see in place of the room: "room" (as it is), "blur" or
    "#rrggbb"; None leaves it."""

    backdrop: Annotated[str, msgspec.Meta(max_length=32)] | None = None


class Join(Wire, frozen=True, kw_only=True, tag="join"):
    """Enter a room. `rig` is a rig.json document and belongs to this participant; without one the picture of the
    first camera passes through. A `mirror` room shows one participant to themselves. `resume` is the key that an
    earlier `joined` brought: while the service still waits for who lost it, the session goes on and the rest of this
    message but the room counts for nothing; otherwise this is a join like any other. `fps`: what the cameras deliver, 0
    without any, from which the service tells whether there is room; taken for 30 where left out."""

    room: Name
    name: Name
    token: Token | None = None
    mirror: bool = False
    resume: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    rig: dict[str, Any] | None = None
    fps: Annotated[float, msgspec.Meta(ge=0, le=240)] | None = None
    speech: SpeechSettings = SpeechSettings()
    view: ViewSettings = ViewSettings()
    appearance: AppearanceSettings = AppearanceSettings()


class Joined(Wire, frozen=True, kw_only=True, tag="joined"):
    """Accepted. `policies` is the declared parameter table (name -> parameters with default, range, meaning), `rungs`
    the ladder, `voices` those that may speak for this participant; with `backdrops` the room behind them can be hidden,
    with `records` calls be recorded. `resume` is the key to this session, a secret: who shows it in a `join` on another
    socket has it again, as `resumed` says; the service waits for a while after a socket or media were lost."""

    session: str
    room: str
    peers: list[str]
    ice_servers: list[dict[str, Any]]
    policies: list[dict[str, Any]]
    rungs: list[dict[str, Any]]
    settings: dict[str, Any]
    voices: list[str] = []
    backdrops: bool = False
    records: bool = False
    resume: str | None = None
    resumed: bool = False


class Offer(Wire, frozen=True, kw_only=True, tag="offer"):
    """An SDP offer from the client; `cameras` maps its video sections to the rig, in rig order when empty."""

    sdp: Annotated[str, msgspec.Meta(max_length=MAX_SDP_BYTES)]
    cameras: Annotated[list[CameraTrack], msgspec.Meta(max_length=16)] = []


class Answer(Wire, frozen=True, kw_only=True, tag="answer"):
    """The SDP answer."""

    sdp: str


class Candidate(Wire, frozen=True, kw_only=True, tag="candidate"):
    """A trickled ICE candidate (RFC 8838); a null candidate ends the list."""

    candidate: Annotated[str, msgspec.Meta(max_length=1024)] | None
    sdp_mid: Annotated[str, msgspec.Meta(max_length=16)] | None = None


class Configure(Wire, frozen=True, kw_only=True, tag="configure"):
    """Change settings in mid-call."""

    speech: SpeechSettings = SpeechSettings()
    view: ViewSettings = ViewSettings()
    appearance: AppearanceSettings = AppearanceSettings()


class Configured(Wire, frozen=True, kw_only=True, tag="configured"):
    """The settings in force after a `configure`."""

    settings: dict[str, Any]


RecordAction = Literal["ask", "agree", "refuse", "stop"]


class Record(Wire, frozen=True, kw_only=True, tag="record"):
    """About recording this call: ask the others, answer them, or stop it (or take the question back) at any time. In a
    mirror room whoever asks has agreed."""

    action: RecordAction


class Recording(Wire, frozen=True, kw_only=True, tag="recording"):
    """How recording stands, told to everybody in the room at every change: "off", "asked" by somebody, or "on".

    With `asks_you` an answer is due within `left_s`. `missing` pictures did not get into the file. When it goes off,
    `code` and `message` say why: refused, unanswered, stopped, joined, left, too-long, disk-low, write-failed,
    writer-slow, codec-changed."""

    state: Literal["off", "asked", "on"]
    by: str | None = None
    asks_you: bool = False
    left_s: float | None = None
    missing: int = 0
    code: str | None = None
    message: str | None = None


class Leave(Wire, frozen=True, kw_only=True, tag="leave"):
    """Goodbye."""


class Peers(Wire, frozen=True, kw_only=True, tag="peers"):
    """Who is in the room now (names, without yourself), and the window through which the other is seen."""

    peers: list[str]
    screen: dict[str, Any] | None = None


class Notice(Wire, frozen=True, kw_only=True, tag="notice"):
    """Something the user should be told: `code` stable, `message` plain words."""

    code: str
    message: str


class Error(Wire, frozen=True, kw_only=True, tag="error"):
    """The answer to a message that could not be taken: `re` is that message's type, null when it could not be told.

    The connection stays open unless the client went on failing to join, or flooding, or did not join in time."""

    code: str
    message: str
    re: str | None = None


ClientMessage = Join | Offer | Candidate | Configure | Record | Leave
ServerMessage = Joined | Answer | Candidate | Configured | Recording | Peers | Notice | Error


# Data channels.


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
    """Channel `ledger`, client to server: `sent_ns` on the client's monotonic clock; `wall_ns` the client's wall clock
    (Unix time, the clock of its RTCP sender reports) at the same instant."""

    sent_ns: int
    wall_ns: int


class Pong(msgspec.Struct, frozen=True, kw_only=True, tag="pong"):
    """Channel `ledger`, server to client: the ping's `sent_ns`, and the server's monotonic clock when it came."""

    sent_ns: int
    server_ns: int


class Clocks(msgspec.Struct, frozen=True, kw_only=True, tag="clocks"):
    """Channel `ledger`, client to server: the offset so far: server = client wall clock + offset_ns +- error_ns."""

    offset_ns: int
    error_ns: int


class Shown(msgspec.Struct, frozen=True, kw_only=True, tag="shown"):
    """Channel `ledger`, client to server: pictures that were displayed, [RTP timestamp, server clock in ns]."""

    frames: Annotated[list[tuple[int, int]], msgspec.Meta(max_length=64)]
    error_ns: int = 0


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

_client = msgspec.json.Decoder(ClientMessage)
_server = msgspec.json.Decoder(ServerMessage)
_viewpoint = msgspec.json.Decoder(ViewpointMessage)
_viewpoint_down = msgspec.json.Decoder(ViewpointDown)
_ledger_up = msgspec.json.Decoder(LedgerUp)
_ledger_down = msgspec.json.Decoder(LedgerDown)
_captions = msgspec.json.Decoder(CaptionsDown)


def _decode(decoder: msgspec.json.Decoder[Any], data: bytes | str, limit: int = MAX_MESSAGE_BYTES) -> Any:
    size = len(data) if isinstance(data, bytes) else len(data.encode("utf-8", "surrogatepass"))
    if size > limit:
        raise SignallingError("too-large", f"the message has {size} bytes; at most {limit} are accepted")
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as e:
        # Cut, because the text of an unknown type, of any length, is part of it.
        raise SignallingError("bad-message", f"the message is not accepted: {str(e)[:300]}") from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as e:
        reason = "it is not UTF-8" if isinstance(e, UnicodeError) else str(e)[:300]
        raise SignallingError("not-json", f"the message is not JSON: {reason}") from None


def encode(message: msgspec.Struct) -> str:
    """Return the JSON text of any message of this module."""
    return msgspec.json.encode(message).decode()


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


def decode_client(data: bytes | str) -> ClientMessage:
    """Return what a client said; raises SignallingError (codes too-large, not-json, bad-message)."""
    message: ClientMessage = _decode(_client, data)
    return message


def decode_server(data: bytes | str) -> ServerMessage:
    """Return what the server said; raises SignallingError."""
    message: ServerMessage = _decode(_server, data)
    return message


def decode_viewpoint(data: bytes | str) -> ViewpointMessage:
    """Return one viewpoint; raises SignallingError."""
    message: ViewpointMessage = _decode(_viewpoint, data, 4096)
    return message


def decode_viewpoint_down(data: bytes | str) -> ViewpointDown:
    """Return what the server says of a picture; raises SignallingError."""
    message: ViewpointDown = _decode(_viewpoint_down, data, 4096)
    return message


def decode_ledger_up(data: bytes | str) -> LedgerUp:
    """Return one client report; raises SignallingError."""
    message: LedgerUp = _decode(_ledger_up, data, 8192)
    return message


def decode_ledger_down(data: bytes | str) -> LedgerDown:
    """Return one server report; raises SignallingError."""
    message: LedgerDown = _decode(_ledger_down, data, MAX_LEDGER_DOWN_BYTES)
    return message


def decode_captions(data: bytes | str) -> CaptionsDown:
    """Return one caption; raises SignallingError."""
    message: CaptionsDown = _decode(_captions, data, 65_536)
    return message


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of every message, by direction and channel."""
    unions = {
        "client": ClientMessage,
        "server": ServerMessage,
        "viewpoint": ViewpointMessage,
        "viewpoint_down": ViewpointDown,
        "ledger_up": LedgerUp,
        "ledger_down": LedgerDown,
        "captions": CaptionsDown,
        "setup_up": rigsetup.Begin,
        "setup_down": rigsetup.Begun | rigsetup.Seen | rigsetup.Solved,
    }
    schemas, components = msgspec.json.schema_components(unions.values(), ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "streamsvc wire, version 1",
        "properties": dict(zip(unions, schemas, strict=True)),
        "$defs": components,
    }
