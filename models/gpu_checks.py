"""The GPU path against its references: the splat on random Gaussians, composed views of true depth, and views from the
pictures on. A check is a row: what was found, what is allowed, whether it's good."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gpu_frames import Frame, Scene, Size

from streamsvc.frames import Pixels
from streamsvc.view.blend import blend
from streamsvc.view.geometry import project
from streamsvc.view.holes import fill_holes
from streamsvc.view.net.geometry import NetGeometry
from streamsvc.view.net.weights import load_net
from streamsvc.view.quality import psnr
from streamsvc.view.splat import Splats, splat
from streamsvc.view.splat_reference import splat_reference

if TYPE_CHECKING:
    from streamsvc.view.gpu.frame import FramePath

FADE_PER_M = 100.0
TURNED_DEGREES = 0.4
LATENTS = 20
"""Channels of the learned splat: 16 latents, RGB, and one to spare."""


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


def view_checks(scene: Scene, small: bool, device: str) -> list[dict[str, Any]]:
    """Two composed views of true depth against the CPU's, exact and with bfloat16 weights."""
    from streamsvc.view.gpu.compose import Compositor, Shapes

    picture, grid, splatted, output = (32, 16, 20, 24) if small else (1024, 512, 512, 1024)
    sources, eyes = scene.sources(picture, grid), scene.eyes(output)
    sides = (picture, picture), (grid, grid), (splatted, splatted), (output, output)
    rows = []
    for half in (False, True):
        gpu = Compositor(Shapes(4, 2, *sides, half=half), device)
        gpu.load(sources)
        gpu.aim(sources, eyes, FADE_PER_M)
        gpu.run()
        for i, (eye, mine) in enumerate(zip(eyes, gpu.download(), strict=True)):
            shrunk = eye.resized(splatted, splatted)
            parts = [project(s, shrunk) for s in sources]
            joined = Splats(np.concatenate([p.geometry for p in parts]), np.concatenate([p.features for p in parts]))
            made = splat(joined, splatted, splatted, FADE_PER_M)
            fill_holes(made.features, made.coverage)
            pixels, _ = blend(made.features, eye, sources)
            name = f"true depth, view {i}, {'bfloat16' if half else 'float32'} weights, against the CPU"
            rows.append(check(f"{name}: PSNR", min(psnr(mine.pixels, pixels), 99.0), 40, "dB", at_least=True))
            apart = float((np.abs(mine.pixels.astype(int) - pixels) > 2).mean())
            rows.append(check(f"{name}: more than 2 levels apart", apart, 0.02, "of values"))
            rows.append(check(f"{name}: ids that found no room", mine.overflow, 0, ""))
            covered = float((mine.coverage > 0.5).mean())
            rows.append(check(f"{name}: covered", covered, 0.5, "of the splat", at_least=True))
    return rows


def path_checks(frame: Frame, size: Size, device: str) -> list[dict[str, Any]]:
    """The views of the whole path against the CPU's: with the net in float32 and in the device's own type, and with
    cameras that turned since the path was made."""
    reference = NetGeometry(load_net(), torch.float32)
    exact = frame.path(NetGeometry(load_net(), torch.float32, device))
    rough = frame.path(NetGeometry(load_net(), torch.bfloat16, device))
    name = f"{size.name}: the whole path, net in"
    rows = _against(
        frame.on_the_cpu(reference), frame, ((f"{name} float32", exact, 40), (f"{name} bfloat16", rough, 30))
    )
    moved = copy.copy(frame)
    moved.turn(exact, TURNED_DEGREES)
    return rows + _against(moved.on_the_cpu(reference), moved, ((f"{name} float32, cameras turned", exact, 40),))


def _against(
    expected: Sequence[Pixels], frame: Frame, paths: Sequence[tuple[str, FramePath, float]]
) -> list[dict[str, Any]]:
    """Have each path, named, make the frame, and check its PSNR to what is `expected`."""
    rows = []
    for name, path, least in paths:
        frame.start(path)
        made, missing = path.finish()
        for i, (mine, theirs) in enumerate(zip(made, expected, strict=True)):
            found = min(psnr(mine.pixels, theirs), 99.0)
            rows.append(check(f"{name}, view {i}: PSNR", found, least, "dB", at_least=True))
        rows.append(check(f"{name}: ids that found no room", missing, 0, ""))
    return rows
