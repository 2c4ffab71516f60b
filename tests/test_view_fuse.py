"""Two geometries of one camera become one: averaged where they agree, the surer one's where they don't."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from view_scene import arc

from streamsvc.frames import Camera
from streamsvc.scene.rigs import rotation
from streamsvc.view.fuse import fuse
from streamsvc.view.geometry import Source
from streamsvc.view.rectify import pixel_rays

W, H = 48, 36


def flat(camera: Camera, grid: Camera, inverse_depth: float, confidence: float, tolerance: float) -> Source:
    """A wall that faces the grid."""
    pixels = np.zeros((H, W, 3), np.uint8)
    inverse = np.full((grid.height, grid.width), inverse_depth, np.float32)
    sure = np.full_like(inverse, confidence)
    return Source(camera, pixels, grid, pixel_rays(grid), inverse, sure, pixels, tolerance, 0.0)


@pytest.fixture
def camera() -> Camera:
    """One camera."""
    return replace(arc(1, 0, W, H)[0], name="cam1")


def test_depths_that_agree_are_averaged_the_wider_baseline_counting_more(camera: Camera) -> None:
    wide, narrow = flat(camera, camera, 1.0, 0.9, 0.05), flat(camera, camera, 1.04, 1.0, 0.1)
    fused = fuse(wide, [narrow])
    assert np.allclose(fused.inverse_depth, 1.0 + 0.04 * 0.2) and np.allclose(fused.confidence, 1.0)


def test_depths_that_differ_are_not_mixed(camera: Camera) -> None:
    own = flat(camera, camera, 1.0, 0.9, 0.05)
    as_sure, surer = flat(camera, camera, 0.5, 0.92, 0.05), flat(camera, camera, 0.5, 1.0, 0.05)
    assert np.array_equal(fuse(own, [as_sure]).inverse_depth, own.inverse_depth)
    assert np.allclose(fuse(own, [surer]).inverse_depth, 0.5)


def test_what_one_pair_does_not_know_the_other_tells(camera: Camera) -> None:
    own = flat(camera, camera, 1.0, 0.9, 0.05)
    own.inverse_depth[:, :20] = own.confidence[:, :20] = 0
    fused = fuse(own, [flat(camera, camera, 0.7, 0.85, 0.05)])
    assert np.allclose(fused.inverse_depth[:, :20], 0.7) and np.allclose(fused.inverse_depth[:, 20:], 1.0)
    nothing = flat(camera, camera, 0.0, 0.0, 0.05)
    assert np.array_equal(fuse(own, [nothing]).inverse_depth, own.inverse_depth)


def test_another_camera_says_nothing(camera: Camera) -> None:
    own, other = flat(camera, camera, 1.0, 0.9, 0.05), flat(replace(camera, name="cam2"), camera, 0.5, 1.0, 0.05)
    assert fuse(own, [other]) is own


def test_grids_that_look_another_way_and_are_of_another_size_meet_in_space(camera: Camera) -> None:
    turned = rotation(np.array([0.2, 1.0, 0.1]), 0.12) @ camera.R
    grid = replace(camera, R=turned, t=-turned @ camera.centre).resized(60, 45)
    own, other = flat(camera, camera, 0.0, 0.0, 0.05), flat(camera, grid, 0.0, 0.9, 0.05)
    # A wall in front of the camera, as the turned grid sees it: inverse depth is linear in the rays.
    towards = np.concatenate([other.rays, np.ones_like(other.rays[..., :1])], -1) @ (grid.R @ camera.R.T)
    other.inverse_depth[:] = 0.8 * towards[..., 2]
    fused = fuse(own, [other])
    seen = fused.inverse_depth > 0
    assert 0.6 < seen.mean() < 1 and np.abs(fused.inverse_depth[seen] - 0.8).max() < 0.01
