"""docs/security.md: the table of limits says what the code does."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from streamsvc.config import Limits, Recording
from streamsvc.edge import (
    channels,
    connection,
    decoding,
    framesets,
    jitter,
    peerconnection,
    receive,
    repair,
    rtp_receiver,
)
from streamsvc.edge.sdp import SdpLimits
from streamsvc.frames import glossary, outputmode, rig, rigsetup
from streamsvc.session import admitting, datachannels, participant, presence, settings
from streamsvc.signalling import admission, asking, auth, listener, messages, sdpfrag
from streamsvc.signalling import channels as wire
from streamsvc.signalling import rigsetup as setups
from streamsvc.speech import terms

DOC = Path(__file__).resolve().parent.parent / "docs" / "security.md"
limits, recording, sdp = Limits(), Recording(), SdpLimits()
behind = inspect.signature(jitter.VideoJitterBuffer).parameters["capacity"].default

LIMITS: dict[str, list[float]] = {
    "connections, rooms": [limits.max_connections, limits.max_rooms, limits.max_participants],
    "set-ups of rigs": [limits.max_setups, limits.setup_idle_s / 60, setups.MAX_ASKS],
    "a picture of a set-up": [rigsetup.MAX_PICTURE_BYTES >> 20, rigsetup.MAX_SIDE, rigsetup.MAX_SIDE],
    "addresses": [admission.MAX_ADDRESSES],
    "a fragment": [sdpfrag.MAX_FRAGMENT_BYTES >> 10, setups.MAX_BEGIN_BYTES >> 10],
    "time to answer": [limits.answer_timeout_s, setups.SOLVE_TIMEOUT_S, asking.LEAVE_TIMEOUT_S],
    "a message on": [wire.MAX_VIEWPOINT_BYTES, wire.MAX_LEDGER_UP_BYTES],
    "bytes that wait on": [channels.UNRELIABLE_BUFFER >> 10, channels.RELIABLE_BUFFER >> 20],
    "different notices": [participant.MAX_NOTICES, datachannels.MAX_UNHEARD],
    "a rig": [rig.MAX_CAMERAS, rig.MAX_SIDE, rig.MAX_PAIRS],
    "a view": [settings.MAX_PICTURE, outputmode.MAX_QUILT_VIEWS, outputmode.MAX_QUILT_SIDE],
    "messages of one": [limits.messages_per_s, limits.message_burst, messages.MAX_MESSAGE_BYTES >> 10],
    "time to say": [listener.REQUEST_S],
    "time to join": [limits.join_timeout_s, limits.join_attempts],
    "messages that wait": [limits.outbox],
    "data channels": [channels.MAX_CHANNELS],
    "an SDP": [
        *(sdp.size / 1000, sdp.lines, sdp.video, sdp.audio, sdp.application, sdp.codecs, sdp.ssrc_lines),
    ],
    "candidates": [sdp.candidates],
    "a call that never": [
        connection.CONNECT_TIMEOUT_S,
        round(peerconnection.CONSENT_FAILURES * (peerconnection.CONSENT_INTERVAL_S + 0.5)),
        presence.GRACE_S,
    ],
    "an encoded picture": [2048, decoding.MAX_PIXELS / 2048],
    "sources": [rtp_receiver.MAX_SOURCES, peerconnection.MAX_LEARNED],
    "datagrams": [peerconnection.MAX_UNREAD, round(peerconnection.MAX_UNREAD * 1500 / 1e6)],
    "sound that is decoded": [
        *(decoding.SOUND_RATE, decoding.SOUND_BURST_NS / 1e9),
        *(receive.MAX_FILL_NS / 1e9, receive.FILL_BURST_NS / 1e9),
    ],
    "pictures of a camera": [admitting.RATE_SLACK],
    "encoded pictures": [decoding.MAX_BACKLOG, decoding.MAX_SOUND_BACKLOG, decoding.MAX_SOUND_BACKLOG / 50],
    "decoded pictures": [framesets.MAX_PENDING],
    "packets of a video": [behind, repair.MAX_MISSING],
    "a glossary": [glossary.MAX_TERMS, glossary.MAX_TERM, terms.GLOSSARY_TOKENS],
    "tokens in a token file": [auth.MAX_TOKENS],
    "recordings": [recording.max_recordings, recording.max_minutes / 60, recording.answer_s],
}


def rows() -> dict[str, str]:
    """Return the table under "Limits"."""
    section = DOC.read_text("utf-8").partition("## Limits")[2].partition("\n## ")[0]
    lines = [line.strip("| \n") for line in section.splitlines() if line.startswith("|")]
    return dict(line.split(" | ", 1) for line in lines[2:])


def test_every_row_with_a_number_is_compared() -> None:
    for what, most in rows().items():
        if re.search(r"\d", most):
            assert sum(what.startswith(name) for name in LIMITS) == 1, what


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_is_what_the_code_says(name: str) -> None:
    (most,) = [most for what, most in rows().items() if what.startswith(name)]
    numbers = [float(n.replace(",", "")) for n in re.findall(r"\d+(?:,\d{3})*(?:\.\d+)?", most)]
    assert numbers == LIMITS[name]
