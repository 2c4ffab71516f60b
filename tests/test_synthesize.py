"""The `synthesize` contract on files: a picture, a video, given geometry, and each bad input with its own error."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from view_scene import PERSON, arc, pair_rig, render

from streamsvc.errors import StreamsvcError
from streamsvc.frames import Camera
from streamsvc.view.errors import ViewError
from streamsvc.view.quality import psnr
from streamsvc.view.synthesize import synthesize

W, H = 160, 120


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels[:, :, ::-1])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with rig.json, view.json, pictures, frames, geometry and the true view."""
    folder = tmp_path_factory.mktemp("synthesize")
    cameras = arc(3, 10, W, H)
    outer = [cameras[0], cameras[2]]
    (folder / "rig.json").write_text(json.dumps(pair_rig(outer).to_json()))
    view = cameras[1].to_json()
    del view["name"]
    (folder / "view.json").write_text(json.dumps(view))
    (folder / "geometry").mkdir()
    for camera in outer:
        pixels, depth = render(camera, PERSON)
        save(folder / "images" / f"{camera.name}.png", pixels)
        depth[:3, :3] = np.nan
        np.save(folder / "geometry" / f"{camera.name}.npy", depth)
        for number in range(3):
            save(folder / "frames" / camera.name / f"{number:06d}.png", pixels)
    save(folder / "truth.png", render(cameras[1], PERSON)[0])
    return folder


def picture(path: Path) -> np.ndarray:
    return np.ascontiguousarray(cv2.imread(str(path))[:, :, ::-1])


def person() -> np.ndarray:
    return render(arc(3, 10, W, H)[1], PERSON)[1] < 1.4


