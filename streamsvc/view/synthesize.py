"""The `synthesize` command's work: calibrated pictures on disk and a view in, a picture or a video out.

Pictures are `<camera>.png` or .jpg, frames `<camera>/<000000>.png` or .jpg; frames make a video, and the view may then
be a list, one a frame. With `geometry` the given depth takes the place of disparity; splat and blend stay the same.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from streamsvc.budget.slices import Slices, run_timed
from streamsvc.frames import Camera, Frame, FrameSet, Rig, load_rig, load_views
from streamsvc.frames.backdrop import Backdrop, BackdropError
from streamsvc.frames.outputmode import OutputMode, parse_mode
from streamsvc.frames.rig import MAX_SIDE
from streamsvc.view.backdrop import open_backdrop
from streamsvc.view.compose import View, compose
from streamsvc.view.errors import ViewError
from streamsvc.view.files import STILLS, PictureOut, VideoOut, read_depth, read_picture
from streamsvc.view.geometry import Source
from streamsvc.view.gpu import check_device
from streamsvc.view.health import Finding, lasting
from streamsvc.view.modes import EYES_APART_M, DepthCode, Picture, take
from streamsvc.view.net import open_net
from streamsvc.view.rectify import pixel_rays
from streamsvc.view.rungs import DEVICE_LEVELS, LEVELS, NET_LEVELS
from streamsvc.view.synth import ViewSynthesizer, check_view
from streamsvc.view.truth import Truth

if TYPE_CHECKING:
    from streamsvc.view.net.geometry import NetGeometry

BEST = "best"
CLASSICAL = "classical"
GIVEN_TOLERANCE = 0.02
"""Given depths this close, relatively, are one surface."""

GIVEN_FADE_PER_M = 100.0


def _needed(rig: Rig, geometry: Path | None) -> list[str]:
    """The cameras whose pictures are used: all in pairs and all with geometry, or the first where there are none."""
    if geometry is not None and not geometry.is_dir():
        raise ViewError(f"{geometry}: is not a folder; it must hold <camera>.npy")
    used = {name for pair in rig.pairs for name in pair}
    if geometry is not None:
        used |= {c.name for c in rig.cameras if (geometry / f"{c.name}.npy").exists()}
    return [c.name for c in rig.cameras if c.name in used] or [rig.cameras[0].name]


def _stills(folder: Path) -> list[Path]:
    """The pictures in a folder, by name; of two kinds of one, PNG is the last."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in STILLS and p.is_file())


def _moments(rig: Rig, images: Path, geometry: Path | None) -> tuple[list[dict[str, Path]], bool]:
    """The pictures of each moment by camera, and whether they are frames of a video."""
    if not images.is_dir():
        raise ViewError(f"{images}: is not a folder; it must hold <camera>.png (or .jpg) or <camera>/<000000>.png")
    names = _needed(rig, geometry)
    folders = [name for name in names if (images / name).is_dir()]
    if not folders:
        found = {path.stem: path for path in _stills(images)}
        missing = [name for name in names if name not in found]
        if missing:
            expected = f"{missing[0]}.png, {missing[0]}.jpg or {missing[0]}/"
            raise ViewError(f"{images}: camera {missing[0]!r} is missing; expected {expected}")
        return [{name: found[name] for name in names}], False
    numbers: dict[str, list[str]] = {}
    for name in names:
        numbers[name] = [p.name for p in _stills(images / name)]
        if not numbers[name]:
            raise ViewError(f"{images}: camera {name!r} is missing; expected frames {name}/000000.png and on")
    for name in names[1:]:
        odd = set(numbers[names[0]]) ^ set(numbers[name])
        if odd:
            raise ViewError(f"{images}: frame {min(odd)} is missing for camera {name!r} or {names[0]!r}")
    return [{name: images / name / n for name in names} for n in numbers[names[0]]], True


def _read_moment(rig: Rig, paths: dict[str, Path], number: int) -> FrameSet:
    frames = []
    for name, path in paths.items():
        camera, pixels = rig.camera(name), read_picture(path)
        if (pixels.shape[1], pixels.shape[0]) != (camera.width, camera.height):
            raise ViewError(
                f"{path}: is {pixels.shape[1]} x {pixels.shape[0]}, "
                f"the rig says that {name!r} is {camera.width} x {camera.height}"
            )
        frames.append(Frame(name, pixels, 0))
    return FrameSet("synthesize", number, 0, 0, tuple(frames))


