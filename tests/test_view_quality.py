"""The measures against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from streamsvc.view.quality import (
    DisparityErrors,
    _similarity,
    depth_edges,
    disparity_errors,
    edge_error,
    flicker,
    matte_errors,
    ms_ssim,
    outline,
    psnr,
    ssim,
)


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


def test_the_matte_error_is_the_mean_and_that_about_the_outline() -> None:
    true = np.zeros((40, 40), np.float32)
    true[10:30, 10:30] = 1
    band = outline(true)
    assert band[10, 20] and band[8, 20] and band[11, 20]
    assert not band[13, 20] and not band[6, 20]
    found = np.where(band, np.float32(0.5), true)
    assert matte_errors(true, true) == (0, 0)
    assert matte_errors(found, true) == (pytest.approx(0.5 * band.mean()), pytest.approx(0.5))
    assert math.isnan(matte_errors(true * 0, true * 0)[1])
    with pytest.raises(ValueError, match="one shape"):
        matte_errors(found[1:], true)


def test_unequal_shapes_and_empty_masks_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        psnr(noise(0), noise(0)[:20])
    with pytest.raises(ValueError, match="mask"):
        ssim(noise(0), noise(0), np.zeros((40, 50), bool))


def pictures(side: int = 192) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    a = rng.integers(0, 256, (side, side, 3), np.uint8)
    return a, np.clip(a + rng.normal(0, 20, a.shape), 0, 255).astype(np.uint8)


def test_ms_ssim_is_one_for_equals_and_knows_only_brightness_on_flat_pictures() -> None:
    a, b = pictures()
    assert math.isclose(ms_ssim(a, a), 1.0)
    assert 0 < ms_ssim(a, b) < 1
    flat = np.full((176, 176, 3), 100, np.uint8)
    c1 = (0.01 * 255) ** 2
    luminance = (2 * 100 * 120 + c1) / (100**2 + 120**2 + c1)
    assert math.isclose(ms_ssim(flat, flat + 20), luminance**0.1333, rel_tol=1e-9), "structure is 1 at every scale"


def test_ms_ssim_is_the_weighted_product_over_halved_scales() -> None:
    a, b = pictures()
    x, y = a.astype(float), b.astype(float)
    expected = 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        if scale:
            x, y = (z.reshape(z.shape[0] // 2, 2, z.shape[1] // 2, 2, 3).mean((1, 3)) for z in (x, y))
        luminance, structure = _similarity(x, y)
        expected *= (luminance * structure if scale == 4 else structure).mean() ** weight
    assert math.isclose(ms_ssim(a, b), expected, rel_tol=1e-9)


def test_ms_ssim_counts_only_the_mask_and_refuses_small_pictures() -> None:
    a, _ = pictures(352)
    b = a.copy()
    b[:, :80] = 0
    mask = np.zeros(a.shape[:2], bool)
    mask[:, 300:] = True
    assert math.isclose(ms_ssim(a, b, mask), 1.0, abs_tol=1e-6) and ms_ssim(a, b) < 0.9
    with pytest.raises(ValueError, match="176"):
        ms_ssim(noise(0), noise(1))


def test_flicker_is_the_mean_standard_deviation_of_a_pixel_over_frames() -> None:
    low, high = np.full((4, 4, 3), 100, np.uint8), np.full((4, 4, 3), 106, np.uint8)
    assert flicker([low, high]) == 3
    high[:, 2:] = 100
    mask = np.zeros((4, 4), bool)
    mask[:, 2:] = True
    assert flicker([low, high]) == 1.5 and flicker([low, high], mask) == 0


def test_disparity_errors_are_dense() -> None:
    true = np.array([[10, 10, 10, 4], [10, 10, np.nan, 10]], np.float32)
    found = np.array([[10, 11.5, 13, np.nan], [10, np.nan, 99, 10]], np.float32)
    errors = disparity_errors(found, true)
    # 7 pixels are known; errors 0, 1.5, 3, hole (farthest is 4: off by 0), 0, hole (off by 6), 0
    assert errors.epe == pytest.approx((1.5 + 3 + 0 + 6) / 7)
    assert errors.bad1 == pytest.approx(4 / 7) and errors.bad2 == pytest.approx(3 / 7)
    assert errors.holes == pytest.approx(2 / 7)
    mask = np.array([[True, True, False, False], [False, False, True, False]])
    assert disparity_errors(found, true, mask) == DisparityErrors(0.75, 0.5, 0.0, 0.0)
    with pytest.raises(ValueError, match="true disparity"):
        disparity_errors(found, true, np.isnan(true))
    with pytest.raises(ValueError, match="one shape"):
        disparity_errors(found[:1], true)