def test_pictures_make_a_picture_better_than_the_nearest_camera(made: Path, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    stats = synthesize(
        made / "rig.json",
        made / "images",
        made / "view.json",
        tmp_path / "out.png",
        progress=lambda *n: steps.append(n),
    )
    truth = picture(made / "truth.png")
    baseline = max(psnr(picture(made / "images" / f"cam{i}.png"), truth, person()) for i in (0, 2))
    assert psnr(picture(tmp_path / "out.png"), truth, person()) >= baseline + 3
    assert steps == [(1, 1)]
    assert stats["frames"] == 1 and (stats["width"], stats["height"]) == (W, H) and stats["device"] == "cpu"
    assert set(stats["milliseconds"]) == {"rectify", "disparity", "splat", "blend"}  # type: ignore[call-overload]
    assert 0.5 < stats["coverage"] <= 1  # type: ignore[operator]
    json.dumps(stats)


def test_given_depth_takes_the_place_of_disparity_and_is_better(made: Path, tmp_path: Path) -> None:
    files = made / "rig.json", made / "images", made / "view.json"
    stats = synthesize(*files, tmp_path / "given.png", geometry=made / "geometry")
    synthesize(*files, tmp_path / "found.png")
    truth = picture(made / "truth.png")
    assert psnr(picture(tmp_path / "given.png"), truth) > psnr(picture(tmp_path / "found.png"), truth)
    assert set(stats["milliseconds"]) == {"splat", "blend"}  # type: ignore[call-overload]


def test_the_truth_scores_the_view_beside_the_nearest_camera(made: Path, tmp_path: Path) -> None:
    files = made / "rig.json", made / "images", made / "view.json"
    found = synthesize(*files, tmp_path / "out.png", truth=made / "truth.png")["truth"]
    view, truth = picture(tmp_path / "out.png"), picture(made / "truth.png")
    nearest = picture(made / "images" / "cam0.png")
    assert isinstance(found, dict) and set(found) == {"picture_psnr", "picture_ssim"}
    assert found["picture_psnr"]["view"] == pytest.approx(psnr(view, truth), abs=1e-3)
    assert found["picture_psnr"]["nearest_camera"] == pytest.approx(psnr(nearest, truth), abs=1e-3)
    # Transparency tells the foreground; a film has a folder of true pictures.
    folder = tmp_path / "truth"
    folder.mkdir()
    for number in range(3):
        cv2.imwrite(str(folder / f"{number:06d}.png"), np.dstack([truth[:, :, ::-1], person() * np.uint8(255)]))
    frames = made / "rig.json", made / "frames", made / "view.json"
    found = synthesize(*frames, tmp_path / "out.mp4", truth=folder)["truth"]
    assert isinstance(found, dict)
    assert found["foreground_psnr"]["view"] == pytest.approx(psnr(view, truth, person()), abs=1e-3)
    for bad, words in ((tmp_path / "none.png", "No such file"), (made / "geometry" / "cam0.npy", "not a picture")):
        with pytest.raises(ViewError, match=words):
            synthesize(*files, tmp_path / "out.png", truth=bad)
    (folder / "000002.png").unlink()
    with pytest.raises(ViewError, match="2 pictures for 3 views"):
        synthesize(*frames, tmp_path / "out.mp4", truth=folder)


def test_frames_make_a_video_with_its_colours_tagged(made: Path, tmp_path: Path) -> None:
    views = [json.loads((made / "view.json").read_text())] * 3
    (tmp_path / "views.json").write_text(json.dumps(views))
    out = tmp_path / "out.mp4"
    stats = synthesize(made / "rig.json", made / "frames", tmp_path / "views.json", out, rung="sgbm-160")
    assert stats["frames"] == 3 and stats["rung"] == "sgbm-160"
    synthesize(made / "rig.json", made / "images", made / "view.json", tmp_path / "still.png", rung="sgbm-160")
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
        assert (stream.codec_context.colorspace, stream.codec_context.color_range) == (1, 1)
        frames = [
            f.reformat(format="rgb24", src_colorspace="ITU709", src_color_range="MPEG", dst_color_range="JPEG")
            for f in container.decode(stream)
        ]
    assert len(frames) == 3
    # Chroma is halved, so only the means can be compared closely.
    still = picture(tmp_path / "still.png").reshape(-1, 3).mean(0)
    assert np.abs(frames[1].to_ndarray().reshape(-1, 3).mean(0) - still).max() < 2


def test_one_camera_is_seen_as_a_plane(made: Path, tmp_path: Path) -> None:
    doc = json.loads((made / "rig.json").read_text())
    doc |= {"cameras": doc["cameras"][:1], "pairs": []}
    (tmp_path / "rig.json").write_text(json.dumps(doc))
    (tmp_path / "view.json").write_text(json.dumps(doc["cameras"][0]))
    synthesize(tmp_path / "rig.json", made / "images", tmp_path / "view.json", tmp_path / "out.png")
    own = picture(made / "images" / "cam0.png").astype(int)
    assert np.abs(picture(tmp_path / "out.png") - own).max() <= 1
    result = synthesize(tmp_path / "rig.json", made / "images", made / "view.json", tmp_path / "out.png")
    assert np.abs(picture(tmp_path / "out.png") - own).max() > 50 and 0.5 < result["coverage"] < 1


def edit_rig(change: Callable[[dict], object]) -> Callable[[Path], None]:  # type: ignore[type-arg]
    def apply(folder: Path) -> None:
        doc = json.loads((folder / "rig.json").read_text())
        change(doc)
        (folder / "rig.json").write_text(json.dumps(doc))

    return apply


def edit_view(change: Callable[[dict], object]) -> Callable[[Path], None]:  # type: ignore[type-arg]
    def apply(folder: Path) -> None:
        doc = json.loads((folder / "view.json").read_text())
        change(doc)
        (folder / "view.json").write_text(json.dumps(doc))

    return apply


def small(camera: Camera) -> np.ndarray:
    return render(replace(camera.resized(80, 60)), PERSON)[0]


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "no rig": (lambda d: (d / "rig.json").unlink(), "rig.json"),
    "rig is not JSON": (lambda d: (d / "rig.json").write_text("{"), "JSON"),
    "singular K": (edit_rig(lambda r: r["cameras"][0].update(K=[[0] * 3] * 3)), "'K' is singular"),
    "singular R": (edit_rig(lambda r: r["cameras"][0].update(R=[[0] * 3] * 3)), "'R' is singular"),
    "pair of a missing camera": (edit_rig(lambda r: r.update(pairs=[["cam0", "cam9"]])), "cam9"),
    "cameras in one place": (
        edit_rig(lambda r: r["cameras"][1].update(R=r["cameras"][0]["R"], t=r["cameras"][0]["t"])),
        "one place",
    ),
    "no view": (lambda d: (d / "view.json").unlink(), "view.json"),
    "view with distortion": (edit_view(lambda v: v.update(dist=[1, 0, 0, 0, 0])), "distortion"),
    "no folder": (lambda d: shutil.rmtree(d / "images"), "not a folder"),
    "no picture": (lambda d: (d / "images" / "cam2.png").unlink(), "cam2"),
    "damaged picture": (
        lambda d: (d / "images" / "cam2.png").write_bytes((d / "images" / "cam2.png").read_bytes()[:40]),
        "damaged",
    ),
    "empty picture": (lambda d: (d / "images" / "cam2.png").write_bytes(b""), "damaged"),
    "text for a picture": (lambda d: (d / "images" / "cam2.png").write_text("hello"), "damaged"),
    "picture of the wrong size": (lambda d: save(d / "images" / "cam2.png", small(arc(1, 0, W, H)[0])), "80 x 60"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_in_one_line(made: Path, tmp_path: Path, case: str) -> None:
    change, says = BAD[case]
    shutil.copytree(made, tmp_path / "in")
    change(tmp_path / "in")
    folder = tmp_path / "in"
    with pytest.raises(StreamsvcError, match=says) as error:
        synthesize(folder / "rig.json", folder / "images", folder / "view.json", tmp_path / "out.png")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out.png").exists()


BAD_GEOMETRY: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda p: p.unlink(), "cam2.npy"),
    "damaged": (lambda p: p.write_bytes(p.read_bytes()[:200]), "damaged"),
    "not an array": (lambda p: p.write_text("depth"), "damaged"),
    "of the wrong size": (lambda p: np.save(p, np.ones((5, 5), np.float32)), "float32"),
    "of the wrong type": (lambda p: np.save(p, np.ones((H, W))), "float32"),
}


