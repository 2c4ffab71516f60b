"""The measures against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from streamsvc.view.quality import depth_edges, edge_error, psnr, ssim


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (40, 50, 3), np.uint8)


def test_psnr_is_that_of_the_mean_square_error() -> None:
    a = np.full((8, 8, 3), 100, np.uint8)
    assert math.isclose(psnr(a, a + 5), 10 * math.log10(255**2 / 25))
    assert psnr(a, a) == math.inf


def test_psnr_counts_only_the_mask() -> None:
    a, b = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 3), np.uint8)
    b[:, 4:] = 255
    mask = np.zeros((8, 8), bool)
    mask[:, :4] = True
    assert psnr(a, b, mask) == math.inf and psnr(a, b, ~mask) == 0


def test_ssim_is_one_for_equals_symmetric_and_falls_with_noise() -> None:
    a, b = noise(0), noise(1)
    assert math.isclose(ssim(a, a), 1.0)
    assert math.isclose(ssim(a, b), ssim(b, a)) and abs(ssim(a, b)) < 0.1
    flat = np.full((40, 50, 3), 100, np.uint8)
    c1 = (0.01 * 255) ** 2
    assert math.isclose(ssim(flat, flat + 20), (2 * 100 * 120 + c1) / (100**2 + 120**2 + c1), rel_tol=1e-9)


def test_edge_error_looks_only_beside_depth_jumps() -> None:
    depth = np.ones((40, 50), np.float32)
    depth[:, 25:] = np.inf
    a, b = noise(0), noise(0)
    band = depth_edges(depth)
    assert band.sum() == 40 * 5 and band[:, 25].all()
    b[~band] = 0
    assert edge_error(a, b, depth) == 0
    assert math.isnan(edge_error(a, b, np.ones((40, 50), np.float32)))


def test_unequal_shapes_and_empty_masks_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        psnr(noise(0), noise(0)[:20])
    with pytest.raises(ValueError, match="mask"):
        ssim(noise(0), noise(0), np.zeros((40, 50), bool))
