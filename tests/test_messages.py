"""The wire: what is decoded, what is refused and how, and the schema."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamsvc.frames import rigsetup
from streamsvc.signalling import channels
from streamsvc.signalling import messages as m
from streamsvc.signalling.schema import json_schema

CLIENT: list[m.ClientMessage] = [
    m.Join(room="lab", name="Ana"),
    m.Join(
        room="lab",
        name="Ana",
        token="t",
        mirror=True,
        rig={"version": 1, "cameras": []},
        speech=m.SpeechSettings(enabled=True, policy="agreement", parameters={"n": 2.0}, source="es", target="en"),
        view=m.ViewSettings(width=320, height=240, budget_ms=400.0, rung="full"),
    ),
    m.Offer(sdp="v=0\r\n", cameras=[m.CameraTrack(name="cam0", mid="0")]),
    m.Candidate(candidate="candidate:1 1 udp 1 192.0.2.1 9 typ host", sdp_mid="0"),
    m.Candidate(candidate=None),
    m.Configure(speech=m.SpeechSettings(parameters={"n": 3.0})),
    m.Record(action="agree"),
    m.Leave(),
]
SERVER: list[m.ServerMessage] = [
    m.Joined(session="s1", room="lab", peers=["Bo"], ice_servers=[], policies=[], rungs=[], settings={"view": {}}),
    m.Answer(sdp="v=0\r\n"),
    m.Candidate(candidate="candidate:1"),
    m.Configured(settings={}),
    m.Recording(state="asked", by="Bo", asks_you=True, left_s=30.0),
    m.Recording(state="off", code="stopped", message="Bo stopped the recording; it is kept"),
    m.Peers(peers=[], screen={"centre": [0, 0, 0]}),
    m.Notice(code="no-rig", message="the picture passes through"),
    m.Error(code="room-full", message="full", re="join"),
]


def trace(stages: int, name: str = "blend") -> channels.FrameTrace:
    """A frame set that went through so many stages; one without any was dropped."""
    spans = [(name, 10**15 + i, 10**15 + i + 1) for i in range(stages)]
    dropped = not stages
    return channels.FrameTrace(
        capture_ns=10**15,
        displayed_ns=None if dropped else 10**15 + stages,
        deadline_ns=10**15 + 400_000_000,
        clock_error_ns=1_000_000,
        outcome="dropped" if dropped else "shown",
        reason="superseded" if dropped else None,
        rung=None if dropped else "full",
        cameras=2,
        stages=spans,
        quality=None if dropped else 31.5,
        predicted_ns=None if dropped else 50_000_000,
    )


def passed(stages: int, text: str | None = "good evening") -> channels.PassTrace:
    """A speech pass of so many stages."""
    spans = [("decode", 10**15 + i, 10**15 + i + 1) for i in range(stages)]
    return channels.PassTrace(
        capture_ns=10**15,
        displayed_ns=10**15 + 1_500_000_000,
        deadline_ns=10**15 + 5_000_000_000,
        outcome="shown",
        text=text,
        stages=spans,
    )


SEEN = rigsetup.CameraSeen(
    name="camera 1", corners=[(1.5, 2.0)], blurred=False, views=3, zones=[1] * 9, covered=0.4, rms_px=None
)
SETUP: list[tuple[str, msgspec.Struct]] = [
    ("setup_up", rigsetup.Begin(board="chessboard:9x6:0.025", cameras=["camera 1", "camera 2"])),
    ("setup_down", rigsetup.Begun(wanted=15)),
    (
        "setup_down",
        rigsetup.Seen(
            state="kept",
            why=None,
            views=3,
            cameras=[SEEN],
            next=rigsetup.Next(do="place", cameras=["camera 1"], zone=2),
            enough=False,
            rms_px=0.3,
            trouble=rigsetup.Trouble(code="degenerate", message="tilt it"),
        ),
    ),
    (
        "setup_down",
        rigsetup.Solved(
            rig={"version": 1},
            rms_px=0.2,
            cameras=[rigsetup.CameraFit(name="camera 1", rms_px=0.2, views=15, covered=0.6)],
            warnings=[],
            picture=b"png",
        ),
    ),
]
OTHERS: list[tuple[str, msgspec.Struct]] = [
    ("viewpoint", channels.ViewpointMessage(t_us=1, eyes=[(0.0, 0.1, -0.6)])),
    (
        "viewpoint_down",
        channels.PackedView(
            rtp=90_000,
            eye=(0.0, 0.1, -0.6),
            screen={"centre": [0.0, 0.0, 1.0], "right": [0.4, 0.0, 0.0], "up": [0.0, -0.3, 0.0]},
            width=360,
            height=272,
            inverse_far=0.3,
            inverse_near=2.0,
        ),
    ),
    ("ledger_up", channels.Ping(sent_ns=1)),
    ("ledger_up", channels.Clocks(offset_ns=-5, error_ns=3)),
    ("ledger_up", channels.Shown(frames=[(90_000, 17)], error_ns=4)),
    ("ledger_up", channels.Follow(frames=True, speech=True)),
    ("ledger_down", channels.Pong(sent_ns=1, server_ns=2)),
    (
        "ledger_down",
        channels.Live(
            latency_ms=None,
            goodput=0.9,
            fps=15.0,
            rung=None,
            budget_ms=400.0,
            cameras=2,
            speech_lag_ms=None,
            dropped={"late": 1},
        ),
    ),
    ("ledger_down", channels.Frames(frames=[trace(2), trace(0)])),
    ("ledger_down", channels.Passes(passes=[passed(2), passed(0, None)])),
    (
        "captions",
        channels.Caption(id=1, speaker="Ana", text="hello", source_start_ms=0.0, source_end_ms=900.0, wall_ms=1200.0),
    ),
    ("captions", channels.Tentative(speaker="Ana", text="hel")),
    ("captions", channels.Revision(speaker="Ana", ids=[0, 1], text="hello there")),
]
DECODERS = {
    "viewpoint": channels.decode_viewpoint,
    "ledger_up": channels.decode_ledger_up,
    "viewpoint_down": channels.decode_viewpoint_down,
    "ledger_down": channels.decode_ledger_down,
    "captions": channels.decode_captions,
}


@pytest.mark.parametrize("message", CLIENT, ids=lambda x: type(x).__name__)
def test_client_messages_come_back_as_they_were(message: m.ClientMessage) -> None:
    assert m.decode_client(m.encode(message)) == message
    assert json.loads(m.encode(message))["v"] == 1


@pytest.mark.parametrize("message", SERVER, ids=lambda x: type(x).__name__)
def test_server_messages_come_back_as_they_were(message: m.ServerMessage) -> None:
    assert m.decode_server(m.encode(message)) == message


@pytest.mark.parametrize(("channel", "message"), OTHERS, ids=lambda x: type(x).__name__)
def test_channel_messages_come_back_as_they_were(channel: str, message: msgspec.Struct) -> None:
    assert DECODERS[channel](m.encode(message)) == message


@settings(max_examples=50)
@given(st.lists(st.builds(trace, st.integers(0, 60), st.sampled_from(["blend", "façade" * 10])), max_size=200))
def test_any_number_of_frames_goes_in_order_into_messages_that_are_accepted(frames: list[channels.FrameTrace]) -> None:
    messages = [channels.decode_ledger_down(m.encode(x)) for x in channels.in_messages(frames)]
    assert all(isinstance(x, channels.Frames) and x.frames for x in messages)
    assert [f for x in messages for f in x.frames] == frames  # type: ignore[union-attr]


@settings(max_examples=50)
@given(st.lists(st.builds(passed, st.integers(0, 60), st.sampled_from([None, "dos " * 200])), max_size=200))
def test_any_number_of_passes_goes_in_order_into_messages_that_are_accepted(passes: list[channels.PassTrace]) -> None:
    messages = [channels.decode_ledger_down(m.encode(x)) for x in channels.passes_in_messages(passes)]
    assert all(isinstance(x, channels.Passes) and x.passes for x in messages)
    assert [p for x in messages for p in x.passes] == passes  # type: ignore[union-attr]


def test_what_asked_for_frames_before_there_was_speech_is_understood() -> None:
    assert channels.decode_ledger_up('{"type": "follow", "frames": true}') == channels.Follow(frames=True, speech=False)


def test_frames_fill_a_message_before_they_begin_another() -> None:
    assert [len(x.frames) for x in channels.in_messages([trace(12)] * 130)] == [64, 64, 2]
    size, one = (len(m.encode(channels.Frames(frames=[trace(60)] * n))) for n in (2, 1))
    fit = 1 + (channels.MAX_LEDGER_DOWN_BYTES - one) // (size - one)
    assert [len(x.frames) for x in channels.in_messages([trace(60)] * (fit + 1))] == [fit, 1]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ('{"type":"dance"}', "bad-message"),
        ('{"room":"lab"}', "bad-message"),
        ("[]", "bad-message"),
        ("null", "bad-message"),
        ("", "not-json"),
        ("{", "not-json"),
        ('{"type":"join"', "not-json"),
        (b"\xff\xfe", "not-json"),
        ('{"type":"join","room":"a","name":"b","rig":{"a":' + "[" * 100_000, "not-json"),
        ("\ud800", "not-json"),
        ('{"type":"join","room":"lab","name":"Ana","v":2}', "bad-message"),
        ('{"type":"join","room":"","name":"Ana"}', "bad-message"),
        ('{"type":"join","room":"lab","name":"A\\u0000"}', "bad-message"),
        ('{"type":"join","room":"lab","name":"Ana","colour":1}', "bad-message"),
        ('{"type":"join","room":"lab","name":"' + "n" * 65 + '"}', "bad-message"),
        ('{"type":"offer","sdp":7}', "bad-message"),
        ('{"type":"' + "x" * 9000 + '"}', "bad-message"),
        (" " * (m.MAX_MESSAGE_BYTES + 1), "too-large"),
        ("é" * (m.MAX_MESSAGE_BYTES // 2 + 1), "too-large"),
    ],
)
def test_bad_input_is_told_in_one_short_sentence(data: str | bytes, code: str) -> None:
    with pytest.raises(m.SignallingError) as e:
        m.decode_client(data)
    assert e.value.code == code
    assert len(str(e.value)) < 400
    m.encode(m.Error(code=e.value.code, message=str(e.value)))


def _valid(schema: dict[str, Any], value: Any, defs: dict[str, Any]) -> bool:
    """Check by the part of JSON Schema 2020-12 that the export uses; an unknown keyword fails."""
    known = {"title", "description", "default", "discriminator", "$ref", "anyOf", "type", "enum", "const", "properties"}
    known |= {"required", "additionalProperties", "items", "prefixItems", "minItems", "maxItems", "minLength"}
    known |= {"maxLength", "pattern", "minimum", "maximum", "contentEncoding"}
    assert schema.keys() <= known, schema.keys() - known
    if "$ref" in schema:
        return _valid(defs[schema["$ref"].removeprefix("#/$defs/")], value, defs)
    if "anyOf" in schema:
        return any(_valid(s, value, defs) for s in schema["anyOf"])
    if "enum" in schema and value not in schema["enum"]:
        return False
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
    match schema.get("type"):
        case "integer":
            if not isinstance(value, int) or isinstance(value, bool):
                return False
        case "number":
            if not isinstance(value, int | float) or isinstance(value, bool):
                return False
        case str() as kind:
            if not isinstance(value, kinds[kind]):
                return False
    if isinstance(value, int | float) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        return False
    if isinstance(value, str):
        return schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))
    if isinstance(value, list):
        items = schema.get("items")
        pairs = [*zip(schema.get("prefixItems", []), value, strict=False)]
        if isinstance(items, dict):
            pairs += [(items, v) for v in value[len(pairs) :]]
        size = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
        return size and all(_valid(s, v, defs) for s, v in pairs)
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        extra = schema.get("additionalProperties", True)
        if not set(schema.get("required", ())) <= value.keys():
            return False
        for k, v in value.items():
            rule = properties.get(k, extra)
            if rule is False or (isinstance(rule, dict) and not _valid(rule, v, defs)):
                return False
    return True


def test_every_message_fits_the_exported_schema_and_others_do_not() -> None:
    schema = json.loads(msgspec.json.encode(json_schema()))
    defs = schema["$defs"]
    rows = [("client", x) for x in CLIENT] + [("server", x) for x in SERVER] + OTHERS + SETUP
    for union, message in rows:
        value = json.loads(m.encode(message))
        assert _valid(schema["properties"][union], value, defs), (union, value)
        assert not _valid(schema["properties"][union], {**value, "type": "dance"}, defs) or union == "viewpoint"
    covered = {type(x).__name__ for _, x in rows} | {
        "CameraFit",
        "CameraSeen",
        "CameraTrack",
        "Next",
        "Trouble",
        "SpeechSettings",
        "ViewSettings",
        "AppearanceSettings",
        "FrameTrace",
        "PassTrace",
    }
    assert set(defs) == covered


def test_every_code_that_signalling_tells_is_documented() -> None:
    root = Path(__file__).parent.parent
    sources = "".join(p.read_text() for p in (root / "streamsvc" / "signalling").glob("*.py"))
    told = set(re.findall(r'(?:SignallingError\(\s*|code=)"([a-z-]+)"', sources))
    own = {"bad-url", "refused", "tls", "not-a-service", "connection-lost"}  # of the client itself, never on the wire
    documented = set(re.findall(r"`([a-z-]+)`|\"code\": \"([a-z-]+)\"", (root / "docs" / "wire.md").read_text()))
    assert told - own <= {a or b for a, b in documented}
    assert len(told) > 15
