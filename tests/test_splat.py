"""The splat: the compiled kernel says what the reference says, in any order and cut in any way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from streamsvc.view.splat import Splats, splat
from streamsvc.view.splat_reference import splat_reference

W, H, K = 41, 29, 30.0


def random_splats(count: int, channels: int, seed: int) -> Splats:
    rng = np.random.default_rng(seed)
    spread, angle = rng.uniform(0.5, 2.5, (count, 2)), rng.uniform(0, np.pi, count)
    c, s = np.cos(angle), np.sin(angle)
    a, b = 1 / spread[:, 0] ** 2, 1 / spread[:, 1] ** 2
    geometry = np.stack(
        [
            rng.uniform(-4, W + 4, count),
            rng.uniform(-4, H + 4, count),
            rng.uniform(0.5, 2, count),
            a * c * c + b * s * s,
            (a - b) * c * s,
            a * s * s + b * c * c,
            rng.uniform(0.1, 1, count),
        ],
        1,
    )
    return Splats(geometry.astype(np.float32), rng.uniform(0, 1, (count, channels)).astype(np.float32))


@pytest.mark.parametrize(("count", "channels", "seed"), [(1, 4, 0), (300, 4, 1), (900, 7, 2)])
def test_compiled_splat_agrees_with_the_reference_on_random_input(count: int, channels: int, seed: int) -> None:
    splats = random_splats(count, channels, seed)
    mine = splat(splats, W, H, K)
    features, coverage, nearest = splat_reference(
        torch.from_numpy(splats.geometry), torch.from_numpy(splats.features), W, H, K
    )
    assert np.abs(mine.features - features.numpy()).max() < 1e-4
    assert np.abs(mine.coverage - coverage.numpy()).max() < 1e-4
    assert np.array_equal(mine.nearest, nearest.numpy())


def test_bands_and_threads_change_no_bit() -> None:
    splats = random_splats(700, 4, 3)
    whole = splat(splats, W, H, K)
    with ThreadPoolExecutor(3) as pool:
        for cut in (splat(splats, W, H, K, bands=5), splat(splats, W, H, K, bands=4, executor=pool)):
            assert np.array_equal(whole.features, cut.features)
            assert np.array_equal(whole.coverage, cut.coverage)


def test_order_of_the_gaussians_does_not_matter() -> None:
    splats = random_splats(700, 4, 4)
    shuffled = np.random.default_rng(5).permutation(700)
    a, b = splat(splats, W, H, K), splat(Splats(splats.geometry[shuffled], splats.features[shuffled]), W, H, K)
    assert np.abs(a.features - b.features).max() < 1e-5
    assert np.abs(a.coverage - b.coverage).max() < 1e-5


def test_nothing_and_nonsense_leave_the_picture_empty() -> None:
    bad = np.array(
        [[5, 5, np.nan, 1, 0, 1, 1], [np.nan, 5, 1, 1, 0, 1, 1], [5, 5, 1, 1, 3, 1, 1], [5, 5, -1, 1, 0, 1, 1]]
    )
    for geometry in (np.zeros((0, 7)), bad):
        result = splat(Splats(geometry.astype(np.float32), np.ones((len(geometry), 4), np.float32)), W, H, K)
        assert not result.features.any() and not result.coverage.any() and np.isinf(result.nearest).all()


def test_reference_is_differentiable_in_everything() -> None:
    splats = random_splats(20, 4, 6)
    geometry = torch.from_numpy(splats.geometry).double().requires_grad_()
    features = torch.from_numpy(splats.features).double().requires_grad_()
    out, coverage, _ = splat_reference(geometry, features, W, H, K)
    (out.sum() + coverage.sum()).backward()
    assert torch.isfinite(geometry.grad).all() and (geometry.grad.abs().sum(0) > 0).all()
    assert (features.grad.abs().sum(0) > 0).all()
