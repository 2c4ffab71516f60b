"""The person over a backdrop: whose pixel it is, whose colour it has, and a room that is never shown by mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from view_scene import PERSON, arc, frame_set, looking_at, pair_rig, render

from streamsvc.budget.slices import run_timed, run_to_end
from streamsvc.frames import Frame, FrameSet, Rig
from streamsvc.frames.backdrop import ROOM, Backdrop, BackdropError, parse_backdrop
from streamsvc.frames.outputmode import parse_mode
from streamsvc.scene import between, open_scene
from streamsvc.view import ViewSynthesizer
from streamsvc.view.backdrop import blurred_room, foreground, open_backdrop, over
from streamsvc.view.compose import View, compose
from streamsvc.view.errors import ViewError
from streamsvc.view.geometry import Source
from streamsvc.view.matte import _cut_gaps
from streamsvc.view.modes import take
from streamsvc.view.net import open_net
from streamsvc.view.rectify import pixel_rays
from streamsvc.view.synthesize import GIVEN_FADE_PER_M, GIVEN_TOLERANCE, synthesize

SIZE = (96, 72)
RED, GREEN, BLUE = (200, 30, 20), (20, 180, 40), (10, 20, 220)
PLAIN_BLUE = Backdrop("colour", BLUE)


def soft_disc(width: int = 96, height: int = 72) -> NDArray[np.float32]:
    """A matte with an edge of three pixels."""
    y, x = np.mgrid[0:height, 0:width]
    return np.clip((25 - np.hypot(x - width / 2, y - height / 2)) / 3 + 0.5, 0, 1).astype(np.float32)


def red_before_green(matte: NDArray[np.float32]) -> View:
    mixed = matte[..., None] * np.array(RED) + (1 - matte[..., None]) * np.array(GREEN)
    depth = np.full(matte.shape, 1.0, np.float32)
    return View((mixed + 0.5).astype(np.uint8), depth, np.ones_like(matte), matte=matte)


def test_backdrops_are_read_by_name() -> None:
    assert parse_backdrop("room").kind == "room"
    assert not parse_backdrop("room").hides
    assert parse_backdrop("blur").hides
    assert parse_backdrop("#0a14DC").colour == BLUE
    for text in ("", "#12345", "#12345g", "Room", "transparent", "beach.png", "#١٢٣٤٥٦"):
        with pytest.raises(BackdropError, match="there are room, blur or #rrggbb"):
            parse_backdrop(text)


def test_files_and_transparency_are_for_pictures_on_disk(tmp_path: Path) -> None:
    beach = tmp_path / "beach.png"
    cv2.imwrite(str(beach), np.full((40, 60, 3), 77, np.uint8))
    found = open_backdrop(str(beach))
    assert found.kind == "image"
    assert found.picture is not None
    assert found.picture.shape == (40, 60, 3)
    assert open_backdrop("transparent").kind == "transparent"
    assert open_backdrop("#ffffff").colour == (255, 255, 255)
    with pytest.raises(BackdropError, match="no file"):
        open_backdrop(str(tmp_path / "sea.png"))
    beach.write_bytes(b"sand")
    with pytest.raises(ViewError, match="damaged"):
        open_backdrop(str(beach))


def test_a_soft_edge_brings_none_of_the_old_room_along() -> None:
    matte = soft_disc()
    view = red_before_green(matte)
    person = foreground(view.pixels, matte)
    assert np.abs(person[matte > 0.05].astype(int) - RED).max() <= 4
    shown = over(view, PLAIN_BLUE).pixels.astype(int)
    wanted = matte[..., None] * np.array(RED) + (1 - matte[..., None]) * np.array(BLUE)
    assert np.abs(shown - wanted).max() <= 6
    assert (shown[matte == 0] == BLUE).all()


def test_the_persons_own_detail_stays_at_the_edge() -> None:
    matte = soft_disc()
    stripes = np.where((np.arange(96) // 3 % 2)[None, :, None], RED, (90, 10, 90)) * np.ones((72, 1, 1))
    mixed = matte[..., None] * stripes + (1 - matte[..., None]) * np.array(GREEN)
    person = foreground((mixed + 0.5).astype(np.uint8), matte)
    edge = (matte > 0.5) & (matte < 1)
    pushed = np.abs(stripes.mean((0, 1)) - stripes)[edge].mean()
    assert np.abs(person - stripes)[edge].mean() < 0.5 * pushed
    assert np.abs(person - stripes)[edge].mean() < 0.7 * np.abs(mixed - stripes)[edge].mean()


def test_the_blurred_room_has_no_colour_of_the_person() -> None:
    matte = soft_disc()
    room = blurred_room(red_before_green(matte).pixels, matte)
    assert np.abs(room.astype(int) - GREEN).max() <= 3


def test_the_blurred_room_keeps_its_light_but_no_detail() -> None:
    checks = (np.indices((72, 96)).sum(0) // 2 % 2 * 200 + 20).astype(np.uint8)
    room = blurred_room(np.dstack([checks] * 3), np.zeros((72, 96), np.float32))
    assert room.std() < 12
    assert abs(float(room.mean()) - checks.mean()) < 4


def test_a_picture_covers_the_view_from_its_middle() -> None:
    halves = np.zeros((30, 120, 3), np.uint8)
    halves[:, :40], halves[:, 40:80], halves[:, 80:] = RED, GREEN, BLUE
    view = red_before_green(np.zeros((72, 96), np.float32))
    shown = over(view, Backdrop("image", picture=halves)).pixels
    assert shown.shape == view.pixels.shape
    assert np.abs(shown.astype(int) - GREEN).max() <= 8


def test_a_transparent_view_has_the_matte_as_its_alpha() -> None:
    matte = soft_disc()
    shown = over(red_before_green(matte), Backdrop("transparent")).pixels
    assert shown.shape == (72, 96, 4)
    assert np.abs(shown[..., 3] / 255 - matte).max() < 0.01
    assert np.abs(shown[matte > 0.05][:, :3].astype(int) - RED).max() <= 4


def test_depth_goes_with_the_room_unless_the_room_stays() -> None:
    matte = soft_disc()
    view = red_before_green(matte)
    assert (over(view, PLAIN_BLUE).inverse_depth == (matte >= 0.5)).all()
    assert (over(view, Backdrop("blur")).inverse_depth == 1).all()


def sources_with_mattes() -> tuple[list[Source], Rig]:
    cameras = arc(2, 20, *SIZE)
    rig = pair_rig(cameras)
    sources = []
    for camera, frame in zip(cameras, frame_set(cameras, PERSON).frames, strict=True):
        depth = render(camera, PERSON)[1]
        inverse = (1 / depth).astype(np.float32)
        sources.append(
            Source(
                camera=camera,
                pixels=frame.pixels,
                grid=camera,
                rays=pixel_rays(camera),
                inverse_depth=inverse,
                confidence=np.ones_like(inverse),
                colour=frame.pixels,
                tolerance=0.0,
                relative_tolerance=GIVEN_TOLERANCE,
                matte=(depth < 1.4).astype(np.float32),
            )
        )
    return sources, rig


def test_the_matte_is_carried_into_the_view_and_changes_nothing_else() -> None:
    sources, _ = sources_with_mattes()
    target = looking_at("t", (0, 0, 0), (0, 0, 1.0), *SIZE)
    plain = run_to_end(compose(sources, target, 96, GIVEN_FADE_PER_M))
    matted = run_to_end(compose(sources, target, 96, GIVEN_FADE_PER_M, matted=True))
    assert plain.matte is None
    assert matted.matte is not None
    assert (plain.pixels == matted.pixels).all()
    assert (plain.inverse_depth == matted.inverse_depth).all()
    person = render(target, PERSON)[1] < 1.4
    assert np.abs(matted.matte - person).mean() < 0.02
    inside = cv2.erode(person.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=1) > 0
    outside = cv2.dilate(person.astype(np.uint8), np.ones((7, 7), np.uint8)) == 0
    assert matted.matte[inside].mean() > 0.99
    assert matted.matte[outside].max() < 0.05


def test_only_gaps_wider_than_a_jump_in_depth_can_open_show_the_room() -> None:
    coverage = np.ones((3, 40), np.float32)
    coverage[:, 10:20] = 0
    inverse = np.full((3, 40), 1.0, np.float32)
    inverse[1, 20:] = 0.5
    coverage[2, 12:] = 1
    matte = np.full((3, 40), 255.0, np.float32)
    _cut_gaps(inverse, coverage, np.float32(0.25), np.float32(20), np.float32(2), matte)
    assert (matte[0, 10:20] == 0).all(), "nothing moved: the room is seen between two parts of the person"
    assert (matte[0, :10] == 255).all()
    assert (matte[1] == 255).all(), "a jump of 0.5 / m opens ten pixels"
    assert (matte[2] == 255).all(), "two pixels are only thin"


def test_without_the_net_or_a_pair_there_is_no_backdrop() -> None:
    cameras = arc(2, 20, *SIZE)
    with pytest.raises(BackdropError, match="learned rungs"):
        ViewSynthesizer(pair_rig(cameras), *SIZE, backdrop=PLAIN_BLUE)
    with pytest.raises(BackdropError, match="learned rungs"):
        ViewSynthesizer(Rig(tuple(cameras), ()), *SIZE, net=open_net(), backdrop=PLAIN_BLUE)
    with pytest.raises(BackdropError, match="learned rungs"):
        ViewSynthesizer(None, *SIZE, net=open_net(), backdrop=PLAIN_BLUE)


def test_a_backdrop_leaves_only_rungs_that_tell_the_person_and_counts_its_cost() -> None:
    rig = pair_rig(arc(2, 20))
    plain = ViewSynthesizer(rig, 320, 240, net=open_net())
    hidden = ViewSynthesizer(rig, 320, 240, net=open_net(), backdrop=PLAIN_BLUE)
    costs = {r.name: r.cost_ns for r in plain.rungs}
    assert hidden.ladder
    assert all(r.name.startswith("net-") and r.cost_ns > costs[r.name] for r in hidden.rungs)


def test_one_camera_alone_is_never_shown_before_a_backdrop() -> None:
    cameras = arc(2, 20)
    frames = frame_set(cameras, PERSON)
    one = FrameSet("s", 0, 0, 0, frames.frames[:1])
    rig = pair_rig(cameras)
    for backdrop in (PLAIN_BLUE, Backdrop("blur"), Backdrop("transparent")):
        synthesizer = ViewSynthesizer(rig, 320, 240, net=open_net(), backdrop=backdrop)
        with pytest.raises(BackdropError, match="both of a pair"):
            run_to_end(synthesizer.slices(one, cameras[0], synthesizer.rungs[0].name))


@pytest.mark.parametrize(("identity", "seed"), [(4, 900_000), (5, 900_001)])
def test_a_person_that_no_training_saw_stands_before_the_backdrop(identity: int, seed: int) -> None:
    body = open_scene(f"body:identity={identity},seed={seed}")
    rig = body.rig(2, 320, 240)
    frames = FrameSet("s", 0, 0, 0, tuple(Frame(c.name, body.render(c, 0.5).rgb, 0) for c in rig.cameras))
    target = between(rig, *rig.pairs[0], 0.5)
    truth = body.render(target, 0.5).alpha
    shown = {}
    for backdrop in (ROOM, PLAIN_BLUE):
        synthesizer = ViewSynthesizer(rig, 320, 240, net=open_net(), backdrop=backdrop)
        job = synthesizer.slices(frames, target, "net-240-3")
        shown[backdrop.kind], stages = run_timed(job, lambda: 0)
        assert ("matte" in stages) == backdrop.hides
    plain, hidden = shown["room"], shown["colour"]
    assert plain.matte is None
    assert hidden.matte is not None
    error = np.abs(hidden.matte - truth)
    print(f"matte error {error.mean():.4f}")
    assert error.mean() < 0.02
    person, room = (cv2.erode((a).astype(np.uint8), np.ones((15, 15), np.uint8)) > 0 for a in (truth == 1, truth == 0))
    assert (np.abs(hidden.pixels[room].astype(int) - BLUE).max(-1) < 30).mean() > 0.998
    assert np.abs(hidden.pixels[person].astype(int) - plain.pixels[person]).mean() < 1.5


def test_a_cutout_is_the_person_alone_whatever_the_backdrop_with_the_matte_below() -> None:
    body = open_scene("body:identity=4,seed=900000")
    rig = body.rig(2, 320, 240)
    frames = FrameSet("s", 0, 0, 0, tuple(Frame(c.name, body.render(c, 0.5).rgb, 0) for c in rig.cameras))
    for backdrop in (ROOM, PLAIN_BLUE):
        mode = parse_mode("cutout")
        synthesizer = ViewSynthesizer(rig, 320, 240, mode=mode, net=open_net(), backdrop=backdrop)
        shot = synthesizer.shot(None)
        truth = body.render(shot.cameras[0], 0.5).alpha
        picture = run_to_end(take(shot, synthesizer.views(frames, shot.cameras, "net-200-2"))).pixels
        assert picture.shape == (360, 320, 3)
        assert np.abs(picture[240:, :, 0] / 255 - truth[::2]).mean() < 0.03
        beside = cv2.dilate(truth, np.ones((31, 31), np.uint8)) == 0
        assert picture[:240][beside].std(0).max() < 40, "nothing of the room but a wash of the person's colours"
    with pytest.raises(BackdropError, match="learned rungs"):
        ViewSynthesizer(rig, 320, 240, mode=parse_mode("cutout"))


def test_synthesize_writes_a_transparent_picture_and_refuses_what_cannot_be_kept(tmp_path: Path) -> None:
    body = open_scene("body:identity=5,seed=900001")
    rig = body.rig(2, 160, 120)
    (tmp_path / "rig.json").write_text(json.dumps(rig.to_json()))
    target = between(rig, *rig.pairs[0], 0.5)
    (tmp_path / "view.json").write_text(json.dumps({k: v for k, v in target.to_json().items() if k != "name"}))
    for camera in rig.cameras:
        cv2.imwrite(str(tmp_path / f"{camera.name}.png"), body.render(camera, 0.5).rgb[..., ::-1])

    def run(out: str, **options: Any) -> Path:
        synthesize(tmp_path / "rig.json", tmp_path, tmp_path / "view.json", tmp_path / out, **options)
        return tmp_path / out

    seen = cv2.imread(str(run("cut.png", backdrop="transparent")), cv2.IMREAD_UNCHANGED)
    assert seen.shape == (120, 160, 4)
    assert np.abs(seen[..., 3] / 255 - body.render(target, 0.5).alpha).mean() < 0.05
    pair = cv2.imread(str(run("pair.png", backdrop="transparent", mode="stereo")), cv2.IMREAD_UNCHANGED)
    assert pair.shape == (120, 320, 4)
    blue = cv2.imread(str(run("blue.png", backdrop="#0a14dc")))
    assert (np.abs(blue[:20, :20, ::-1].astype(int) - BLUE) < 12).all()
    assert cv2.imread(str(run("both.png", mode="cutout"))).shape == (180, 160, 3)
    for options, said in (
        ({"backdrop": "beach"}, "no file"),
        ({"backdrop": "blur", "rung": "classical"}, "learned rungs"),
        ({"mode": "cutout", "rung": "classical"}, "learned rungs"),
        ({"backdrop": "blur", "geometry": tmp_path}, "given depth"),
        ({"backdrop": "blur", "truth": tmp_path / "cut.png"}, "scores a view of the room"),
        ({"backdrop": "transparent", "mode": "packed"}, "can't be transparent"),
    ):
        with pytest.raises(BackdropError, match=said):
            run("never.png", **options)
    with pytest.raises(BackdropError, match=r"only a picture called \.png"):
        run("never.jpg", backdrop="transparent")
    assert not (tmp_path / "never.png").exists()
