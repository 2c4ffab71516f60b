"""Held-out people, the cameras that see them, and the errors that real cameras and real calibrations have.

Promises: the same number of scenes is always the same scenes; identities are those that no training sees
(`BodyScene.held_out`), with seeds (clothes, hair, room, motion) that no training draws either (`FIRST_SEED`). All noise
is drawn from the scene's seed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from streamsvc.frames import Camera, Frame, FrameSet, Pixels, Rig
from streamsvc.frames.rig import Matrix
from streamsvc.scene import Rendering, Scene, between, open_scene
from streamsvc.scene.body import load_bodies
from streamsvc.scene.rigs import rotation
from streamsvc.view.rectify import pixel_rays

FIRST_SEED = 900_000
"""Seeds from here to 999,999 belong to measurements; the training data's bodies draw theirs from a million on."""

SHIFT_M = 0.001
TURN_DEGREES = 0.2
LOOK = (0.92, 0.85, 0.76)
"""Gains of red, green and blue: an exposure of 0.85 and a warm white balance."""

SENSOR_SIGMA = 2.0
"""Standard deviation of the sensor's noise, of 255."""

SAME_DEPTH = 0.02
"""Relative difference up to which two depths are of one surface."""

FRAMES_PER_SECOND = 15


@dataclass(frozen=True, slots=True)
class Case:
    """Which cameras and which target: `fraction` of the way between the two middle cameras, 20 degrees apart; `close`:
    of four cameras only the two at one end, 10 degrees apart.

    With `miscalibrated` the rig that the view is made with isn't quite the one that took the pictures. The target is
    then half-way between the cameras as they are believed to stand and the truth half-way between where they do: an
    error that all cameras share only moves the world, and nobody can see it. With `unlike` the first camera has the
    gains of `LOOK`, and the truth is what the mean of two such cameras sees.
    """

    name: str
    cameras: int
    fraction: float
    miscalibrated: bool = False
    unlike: bool = False
    close: bool = False

    def rig(self, scene: Scene, size: tuple[int, int]) -> Rig:
        """Return the cameras of pictures of `size` before `scene`."""
        whole = scene.rig(self.cameras, *size)
        return replace(whole, cameras=whole.cameras[:2], pairs=whole.pairs[:1]) if self.close else whole


BETWEEN = Case("between", 2, 0.5)
FOUR = Case("four cameras", 4, 0.5)
NOISE = Case("calibration noise", 2, 0.5, miscalibrated=True)
COLOUR = Case("unlike cameras", 2, 0.25, unlike=True)
CLOSE = Case("10 degrees apart", 4, 0.5, close=True)
CASES = (BETWEEN, Case("beyond left", 2, -0.25), Case("beyond right", 2, 1.25), CLOSE, FOUR, NOISE, COLOUR)


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """One instant: what the cameras took, the `rig` and the `target` as the view maker is told them, what is to be
    seen there, the true rendering of each camera by name, and `visible` (h, w): what of the target some camera sees."""

    frames: FrameSet
    rig: Rig
    target: Camera
    truth: Rendering
    seen: dict[str, Rendering]
    visible: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """A held-out person at an instant."""

    scene: Scene
    seed: int
    t: float

    @property
    def name(self) -> str:
        """What `open_scene` and the instant are called in tables."""
        return f"{self.scene.name} t={self.t:g}"

    def shot(self, case: Case, size: tuple[int, int], later: int = 0) -> Shot:
        """Return what `case` shows in pictures of `size`, `later` frames on."""
        rig = case.rig(self.scene, size)
        middle = len(rig.cameras) // 2
        names = rig.cameras[middle - 1].name, rig.cameras[middle].name
        stands = between(rig, *names, case.fraction)
        t = self.t + later / FRAMES_PER_SECOND
        seen = {c.name: self.scene.render(c, t) for c in rig.cameras}
        told = miscalibrated(rig, self.seed) if case.miscalibrated else rig
        captured = round(later * 1e9 / FRAMES_PER_SECOND)
        frames = tuple(Frame(name, s.rgb, captured) for name, s in seen.items())
        truth = self.scene.render(stands, t)
        if case.unlike:
            gains = np.array(LOOK)
            frames = (replace(frames[0], pixels=_toned(frames[0].pixels, gains)), *frames[1:])
            truth = replace(truth, rgb=_toned(truth.rgb, (1 + gains) / 2))
        visible = seen_by_any(stands, truth, rig, seen)
        target = between(told, *names, case.fraction)
        return Shot(FrameSet("bench", later, captured, 0, frames), told, target, truth, seen, visible)