class _GivenGeometry:
    """Depth from files in place of disparity: one map per camera, read once, for every frame."""

    def __init__(self, folder: Path, rig: Rig, names: list[str]) -> None:
        self._rig = rig
        self._inverse = {n: read_depth(folder / f"{n}.npy", rig.camera(n)) for n in names}
        self._rays = {n: pixel_rays(rig.camera(n)) for n in names}

    def views(self, frames: FrameSet, views: Sequence[Camera]) -> Slices[list[View]]:
        """Like `ViewSynthesizer.views`."""
        sources = []
        for frame in frames.frames:
            camera, inverse = self._rig.camera(frame.camera), self._inverse[frame.camera]
            sources.append(
                Source(
                    camera=camera,
                    pixels=frame.pixels,
                    grid=camera,
                    rays=self._rays[camera.name],
                    inverse_depth=inverse,
                    confidence=(inverse > 0).astype(np.float32),
                    colour=frame.pixels,
                    tolerance=0.0,
                    relative_tolerance=GIVEN_TOLERANCE,
                )
            )
        results = []
        for view in views:
            results.append((yield from compose(sources, view, math.inf, GIVEN_FADE_PER_M)))
        return results


def _checked_views(path: Path, count: int, video: bool) -> list[Camera]:
    views = load_views(path)
    for view in views:
        check_view(view)
    if not video and len(views) != 1:
        raise ViewError(f"{path}: holds {len(views)} views; pictures make one view, only frames take a list")
    if video and len(views) not in (1, count):
        raise ViewError(f"{path}: holds {len(views)} views for {count} frames; give one, or one a frame")
    if len({(v.width, v.height) for v in views}) > 1:
        raise ViewError(f"{path}: all views of a video must have one size")
    return views * count if len(views) == 1 else views


def _net_for(rung: str, device: str) -> NetGeometry | None:
    """The net, where `rung` may need it; raises ViewError for an unknown rung, and when it needs a net and there is
    none."""
    names = [name for level in (*LEVELS, *NET_LEVELS) for name in (level.name, level.helped().name)]
    names += [level.name for level in DEVICE_LEVELS]
    if rung not in (BEST, CLASSICAL, *names):
        raise ViewError(f"unknown rung {rung!r}; there are {BEST}, {CLASSICAL}, {', '.join(names)}")
    if rung == CLASSICAL or rung.startswith("sgbm-"):
        return None
    try:
        return open_net(device=device)
    except ViewError:
        if rung == BEST:
            return None
        raise


def _rung_of(synthesizer: ViewSynthesizer, rung: str) -> str:
    if rung == BEST:
        return synthesizer.ladder[-1].name
    if rung == CLASSICAL:
        return [r.name for r in synthesizer.rungs if r.name.startswith("sgbm-")][-1]
    if rung not in [r.name for r in synthesizer.rungs]:
        raise ViewError(
            f"rung {rung!r} can't be had here: the rig's disparities are too large for the net, its pictures are too "
            "small, or no pairs share a camera to be fused"
        )
    return rung


def _check_device(device: str, rung: str, geometry: Path | None) -> None:
    if device == "cpu":
        return
    check_device(device)
    if geometry is not None or rung == CLASSICAL or rung.startswith("sgbm-"):
        raise ViewError(f"device {device!r}: only the net's rungs run there; use --device cpu")


def _check_backdrop(backdrop: Backdrop, mode: OutputMode, out: Path, geometry: Path | None, truth: Path | None) -> None:
    if geometry is not None:
        raise BackdropError("given depth doesn't say what is the person: a backdrop needs the learned rungs")
    if truth is not None:
        raise BackdropError("a true picture scores a view of the room: leave out the backdrop")
    if backdrop.kind == "transparent":
        if mode.kind in ("anaglyph", "packed", "cutout"):
            raise BackdropError(f"a picture of mode {mode.kind!r} can't be transparent")
        if out.suffix.lower() != ".png":
            raise BackdropError(f"{out}: only a picture called .png can be transparent")


