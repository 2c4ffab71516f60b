"""The paths of a stream on the device: lent to one frame at a time, kept, and made anew where one is too small."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # has to be said before the kernels are made

from view_scene import arc, pair_rig

from streamsvc.budget.slices import Slices, run_to_end
from streamsvc.frames import Camera
from streamsvc.view import ViewError
from streamsvc.view.align import turned
from streamsvc.view.arrange import Pair
from streamsvc.view.compose import View
from streamsvc.view.gpu import paths
from streamsvc.view.gpu.paths import LANES, Paths
from streamsvc.view.maps import PairMaps
from streamsvc.view.rungs import Level

CAMERAS = arc(3, 10, 64, 48)
SEEN = {camera.name: camera for camera in CAMERAS}
FIRST, SECOND = (("cam0", "cam1"), ("cam1", "cam2"))
LEVEL = Level(64, 3, 0.0, 0.0)


class FakePath:
    """Shows in every pixel how often it has been used; its lists are always `missing` short."""

    made: list[FakePath]
    missing = 0

    def __init__(self, *arguments: object, depth: bool, capacity: int | None) -> None:
        self.size, self.count = arguments[4], arguments[5]
        self.capacity = capacity or 100
        self.busy, self.used, self.waited = False, 0, 0
        self.pairs = arguments[1]
        FakePath.made.append(self)

    def turn(self, pairs: object, helping: object, cameras: object) -> None:
        assert not self.busy
        self.pairs = pairs

    def start(self, *arguments: object) -> None:
        assert not self.busy
        self.busy = True
        self.used += 1

    def wait(self) -> None:
        self.busy = False

    def finish(self) -> tuple[list[View], int]:
        self.wait()
        assert isinstance(self.size, Camera) and isinstance(self.count, int)
        shown = np.full((self.size.height, self.size.width, 3), self.used, np.uint8)
        plane = np.zeros(shown.shape[:2], np.float32)
        return [View(shown, plane, plane) for _ in range(self.count)], FakePath.missing

    def sources(self, pictures: object) -> list[object]:
        return []


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.setattr(paths, "FramePath", FakePath)
    FakePath.made, FakePath.missing = [], 0
    rig = replace(pair_rig(CAMERAS[:2]), cameras=tuple(CAMERAS))
    return Paths(None, PairMaps(rig), depth=False)  # type: ignore[arg-type]


def job(pool: Paths, views: list[Camera] | None = None, shown: list[list[Pair]] | None = None) -> Slices[list[View]]:
    views = views or [CAMERAS[0]]
    helping: dict[Pair, list[Pair]] = {FIRST: [], SECOND: []}
    chosen = shown or [[FIRST] for _ in views]
    return pool.views(LEVEL, views, chosen, helping, SEEN, {}, {}, lambda sources: {})


def test_what_was_made_ready_is_used_and_kept(pool: Paths) -> None:
    pool.prepare(LEVEL, [CAMERAS[0]], [[FIRST]], {FIRST: []}, SEEN)
    assert len(FakePath.made) == LANES
    for _ in range(5):
        run_to_end(job(pool))
    assert len(FakePath.made) == LANES


def test_frames_that_overlap_have_paths_of_their_own(pool: Paths) -> None:
    jobs = [job(pool) for _ in range(LANES + 1)]
    assert [next(j) for j in jobs] == ["upload"] * (LANES + 1)
    assert [path.busy for path in FakePath.made] == [True] * (LANES + 1)
    for j in jobs:
        run_to_end(j)
    again = [job(pool) for _ in range(LANES)]
    assert [next(j) for j in again] == ["upload"] * LANES
    assert len(FakePath.made) == LANES + 1


def test_a_frame_that_is_given_up_is_waited_for_before_its_path_is_lent_again(pool: Paths) -> None:
    left = job(pool)
    next(left)
    left.close()
    assert not FakePath.made[0].busy
    run_to_end(job(pool))
    assert len(FakePath.made) == 1


def test_views_of_one_size_and_pair_share_a_path_and_come_in_their_order(pool: Paths) -> None:
    small = CAMERAS[0].resized(32, 24)
    views = [CAMERAS[0], small, CAMERAS[1], CAMERAS[2]]
    made = run_to_end(job(pool, views, [[FIRST], [FIRST], [FIRST], [SECOND]]))
    assert [path.count for path in FakePath.made] == [2, 1, 1]
    assert [view.pixels.shape[:2] for view in made] == [(48, 64), (24, 32), (48, 64), (48, 64)]


def test_a_path_whose_lists_ran_over_is_replaced_by_a_larger_one(pool: Paths) -> None:
    FakePath.missing = 7
    run_to_end(job(pool))
    FakePath.missing = 0
    run_to_end(job(pool))
    run_to_end(job(pool))
    assert [path.capacity for path in FakePath.made] == [100, 200]


def test_a_full_gpu_is_told(pool: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **named: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(paths, "FramePath", full)
    with pytest.raises(ViewError, match="memory is full"):
        run_to_end(job(pool))


def test_a_path_goes_on_for_cameras_that_turned_a_little(pool: Paths) -> None:
    run_to_end(job(pool))
    (path,) = FakePath.made
    (before,) = path.pairs  # type: ignore[misc]
    SEEN["cam0"] = turned(CAMERAS[0], np.array([0.005, 0, 0]))
    try:
        run_to_end(job(pool))
    finally:
        SEEN["cam0"] = CAMERAS[0]
    (after,) = path.pairs  # type: ignore[misc]
    assert FakePath.made == [path] and after.left.grid is before.left.grid
    maps = [[side.side.map_y for side in (pair.left, pair.right)] for pair in (before, after)]
    own = [pair.left.side.source.name for pair in (before, after)].index("cam0")
    assert abs(maps[0][own] - maps[1][own]).mean() > 0.1 and (maps[0][1 - own] == maps[1][1 - own]).all()
