"""What crosses the pipe between the edge and the process that writes a recording: MessagePack behind a length.

Instants are ns on the edge's monotonic clock.
"""

from __future__ import annotations

from typing import BinaryIO

import msgspec

MAX_ITEM_BYTES = 1 << 25


class Item(msgspec.Struct, frozen=True, kw_only=True, tag_field="t"):
    """What all have in common."""


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who is recorded. With `view` there is a picture of them; `codec` ("VP8" or "H264"), `width` and `height`
    (pixels) are what the track is said to have when no picture comes in time to ask."""

    name: str
    view: bool
    codec: str
    width: int
    height: int


class Begin(Item, frozen=True, kw_only=True, tag="begin"):
    """The first item. The file is called after `stem`, in `folder`; time zero is `start_ns`."""

    folder: str
    stem: str
    title: str
    owners: list[Owner]
    start_ns: int
    least_free_bytes: int


class Picture(Item, frozen=True, kw_only=True, tag="picture"):
    """One encoded picture of an owner (by number): VP8, or H.264 as Annex B, `codec` "VP8" or "H264"."""

    owner: int
    codec: str
    keyframe: bool
    width: int
    height: int
    at_ns: int
    data: bytes


class Sound(Item, frozen=True, kw_only=True, tag="sound"):
    """An owner's voice, or its translation: 48 kHz mono, int16, little-endian; `at_ns` is the instant of sample 0."""

    owner: int
    translated: bool
    at_ns: int
    samples: bytes


class Words(Item, frozen=True, kw_only=True, tag="words"):
    """Committed words of an owner, over the time in which they were spoken."""

    owner: int
    text: str
    start_ns: int
    end_ns: int


class Tick(Item, frozen=True, kw_only=True, tag="tick"):
    """It is `now_ns`: silence may be written where no sound came."""

    now_ns: int


class End(Item, frozen=True, kw_only=True, tag="end"):
    """The last item. A pipe that closes without it ends the recording too."""


class Opened(Item, frozen=True, kw_only=True, tag="opened"):
    """From the writer: the file is there, under this name in the folder."""

    name: str


class Closed(Item, frozen=True, kw_only=True, tag="closed"):
    """From the writer, last: the recording ended; `code` "finished", or why it could not go on."""

    code: str
    message: str


ToWriter = Begin | Picture | Sound | Words | Tick | End
FromWriter = Opened | Closed

_encoder = msgspec.msgpack.Encoder()
_to_writer = msgspec.msgpack.Decoder(ToWriter)
_from_writer = msgspec.msgpack.Decoder(FromWriter)


def encode(item: Item) -> bytes:
    """Return an item as it crosses the pipe."""
    body = _encoder.encode(item)
    return len(body).to_bytes(4, "little") + body


def read_item(stream: BinaryIO) -> ToWriter | None:
    """Return the next item, blocking; None at the end, also in the middle of an item."""
    head = stream.read(4)
    size = int.from_bytes(head, "little")
    if len(head) < 4 or size > MAX_ITEM_BYTES:
        return None
    body = stream.read(size)
    if len(body) < size:
        return None
    item: ToWriter = _to_writer.decode(body)
    return item


def decode_report(body: bytes) -> FromWriter:
    """Return what the writer says, without the length."""
    report: FromWriter = _from_writer.decode(body)
    return report