def synthesize(
    rig: Path,
    images: Path,
    view: Path,
    out: Path,
    *,
    rung: str = BEST,
    device: str = "cpu",
    geometry: Path | None = None,
    truth: Path | None = None,
    mode: str = "window",
    backdrop: str = "room",
    eyes_apart_mm: float = 1000 * EYES_APART_M,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, object]:
    """Read a rig, pictures and a view, write the novel view to `out`, and return what it cost.

    `rung` "best" is the top of the ladder, with the net where it can be had; "classical" the best rung without nets.
    `mode` as in `outputmode.parse_mode`: the view's place is the eye, or the middle of two eyes `eyes_apart_mm` apart,
    and the plane through the rig's screen centre, square to the view's axis, has no parallax. `backdrop` as in
    `open_backdrop`; one that is transparent is written to a PNG. `progress(done, total)`
    is called after each frame. The result: {"frames", "width", "height", "mode", "rung", "device", "milliseconds":
    {stage: mean per frame}, "coverage": mean, 0 to 1, "troubles": what is wrong with cameras and rig in the first and
    the last frame, in words}, with `truth`, what a camera at the view took, "truth": the
    view's scores and the nearest camera's (`truth.Truth.figures`), and in mode "packed" "packed", the list per frame
    of {"eye", "screen", "inverse_far", "inverse_near"} that the depth reads by.
    Raises RigError, ViewError or BackdropError: a file that is missing or damaged, a picture of another size than the
    rig says, a matrix that is singular, a camera that is missing, an unknown rung, mode or backdrop, a device that
    isn't there.
    """
    _check_device(device, rung, geometry)
    cameras = load_rig(rig)
    moments, video = _moments(cameras, images, geometry)
    if any(path.resolve() == out.resolve() for paths in moments for path in paths.values()):
        raise ViewError(f"{out} is one of the cameras' pictures, and would be overwritten; choose another name")
    views = _checked_views(view, len(moments), video)
    layout = parse_mode(mode)
    if truth is not None and layout.kind != "window":
        raise ViewError(f"a true picture scores one view; mode {mode!r} makes another picture of it")
    if not 0 < eyes_apart_mm <= 1000:
        raise ViewError(f"eyes are more than 0 and at most 1000 mm apart, got {eyes_apart_mm:g}")
    behind = open_backdrop(backdrop)
    if behind.hides or layout.kind == "cutout":
        _check_backdrop(behind, layout, out, geometry, truth)
    synthesizer = ViewSynthesizer(
        cameras,
        views[0].width,
        views[0].height,
        mode=layout,
        device=device,
        net=_net_for(rung, device),
        backdrop=behind,
    )
    width, height = layout.picture_size(views[0].width, views[0].height)
    if max(width, height) > MAX_SIDE:
        raise ViewError(f"mode {mode!r} makes a picture of {width} x {height}; at most {MAX_SIDE} a side are possible")
    chosen = _rung_of(synthesizer, rung)
    given = None if geometry is None else _GivenGeometry(geometry, cameras, list(moments[0]))
    true = None if truth is None else Truth(truth, video, len(moments))
    writer = VideoOut(out, width, height) if video else PictureOut(out)
    spent: Counter[str] = Counter()
    covered = []
    troubles: list[tuple[Finding, ...]] = []
    packed: list[dict[str, object]] = []
    try:
        for number, (paths, camera) in enumerate(zip(moments, views, strict=True)):
            frames = _read_moment(cameras, paths, number)
            if given is None and number in (0, len(moments) - 1):
                troubles.append(synthesizer.examine(frames))
            shot = synthesizer.shot_around(camera, eyes_apart_mm / 1000)
            job = given.views(frames, shot.cameras) if given else synthesizer.views(frames, shot.cameras, chosen)
            result, stages = run_timed(take(shot, job), time.perf_counter_ns)
            spent.update(stages)
            covered.append(result.coverage)
            if result.depth is not None:
                packed.append(_packed(result, result.depth))
            writer.write(result.pixels)
            if true is not None:
                true.score(number, result.pixels, frames, cameras, camera)
            if progress is not None:
                progress(number + 1, len(moments))
    finally:
        writer.close()
    figures: dict[str, object] = {} if true is None else {"truth": true.figures()}
    if packed:
        figures["packed"] = packed
    return figures | {
        "frames": len(moments),
        "width": width,
        "height": height,
        "mode": mode,
        "rung": "geometry" if geometry is not None else chosen,
        "device": device,
        "milliseconds": {stage: round(ns / 1e6 / len(moments), 3) for stage, ns in spent.items()},
        "coverage": round(float(np.mean(covered)), 4),
        "troubles": lasting(troubles),
    }


def _packed(picture: Picture, depth: DepthCode) -> dict[str, object]:
    return {
        "eye": picture.eye.tolist(),
        "screen": picture.screen.to_json(),
        "inverse_far": depth.far,
        "inverse_near": depth.near,
    }
