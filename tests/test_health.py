"""What `/metrics` says of connections, the loop and the process."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from streamsvc.edge.statistics import ConnectionStatistics, ReceivedStatistics, SentStatistics
from streamsvc.edge.traffic import Sums, Traffic
from streamsvc.fleet.local import WorkerStatistics
from streamsvc.frames.ring import Slots
from streamsvc.ledger.book import BookStatistics
from streamsvc.ledger.sinks import LedgerStatistics
from streamsvc.session.health import Connections, Loop, People, Port, Records, Worker, watch
from streamsvc.session.mixer import VoiceMixer
from streamsvc.signalling.admission import PortStatistics

RECEIVED = ReceivedStatistics(
    mid="0",
    kind="video",
    frames=100,
    replaced=3,
    dropped=2,
    decode_errors=1,
    packets=500,
    packets_lost=9,
    bytes=70_000,
    jitter_ms=1.5,
    nacks=7,
    keyframe_requests=2,
    gaps_given_up=1,
    decode_ms=4.0,
)
SENT = SentStatistics(
    kind="video",
    frames=90,
    replaced=4,
    errors=0,
    packets=400,
    bytes=60_000,
    keyframes=3,
    retransmitted=6,
    held_back=1,
    target_bitrate=900_000,
    encode_ms=5.0,
    round_trip_ms=20.0,
    fallbacks=1,
    encoder="h264_nvenc",
)


def connection(state: str = "connected", times: int = 1) -> ConnectionStatistics:
    return ConnectionStatistics(state=state, received=(RECEIVED,) * times, sent=(SENT,), malformed=5)


def samples(registry: CollectorRegistry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def test_sums_keep_what_ended_and_say_what_is_open() -> None:
    sums = Sums()
    sums.add(connection("closed", 2))
    found = sums.with_open([connection(), connection("connecting", 0)])
    assert found.received["video", "frames"] == 300 and found.received["video", "packets_lost"] == 27
    assert found.sent["video", "retransmitted"] == 18 and found.malformed == 15
    assert found.states == {"connected": 1, "connecting": 1}
    assert found.targets == (900_000, 900_000) and found.round_trips_s == (0.02, 0.02)
    assert found.encoders == {"h264_nvenc": 2} and found.sent["video", "fallbacks"] == 3
    assert sums.with_open([]).received["video", "frames"] == 200 and sums.with_open([]).targets == ()


def test_connections_are_exposed_by_kind_and_what() -> None:
    sums = Sums()

    def read() -> Traffic:
        return sums.with_open([connection()])

    registry = CollectorRegistry()
    registry.register(Connections(read))
    found = samples(registry)
    assert found["streamsvc_rtp_received_total", (("kind", "video"), ("what", "nacks"))] == 7
    assert found["streamsvc_rtp_sent_total", (("kind", "video"), ("what", "keyframes"))] == 3
    assert found["streamsvc_rtp_sent_total", (("kind", "video"), ("what", "fallbacks"))] == 1
    assert found["streamsvc_video_encoders", (("encoder", "h264_nvenc"),)] == 1
    assert found["streamsvc_connections", (("state", "connected"),)] == 1
    assert found["streamsvc_target_bits_per_second", ()] == 900_000
    assert found["streamsvc_round_trip_seconds_max", ()] == 0.02
    assert found["streamsvc_jitter_seconds_max", ()] == 0.0015
    sums.add(connection())
    later = samples(registry)
    assert all(later[key] >= value for key, value in found.items() if key[0].endswith("_total"))


async def test_the_process_and_its_loop_are_exposed(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = CollectorRegistry()
    loop = watch(registry)
    assert isinstance(loop, Loop)
    looked = []

    async def sleep(seconds: float) -> None:
        looked.append(seconds)
        if len(looked) > 4:
            raise asyncio.CancelledError

    monkeypatch.setattr("streamsvc.session.health.asyncio.sleep", sleep)
    loop.start()
    assert loop._task is not None
    with pytest.raises(asyncio.CancelledError):
        await loop._task
    found = samples(registry)
    assert found["streamsvc_event_loop_lag_seconds_count", ()] >= 4
    assert any(name == "streamsvc_tasks" and labels for name, labels in found), "by what they do"
    assert found["process_open_fds", ()] > 3
    assert found["process_resident_memory_bytes", ()] > 1e6


def test_the_port_is_exposed_with_what_clients_were_told() -> None:
    registry = CollectorRegistry()
    registry.register(Port(lambda: PortStatistics(2, 7, 3, {"bad-token": 4})))
    found = samples(registry)
    assert found["streamsvc_port_clients", ()] == 2 and found["streamsvc_port_opened_total", ()] == 7
    assert found["streamsvc_port_refused_total", ()] == 3
    assert found["streamsvc_port_errors_total", (("code", "bad-token"),)] == 4


def test_those_in_calls_are_exposed_with_whom_is_waited_for_and_what_waits_to_be_heard() -> None:
    people: list[Any] = []
    registry = CollectorRegistry()
    registry.register(People(lambda: people))
    names = ("streamsvc_participants_away", ()), ("streamsvc_speech_waiting_seconds_max", ())
    assert [samples(registry)[n] for n in names] == [0, 0]
    for away, samples_waiting in ((True, 24_000), (False, 12_000)):
        mixer = VoiceMixer()
        mixer.speech(np.zeros(samples_waiting, np.float32))
        people.append(SimpleNamespace(presence=SimpleNamespace(is_away=away), mixer=mixer))
    assert [samples(registry)[n] for n in names] == [1, 0.5]


def test_the_worker_its_ring_and_the_pictures_left_out_before_it_are_exposed() -> None:
    registry, slots, counts = CollectorRegistry(), Slots(range(3)), Counter({"sets": 9, "late": 2})
    slots.take(2)
    slots.take(2)
    registry.register(Worker(lambda: WorkerStatistics(True, 1, 0.25, 4, 1 << 20), slots.statistics, counts))
    counts["dropped"] += 1
    found = samples(registry)
    assert found["streamsvc_worker_up", ()] == 1 and found["streamsvc_worker_load_ratio", ()] == 0.25
    assert found["streamsvc_worker_waiting", ()] == 4 and found["streamsvc_worker_resident_bytes", ()] == 1 << 20
    assert found["streamsvc_ring_slots_free", ()] == 1 and found["streamsvc_ring_refused_total", ()] == 1
    sets = {what: found["streamsvc_frame_sets_total", (("what", what),)] for what in counts}
    assert sets == counts == {"sets": 9, "late": 2, "dropped": 1}


def test_records_that_are_lost_or_pile_up_are_exposed() -> None:
    registry = CollectorRegistry()
    registry.register(Records(lambda: LedgerStatistics(BookStatistics(5, 8, 2, 0), queued=3, written=7, lost=1)))
    found = samples(registry)
    assert found["streamsvc_ledger_open", ()] == 5 and found["streamsvc_ledger_queued", ()] == 3
    for what, count in (("written", 7), ("lost", 1), ("strays", 2)):
        assert found["streamsvc_ledger_total", (("what", what),)] == count
