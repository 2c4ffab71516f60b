"""`bench capacity`: what a call costs when nothing is computed: one camera that passes through, a voice that is echoed.

1 to `sessions` mirror rooms at once, the service in processes of its own, the peers in this one. CPU time is that of
the service's processes as the kernel counts it, the loop's lag what the service says of itself on `/metrics`. Under
`out`: capacity.json.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from streamsvc.bench.watched import health, metrics
from streamsvc.demo import running_service
from streamsvc.ledger.conditions import conditions
from streamsvc.ledger.figures import percentile
from streamsvc.peer import HeadlessPeer, PeerFigures, PeerOptions
from streamsvc.scene import open_scene
from streamsvc.signalling.messages import SpeechSettings, ViewSettings

WARM_UP_S = 5.0
TAIL_S = 1.0
BUDGET_MS = 150.0
NEAR_NS = 2_000_000
SCENE_S = 2.0
FILM = "film.mkv"
LAG = "streamsvc_event_loop_lag_seconds_bucket"


@dataclass(frozen=True, slots=True)
class CapacityBench:
    """What to run: 1 to `sessions` calls of `seconds`, one camera of `size` at `fps` each."""

    out: Path
    sessions: int = 4
    size: tuple[int, int] = (640, 480)
    fps: float = 30.0
    seconds: float = 20.0


@dataclass(frozen=True, slots=True)
class Load:
    """What the service used so far: CPU seconds of the edge and of the worker, and how often its loop was late by at
    most so many seconds (cumulative)."""

    edge_s: float
    worker_s: float
    lag: dict[float, float]


@dataclass(frozen=True, slots=True)
class CapacityRow:
    """So many sessions at once: the share of captures that were displayed within `BUDGET_MS`, latencies in ms, cores
    that the edge and the worker used, sessions that one core would carry, and how late the loop was."""

    sessions: int
    goodput: float
    p50_ms: float | None
    p95_ms: float | None
    edge_cores: float
    worker_cores: float
    sessions_per_core: float
    lag_p99_ms: float | None


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used; raises OSError when it is gone."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def lag_percentile(before: dict[float, float], after: dict[float, float], q: float) -> float | None:
    """Return the upper bound (ms) of the bucket that the percentile lies in, None where nothing was counted."""
    counts = {bound: after[bound] - before.get(bound, 0.0) for bound in sorted(after)}
    total = max(counts.values(), default=0.0)
    if total <= 0:
        return None
    bound = next(b for b, n in counts.items() if n >= total * q / 100)
    return None if math.isinf(bound) else bound * 1000


def _load(url: str, edge: int) -> Load:
    worker = health(url)["worker"]["pid"]
    lag = {float(s.labels["le"]): s.value for s in metrics(url) if s.name == LAG}
    return Load(cpu_seconds(edge), cpu_seconds(worker), lag)


def row(sessions: int, seconds: float, before: Load, after: Load, seen: Sequence[PeerFigures]) -> CapacityRow:
    """Return the figures of one case, whose counted time is `seconds` long and ends `TAIL_S` before the calls do."""
    good = due = 0
    latencies: list[float] = []
    for figures in seen:
        end = max(figures.captures, default=0) - round(TAIL_S * 1e9)
        counted = [c for c in figures.captures if end - seconds * 1e9 <= c <= end]
        views = sorted(figures.views)
        at = [c for c, _ in views]
        ms = []
        for capture in counted:
            # RTP time has steps of 11 microseconds, and the clocks of both sides are a little apart.
            i = bisect_left(at, capture - NEAR_NS)
            if i < len(at) and at[i] <= capture + NEAR_NS:
                ms.append((views[i][1] - capture) / 1e6)
        due += len(counted)
        good += sum(x <= BUDGET_MS for x in ms)
        latencies += ms
    edge, worker = (after.edge_s - before.edge_s) / seconds, (after.worker_s - before.worker_s) / seconds
    return CapacityRow(
        sessions,
        good / due if due else 0.0,
        percentile(latencies, 50),
        percentile(latencies, 95),
        edge,
        worker,
        sessions / (edge + worker) if edge + worker else 0.0,
        lag_percentile(before.lag, after.lag, 99),
    )


async def run_capacity(options: CapacityBench, tell: Callable[[str], None]) -> dict[str, Any]:
    """Run the bench and return its figures. Raises DemoError when the service doesn't come up."""
    options.out.mkdir(parents=True, exist_ok=True)
    tell("making a film")
    await asyncio.to_thread(_film, options.out / FILM, options)
    told, load = conditions(), os.getloadavg()[0]
    rows = []
    async with running_service(options.out, "--no-speech", "--no-admission", view=options.size) as (url, process):
        for sessions in range(1, options.sessions + 1):
            peers = [_peer(url, options, number) for number in range(sessions)]
            calls = [asyncio.create_task(p.run(WARM_UP_S + options.seconds + TAIL_S)) for p in peers]
            await asyncio.sleep(WARM_UP_S)
            before = await asyncio.to_thread(_load, url, process.pid)
            await asyncio.sleep(options.seconds)
            after = await asyncio.to_thread(_load, url, process.pid)
            rows.append(row(sessions, options.seconds, before, after, await asyncio.gather(*calls)))
            tell(_line(rows[-1]))
    width, height = options.size
    figures: dict[str, Any] = {
        "conditions": told
        | {
            "load average": f"{load:.2f} before, {os.getloadavg()[0]:.2f} after",
            "calls": f"mirror rooms, one camera {width}x{height} at {options.fps:g} fps that passes through, VP8, a "
            f"voice that is echoed, {options.seconds:g} s each; the peers on the same cores",
            "goodput": f"displayed within {BUDGET_MS:g} ms",
        },
        "rows": [asdict(r) for r in rows],
    }
    (options.out / "capacity.json").write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    for name, value in figures["conditions"].items():
        tell(f"{name}: {value}")
    return figures