def _toned(pixels: Pixels, gains: NDArray[np.float64]) -> Pixels:
    return np.asarray(np.clip(pixels * gains + 0.5, 0, 255), np.uint8)


def held_out_scenes(count: int) -> list[HeldOut]:
    """Return the first `count` held-out scenes, the held-out identities in turn."""
    identities = np.flatnonzero(load_bodies()["held_out"])
    scenes = []
    for number in range(count):
        seed = FIRST_SEED + number
        scene = open_scene(f"body:identity={identities[number % len(identities)]},seed={seed}")
        scenes.append(HeldOut(scene, seed, 0.5 + 0.7 * number))
    return scenes


def seen_by_any(target: Camera, truth: Rendering, rig: Rig, seen: dict[str, Rendering]) -> NDArray[np.bool_]:
    """Return which of the target's pixels show a point that some camera of `rig` sees, (h, w) bool: it projects into
    the picture, and one of the four pixels around has its depth there, within `SAME_DEPTH`."""
    rays = pixel_rays(target)
    points = (np.concatenate([rays, np.ones_like(rays[..., :1])], -1) * truth.depth[..., None] - target.t) @ target.R
    visible = np.zeros(truth.depth.shape, bool)
    for name, picture in seen.items():
        camera = rig.camera(name)
        at = points @ camera.R.T + camera.t
        ahead = np.maximum(at[..., 2], 1e-6)
        x = at[..., 0] / ahead * camera.K[0, 0] + camera.K[0, 2]
        y = at[..., 1] / ahead * camera.K[1, 1] + camera.K[1, 2]
        inside = (at[..., 2] > 0) & (x >= 0) & (x <= camera.width - 1) & (y >= 0) & (y <= camera.height - 1)
        ix = np.clip(np.floor(x), 0, camera.width - 2).astype(np.intp)
        iy = np.clip(np.floor(y), 0, camera.height - 2).astype(np.intp)
        for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
            visible |= inside & (np.abs(picture.depth[iy + dy, ix + dx] - ahead) <= SAME_DEPTH * ahead)
    return visible


def _directions(rng: np.random.Generator, count: int) -> Matrix:
    drawn = rng.normal(size=(count, 3))
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))


def miscalibrated(rig: Rig, seed: int) -> Rig:
    """Return `rig` with every camera moved by `SHIFT_M` and turned by `TURN_DEGREES`, each its own random way."""
    rng = np.random.default_rng([seed, 1])
    count = len(rig.cameras)
    cameras = []
    for camera, shift, axis in zip(rig.cameras, _directions(rng, count), _directions(rng, count), strict=True):
        R = rotation(axis, float(np.radians(TURN_DEGREES))) @ camera.R
        cameras.append(replace(camera, R=R, t=-R @ (camera.centre + SHIFT_M * shift)))
    return replace(rig, cameras=tuple(cameras))


def noisy(frames: FrameSet, seed: int, number: int) -> FrameSet:
    """Return frame `number` of a static scene: the same pictures with new Gaussian sensor noise of `SENSOR_SIGMA`."""
    rng = np.random.default_rng([seed, 2, number])

    def grain(pixels: Pixels) -> Pixels:
        seen = pixels + rng.normal(0, SENSOR_SIGMA, pixels.shape)
        return np.asarray(np.clip(seen + 0.5, 0, 255), np.uint8)

    captured = round(number * 1e9 / FRAMES_PER_SECOND)
    grained = tuple(Frame(f.camera, grain(f.pixels), captured) for f in frames.frames)
    return replace(frames, id=number, capture_ns=captured, frames=grained)
