"""A whole session, cameras to display, with speech: what arrives in time, and whether latency or memory grow.

The service runs in processes of its own as users run it; the viewer is our headless peer or headless Chromium. The
first `WARMUP_S` are discarded. Goodput counts every instant that the cameras captured, so what was never delivered is a
miss.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from streamsvc.bench.watched import health
from streamsvc.demo import DemoError, rendered_cameras, running_service
from streamsvc.ledger.conditions import conditions, resident_bytes
from streamsvc.ledger.figures import percentile
from streamsvc.ledger.report import write_report
from streamsvc.peer import HeadlessPeer, PeerFigures, PeerOptions
from streamsvc.signalling.messages import SpeechSettings, ViewSettings

WARMUP_S = 10.0
SAMPLE_S = 5.0


@dataclass(frozen=True, slots=True)
class SessionBench:
    """What to run: a mirror room for `seconds` with `cameras` of `size` at `fps`; `speech` adds a speaking voice;
    `extra_stage_ms` makes the view slower than it is."""

    out: Path
    seconds: float = 300.0
    cameras: int = 2
    size: tuple[int, int] = (320, 240)
    fps: float = 15.0
    budget_ms: float = 400.0
    speech: bool = True
    browser: bool = False
    extra_stage_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class MemorySample:
    """Resident MiB of the edge and the worker process, `t_s` seconds into the session."""

    t_s: float
    edge_mib: float
    worker_mib: float


async def _watch_memory(url: str, pid: int, samples: list[MemorySample]) -> None:
    loop = asyncio.get_running_loop()
    start = loop.time()
    while True:
        said = await asyncio.to_thread(health, url)
        samples.append(MemorySample(loop.time() - start, resident_bytes(pid) / 2**20, said["worker"]["resident_mib"]))
        await asyncio.sleep(SAMPLE_S)


async def run_session(options: SessionBench, tell: Callable[[str], None]) -> dict[str, Any]:
    """Run the bench and return its figures; `tell` is called with lines of progress and then the table."""
    options.out.mkdir(parents=True, exist_ok=True)
    arguments = ["--extra-stage-ms", f"{options.extra_stage_ms:g}"]
    if not options.speech:
        arguments.append("--no-speech")
    tell(
        f"{options.seconds:g} s, {options.cameras} cameras {options.size[0]}x{options.size[1]} at {options.fps:g} fps, "
        f"speech {'on' if options.speech else 'off'}, budget {options.budget_ms:g} ms"
    )
    memory: list[MemorySample] = []
    told = conditions() | asked(options)
    async with running_service(options.out, *arguments, view=options.size) as (url, process):
        watcher = asyncio.create_task(_watch_memory(url, process.pid, memory))
        try:
            if options.browser:
                from streamsvc.bench.browser import watch_in_chromium

                seen = await watch_in_chromium(url, options, tell)
            else:
                seen = peer_figures(await _run_peer(url, options), options)
        finally:
            watcher.cancel()
    summary = write_report(options.out / "ledger.jsonl", options.out / "report.html", title="streamsvc bench session")
    seen.setdefault("goodput", summary.view.goodput)
    figures = {**told, **seen, **memory_figures(memory), "ledger": summary.to_dict()}
    for line in table(figures):
        tell(line)
    tell(f"report: {options.out / 'report.html'}")
    return figures


async def _run_peer(url: str, options: SessionBench) -> PeerFigures:
    peer = HeadlessPeer(
        PeerOptions(
            url=url,
            room="bench",
            name="bench",
            mirror=True,
            cameras=rendered_cameras(options.cameras),
            mic=f"synthetic:es:{options.seconds:g}" if options.speech else None,
            size=options.size,
            fps=options.fps,
            eye="sway",
            speech=SpeechSettings(source="es"),
            view=ViewSettings(width=options.size[0], height=options.size[1], budget_ms=options.budget_ms),
            keep_all=True,
        )
    )
    return await peer.run(options.seconds)


def peer_figures(figures: PeerFigures, options: SessionBench) -> dict[str, Any]:
    """Return what the headless viewer saw; raises DemoError when that is nothing."""
    if not figures.captures or not figures.views:
        raise DemoError(f"no view arrived; {options.out / 'service.log'} says why")
    start = figures.captures[0] + round(WARMUP_S * 1e9)
    # The last captures had no time to come back within the budget.
    end = figures.captures[-1] - round(options.budget_ms * 1e6)
    due = [c for c in figures.captures if start <= c <= end]
    views = [(c, d) for c, d in figures.views if start <= c <= end + 1_000_000]
    ms = [(d - c) / 1e6 for c, d in views]
    good = sum(x <= options.budget_ms for x in ms)
    gaps = [(b[1] - a[1]) / 1e6 for a, b in pairwise(views)]
    minutes = [
        percentile([x for (c, _), x in zip(views, ms, strict=True) if m <= (c - start) / 60e9 < m + 1], 50)
        for m in range(max(1, round((end - start) / 60e9)))
    ]
    lags = [c.wall_ms - c.source_end_ms for c in figures.captions]
    return {
        "captured": len(due),
        "displayed": len(views),
        "goodput": good / len(due) if due else None,
        "fps": len(views) / max((end - start) / 1e9, 1e-9),
        "latency_ms": {f"p{q}": percentile(ms, q) for q in (50, 95, 99, 100)},
        "latency_p50_by_minute_ms": minutes,
        "latency_growth": minutes[-1] / minutes[0] if len(minutes) > 1 and minutes[0] and minutes[-1] else None,
        "longest_gap_ms": max(gaps, default=None),
        "clock_error_ms": (figures.clock_error_ns or 0) / 1e6,
        "commits": len(lags),
        "words": sum(len(c.text.split()) for c in figures.captions),
        "speech_lag_ms": {f"p{q}": percentile(lags, q) for q in (50, 95)},
        "notices": figures.notices,
    }


def memory_figures(samples: list[MemorySample]) -> dict[str, Any]:
    """Return resident memory, early (after a fifth of the session) against late, medians of five samples."""

    def median(part: list[MemorySample], of: Callable[[MemorySample], float]) -> float | None:
        return percentile([of(s) for s in part], 50)

    early = samples[len(samples) // 5 :][:5]
    late = samples[-5:]
    result: dict[str, Any] = {}
    readers: dict[str, Callable[[MemorySample], float]] = {
        "edge": lambda s: s.edge_mib,
        "worker": lambda s: s.worker_mib,
    }
    for name, of in readers.items():
        before, after = median(early, of), median(late, of)
        result[f"{name}_mib"] = [before, after]
        result[f"{name}_growth"] = after / before if before and after else None
    result["memory"] = [asdict(s) for s in samples]
    return result


def asked(options: SessionBench) -> dict[str, Any]:
    """Return what was asked for."""
    return {
        "seconds": options.seconds,
        "cameras": options.cameras,
        "size": f"{options.size[0]}x{options.size[1]}",
        "fps_captured": options.fps,
        "budget_ms": options.budget_ms,
        "speech": options.speech,
        "viewer": "chromium" if options.browser else "peer",
        "extra_stage_ms": options.extra_stage_ms,
    }


def table(figures: dict[str, Any]) -> list[str]:
    """Return the figures as lines to read."""
    lines = []
    for name, value in figures.items():
        if name in ("ledger", "notices", "memory"):
            continue
        if isinstance(value, dict):
            text = "  ".join(f"{k} {_number(v)}" for k, v in value.items())
        elif isinstance(value, list):
            text = "  ".join(_number(v) for v in value)
        else:
            text = _number(value)
        lines.append(f"{name.replace('_', ' '):28} {text}")
    return lines


def _number(value: object) -> str:
    if value is None:
        return "-"
    return (
        f"{value:.3g}"
        if isinstance(value, float) and abs(value) < 10
        else f"{value:.0f}"
        if isinstance(value, float)
        else str(value)
    )
