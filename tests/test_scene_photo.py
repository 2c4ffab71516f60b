"""The photographed pair: its geometry on made-up pictures, and typed errors where the asset is missing."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from streamsvc.cache import cache_dir
from streamsvc.frames import parse_rig
from streamsvc.scene import SceneError, asset, open_scene
from streamsvc.scene.photo import BASELINE, CX_LEFT, CX_RIGHT, FOCAL, HEIGHT, WIDTH


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with a made-up pair: a textured plane at disparity 20, the right picture shifted accordingly."""
    monkeypatch.setenv("STREAMSVC_CACHE", str(tmp_path))
    out = tmp_path / "motorcycle"
    out.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH + 20, 3), np.uint8)
    wide = cv2.GaussianBlur(noise, (0, 0), 3)
    cv2.imwrite(str(out / "motorcycle_left.png"), wide[:, :WIDTH])
    cv2.imwrite(str(out / "motorcycle_right.png"), wide[:, 20:])
    disparity = np.full((HEIGHT, WIDTH), 20.0, np.float32)
    disparity[:10] = np.inf
    np.savez(out / "motorcycle_disparity.npz", disparity)
    return out


def test_a_point_of_the_left_picture_lands_where_the_right_one_shows_it(folder: Path) -> None:
    scene = open_scene("motorcycle")
    for size in ((WIDTH, HEIGHT), (320, 240)):
        rig = scene.rig(2, *size)
        left, right = rig.cameras
        a, b = scene.render(left, 0.0), scene.render(right, 5.0)
        x, y = size[0] // 2, size[1] // 2
        z = float(a.depth[y, x])
        assert z == pytest.approx(FOCAL * BASELINE / (20 + CX_RIGHT - CX_LEFT))
        world = left.R.T @ (np.linalg.inv(left.K) @ [x, y, 1] * z - left.t)
        u, v, w = right.K @ (right.R @ world + right.t)
        assert v / w == pytest.approx(y)
        assert u / w == pytest.approx(x - 20 * size[0] / WIDTH)
        if size == (WIDTH, HEIGHT):
            assert np.array_equal(a.rgb[y, x], b.rgb[y, round(u / w)])


def test_unknown_disparity_is_unknown_depth_and_the_rig_is_valid(folder: Path) -> None:
    scene = open_scene("motorcycle")
    rig = scene.rig(2, 320, 240)
    assert parse_rig(rig.to_json()).pairs == (("cam0", "cam1"),)
    left = scene.render(rig.cameras[0], 0.0)
    assert np.isnan(left.depth[:4]).all() and np.isfinite(left.depth[6:]).all() and (left.alpha == 1).all()
    assert np.isnan(scene.render(rig.cameras[1], 0.0).depth).all()


def test_only_the_two_cameras_that_took_the_photographs_are_served(folder: Path) -> None:
    scene = open_scene("motorcycle")
    with pytest.raises(SceneError, match="2 cameras"):
        scene.rig(4, 320, 240)
    other = open_scene("body:0").rig(2, 320, 240).cameras[0]
    with pytest.raises(SceneError, match="cam0 and cam1"):
        scene.render(other, 0.0)


def test_a_missing_or_damaged_asset_says_how_to_get_it(folder: Path) -> None:
    (folder / "motorcycle_left.png").write_bytes(b"not a picture")
    with pytest.raises(SceneError, match="make assets"):
        open_scene("motorcycle")
    (folder / "motorcycle_left.png").unlink()
    with pytest.raises(SceneError, match="make assets"):
        open_scene("motorcycle")
    with pytest.raises(SceneError, match="make assets"):
        asset("nothing-here")


def test_the_cache_is_named_by_the_environment_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMSVC_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("STREAMSVC_CACHE")
    assert cache_dir().name in ("assets", "streamsvc")