def _film(path: Path, options: CapacityBench) -> None:
    """Write a film of a person, long enough for a call. A file, because a scene would bring its rig."""
    scene = open_scene("body")
    camera = scene.rig(2, *options.size).cameras[0]
    rate = Fraction(options.fps).limit_denominator(1000)
    pictures = [scene.render(camera, k / options.fps).rgb for k in range(round(SCENE_S * options.fps))]
    back_and_forth = [*pictures, *pictures[-2:0:-1]]
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mjpeg", rate=rate)
        stream.width, stream.height, stream.pix_fmt = *options.size, "yuvj420p"
        for k in range(math.ceil((WARM_UP_S + options.seconds + 2 * TAIL_S) * options.fps)):
            frame = av.VideoFrame.from_ndarray(back_and_forth[k % len(back_and_forth)], format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _peer(url: str, options: CapacityBench, number: int) -> HeadlessPeer:
    return HeadlessPeer(
        PeerOptions(
            url=url,
            room=f"capacity-{number}",
            mirror=True,
            cameras={"cam0": str(options.out / FILM)},
            mic="synthetic:es",
            size=options.size,
            fps=options.fps,
            speech=SpeechSettings(enabled=False),
            view=ViewSettings(width=options.size[0], height=options.size[1], budget_ms=BUDGET_MS),
            keep_all=True,
        )
    )


def _line(r: CapacityRow) -> str:
    p50, p95, lag = ("-" if x is None else f"{x:.1f}" for x in (r.p50_ms, r.p95_ms, r.lag_p99_ms))
    return (
        f"{r.sessions} sessions: goodput {r.goodput:.3f}, p50 / p95 {p50} / {p95} ms, edge {r.edge_cores:.2f} and "
        f"worker {r.worker_cores:.2f} cores, {r.sessions_per_core:.1f} sessions a core, loop late by at most {lag} ms "
        "(p99)"
    )
