"""The composition root of the service: the one place that wires settings, worker, calls and the port together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamsvc
from streamsvc.budget import MonotonicClock
from streamsvc.config import Settings, is_loopback
from streamsvc.edge import Connection, IceServer, close_all
from streamsvc.edge.hardware_probe import find
from streamsvc.fleet.local import LocalWorker
from streamsvc.frames.link import WorkerSettings
from streamsvc.ledger import Ledger
from streamsvc.ledger.live import LiveBoard
from streamsvc.ledger.metrics import Metrics
from streamsvc.session import CallHub, health
from streamsvc.session.recording import END_S
from streamsvc.signalling import turn
from streamsvc.signalling.listener import Reserved, reserve, run_server
from streamsvc.signalling.server import create_app

log = logging.getLogger(__name__)

CLOSE_S = END_S + 1.0
"""For all calls to end: what they recorded is put in order meanwhile."""

MOST_FILES = 65_536


def web_folder() -> Path:
    """Return the page's folder, in a source tree or in an installed wheel alike."""
    package = Path(streamsvc.__file__).parent
    installed = package / "_web"
    return installed if installed.is_dir() else package.parent / "web"


def worker_settings(settings: Settings, *, extra_stage_ms: float = 0.0) -> WorkerSettings:
    """Return what the worker is started with."""
    return WorkerSettings(
        device=settings.view.device,
        lanes=settings.worker.lanes,
        speech=settings.speech.enabled,
        speech_device=settings.speech.device,
        model=settings.speech.model,
        voice=settings.speech.voice,
        policy=settings.speech.policy,
        parameters=settings.speech.parameters,
        source=settings.speech.source,
        target=settings.speech.target,
        extra_stage_ms=extra_stage_ms,
        log_level=settings.log.level,
    )


class Service:
    """One edge process with its worker."""

    def __init__(self, settings: Settings, *, extra_stage_ms: float = 0.0) -> None:
        self.settings = settings
        clock = MonotonicClock()
        self.metrics, self.board = Metrics(), LiveBoard()
        self._loop = health.watch(self.metrics.registry)
        self.ledger = Ledger(settings.ledger.path, listeners=[self.metrics.add, self.board.add], now_ns=clock.now_ns)
        self.worker = LocalWorker(
            worker_settings(settings, extra_stage_ms=extra_stage_ms), clock, hang_s=settings.worker.hang_s
        )
        self.hub = CallHub(settings, worker=self.worker, ledger=self.ledger, board=self.board, clock=clock)
        for collector in (
            health.People(lambda: self.hub.participants),
            health.Worker(self.worker.statistics, lambda: self.worker.slots.statistics(), self.hub.frame_sets),
            health.Records(self.ledger.statistics),
        ):
            self.metrics.registry.register(collector)
        self.worker.on_state(lambda up: None if up else self.metrics.restarted("worker"))

    def health(self) -> dict[str, Any]:
        """Return what /healthz tells."""
        worker = self.worker.statistics()
        return {
            "ok": worker.up,
            "version": streamsvc.__version__,
            "worker": {
                "up": worker.up,
                "pid": self.worker.pid,
                "restarts": worker.restarts,
                "load": round(worker.load, 3),
                "resident_mib": worker.resident_bytes >> 20,
            },
            "rooms": len(self.hub.rooms.rooms()),
            "participants": len(self.hub.participants),
            "hardware_encoder": self.hub.hardware.name,
            "notes": self.worker.ready.notes if self.worker.ready is not None else [],
        }

    async def _find_hardware(self) -> None:
        wanted = self.settings.view.encoder
        if wanted == "software":
            return
        search = await find(wanted)
        log.info("hardware encoder: %s", search)
        self.hub.hardware.use(search.found, always=wanted != "auto")

    def _ice_servers(self) -> list[IceServer]:
        issued = turn.issue(self.settings.server.ice_servers, "start", time.time())
        return [IceServer(s.urls, s.username, s.credential) for s in issued]

    def expose(self) -> bytes:
        """Return the metrics as Prometheus text."""
        self.metrics.sessions(len(self.hub.participants))
        return self.metrics.expose()

    async def run(self, stop: asyncio.Event, ready: Callable[[int], None]) -> None:
        """Serve until `stop` is set; `ready(port)` is called once calls can be taken.

        Raises WorkerError when no worker can be started, EdgeError when a named encoder or an ICE server can't be used,
        and the port's errors; those of the port before anything else.
        """
        server = self.settings.server
        reserved = reserve(server.host, server.port, server.tls_cert, server.tls_key)
        try:
            await self._run(reserved, stop, ready)
        finally:
            reserved.close()

    async def _run(self, reserved: Reserved, stop: asyncio.Event, ready: Callable[[int], None]) -> None:
        app = create_app(self.hub, self.settings, web=web_folder(), metrics=self.expose, health=self.health)
        self.metrics.registry.register(health.Port(app.state.statistics))
        finding = asyncio.create_task(self._find_hardware(), name="find hardware")
        try:
            # The first connection of a process loads libraries and makes keys; no call should wait for that.
            await Connection(ice_servers=self._ice_servers()).close()
            await self.worker.start()
            await finding
            self._loop.start()
            await run_server(app, reserved, ready, stop)
        finally:
            finding.cancel()
            self._loop.stop()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.hub.close(), CLOSE_S)
            await close_all(CLOSE_S)
            await app.state.close()
            await self.worker.stop()
            await asyncio.to_thread(self.ledger.close)


def addresses(settings: Settings, port: int) -> list[str]:
    """Return the addresses under which the page can be reached, this machine's first."""
    scheme = "https" if settings.server.tls else "http"
    hosts = [settings.server.host]
    if settings.server.host in ("0.0.0.0", "::"):
        hosts = ["localhost", socket.gethostname()]
    return [f"{scheme}://{f'[{h}]' if ':' in h else h}:{port}" for h in hosts]


def _warn(settings: Settings) -> None:
    """Say what a service that others can reach lacks."""
    server = settings.server
    if is_loopback(server.host):
        return
    if server.token_file is None:
        log.warning("everybody who can reach %s may join and use this machine; --token-file lets some", server.host)
    if not server.tls:
        log.warning(
            "no TLS on %s: browsers give cameras only to pages from HTTPS or localhost; --tls-cert and --tls-key, or a "
            "proxy that speaks HTTPS",
            server.host,
        )


def _open_many() -> None:
    """Take as many file descriptors as may be had: the usual thousand is little for sockets of calls."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def serve(settings: Settings, announce: Callable[[int], None], *, extra_stage_ms: float = 0.0) -> None:
    """Run a service until SIGTERM or SIGINT."""
    _warn(settings)
    _open_many()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    service = Service(settings, extra_stage_ms=extra_stage_ms)
    task = asyncio.create_task(service.run(stop, announce))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        # A worker that is still warming up must not hold up the end of the process.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(task), 2 * CLOSE_S)
        task.cancel()
    stopped.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
