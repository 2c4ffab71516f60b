"""Output modes: which cameras a moment is rendered into, and how their views become one picture.

`shoot` turns eyes and a screen into off-axis cameras, all through the one screen rectangle, so that a point on the
screen's plane lies at the same place in every view (zero parallax; Kooima 2009). `assemble` lays the views out as
`streamsvc.frames.outputmode` says. Geometry of the sources doesn't depend on the mode: it is computed once a moment.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from streamsvc.budget.slices import Slices
from streamsvc.frames import Camera, Pixels, Screen, off_axis_camera
from streamsvc.frames.outputmode import OutputMode
from streamsvc.frames.rig import Matrix
from streamsvc.view.compose import View
from streamsvc.view.errors import ViewError

Plane = NDArray[np.float32]

EYES_APART_M = 0.063
"""Between the pupils of an adult, in the mean (Dodgson, "Variation and extrema of human interpupillary distance", 2004:
63 mm), where only one eye position is known."""

# Least-squares projections for red/cyan glasses on a display with sRGB primaries (Dubois, "A projection method to
# generate anaglyph stereo images", ICASSP 2001), for linear light. Each row of both together adds up to 1.
DUBOIS_LEFT = np.array([[0.456, 0.500, 0.176], [-0.040, -0.038, -0.016], [-0.015, -0.021, -0.005]])
DUBOIS_RIGHT = np.array([[-0.043, -0.088, -0.002], [0.378, 0.734, -0.018], [-0.072, -0.113, 1.226]])

_LINEAR_STEPS = 4095
NEAREST_M = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class DepthCode:
    """How the packed inverse depth reads: luma 0 is `far`, luma 255 is `near`, linear in between, both in 1/m along the
    view's optical axis (the screen's normal)."""

    far: float
    near: float

    def encode(self, inverse_depth: Plane) -> Pixels:
        """Return inverse depth (h, w) as grey (h, w, 3) uint8; what lies outside the range is clipped to it."""
        scaled = (inverse_depth - np.float32(self.far)) * np.float32(255 / (self.near - self.far))
        return np.asarray(cv2.merge([np.clip(np.rint(scaled), 0, 255).astype(np.uint8)] * 3), np.uint8)

    def decode(self, luma: Plane | Pixels) -> Plane:
        """Return the inverse depth (h, w) float32 in 1/m of a decoded grey picture's luma (h, w)."""
        return luma.astype(np.float32) * np.float32((self.near - self.far) / 255) + np.float32(self.far)


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """One moment's cameras: `cameras` in the order of the mode's views, `eye` (3,) the middle of the eyes, `screen`
    the rectangle that each camera's picture covers, `window` the part of it that the viewer asked for (all of it but
    in `packed`), all world metres; `depth` is how a packed view's depth is coded."""

    mode: OutputMode
    cameras: tuple[Camera, ...]
    eye: Matrix
    screen: Screen
    window: Screen
    depth: DepthCode | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """The finished picture of a moment: `pixels` (H, W, 3) uint8; `coverage` the views' mean, 0 to 1; `eye` as in
    `Shot`; `screen` the rectangle that it shows; `depth` how a packed picture's lower third reads."""

    pixels: Pixels
    coverage: float
    eye: Matrix
    screen: Screen
    depth: DepthCode | None = None


def pair_of(eyes: Matrix, screen: Screen, apart_m: float = EYES_APART_M) -> Matrix:
    """Return the left and the right eye, (2, 3) world metres, of one or two `eyes` (n, 3) in any order.

    Left and right are the screen's; a single eye stands for the middle between two that are `apart_m` apart.
    """
    right = screen.right / np.linalg.norm(screen.right)
    if len(eyes) == 1:
        return np.asarray(eyes[0] + np.outer((-apart_m / 2, apart_m / 2), right), np.float64)
    return np.asarray(eyes[np.argsort(eyes @ right, kind="stable")], np.float64)


def quilt_eyes(eye: Matrix, screen: Screen, mode: OutputMode) -> Matrix:
    """Return the eyes of a quilt's views, leftmost first, (columns x rows, 3).

    They stand evenly on the line through `eye` along the screen's right axis, the outermost two `cone_degrees` apart
    as seen from the foot of the eye's perpendicular to the screen.
    """
    right = screen.right / np.linalg.norm(screen.right)
    normal = np.cross(right, screen.up / np.linalg.norm(screen.up))
    distance = max(float((eye - screen.centre) @ normal), NEAREST_M)
    half = distance * math.tan(math.radians(mode.cone_degrees) / 2)
    offsets = np.linspace(-half, half, mode.views) if mode.views > 1 else np.zeros(1)
    return np.asarray(eye + np.outer(offsets, right), np.float64)


def covered(camera: Camera, distance: float) -> Screen:
    """Return the rectangle `distance` metres along its axis that the picture of `camera` covers."""
    fx, fy = camera.K[0, 0], camera.K[1, 1]
    half = np.array([camera.width / (2 * fx), camera.height / (2 * fy)]) * distance
    x = ((camera.width - 1) / 2 - camera.K[0, 2]) / fx * distance
    y = ((camera.height - 1) / 2 - camera.K[1, 2]) / fy * distance
    centre = camera.R.T @ (np.array([x, y, distance]) - camera.t)
    return Screen(centre, camera.R[0] * half[0], -camera.R[1] * half[1])


