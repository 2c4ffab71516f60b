"""What anybody may send, mutilated: every parser takes it or raises its own typed error, and holds on to nothing.

`make fuzz` runs each on 10,000 inputs (`FUZZ_EXAMPLES`) and looks at what our code still holds of them. An input that
once got through is kept by its name in `tests/fuzz/<parser>/`.
"""

from __future__ import annotations

import json
import os
import struct
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from aiortc.rtcrtpparameters import RTCRtpHeaderExtensionParameters, RTCRtpParameters
from aiortc.rtp import RTCP_PSFB_APP, RtcpPacket, RtcpPsfbPacket, RtpPacket, is_rtcp, unpack_remb_fci
from hypothesis import given, settings
from hypothesis import strategies as st

from streamsvc.edge import EdgeError
from streamsvc.edge.extensions import EXTRA_VIDEO, ExtensionsMap
from streamsvc.edge.sdp import SdpLimits, check_description, parse_candidate
from streamsvc.frames.rig import RigError, parse_rig
from streamsvc.probe.reading import CardReader
from streamsvc.scene import open_scene
from streamsvc.scene.card import blocks_of, word_of
from streamsvc.signalling import channels
from streamsvc.signalling import messages as m
from streamsvc.signalling.auth import TokenBook, sign
from streamsvc.signalling.grants import Grant
from streamsvc.signalling.sdpfrag import parse_fragment

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "150"))
THOROUGH = 5_000
"""Examples from which on memory is judged."""

GROWTH = 2**20
KEPT = Path(__file__).parent / "fuzz"
KEY = "k" * 32
DECODERS = (
    m.decode_client,
    m.decode_server,
    channels.decode_viewpoint,
    channels.decode_viewpoint_down,
    channels.decode_ledger_up,
    channels.decode_ledger_down,
    channels.decode_captions,
)


def text_of(data: bytes) -> str:
    """A string with whatever UTF-8 doesn't have as lone surrogates."""
    return data.decode("utf-8", "surrogateescape")


def take_message(data: bytes) -> None:
    for decode in DECODERS:
        for form in (data, text_of(data)):
            try:
                message = decode(form)
            except m.SignallingError as e:
                m.encode(m.Error(code=e.code, message=str(e)))
            else:
                m.encode(message)


def take_description(data: bytes) -> None:
    try:
        check_description(text_of(data), SdpLimits())
    except EdgeError as e:
        assert e.code in ("bad-sdp", "too-large") and 10 < len(str(e)) < 400


def take_candidate(data: bytes) -> None:
    with suppress(EdgeError):
        candidate = parse_candidate(text_of(data), "0")
        assert 0 <= candidate.port <= 65_535


def take_fragment(data: bytes) -> None:
    with suppress(m.SignallingError):
        parse_fragment(text_of(data))


def take_token(data: bytes) -> None:
    book = TokenBook((), [KEY], lambda: 0.0)
    if data != SEEDS["token"][0]:
        with pytest.raises(m.SignallingError) as caught:
            book.check_join(text_of(data), "lab")
        assert caught.value.code == "bad-token" and (len(data) < 20 or text_of(data) not in str(caught.value))


def take_rig(data: bytes) -> None:
    with suppress(RigError, ValueError):  # what isn't JSON is told by who reads the file
        parse_rig(json.loads(data))


def extensions() -> ExtensionsMap:
    uris = ["urn:ietf:params:rtp-hdrext:sdes:mid", "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"]
    agreed = [RTCRtpHeaderExtensionParameters(uri=u, id=i) for i, u in enumerate([*uris, *EXTRA_VIDEO], 1)]
    known = ExtensionsMap()
    known.configure(RTCRtpParameters(headerExtensions=agreed))
    return known


EXTENSIONS = extensions()


def take_packet(data: bytes) -> None:
    """What the guard around a transport drops a packet for; anything else would be a bug of ours or aiortc's to know
    about."""
    with suppress(ValueError, struct.error, UnicodeDecodeError, IndexError):
        if is_rtcp(data):
            for packet in RtcpPacket.parse(data):
                if isinstance(packet, RtcpPsfbPacket) and packet.fmt == RTCP_PSFB_APP:
                    unpack_remb_fci(packet.fci)
        else:
            RtpPacket.parse(data, EXTENSIONS)


