"""The rows of the tables: every rung there is, and what it is to be compared with.

    nearest camera      the picture of the camera that stands nearest to the target, as it is
    OpenCV SGBM         plain SGBM 3-way with check and fill, matched as wide as the top rung, same splat and blend
    <rung>              every one of `ViewSynthesizer.rungs`; those called sgbm-* are the classical ones; with the help
                        of a pair's neighbours where the rig has such
    <rung>, splat only  the splatted colour without the blend, for the top classical and the top learned rung
    <rung>, sorted      those rungs splatted by sorted alpha compositing, which is no rung because it is slow
    <rung>, true depth  that rung's own grid, splat and blend with the true depth: what its resolution alone costs
    <rung>, as they are those rungs with the cameras' colours as they are, where these are unlike
    <rung>, as told     those rungs with the cameras where the rig says, where that is a little wrong
    oracle              true depth at the full resolution, the same splat and blend

Rungs that appear there appear here without a change.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from streamsvc.bench.view_disparity import PlainSgbm, on_grid
from streamsvc.bench.view_scenes import Shot
from streamsvc.budget.slices import run_to_end
from streamsvc.frames import Camera, Pixels, Rig
from streamsvc.frames.backdrop import ROOM, Backdrop
from streamsvc.view import ViewError, ViewSynthesizer
from streamsvc.view.arrange import about, groups
from streamsvc.view.blend import blend
from streamsvc.view.compose import View, compose
from streamsvc.view.geometry import TOLERANCE_PX, Source, project
from streamsvc.view.holes import fill_holes
from streamsvc.view.maps import PairMaps, fade_per_m
from streamsvc.view.rectify import pixel_rays, shrunk
from streamsvc.view.rungs import FUSED, SPLAT_SIDE
from streamsvc.view.splat import Splats
from streamsvc.view.synth import convergence
from streamsvc.view.synthesize import GIVEN_FADE_PER_M, GIVEN_TOLERANCE

if TYPE_CHECKING:
    from streamsvc.view.net.geometry import NetGeometry

NEAREST, PLAIN, ORACLE = "nearest camera", "OpenCV SGBM", "oracle"
SPLAT_ONLY, SORTED, TRUE_DEPTH = ", splat only", ", sorted", ", true depth"
AS_THEY_ARE = ", as they are"
"""Added to the name of a rung that leaves the cameras' colours alone."""

AS_TOLD = ", as told"
"""Added to the name of a rung that believes the rig."""

ALONE = ", each picture by itself"
"""Added to the name of a rung that runs without the filter over time."""

BEFORE_GREY = ", before grey"
"""Added to the name of a rung with a backdrop of one colour."""

CLASSICAL_PREFIX = "sgbm-"


@dataclass(frozen=True, slots=True)
class Rungs:
    """The rungs that are measured, classical ones first, never without the top one of those, the reference; and the
    `net` of the learned ones."""

    names: tuple[str, ...]
    net: NetGeometry | None = None

    def maker(
        self,
        rig: Rig,
        size: tuple[int, int],
        *,
        steady: bool = True,
        alike: bool = True,
        align: bool = True,
        backdrop: Backdrop = ROOM,
    ) -> ViewSynthesizer:
        """Return a new view maker, which remembers nothing; what is chosen is as in `ViewSynthesizer`."""
        return ViewSynthesizer(rig, *size, net=self.net, steady=steady, alike=alike, align=align, backdrop=backdrop)

    def at(self, rig: Rig, size: tuple[int, int]) -> Rungs:
        """Return those of the rungs that can match the pairs of `rig`."""
        there = {r.name for r in self.maker(rig, size).rungs}
        return replace(self, names=tuple(n for n in self.names if n in there))

    @property
    def classical(self) -> str:
        """The top classical rung."""
        return [n for n in self.names if n.startswith(CLASSICAL_PREFIX)][-1]

    @property
    def learned(self) -> str | None:
        """The top learned rung, None where there is none."""
        return next((n for n in reversed(self.names) if not n.startswith(CLASSICAL_PREFIX)), None)

    @property
    def tops(self) -> tuple[str, ...]:
        """The top rung of either kind."""
        return (self.classical,) if self.learned is None else (self.classical, self.learned)

    @property
    def rows(self) -> tuple[str, ...]:
        """All rows in the order of the tables."""
        compared = [name + what for name in self.tops for what in (SPLAT_ONLY, SORTED, TRUE_DEPTH)]
        return (NEAREST, PLAIN, *self.names, *compared, ORACLE)

    @property
    def side(self) -> int:
        """How wide the top rung's pictures are matched."""
        return int(self.tops[-1].split("-")[1])


