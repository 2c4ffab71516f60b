"""The wire: every message that crosses the signalling WebSocket, as tagged structs with `v: 1` (see `channels` for what
crosses the data channels).

JSON, at most `MAX_MESSAGE_BYTES` a message. `decoded` never lets a library's exception out: what is unknown, oversize
or malformed raises `SignallingError`, whose code and message are what the other side is told.

A session on the WebSocket: client `join` -> server `joined`; client `offer` -> server `answer`; `candidate` either way;
`configure` at any time -> `configured`; `record` -> `recording`; `leave`. `peers`, `notice` and `recording` also come
from the server unasked.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from streamsvc.errors import StreamsvcError

MAX_MESSAGE_BYTES = 262_144
MAX_SDP_BYTES = 200_000
LONGEST_NAME = 64
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_NAME, pattern=r"^[^\x00-\x1f\x7f]+$")]
Token = Annotated[str, msgspec.Meta(max_length=2048)]


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


_client = msgspec.json.Decoder(ClientMessage)
_server = msgspec.json.Decoder(ServerMessage)


def decoded(decoder: msgspec.json.Decoder[Any], data: bytes | str, limit: int = MAX_MESSAGE_BYTES) -> Any:
    """Return what `data` says, at most `limit` bytes of it; raises SignallingError (codes too-large, not-json,
    bad-message)."""
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


def decode_client(data: bytes | str) -> ClientMessage:
    """Return what a client said; raises SignallingError (codes too-large, not-json, bad-message)."""
    message: ClientMessage = decoded(_client, data)
    return message


def decode_server(data: bytes | str) -> ServerMessage:
    """Return what the server said; raises SignallingError."""
    message: ServerMessage = decoded(_server, data)
    return message