def shoot(
    mode: OutputMode,
    screen: Screen,
    eyes: Matrix,
    width: int,
    height: int,
    *,
    depth_range: tuple[float, float] = (0.0, math.inf),
    apart_m: float = EYES_APART_M,
) -> Shot:
    """Return the cameras for a picture of `mode` through `screen`, `width` x `height` a view.

    `eyes` (1 or 2, 3) are world metres; modes of one view take the middle of two. `depth_range` is between the two
    planes, in metres behind (in front: negative) the screen's plane, that a packed depth resolves.
    """
    middle = eyes.mean(axis=0)
    w, h = mode.view_size(width, height)
    shown = screen if (w, h) == (width, height) else widened(screen, w / width, h / height)
    match mode.kind:
        case "stereo" | "anaglyph":
            points = pair_of(eyes, screen, apart_m)
        case "quilt":
            points = quilt_eyes(middle, screen, mode)
        case _:
            points = middle[None]
    cameras = tuple(off_axis_camera(shown, point, w, h) for point in points)
    depth = None
    if mode.kind == "packed":
        camera = cameras[0]
        plane = float(camera.R[2] @ screen.centre + camera.t[2])
        near = 1 / max(plane + depth_range[0], NEAREST_M)
        far = 1 / max(plane + depth_range[1], NEAREST_M)
        depth = DepthCode(min(far, 0.99 * near), near)
        middle = camera.centre
    return Shot(mode, cameras, middle, shown, screen, depth)


def widened(screen: Screen, across: float, up: float) -> Screen:
    """Return the rectangle with the same centre whose sides are so many times as long."""
    return Screen(screen.centre, screen.right * across, screen.up * up)


def assemble(shot: Shot, views: Sequence[View]) -> Picture:
    """Return the picture of a shot; `views` are those of its cameras, in their order, else a ViewError is raised."""
    cut = shot.mode.kind != "cutout" or all(v.pixels.shape[2] == 4 for v in views)
    if not cut or [v.pixels.shape[:2] for v in views] != [(c.height, c.width) for c in shot.cameras]:
        raise ViewError(f"{len(views)} views don't fit the {len(shot.cameras)} cameras of a {shot.mode.kind} picture")
    coverage = float(np.mean([v.coverage.mean() for v in views]))
    pixels = [v.pixels for v in views]
    match shot.mode.kind:
        case "stereo":
            out: Pixels = np.concatenate(pixels, axis=1)
        case "anaglyph":
            out = anaglyph(*pixels)
        case "quilt":
            columns = shot.mode.columns
            rows = [np.concatenate(pixels[i : i + columns], axis=1) for i in range(0, len(pixels), columns)]
            out = np.concatenate(rows[::-1], axis=0)
        case "packed":
            return _packed(shot, views[0], coverage)
        case "cutout":
            out = _cutout(views[0])
        case _:
            out = pixels[0]
    return Picture(out, coverage, shot.eye, shot.screen)


def _packed(shot: Shot, view: View, coverage: float) -> Picture:
    """The view above its inverse depth, of which row j belongs to row 2 j of the view.

    Where nothing is known the depth is that of the screen, which stays where it is however the eye moves. A picture
    that passed through without any depth fills the window as it does in other modes: it has no margin.
    """
    assert shot.depth is not None
    camera = shot.cameras[0]
    plane = float(camera.R[2] @ shot.screen.centre + camera.t[2])
    inverse = view.inverse_depth[::2]
    strip = shot.depth.encode(np.where(inverse > 0, inverse, np.float32(1 / plane)))
    known = bool(view.inverse_depth.any())
    pixels = np.concatenate([view.pixels, strip], axis=0)
    return Picture(pixels, coverage, shot.eye, shot.screen if known else shot.window, shot.depth)


def _cutout(view: View) -> Pixels:
    """The person's colours above their alpha, of which row j belongs to row 2 j."""
    alpha = view.pixels[::2, :, 3]
    return np.concatenate([view.pixels[..., :3], cv2.merge([alpha, alpha, alpha])], axis=0)


def take(shot: Shot, views: Slices[list[View]]) -> Slices[Picture]:
    """Run a job that makes the views of `shot`, then lay them out; yields the job's slices, and "pack" after it where
    there is more to do than to hand over the one view."""
    result = assemble(shot, (yield from views))
    if shot.mode.kind != "window":
        yield "pack"
    return result


def _linear(srgb: Matrix) -> Matrix:
    """sRGB in 0..1 to linear light (IEC 61966-2-1)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


_TO_LINEAR = (_linear(np.arange(256) / 255) * _LINEAR_STEPS).astype(np.float32)
# For each step of linear light the nearest of the 256 codes.
_TO_SRGB = np.searchsorted((_TO_LINEAR[1:] + _TO_LINEAR[:-1]) / 2, np.arange(_LINEAR_STEPS + 1)).astype(np.uint8)


def anaglyph(left: Pixels, right: Pixels) -> Pixels:
    """Return both eyes' pictures, (h, w, 3) uint8 sRGB, in one for red (left) and cyan (right) glasses.

    Colours that the glasses can't carry are projected, in linear light, onto those nearest in the least-squares sense
    (Dubois 2001), which is what keeps ghosts low; they are clipped to what the display can show.
    """
    mixed = cv2.add(
        cv2.transform(_TO_LINEAR[left], DUBOIS_LEFT.astype(np.float32)),
        cv2.transform(_TO_LINEAR[right], DUBOIS_RIGHT.astype(np.float32)),
    )
    return _TO_SRGB[np.rint(np.clip(mixed, 0, _LINEAR_STEPS)).astype(np.uint16)]
