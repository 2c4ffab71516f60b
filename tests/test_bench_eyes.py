"""`bench eyes`: what it makes of what the tracker said and of what was drawn."""

from __future__ import annotations

import numpy as np
import pytest

from streamsvc.bench.eyes import FaceFilm, judged, table
from streamsvc.bench.eyes_motion import Motion, jump_times, lines, sway_lag
from streamsvc.probe.chromium import BrowserError

EYES = np.array([[[-0.03, 0.0, 0.6], [0.03, 0.0, 0.6]]] * 4)
FILM = FaceFilm(["", "", "", ""], EYES)
LEFT, RIGHT = np.array([10.0, 60, 200]), np.array([50.0, 20, 180])


def said(shift: tuple[float, float, float]) -> dict:
    return {"eyes": (EYES[0] + shift).tolist(), "ms": 15.0}


def test_errors_are_those_of_the_middle_and_of_the_pictures_in_which_eyes_were_found() -> None:
    found = [said((0.004, 0, 0)), said((0, 0.001, -0.03)), {"eyes": None, "ms": 25.0}, said((0, 0, 0.01))]
    tracked = judged(3, found, FILM)
    assert tracked.found == 0.75 and tracked.person == 3
    assert tracked.largest_mm == pytest.approx((4, 1, 30))
    assert tracked.median_mm == pytest.approx((0, 0, 10))
    assert tracked.p50_ms == 15.0 and not tracked.told
    assert FILM.pupils_m == pytest.approx(0.06)
    assert any("75.0%" in line and "30.0" in line for line in table([tracked]))


def test_a_tracker_that_finds_nothing_or_stops_is_an_error() -> None:
    with pytest.raises(BrowserError, match="no face"):
        judged(0, [{"eyes": None, "ms": 10.0}] * 4, FILM)
    with pytest.raises(BrowserError, match="no memory"):
        judged(0, [{"failed": "no memory"}], FILM)


def test_the_way_of_a_jump_ends_where_the_drawn_picture_has_changed() -> None:
    moves = np.array([1000.0, 3000.0, 5000.0, 7000.0])
    at = np.arange(0, 7000, 10.0)
    # 80 ms after each jump a quarter of the change is drawn, 120 ms after it all of it.
    place = np.zeros_like(at)
    for k, start in enumerate(moves[:-1]):
        way = np.interp(at - start, [79, 80, 119, 120], [0, 0.25, 0.25, 1])
        place = np.where(at > start, way if k % 2 == 0 else 1 - way, place)
    drawn = LEFT + place[:, None] * (RIGHT - LEFT) + np.random.default_rng(1).normal(0, 0.5, (len(at), 3))
    assert jump_times(moves, at, drawn) == [(80, 120)] * 3


def test_a_jump_of_which_nothing_was_drawn_is_left_out() -> None:
    at = np.arange(0, 900, 10.0)
    assert jump_times(np.array([1000.0, 3000.0]), at, np.tile(LEFT, (len(at), 1))) == []


@pytest.mark.parametrize("lag", [-30.0, 0.0, 45.0, 180.0])
@pytest.mark.parametrize("way", [1, -1])
def test_the_lag_of_a_sway_is_found_whichever_way_the_picture_goes(lag: float, way: int) -> None:
    heads, at = np.arange(0, 12_000, 33.0), np.arange(5, 12_000, 47.0)
    places = np.sin(2 * np.pi * heads / 2000)
    shown = np.sin(2 * np.pi * (at - lag) / 2000)
    drawn = LEFT + way * shown[:, None] * (RIGHT - LEFT) + np.random.default_rng(2).normal(0, 0.5, (len(at), 3))
    assert sway_lag(heads, places, at, drawn, 2000.0) == pytest.approx(lag, abs=2)


def test_the_table_names_the_modes() -> None:
    told = "\n".join(lines([Motion("packed", 5, 40.0, 55.0, 48.0, 12.0, 60.0)]))
    assert "packed" in told and "12" in told
