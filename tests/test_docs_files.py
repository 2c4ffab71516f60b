"""docs/files.md: what it shows is accepted, and a view is made from it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from streamsvc.frames.rig import load_rig, load_views
from streamsvc.view.files import PictureOut
from streamsvc.view.synthesize import synthesize

DOC = Path(__file__).resolve().parent.parent / "docs" / "files.md"


def test_the_examples_make_a_view(tmp_path: Path) -> None:
    rig, view = re.findall(r"```json\n(.*?)```", DOC.read_text("utf-8"), re.DOTALL)
    (tmp_path / "rig.json").write_text(rig)
    (tmp_path / "view.json").write_text(view)
    (between,) = load_views(tmp_path / "view.json")
    cameras = load_rig(tmp_path / "rig.json").cameras
    assert np.allclose(between.centre, np.mean([c.centre for c in cameras], axis=0), atol=0.01)
    grain = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    for camera in cameras:
        PictureOut(tmp_path / f"{camera.name}.png").write(grain)
    files = (tmp_path / "rig.json", tmp_path, tmp_path / "view.json", tmp_path / "out.png")
    figures = synthesize(*files, rung="classical")
    assert (figures["width"], figures["height"]) == (320, 240)
    assert (tmp_path / "out.png").is_file()