def choose_rungs(names: Sequence[str], asked: Sequence[str], net: NetGeometry | None = None) -> Rungs:
    """Return the `asked` ones of `names` (all where none is named) and the top classical one; ViewError for an unknown
    name."""
    for name in asked:
        if name not in names:
            raise ViewError(f"unknown rung {name!r}; there are {', '.join(names)}")
    reference = [n for n in names if n.startswith(CLASSICAL_PREFIX)][-1]
    return Rungs(tuple(n for n in names if not asked or n in asked or n == reference), net)


def nearest_camera(shot: Shot) -> Pixels:
    """Return the picture of the camera whose centre is nearest to the target's."""
    near = min(
        shot.frames.frames,
        key=lambda f: float(np.linalg.norm(shot.rig.camera(f.camera).centre - shot.target.centre)),
    )
    size = (shot.target.width, shot.target.height)
    if near.size == size:
        return near.pixels
    return np.asarray(cv2.resize(near.pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def plain_sgbm(shot: Shot, side: int) -> View:
    """Return the view from OpenCV's SGBM on pictures matched `side` wide, without anything of ours but splat and blend,
    of the pair about the target."""
    rig, target = shot.rig, shot.target
    pixels = {frame.camera: frame.pixels for frame in shot.frames.frames}
    ahead = convergence(rig.cameras) or 1.0
    first, second = next(about(group, rig, target, ahead) for group in groups(rig.pairs))
    pair = PairMaps(rig).rectified(rig.camera(first), rig.camera(second), side)
    sides = pair.left, pair.right
    colours = [s.rectify(pixels[s.source.name]) for s in sides]
    greys = [np.asarray(cv2.cvtColor(c, cv2.COLOR_RGB2GRAY), np.uint8) for c in colours]
    sources = []
    for one, colour, disparity in zip(sides, colours, PlainSgbm(pair.disparities, True).both(*greys), strict=True):
        known = np.isfinite(disparity) & one.inside
        inverse = np.where(known, (np.nan_to_num(disparity) + np.float32(pair.shift)) / np.float32(pair.fb), 0)
        inverse = np.maximum(inverse, 0).astype(np.float32)
        sources.append(
            Source(
                camera=rig.camera(one.source.name),
                pixels=pixels[one.source.name],
                grid=one.grid,
                rays=one.rays,
                inverse_depth=inverse,
                confidence=(inverse > 0).astype(np.float32),
                colour=colour,
                tolerance=TOLERANCE_PX / pair.fb,
                relative_tolerance=0.0,
            )
        )
    return run_to_end(compose(sources, target, max(SPLAT_SIDE, side // 2), fade_per_m(pair)))


def oracle(shot: Shot) -> View:
    """Return the view from true depth at full resolution."""
    sources = []
    for frame in shot.frames.frames:
        camera, depth = shot.rig.camera(frame.camera), shot.seen[frame.camera].depth
        known = np.isfinite(depth) & (depth > 0)
        inverse = np.where(known, 1 / np.where(known, depth, 1), 0).astype(np.float32)
        sources.append(
            Source(
                camera=camera,
                pixels=frame.pixels,
                grid=camera,
                rays=pixel_rays(camera),
                inverse_depth=inverse,
                confidence=known.astype(np.float32),
                colour=frame.pixels,
                tolerance=0.0,
                relative_tolerance=GIVEN_TOLERANCE,
            )
        )
    return run_to_end(compose(sources, shot.target, math.inf, GIVEN_FADE_PER_M))


def splat_only(view: View, target: Camera) -> View | None:
    """Return the splatted colour of a rung's `view`, None where it wasn't composed of sources."""
    made = view.composed
    return None if made is None else run_to_end(compose(made.sources, target, made.side, made.k, blended=False))


def sorted_over(view: View, target: Camera) -> View | None:
    """Return a rung's `view` with its Gaussians composited in their order by depth, None where it wasn't composed of
    sources."""
    from streamsvc.view.splat_over import splat_sorted

    made = view.composed
    if made is None:
        return None
    small = shrunk(target, made.side)
    parts = [project(source, small) for source in made.sources]
    together = Splats(np.concatenate([p.geometry for p in parts]), np.concatenate([p.features for p in parts]))
    features, coverage = splat_sorted(together, small.width, small.height)
    fill_holes(features, coverage)
    pixels, inverse = blend(features, target, made.sources, sharp=made.sharp)
    return View(pixels, inverse, np.asarray(cv2.resize(coverage, (target.width, target.height)), np.float32))


def matte(view: View, target: Camera) -> NDArray[np.float32] | None:
    """Return the matte of a rung's `view`, None where its sources have none."""
    made = view.composed
    if made is None or any(source.matte is None for source in made.sources):
        return None
    return run_to_end(compose(made.sources, target, made.side, made.k, matted=True)).matte


def with_true_depth(view: View, shot: Shot) -> View | None:
    """Return the rung's `view` with the true depth on the rung's own grid, None where it wasn't composed of sources."""
    made = view.composed
    if made is None:
        return None
    sources = []
    for source in made.sources:
        inverse = on_grid(source, shot.seen[source.camera.name].depth)
        sources.append(replace(source, inverse_depth=inverse, confidence=(inverse > 0).astype(np.float32)))
    return run_to_end(compose(sources, shot.target, made.side, made.k, sharp=made.sharp))


def helped(maker: ViewSynthesizer, name: str) -> str:
    """Return the rung of `maker` that is the rung `name` with the help of a pair's neighbours, where there is one."""
    fused = name + FUSED
    return fused if any(r.name == fused for r in maker.rungs) else name


def views(shot: Shot, rungs: Rungs, *, unlike: bool = False, misled: bool = False) -> Iterator[tuple[str, View]]:
    """Yield (row, view) for every row that the shot's rig can have, in order; each rung remembers nothing but how the
    shot itself shows its cameras turned. `unlike` adds the rows of the cameras' colours as they are, `misled` those of
    the cameras where the rig says."""
    height, width = shot.truth.rgb.shape[:2]
    rungs = rungs.at(shot.rig, (width, height))
    shown = nearest_camera(shot)
    yield NEAREST, View(shown, np.zeros((height, width), np.float32), np.ones((height, width), np.float32))
    yield PLAIN, plain_sgbm(shot, rungs.side)
    tops = {}
    for name in rungs.names:
        maker = rungs.maker(shot.rig, (width, height))
        maker.examine(shot.frames)
        view = run_to_end(maker.slices(shot.frames, shot.target, helped(maker, name)))
        if name in rungs.tops:
            tops[name] = view
        yield name, view
    for name, view in tops.items():
        for what, made in (
            (SPLAT_ONLY, splat_only(view, shot.target)),
            (SORTED, sorted_over(view, shot.target)),
            (TRUE_DEPTH, with_true_depth(view, shot)),
        ):
            if made is not None:
                yield name + what, made
        for wanted, what, maker in (
            (unlike, AS_THEY_ARE, rungs.maker(shot.rig, (width, height), alike=False)),
            (misled, AS_TOLD, rungs.maker(shot.rig, (width, height), align=False)),
        ):
            if wanted:
                yield name + what, run_to_end(maker.slices(shot.frames, shot.target, helped(maker, name)))
    yield ORACLE, oracle(shot)
