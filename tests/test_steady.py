"""The temporal filter: a still scene calms down, what moves passes, and nothing is mixed that does not belong."""

from __future__ import annotations

import numpy as np
import pytest

from streamsvc.scene import open_scene
from streamsvc.view.quality import flicker, psnr
from streamsvc.view.steady import LEAST_GAIN, MOVED, MOVED_ALTOGETHER, PAUSE_NS, Steady, _steady

FRAME_NS = 66_000_000


def noisy(rng: np.random.Generator, picture: np.ndarray, sigma: float) -> np.ndarray:
    return np.clip(picture + rng.normal(0, sigma, picture.shape) + 0.5, 0, 255).astype(np.uint8)


def test_a_still_scene_shimmers_half_as_much_from_the_first_frame_and_a_third_later() -> None:
    rng, filtered = np.random.default_rng(0), Steady()
    truth = rng.integers(20, 235, (60, 80, 3), np.uint8)
    seen = [noisy(rng, truth, 3) for _ in range(24)]
    shown = [filtered(s, n * FRAME_NS) for n, s in enumerate(seen)]
    assert flicker(shown[:8]) < 0.5 * flicker(seen[:8])
    assert flicker(shown[12:]) < flicker(seen[12:]) / 3
    assert psnr(shown[-1], truth) > psnr(seen[-1], truth) + 7


@pytest.mark.parametrize("sigma", [0.8, 2, 4])
def test_a_person_who_moves_is_not_smeared(sigma: float) -> None:
    scene = open_scene("body:2")
    camera = scene.rig(2, 160, 120).cameras[0]
    rng, filtered = np.random.default_rng(0), Steady()
    gains, before = [], scene.render(camera, 1 - 1 / 15)
    for number in range(16):
        true = scene.render(camera, 1 + number / 15)
        seen = noisy(rng, true.rgb, sigma)
        shown = filtered(seen, number * FRAME_NS)
        person, moved = true.alpha > 0.5, np.abs(true.rgb.astype(int) - before.rgb).mean(-1) > 4 * sigma
        gains.append([psnr(shown, true.rgb, m) - psnr(seen, true.rgb, m) for m in (person, moved | ~person)])
        before = true
    assert np.mean(gains) > 0 and np.min(gains) > -0.1


def test_a_slow_change_of_light_is_followed() -> None:
    rng, filtered = np.random.default_rng(0), Steady()
    truth = rng.integers(60, 160, (60, 80, 3)).astype(float)
    for number in range(40):
        shown = filtered(noisy(rng, truth + 0.5 * number, 2), number * FRAME_NS)
    assert abs(float((shown - (truth + 0.5 * 39)).mean())) < 3


def test_a_cut_passes_at_once() -> None:
    rng, filtered = np.random.default_rng(0), Steady()
    for number in range(5):
        filtered(np.full((40, 40, 3), 60, np.uint8), number * FRAME_NS)
    other = rng.integers(120, 255, (40, 40, 3), np.uint8)
    assert np.abs(filtered(other, 5 * FRAME_NS).astype(int) - other).max() <= 1


def test_old_late_and_other_sized_pictures_are_not_mixed_in() -> None:
    filtered = Steady()
    dark, light = np.full((20, 20, 3), 100, np.uint8), np.full((20, 20, 3), 101, np.uint8)
    assert filtered(dark, FRAME_NS) is dark
    assert filtered(light, FRAME_NS) is light  # not newer than the last
    assert filtered(light, 2 * FRAME_NS + PAUSE_NS) is light  # a pause between
    bigger = np.full((30, 20, 3), 100, np.uint8)
    assert filtered(bigger, 3 * FRAME_NS + PAUSE_NS) is bigger


def test_the_kernel_agrees_with_a_plain_reference() -> None:
    rng = np.random.default_rng(0)
    noise = 4.0
    for height, width in ((1, 1), (2, 3), (9, 14)):
        mean = rng.uniform(0, 255, (height, width, 3)).astype(np.float32)
        picture = np.clip(mean + rng.normal(0, 2.6, mean.shape), 0, 255).astype(np.uint8)
        age = rng.uniform(1, 12, (height, width)).astype(np.float32)
        difference = picture.astype(float) - mean
        square = np.pad((difference**2).mean(-1), 1, mode="edge")
        near = sum(square[v : v + height, u : u + width] for v in range(3) for u in range(3)) / 9 / noise
        moved = np.clip((near - MOVED) / (MOVED_ALTOGETHER - MOVED), 0, 1)
        old = age * (1 - moved) + 1
        gain = np.maximum(1 / old, LEAST_GAIN)
        expected = mean + (gain + (1 - gain) * moved)[..., None] * difference
        out = np.empty_like(picture)
        _steady(picture.reshape(height, -1), mean.reshape(height, -1), age, np.float32(noise), out.reshape(height, -1))
        assert np.allclose(mean, expected, atol=1e-3) and np.allclose(age, old, rtol=1e-4)
        assert np.abs(out - expected).max() <= 0.501
