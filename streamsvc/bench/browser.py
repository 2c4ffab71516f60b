"""`bench session` with headless Chromium as the viewer, who looks around by moving the pointer."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from streamsvc.ledger.figures import percentile
from streamsvc.peer.sources import open_microphone
from streamsvc.probe.chromium import chromium_call, film_body, write_wav

if TYPE_CHECKING:
    from streamsvc.bench.session import SessionBench


async def watch_in_chromium(url: str, options: SessionBench, tell: Callable[[str], None]) -> dict[str, Any]:
    """Run the session in Chromium and return what it saw; leaves `browser.png`. Goodput is for the service's ledger to
    tell: the page shows that of its last seconds only."""
    return await asyncio.to_thread(_watch, url, options, tell)


def _watch(url: str, options: SessionBench, tell: Callable[[str], None]) -> dict[str, Any]:
    tell("rendering what Chromium's cameras see ...")
    film = film_body(options.cameras, options.size, options.fps)
    rig_file = options.out / "rig.json"
    rig_file.write_text(json.dumps(film.rig.to_json()), "utf-8")
    microphone = open_microphone(f"synthetic:es:{options.seconds:g}")
    mic = write_wav(options.out / "mic.wav", microphone.read(round(options.seconds * 48_000)))
    with chromium_call(film, mic) as call:
        call.join(url, "bench", rig_file, options.cameras, "es")
        marks: list[tuple[float, int]] = []
        latencies = []
        start = time.monotonic()
        while (t := time.monotonic() - start) < options.seconds:
            # A viewer who looks around: the eye follows the pointer over the stage.
            call.page.mouse.move(640 + 300 * float(np.sin(t / 2)), 400 + 60 * float(np.sin(t)))
            call.page.wait_for_timeout(500)
            stats = call.stats()
            marks.append((time.monotonic() - start, stats["framesShown"]))
            if (live := stats.get("live")) and t > 5:
                latencies.append(live["latency_ms"])
        call.page.screenshot(path=str(options.out / "browser.png"))
        stats, errors = call.stats(), call.errors
    settled = [m for m in marks if m[0] > 5] or marks
    shown = settled[-1][1] - settled[0][1]
    seconds = max(settled[-1][0] - settled[0][0], 1e-9)
    return {
        "displayed": stats["framesShown"],
        "fps": shown / seconds,
        "latency_ms": {"p50 of live": percentile([x for x in latencies if x is not None], 50)},
        "captions": [c["text"] for c in stats["captions"]],
        "commits": len(stats["captions"]),
        "console_errors": errors,
    }
