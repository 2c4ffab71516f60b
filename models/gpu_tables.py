"""Check the GPU kernels against their references and time them, stage by stage; `gpu.sh` runs this in one go.

    python models/gpu_tables.py [--device cuda|cpu] [--small] --out DIR

Four cameras see a rendered person; their true depth takes the place of a net's, so what is timed is everything after
the net: projection, splat, filling and blend for two eyes, and the copies. Writes DIR/gpu.json and DIR/gpu.md.
`--device cpu` runs the kernels under Triton's interpreter and `--small` makes the pictures tiny: for a machine
without a GPU, where the checks mean something and the times don't. Exits 1 when a check fails.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from streamsvc.errors import StreamsvcError
from streamsvc.frames import Camera
from streamsvc.scene import between, open_scene
from streamsvc.view.blend import blend, fill_holes
from streamsvc.view.geometry import Source, project
from streamsvc.view.quality import psnr
from streamsvc.view.rectify import pixel_rays
from streamsvc.view.splat import Splats, splat
from streamsvc.view.splat_reference import splat_reference

FADE_PER_M = 100.0
RELATIVE_TOLERANCE = 0.02
"""Relative jump of inverse depth that is one surface on a grid of 512; coarser grids step further."""

LATENTS = 20
"""Channels of the learned splat: 16 latents, RGB, and one to spare."""


@dataclass(frozen=True)
class Size:
    """A rung's sizes, sides of squares in pixels."""

    name: str
    picture: int
    grid: int
    splat: int
    output: int


SIZES = (Size("GPU 1K", 1024, 512, 512, 1024), Size("GPU 2K", 2048, 512, 1024, 2048))
SMALL = (Size("small", 32, 16, 20, 24),)


class Scene:
    """Four cameras around a person and two eyes between the inner two, rendered once at up to 1024 a side; larger
    pictures are enlarged from that."""

    def __init__(self, side: int) -> None:
        body = open_scene("body")
        self._side = min(side, 1024)
        self._rig = body.rig(4, self._side, self._side)
        self._seen = [body.render(camera, 0.5) for camera in self._rig.cameras]

    def sources(self, size: Size) -> list[Source]:
        """The four cameras with pictures and grids of a rung's size and the true inverse depth."""
        made = []
        for camera, seen in zip(self._rig.cameras, self._seen, strict=True):
            picture = np.asarray(cv2.resize(seen.rgb, (size.picture, size.picture)), np.uint8)
            grid = camera.resized(size.grid, size.grid)
            square = (size.grid, size.grid)
            inverse = np.where(np.isfinite(seen.depth), 1 / seen.depth, 0).astype(np.float32)
            inverse = np.asarray(cv2.resize(inverse, square, interpolation=cv2.INTER_NEAREST), np.float32)
            colour = np.asarray(cv2.resize(seen.rgb, square, interpolation=cv2.INTER_AREA), np.uint8)
            known, large = (inverse > 0).astype(np.float32), camera.resized(size.picture, size.picture)
            rays = pixel_rays(grid)
            relative = RELATIVE_TOLERANCE * max(1.0, 512 / size.grid)
            made.append(Source(large, picture, grid, rays, inverse, known, colour, 0.0, relative))
        return made

    def eyes(self, size: Size) -> list[Camera]:
        """Two views about 6 cm apart."""
        return [between(self._rig, "cam1", "cam2", at).resized(size.output, size.output) for at in (0.4, 0.6)]


def check(name: str, found: float, allowed: float, unit: str, *, at_least: bool = False) -> dict[str, Any]:
    """One row of the table of checks."""
    good = found >= allowed if at_least else found <= allowed
    return {"check": name, "found": found, "allowed": allowed, "unit": unit, "ok": bool(good)}


