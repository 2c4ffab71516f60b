"""What the edge and a worker say to each other over their socket: small msgpack messages, four bytes of length first.

Pictures are named by ring slot, never sent. Sound and text are small enough to travel inside. Both ends run the same
version, so an unknown message is a programming error and ends the worker.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import msgspec

HEADER = struct.Struct("<I")
MAX_BYTES = 16 * 1024 * 1024


class Message(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag=True):
    """What all messages have in common."""


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a worker is started with. `policy` to `target` are what callers start with: a worker that can't take them
    doesn't start, nor one without the `model` or the `voice` that is named. `extra_stage_ms` adds an idle stage to
    every view, for load tests."""

    device: str = "cpu"
    lanes: int = 2
    speech: bool = True
    speech_device: str = "cpu"
    model: str | None = None
    voice: str | None = None
    policy: str = "agreement"
    parameters: dict[str, float] = {}
    source: str = "auto"
    target: str = "en"
    extra_stage_ms: float = 0.0
    log_level: str = "info"


class OpenView(Message, frozen=True, kw_only=True):
    """A stream of views of one participant for one viewer. `rig` is a rig.json document; None: the picture passes.
    `mode` as in `outputmode.parse_mode`, `backdrop` as in `backdrop.parse_backdrop`; `width` and `height` are those of
    one view."""

    stream: str
    rig: dict[str, Any] | None
    width: int
    height: int
    mode: str = "window"
    backdrop: str = "room"


class PictureIn(msgspec.Struct, frozen=True, array_like=True):
    """One camera's picture in an inward slot."""

    camera: str
    slot: int
    width: int
    height: int
    capture_ns: int


class SetIn(Message, frozen=True, kw_only=True):
    """One frame set. `eyes` are world metres (the newest viewpoint, None: the default eye); `rung` caps the ladder,
    and so does `carried_db`, the quality that the way to the viewer carries; None: unknown."""

    stream: str
    id: int
    capture_ns: int
    deadline_ns: int
    period_ns: int
    pictures: list[PictureIn]
    eyes: list[tuple[float, float, float]] | None = None
    rung: str | None = None
    carried_db: float | None = None


class OpenSpeech(Message, frozen=True, kw_only=True):
    """A speaker. Fields as in SpeechSettings of the wire; `spoken` asks for spoken English beside the captions."""

    stream: str
    policy: str | None = None
    parameters: dict[str, float] = {}
    source: str = "auto"
    target: str = "en"
    glossary: list[str] = []
    voice: str = "auto"
    spoken: bool = True


class ConfigureSpeech(Message, frozen=True, kw_only=True):
    """Change the settings of an open speaker; None leaves one as it is."""

    stream: str
    policy: str | None = None
    parameters: dict[str, float] | None = None
    source: str | None = None
    target: str | None = None
    glossary: list[str] | None = None
    voice: str | None = None
    spoken: bool | None = None


class SoundIn(Message, frozen=True, kw_only=True):
    """16 kHz mono float32 samples (little endian) of a speaker; `end_ns` is the capture instant of the block's end."""

    stream: str
    samples: bytes
    end_ns: int


class Close(Message, frozen=True, kw_only=True):
    """The stream is over. What a view still holds is dropped; of a speaker it is said, until `SpeechOver`."""

    stream: str


class GiveOut(Message, frozen=True, kw_only=True):
    """Outward slots that the edge has read."""

    slots: list[int]


class AskCosts(Message, frozen=True, kw_only=True):
    """What do streams cost on this worker now, and what would `views` that aren't open? Answered by `Costs`."""

    id: int
    views: list[OpenView]


class RungCost(msgspec.Struct, frozen=True, array_like=True):
    """A rung of a ladder, and the compute to expect of a frame set on it."""

    name: str
    cost_ns: int
    quality: float


class SpeechCost(msgspec.Struct, frozen=True, array_like=True):
    """What a speaker takes while they speak: every so often a pass, its encoding and the rest of it."""

    every_ns: int
    encode_ns: int
    decode_ns: int


class Costs(Message, frozen=True, kw_only=True):
    """The ladders of the `views` asked about, in order (an empty one can't be made) and of the `streams` that are open,
    as far as has been learned; a speaker (None: no speech here); on so many `lanes`, of which `busy` are at work (the
    mean of the last moments, like the `idle` cores of the host; None: unknown), with so many passes `together`."""

    id: int
    views: list[list[RungCost]]
    streams: dict[str, list[RungCost]]
    speech: SpeechCost | None
    lanes: int
    together: int
    busy: float = 0.0
    idle: float | None = None


class Ready(Message, frozen=True, kw_only=True):
    """The worker is warm. `rungs` and `policies` are tables for the clients, `voices` those that a speaker may choose
    from; `notes` say what is missing and why; with `backdrops` it can tell from the room whom a pair of cameras
    sees."""

    device: str
    rungs: list[dict[str, Any]]
    policies: list[dict[str, Any]]
    notes: list[str]
    voices: list[str] = []
    backdrops: bool = False


class Unable(Message, frozen=True, kw_only=True):
    """The worker ends before it is ready: what it was to run on, or with, isn't there."""

    reason: str


class GiveIn(Message, frozen=True, kw_only=True):
    """Inward slots that the worker has read."""

    slots: list[int]


