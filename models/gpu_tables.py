"""Check the GPU path against its references and time it, stage by stage; `gpu.sh` runs this in one go.

    python models/gpu_tables.py [--device cuda|cpu] [--small] --out DIR

Four cameras see a rendered person; a pair shows two eyes' views, its two neighbours help. Everything is timed from the
pictures in the host's memory to the views there. Training data is made too, beside the CPU's of the same scenes. Writes
DIR/gpu.json and DIR/gpu.md. `--device cpu` runs the kernels under Triton's interpreter and `--small` makes the pictures
tiny: for a machine without a GPU, where the checks mean something and the times don't. Exits 1 when a check fails.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gpu_checks import check, path_checks, splat_checks, view_checks
from gpu_data import data_checks, data_table
from gpu_frames import SIZES, SMALL, Frame, Scene, Size, synchronize
from gpu_gsplat import gsplat_steps, gsplat_version

from streamsvc.errors import StreamsvcError
from streamsvc.view.net.geometry import NetGeometry
from streamsvc.view.net.weights import load_net

if TYPE_CHECKING:
    from streamsvc.view.gpu.frame import FramePath


def percentiles(times: list[float]) -> dict[str, float]:
    """p50, p95 and p99 in ms."""
    found = np.percentile(times, (50, 95, 99))
    return {name: round(float(x), 4) for name, x in zip(("p50", "p95", "p99"), found, strict=True)}


def timed(steps: list[tuple[str, Callable[[], object]]], device: str, repeats: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each step, of those with the same name together, and of "all" of them from the first to the last;
    with CUDA events on a GPU."""
    for _, step in steps * (3 if device == "cuda" else 0):
        step()
    synchronize(device)
    spent: dict[str, list[float]] = {}
    for _ in range(repeats):
        marks: list[Any] = []

        def mark(marks: list[Any] = marks) -> None:
            if device == "cuda":
                event = torch.cuda.Event(enable_timing=True)
                event.record()
                marks.append(event)
            else:
                marks.append(time.perf_counter() * 1e3)

        mark()
        for _, step in steps:
            step()
            mark()
        synchronize(device)
        passed = [a.elapsed_time(b) if device == "cuda" else b - a for a, b in itertools.pairwise(marks)]
        frame: dict[str, float] = {}
        for (name, _), ms in zip(steps, passed, strict=True):
            frame[name] = frame.get(name, 0.0) + ms
        frame["all"] = sum(passed)
        for name, ms in frame.items():
            spent.setdefault(name, []).append(ms)
    return {name: percentiles(times) for name, times in spent.items()}


def best_tuning(frame: Frame, net: NetGeometry, device: str, repeats: int) -> tuple[Any, Any]:
    """The splat's fastest cut for this size, and the milliseconds (p50 of bin and render, both views) of all tried."""
    from streamsvc.view.gpu.splat import Tuning

    tried = []
    cuts = [(16, 16, 8), (8, 32, 4), (8, 16, 2), (8, 16, 4), (8, 32, 2), (16, 16, 4), (16, 32, 8)]
    for cut in cuts if device == "cuda" else ():
        path = frame.path(net, tuning=Tuning(*cut))
        found = timed(path.stages(), device, repeats)
        ms = {stage: found[stage]["p50"] for stage in ("bin", "render")}
        tried.append({"tile": cut[0], "chunk": cut[1], "warps": cut[2], **ms})
    best = min(tried, key=lambda row: row["bin"] + row["render"], default=None)
    return Tuning(best["tile"], best["chunk"], best["warps"]) if best else Tuning(), tried


