"""The view room's door: frame sets and an eye in, a novel view out, one slice at a time.

A `ViewSynthesizer` belongs to one stream. Each pair that a view needs (`arrange`) it rectifies, matches both ways and
makes two `Source`s of; those that show the view are splatted into it together and blended. Without a usable pair the
nearest usable camera's picture is shown as a plane through the subject; without a rig it passes through. State is the
rectification maps (`maps`), the noise filters, the corrections of colour and of the cameras' rotation (`align`), and
the cameras' health; it is guarded, so
slices of one stream's jobs may run on different threads.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from streamsvc.budget.rung import Rung
from streamsvc.budget.slices import Slices
from streamsvc.frames import Camera, FrameSet, Pixels, Rig, Screen, Viewpoint, default_screen
from streamsvc.frames.backdrop import ROOM, Backdrop, BackdropError
from streamsvc.frames.outputmode import WINDOW, OutputMode
from streamsvc.frames.rig import MAX_SIDE
from streamsvc.view.align import Alignment
from streamsvc.view.arrange import Pair, about, groups, helpers
from streamsvc.view.backdrop import COST_NS_PER_PIXEL, compose_before
from streamsvc.view.classical import classical_sources
from streamsvc.view.colour import IDENTITY, Affine, Colours, corrected, recoloured, visible
from streamsvc.view.compose import View
from streamsvc.view.errors import ViewError
from streamsvc.view.fuse import fuse
from streamsvc.view.geometry import Source
from streamsvc.view.gpu import check_device
from streamsvc.view.health import Finding
from streamsvc.view.health_rig import Health
from streamsvc.view.learned import learned_sources
from streamsvc.view.maps import DEFAULT_RANGE, ENLARGED, LIKELY_RANGE, PairMaps, fade_per_m
from streamsvc.view.modes import EYES_APART_M, NEAREST_M, Shot, covered, shoot
from streamsvc.view.net.pairs import MAX_DISPARITY, NetPair
from streamsvc.view.passthrough import MIN_SIDE, as_plane, check_frame, pass_through
from streamsvc.view.rectify import RectifiedPair, side_of
from streamsvc.view.rungs import ALWAYS_SIDE, DEVICE_LEVELS, LEVELS, NET_LEVELS, Level, on_device, rung_for, worthwhile
from streamsvc.view.steady import Steady

if TYPE_CHECKING:
    from streamsvc.view.gpu.paths import Paths
    from streamsvc.view.net.geometry import NetGeometry

STEADY_PIXELS = 640 * 480
"""Larger pictures for a GPU aren't steadied: that is done on the host, and takes longer there than the rest."""


def convergence(cameras: Sequence[Camera]) -> float | None:
    """Return how far ahead of the cameras' mean centre their axes meet, in metres; None when they run parallel."""
    axes = [c.R[2] for c in cameras]
    A = sum((np.eye(3) - np.outer(z, z) for z in axes), np.zeros((3, 3)))
    if np.linalg.eigvalsh(A)[0] < 1e-3:
        return None
    point = np.linalg.solve(A, sum(((np.eye(3) - np.outer(c.R[2], c.R[2])) @ c.centre for c in cameras), np.zeros(3)))
    mean = np.mean(axes, axis=0)
    ahead = float((point - np.mean([c.centre for c in cameras], axis=0)) @ mean / np.linalg.norm(mean))
    return ahead if ahead > 0.1 else None


def check_view(view: Camera) -> None:
    """Raise ViewError unless `view` is a camera without distortion and skew, of a usable size."""
    if not all(1 <= side <= MAX_SIDE for side in (view.width, view.height)):
        raise ViewError(f"a view must be 1 to {MAX_SIDE} pixels a side, got {view.width} x {view.height}")
    if not all(np.isfinite(m).all() for m in (view.K, view.R, view.t)) or min(view.K[0, 0], view.K[1, 1]) <= 0:
        raise ViewError("a view needs finite K, R and t and positive focal lengths")
    if view.dist.any() or view.K[0, 1] != 0:
        raise ViewError("a view has no distortion and no skew: 'dist' and K[0][1] must be zero")


