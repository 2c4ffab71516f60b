"""How the edge process is: its connections, its event loop and its resources, for Prometheus."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streamsvc.edge import all_traffic, live_connections
from streamsvc.edge.traffic import Traffic
from streamsvc.frames.ring import SlotStatistics
from streamsvc.ledger.sinks import LedgerStatistics
from streamsvc.session.participant import Participant
from streamsvc.signalling.admission import PortStatistics

LOOK_S = 0.05
_LAG = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


class Connections(Collector):
    """The connections' counts, read when they are asked for."""

    def __init__(self, read: Callable[[], Traffic] = all_traffic) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        """Yield one family for all that is received, one for all that is sent, and what is true now."""
        found = self._read()
        for name, counts in (("received", found.received), ("sent", found.sent)):
            family = CounterMetricFamily(
                f"streamsvc_rtp_{name}",
                f"What was {name} over RTP, by kind of track and by what",
                labels=["kind", "what"],
            )
            for (kind, what), count in sorted(counts.items()):
                family.add_metric([kind, what], count)
            yield family
        yield CounterMetricFamily("streamsvc_rtp_malformed", "Packets that could not be parsed", value=found.malformed)
        states = GaugeMetricFamily("streamsvc_connections", "WebRTC connections now open, by state", labels=["state"])
        for state, count in sorted(found.states.items()):
            states.add_metric([state], count)
        yield states
        encoders = GaugeMetricFamily(
            "streamsvc_video_encoders", "Videos of open connections, by FFmpeg's encoder", labels=["encoder"]
        )
        for encoder, count in sorted(found.encoders.items()):
            encoders.add_metric([encoder], count)
        yield encoders
        yield GaugeMetricFamily(
            "streamsvc_target_bits_per_second", "What the open videos aim at, together", value=sum(found.targets)
        )
        yield GaugeMetricFamily(
            "streamsvc_round_trip_seconds_max",
            "The longest round trip now",
            value=max(found.round_trips_s, default=0.0),
        )
        yield GaugeMetricFamily(
            "streamsvc_jitter_seconds_max",
            "The largest jitter of what is received now (RFC 3550)",
            value=max(found.jitters_s, default=0.0),
        )
        yield GaugeMetricFamily(
            "streamsvc_connections_unclosed", "Connections not closed yet", value=live_connections()
        )


