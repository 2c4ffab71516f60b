"""The classical view on what it is for: rendered people, cameras 20 degrees apart, the view half-way between."""

from __future__ import annotations

import numpy as np
import pytest

from streamsvc.budget.slices import run_to_end
from streamsvc.frames import Frame, FrameSet, Viewpoint
from streamsvc.scene import between, open_scene
from streamsvc.view import ViewSynthesizer
from streamsvc.view.quality import psnr, ssim


@pytest.mark.parametrize(("scene", "t"), [("body", 0.5), ("body:2", 1.0)])
def test_every_rung_beats_the_nearest_camera_by_three_decibels_on_the_person(scene: str, t: float) -> None:
    body = open_scene(scene)
    rig = body.rig(2, 320, 240)
    frames = FrameSet("s", 0, 0, 0, tuple(Frame(c.name, body.render(c, t).rgb, 0) for c in rig.cameras))
    held_out = between(rig, rig.cameras[0].name, rig.cameras[1].name, 0.5)
    truth = body.render(held_out, t)
    person = truth.alpha > 0.5
    nearest = max(psnr(f.pixels, truth.rgb, person) for f in frames.frames)
    synthesizer = ViewSynthesizer(rig, 320, 240)
    for rung in synthesizer.ladder:
        view = run_to_end(synthesizer.slices(frames, held_out, rung.name))
        found = psnr(view.pixels, truth.rgb, person)
        print(f"{scene} {rung.name}: {found:.2f} dB on the person, nearest camera {nearest:.2f} dB")
        assert found >= nearest + 3
        assert ssim(view.pixels, truth.rgb, person) > max(ssim(f.pixels, truth.rgb, person) for f in frames.frames)


def test_two_more_cameras_make_the_person_better() -> None:
    body = open_scene("body:1")
    found = {}
    for cameras, rung in ((2, "sgbm-160"), (4, "sgbm-160"), (4, "sgbm-160-fused")):
        rig = body.rig(cameras, 320, 240)
        middle = cameras // 2
        frames = FrameSet("s", 0, 0, 0, tuple(Frame(c.name, body.render(c, 0.5).rgb, 0) for c in rig.cameras))
        target = between(rig, rig.cameras[middle - 1].name, rig.cameras[middle].name, 0.5)
        truth = body.render(target, 0.5)
        view = run_to_end(ViewSynthesizer(rig, 320, 240).slices(frames, target, rung))
        found[cameras, rung] = psnr(view.pixels, truth.rgb, truth.alpha > 0.5)
    print(found)
    assert abs(found[4, "sgbm-160"] - found[2, "sgbm-160"]) < 0.3
    assert found[4, "sgbm-160-fused"] > found[2, "sgbm-160"] + 0.4


def test_a_moving_eye_finds_no_holes_in_the_person_and_no_jumps() -> None:
    body = open_scene("body:3")
    rig = body.rig(2, 320, 240)
    frames = FrameSet("s", 0, 0, 0, tuple(Frame(c.name, body.render(c, 0.5).rgb, 0) for c in rig.cameras))
    synthesizer = ViewSynthesizer(rig, 320, 240)
    for x in np.linspace(-0.15, 0.15, 7):
        moved = []
        for eye in (x, x + 0.002):
            view = synthesizer.view_camera(Viewpoint(0, ((eye, 0.0, -0.1),)))
            moved.append(run_to_end(synthesizer.slices(frames, view, "sgbm-160")))
        middle = np.s_[60:200, 130:190]
        assert (moved[0].coverage[middle] > 0.25).mean() > 0.97
        assert np.abs(moved[0].pixels.astype(int) - moved[1].pixels)[middle].mean() < 4