def _helping(level: Level, shown: Sequence[Sequence[Pair]], pairs: Sequence[Pair]) -> dict[Pair, list[Pair]]:
    """Which of `pairs` help each of those `shown`."""
    return {p: helpers(p, pairs) if level.fused else [] for chosen in shown for p in chosen}


def _visible(affines: Mapping[str, Affine]) -> dict[str, Affine]:
    return {name: affine for name, affine in affines.items() if visible(affine)}


class ViewSynthesizer:
    """Makes novel views for one stream; see `slices`.

    `rig` None means that pictures pass through; `width` and `height` are the size `view_camera` makes views for, `mode`
    is what `shot` makes them for and what the costs are those of. `rungs` are all that may be asked for, `ladder` those
    of them that are worth their cost, better ones later. `net` adds its rungs to the ladder; streams
    may share it. `steady` averages sensor noise away where nothing moves, `alike` brings the cameras to one exposure
    and white balance, `align` turns cameras that moved a little since they were calibrated (`align`). With a `backdrop`
    there are only rungs that tell the person from the room. With `device` "cuda", where `net` must be too, the net's
    rungs run there, and there are more of them; before a backdrop the net alone does; what it has to get ready,
    `prepare` does, else the first use. Raises ViewError for a device or a pair of the rig that can't be used,
    BackdropError where no rung can do what `backdrop` needs.
    """

    def __init__(
        self,
        rig: Rig | None,
        width: int,
        height: int,
        *,
        mode: OutputMode = WINDOW,
        device: str = "cpu",
        net: NetGeometry | None = None,
        steady: bool = True,
        alike: bool = True,
        align: bool = True,
        backdrop: Backdrop = ROOM,
    ) -> None:
        if device != "cpu" and net is not None and net.device.type != check_device(device):
            raise ViewError(f"the net is on {net.device.type!r}, not on device {device!r}")
        if mode.kind == "cutout":
            backdrop = Backdrop("transparent")
        if not all(MIN_SIDE <= side <= MAX_SIDE for side in (width, height)):
            raise ViewError(f"a view must be {MIN_SIDE} to {MAX_SIDE} pixels a side, got {width} x {height}")
        self.rig = rig
        self.width, self.height, self.mode, self.backdrop = width, height, mode, backdrop
        self._maps = None if rig is None else PairMaps(rig)
        self.net = net
        self._alignment = Alignment(rig) if align and rig is not None else None
        self._health = Health(rig, self._alignment)
        self._steady = {c.name: Steady() for c in rig.cameras} if steady and rig is not None else {}
        self._colours = Colours() if alike else None
        self._levels: dict[str, Level] = {}
        self._paths: Paths | None = None
        pairs = rig.pairs if rig else ()
        learned: tuple[Level, ...] = NET_LEVELS if net is not None and pairs else ()
        if device != "cpu":
            check_device(device)
            if learned and net is not None and not backdrop.hides:
                from streamsvc.view.gpu.paths import Paths

                learned += DEVICE_LEVELS
                assert self._maps is not None
                self._paths = Paths(net, self._maps, depth=mode.kind == "packed")
        levels = [*(() if backdrop.hides else LEVELS), *learned]
        if any(helpers(pair, pairs) for pair in pairs):
            levels += [level.helped() for level in levels]
        self.rungs: tuple[Rung, ...] = tuple(rung for rung in map(self._rung, levels) if rung is not None)
        if not self.rungs:
            raise BackdropError("a backdrop needs the learned rungs, and a pair whose depth they can tell")
        self.ladder = worthwhile(self.rungs)

    def _smallest_side(self) -> float:
        """The width of a 4:3 picture of as many pixels as the smallest of the cameras' has."""
        assert self.rig is not None
        return min(map(side_of, self.rig.cameras))

    def prepare(self) -> None:
        """Have ready what the ladder's rungs need on a GPU, for pictures of the cameras' sizes; takes seconds there,
        and nothing on a CPU. May run beside other calls. Raises ViewError when it doesn't fit."""
        paths = self._paths
        if paths is None or self.rig is None:
            return
        views, cameras = self.shot(None).cameras, {c.name: c for c in self.rig.cameras}
        shown = [self._about(self.rig.pairs, view) for view in views]
        for level in (self._levels[rung.name] for rung in self.ladder):
            if level.levels:
                paths.prepare(level, views, shown, _helping(level, shown, self.rig.pairs), cameras)

    def _rung(self, level: Level) -> Rung | None:
        """The rung of `level` with the dearest pair of each group; None where disparities are too large for the net, or
        the pictures too small for the level."""
        pairs = self.rig.pairs if self.rig else ()
        if level.levels and ALWAYS_SIDE < level.side > ENLARGED * self._smallest_side():
            return None
        maps: dict[Pair, RectifiedPair | NetPair] = {}
        for a, b in pairs:
            assert self.rig is not None and self._maps is not None
            pair = self._maps.rectified(self.rig.camera(a), self.rig.camera(b), level.side)
            likely = pair.fb * (1 / LIKELY_RANGE[0] - 1 / LIKELY_RANGE[1])
            if level.levels and (pair.disparities if self.rig.depth_range else likely) > MAX_DISPARITY:
                return None
            maps[a, b] = self._maps.prepared(pair, level.levels) if level.levels else pair
        self._levels[level.name] = level
        size, views = self.mode.view_size(self.width, self.height), self.mode.views
        helping = {p: [maps[h] for h in helpers(p, pairs)] if level.fused else [] for p in pairs}

        def alone(pair: Pair) -> int:
            return rung_for(level, [maps[pair]], helping[pair], *size, views).cost_ns

        shown = [max(group, key=alone) for group in groups(pairs)]
        rung = rung_for(level, [maps[p] for p in shown], [h for p in shown for h in helping[p]], *size, views)
        if self._paths is not None and level.levels:
            return on_device(rung)
        more = COST_NS_PER_PIXEL * size[0] * size[1] * views if self.backdrop.hides else 0
        return replace(rung, cost_ns=rung.cost_ns + more)

    @property
    def screen(self) -> Screen | None:
        """The rectangle that the viewer looks through; None without a rig.

        A rig without a screen gets the plane through the subject: where the cameras' axes meet, else the middle of the
        depth range, else 1 m ahead.
        """
        if self.rig is None:
            return None
        return self.rig.screen or default_screen(self.rig, self._subject_distance(), self.width / self.height)

    @property
    def settled(self) -> bool:
        """Whether `screen` stays where it is: that of parallel cameras moves once their pictures show the depth."""
        if self.rig is None or self.rig.screen is not None or convergence(self.rig.cameras) is not None:
            return True
        return self._maps is not None and self._maps.first_range is not None

    @property
    def troubles(self) -> tuple[Finding, ...]:
        """What is wrong with cameras and rig now, as far as the pictures so far show it."""
        return self._health.findings()

    @property
    def turned(self) -> dict[str, float]:
        """By how many degrees each camera is taken to be turned against the rig, as far as the pictures show it."""
        return {} if self._alignment is None else self._alignment.degrees

    def examine(self, frames: FrameSet) -> tuple[Finding, ...]:
        """Return what one set by itself says is wrong, for pictures that nothing follows, and align the cameras by what
        it shows; raises ViewError."""
        pictures = {frame.camera: check_frame(frame) for frame in frames.frames}
        return self._health.examine(self._health.usable(frames, pictures))

    def view_camera(self, viewpoint: Viewpoint | None) -> Camera:
        """Return the off-axis view from between the viewer's eyes through the rig's screen, `width` x `height`.

        Without a viewpoint, or when it isn't finite, the eye is where the cameras' middle is.
        """
        return self._shot(viewpoint, WINDOW).cameras[0]

    def shot(self, viewpoint: Viewpoint | None) -> Shot:
        """Return the cameras of the picture that this mode makes for the viewer's eyes; without a usable viewpoint, as
        in `view_camera`."""
        return self._shot(viewpoint, self.mode)

    def shot_around(self, view: Camera, apart_m: float = EYES_APART_M) -> Shot:
        """Return the cameras of this mode's picture from the place of `view`, whose frustum is the window's.

        The screen is where the frustum passes the centre of the rig's screen (1 m ahead when that lies behind it);
        eyes of a pair stand `apart_m` apart. Raises ViewError for a view that can't be used.
        """
        check_view(view)
        distance = 0.0 if self.screen is None else float(view.R[2] @ self.screen.centre + view.t[2])
        screen = covered(view, distance if distance > NEAREST_M else 1.0)
        if self.mode == WINDOW:
            return Shot(WINDOW, (view,), view.centre, screen, screen)
        depths, eyes = self._depths_behind(screen), view.centre[None]
        return shoot(self.mode, screen, eyes, view.width, view.height, depth_range=depths, apart_m=apart_m)

    def _depths_behind(self, screen: Screen) -> tuple[float, float]:
        """The scene's depth range in metres behind the screen's plane, a tenth wider: cameras stand askew to it."""
        if self.rig is None:
            return 0.0, math.inf
        near, far = (self._maps.depth_range if self._maps else None) or DEFAULT_RANGE
        ahead = float(np.mean([c.R[2] @ screen.centre + c.t[2] for c in self.rig.cameras]))
        return 0.9 * near - ahead, 1.1 * far - ahead

    def _shot(self, viewpoint: Viewpoint | None, mode: OutputMode) -> Shot:
        screen, eyes = self.screen, np.zeros((1, 3))
        if self.rig is None or screen is None:
            # Nothing is known of whoever is shown: a window a metre away, 64 degrees wide.
            half = 0.625
            screen = Screen(*np.array([[0, 0, 1], [half, 0, 0], [0, -half * self.height / self.width, 0]], np.float64))
        else:
            eyes = np.mean([c.centre for c in self.rig.cameras], axis=0)[None]
        if viewpoint is not None and viewpoint.eyes and self.rig is not None:
            asked = np.asarray(viewpoint.eyes, np.float64)
            if asked.shape[1:] == (3,) and len(asked) <= 2 and np.isfinite(asked).all():
                eyes = np.clip(asked, -100, 100)
        return shoot(mode, screen, eyes, self.width, self.height, depth_range=self._depths_behind(screen))

    def _subject_distance(self) -> float:
        assert self.rig is not None
        met = convergence(self.rig.cameras)
        if met is not None:
            return met
        near, far = (self._maps.first_range if self._maps else None) or (1.0, 1.0)
        return 2 / (1 / near + 1 / far)

    def slices(self, frames: FrameSet, view: Camera, rung: str) -> Slices[View]:
        """Make one `view`; as `views`."""
        (result,) = yield from self.views(frames, (view,), rung)
        return result

    def views(self, frames: FrameSet, views: Sequence[Camera], rung: str) -> Slices[list[View]]:
        """Make `views` (any size, no distortion) from `frames` on the named rung; yields each slice's stage.

        Per pair that is needed: "rectify", "disparity" (a slice a direction, or a level of the net); then per view
        "splat" and "blend", with a backdrop "matte" and "backdrop"; on a GPU "upload" and "view" for all of these; or
        "pass" alone when no pair of the rig is complete and well; now and then "check" at the end. Pictures may have
        other sizes than the rig's cameras, and the sizes may change between sets. Raises ViewError for an unknown rung,
        a set without pictures, or a picture that is none, BackdropError where the room is to be hidden and no pair is
        complete and well.
        """
        level = self._levels.get(rung)
        if level is None:
            raise ViewError(f"unknown rung {rung!r}; there are {', '.join(self._levels)}")
        for view in views:
            check_view(view)
        pictures = self._health.usable(frames, {frame.camera: check_frame(frame) for frame in frames.frames})
        if not pictures:
            raise ViewError("a frame set without pictures shows nothing")
        pairs = [p for p in self.rig.pairs if p[0] in pictures and p[1] in pictures] if self.rig else []
        if not pairs and self.backdrop.hides:
            raise BackdropError("one camera can't tell the person from the room: the backdrop needs both of a pair")
        if not pairs:
            passed = [self._from_one(pictures, view) for view in views]
            yield "pass"
            return passed
        shown = [self._about(pairs, view) for view in views]
        helping = _helping(level, shown, pairs)
        needed = dict.fromkeys(q for p, others in helping.items() for q in (p, *others))
        used = self._colours.at(frames.capture_ns) if self._colours else {}
        device = self._paths if level.levels else None
        for frame in frames.frames:
            if any(frame.camera in pair for pair in needed):
                picture = pictures[frame.camera]
                if frame.camera in self._steady and not (device and picture.size > 3 * STEADY_PIXELS):
                    picture = self._steady[frame.camera](picture, frame.capture_ns)
                pictures[frame.camera] = picture if device else corrected(picture, used.get(frame.camera, IDENTITY))
        assert self._maps is not None
        for first, second in needed:
            a, b = self._camera(first, pictures[first]), self._camera(second, pictures[second])
            self._maps.estimate(a, b, pictures, frames.capture_ns)
        if device:
            results = yield from self._on_device(
                device, level, views, shown, helping, pictures, used, frames.capture_ns
            )
            yield from self._health.check(frames, pictures)
            return results
        found: dict[Pair, tuple[Source, Source]] = {}
        fades = {}
        for names in needed:
            a, b = (self._camera(name, pictures[name]) for name in names)
            pair = self._maps.rectified(a, b, level.side)
            cameras = {a.name: a, b.name: b}
            if level.levels:
                assert self.net is not None
                prepared = self._maps.prepared(pair, level.levels)
                found[names] = yield from learned_sources(self.net, prepared, cameras, pictures)
            else:
                found[names] = yield from classical_sources(pair, cameras, pictures)
            fades[names] = fade_per_m(pair)
        if self._colours and (
            more := self._colours.learn([s for both in found.values() for s in both], used, frames.capture_ns)
        ):
            found = {names: (recoloured(a, more), recoloured(b, more)) for names, (a, b) in found.items()}
        results = []
        for view, chosen in zip(views, shown, strict=True):
            sources = [fuse(own, [s for q in helping[p] for s in found[q]]) for p in chosen for own in found[p]]
            fade = float(np.mean([fades[p] for p in chosen]))
            made = compose_before(sources, view, level.splat_side, fade, self.backdrop, sharp=level.sharp)
            results.append((yield from made))
        yield from self._health.check(frames, pictures)
        return results

    def _on_device(
        self,
        paths: Paths,
        level: Level,
        views: Sequence[Camera],
        shown: Sequence[Sequence[Pair]],
        helping: Mapping[Pair, Sequence[Pair]],
        pictures: Mapping[str, Pixels],
        used: Mapping[str, Affine],
        capture_ns: int,
    ) -> Slices[list[View]]:
        """The views, made on the device."""
        cameras = {name: self._camera(name, pixels) for name, pixels in pictures.items()}

        def learn(sources: Iterable[Source]) -> Mapping[str, Affine]:
            return _visible(self._colours.learn(sources, used, capture_ns)) if self._colours else {}

        return (yield from paths.views(level, views, shown, helping, cameras, pictures, _visible(used), learn))

    def _about(self, pairs: Sequence[Pair], view: Camera) -> list[Pair]:
        """Of each group of pairs the one that shows `view`."""
        assert self.rig is not None
        ahead = self._subject_distance()
        return [about(group, self.rig, view, ahead) for group in groups(pairs)]

    def _camera(self, name: str, pixels: Pixels) -> Camera:
        assert self.rig is not None
        camera = self.rig.camera(name) if self._alignment is None else self._alignment.camera(name)
        return camera.resized(pixels.shape[1], pixels.shape[0])

    def _from_one(self, pictures: dict[str, Pixels], view: Camera) -> View:
        """The view from the camera whose direction and place are most like its own; the first one as it is where there
        is no rig."""
        cameras = [c for c in self.rig.cameras if c.name in pictures] if self.rig else []
        if self.rig is None or not cameras:
            return pass_through(next(iter(pictures.values())), view.width, view.height)
        nearest = min(cameras, key=lambda c: float(np.linalg.norm(c.centre - view.centre) - c.R[2] @ view.R[2]))
        axis = np.mean([c.R[2] for c in self.rig.cameras], axis=0)
        axis /= np.linalg.norm(axis)
        subject = np.mean([c.centre for c in self.rig.cameras], axis=0) + self._subject_distance() * axis
        return as_plane(pictures[nearest.name], nearest, view, subject, axis)
