"""The geometry net: what goes in and comes out, its levels as prefixes, and weights that are missing or damaged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from streamsvc.budget.slices import run_to_end
from streamsvc.frames import Camera
from streamsvc.view.errors import ViewError
from streamsvc.view.net.geometry import NetGeometry
from streamsvc.view.net.model import LEVELS, GeometryNet
from streamsvc.view.net.ops import compare, compare_reference, convex, convex_reference, convolve
from streamsvc.view.net.pairs import net_pair
from streamsvc.view.net.weights import load_net, read_card
from streamsvc.view.rectify import cropped_pair, rectify_pair


@pytest.fixture(scope="module")
def net() -> GeometryNet:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    return GeometryNet().eval()


def pictures(seed: int = 0, size: tuple[int, int] = (64, 96)) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    left = torch.rand((2, 3, *size), generator=rng)
    return left, torch.roll(left, -8, 3)


@pytest.mark.parametrize("compared", [compare, compare_reference], ids=["compiled", "reference"])
def test_comparing_at_a_column_gives_the_product_of_the_two_pixels(compared) -> None:  # type: ignore[no-untyped-def]
    rng = torch.Generator().manual_seed(1)
    left, right = (torch.randn((1, 8, 3, 20), generator=rng) for _ in range(2))
    at = torch.full((2, 3, 20), 7.0)
    found = compared(left, right, at, -2, 5, 2)
    assert found.shape == (2, 2 * 5, 3, 20)
    product = (left[0, :4, 1, 11] * right[0, :4, 1, 7]).sum() / 2
    assert found[0, 2, 1, 11] == pytest.approx(float(product), abs=1e-5)
    # For a left pixel disparity grows as the column falls, for a right one as it grows.
    lower = (left[0, :4, 1, 11] * right[0, :4, 1, 6]).sum() / 2
    assert found[0, 3, 1, 11] == pytest.approx(float(lower), abs=1e-5)
    higher = (left[0, :4, 1, 8] * right[0, :4, 1, 11]).sum() / 2
    assert found[1, 3, 1, 11] == pytest.approx(float(higher), abs=1e-5)
    halfway = compared(left, right, at + 0.5, 0, 1, 2)
    both = ((left[0, :4, 1, 11] * right[0, :4, 1, 7]).sum() + (left[0, :4, 1, 11] * right[0, :4, 1, 8]).sum()) / 4
    assert halfway[0, 0, 1, 11] == pytest.approx(float(both), abs=1e-5)
    assert not compared(left, right, at * 0 - 50, -2, 5, 2).any()
    assert not compared(left, right, at * 0 + 1e9, -2, 5, 2).any()


@pytest.mark.parametrize(("first", "count", "groups"), [(0, 26, 4), (-5, 11, 3), (-4, 9, 1), (-2, 40, 1)])
def test_the_compiled_comparison_and_its_gradients_are_the_reference(first: int, count: int, groups: int) -> None:
    rng = torch.Generator().manual_seed(count)
    features = [torch.randn((2, 48, 5, 21), generator=rng).requires_grad_() for _ in range(2)]
    at = torch.rand((4, 5, 21), generator=rng) * 40 - 10
    results = [f(*features, at, first, count, groups) for f in (compare, compare_reference)]
    assert torch.allclose(*results, atol=1e-5)
    weights = torch.randn(results[0].shape, generator=rng)
    gradients = [torch.autograd.grad((r * weights).sum(), features) for r in results]
    for ours, reference in zip(*gradients, strict=True):
        assert torch.allclose(ours, reference, atol=1e-4)


def test_compiled_convex_upsampling_and_its_gradients_are_the_reference() -> None:
    rng = torch.Generator().manual_seed(5)
    inputs = [torch.rand((2, 5, 7), generator=rng) * 30, 3 * torch.randn((2, 36, 5, 7), generator=rng)]
    inputs = [x.requires_grad_() for x in inputs]
    results = [f(*inputs) for f in (convex, convex_reference)]
    assert results[0].shape == (2, 10, 14) and torch.allclose(*results, atol=1e-4)
    weights = torch.randn(results[0].shape, generator=rng)
    gradients = [torch.autograd.grad((r * weights).sum(), inputs) for r in results]
    for ours, reference in zip(*gradients, strict=True):
        assert torch.allclose(ours, reference, atol=1e-4)
    assert torch.isfinite(convex(inputs[0].detach(), torch.full((2, 36, 5, 7), 1e4))).all()


def test_levels_are_prefixes_and_each_has_twice_the_resolution(net: GeometryNet) -> None:
    left, right = pictures()
    shift = torch.tensor([0.0, 8.0])
    with torch.inference_mode():
        answers = net(left, right, shift)
        first = net(left, right, shift, 1)
    assert len(answers) == LEVELS and len(first) == 1
    assert torch.equal(first[0].disparity, answers[0].disparity)
    for level, answer in enumerate(answers):
        h, w = 64 >> (3 - level), 96 >> (3 - level)
        assert answer.disparity.shape == answer.confidence.shape == (4, h, w)
        assert answer.matte.shape == ((4, h, w) if answer.edge is None else (4, 2 * h, 2 * w))
        assert answer.upsampled.shape == (4, 2 * h, 2 * w)
        assert torch.isfinite(answer.upsampled).all()


def test_at_an_edge_a_pixel_is_of_one_of_two_surfaces(net: GeometryNet) -> None:
    left, right = pictures()
    with torch.inference_mode():
        answer = net(left, right, torch.zeros(2))[-1]
    edge = answer.edge
    assert edge is not None and edge.side.shape == answer.upsampled.shape
    assert (edge.near >= answer.disparity).all() and (answer.disparity >= edge.far).all()
    wide = [torch.nn.functional.interpolate(d.unsqueeze(1), scale_factor=2.0).squeeze(1) for d in (edge.near, edge.far)]
    assert (answer.upsampled <= wide[0] + 1e-4).all() and (answer.upsampled >= wide[1] - 1e-4).all()


def test_a_cut_that_is_moved_moves_no_disparity(net: GeometryNet) -> None:
    """What the right picture's cut leaves out on one side it shows on the other; the middle sees no difference."""
    rng = torch.Generator().manual_seed(3)
    wide = torch.rand((1, 3, 64, 320), generator=rng)
    left = wide[..., 96:224]
    with torch.inference_mode():
        same = net(left, wide[..., 96:224], torch.tensor([0.0]))[0]
        moved = net(left, wide[..., 80:208], torch.tensor([16.0]))[0]
    assert same.scores is not None and moved.scores is not None
    middle = (0, slice(None), slice(2, 6), slice(9, 11))
    ours, theirs = same.scores[middle].flatten(), moved.scores[middle].flatten()
    assert torch.corrcoef(torch.stack([ours, theirs]))[0, 1] > 0.8