def table(frame: Frame, size: Size, device: str, repeats: int) -> dict[str, Any]:
    """Everything that is measured of one rung."""
    net = NetGeometry(load_net(), torch.bfloat16, device)
    tuning, tried = best_tuning(frame, net, device, max(1, repeats // 4))
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    path = frame.path(net, tuning=tuning)
    grid = frame.pair.left.grid
    row: dict[str, Any] = {"rung": size.name, "sizes": size.__dict__ | {"grid": (grid.width, grid.height)}}
    row |= {"tried": tried, "tuning": {"tile": tuning.tile, "chunk": tuning.chunk, "warps": tuning.warps}}
    upload = ("upload", lambda: path.compositor.upload(path.compositor.pictures))
    download = ("download", lambda: path.compositor.receive(depth=False))
    row["eager"] = timed([upload, *path.stages(), download], device, repeats)
    row["ids"] = [int(part.lists.item()) for part in path.compositor.splatters]
    if device == "cuda" and gsplat_version() is not None:
        row["gsplat"] = beside_gsplat(path, device, repeats)
    eager = path.compositor.pixels.clone()
    if device == "cuda":
        del path
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        lanes = [frame.path(net, tuning=tuning, captured=True) for _ in range(2)]
        row["memory of two lanes, GB"] = round(torch.cuda.max_memory_reserved() / 1e9, 3)
        first = lanes[0].compositor
        upload = ("upload", lambda: first.upload(first.pictures))
        download = ("download", lambda: first.receive(depth=False))
        row["graph"] = timed([upload, ("graph", lanes[0].run), download], device, repeats)
        row["graph equals eager"] = bool(torch.equal(first.pixels, eager))
        row["host to host"] = host_to_host(frame, lanes[:1], repeats)
        row["host to host, two lanes taking turns"] = host_to_host(frame, lanes, repeats)
    return row


def beside_gsplat(path: FramePath, device: str, repeats: int) -> dict[str, dict[str, float]]:
    """Milliseconds of gsplat's rasteriser and of our splat on the Gaussians of the path's last view, in turn."""
    ours = path.compositor.splatters[-1]
    geometry, colours, fade = path.compositor.gaussians
    height, width = ours.coverage.shape
    theirs = gsplat_steps(geometry, colours, width, height)
    steps: list[tuple[str, Callable[[], object]]] = [(f"gsplat: {name}", step) for name, step in theirs]
    steps += [
        ("ours: bin", lambda: ours.bin(geometry)),
        ("ours: render", lambda: ours.render(geometry, colours, fade)),
    ]
    found = timed(steps, device, repeats)
    del found["all"]
    return found


def host_to_host(frame: Frame, lanes: list[FramePath], repeats: int) -> dict[str, float]:
    """Milliseconds from pictures in plain memory to views there, and a frame's share of it where lanes take turns."""
    spent, begun = [], [0.0] * len(lanes)
    start = time.perf_counter()
    for number in range(repeats + len(lanes)):
        lane = number % len(lanes)
        if number >= len(lanes):
            lanes[lane].finish()
            spent.append((time.perf_counter() - begun[lane]) * 1e3)
        if number < repeats:
            begun[lane] = time.perf_counter()
            frame.start(lanes[lane])
    return percentiles(spent) | {"a frame": round((time.perf_counter() - start) * 1e3 / repeats, 4)}


def bandwidths() -> dict[str, float]:
    """GB/s of this GPU: device to device (read and written), and both ways over the bus from pinned memory."""
    big = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    other = torch.empty_like(big)
    pinned = torch.empty(1 << 28, dtype=torch.uint8, pin_memory=True)
    part = big[: 1 << 28]
    jobs: list[tuple[str, Callable[[], object], float]] = [
        ("device to device", lambda: other.copy_(big), 2.0 * (1 << 30)),
        ("host to device", lambda: part.copy_(pinned, non_blocking=True), float(1 << 28)),
        ("device to host", lambda: pinned.copy_(part, non_blocking=True), float(1 << 28)),
    ]
    return {name: round(size / timed([(name, job)], "cuda", 10)["all"]["p50"] / 1e6, 1) for name, job, size in jobs}


def markdown(report: dict[str, Any]) -> str:
    """The report as tables to read."""
    lines = [f"# From pictures to views on a GPU: {report['device']}", ""]
    lines += [", ".join(f"{k} {v}" for k, v in report["versions"].items()), ""]
    if "bandwidth, GB/s" in report:
        lines += ["GB/s: " + ", ".join(f"{k} {v}" for k, v in report["bandwidth, GB/s"].items()), ""]
    for row in report["tables"]:
        lines += [f"## {row['rung']}: 4 cameras, 2 views, sizes {row['sizes']}, ms", ""]
        lines += ["| stage | p50 | p95 | p99 |", "| --- | --- | --- | --- |"]
        groups = {f"{title}: ": row[title] for title in ("eager", "graph") if title in row}
        groups |= {"splat of one view, ": row.get("gsplat", {})}
        groups |= {"": {k: ms for k, ms in row.items() if k.startswith("host to host")}}
        for title, group in groups.items():
            lines += [f"| {title}{name} | {ms['p50']} | {ms['p95']} | {ms['p99']} |" for name, ms in group.items()]
        lines += [""]
        names = ("tuning", "ids", "graph equals eager", "memory of two lanes, GB")
        lines += [f"- {name}: {row[name]}" for name in names if name in row]
        lines += [f"- {name}: {ms['a frame']} ms between frames" for name, ms in groups[""].items()]
        lines += ["- tried (ms): " + "; ".join(str(list(cut.values())) for cut in row["tried"]), ""]
    lines += ["## Training data: pairs per second", ""]
    columns = ("device", "one CPU core", "drawn up by one core")
    lines += [f"| | {' | '.join(columns)} |", "| --- | --- | --- | --- |"]
    for kind, rates in report["training data, pairs per second"].items():
        lines += [f"| {kind} | {' | '.join(str(rates[name]) for name in columns)} |"]
    lines += [""]
    failed = [c for c in report["checks"] if not c["ok"]]
    lines += [f"## Checks: {len(report['checks']) - len(failed)} of {len(report['checks'])} passed", ""]
    lines += ["| check | found | allowed | |", "| --- | --- | --- | --- |"]
    for c in report["checks"]:
        lines += [f"| {c['check']} | {c['found']:.3g} {c['unit']} | {c['allowed']} | {'ok' if c['ok'] else 'FAILED'} |"]
    return "\n".join(lines) + "\n"


def measure(device: str, small: bool) -> dict[str, Any]:
    """Run everything; returns the report."""
    from streamsvc.view.gpu import check_device

    check_device(device)
    import triton

    torch.backends.cudnn.allow_tf32 = False  # float32 is checked as float32
    sizes, repeats = (SMALL, 1 if device == "cpu" else 20) if small else (SIZES, 200)
    scene = Scene(max(size.picture for size in sizes))
    frames = [Frame(scene, size) for size in sizes]
    cuda = device == "cuda"
    versions = {"python": platform.python_version(), "torch": torch.__version__, "triton": triton.__version__}
    versions["gsplat"] = gsplat_version() or "not installed: no comparison with it"
    report: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if cuda else "Triton's interpreter (times mean nothing)",
        "versions": versions,
        "checks": splat_checks(device, small) + view_checks(scene, small, device),
    }
    report["checks"] += path_checks(frames[0], sizes[0], device) + data_checks(device, small)
    report["training data, pairs per second"] = data_table(device, small)
    if cuda:
        report["bandwidth, GB/s"] = bandwidths()
    report["tables"] = [table(frame, size, device, repeats) for frame, size in zip(frames, sizes, strict=True)]
    for row in report["tables"]:
        if "graph equals eager" in row:
            equal = float(row["graph equals eager"])
            report["checks"].append(check(f"{row['rung']}: graph equals eager", equal, 1, "", at_least=True))
    return report


def main() -> None:
    """Parse flags and run."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    p.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    p.add_argument("--small", action="store_true")
    p.add_argument("--out", type=Path, default=Path("out/gpu"))
    args = p.parse_args()
    if args.device == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"
    try:
        report = measure(args.device, args.small)
    except StreamsvcError as error:
        sys.exit(str(error))
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "gpu.json").write_text(json.dumps(report, indent=1))
    text = markdown(report)
    (args.out / "gpu.md").write_text(text)
    print(text, end="")
    sys.exit(0 if all(c["ok"] for c in report["checks"]) else 1)


if __name__ == "__main__":
    main()
