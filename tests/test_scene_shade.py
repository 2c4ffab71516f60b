"""Pictures from faces: perspective-correct texture, coverage at edges, and an atlas whose empty ground never shows."""

from __future__ import annotations

import numpy as np
import pytest

from streamsvc.scene.raster import project, rasterise
from streamsvc.scene.shade import build_pyramid, resolve

SIZE, WIDTH, HEIGHT = 256, 60, 48
K = np.array([[50.0, 0, 29.5], [0, 50.0, 23.5], [0, 0, 1]])


def draw(points: np.ndarray, texture: np.ndarray, light: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rgb, depth, alpha of the quad `points` (4, 3), clockwise, textured from (0, 0) to (1, 1), over grey at 9 m."""
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    fine = np.array([[2.0, 0, 0.5], [0, 2.0, 0.5], [0, 0, 1]]) @ K
    screen = project(points, fine, np.eye(3), np.zeros(3))
    inverse, ids = rasterise(screen, faces, 2 * HEIGHT, 2 * WIDTH)
    atlas = build_pyramid(texture, np.ones(texture.shape[:2], bool))
    rgb = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    depth, alpha = np.empty((HEIGHT, WIDTH), np.float32), np.empty((HEIGHT, WIDTH), np.float32)
    back = np.full((HEIGHT, WIDTH, 3), 100, np.uint8), np.full((HEIGHT, WIDTH), 9, np.float32)
    resolve(
        ids, inverse, screen, faces, faces, uv, light.astype(np.float32), atlas.texels, atlas.start, atlas.size,
        *back, rgb, depth, alpha,
    )  # fmt: skip
    return rgb, depth, alpha


def test_texture_light_and_depth_are_perspective_correct_on_a_slanted_plane() -> None:
    points = np.array([[-1.0, -0.8, 2.0], [1.0, -0.8, 4.0], [1.0, 0.8, 4.0], [-1.0, 0.8, 2.0]])  # z = 3 + x
    ramp = np.linspace(0.5, 254.5, SIZE, dtype=np.float32)
    texture = np.stack([np.tile(ramp, (SIZE, 1)), np.tile(ramp[:, None], (1, SIZE)), np.full((SIZE, SIZE), 200.0)], -1)
    light = np.array([[1, 1, 0.2], [1, 1, 1.0], [1, 1, 1.0], [1, 1, 0.2]])
    rgb, depth, alpha = draw(points, texture.astype(np.float32), light)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    rx, ry = (x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1]
    z = 3 / (1 - rx)
    u, v = (rx * z + 1) / 2, (ry * z / 0.8 + 1) / 2
    expected = np.stack([255 * u, 255 * v, 200 * (0.2 + 0.8 * u)], -1)
    inside = alpha == 1
    assert inside.sum() > 500
    assert np.abs(rgb[inside] - expected[inside]).max() < 4
    assert np.allclose(depth[inside], z[inside], rtol=1e-3)
    assert (rgb[alpha == 0] == 100).all() and (depth[alpha == 0] == 9).all()


@pytest.mark.parametrize("shift", [0.0, 0.13, 0.31, 0.5])
def test_alpha_adds_up_to_the_area_and_mixes_the_background(shift: float) -> None:
    left, right = (10.25 + shift - K[0, 2]) / K[0, 0], (40.25 + shift - K[0, 2]) / K[0, 0]
    points = np.array([[left, -0.2, 1.0], [right, -0.2, 1.0], [right, 0.2, 1.0], [left, 0.2, 1.0]])
    rgb, _, alpha = draw(points, np.full((SIZE, SIZE, 3), 200, np.float32), np.ones((4, 3)))
    assert alpha.sum() == pytest.approx(30 * 20, rel=0.03)
    assert np.abs(rgb[..., 0] - (100 + 100 * alpha)).max() <= 1


def test_a_distant_texture_is_averaged_not_sampled() -> None:
    checks = (np.indices((SIZE, SIZE)).sum(0) % 2 * 255.0).astype(np.float32)
    points = np.array([[-1.0, -1.0, 5.0], [1.0, -1.0, 5.0], [1.0, 1.0, 5.0], [-1.0, 1.0, 5.0]])
    rgb, _, alpha = draw(points, np.repeat(checks[..., None], 3, 2), np.ones((4, 3)))
    assert np.abs(rgb[alpha == 1].astype(int) - 128).max() <= 2


def test_what_no_face_covers_takes_the_colour_beside_it_on_every_level() -> None:
    texture, covered = np.zeros((SIZE, SIZE, 3), np.float32), np.zeros((SIZE, SIZE), bool)
    texture[40:90, 30:77], covered[40:90, 30:77] = 180, True
    assert (build_pyramid(texture, covered).texels == 180).all()