class Port(Collector):
    """The port's counts, read when they are asked for."""

    def __init__(self, read: Callable[[], PortStatistics]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        """Yield the places that are taken, were taken and were refused, and what clients were told."""
        found = self._read()
        yield GaugeMetricFamily("streamsvc_port_clients", "Sockets, calls over HTTP and set-ups now", value=found.open)
        yield CounterMetricFamily("streamsvc_port_opened", "Clients that were let in", value=found.opened_total)
        yield CounterMetricFamily(
            "streamsvc_port_refused", "Clients sent away: no place, or another site's page", value=found.refused_total
        )
        errors = CounterMetricFamily("streamsvc_port_errors", "Errors that clients were told", labels=["code"])
        for code, count in sorted(found.errors.items()):
            errors.add_metric([code], count)
        yield errors


class People(Collector):
    """How those are who are in calls, read when it is asked for."""

    def __init__(self, read: Callable[[], Iterable[Participant]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        """Yield whom the service waits for, and how far the voices are behind that speak for others."""
        people = tuple(self._read())
        yield GaugeMetricFamily(
            "streamsvc_participants_away",
            "Participants whose connection was lost and who may come back",
            value=sum(p.presence.is_away for p in people),
        )
        yield GaugeMetricFamily(
            "streamsvc_speech_waiting_seconds_max",
            "The most translated speech that waits to be heard by one participant",
            value=max((p.mixer.waiting_s for p in people), default=0.0),
        )


class WorkerFigures(Protocol):
    """How a worker is; see `fleet.local.WorkerStatistics`."""

    @property
    def up(self) -> bool:
        """Whether one is warm and connected."""

    @property
    def load(self) -> float:
        """The busy share of all lanes, 0 to 1."""

    @property
    def waiting(self) -> int:
        """Jobs that no lane has begun."""

    @property
    def resident_bytes(self) -> int:
        """Its memory."""


class Worker(Collector):
    """The worker's last heartbeat, the ring to it, and what becomes of the pictures before, read when it is asked for.
    `counts` are those of `FrameSets`."""

    def __init__(
        self, read: Callable[[], WorkerFigures], slots: Callable[[], SlotStatistics], counts: Mapping[str, int]
    ) -> None:
        self._read, self._slots, self._counts = read, slots, counts

    def collect(self) -> Iterable[Metric]:
        """Yield how busy it is, the slots that are free or were wanted in vain, and the pictures left out."""
        found, slots = self._read(), self._slots()
        for name, told, value in (
            ("worker_up", "Whether a worker is warm and connected", float(found.up)),
            ("worker_load_ratio", "The busy share of the worker's lanes", found.load),
            ("worker_waiting", "Jobs that wait for a lane", found.waiting),
            ("worker_resident_bytes", "The worker's memory", found.resident_bytes),
            ("ring_slots_free", "Places for pictures on their way to the worker that are free", slots.free),
        ):
            yield GaugeMetricFamily(f"streamsvc_{name}", told, value=value)
        yield CounterMetricFamily(
            "streamsvc_ring_refused", "Frame sets for which there was no free place", value=slots.refused
        )
        family = CounterMetricFamily(
            "streamsvc_frame_sets",
            "Frame sets, those without some camera, waits that ran out; pictures overtaken (dropped) or too late",
            labels=["what"],
        )
        for what, count in sorted(self._counts.items()):
            family.add_metric([what], count)
        yield family


class Records(Collector):
    """The ledger's counts, read when they are asked for."""

    def __init__(self, read: Callable[[], LedgerStatistics]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        """Yield what is open, waits, was written, lost, or reported astray."""
        found = self._read()
        yield GaugeMetricFamily("streamsvc_ledger_open", "Frame sets whose end isn't known yet", value=found.book.open)
        yield GaugeMetricFamily("streamsvc_ledger_queued", "Records that wait to be written", value=found.queued)
        family = CounterMetricFamily(
            "streamsvc_ledger",
            "Records by what became of them: written to the file, lost; reports about none that was open (strays)",
            labels=["what"],
        )
        for what, count in (("written", found.written), ("lost", found.lost), ("strays", found.book.strays)):
            family.add_metric([what], count)
        yield family


class Loop:
    """How late the event loop runs what is due, and how many tasks it has."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lag = Histogram(
            "streamsvc_event_loop_lag_seconds",
            f"How late the event loop was, looked at every {LOOK_S:g} s",
            buckets=_LAG,
            registry=registry,
        )
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look from now on."""
        self._task = asyncio.create_task(self._look(), name="loop lag")

    def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LOOK_S
            await asyncio.sleep(LOOK_S)
            self._lag.observe(max(0.0, loop.time() - due))


class Tasks(Collector):
    """The event loop's tasks, by what they do."""

    def collect(self) -> Iterable[Metric]:
        """Yield their numbers; none where no loop runs."""
        family = GaugeMetricFamily("streamsvc_tasks", "Tasks of the event loop", labels=["what"])
        try:
            tasks = asyncio.all_tasks()
        except RuntimeError:
            tasks = set()
        for what, count in Counter(map(_what, tasks)).items():
            family.add_metric([what], count)
        yield family


def _what(task: asyncio.Task[Any]) -> str:
    """Return the first word of a task's name, or where it has none of its own, what it runs."""
    name = task.get_name()
    return getattr(task.get_coro(), "__qualname__", "unnamed") if name.startswith("Task-") else name.split(" ")[0]


def watch(registry: CollectorRegistry) -> Loop:
    """Add everything here to a registry, and return what has to be started and stopped."""
    registry.register(Connections())
    registry.register(Tasks())
    ProcessCollector(registry=registry)
    return Loop(registry)
