"""`bench page`: what our page costs Chromium a frame, and whether its memory stays flat over a long call.

Headless Chromium sits in a mirror room with one of its own fake cameras, whose picture passes through, and a voice that
is interpreted all the time. Once a minute it collects its garbage and is asked for its heap, its DOM nodes, its event
listeners, and the time that its main thread has worked. Under `out`: page.json, and page.png: how it looked at the end.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from streamsvc.demo import running_service
from streamsvc.ledger.conditions import conditions, resident_bytes
from streamsvc.peer.sources import open_microphone
from streamsvc.probe.chromium import ChromiumCall, chromium_call, write_wav

VOICE_S = 300
SETTLE_S = 20
MIB = 2**20


@dataclass(frozen=True, slots=True)
class PageBench:
    """What to run: a call of `minutes`, with the charts behind the meter open where `charts`."""

    out: Path
    minutes: float = 60.0
    charts: bool = False


@dataclass(frozen=True, slots=True)
class PageSample:
    """Chromium's page `t_s` seconds into the call: MiB of JavaScript's heap and of the renderer's resident memory, DOM
    nodes and event listeners, pictures shown, captions in the transcript, and seconds of work on the main thread, in
    all and in scripts."""

    t_s: float
    heap_mib: float
    renderer_mib: float
    nodes: int
    listeners: int
    shown: int
    captions: int
    task_s: float
    script_s: float


def summary(samples: Sequence[PageSample]) -> dict[str, float]:
    """Return milliseconds of main thread a picture, pictures a second, and what grew from the first third's end to the
    end, in MiB, nodes and listeners; the first third is left for caches to fill."""
    first, last = samples[0], samples[-1]
    settled = samples[len(samples) // 3]
    shown = max(last.shown - first.shown, 1)
    return {
        "task_ms": (last.task_s - first.task_s) * 1000 / shown,
        "script_ms": (last.script_s - first.script_s) * 1000 / shown,
        "fps": shown / max(last.t_s - first.t_s, 1e-9),
        "heap_mib": last.heap_mib - settled.heap_mib,
        "renderer_mib": last.renderer_mib - settled.renderer_mib,
        "nodes": last.nodes - settled.nodes,
        "listeners": last.listeners - settled.listeners,
        "captions": last.captions - settled.captions,
    }


def table(samples: Sequence[PageSample]) -> Iterator[str]:
    """Yield the lines of the table: about ten samples, and what they come to."""
    yield f"{'min':>6} {'heap MiB':>9} {'renderer':>9} {'nodes':>7} {'listeners':>9} {'captions':>8} {'shown':>8}"
    for s in samples[:: max(len(samples) // 10, 1)]:
        yield (
            f"{s.t_s / 60:>6.1f} {s.heap_mib:>9.1f} {s.renderer_mib:>9.0f} {s.nodes:>7} {s.listeners:>9} "
            f"{s.captions:>8} {s.shown:>8}"
        )
    m = summary(samples)
    yield f"main thread {m['task_ms']:.2f} ms a picture, of that scripts {m['script_ms']:.2f}; {m['fps']:.1f} a second"
    yield (
        f"after the first third: heap {m['heap_mib']:+.1f} MiB, renderer {m['renderer_mib']:+.0f} MiB, "
        f"nodes {m['nodes']:+.0f}, listeners {m['listeners']:+.0f}, captions {m['captions']:+.0f}"
    )


async def run_page(options: PageBench, tell: Callable[[str], None]) -> dict[str, Any]:
    """Run the bench and return its figures; `tell` is called with lines of progress and the table. Raises BrowserError
    where Chromium or Playwright is missing."""
    options.out.mkdir(parents=True, exist_ok=True)
    tell(f"a call of {options.minutes:g} min in headless Chromium, 640x480")
    async with running_service(options.out) as (url, _):
        samples = await asyncio.to_thread(_watch, url, options, tell)
    for line in table(samples):
        tell(line)
    figures = {
        "conditions": conditions(),
        "options": asdict(options),
        "summary": summary(samples),
        "samples": [asdict(s) for s in samples],
    }
    (options.out / "page.json").write_text(json.dumps(figures, indent=1, default=str) + "\n", "utf-8")
    return figures


def _watch(url: str, options: PageBench, tell: Callable[[str], None]) -> list[PageSample]:
    microphone = open_microphone(f"synthetic:es:{VOICE_S}")
    mic = write_wav(options.out / "mic.wav", microphone.read(VOICE_S * 48_000))
    seconds = options.minutes * 60
    period = min(60.0, seconds / 10)
    with chromium_call(None, mic) as call:
        call.join(url, "page", None, 1, "es")
        if options.charts:
            call.page.click("#meter")
        session = call.page.context.new_cdp_session(call.page)
        session.send("Performance.enable")
        call.page.wait_for_timeout(SETTLE_S * 1000)
        samples = [_sample(call, session, 0.0)]
        while samples[-1].t_s < seconds:
            call.page.wait_for_timeout(period * 1000)
            samples.append(_sample(call, session, samples[-1].t_s + period))
            last = samples[-1]
            tell(f"{last.t_s / 60:.1f} min: heap {last.heap_mib:.1f} MiB, renderer {last.renderer_mib:.0f} MiB")
        call.page.screenshot(path=str(options.out / "page.png"))
    return samples


def _sample(call: ChromiumCall, session: Any, t_s: float) -> PageSample:
    session.send("HeapProfiler.collectGarbage")
    metrics = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
    stats = call.stats()
    return PageSample(
        t_s=t_s,
        heap_mib=metrics["JSHeapUsedSize"] / MIB,
        renderer_mib=max(resident_bytes(pid) for pid in call.renderers()) / MIB,
        nodes=int(metrics["Nodes"]),
        listeners=int(metrics["JSEventListeners"]),
        shown=stats["framesShown"],
        captions=len(stats["captions"]),
        task_s=metrics["TaskDuration"],
        script_s=metrics["ScriptDuration"],
    )
