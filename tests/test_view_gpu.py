"""From pictures to views on the device: what the CPU shows, on a GPU where there is one, else interpreted."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # has to be said before the kernels are made

from view_scene import PERSON, arc, frame_set, pair_rig

from streamsvc.budget import MonotonicClock
from streamsvc.budget.slices import run_timed, run_to_end
from streamsvc.fleet.local import LocalWorker, WorkerError
from streamsvc.frames import FrameSet, Rig
from streamsvc.frames.backdrop import Backdrop
from streamsvc.frames.link import WorkerSettings
from streamsvc.frames.outputmode import parse_mode
from streamsvc.view import ViewError, ViewSynthesizer
from streamsvc.view.colour import corrected
from streamsvc.view.gpu import check_device
from streamsvc.view.gpu.compare import compare
from streamsvc.view.gpu.rectify import recolour, remap, shrink
from streamsvc.view.learned import trusted
from streamsvc.view.maps import PairMaps
from streamsvc.view.net.geometry import NetGeometry, locate
from streamsvc.view.net.model import GeometryNet
from streamsvc.view.net.ops import compare_reference
from streamsvc.view.net.weights import load_net
from streamsvc.view.quality import psnr
from streamsvc.view.rectify import rectify_pair, shrunk
from streamsvc.view.rungs import FUSED, Level
from streamsvc.view.synthesize import synthesize

DEVICE = check_device("cuda")
SIZE = 64, 48
VIEW = 40, 32
RUNG = "net-160-2"


@pytest.fixture(scope="module")
def net() -> NetGeometry:
    torch.set_num_threads(1)
    return NetGeometry(load_net(), torch.float32, DEVICE)


def on(device: str, net: NetGeometry, rig: Rig, mode: str = "window", **more: object) -> ViewSynthesizer:
    where = net if device == "cuda" else NetGeometry(load_net(), torch.float32)
    return ViewSynthesizer(rig, *VIEW, mode=parse_mode(mode), net=where, device=device, **more)  # type: ignore[arg-type]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize(("first", "count", "groups"), [(0, 26, 4), (-5, 11, 2), (-4, 9, 1)])
def test_the_comparison_is_the_reference(first: int, count: int, groups: int) -> None:
    rng = torch.Generator().manual_seed(count)
    left, right = (
        torch.randn((2, 48, 2, 21), generator=rng).to(DEVICE).contiguous(memory_format=torch.channels_last)
        for _ in range(2)
    )
    at = (torch.rand((4, 2, 21), generator=rng) * 40 - 10).to(DEVICE)
    at[0, 0, 0], at[0, 0, 1], at[3, 1, 2] = 1e9, -1e9, 7.0
    found = compare(left, right, at, first, count, groups)
    assert torch.allclose(found, compare_reference(left, right, at, first, count, groups), atol=1e-5)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_pictures_are_averaged_down_rectified_and_recoloured_as_on_the_cpu() -> None:
    a, b = arc(2, 15, *SIZE)
    side = rectify_pair(shrunk(a, 40), shrunk(b, 40), (0.6, 2.0)).left
    picture = cv2.GaussianBlur(noise(SIZE[1], SIZE[0], 3), (5, 5), 0)
    affine = np.array([[1.1, 0.9, 1.02], [-3.0, 8.0, 0.4]])
    expected = corrected(picture, affine)
    padded = torch.zeros(1, SIZE[1] + 2, SIZE[0] + 3, 3, dtype=torch.uint8)
    padded[0, : SIZE[1], : SIZE[0]] = torch.from_numpy(picture)
    padded = padded.to(DEVICE)
    recolour(padded, torch.from_numpy(affine[None].astype(np.float32)).to(DEVICE))
    whole = padded[0, : SIZE[1], : SIZE[0]]
    assert np.abs(whole.cpu().numpy().astype(int) - expected).max() <= 1

    small = torch.zeros(side.source.height, side.source.width, 3, dtype=torch.uint8, device=DEVICE)
    shrink(whole, small)
    wanted = cv2.resize(expected, (side.source.width, side.source.height), interpolation=cv2.INTER_AREA)
    assert np.abs(small.cpu().numpy().astype(int) - wanted).max() <= 1

    maps = torch.from_numpy(np.stack([side.map_x, side.map_y])).to(DEVICE)
    out = torch.zeros(*side.map_x.shape, 3, dtype=torch.uint8, device=DEVICE)
    filled = torch.zeros(*side.map_x.shape, 3, device=DEVICE)
    remap(small, maps, out, filled)
    apart = np.abs(out.cpu().numpy().astype(int) - side.rectify(expected))
    assert apart.max() <= 3 and apart.mean() < 0.3
    assert torch.allclose(filled, out.float() / 255, atol=1e-6)


@pytest.fixture
def sharp(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU's coarse rungs interpolate colours as a GPU does."""
    monkeypatch.setattr(Level, "sharp", True)


