"""What is said while somebody sets up a rig of cameras: by the page over HTTP, by the port to the process that looks.

One process a set-up: `Begin` once, then any number of `Look`, `Sheet` and `Finish`, each answered by one message, or by
`Refused`, whose code and message are what the page is told. Between processes: msgpack, four bytes of length first.
Over HTTP: `Begin` and the answers as JSON, the rest as requests of their own (docs/wire.md). Pictures are JPEG; pixels
have integer centres, row 0 at the top, unmirrored.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from streamsvc.frames.link import HEADER

MAX_CAMERAS = 4
MAX_PICTURE_BYTES = 2 << 20
MAX_SIDE = 2048
"""Pixels; larger pictures are refused before they are decoded."""

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
Form = Literal["svg", "png"]


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=str.lower):
    """What all messages have in common."""


class Begin(Message, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Set up `cameras`, named in rig order, with a `board` as `calibrate.parse_board` takes it."""

    board: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    cameras: Annotated[list[Name], msgspec.Meta(min_length=2, max_length=MAX_CAMERAS)]


class Look(Message, frozen=True, kw_only=True):
    """A picture of each camera, in the order of `Begin`, all of one instant."""

    pictures: list[bytes]


class Sheet(Message, frozen=True, kw_only=True):
    """Draw the board."""

    form: Form


class Finish(Message, frozen=True, kw_only=True):
    """Make the rig of what was seen."""


class Begun(Message, frozen=True, kw_only=True):
    """The set-up has begun; so many views of each camera are `wanted`."""

    wanted: int


class Drawn(Message, frozen=True, kw_only=True):
    """The board in the form that was asked for, to scale."""

    data: bytes


class CameraSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One camera: the board's `corners` [x, y] in this look, in pixels, or nothing where it isn't found; whether they
    are `blurred`; in how many views the board was kept so far, in how many it reached each third by third of the
    picture (`zones`, row by row), the share of the picture that boards `covered`, and the reprojection error so far."""

    name: str
    corners: list[tuple[float, float]]
    blurred: bool
    views: int
    zones: list[int]
    covered: float
    rms_px: float | None


class Next(msgspec.Struct, frozen=True, kw_only=True):
    """What helps most now. `show` the board to any camera; hold it where all of `cameras` see it `together`; take it to
    a `place`, the zone number `zone` of one camera's picture; `tilt` it more; `finish`: nothing helps any more."""

    do: Literal["show", "together", "place", "tilt", "finish"]
    cameras: list[str] = []
    zone: int | None = None


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """Why what was seen so far makes no rig."""

    code: str
    message: str


class Seen(Message, frozen=True, kw_only=True):
    """What a look was worth: `kept`, or why it wasn't; `why`: a guess at what keeps the board from being found.
    `rms_px` is the reprojection error of everything that was kept, once that makes a rig; `enough`: a good one, as far
    as one can tell, and what `next` says makes it better still."""

    state: Literal["unseen", "blurred", "moving", "known", "kept"]
    why: str | None
    views: int
    cameras: list[CameraSeen]
    next: Next
    enough: bool
    rms_px: float | None
    trouble: Trouble | None


class CameraFit(msgspec.Struct, frozen=True, kw_only=True):
    """How well one camera is known: reprojection error, views, share of its picture that boards covered."""

    name: str
    rms_px: float
    views: int
    covered: float


class Solved(Message, frozen=True, kw_only=True):
    """The `rig` as a rig.json document, how good it is, what could be better, and a PNG `picture` of it."""

    rig: dict[str, Any]
    rms_px: float
    cameras: list[CameraFit]
    warnings: list[str]
    picture: bytes


class Refused(Message, frozen=True, kw_only=True):
    """The answer when something can't be done; the set-up goes on."""

    code: str
    message: str


Ask = Begin | Look | Sheet | Finish
Answer = Begun | Drawn | Seen | Solved | Refused

_encoder = msgspec.msgpack.Encoder()
_ask = msgspec.msgpack.Decoder(Ask)
_answer = msgspec.msgpack.Decoder(Answer)


def pack(message: Message) -> bytes:
    """Return the framed bytes of a message."""
    body = _encoder.encode(message)
    return HEADER.pack(len(body)) + body


def decode_ask(body: bytes) -> Ask:
    """Return what the port asked; raises msgspec.MsgspecError."""
    message: Ask = _ask.decode(body)
    return message


def decode_answer(body: bytes) -> Answer:
    """Return what the process answered; raises msgspec.MsgspecError."""
    message: Answer = _answer.decode(body)
    return message
