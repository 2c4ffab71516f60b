"""The temporal filter: a still scene calms down, what moves passes, and nothing is mixed that does not belong."""

from __future__ import annotations

import numpy as np

from streamsvc.scene import open_scene
from streamsvc.view.quality import flicker, psnr
from streamsvc.view.steady import PAUSE_NS, Steady

FRAME_NS = 66_000_000


def noisy(rng: np.random.Generator, picture: np.ndarray, sigma: float) -> np.ndarray:
    return np.clip(picture + rng.normal(0, sigma, picture.shape) + 0.5, 0, 255).astype(np.uint8)


def test_a_still_scene_shimmers_half_as_much_and_comes_closer_to_the_truth() -> None:
    rng, filtered = np.random.default_rng(0), Steady()
    truth = rng.integers(20, 235, (60, 80, 3), np.uint8)
    seen = [noisy(rng, truth, 3) for _ in range(24)]
    shown = [filtered(s, n * FRAME_NS) for n, s in enumerate(seen)]
    assert flicker(shown[8:]) < 0.5 * flicker(seen[8:])
    assert psnr(shown[-1], truth) > psnr(seen[-1], truth) + 4


def test_a_person_who_moves_is_not_smeared() -> None:
    scene = open_scene("body:2")
    camera = scene.rig(2, 160, 120).cameras[0]
    rng, filtered = np.random.default_rng(0), Steady()
    gains = []
    for number in range(16):
        true = scene.render(camera, 1 + number / 15)
        seen = noisy(rng, true.rgb, 2)
        shown = filtered(seen, number * FRAME_NS)
        if number > 5:
            person = true.alpha > 0.5
            gains.append(psnr(shown, true.rgb, person) - psnr(seen, true.rgb, person))
    assert np.mean(gains) > 0 and min(gains) > -0.5


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