def test_black_pictures_and_noise_give_finite_answers(net: GeometryNet) -> None:
    black = torch.zeros((1, 3, 32, 48))
    for left, right in ((black, black), (black, torch.rand_like(black)), (torch.ones_like(black), black)):
        with torch.inference_mode():
            for answer in net(left, right, torch.zeros(1)):
                assert torch.isfinite(answer.disparity).all() and torch.isfinite(answer.confidence).all()


def rectified(width: int = 160):  # type: ignore[no-untyped-def]
    K = np.array([[1.2 * width, 0, (width - 1) / 2], [0, 1.2 * width, width * 0.375 - 0.5], [0, 0, 1]])
    cameras = [
        Camera(name, width, width * 3 // 4, K, np.zeros(5), np.eye(3), np.array([x, 0.0, 0.0]))
        for name, x in (("left", 0.05), ("right", -0.05))
    ]
    return rectify_pair(*cameras, (0.6, 2.0))


def test_a_pair_is_cut_to_what_can_be_matched() -> None:
    pair = rectified()
    cut, apart = cropped_pair(pair)
    assert apart % 8 == 0 and apart >= 0
    assert cut.left.inside.shape == cut.right.inside.shape
    assert all(side % 16 == 0 for side in cut.left.inside.shape)
    assert cut.left.inside.shape[1] < pair.left.inside.shape[1]
    # A point of the world has the same disparity: the difference of the columns, and the difference of the cuts.
    point = np.array([0.02, 0.03, 1.1])
    columns = []
    for side in (cut.left, cut.right):
        p = side.grid.K @ (side.grid.R @ point + side.grid.t)
        columns.append(p[0] / p[2])
    rectified_z = (cut.left.grid.R @ point + cut.left.grid.t)[2]
    assert columns[0] - columns[1] + apart == pytest.approx(pair.fb / rectified_z - pair.shift, abs=1e-6)


def test_geometry_comes_in_slices_on_its_grid(net: GeometryNet) -> None:
    pair = rectified()
    rng = np.random.default_rng(0)
    geometry = NetGeometry(GeometryNet().eval(), torch.float32)
    for levels, step in ((1, 4), (2, 2), (3, 1)):
        prepared = net_pair(pair, levels)
        height, width = prepared.left.side.inside.shape
        left, right = rng.integers(0, 256, (2, height, width, 3), np.uint8)
        job = geometry.match(prepared, left, right)
        yielded = 0
        try:
            while True:
                assert next(job) == "disparity"
                yielded += 1
        except StopIteration as stop:
            found = stop.value
        assert yielded == levels - 1
        for side, result in zip((prepared.left, prepared.right), found, strict=True):
            for plane in (result.inverse_depth, result.confidence, result.matte):
                assert plane.shape == (height // step, width // step) and plane.dtype == np.float32
                assert np.isfinite(plane).all() and (plane >= 0).all()
            assert not result.inverse_depth[~side.inside].any()
            assert (side.grid.width, side.grid.height) == (width // step, height // step)


def test_bfloat16_says_about_the_same(net: GeometryNet) -> None:
    prepared = net_pair(rectified(), 1)
    rng = np.random.default_rng(0)
    left = rng.integers(0, 256, (*prepared.left.side.inside.shape, 3), np.uint8)
    state = net.state_dict()
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        fresh = GeometryNet().eval()
        fresh.load_state_dict(state)
        results.append(run_to_end(NetGeometry(fresh, dtype).match(prepared, left, left))[0].confidence)
    assert np.abs(results[0] - results[1]).mean() < 0.01


def test_weights_that_are_missing_damaged_or_of_another_net_are_refused_plainly(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    with pytest.raises(ViewError, match=r"geometry\.json of the weights: No such file"):
        load_net(tmp_path)
    weights, card = tmp_path / "geometry.safetensors", tmp_path / "geometry.json"
    weights.write_bytes(b"not weights")
    card.write_text("{")
    with pytest.raises(ViewError, match="damaged"):
        load_net(tmp_path)
    card.write_text(json.dumps({"sha256": "0" * 64}))
    with pytest.raises(ViewError, match="SHA-256"):
        load_net(tmp_path)

    def sign() -> None:
        import hashlib

        card.write_text(json.dumps({"sha256": hashlib.sha256(weights.read_bytes()).hexdigest()}))

    sign()
    with pytest.raises(ViewError, match="doesn't fit"):
        load_net(tmp_path)
    save_file({"other": torch.zeros(3)}, str(weights))
    sign()
    with pytest.raises(ViewError, match="doesn't fit"):
        load_net(tmp_path)
    net = GeometryNet()
    save_file({k: v.to(torch.bfloat16).contiguous() for k, v in net.state_dict().items()}, str(weights))
    sign()
    assert read_card(tmp_path)["sha256"]
    assert not any(p.requires_grad for p in load_net(tmp_path).parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_convolutions_with_what_follows_are_the_same_in_one_go(dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    conv = torch.nn.Conv2d(16, 16, 3, padding=1).to(dtype)
    x, plus = (torch.randn(2, 16, 12, 20).to(dtype).contiguous(memory_format=torch.channels_last) for _ in range(2))
    apart = convolve(conv, x), convolve(conv, x, plus)
    with torch.inference_mode():
        together = convolve(conv, x), convolve(conv, x, plus)
    for a, b in zip(apart, together, strict=True):
        assert b.min() == 0 and b.max() > 1
        torch.testing.assert_close(a.detach(), b.clone(), rtol=1e-2, atol=0.02 if dtype == torch.bfloat16 else 1e-5)
