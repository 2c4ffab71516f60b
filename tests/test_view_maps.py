"""The maps of a rig's pairs: a depth range that nobody states follows what is seen, and nothing old is kept."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from view_scene import arc, looking_at, pair_rig

from streamsvc.frames import Camera, Rig
from streamsvc.frames.rig import MAX_CAMERAS, MAX_PAIRS
from streamsvc.view import maps as maps_module
from streamsvc.view.depthrange import ROUGH_SIDE, estimate_depth_range
from streamsvc.view.errors import ViewError
from streamsvc.view.maps import LOOK_EVERY_NS, REMEMBERED_NS, PairMaps

A, B = arc(2, 20, 320, 240)
NOISE = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
PICTURES = {A.name: NOISE, B.name: NOISE}

Look = Callable[[int, tuple[float, float] | None], tuple[float, float] | None]


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> Look:
    """The range after look `number`, which found this."""
    maps = PairMaps(pair_rig([A, B], None))

    def looked(number: int, found: tuple[float, float] | None) -> tuple[float, float] | None:
        monkeypatch.setattr(maps_module, "estimate_depth_range", lambda *_: found)
        maps.estimate(A, B, PICTURES, number * LOOK_EVERY_NS)
        return maps.depth_range

    return looked


def test_a_range_covers_what_was_seen_of_late_and_no_more(look: Look) -> None:
    person, close = (0.5, 2.5), (0.22, 2.4)
    assert look(0, None) is None
    assert look(1, person) == person
    assert look(2, close) == (0.22, 2.5), "at once: it is to be seen"
    last = 2 + REMEMBERED_NS // LOOK_EVERY_NS
    for number in range(3, last):
        assert look(number, person) == (0.22, 2.5)
    assert look(last, person) == person


def test_a_range_that_hardly_moves_stays_as_it_is(look: Look) -> None:
    person = look(0, (0.5, 2.5))
    for number in range(1, 50):
        assert look(number, (0.48, 2.7) if number % 2 else (0.53, 2.2)) == person


def test_what_nothing_more_is_found_of_is_kept(look: Look) -> None:
    person = look(0, (0.5, 2.5))
    assert look(100, None) == person


def test_a_pair_that_overlaps_too_little_in_small_pictures_costs_no_view() -> None:
    tilt = np.radians(33)
    R = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    K = np.array([[300, 0, 159.5], [0, 300, 119.5], [0, 0, 1.0]])
    a, b = (
        Camera(name, 320, 240, K, np.zeros(5), turned, -turned @ np.array([x, 0, 0]))
        for name, x, turned in (("a", -0.05, np.eye(3)), ("b", 0.05, R))
    )
    with pytest.raises(ViewError):
        estimate_depth_range(a, NOISE, b, NOISE, ROUGH_SIDE)
    maps = PairMaps(pair_rig([a, b], None))
    maps._ranges["a", "b"] = (0.5, 3.0)
    maps.estimate(a, b, {"a": NOISE, "b": NOISE}, 0)
    assert maps.depth_range == (0.5, 3.0)


def test_maps_for_pictures_that_come_no_more_are_forgotten() -> None:
    beside = [looking_at(f"other{i}", (x, 0, 0), (0, 0, 1), 320, 240) for i, x in enumerate((-0.1, 0.1))]
    rig = pair_rig([A, B, *beside], None)
    maps = PairMaps(rig)
    other = maps.rectified(beside[0], beside[1], 160)
    maps.prepared(other, 2)
    for near in (0.6, 0.4):
        maps._ranges[A.name, B.name] = (near, 2.0)
        own = maps.rectified(A, B, 160)
        for width in (240, 480, 360):
            a, b = (camera.resized(width, width * 3 // 4) for camera in (A, B))
            made = [maps.rectified(a, b, side) for side in (120, 160)]
            for pair in (own, *made):
                maps.prepared(pair, 2)
    assert list(maps._pairs.values()) == [other, own, *made], "pictures as large as the rig says may come again"
    assert {id(pair) for pair, _ in maps._prepared.values()} == {id(pair) for pair in (other, own, *made)}
    assert maps.rectified(a, b, 120) is made[0] and maps.rectified(beside[0], beside[1], 160) is other


def test_maps_are_bounded_by_what_they_take_and_those_used_last_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = PairMaps(pair_rig([A, B]))
    made = {side: maps.rectified(A, B, side) for side in (100, 110, 120, 130)}
    maps.rectified(A, B, 100)
    most = sum(maps_module._bytes(made[side]) for side in (130, 100, 120))
    monkeypatch.setattr(maps_module, "MAP_BYTES", most)
    for pair in made.values():
        maps.prepared(pair, 2)
    maps.rectified(A, B, 90)
    assert maps.rectified(A, B, 100) is made[100] and maps.rectified(A, B, 110) is not made[110]
    assert sum(map(maps_module._bytes, maps._pairs.values())) <= most
    assert {id(pair.left.grid) for pair in maps._pairs.values()} >= {key for key, _ in maps._prepared}


def test_the_rungs_of_the_largest_rig_do_not_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    cameras = arc(MAX_CAMERAS, 3, 80, 60)
    around = [(cameras[i], cameras[i + by]) for by in (1, 2) for i in range(MAX_CAMERAS - by)][:MAX_PAIRS]
    maps = PairMaps(Rig(tuple(cameras), tuple((a.name, b.name) for a, b in around), (0.5, 3.0)))
    sides = 60, 70, 80
    made = {(a.name, b.name, side): maps.rectified(a, b, side) for side in sides for a, b in around}
    assert all(maps.rectified(a, b, side) is made[a.name, b.name, side] for side in sides for a, b in around)
    monkeypatch.setattr(maps_module, "MAP_BYTES", 0)
    small = [maps.rectified(a, b, 90) for a, b in around]
    assert [maps.rectified(a, b, 90) for a, b in around] == small == list(maps._pairs.values())