@pytest.mark.usefixtures("sharp")
def test_the_view_is_the_cpus_and_follows_the_eye(net: NetGeometry) -> None:
    cameras = arc(2, 12, *SIZE)
    rig, frames = pair_rig(cameras), frame_set(cameras, PERSON)
    cpu, gpu = (on(device, net, rig, "stereo") for device in ("cpu", "cuda"))
    assert RUNG in {r.name for r in gpu.rungs} and {r.name for r in gpu.rungs} >= {r.name for r in cpu.rungs}
    for shown in (arc(3, 4, *VIEW)[:2], arc(5, 3, *VIEW)[3:4]):
        expected = run_to_end(cpu.views(frames, shown, RUNG))
        found, stages = run_timed(gpu.views(frames, shown, RUNG), lambda: 0)
        assert list(stages) == ["upload", "view"]
        for mine, theirs in zip(found, expected, strict=True):
            assert psnr(mine.pixels, theirs.pixels) > 40
            assert not mine.inverse_depth.any() and mine.coverage.mean() > 0.5


@pytest.mark.usefixtures("sharp")
def test_neighbours_help_as_on_the_cpu(net: NetGeometry) -> None:
    cameras = arc(3, 10, *SIZE)
    names = [c.name for c in cameras]
    rig = Rig(tuple(cameras), ((names[0], names[1]), (names[1], names[2])), (0.6, 2.0))
    frames, view = frame_set(cameras, PERSON), arc(5, 4, *VIEW)[1]
    made, expected, alone = (
        run_to_end(on(device, net, rig).slices(frames, view, rung)).pixels
        for device, rung in (("cuda", RUNG + FUSED), ("cpu", RUNG + FUSED), ("cpu", RUNG))
    )
    assert psnr(made, expected) > 40 > psnr(alone, expected)


def test_inverse_depth_comes_where_a_mode_packs_it(net: NetGeometry) -> None:
    cameras = arc(2, 12, *SIZE)
    made = []
    for synthesizer in (on(device, net, pair_rig(cameras), "packed") for device in ("cuda", "cpu")):
        view = synthesizer.view_camera(None)
        made.append(run_to_end(synthesizer.slices(frame_set(cameras, PERSON), view, RUNG)).inverse_depth)
    assert np.median(np.abs(made[0] - made[1])) < 1e-3 < made[0].max()


@pytest.mark.usefixtures("sharp")
def test_pictures_of_other_sizes_may_follow(net: NetGeometry) -> None:
    cameras = arc(2, 12, *SIZE)
    rig, view = pair_rig(cameras), arc(3, 4, *VIEW)[1]
    cpu, gpu = (on(device, net, rig) for device in ("cpu", "cuda"))
    for size in (SIZE, (56, 42)):
        frames = frame_set([c.resized(*size) for c in cameras], PERSON)
        made = [run_to_end(s.slices(frames, view, RUNG)).pixels for s in (gpu, cpu)]
        assert psnr(*made) > 40


def test_unlike_cameras_are_brought_to_one_look_from_the_first_frame(net: NetGeometry) -> None:
    cameras = arc(2, 8, *SIZE)
    rig, view = pair_rig(cameras), arc(3, 4, *VIEW)[1]
    plain = frame_set(cameras, PERSON)
    darker = [replace(f, pixels=(f.pixels * (0.7 if i else 1.0)).astype(np.uint8)) for i, f in enumerate(plain.frames)]
    frames = FrameSet("s", 0, 0, 0, tuple(darker))
    made, expected, uncorrected = (
        run_to_end(synthesizer.slices(frames, view, RUNG)).pixels
        for synthesizer in (on("cuda", net, rig), on("cpu", net, rig), on("cpu", net, rig, alike=False))
    )
    assert psnr(expected, uncorrected) < 30 < psnr(made, expected)


