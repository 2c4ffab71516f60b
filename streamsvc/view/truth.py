"""What a novel view should have looked like, where a camera stood there: the view's score beside the trivial one's.

The trivial view is the picture of the nearest camera, shown as it is. Where the true picture has transparency, its
opaque part is the foreground, and is scored by itself too.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from streamsvc.frames import Camera, FrameSet, Pixels, Rig
from streamsvc.view.errors import ViewError
from streamsvc.view.files import read_foreground, read_picture
from streamsvc.view.quality import psnr, ssim

Scores = dict[str, dict[str, float]]


class Truth:
    """True pictures: one file for one view, or a folder of `<000000>.png` for a video of `count` views.

    Raises ViewError when one is missing, damaged or has no foreground at all.
    """

    def __init__(self, path: Path, video: bool, count: int) -> None:
        if not video:
            self._paths = [path]
        elif path.is_dir():
            self._paths = sorted(path.glob("*.png"))
        else:
            raise ViewError(f"{path}: the true views of a video are a folder of 000000.png and on")
        if len(self._paths) != count:
            raise ViewError(f"{path}: holds {len(self._paths)} pictures for {count} views")
        self._scores: list[Scores] = []

    def score(self, number: int, view: Pixels, frames: FrameSet, rig: Rig, camera: Camera) -> None:
        """Compare view `number`, made for `camera`, and the nearest picture of `frames` with the true picture."""
        path = self._paths[number]
        true, foreground = read_picture(path), read_foreground(path)
        if true.shape != view.shape:
            raise ViewError(f"{path}: is {true.shape[1]} x {true.shape[0]}, the view {view.shape[1]} x {view.shape[0]}")
        if foreground is not None and not foreground.any():
            raise ViewError(f"{path}: is transparent everywhere; its opaque part is the foreground")
        nearest = min(frames.frames, key=lambda f: float(np.linalg.norm(rig.camera(f.camera).centre - camera.centre)))
        shown = nearest.pixels
        if shown.shape != true.shape:
            shown = np.asarray(cv2.resize(shown, true.shape[1::-1], interpolation=cv2.INTER_AREA), np.uint8)
        areas = {"picture": None} if foreground is None else {"picture": None, "foreground": foreground}
        self._scores.append(
            {
                f"{area}_{measure.__name__}": {
                    "view": measure(view, true, mask),
                    "nearest_camera": measure(shown, true, mask),
                }
                for area, mask in areas.items()
                for measure in (psnr, ssim)
            }
        )

    def figures(self) -> Scores:
        """Return the means over all views: {"picture_psnr" (dB), "picture_ssim", and where there is a foreground
        "foreground_psnr", "foreground_ssim": {"view", "nearest_camera"}}."""
        return {
            name: {who: round(float(np.mean([s[name][who] for s in self._scores])), 3) for who in scores}
            for name, scores in self._scores[0].items()
        }
