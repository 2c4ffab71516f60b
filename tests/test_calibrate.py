"""Calibration from corners: known cameras are found again, bad views are left out, and what can't work is refused."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from calibration_scene import SIZE, intrinsics_of, make_cameras, make_views

from streamsvc.calibrate import Board, Calibration, CalibrationError, Detection, View, calibrate, parse_board
from streamsvc.calibrate.layout import cameras_of, propose_pairs
from streamsvc.calibrate.projection import angle_between, project, project_with_jacobian, rotation
from streamsvc.frames import Camera

BOARD = parse_board("chessboard:11x8:0.035")


def solve(cameras: tuple[Camera, ...], views: list[View], board: Board = BOARD) -> Calibration:
    return calibrate(board, {c.name: (c.width, c.height) for c in cameras}, views)


def relative(a: Camera, b: Camera) -> tuple[np.ndarray, np.ndarray]:
    R = b.R @ a.R.T
    return R, b.t - R @ a.t


def largest_errors(true: tuple[Camera, ...], found: tuple[Camera, ...]) -> tuple[float, float, float]:
    """Focal length (relative), position (m) and direction (degrees) of cameras relative to the first."""
    focal = max(abs(f.K[0, 0] / t.K[0, 0] - 1) for t, f in zip(true, found, strict=True))
    shift = turn = 0.0
    for t, f in zip(true[1:], found[1:], strict=True):
        (R, at), (R_found, at_found) = relative(true[0], t), relative(found[0], f)
        shift = max(shift, float(np.linalg.norm(R.T @ at - R_found.T @ at_found)))
        turn = max(turn, float(np.degrees(np.linalg.norm(cv2.Rodrigues(R_found @ R.T)[0]))))
    return focal, shift, turn


def test_the_projection_and_its_derivatives_agree_with_opencv_and_with_differences() -> None:
    random = np.random.default_rng(0)
    intrinsics = np.array([600, 590, 320, 240, -0.3, 0.12, 0.002, -0.001, 0.05])
    points = random.uniform([-0.4, -0.3, 0.8], [0.4, 0.3, 1.5], (30, 3))
    pixels, by_intrinsics, by_point = project_with_jacobian(intrinsics, points)
    K = np.array([[600, 0, 320], [0, 590, 240], [0, 0, 1.0]])
    reference = cv2.projectPoints(points, np.zeros(3), np.zeros(3), K, intrinsics[4:])[0].reshape(-1, 2)
    np.testing.assert_allclose(pixels, reference, atol=1e-9)
    np.testing.assert_allclose(project(intrinsics, points), reference, atol=1e-9)
    for i in range(9):
        step = np.zeros(9)
        step[i] = 1e-6
        slope = (project(intrinsics + step, points) - project(intrinsics - step, points)) / 2e-6
        np.testing.assert_allclose(by_intrinsics[:, :, i], slope, rtol=1e-5, atol=1e-5)
    for i in range(3):
        step = np.eye(3)[i] * 1e-6
        slope = (project(intrinsics, points + step) - project(intrinsics, points - step)) / 2e-6
        np.testing.assert_allclose(by_point[:, :, i], slope, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_exact_corners_give_the_exact_rig(count: int) -> None:
    cameras = make_cameras(count)
    result = solve(cameras, make_views(cameras, BOARD, 15, 0.0, least=min(count, 2)))
    focal, shift, turn = largest_errors(cameras, cameras_of(result))
    assert focal < 1e-6 and shift < 1e-6 and turn < 1e-5
    assert result.adjusted.rms < 1e-6 and not result.dropped


@pytest.mark.parametrize("count", [2, 4])
def test_with_a_tenth_of_a_pixel_of_noise_twenty_views_give_a_thousandth_a_millimetre_a_tenth_of_a_degree(
    count: int,
) -> None:
    cameras = make_cameras(count)
    result = solve(cameras, make_views(cameras, BOARD, 20, 0.1, seed=3, tilt=45, least=2))
    focal, shift, turn = largest_errors(cameras, cameras_of(result))
    assert focal < 1e-3 and shift < 1e-3 and turn < 0.1
    assert result.adjusted.rms == pytest.approx(0.1 * np.sqrt(2), rel=0.1)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_errors_at_three_tenths_of_a_pixel_are_what_the_stated_deviations_promise(count: int) -> None:
    cameras = make_cameras(count)
    scores = []
    for seed in range(3):
        result = solve(cameras, make_views(cameras, BOARD, 20, 0.3, seed=seed, tilt=45, least=min(count, 2)))
        for c, camera in enumerate(cameras):
            deviation = np.sqrt(np.diagonal(result.adjusted.covariance[c]))[:4]
            error = result.state.intrinsics[c, :4] - intrinsics_of(camera)[:4]
            scores += list(error / deviation)
        focal, shift, turn = largest_errors(cameras, cameras_of(result))
        assert focal < 6e-3 and shift < 4e-3 and turn < 0.5
    assert np.abs(scores).max() < 4
    assert np.sqrt(np.mean(np.square(scores))) < 1.6


def test_the_world_is_the_middle_of_the_cameras_looking_along_z() -> None:
    cameras = make_cameras(4)
    found = cameras_of(solve(cameras, make_views(cameras, BOARD, 15, 0.0, least=2)))
    np.testing.assert_allclose(np.mean([c.centre for c in found], 0), 0, atol=1e-9)
    axis = np.mean([c.R[2] for c in found], 0)
    assert angle_between(axis, np.array([0.0, 0, 1])) < 1e-6
    assert np.mean([c.R[0] for c in found], 0)[1] == pytest.approx(0, abs=1e-9)
    for c in found:
        np.testing.assert_allclose(c.R @ c.R.T, np.eye(3), atol=1e-12)


def test_cameras_that_share_no_view_are_joined_through_others() -> None:
    cameras = make_cameras(3)
    views = make_views(cameras, BOARD, 30, 0.05, least=3)
    # Never all three at once: the first with the second, or the second with the third.
    views = [
        View(v.name, {n: d for n, d in v.found.items() if n != ("cam2" if i % 2 else "cam0")})
        for i, v in enumerate(views)
    ]
    focal, shift, turn = largest_errors(cameras, cameras_of(solve(cameras, views)))
    assert focal < 1e-3 and shift < 2e-3 and turn < 0.15


def test_a_view_of_another_instant_is_left_out_and_named() -> None:
    cameras = make_cameras(2)
    views = make_views(cameras, BOARD, 16, 0.1, least=2)
    other = make_views(cameras, BOARD, 17, 0.1, seed=9, least=2)[-1]
    views[5] = View("strange", {"cam0": views[5].found["cam0"], "cam1": other.found["cam1"]})
    result = solve(cameras, views)
    assert [d.view for d in result.dropped] == ["strange"]
    assert "instant" in result.dropped[0].why
    assert result.adjusted.rms < 0.2


def test_a_picture_with_displaced_corners_is_left_out_and_named() -> None:
    cameras = make_cameras(1)
    views = make_views(cameras, BOARD, 16, 0.1)
    spoiled = views[4].found["cam0"]
    bent = spoiled.pixels + np.random.default_rng(0).normal(0, 3, spoiled.pixels.shape)
    views[4] = View("bent", {"cam0": Detection(spoiled.ids, bent, 1.0)})
    result = solve(cameras, views)
    assert [(d.camera, d.view) for d in result.dropped] == [("cam0", "bent")]


def test_single_wild_corners_are_outvoted() -> None:
    cameras = make_cameras(2)
    views = make_views(cameras, BOARD, 20, 0.05, least=2)
    for i, view in enumerate(views):
        for seen in view.found.values():
            seen.pixels[i % len(seen.pixels)] += (0.6, -0.5)
    focal, shift, turn = largest_errors(cameras, cameras_of(solve(cameras, views)))
    assert focal < 1.5e-3 and shift < 1.5e-3 and turn < 0.15


def test_half_turns_of_a_symmetric_board_are_settled_between_cameras() -> None:
    board = parse_board("chessboard:9x7:0.04")
    assert board.symmetric
    cameras = make_cameras(2)
    views = make_views(cameras, board, 16, 0.05, least=2)
    for i, view in enumerate(views):
        if i % 3 == 0:
            seen = view.found["cam1"]
            view.found["cam1"] = replace(seen, pixels=seen.pixels[::-1].copy())  # type: ignore[index]
    result = solve(cameras, views, board)
    focal, shift, turn = largest_errors(cameras, cameras_of(result))
    assert focal < 2e-3 and shift < 2e-3 and turn < 0.2 and not result.dropped


def test_the_same_input_gives_the_same_rig() -> None:
    cameras = make_cameras(2)
    views = make_views(cameras, BOARD, 8, 0.2, least=2)
    a, b = solve(cameras, views), solve(cameras, views)
    assert a.state.intrinsics.tolist() == b.state.intrinsics.tolist() and a.state.t.tolist() == b.state.t.tolist()


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_parallel_boards_are_refused_with_the_advice_to_tilt(noise: float) -> None:
    cameras = make_cameras(1)
    with pytest.raises(CalibrationError, match=r"camera cam0: the focal length .* Tilt the board"):
        solve(cameras, make_views(cameras, BOARD, 15, noise, tilt=0.0))


def test_two_pictures_are_too_few() -> None:
    cameras = make_cameras(1)
    with pytest.raises(CalibrationError, match="camera cam0: the board is found in 2 pictures that differ, 3 are"):
        solve(cameras, make_views(cameras, BOARD, 2, 0.0))


def again(views: list[View], times: int, noise: float) -> list[View]:
    """Views as somebody makes them who holds the board still and releases the shutter again and again."""
    random = np.random.default_rng(4)
    return [
        View(
            f"{v.name}-{i}",
            {n: replace(d, pixels=d.pixels + random.normal(0, noise, d.pixels.shape)) for n, d in v.found.items()},
        )
        for i in range(times)
        for v in views
    ]


@pytest.mark.parametrize("times", [1, 100])
def test_pictures_that_repeat_do_not_determine_more(times: int) -> None:
    cameras = make_cameras(1)
    for seed in range(3):
        views = make_views(cameras, BOARD, 3, 0.0, seed=seed, tilt=12)
        with pytest.raises(CalibrationError, match=r"camera cam0: the focal length .* Tilt the board"):
            solve(cameras, again(views, times, 0.15))


def test_pictures_that_repeat_are_counted_once_and_told() -> None:
    cameras = make_cameras(2)
    views = make_views(cameras, BOARD, 15, 0.1, least=2)
    once, often = solve(cameras, views), solve(cameras, [v for v in views for _ in range(5)])
    assert often.state.intrinsics.tolist() == once.state.intrinsics.tolist() and often.views == once.views
    assert often.warnings == (
        f"{len(views) * 4} views show the board where another does already; they are not counted",
        *once.warnings,
    )


def test_cameras_that_never_see_the_board_together_are_named() -> None:
    cameras = make_cameras(2)
    views = make_views(cameras, BOARD, 20, 0.0, least=2)
    views = [View(v.name, {n: d for n, d in v.found.items() if n == f"cam{i % 2}"}) for i, v in enumerate(views)]
    with pytest.raises(CalibrationError, match="cam0 and cam1 never see the board at the same instant"):
        solve(cameras, views)


def test_pictures_that_are_not_of_one_instant_are_refused() -> None:
    cameras = make_cameras(2)
    views = make_views(cameras, BOARD, 20, 0.0, least=2)
    shifted = [
        View(v.name, {"cam0": v.found["cam0"], "cam1": w.found["cam1"]})
        for v, w in zip(views, [*views[7:], *views[:7]], strict=True)
    ]
    with pytest.raises(CalibrationError, match="must be of one instant"):
        solve(cameras, shifted)


@pytest.mark.parametrize("spec", ["chessboard:11x8:0.035", "chessboard:9x6:0.04"])
def test_a_mirrored_camera_is_recognised(spec: str) -> None:
    board = parse_board(spec)
    cameras = make_cameras(2)
    views = make_views(cameras, board, 15, 0.1, least=2)
    for view in views:
        seen = view.found["cam1"]
        pixels = np.empty_like(seen.pixels)
        pixels[board.mirrored] = seen.pixels * (-1, 1) + (SIZE[0] - 1, 0)
        view.found["cam1"] = replace(seen, pixels=pixels)  # type: ignore[index]
    with pytest.raises(CalibrationError, match="cam0 or cam1 are mirrored"):
        solve(cameras, views, board)


def test_a_board_that_is_bent_is_refused() -> None:
    cameras = make_cameras(1)
    random = np.random.default_rng(5)
    views = [
        View(v.name, {n: replace(d, pixels=d.pixels + random.normal(0, 6, d.pixels.shape)) for n, d in v.found.items()})
        for v in make_views(cameras, BOARD, 12, 0.0)
    ]
    with pytest.raises(CalibrationError, match=r"off by .* pixels: is the board flat"):
        solve(cameras, views)


def test_pairs_are_near_neighbours_from_left_to_right() -> None:
    def at(name: str, x: float, y: float = 0.0, turn: float = 0.0) -> Camera:
        R = rotation(np.array([0.0, turn, 0.0]))
        K = np.array([[600, 0, 320], [0, 600, 240], [0, 0, 1.0]])
        return Camera(name, 640, 480, K, np.zeros(5), R, -R @ np.array([x, y, 0.0]))

    row = [at("c", 0.2), at("a", 0.0), at("d", 0.3), at("b", 0.1)]
    assert propose_pairs(row) == (("a", "b"), ("b", "c"), ("c", "d"))
    assert propose_pairs([at("a", 0.0), at("b", 0.1), at("c", 0.3)]) == (("a", "b"), ("b", "c"))
    stacked = [at("a", 0.0), at("b", 0.2), at("c", 0.0, 0.1), at("d", 0.2, 0.1)]
    assert set(propose_pairs(stacked)) == {("a", "b"), ("c", "d")}
    assert propose_pairs([at("a", 0.0), at("b", 0.0, 0.2)]) == (("a", "b"),)
    assert propose_pairs([at("a", 0.0), at("b", 0.2, 0.0, 1.6)]) == ()
    assert propose_pairs(row[:1]) == ()