class StageSpan(msgspec.Struct, frozen=True, array_like=True):
    """One slice that ran."""

    name: str
    start_ns: int
    end_ns: int


class Window(Message, frozen=True, kw_only=True):
    """The rectangle through which a stream's viewer looks, as in rig.json: the rig's own, else an estimate."""

    stream: str
    screen: dict[str, list[float]]


class PackedDepth(msgspec.Struct, frozen=True, kw_only=True):
    """What a viewer needs to warp a packed picture; fields as in `PackedView` of the wire."""

    eye: tuple[float, float, float]
    screen: dict[str, list[float]]
    width: int
    height: int
    inverse_far: float
    inverse_near: float


class ViewOut(Message, frozen=True, kw_only=True):
    """A finished picture in an outward slot, made from so many `cameras`; `packed` where depth lies below it. `rung` is
    "pass" and `quality` unknown where one camera's picture had to do. `predicted_ns` is what was expected of the
    stages' time, `predicted_compute_ns` of `compute_ns`: the CPU time in them, or their time where a GPU computes."""

    stream: str
    id: int
    slot: int
    width: int
    height: int
    rung: str
    quality: float | None
    predicted_ns: int
    compute_ns: int
    predicted_compute_ns: int
    cameras: int
    stages: list[StageSpan]
    packed: PackedDepth | None = None


class ViewLost(Message, frozen=True, kw_only=True):
    """A frame set that will not be shown: "superseded", "hopeless", "thinned", "closed", "no-slot", "out-of-memory" or
    "failed"."""

    stream: str
    id: int
    reason: str
    stages: list[StageSpan]


class Said(Message, frozen=True, kw_only=True):
    """Committed text of a speaker; ms are of the sound that the worker has had of them, `start_ns` and `end_ns` when it
    was captured."""

    stream: str
    id: int
    text: str
    source_start_ms: float
    source_end_ms: float
    audio_ms: float
    start_ns: int
    end_ns: int


class Revised(Message, frozen=True, kw_only=True):
    """A better translation of what the commits `ids` said, for the transcript."""

    stream: str
    ids: list[int]
    text: str


class Maybe(Message, frozen=True, kw_only=True):
    """Tentative text of a speaker, replacing what was tentative before."""

    stream: str
    text: str


class SoundOut(Message, frozen=True, kw_only=True):
    """Synthesised speech: 48 kHz mono float32, the commits it says."""

    stream: str
    ids: list[int]
    samples: bytes


class PassDone(Message, frozen=True, kw_only=True):
    """One speech pass, for the ledger: `source_end_ns` is the capture instant of the end of what it committed, of the
    last sample that it read where it committed nothing. `reason` says why it was lost: "failed", "out-of-memory", or
    "left-out" where speech was too far behind to be translated at all."""

    stream: str
    source_end_ns: int
    deadline_ns: int
    text: str
    stages: list[StageSpan]
    reason: str | None = None


class SpeechOver(Message, frozen=True, kw_only=True):
    """Everything that a speaker whose stream was closed had left was said."""

    stream: str


class Trouble(Message, frozen=True, kw_only=True):
    """Something the participant should be told: the viewer or the speaker, or the `owner` of the cameras of a view."""

    stream: str
    code: str
    message: str
    owner: bool = False


class Beat(Message, frozen=True, kw_only=True):
    """Four times a second: how overdue the worst running slice is, how busy the lanes are, memory."""

    overdue_ns: int
    load: float
    waiting: int
    resident_bytes: int


ToWorker = OpenView | SetIn | OpenSpeech | ConfigureSpeech | SoundIn | Close | GiveOut | AskCosts
FromWorker = (
    Ready
    | Unable
    | Costs
    | GiveIn
    | Window
    | ViewOut
    | ViewLost
    | Said
    | Revised
    | Maybe
    | SoundOut
    | PassDone
    | SpeechOver
    | Trouble
    | Beat
)

_encoder = msgspec.msgpack.Encoder()
_to_worker = msgspec.msgpack.Decoder(ToWorker)
_from_worker = msgspec.msgpack.Decoder(FromWorker)


def encode(message: Message) -> bytes:
    """Return the framed bytes of a message."""
    body = _encoder.encode(message)
    return HEADER.pack(len(body)) + body


class Unframer:
    """Cuts a byte stream into message bodies; raises ValueError on a length over 16 MiB."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take bytes and yield every body that is complete."""
        self._buffer += data
        while len(self._buffer) >= HEADER.size:
            (size,) = HEADER.unpack_from(self._buffer)
            if size > MAX_BYTES:
                raise ValueError(f"a message of {size} bytes; at most {MAX_BYTES} are accepted")
            if len(self._buffer) < HEADER.size + size:
                return
            body = bytes(self._buffer[HEADER.size : HEADER.size + size])
            del self._buffer[: HEADER.size + size]
            yield body


def decode_to_worker(body: bytes) -> ToWorker:
    """Return what the edge said; raises msgspec.MsgspecError."""
    message: ToWorker = _to_worker.decode(body)
    return message


def decode_from_worker(body: bytes) -> FromWorker:
    """Return what a worker said; raises msgspec.MsgspecError."""
    message: FromWorker = _from_worker.decode(body)
    return message
