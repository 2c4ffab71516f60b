"""Cameras of different exposure and white balance: brought to their mean, smoothly, and left alone where they agree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from view_scene import PERSON, arc, frame_set, pair_rig, render

from streamsvc.budget.slices import run_to_end
from streamsvc.frames import Camera, FrameSet, Pixels
from streamsvc.view import ViewSynthesizer
from streamsvc.view.colour import EVERY_NS, IDENTITY, Colours, Points, common, corrected, recoloured, solve
from streamsvc.view.geometry import Source
from streamsvc.view.quality import psnr
from streamsvc.view.rectify import pixel_rays
from streamsvc.view.rungs import Level

W, H = 160, 120
FRAME_NS = 66_666_667
WARM = np.array([[0.92, 0.85, 0.76], [4, 0, -3]])
"""An exposure of 0.85 and a warm white balance."""


def shown(pixels: Pixels, look: np.ndarray) -> Pixels:
    """`pixels` as a camera with that gain and offset shows them."""
    return np.clip(pixels * look[0] + look[1] + 0.5, 0, 255).astype(np.uint8)


def source(camera: Camera, look: np.ndarray = IDENTITY) -> Source:
    """A source with exact geometry."""
    pixels, depth = render(camera, PERSON)
    inverse = np.where(np.isfinite(depth), 1 / depth, 0).astype(np.float32)
    seen = shown(pixels, look)
    return Source(camera, seen, camera, pixel_rays(camera), inverse, np.ones_like(inverse), seen, 0.0, 0.02)


def looked(frames: FrameSet, looks: list[np.ndarray], capture_ns: int = 0) -> FrameSet:
    made = [
        replace(f, pixels=shown(f.pixels, look), capture_ns=capture_ns)
        for f, look in zip(frames.frames, looks, strict=True)
    ]
    return replace(frames, frames=tuple(made), capture_ns=capture_ns)


def points(rng: np.random.Generator, count: int, looks: tuple[np.ndarray, np.ndarray]) -> Points:
    scene = rng.uniform(30, 220, (count, 3))
    seen = np.stack([scene * look[0] + look[1] for look in looks], 1) + rng.normal(0, 2, (count, 2, 3))
    return seen.astype(np.float32)


def test_points_in_common_are_the_same_point_of_the_scene() -> None:
    a, b = arc(2, 20, W, H)
    found = common(source(a), source(b))
    assert len(found) > 200
    assert np.abs(found[:, 0] - found[:, 1]).mean() < 4
    assert np.abs(found[:, 0] - np.roll(found[:, 1], 1, 0)).mean() > 15  # other points look different


def test_what_only_one_camera_sees_is_no_point_in_common() -> None:
    a, b = arc(2, 20, W, H)
    hidden = replace(source(b), inverse_depth=source(b).inverse_depth * np.float32(1.5))
    assert len(common(source(a), hidden)) == 0
    unsure = replace(source(b), confidence=np.full((H, W), 0.25, np.float32))
    assert len(common(source(a), unsure)) == 0


def test_saturated_and_black_pixels_are_no_points_in_common() -> None:
    a, b = (source(c) for c in arc(2, 20, W, H))
    for level in (0, 255):
        assert len(common(a, replace(b, colour=np.full_like(b.colour, level)))) == 0


def test_solve_makes_four_cameras_alike_at_their_mean_look() -> None:
    rng = np.random.default_rng(0)
    looks = {n: np.stack([rng.uniform(0.85, 1.15, 3), rng.uniform(-4, 4, 3)]) for n in "abcd"}
    pairs = {(a, b): points(rng, 800, (looks[a], looks[b])) for a, b in ("ab", "cd", "bc")}
    affines = solve(pairs)
    assert np.allclose(np.mean(list(affines.values()), 0), IDENTITY, atol=1e-4)
    for level in (60.0, 120.0, 180.0):
        seen = np.array([(level * looks[n][0] + looks[n][1]) * affines[n][0] + affines[n][1] for n in looks])
        assert np.ptp(seen, axis=0).max() < 2


def test_highlights_and_wrong_matches_do_not_count() -> None:
    rng = np.random.default_rng(0)
    seen = points(rng, 800, (IDENTITY, WARM))
    clean = solve({("a", "b"): seen})
    seen[:160, 0] = rng.uniform(180, 249, (160, 3))
    seen[160:240] = rng.uniform(4, 249, (80, 2, 3))
    spoilt = solve({("a", "b"): seen})
    for name in "ab":
        levels = [a[name][0] * 120 + a[name][1] for a in (clean, spoilt)]
        assert np.abs(levels[0] - levels[1]).max() < 2


def test_without_enough_to_match_the_cameras_stay_as_they_are() -> None:
    assert solve({}) == {}
    for count, most in ((0, 1e-6), (3, 0.05)):
        rng = np.random.default_rng(0)
        affines = solve({("a", "b"): points(rng, count, (IDENTITY, WARM))})
        # A few points may tell the level they are at, nothing beyond it.
        assert all(np.abs(a[0] - 1).max() <= 0.15 for a in affines.values())
        assert count or all(np.abs(a - IDENTITY).max() < most for a in affines.values())


def test_a_correction_that_nobody_sees_returns_the_picture_itself() -> None:
    pixels = np.arange(75, dtype=np.uint8).reshape(5, 5, 3)
    assert corrected(pixels, IDENTITY) is pixels
    assert corrected(pixels, IDENTITY * 1.003) is pixels
    assert np.array_equal(corrected(pixels, WARM), shown(pixels, WARM))


def test_the_first_set_is_corrected_at_once_and_later_changes_come_without_a_step() -> None:
    cameras = arc(2, 20, W, H)
    colours = Colours()

    def apart(pair: list[Source]) -> float:
        return float(np.abs(np.subtract(*(s.colour.mean((0, 1)) for s in pair))).max())

    shots: list[float] = []
    before = None
    for number in range(100):
        now = number * FRAME_NS
        looks = (IDENTITY, WARM) if number < 30 else (WARM, IDENTITY)
        used = colours.at(now)
        pair = [recoloured(source(c, k), used) for c, k in zip(cameras, looks, strict=True)]
        more = colours.learn(pair, used, now)
        assert bool(more) == (number == 0)
        pair = [recoloured(s, more) for s in pair]
        shots.append(apart(pair))
        if before is not None:
            tables = [{n: a[0] * 128 + a[1] for n, a in t.items()} for t in (before, used)]
            assert all(np.abs(tables[0][n] - tables[1][n]).max() < 5 for n in tables[0])
        before = used or more
    agree = apart([source(c) for c in cameras])
    assert max(shots[0], shots[29]) < agree + 2
    assert shots[30] > 30
    assert shots[99] < agree + 2


def test_learning_takes_place_once_a_second() -> None:
    cameras = arc(2, 20, W, H)
    colours = Colours()
    used = colours.at(0)
    colours.learn([source(c) for c in cameras], used, 0)
    other = [source(cameras[0]), source(cameras[1], WARM)]
    colours.learn(other, used, EVERY_NS - 1)
    assert all(np.abs(a[0] - 1).max() < 0.02 for a in colours.at(10 * EVERY_NS).values())
    colours.learn(other, used, EVERY_NS)
    assert colours.at(20 * EVERY_NS)["cam1"][0].min() > 1.03


def test_a_camera_alone_teaches_nothing() -> None:
    colours = Colours()
    assert colours.learn([source(arc(2, 20, W, H)[0])], {}, 0) == {}


@pytest.mark.parametrize("looks", [(WARM, IDENTITY), (IDENTITY, WARM)])
def test_a_view_of_unlike_cameras_is_as_good_as_one_of_like_cameras(
    looks: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Level, "sharp", True)
    cameras = arc(5, 2, W, H)
    outer, view = [cameras[0], cameras[4]], cameras[1]
    frames, truth = frame_set(outer, PERSON), render(view, PERSON)[0]
    seen = looked(frames, list(looks))

    def score(frames: FrameSet, truth: Pixels, alike: bool = True) -> float:
        synthesizer = ViewSynthesizer(pair_rig(outer), W, H, alike=alike)
        return psnr(run_to_end(synthesizer.slices(frames, view, "sgbm-160")).pixels, truth)

    mean = shown(truth, (IDENTITY + WARM) / 2)
    plain, before, after = score(frames, truth), score(seen, mean, alike=False), score(seen, mean)
    assert after > before + 1.5 and after > plain - 0.2
    assert abs(plain - score(frames, truth, alike=False)) <= 0.02


def test_matching_sees_the_corrected_pictures_from_the_second_set_on() -> None:
    cameras = arc(3, 10, W, H)
    outer = [cameras[0], cameras[2]]
    synthesizer = ViewSynthesizer(pair_rig(outer), W, H)
    frames, truth = frame_set(outer, PERSON), shown(render(cameras[1], PERSON)[0], (IDENTITY + WARM) / 2)
    scores = []
    for number in range(2):
        seen = looked(frames, [IDENTITY, WARM], number * FRAME_NS)
        scores.append(psnr(run_to_end(synthesizer.slices(seen, cameras[1], "sgbm-160")).pixels, truth))
    assert scores[1] > scores[0] - 0.05
