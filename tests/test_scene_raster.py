"""The z-buffer agrees with its slow reference and interpolates correctly in perspective."""

from __future__ import annotations

import numpy as np
import pytest

from streamsvc.scene.raster import project, rasterise, rasterise_reference


@pytest.mark.parametrize("seed", range(6))
def test_the_kernel_agrees_with_the_reference_on_random_triangles(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width, count = 50, 70, 90
    screen = np.stack([rng.uniform(-20, 90, count), rng.uniform(-20, 70, count), rng.uniform(-0.1, 3, count)], 1)
    screen = screen.astype(np.float32)
    faces = rng.integers(0, count, (60, 3)).astype(np.int32)
    depth, ids = rasterise(screen, faces, height, width)
    expected_depth, expected_ids = rasterise_reference(screen, faces, height, width)
    assert np.allclose(depth, expected_depth, rtol=1e-5, atol=1e-6)
    assert (ids == expected_ids).mean() > 0.999  # rounding may decide a tie the other way
    assert (ids >= 0).any() and (ids < 0).any()


def test_a_sample_on_a_shared_edge_belongs_to_one_face_only() -> None:
    rng = np.random.default_rng(1)
    corners = rng.integers(0, 24, (40, 2)).astype(np.float32)  # whole coordinates: every edge is full of ties
    screen = np.column_stack([corners, np.ones(40, np.float32)])
    for face in rng.integers(0, 40, (200, 3)).astype(np.int32):
        for order in (face, face[::-1]):
            one = rasterise(screen, np.ascontiguousarray(order)[None], 24, 24)[1]
            assert np.array_equal(one, rasterise_reference(screen, order[None], 24, 24)[1])


def test_back_faces_and_faces_behind_the_camera_are_not_drawn() -> None:
    screen = np.array([[2.0, 2.0, 1.0], [12.0, 2.0, 1.0], [2.0, 12.0, 1.0], [2.0, 12.0, 0.0]], np.float32)
    assert (rasterise(screen, np.array([[0, 1, 2]], np.int32), 16, 16)[1] == 0).sum() == 55
    assert (rasterise(screen, np.array([[0, 2, 1]], np.int32), 16, 16)[1] == -1).all()
    assert (rasterise(screen, np.array([[0, 1, 3]], np.int32), 16, 16)[1] == -1).all()


def test_a_mesh_without_gaps_has_no_cracks() -> None:
    rng = np.random.default_rng(7)
    x, y = np.meshgrid(np.linspace(-5, 45, 30), np.linspace(-5, 45, 30))
    inner = (slice(1, -1), slice(1, -1))
    x[inner] += rng.uniform(-0.5, 0.5, x[inner].shape)
    y[inner] += rng.uniform(-0.5, 0.5, y[inner].shape)
    screen = np.stack([x.ravel(), y.ravel(), rng.uniform(1, 1.2, x.size)], 1).astype(np.float32)
    i = np.arange(900).reshape(30, 30)
    a, b, c, d = (s.ravel() for s in (i[:-1, :-1], i[:-1, 1:], i[1:, :-1], i[1:, 1:]))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)]).astype(np.int32)
    assert (rasterise(screen, faces, 40, 40)[1] >= 0).all()


def test_depth_of_a_slanted_plane_is_exact() -> None:
    points = np.array([[-1.0, -1.0, 2.0], [1.0, -1.0, 4.0], [1.0, 1.0, 4.0], [-1.0, 1.0, 2.0]])  # z = 3 + x
    K = np.array([[40.0, 0, 20], [0, 40.0, 20], [0, 0, 1]])
    screen = project(points, K, np.eye(3), np.zeros(3))
    depth, ids = rasterise(screen, np.array([[0, 1, 2], [0, 2, 3]], np.int32), 40, 40)
    x = np.arange(40)[None, :].repeat(40, 0)
    expected = 3 / (1 - (x - 20) / 40)
    covered = ids >= 0
    assert covered.sum() > 200
    assert np.allclose(1 / depth[covered], expected[covered], rtol=1e-5)
