"""`bench services`: our service beside others that take video over WebRTC, do something, and send it back.

Each in turn, in a process of its own on this host, is given the same camera by the same probe: it spends so many ms of
a device's time on every picture and returns it. The device is a wait (`time.sleep`), one picture at a time. Under
`out`: services.json, services.svg, and each service's log.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from streamsvc.bench.services_figures import ServiceRow, service_row, services_table
from streamsvc.bench.services_plot import services_plot
from streamsvc.bench.services_rivals import RIVALS, Task, prepare, serving
from streamsvc.demo import running_service
from streamsvc.errors import StreamsvcError
from streamsvc.ledger.conditions import conditions, versions
from streamsvc.probe import ProbeOptions, run_probe
from streamsvc.probe.measure import SETTLE_NS

OURS = "ours"
NAMES = (OURS, *(rival.name for rival in RIVALS))
STAGES_MS = (0.0, 20.0, 60.0)
WARM_UP_S = 5.0
HOW = "streamsvc serve, one camera that passes through, --extra-stage-ms, one lane; the voice is sent back, too"
ONE_DEVICE = "[worker]\nlanes = 1\n"
"""Ours would otherwise use two devices where the others have one."""


@dataclass(frozen=True, slots=True)
class ServicesBench:
    """What to run: each of `services` with each of `stages_ms` for `seconds` after a warm-up."""

    out: Path
    services: tuple[str, ...] = NAMES
    stages_ms: tuple[float, ...] = STAGES_MS
    size: tuple[int, int] = (640, 480)
    fps: float = 30.0
    seconds: float = 20.0
    budget_ms: float = 150.0


@dataclass(frozen=True, slots=True)
class _Service:
    """A service that can be run: the interpreter of a rival, None for ours."""

    name: str
    python: Path | None


async def run_services(options: ServicesBench, tell: Callable[[str], None]) -> dict[str, Any]:
    """Run the bench and return its figures; `tell` is called with lines of progress and then the table.

    What can't be installed or measured is told by name with the reason, under `failures`; the rest is measured.
    """
    options.out.mkdir(parents=True, exist_ok=True)
    told, before = conditions(), os.getloadavg()[0]
    failures: dict[str, str] = {}
    services = await _installed(options, failures, tell)
    found: dict[str, dict[str, str]] = {}
    rows: list[ServiceRow] = []
    plan = [(stage, service) for stage in options.stages_ms for service in services]
    for number, (stage_ms, service) in enumerate(plan, 1):
        case = f"{service.name}, {stage_ms:g} ms"
        try:
            async with _running(options, service, stage_ms) as (url, packages):
                found[service.name] = packages
                probed = await run_probe(_probe(options, url), lambda _: None)
        except StreamsvcError as e:
            failures[case] = str(e)
            tell(f"{number:3} of {len(plan)}  {case}: {e}")
            continue
        rows.append(service_row(service.name, stage_ms, probed))
        tell(f"{number:3} of {len(plan)}  {case}: {_line(rows[-1])}")
    hows = {OURS: HOW, **{rival.name: rival.how for rival in RIVALS}}
    figures: dict[str, Any] = {
        "conditions": told | _own_conditions(options, before),
        "services": {name: {"versions": packages, "how": hows[name]} for name, packages in found.items()},
        "failures": failures,
        "rows": [asdict(r) for r in rows],
    }
    (options.out / "services.json").write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    if rows:
        title = f"Video there and back, {_video(options)}"
        (options.out / "services.svg").write_text(services_plot(title, rows, options.budget_ms), "utf-8")
    _tell(figures, rows, tell)
    tell(f"figures and plot: {options.out}")
    return figures


async def _installed(options: ServicesBench, failures: dict[str, str], tell: Callable[[str], None]) -> list[_Service]:
    services = [_Service(OURS, None)] if OURS in options.services else []
    for rival in RIVALS:
        if rival.name in options.services:
            try:
                services.append(_Service(rival.name, await asyncio.to_thread(prepare, rival, tell)))
            except StreamsvcError as e:
                failures[rival.name] = str(e)
                tell(str(e))
    return services


@asynccontextmanager
async def _running(
    options: ServicesBench, service: _Service, stage_ms: float
) -> AsyncIterator[tuple[str, dict[str, str]]]:
    """Run a service; yields its URL and the versions of what it runs."""
    if service.python is None:
        folder = options.out / OURS
        folder.mkdir(exist_ok=True)
        (folder / "one-device.toml").write_text(ONE_DEVICE, "utf-8")
        arguments = ("--config", str(folder / "one-device.toml"), "--no-speech", "--extra-stage-ms", f"{stage_ms:g}")
        async with running_service(folder, *arguments, view=options.size) as (url, _):
            yield url, versions(("streamsvc", "aiortc", "av"))
        return
    rival = next(r for r in RIVALS if r.name == service.name)
    log = options.out / f"{rival.module}-{stage_ms:g}.log"
    async with serving(rival, service.python, Task(stage_ms, options.size, options.fps), log) as running:
        yield running


def _probe(options: ServicesBench, url: str) -> ProbeOptions:
    return ProbeOptions(
        url=url,
        out=options.out,
        seconds=WARM_UP_S + options.seconds + max(SETTLE_NS / 1e9, options.budget_ms / 1e3),
        warm_up_s=WARM_UP_S,
        cameras=1,
        size=options.size,
        fps=options.fps,
        budget_ms=options.budget_ms,
    )


def _video(options: ServicesBench) -> str:
    return f"{options.size[0]}x{options.size[1]} VP8 at {options.fps:g} fps"


def _own_conditions(options: ServicesBench, load_before: float) -> dict[str, str]:
    return {
        "load average": f"{load_before:.2f} before, {os.getloadavg()[0]:.2f} after (1 min)",
        "video": f"{_video(options)} both ways, a rendered person with a clock card",
        "in time": f"seen within {options.budget_ms:g} ms of the instant on the card; what is never seen isn't",
        "stage": "time.sleep of so many ms a picture, one picture at a time",
        "runs": f"{options.seconds:g} s each after a warm-up of {WARM_UP_S:g} s, all services in turn with each stage",
        "network": "one host, loopback; the probe, its camera and the service share the cores",
    }


def _line(r: ServiceRow) -> str:
    if r.p50_ms is None:
        return "nothing came back"
    return f"{100 * (r.goodput or 0.0):.1f} % in time, p50 {r.p50_ms:.0f} ms, {r.fps:.1f} pictures a second"


def _tell(figures: dict[str, Any], rows: list[ServiceRow], tell: Callable[[str], None]) -> None:
    for line in services_table(rows):
        tell(line)
    for name, service in figures["services"].items():
        tell(f"{name}: {', '.join(f'{k} {v}' for k, v in service['versions'].items())}; {service['how']}")
    for name, reason in figures["failures"].items():
        tell(f"not measured: {name}: {reason}")
    for name, value in figures["conditions"].items():
        tell(f"{name}: {value}")
