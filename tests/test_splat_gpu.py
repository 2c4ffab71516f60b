"""The GPU kernels say what the references say: on a GPU where there is one, else under Triton's interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # has to be said before the kernels are made

from view_scene import PERSON, arc, render

from streamsvc.frames import Camera
from streamsvc.view import ViewError
from streamsvc.view.blend import blend
from streamsvc.view.geometry import Source, project
from streamsvc.view.gpu import check_device
from streamsvc.view.gpu.compose import Compositor, Shapes
from streamsvc.view.gpu.fill import Filler
from streamsvc.view.gpu.splat import Splatter, Tuning
from streamsvc.view.holes import BEYOND, HOLE_COVERAGE, _fill_holes, fill_holes
from streamsvc.view.rectify import pixel_rays
from streamsvc.view.splat import Splats, splat
from streamsvc.view.splat_reference import splat_reference

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
W, H, K = 41, 29, 30.0


def random_splats(count: int, channels: int, seed: int) -> Splats:
    rng = np.random.default_rng(seed)
    spread, angle = rng.uniform(0.5, 2.5, (count, 2)), rng.uniform(0, np.pi, count)
    c, s = np.cos(angle), np.sin(angle)
    a, b = 1 / spread[:, 0] ** 2, 1 / spread[:, 1] ** 2
    mean = rng.uniform(-4, W + 4, count), rng.uniform(-4, H + 4, count), rng.uniform(0.5, 2, count)
    conic = a * c * c + b * s * s, (a - b) * c * s, a * s * s + b * c * c
    geometry = np.stack([*mean, *conic, rng.uniform(0.1, 1, count)], 1)
    return Splats(geometry.astype(np.float32), rng.uniform(0, 1, (count, channels)).astype(np.float32))


def on_gpu(
    splats: Splats,
    *,
    dtype: torch.dtype = torch.float32,
    tuning: Tuning | None = None,
    capacity: int | None = None,
    grids: tuple[int, int, int] | None = None,
) -> Splatter:
    count, channels = splats.features.shape
    splatter = Splatter(grids or (1, 1, count), channels, W, H, DEVICE, tuning=tuning, capacity=capacity)
    for buffer in (splatter.features, splatter.inverse, splatter.coverage, splatter.nearest):
        buffer.fill_(float("nan"))
    geometry = torch.from_numpy(splats.geometry).to(DEVICE)
    features = torch.from_numpy(splats.features).to(DEVICE, dtype)
    splatter.splat(geometry, features, torch.tensor([K], device=DEVICE))
    return splatter


def off(tensor: torch.Tensor) -> np.ndarray:
    return tensor.float().cpu().numpy()


def reference(splats: Splats) -> tuple[np.ndarray, ...]:
    """Features with the mean of 1/z as the last, coverage, nearest depth."""
    geometry, features = torch.from_numpy(splats.geometry), torch.from_numpy(splats.features)
    with_inverse = torch.cat([features, 1 / geometry[:, 2:3]], 1)
    return tuple(t.numpy() for t in splat_reference(geometry, with_inverse, W, H, K))


@pytest.mark.parametrize("tuning", [Tuning(), Tuning(tile=8, chunk=32, warps=4)])
@pytest.mark.parametrize(("count", "channels", "seed"), [(1, 4, 0), (300, 3, 1), (900, 20, 2)])
def test_splat_agrees_with_the_reference_on_random_input(count: int, channels: int, seed: int, tuning: Tuning) -> None:
    splats = random_splats(count, channels, seed)
    mine = on_gpu(splats, tuning=tuning)
    features, coverage, nearest = reference(splats)
    assert np.abs(off(mine.features) - features[..., :-1]).max() < 1e-4
    assert np.abs(off(mine.inverse) - features[..., -1]).max() < 1e-4
    assert np.abs(off(mine.coverage) - coverage).max() < 1e-4
    assert np.array_equal(off(mine.nearest), nearest)
    assert mine.overflow() == 0


def test_features_in_bfloat16_are_within_its_rounding_and_depth_stays_exact() -> None:
    splats = random_splats(700, 20, 3)
    mine = on_gpu(splats, dtype=torch.bfloat16)
    features, coverage, nearest = reference(splats)
    assert np.abs(off(mine.features) - features[..., :-1]).max() < 2**-7
    assert np.abs(off(mine.inverse) - features[..., -1]).max() < 2**-7
    assert np.abs(off(mine.coverage) - coverage).max() < 1e-4
    assert np.array_equal(off(mine.nearest), nearest)


def test_two_runs_and_two_orders_of_the_same_gaussians() -> None:
    splats = random_splats(500, 4, 4)
    first, again = on_gpu(splats), on_gpu(splats)
    assert torch.equal(first.features, again.features) and torch.equal(first.coverage, again.coverage)
    order = np.random.default_rng(5).permutation(500)
    shuffled = on_gpu(Splats(splats.geometry[order], splats.features[order]))
    assert (first.features - shuffled.features).abs().max() < 1e-5


def test_grids_and_lists_are_one_picture() -> None:
    splats = random_splats(2 * 19 * 21, 4, 6)
    a, b = on_gpu(splats), on_gpu(splats, grids=(2, 19, 21))
    assert (a.features - b.features).abs().max() < 1e-5
    assert torch.equal(a.nearest, b.nearest)


def test_nonsense_is_ignored() -> None:
    bad = np.array(
        [
            [5, 5, np.nan, 1, 0, 1, 1],
            [np.nan, 5, 1, 1, 0, 1, 1],
            [5, 5, 1, 1, 3, 1, 1],
            [5, 5, -1, 1, 0, 1, 1],
            [5, np.inf, 1, 1, 0, 1, 1],
            [5, 5, 1, 1, 0, 1, 0],
            [5, 5, 1, np.nan, 0, 1, 1],
        ],
        np.float32,
    )
    mine = on_gpu(Splats(bad, np.full((len(bad), 4), np.nan, np.float32)))
    assert not mine.features.any() and not mine.coverage.any() and not mine.inverse.any()
    assert torch.isinf(mine.nearest).all()
    assert mine.overflow() == 0


def test_lists_that_do_not_fit_are_cut_and_counted() -> None:
    splats = random_splats(600, 4, 7)
    needed = int(on_gpu(splats).lists.item())
    cut = on_gpu(splats, capacity=needed - 37)
    assert cut.overflow() == 37
    assert torch.equal(cut.features[:16], on_gpu(splats).features[:16])  # the first row of tiles had room
    assert torch.isfinite(cut.features).all()


@pytest.mark.parametrize(("share", "margin"), [(0.3, 0), (0.9, 0), (0.99, 0), (0.3, 6), (1.0, 0)])
def test_holes_are_filled_as_on_the_cpu(share: float, margin: int) -> None:
    rng = np.random.default_rng(8)
    coverage = (rng.uniform(0, 1, (H, W)) > share).astype(np.float32)
    coverage[7:11] = 0
    coverage[:margin], coverage[:, W - margin :] = 0, 0
    features = rng.uniform(0.1, 2, (H, W, 4)).astype(np.float32) * (100, 100, 100, 1)
    features = features.astype(np.float32)
    mine = torch.from_numpy(features[..., :3].copy()).to(DEVICE)
    inverse = torch.from_numpy(features[..., 3].copy()).to(DEVICE)
    Filler(W, H, DEVICE).fill(mine, inverse, torch.from_numpy(coverage).to(DEVICE))
    outside = np.zeros((H, W), np.uint8)
    _fill_holes(features.copy(), coverage, np.float32(HOLE_COVERAGE), outside)
    fill_holes(features, coverage)
    between = outside == 0
    assert np.array_equal(off(mine)[between], features[between][:, :3])
    assert np.array_equal(off(inverse)[between], features[between][:, 3])
    # Beyond, the CPU's distance is a chamfer's, so another of two nearly equal neighbours may be the nearest.
    assert np.isin(off(inverse), features[..., 3]).all()
    if outside.any() and between.any():
        assert (off(inverse) == features[..., 3])[outside > 0].mean() > 0.7
        same = (off(inverse) == features[..., 3]) & (outside > 0)
        assert np.abs(off(mine) - features[..., :3])[same].max() < 8
    elif outside.any():
        assert (off(mine) == BEYOND).all() and not inverse.any()


def sources_of(cameras: list[Camera], grids: list[tuple[int, int]]) -> list[Source]:
    made = []
    for camera, (w, h) in zip(cameras, grids, strict=True):
        grid = Camera(camera.name, camera.width, camera.height, camera.K, np.zeros(5), camera.R, camera.t).resized(w, h)
        colour, depth = render(grid, PERSON)
        confidence = np.random.default_rng(w).uniform(0.4, 1, depth.shape).astype(np.float32)
        made.append(
            Source(camera, render(camera, PERSON)[0], grid, pixel_rays(grid), 1 / depth, confidence, colour, 0, 0.02)
        )
    return made


def bent(camera: Camera) -> Camera:
    dist = np.array([-0.12, 0.03, 0.002, -0.001, 0.0])
    return Camera(camera.name, camera.width, camera.height, camera.K, dist, camera.R, camera.t)


def composed_on_the_cpu(sources: list[Source], view: Camera, small: Camera, k: float) -> tuple[np.ndarray, ...]:
    parts = [project(source, small) for source in sources]
    joined = Splats(np.concatenate([p.geometry for p in parts]), np.concatenate([p.features for p in parts]))
    splatted = splat(joined, small.width, small.height, k)
    fill_holes(splatted.features, splatted.coverage)
    return (*blend(splatted.features, view, sources), splatted.coverage)


@pytest.mark.parametrize(("half", "views"), [(False, 2), (True, 1)])
def test_composed_views_are_those_of_the_cpu(half: bool, views: int) -> None:
    a, b, c = arc(3, 12, 64, 48)
    sources = sources_of([bent(a), b, c], [(32, 24), (28, 24), (32, 20)])
    eyes = arc(2, 5, 56, 42)[:views]
    gpu = Compositor(Shapes(3, views, (64, 48), (32, 24), (40, 30), (56, 42), half=half), DEVICE)
    gpu.load(sources)
    gpu.aim(sources, eyes, 100.0)
    gpu.run()
    for eye, mine in zip(eyes, gpu.download(), strict=True):
        pixels, inverse, coverage = composed_on_the_cpu(sources, eye, eye.resized(40, 30), 100.0)
        assert mine.overflow == 0 and mine.inverse_depth is not None
        assert np.abs(mine.coverage - coverage).max() < 1e-3
        assert (np.abs(mine.inverse_depth - inverse) < 2e-3).mean() > 0.98  # but beyond what was seen
        wrong = np.abs(mine.pixels.astype(int) - pixels) > (2 if half else 1)
        assert wrong.mean() < 0.02  # where rounding decides between two surfaces, and in the fade


def test_what_does_not_fit_is_refused_with_what_would() -> None:
    sources = sources_of(arc(2, 12, 32, 24), [(32, 24), (32, 24)])
    gpu = Compositor(Shapes(2, 1, (32, 24), (16, 12), (16, 12), (32, 24)), DEVICE)
    with pytest.raises(ViewError, match=r"grid of 32 x 24; up to"):
        gpu.load(sources)
    with pytest.raises(ViewError, match="takes 2 sources, got 1"):
        gpu.load(sources[:1])
    with pytest.raises(ViewError, match="makes 1 views"):
        Compositor(Shapes(2, 1, (32, 24), (32, 24), (16, 12), (32, 24)), DEVICE).aim(sources, [], 1.0)
    with pytest.raises(ViewError, match="at least 2 pixels"):
        Compositor(Shapes(2, 1, (32, 24), (1, 12), (16, 12), (32, 24)), DEVICE)


def test_every_kernel_compiles_for_hopper_without_a_gpu() -> None:
    """The interpreter accepts what the compiler doesn't; Triton brings the whole tool chain, and needs no driver."""
    ran = subprocess.run(
        [sys.executable, Path(__file__).with_name("gpu_compile.py")],
        env={k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    compiled = {line.split()[0] for line in ran.stdout.splitlines()}
    splat = {"_project", "_bounds", "_bin", "_render", "_fill_rows", "_fade_out", "_blend"}
    assert splat | {"_recolour", "_shrink", "_remap", "_fuse", "_compare"} <= compiled


def test_the_script_for_a_gpu_machine_runs_here_too(tmp_path: Path) -> None:
    environment = os.environ | {"OUT": str(tmp_path), "PYTHON": sys.executable}
    ran = subprocess.run(
        [Path(__file__).parent.parent / "models" / "gpu.sh", "--device", "cpu", "--small"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert all(c["ok"] for c in report["checks"])
    stages = {"recolour", "rectify", "net", "fuse", "project", "bin", "render", "fill", "blend"}
    assert stages | {"upload", "download", "all"} == set(report["tables"][0]["eager"])
    assert "| eager: render |" in (tmp_path / "gpu.md").read_text()


def test_a_machine_that_cannot_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ViewError, match="there are cpu and cuda"):
        check_device("tpu")
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(ViewError, match="TRITON_INTERPRET=1"):
        check_device("cpu")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ViewError, match="no CUDA GPU"):
        check_device("cuda")
    monkeypatch.setattr("streamsvc.view.gpu.find_spec", lambda name: None if name == "triton" else object())
    with pytest.raises(ViewError, match="package triton"):
        check_device("cuda")