READER = CardReader()
CARD_SHAPE = (48, 72)


def take_card(data: bytes) -> None:
    """Bytes on top of a real card: what is read is the card's number, or nothing, or one whose check fits."""
    picture = np.frombuffer(SEEDS["card"][0], np.uint8).copy()
    noise = np.frombuffer(data[: picture.size], np.uint8)
    picture[: len(noise)] ^= noise
    reading = READER.read(picture.reshape(CARD_SHAPE))
    assert reading is None or reading.number == word_of(reading.number) >> 12


def offer() -> bytes:
    lines = [
        "v=0",
        "o=- 1 1 IN IP4 0.0.0.0",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0",
        "m=video 9 UDP/TLS/RTP/SAVPF 97",
        "c=IN IP4 0.0.0.0",
        "a=mid:0",
        "a=sendrecv",
        "a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid",
        "a=rtcp-mux",
        "a=rtpmap:97 VP8/90000",
        "a=rtcp-fb:97 nack pli",
        "a=ice-ufrag:abcd",
        "a=ice-pwd:0123456789abcdef0123456789",
        "a=fingerprint:sha-256 " + ":".join(["AB"] * 32),
        "a=setup:actpass",
        "a=candidate:1 1 udp 2130706431 192.0.2.1 50000 typ host",
    ]
    return ("\r\n".join(lines) + "\r\n").encode()


def card() -> bytes:
    picture = np.full(CARD_SHAPE, 255, np.uint8)
    blocks = np.kron(blocks_of(word_of(12_345)), np.ones((5, 5), np.uint8))
    picture[4 : 4 + blocks.shape[0], 6 : 6 + blocks.shape[1]] = blocks
    return picture.tobytes()


def rtp() -> bytes:
    # Version 2 with extension, marker and payload type 97, one-byte extensions (RFC 8285): MID and playout delay.
    extension = b"\x10" + b"0" + b"\x32" + bytes(3) + bytes(2)
    return (
        bytes([0x90, 0xE1]) + struct.pack(">HII", 7, 90_000, 1234) + b"\xbe\xde" + struct.pack(">H", 2) + extension
    ) + b"\x10payload"


def rtcp() -> bytes:
    report = struct.pack(">BBHIQIII", 0x80, 200, 6, 1234, 1 << 40, 90_000, 5, 5000)
    remb = struct.pack(">BBHII", 0x8F, 206, 5, 1, 0) + b"REMB" + bytes([1, 0x0B, 0xFF, 0xFF]) + struct.pack(">I", 1234)
    nack = struct.pack(">BBHIIHH", 0x81, 205, 3, 1, 1234, 17, 3)
    return report + remb + nack


def rig() -> bytes:
    return json.dumps(open_scene("body").rig(2, 320, 240).to_json()).encode()


