"""Calibration from pictures and videos, through the command: real boards, rendered boards, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from calibration_scene import SIZE, board_poses, corners, inside, make_cameras, make_views, render

from streamsvc.cache import cache_dir
from streamsvc.calibrate import Detector, View, calibrate, parse_board, picture
from streamsvc.calibrate.choose import NOVEL, choose, difference
from streamsvc.calibrate.gather import gather_folder, list_pictures
from streamsvc.calibrate.layout import cameras_of
from streamsvc.cli import main
from streamsvc.frames import Camera, load_rig
from streamsvc.view.rectify import rectify_pair

CHESSBOARD = "chessboard:9x6:0.04"
CHARUCO = "charuco:9x7:0.05:0.037"
REAL = "chessboard:9x6:0.025"


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["calibrate", *map(str, arguments)])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("streamsvc calibrate: ")]
    assert out == "" and len(lines) == 1 and "Traceback" not in err
    return lines[0]


def take_pictures(folder: Path, spec: str, cameras: tuple[Camera, ...], count: int) -> None:
    board = parse_board(spec)
    taken = 0
    for pose in board_poses(board, 1000, seed=2, tilt=40):
        if taken == count:
            return
        if all(inside(corners(c, board, pose), c, 12) for c in cameras):
            for camera in cameras:
                (folder / camera.name).mkdir(parents=True, exist_ok=True)
                gray = render(camera, board, pose, seed=taken)
                cv2.imwrite(str(folder / camera.name / f"{taken:03d}.png"), gray)
            taken += 1
    raise AssertionError("the scene shows too few boards whole")


@pytest.fixture(scope="module")
def pair() -> tuple[Camera, ...]:
    return make_cameras(2)


@pytest.fixture(scope="module")
def chessboards(tmp_path_factory: pytest.TempPathFactory, pair: tuple[Camera, ...]) -> Path:
    folder = tmp_path_factory.mktemp("chessboards")
    take_pictures(folder, CHESSBOARD, pair, 14)
    return folder


@pytest.fixture(scope="module")
def charucos(tmp_path_factory: pytest.TempPathFactory, pair: tuple[Camera, ...]) -> Path:
    folder = tmp_path_factory.mktemp("charucos")
    take_pictures(folder, CHARUCO, pair, 10)
    return folder


@pytest.fixture(scope="module")
def real() -> Path:
    folder = cache_dir() / "boards"
    assert folder.is_dir(), "fetch the chessboard pictures first: python models/assets.py --only boards"
    return folder


def assert_near(true: tuple[Camera, ...], found: tuple[Camera, ...], focal: float, mm: float, degrees: float) -> None:
    for t, f in zip(true, found, strict=True):
        assert abs(f.K[0, 0] / t.K[0, 0] - 1) < focal and abs(f.K[1, 1] / t.K[1, 1] - 1) < focal
    for t, f in zip(true[1:], found[1:], strict=True):
        baseline = true[0].R @ (t.centre - true[0].centre)
        assert np.linalg.norm(found[0].R @ (f.centre - found[0].centre) - baseline) * 1000 < mm
        turn = (f.R @ found[0].R.T) @ (t.R @ true[0].R.T).T
        assert np.degrees(np.linalg.norm(cv2.Rodrigues(turn)[0])) < degrees


def rectified_rows(rig_left: Camera, rig_right: Camera, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """How far apart the rows of matching points are after rectification, pixels."""
    pair = rectify_pair(rig_left, rig_right, (0.2, 1.0))
    rows = []
    for side, pixels in ((pair.left, left), (pair.right, right)):
        camera, grid = side.source, side.grid
        at = cv2.undistortPoints(pixels.reshape(-1, 1, 2), camera.K, camera.dist, R=grid.R @ camera.R.T, P=grid.K)
        rows.append(at.reshape(-1, 2)[:, 1])
    return np.asarray(rows[0] - rows[1])


def test_the_real_stereo_camera_is_calibrated_to_a_fifth_of_a_pixel(
    real: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, figures, drawn = tmp_path / "rig.json", tmp_path / "figures.json", tmp_path / "rig.png"
    assert run("--board", REAL, "--images", real, "--out", out, "--json", figures, "--picture", drawn) == 0
    assert "reprojection RMS 0.1" in capsys.readouterr().out
    found = json.loads(figures.read_text())
    assert found["rms_px"] < 0.22 and len(found["views"]) == 13 and not found["dropped"]
    assert all(c["rms_px"] < 0.22 and c["views"] == 13 for c in found["cameras"])
    rig = load_rig(out)
    assert rig.pairs == (("left", "right"),) and rig.depth_range is None
    # What OpenCV 4 finds in the same corners, to within their uncertainty: 532.8 and 537.5 pixels.
    assert rig.camera("left").K[0, 0] == pytest.approx(533, abs=2)
    assert rig.camera("right").K[0, 0] == pytest.approx(537, abs=2)
    assert cv2.imread(str(drawn)).shape[1] == 1400


def test_real_pairs_that_were_not_calibrated_with_are_rectified_to_half_a_pixel(real: Path) -> None:
    detector = Detector(parse_board(REAL))
    gathered = gather_folder(real, detector)
    held_out = gathered.views[::4]
    result = calibrate(detector.board, gathered.sizes, [v for v in gathered.views if v not in held_out])
    left, right = cameras_of(result)
    assert len(held_out) == 4
    for view in held_out:
        rows = rectified_rows(left, right, view.found["left"].pixels, view.found["right"].pixels)
        assert np.sqrt(np.mean(rows**2)) < 0.5 and np.abs(rows).max() < 1.5


def test_one_real_camera_alone_gives_its_intrinsics(real: Path, tmp_path: Path) -> None:
    for path in real.glob("left*.jpg"):
        shutil.copy(path, tmp_path)
    assert run("--board", REAL, "--images", tmp_path, "--out", tmp_path / "rig.json", "--depth", "0.3:2") == 0
    rig = load_rig(tmp_path / "rig.json")
    assert [c.name for c in rig.cameras] == ["left"] and rig.pairs == () and rig.depth_range == (0.3, 2.0)
    np.testing.assert_array_equal(rig.cameras[0].R, np.eye(3))


@pytest.mark.parametrize(
    ("board", "message"),
    [
        ("chessboard:8x6:0.025", "has 9 x 6 inner corners, not 8 x 6"),
        ("chessboard:10x7:0.025", "camera left: .* a chessboard of 9 x 6 inner corners is seen, not 10 x 7"),
        ("charuco:9x6:0.03:0.02", "camera left: the ChArUco board .* is found in none of 3 pictures"),
    ],
)
def test_the_wrong_board_is_recognised(
    real: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], board: str, message: str
) -> None:
    for name in ("left01", "left02", "left04", "right01", "right02", "right04"):
        shutil.copy(real / f"{name}.jpg", tmp_path)
    said = refusal(capsys, "--board", board, "--images", tmp_path, "--out", tmp_path / "rig.json")

    assert re.search(message, said)
    assert not (tmp_path / "rig.json").exists()


def test_a_rendered_pair_is_found_again_from_its_pictures(
    chessboards: Path, pair: tuple[Camera, ...], tmp_path: Path
) -> None:
    out = tmp_path / "rig.json"
    assert run("--board", CHESSBOARD, "--images", chessboards, "--out", out) == 0
    assert_near(pair, load_rig(out).cameras, focal=1e-3, mm=1.0, degrees=0.1)


def test_a_charuco_board_gives_the_same_rig_also_when_partly_hidden(
    charucos: Path, pair: tuple[Camera, ...], tmp_path: Path
) -> None:
    for path in charucos.rglob("*.png"):
        gray = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if int(path.stem) % 3 == 0:
            gray[: SIZE[1] // 2, : SIZE[0] // 2] = 90
        (tmp_path / path.parent.name).mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / path.parent.name / path.name), gray)
    out = tmp_path / "rig.json"
    assert run("--board", CHARUCO, "--images", tmp_path, "--out", out) == 0
    assert_near(pair, load_rig(out).cameras, focal=3e-3, mm=2.0, degrees=0.2)


def write_video(path: Path, pictures: list[Path], repeat: int, rate: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "12", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for picture_path in pictures:
            gray = cv2.imread(str(picture_path), cv2.IMREAD_GRAYSCALE)
            for _ in range(repeat):
                frame = av.VideoFrame.from_ndarray(gray, format="gray").reformat(format="yuv420p")
                container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_videos_of_different_frame_rates_are_sampled_at_the_same_instants(
    chessboards: Path, pair: tuple[Camera, ...], tmp_path: Path
) -> None:
    for camera, (repeat, rate) in zip(pair, ((6, 10), (9, 15)), strict=True):
        write_video(tmp_path / f"{camera.name}.mp4", sorted((chessboards / camera.name).iterdir()), repeat, rate)
    out, figures = tmp_path / "rig.json", tmp_path / "figures.json"
    named = [f"--camera={c.name}={tmp_path / c.name}.mp4" for c in pair]
    assert run("--board", CHESSBOARD, *named, "--out", out, "--json", figures, "--pairs", "cam1,cam0") == 0
    found = json.loads(figures.read_text())
    assert 10 <= len(found["views"]) <= 14 and not found["dropped"]
    assert_near(pair, load_rig(out).cameras, focal=3e-3, mm=3.0, degrees=0.3)
    assert load_rig(out).pairs == (("cam1", "cam0"),)


def test_a_folder_of_videos_is_read_like_named_ones(chessboards: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "front.mp4", sorted((chessboards / "cam0").iterdir())[:6], 2, 5)
    gathered = gather_folder(tmp_path, Detector(parse_board(CHESSBOARD)))
    assert list(gathered.sizes) == ["front"] and len(gathered.views) >= 4


def test_mirrored_pictures_of_a_charuco_board_are_recognised(
    charucos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in charucos.rglob("cam0/*.png"):
        cv2.imwrite(str(tmp_path / f"cam{path.name}"), cv2.imread(str(path))[:, ::-1])
    said = refusal(capsys, "--board", CHARUCO, "--images", tmp_path, "--out", tmp_path / "r.json")
    assert "camera cam: " in said and "mirrored" in said


def test_another_dictionary_is_recognised(charucos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refusal(capsys, "--board", f"{CHARUCO}:4X4_50", "--images", charucos, "--out", tmp_path / "r.json")
    assert "markers of 5X5 are seen, not of 4X4_50" in said


def test_pictures_of_two_sizes_are_refused(
    chessboards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = sorted((chessboards / "cam0").iterdir())[:2]
    shutil.copy(first, tmp_path / "a01.png")
    cv2.imwrite(str(tmp_path / "a02.png"), cv2.imread(str(second))[:400])
    said = refusal(capsys, "--board", CHESSBOARD, "--images", tmp_path, "--out", tmp_path / "r.json")
    assert "camera a: a02.png is 640 x 400, its other pictures are 640 x 480" in said


def test_pictures_without_a_board_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"desk{i}.png"), np.full((240, 320), 128, np.uint8))
    said = refusal(capsys, "--board", CHESSBOARD, "--images", tmp_path, "--out", tmp_path / "r.json")
    assert "camera desk: the chessboard of 9 x 6 inner corners is found in none of 3 pictures" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--board", "checkers:9x6:0.02"], "--board must be chessboard:COLSxROWS:SQUARE"),
        (["--board", "chessboard:9x6"], "--board must be"),
        (["--board", "chessboard:9x6:25"], "in metres"),
        (["--board", "chessboard:2x6:0.02"], "3 to 40 inner corners"),
        (["--board", "charuco:9x6:0.02:0.03"], "must be smaller than its square"),
        (["--board", "charuco:9x6:0.03:0.02:8X8_50"], "no dictionary is called '8X8_50'"),
        (["--board", "charuco:20x20:0.03:0.02:4X4_50"], "need 200 markers, 4X4_50 holds 50"),
        (["--board", REAL], "give either --images DIR or --camera"),
        (["--board", REAL, "--images", "absent"], "--out is missing"),
        (["--board", REAL, "--images", "absent", "--out", "r.json"], "absent: is not a folder"),
        (["--board", REAL, "--images", ".", "--out", "r.json"], "holds no pictures"),
        (["--board", REAL, "--images", ".", "--out", "r.json", "--depth", "2:1"], "NEAR < FAR"),
        (["--board", REAL, "--camera", "a=x.mp4", "--out", "r.json"], "x.mp4"),
        (["--board", REAL, "--camera", "a=x.mp4", "--camera", "b=/dev/null", "--out", "r.json"], "one kind"),
        (
            ["--board", REAL, "--camera", "a=absent.mp4", "--out", "r.json", "--pairs", "a,b"],
            "--pairs must be A,B, two different ones of a, got 'a,b'",
        ),
        (["--board", REAL, "--save-board", "b.jpg"], "must end in .png"),
        (["--board", REAL, "--save-board", "b.png", "--dpi", "5"], "--dpi must be"),
    ],
)
def test_flags_that_cannot_be_taken_are_explained(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refusal(capsys, *arguments)


def test_damaged_pictures_and_videos_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a01.png").write_bytes(b"not a picture")
    assert "a01.png: is not a picture" in refusal(capsys, "--board", REAL, "--images", tmp_path, "--out", "r.json")
    (tmp_path / "a01.png").rename(tmp_path / "a.mp4")
    assert "a.mp4: can't be read" in refusal(capsys, "--board", REAL, "--images", tmp_path, "--out", "r.json")


def test_layouts_are_told_apart(tmp_path: Path) -> None:
    for name in ("left01.jpg", "left02.jpg", "right-01.png", "notes.txt", "aloe.png"):
        (tmp_path / name).touch()
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "morning.JPG").touch()
    cameras, ignored = list_pictures(tmp_path)
    assert {c: sorted(p) for c, p in cameras.items()} == {
        "left": ["01", "02"],
        "right": ["01"],
        "top": ["morning"],
    }
    assert ignored == ["aloe.png", "notes.txt"]


def test_views_of_a_video_are_still_sharp_and_different() -> None:
    cameras = make_cameras(1)
    board = parse_board(CHESSBOARD)
    sizes = {"cam0": SIZE}
    places = [v.found["cam0"] for v in make_views(cameras, board, 6, 0.0)]
    still = [{"cam0": p} for p in places for _ in range(3)]
    chosen = choose(still, sizes, 40)
    assert len(chosen) >= 4 and len({i // 3 for i in chosen}) == len(chosen)
    for i, found in enumerate(still):
        distances = [difference(found, still[k], sizes) for k in chosen if k != i]
        assert min(distances) >= NOVEL if i in chosen else min(distances) < NOVEL
    assert len(choose(still, sizes, 3)) == 3
    blurred = [{"cam0": replace(places[0], spread=9.0)}, *[{"cam0": places[0]}] * 2]
    assert choose(blurred, sizes, 40)[0] > 0
    assert choose([{}, {}], sizes, 4) == []


@pytest.mark.parametrize("count", [1, 3, 4])
def test_the_picture_of_the_rig_shows_every_camera(count: int) -> None:
    cameras = make_cameras(count)
    board = parse_board(CHESSBOARD)
    views: list[View] = make_views(cameras, board, 12, 0.1, least=count)
    drawn = picture.draw(calibrate(board, {c.name: SIZE for c in cameras}, views))
    assert drawn.shape == (48 + picture.PLAN + (count + 1) // 2 * picture.PANEL, picture.WIDTH, 3)
    for i in range(count):
        assert (drawn == picture.COLOURS[i]).all(2).sum() > 300
