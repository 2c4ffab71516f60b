"""What a socket that is lost costs where media flow on: nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_admitting import RIG, Calls, Media

from streamsvc.session import participant as participants
from streamsvc.session.participant import Participant
from streamsvc.signalling import messages as wire
from streamsvc.signalling.grants import Grant


async def connected(calls: Calls, name: str) -> Participant:
    found = next(p for p in calls.hub.participants if p.name == name)
    await found.offer(wire.Offer(sdp="0 1"), Grant(until=4e9))
    found._on_state(found._connection, "connected")
    return found


async def test_a_lost_socket_costs_neither_picture_nor_words_and_lost_media_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(participants, "Connection", Media)
    calls = Calls()
    said: list[Any] = []
    send = said.append
    _, joined = await calls.hub.join(wire.Join(room="one", name="Ana", rig=RIG, fps=30), send)
    await calls.join("one", "Ben")
    ana = await connected(calls, "Ana")
    await connected(calls, "Ben")
    ana.mixer.speech(np.zeros(48_000, np.float32))
    watching = ana.watching
    assert watching is not None

    ana.detach(send)
    watching.screen = {"centre": [0.0, 0.0, 1.0]}
    told: list[Any] = []
    back, _ = await calls.hub.join(wire.Join(room="one", name="Ana", resume=joined.resume), told.append)
    assert back is ana and ana.watching is watching
    assert wire.Peers(peers=["Ben"], screen=watching.screen) in told, "a page that joins anew knows no window"
    assert ana.mixer.waiting_s == 1

    ana._on_state(ana._connection, "failed")
    assert ana.watching is None
    ana._on_state(ana._connection, "connected")
    assert ana.watching is not None and ana.mixer.waiting_s == 0
    await calls.hub.close()
    calls.ledger.close()