SEEDS: dict[str, tuple[bytes, ...]] = {
    "message": (
        b'{"v":1,"type":"join","room":"lab","name":"Ana","cameras":[{"name":"cam0","mid":"0"}]}',
        b'{"v":1,"type":"configure","policy":"agreement","parameters":{"n":2},"budget_ms":400}',
        b'{"v":1,"type":"candidate","candidate":"candidate:1 1 udp 1 192.0.2.1 9 typ host","sdp_mid":"0"}',
        b'{"t_us":5,"eyes":[[0,0,0.6]]}',
        b'{"type":"shown","frames":[[90000,123456789]]}',
        b'{"type":"ping","sent_ns":5}',
    ),
    "description": (offer(),),
    "candidate": (b"candidate:1 1 udp 2130706431 192.0.2.1 50000 typ srflx raddr 10.0.0.1 rport 9",),
    "fragment": (b"a=ice-ufrag:abcd\r\nm=video 9 X 0\r\na=mid:0\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n",),
    "token": (sign(Grant(until=1e9, room="lab"), KEY).encode(),),
    "rig": (rig(),),
    "packet": (rtp(), rtcp()),
    "card": (card(),),
}
TAKERS: dict[str, Callable[[bytes], None]] = {
    "message": take_message,
    "description": take_description,
    "candidate": take_candidate,
    "fragment": take_fragment,
    "token": take_token,
    "rig": take_rig,
    "packet": take_packet,
    "card": take_card,
}
EDITS = st.lists(
    st.one_of(
        st.tuples(st.just("flip"), st.integers(0, 1 << 16), st.integers(1, 255)),
        st.tuples(st.just("cut"), st.integers(0, 1 << 16), st.integers(1, 64)),
        st.tuples(st.just("put"), st.integers(0, 1 << 16), st.binary(min_size=1, max_size=12)),
        st.tuples(
            st.just("put"),
            st.integers(0, 1 << 16),
            st.sampled_from(
                [b"-1", b"1e999", b"99999999999999999999", b"NaN", b"null", b"[[[[", b'"', b"\r\n", b"\xff"]
            ),
        ),
        st.tuples(st.just("again"), st.integers(0, 1 << 16), st.integers(1, 64)),
    ),
    min_size=1,
    max_size=5,
)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda x: st.lists(x, max_size=4) | st.dictionaries(st.text(max_size=8), x, max_size=4),
    max_leaves=12,
)
KEYS = [
    "v",
    "type",
    "room",
    "name",
    "token",
    "mirror",
    "rig",
    "speech",
    "view",
    "sdp",
    "cameras",
    "candidate",
    "sdp_mid",
]
LIKE_MESSAGES = st.dictionaries(st.sampled_from(KEYS), JSON, max_size=8).flatmap(
    lambda d: st.sampled_from(["join", "offer", "candidate", "configure", "leave"]).map(lambda t: {**d, "type": t})
)
GENERATED = {"message": (JSON | LIKE_MESSAGES).map(lambda x: json.dumps(x).encode("utf-8", "surrogatepass"))}
"""What is well-formed further in than edits of a seed stay."""


def edited(data: bytes, edits: list[tuple[str, int, int | bytes]]) -> bytes:
    for how, where, what in edits:
        at = where % (len(data) + 1)
        if isinstance(what, bytes):
            data = data[:at] + what + data[at:]
        elif how == "flip" and at < len(data):
            data = data[:at] + bytes([data[at] ^ what]) + data[at + 1 :]
        elif how == "cut":
            data = data[:at] + data[at + what :]
        elif how == "again":
            data = data[:at] + data[at : at + what] * 3 + data[at + what :]
    return data


def held() -> int:
    """Bytes that were allocated under our code and still live."""
    ours = tracemalloc.Filter(True, f"*{os.sep}streamsvc{os.sep}*", all_frames=True)
    return sum(t.size for t in tracemalloc.take_snapshot().filter_traces([ours]).traces)


def feed(name: str) -> list[bytes]:
    """Feed a parser, and return what it was fed with."""
    fed: list[bytes] = []

    @settings(max_examples=EXAMPLES, database=None)
    @given(st.builds(edited, st.sampled_from(SEEDS[name]), EDITS) | GENERATED.get(name, st.binary(max_size=300)))
    def each(data: bytes) -> None:
        fed.append(data)
        TAKERS[name](data)

    each()
    return fed


@pytest.mark.parametrize("name", TAKERS)
def test_whatever_comes_is_taken_or_refused(name: str) -> None:
    for seed in SEEDS[name]:
        TAKERS[name](seed)
    fed = feed(name)
    if EXAMPLES < THOROUGH:
        return
    # Once more, and by itself: Hypothesis holds much more than any parser.
    first, rest = fed[: len(fed) // 10], fed[len(fed) // 10 :]
    tracemalloc.start(8)
    try:
        for data in first:
            TAKERS[name](data)
        before = held()
        for data in rest:
            TAKERS[name](data)
        grown = held() - before
    finally:
        tracemalloc.stop()
    print(f"{name}: {len(fed)} inputs, {grown / 1024:.0f} KiB more are held")
    assert grown < GROWTH


@pytest.mark.parametrize("file", sorted(KEPT.glob("*/*")), ids=lambda f: f"{f.parent.name}/{f.name}")
def test_what_once_got_through_is_refused(file: Path) -> None:
    TAKERS[file.parent.name](file.read_bytes())
