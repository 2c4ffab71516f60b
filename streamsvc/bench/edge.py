"""`bench edge`: one-way latency of video over WebRTC, camera to decoded picture, our edge against stock aiortc.

Each run has a sender and a receiver in processes of their own (`edge_run`), ours and stock in turn. Ground truth is the
card in the picture, and the clock is the host's monotonic one, which both processes share. Under `out`: edge.json,
edge.svg.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from streamsvc.bench.edge_camera import Drawing
from streamsvc.bench.edge_child import TAIL_S
from streamsvc.bench.edge_figures import OURS, STOCK, Run, arrivals, ratios, row, table
from streamsvc.bench.edge_plot import latency_plot
from streamsvc.bench.edge_run import Film, run_film
from streamsvc.ledger.conditions import conditions
from streamsvc.ledger.figures import percentile

SEEN = {False: "the decoded picture on the receiver's loop", True: "its decoded picture on the page"}
SIZES = ((320, 240), (640, 480), (1280, 720))


@dataclass(frozen=True, slots=True)
class EdgeBench:
    """What to run: each of `sizes` for `seconds` after `warm_up_s`, `repeats` times on either side in turn. `chromium`
    receives in place of either side's own receiver; `processing_ms` is what a picture takes before it is sent,
    `grain` how noisy it is (grey levels), `max_bitrate` the most that ours may send (bits a second; None: as its size
    needs)."""

    out: Path
    sizes: tuple[tuple[int, int], ...] = SIZES
    codec: Literal["VP8", "H264"] = "VP8"
    fps: float = 30.0
    seconds: float = 20.0
    repeats: int = 2
    warm_up_s: float = 3.0
    chromium: bool = False
    processing_ms: float = 0.0
    grain: float = 0.0
    max_bitrate: int | None = None


async def run_edge(options: EdgeBench, tell: Callable[[str], None]) -> dict[str, Any]:
    """Run the bench and return its figures; `tell` is called with lines of progress and then the table.

    Raises BenchError when a child fails, SceneError when the scene can't be had.
    """
    options.out.mkdir(parents=True, exist_ok=True)
    plan = [(size, side) for size in options.sizes for _ in range(options.repeats) for side in (OURS, STOCK)]
    each = options.warm_up_s + options.seconds + TAIL_S
    tell(
        f"{len(plan)} runs of {each:g} s, {options.codec} at {options.fps:g} fps, sender and receiver in processes of "
        f"their own; the first {options.warm_up_s:g} s of each don't count"
    )
    told, before = conditions(), os.getloadavg()
    runs: list[Run] = []
    drawing: Drawing | None = None
    for number, (size, side) in enumerate(plan, 1):
        if number == 1 or size != plan[number - 2][0]:
            drawing = Drawing(size, options.grain)
        assert drawing is not None
        film = Film(
            size=size,
            codec=options.codec,
            fps=options.fps,
            seconds=options.seconds,
            warm_up_s=options.warm_up_s,
            processing_ms=options.processing_ms,
            grain=options.grain,
            max_bitrate=options.max_bitrate,
            chromium=options.chromium,
        )
        runs.append(await run_film(film, side, drawing))
        tell(f"{number:3} of {len(plan)}  {_line(runs[-1])}")
    cases = dict.fromkeys((r.size, r.side) for r in runs)
    rows = [row([r for r in runs if (r.size, r.side) == case]) for case in cases]
    figures: dict[str, Any] = {
        "conditions": told | _own_conditions(options, before) | {"our encoder": _encoders(runs)},
        "rows": [asdict(r) for r in rows],
        "ratios": [asdict(r) for r in ratios(rows)],
    }
    (options.out / "edge.json").write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    title = f"Video over WebRTC between two processes, {options.codec} at {options.fps:g} fps"
    (options.out / "edge.svg").write_text(latency_plot(title, rows), "utf-8")
    for line in table(rows):
        tell(line)
    for name, value in figures["conditions"].items():
        tell(f"{name}: {value}")
    tell(f"figures and plot: {options.out}")
    return figures


def _own_conditions(options: EdgeBench, before: tuple[float, float, float]) -> dict[str, str]:
    before_text, after = (" / ".join(f"{x:.2f}" for x in load) for load in (before, os.getloadavg()))
    return {
        "load average": f"{before_text} before, {after} after (1, 5, 15 min)",
        "video": f"{options.codec}, {options.fps:g} fps, a rendered person with a clock card, YUV before it is due, "
        f"noise of {options.grain:g} grey levels",
        "runs": f"{options.repeats} of {options.seconds:g} s a side, ours and stock in turn, each after a warm-up of "
        f"{options.warm_up_s:g} s",
        "network": "two processes of one host",
        "receiver": "headless Chromium" if options.chromium else "the side's own",
        "a picture is sent": f"{options.processing_ms:g} ms after it was captured",
        "latency": f"instant on the card to {SEEN[options.chromium]}; ms of delivered pictures",
        "PSNR": "luma of some pictures against what was drawn",
    }


def _encoders(runs: Sequence[Run]) -> str:
    return ", ".join(sorted({r.encoder for r in runs if r.encoder is not None})) or "not told"


def _line(run: Run) -> str:
    came = arrivals(run)
    p50, p99 = (percentile(came.latencies_ms, q) for q in (50, 99))
    ms = "nothing came" if p50 is None else f"p50 {p50:6.1f} ms  p99 {p99:6.1f} ms"
    width, height = run.size
    missed = came.captured - len(came.latencies_ms)
    return f"{width}x{height:<4} {run.side:5}  {ms}  missed {missed} of {came.captured}"