def splat_checks(device: str, small: bool) -> list[dict[str, Any]]:
    """The splat against the torch reference in float64, on random Gaussians, in float32 and with bfloat16 weights."""
    from streamsvc.view.gpu.splat import Splatter, Tuning

    rows = []
    width, height, k = (24, 20, 30.0) if small else (93, 71, 30.0)
    tunings = (Tuning(),) if small else (Tuning(), Tuning(tile=8, chunk=32, warps=4))
    for seed in range(1 if small else 4):
        draw = torch.Generator().manual_seed(seed)
        n = 60 if small else 2000
        u = torch.rand(n, 7 + LATENTS, generator=draw, dtype=torch.float64)
        turn, tight = u[:, 3] * torch.pi, 1 / (0.5 + 2 * u[:, 4:6]) ** 2
        c, s = torch.cos(turn), torch.sin(turn)
        conic = (
            tight[:, 0] * c * c + tight[:, 1] * s * s,
            (tight[:, 0] - tight[:, 1]) * c * s,
            tight[:, 0] * s * s + tight[:, 1] * c * c,
        )
        mean = u[:, 0] * (width + 8) - 4, u[:, 1] * (height + 8) - 4, 0.5 + 1.5 * u[:, 2]
        geometry = torch.stack([*mean, *conic, 0.1 + 0.9 * u[:, 6]], 1).float()
        for dtype, allowed in ((torch.float32, 1e-4), (torch.bfloat16, 1e-2)):
            features = u[:, 7:].to(dtype)
            true, covered, nearest = splat_reference(geometry.double(), features.double(), width, height, k)
            for tuning in tunings:
                mine = Splatter((1, 1, n), LATENTS, width, height, device, tuning=tuning)
                mine.features.fill_(torch.nan)
                arguments = geometry.to(device), features.to(device), torch.tensor([k], device=device)
                mine.splat(*arguments)
                first = mine.features.clone()
                mine.splat(*arguments)
                name = f"splat, {str(dtype)[6:]}, tile {tuning.tile}, seed {seed}"
                error = (first.double().cpu() - true).norm() / true.norm()
                rows.append(check(f"{name}: features, relative", float(error), allowed, ""))
                off = (mine.coverage.cpu() - covered).abs().max()
                rows.append(check(f"{name}: coverage, worst", float(off), 1e-4, ""))
                same = (mine.nearest.cpu() == nearest.float()).double().mean()
                rows.append(check(f"{name}: nearest depth equal", float(same), 0.999, "of pixels", at_least=True))
                changed = int((first != mine.features).sum())
                rows.append(check(f"{name}: values that a second run changes", changed, 0, ""))
    return rows


def view_checks(scene: Scene, size: Size, device: str) -> list[dict[str, Any]]:
    """Two composed views against the CPU's, exact and with bfloat16 weights."""
    from streamsvc.view.gpu.compose import Compositor

    sources, eyes = scene.sources(size), scene.eyes(size)
    rows = []
    for half in (False, True):
        gpu = Compositor(shapes(size, half), device)
        gpu.load(sources)
        gpu.aim(sources, eyes, FADE_PER_M)
        gpu.run()
        for i, (eye, mine) in enumerate(zip(eyes, gpu.download(), strict=True)):
            small = eye.resized(size.splat, size.splat)
            parts = [project(s, small) for s in sources]
            joined = Splats(np.concatenate([p.geometry for p in parts]), np.concatenate([p.features for p in parts]))
            splatted = splat(joined, size.splat, size.splat, FADE_PER_M)
            fill_holes(splatted.features, splatted.coverage)
            pixels, _ = blend(splatted.features, eye, sources)
            name = f"{size.name} view {i}, {'bfloat16' if half else 'float32'} weights, against the CPU"
            rows.append(check(f"{name}: PSNR", min(psnr(mine.pixels, pixels), 99.0), 40, "dB", at_least=True))
            apart = float((np.abs(mine.pixels.astype(int) - pixels) > 2).mean())
            rows.append(check(f"{name}: more than 2 levels apart", apart, 0.02, "of values"))
            rows.append(check(f"{name}: ids that found no room", mine.overflow, 0, ""))
            covered = float((mine.coverage > 0.5).mean())
            rows.append(check(f"{name}: covered", covered, 0.5, "of the splat", at_least=True))
    return rows


def shapes(size: Size, half: bool = True) -> Any:
    """The compositor's shapes for a rung: four cameras, two eyes."""
    from streamsvc.view.gpu.compose import Shapes

    def square(n: int) -> tuple[int, int]:
        return n, n

    return Shapes(4, 2, square(size.picture), square(size.grid), square(size.splat), square(size.output), half=half)


def synchronize(device: str) -> None:
    """Wait for the GPU, where there is one."""
    if device == "cuda":
        torch.cuda.synchronize()


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


def best_tuning(sources: list[Source], eyes: list[Camera], size: Size, device: str, repeats: int) -> tuple[Any, Any]:
    """The splat's fastest cut for this size, and the milliseconds (p50 of bin and render, both views) of all tried."""
    from streamsvc.view.gpu.compose import Compositor
    from streamsvc.view.gpu.splat import Tuning

    tried = []
    cuts = [(16, 16, 8), (8, 32, 4), (8, 16, 2), (8, 16, 4), (8, 32, 2), (16, 16, 4), (16, 32, 8)]
    for cut in cuts if device == "cuda" else cuts[:1]:
        gpu = Compositor(shapes(size), device, Tuning(*cut))
        gpu.load(sources)
        gpu.aim(sources, eyes, FADE_PER_M)
        found = timed(gpu.stages(), device, repeats)
        ms = {stage: found[stage]["p50"] for stage in ("bin", "render")}
        tried.append({"tile": cut[0], "chunk": cut[1], "warps": cut[2], **ms})
    best = min(tried, key=lambda row: row["bin"] + row["render"])
    return Tuning(best["tile"], best["chunk"], best["warps"]), tried