@pytest.mark.parametrize("case", BAD_GEOMETRY)
def test_bad_geometry_is_named(made: Path, tmp_path: Path, case: str) -> None:
    change, says = BAD_GEOMETRY[case]
    shutil.copytree(made / "geometry", tmp_path / "geometry")
    change(tmp_path / "geometry" / "cam2.npy")
    with pytest.raises(StreamsvcError, match=says):
        synthesize(
            made / "rig.json",
            made / "images",
            made / "view.json",
            tmp_path / "out.png",
            geometry=tmp_path / "geometry",
        )


def test_unknown_rung_device_and_unwritable_places_are_refused(made: Path, tmp_path: Path) -> None:
    files = made / "rig.json", made / "images", made / "view.json"
    with pytest.raises(StreamsvcError, match="classical, sgbm-108"):
        synthesize(*files, tmp_path / "out.png", rung="net-9")
    with pytest.raises(StreamsvcError, match="cuda"):
        synthesize(*files, tmp_path / "out.png", device="cuda", rung="classical")
    with pytest.raises(StreamsvcError, match="tpu"):
        synthesize(*files, tmp_path / "out.png", device="tpu")
    with pytest.raises(StreamsvcError, match="nowhere"):
        synthesize(*files, tmp_path / "nowhere" / "out.png")
    with pytest.raises(StreamsvcError, match=r"use \.png"):
        synthesize(*files, tmp_path / "out.xyz")
    with pytest.raises(StreamsvcError, match="not a folder"):
        synthesize(*files, tmp_path / "out.png", geometry=tmp_path / "none")


def test_jpegs_are_pictures_and_frames_too_and_none_is_overwritten(made: Path, tmp_path: Path) -> None:
    for name in ("cam0", "cam2"):
        picture = cv2.imread(str(made / "images" / f"{name}.png"))
        for file in (f"images/{name}.jpg", f"frames/{name}/000000.jpeg", f"frames/{name}/000001.jpeg"):
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / file), picture)
    rig, view = made / "rig.json", made / "view.json"
    still = synthesize(rig, tmp_path / "images", view, tmp_path / "out.png", rung="classical")
    video = synthesize(rig, tmp_path / "frames", view, tmp_path / "out.mp4", rung="classical")
    assert (still["frames"], video["frames"]) == (1, 2) and still["coverage"] == video["coverage"]
    before = (tmp_path / "images" / "cam2.jpg").read_bytes()
    with pytest.raises(ViewError, match="one of the cameras' pictures"):
        synthesize(rig, tmp_path / "images", view, tmp_path / "images" / "cam2.jpg")
    assert (tmp_path / "images" / "cam2.jpg").read_bytes() == before


def test_a_view_that_is_not_finite_is_called_so(made: Path, tmp_path: Path) -> None:
    view = json.loads((made / "view.json").read_text())
    view["t"] = [0, float("nan"), 0]
    (tmp_path / "view.json").write_text(json.dumps(view))
    with pytest.raises(StreamsvcError, match="'t' holds a number that is not finite"):
        synthesize(made / "rig.json", made / "images", tmp_path / "view.json", tmp_path / "out.png")


def test_videos_need_matching_frames_views_and_names(made: Path, tmp_path: Path) -> None:
    rig, view = made / "rig.json", made / "view.json"
    with pytest.raises(StreamsvcError, match=r"\.mp4"):
        synthesize(rig, made / "frames", view, tmp_path / "out.png")
    two = tmp_path / "two.json"
    two.write_text(json.dumps([json.loads(view.read_text())] * 2))
    with pytest.raises(StreamsvcError, match="2 views for 3 frames"):
        synthesize(rig, made / "frames", two, tmp_path / "out.mp4")
    with pytest.raises(StreamsvcError, match="only frames take a list"):
        synthesize(rig, made / "images", two, tmp_path / "out.png")
    shutil.copytree(made / "frames", tmp_path / "frames")
    (tmp_path / "frames" / "cam2" / "000001.png").unlink()
    with pytest.raises(StreamsvcError, match=r"000001\.png is missing"):
        synthesize(rig, tmp_path / "frames", view, tmp_path / "out.mp4")
    odd = json.loads(view.read_text()) | {"width": 161}
    (tmp_path / "odd.json").write_text(json.dumps(odd))
    with pytest.raises(StreamsvcError, match="even sides"):
        synthesize(rig, made / "frames", tmp_path / "odd.json", tmp_path / "out.mp4")