def test_before_a_backdrop_the_person_is_cut_out_as_on_the_cpu(net: NetGeometry) -> None:
    cameras = arc(2, 12, *SIZE)
    frames, view = frame_set(cameras, PERSON), arc(3, 4, *VIEW)[1]
    made = [
        run_to_end(on(device, net, pair_rig(cameras), backdrop=Backdrop("blur")).slices(frames, view, RUNG)).pixels
        for device in ("cpu", "cuda")
    ]
    assert psnr(*made) > 40


def test_a_net_must_be_where_it_is_to_run(net: NetGeometry, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = pair_rig(arc(2, 12, *SIZE))
    with pytest.raises(ViewError, match="there are cpu and cuda"):
        ViewSynthesizer(rig, *VIEW, device="tpu")
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ViewError, match="no CUDA GPU"):
        ViewSynthesizer(rig, *VIEW, device="cuda")
    with pytest.raises(ViewError, match="no CUDA GPU"):
        synthesize(*[Path("nowhere")] * 4, device="cuda")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    if DEVICE == "cpu":
        with pytest.raises(ViewError, match="net is on 'cpu'"):
            ViewSynthesizer(rig, *VIEW, device="cuda", net=net)


def test_synthesize_makes_a_picture_there_and_says_which_rungs_it_has(net: NetGeometry, tmp_path: Path) -> None:
    cameras = arc(2, 12, 40, 32)
    (tmp_path / "rig.json").write_text(json.dumps(pair_rig(cameras).to_json()))
    view = arc(3, 4, *VIEW)[1]
    (tmp_path / "view.json").write_text(json.dumps(view.to_json()))
    for frame in frame_set(cameras, PERSON).frames:
        cv2.imwrite(str(tmp_path / f"{frame.camera}.png"), cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2BGR))
    paths = tmp_path / "rig.json", tmp_path, tmp_path / "view.json", tmp_path / "out.png"
    figures = synthesize(*paths, rung=RUNG, device="cuda")
    assert figures["device"] == "cuda" and set(figures["milliseconds"]) == {"upload", "view"}
    assert cv2.imread(str(tmp_path / "out.png")).shape == (VIEW[1], VIEW[0], 3)
    for rung in ("classical", "sgbm-160"):
        with pytest.raises(ViewError, match="only the net's rungs"):
            synthesize(*paths, rung=rung, device="cuda")


@pytest.mark.skipif(DEVICE == "cuda", reason="there is a GPU")
async def test_a_worker_without_a_gpu_says_so_in_place_of_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET")
    worker = LocalWorker(WorkerSettings(device="cuda", speech=False), MonotonicClock())
    with pytest.raises(WorkerError, match="no CUDA GPU"):
        await worker.start()
    await worker.stop()


class Watch(TorchDispatchMode):
    """Refuses what a CUDA graph can't hold: tensors made on the host. Meta tensors refuse the rest, reading values."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            assert not isinstance(tensor, torch.Tensor) or tensor.is_meta, f"{func} makes a tensor on the host"
        return made


def test_nothing_between_the_net_and_its_answer_waits_for_the_host() -> None:
    a, b = arc(2, 12, *SIZE)
    maps = PairMaps(pair_rig([a, b]))
    pair = maps.prepared(maps.rectified(a, b, 64), 3)
    net = GeometryNet().to("meta", torch.bfloat16)
    left, right = (torch.zeros(1, 3, *side.side.map_x.shape, device="meta") for side in (pair.left, pair.right))
    apart, inside = (torch.zeros(n, device="meta") for n in ((1,), (2, *pair.left.inside.shape)))
    with Watch():
        inverse, confidence, _ = locate(net(left, right, apart)[-1], inside.bool(), pair)
        assert trusted(inverse, confidence).shape == inside.shape