def table(scene: Scene, size: Size, device: str, repeats: int) -> dict[str, Any]:
    """Everything that is measured of one rung."""
    from streamsvc.view.gpu.compose import Compositor

    sources, eyes = scene.sources(size), scene.eyes(size)
    tuning, tried = best_tuning(sources, eyes, size, device, max(1, repeats // 4))
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    gpu = Compositor(shapes(size), device, tuning)
    start = time.perf_counter()
    gpu.load(sources)
    gpu.aim(sources, eyes, FADE_PER_M)
    staging = (time.perf_counter() - start) * 1e3
    row: dict[str, Any] = {"rung": size.name, "sizes": size.__dict__, "tried": tried}
    row["tuning"] = {"tile": tuning.tile, "chunk": tuning.chunk, "warps": tuning.warps}
    row["ids"] = [int(part.lists.item()) for part in gpu.splatters]
    row["stages"] = timed(gpu.stages(), device, repeats)
    copies: list[tuple[str, Callable[[], object]]] = [
        ("upload pictures", lambda: gpu.upload(gpu.pictures)),
        ("frame", gpu.run),
        ("download pictures", lambda: gpu.receive(depth=False)),
    ]
    row["eager with copies"] = timed(copies, device, repeats)
    eager = gpu.pixels.clone()
    row["first load on the host, ms"] = round(staging, 2)
    if device == "cuda":
        gpu.capture()
        gpu.pixels.zero_()
        gpu.run()
        row["graph equals eager"] = bool(torch.equal(gpu.pixels, eager))
        row["graph"] = timed([("frame", gpu.run)], device, repeats)["all"]
        row["graph with copies"] = timed(copies, device, repeats)
        row["overlapped, ms a frame"] = overlapped(sources, eyes, size, tuning, repeats)
        row["memory, GB"] = round(torch.cuda.max_memory_allocated() / 1e9, 3)
    return row


def overlapped(sources: list[Source], eyes: list[Camera], size: Size, tuning: Any, repeats: int) -> float:
    """Mean milliseconds a frame where two compositors take turns: one's copies run beside the other's kernels."""
    from streamsvc.view.gpu.compose import Compositor

    lanes = []
    for _ in range(2):
        gpu = Compositor(shapes(size), "cuda", tuning)
        gpu.load(sources)
        gpu.aim(sources, eyes, FADE_PER_M)
        gpu.capture()
        lanes.append((gpu, torch.cuda.Stream()))
    torch.cuda.synchronize()
    start = time.perf_counter()
    for number in range(2 * repeats):
        gpu, stream = lanes[number % 2]
        with torch.cuda.stream(stream):
            gpu.upload(gpu.pictures)
            gpu.run()
            gpu.receive(depth=False)
    torch.cuda.synchronize()
    return round((time.perf_counter() - start) * 1e3 / (2 * repeats), 4)


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
    lines = [f"# GPU splat and blend: {report['device']}", ""]
    lines += [", ".join(f"{k} {v}" for k, v in report["versions"].items()), ""]
    if "bandwidth, GB/s" in report:
        lines += ["GB/s: " + ", ".join(f"{k} {v}" for k, v in report["bandwidth, GB/s"].items()), ""]
    for row in report["tables"]:
        lines += [f"## {row['rung']}: 4 cameras, 2 views, sizes {row['sizes']}, ms", ""]
        lines += ["| stage | p50 | p95 | p99 |", "| --- | --- | --- | --- |"]
        groups = {"": row["stages"], "eager with copies: ": row["eager with copies"]}
        if "graph" in row:
            groups |= {"graph: ": {"frame": row["graph"]}, "graph with copies: ": row["graph with copies"]}
        for title, group in groups.items():
            lines += [f"| {title}{name} | {ms['p50']} | {ms['p95']} | {ms['p99']} |" for name, ms in group.items()]
        lines += [""]
        names = ("tuning", "ids", "graph equals eager", "overlapped, ms a frame", "memory, GB")
        lines += [f"- {name}: {row[name]}" for name in names if name in row]
        lines += ["- tried (ms): " + "; ".join(str(list(cut.values())) for cut in row["tried"]), ""]
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

    sizes, repeats = (SMALL, 1 if device == "cpu" else 20) if small else (SIZES, 200)
    scene = Scene(max(size.picture for size in sizes))
    cuda = device == "cuda"
    versions = {"python": platform.python_version(), "torch": torch.__version__, "triton": triton.__version__}
    report: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if cuda else "Triton's interpreter (times mean nothing)",
        "versions": versions,
        "checks": splat_checks(device, small) + view_checks(scene, sizes[0], device),
    }
    if cuda:
        report["bandwidth, GB/s"] = bandwidths()
    report["tables"] = [table(scene, size, device, repeats) for size in sizes]
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
