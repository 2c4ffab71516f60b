"""Training data A and C: rectified pairs of textured layers and solids with exact disparity, made where they are used.

A layer is a surface with a disparity that is affine in the picture (a slanted plane), plus smooth bumps (height
fields, cushions, spheres), cut out by an antialiased mask. Both views sample the layer's own texture and mask, so
disparity, occlusion and half-covered pixels are exact. Textures are photographs (`textures` in the cache), stretched,
turned and recoloured, and procedural noise, waves, stripes, checks and letters. What sensors and codecs do comes last,
on each view by itself: gain, colour cast, blur, noise, JPEG, and rows that are off by a fraction of a pixel.

Disparity follows `view/rectify.py`: column x of the left picture and column x - d of the right see one point.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from streamsvc.cache import cache_dir

Plane = NDArray[np.float32]
Rng = np.random.Generator

MAX_SLOPE = 0.6
"""Greatest change of disparity per pixel: steeper surfaces are hidden from one of the two cameras."""


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A rectified pair: `left`, `right` (h, w, 3) uint8 RGB; `left_disparity`, `right_disparity` (h, w) float32 pixels,
    NaN where unknown; `left_person`, `right_person` (h, w) float32 in [0, 1], NaN where nobody says."""

    left: NDArray[np.uint8]
    right: NDArray[np.uint8]
    left_disparity: Plane
    right_disparity: Plane
    left_person: Plane
    right_person: Plane


def photographs(held_out: bool) -> list[NDArray[np.uint8]]:
    """Return the photographs in the cache as RGB; every sixth is held out. Raises FileNotFoundError without any."""
    found = []
    for number, path in enumerate(sorted(Path(cache_dir() / "textures").glob("*"))):
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is not None and (number % 6 == 0) == held_out:
            found.append(np.ascontiguousarray(picture[:, :, ::-1], np.uint8))
    if not found:
        raise FileNotFoundError(
            f"{cache_dir() / 'textures'} holds no pictures; python models/assets.py --only textures fetches them"
        )
    return found


def noise_picture(rng: Rng, size: int) -> NDArray[np.uint8]:
    """Return coloured noise of several octaves, (size, size, 3)."""
    total = np.zeros((size, size, 3), np.float32)
    fall = rng.uniform(0.4, 1.1)
    for octave in range(1, 8):
        side = 2**octave
        grain = rng.standard_normal((side, side, 3 if rng.random() < 0.4 else 1)).astype(np.float32)
        grain = cv2.resize(grain, (size, size), interpolation=cv2.INTER_CUBIC).reshape(size, size, -1)
        total += grain * side**-fall
    total = total / (total.std() + 1e-6) * rng.uniform(10, 60) + rng.uniform(40, 210, 3).astype(np.float32)
    return np.clip(total, 0, 255).astype(np.uint8)


def pattern_picture(rng: Rng, size: int) -> NDArray[np.uint8]:
    """Return stripes, checks, dots or letters in two colours: what repeats is what stereo gets wrong."""
    a, b = rng.integers(0, 256, (2, 3)).tolist()
    picture = np.full((size, size, 3), a, np.uint8)
    kind = rng.integers(5)
    step = int(rng.integers(6, 60))
    if kind == 0:
        picture[(np.arange(size) % step) < step * rng.uniform(0.2, 0.7)] = b
    elif kind == 1:
        y, x = np.mgrid[0:size, 0:size] // step
        picture[(x + y) % 2 == 0] = b
    elif kind == 2:
        for y in range(step // 2, size, step):
            for x in range(step // 2, size, step):
                cv2.circle(picture, (x, y), max(step // 4, 1), b, -1, cv2.LINE_AA)
    elif kind == 3:
        for _ in range(60):
            text = "".join(chr(rng.integers(48, 122)) for _ in range(rng.integers(2, 9)))
            at = int(rng.integers(0, size)), int(rng.integers(0, size))
            cv2.putText(picture, text, at, int(rng.integers(0, 8)), rng.uniform(0.4, 2), b, int(rng.integers(1, 3)), 16)
    else:
        for y in range(0, size, step):
            offset = (y // step % 2) * step
            for x in range(-offset, size, 2 * step):
                shade = (np.array(b) * rng.uniform(0.7, 1.2)).clip(0, 255).tolist()
                cv2.rectangle(picture, (x, y), (x + 2 * step - 3, y + step - 3), shade, -1)
    return cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.5, 1.2)).astype(np.uint8)


def waves_picture(rng: Rng, size: int) -> NDArray[np.uint8]:
    """Return waves of a few to a few dozen pixels, all over each other, with no coarser structure to hold on to."""
    at = np.arange(size, dtype=np.float32)
    along, across = [], []
    for length in np.exp(rng.uniform(np.log(3.0), np.log(40.0), int(rng.integers(6, 25)))):
        angle = rng.uniform(0, 6.3)
        x, y = (np.float32(turn * 6.2832 / length) * at for turn in (np.cos(angle), np.sin(angle)))
        x += np.float32(rng.uniform(0, 6.3))
        strength = rng.uniform(-1, 1, 3).astype(np.float32)
        # sin(x + y) of rows and columns apart: all waves together are one product of matrices
        along += [np.outer(np.sin(x), strength), np.outer(np.cos(x), strength)]
        across += [np.cos(y), np.sin(y)]
    total = (np.stack(across, 1) @ np.stack(along).reshape(len(along), -1)).reshape(size, size, 3)
    total = total / (total.std() + 1e-6) * rng.uniform(15, 55) + rng.uniform(70, 180, 3).astype(np.float32)
    return np.clip(total, 0, 255).astype(np.uint8)


def _recoloured(rng: Rng, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if rng.random() < 0.25:
        picture = picture[:, :, rng.permutation(3)]
    cast = 0.25 if rng.random() < 0.3 else 0.07
    gain = rng.uniform(0.5, 1.2) * (1 + rng.normal(0, cast, 3))
    lift = rng.uniform(-25, 40) + rng.normal(0, 60 * cast, 3)
    if rng.random() < 0.15:  # hardly any contrast: walls, dark clothes
        gain *= rng.uniform(0.05, 0.3)
        lift = lift + rng.uniform(20, 160)
    table = np.clip(np.arange(256)[:, None] * gain + lift, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(np.ascontiguousarray(picture), table[None]), np.uint8)


def _blob(rng: Rng, radius: float, points: int) -> NDArray[np.float64]:
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    r = 1 + sum(rng.normal(0, 0.35 / k) * np.cos(k * angle + rng.uniform(0, 6.3)) for k in range(1, 6))
    return np.stack([np.cos(angle), np.sin(angle)], 1) * (radius * np.clip(r, 0.2, 2))[:, None]


def _mask(rng: Rng, width: int, height: int) -> NDArray[np.uint8]:
    """An antialiased shape somewhere on a canvas with a margin of half a picture all round."""
    canvas = np.zeros((2 * height, 2 * width), np.uint8)
    at = np.array([rng.uniform(0.4, 1.6) * width, rng.uniform(0.4, 1.6) * height])
    radius = float(np.exp(rng.uniform(np.log(0.03), np.log(0.45)))) * width
    kind = rng.integers(6)
    squeeze = np.array([1.0, rng.uniform(0.3, 2.5)])
    if kind <= 1:
        shape = _blob(rng, radius, 64) * squeeze + at
        cv2.fillPoly(canvas, [np.round(shape * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    elif kind == 2:
        corners = rng.uniform(-radius, radius, (int(rng.integers(3, 6)), 2)) * squeeze + at
        hull = cv2.convexHull(corners.astype(np.float32)).reshape(-1, 2)
        cv2.fillPoly(canvas, [np.round(hull * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    elif kind == 3:
        axes = np.maximum(np.round(radius * squeeze), 1).astype(int)
        turn = rng.uniform(0, 180)
        cv2.ellipse(canvas, at.astype(int).tolist(), axes.tolist(), turn, 0, 360, 255, -1, cv2.LINE_AA)
    elif kind == 4:  # twigs, cables, legs of chairs, fingers
        thickness = int(rng.integers(1, 7))
        for _ in range(int(rng.integers(1, 6))):
            path = np.cumsum(rng.normal(0, radius * 0.5, (5, 2)), 0) + at
            cv2.polylines(canvas, [np.round(path * 16).astype(np.int32)], False, 255, thickness, cv2.LINE_AA, 4)
    else:  # head and shoulders
        head = radius * 0.45
        body = np.array([[-1, 2.2], [-0.85, 0.75], [-0.3, 0.5], [0.3, 0.5], [0.85, 0.75], [1, 2.2]]) * radius + at
        cv2.fillPoly(canvas, [np.round(body * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        axes = [max(int(head), 1), max(int(head * 1.3), 1)]
        cv2.ellipse(canvas, at.astype(int).tolist(), axes, 0, 0, 360, 255, -1, cv2.LINE_AA)
    return canvas


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A surface as it's drawn up: where it is, what it looks like, and which part of it there is (None: all)."""

    slope: tuple[float, float, float]  # disparity = sx (x - cx) + sy (y - cy) + c
    centre: tuple[float, float]
    bumps: NDArray[np.float64]  # (n, 5): x, y, radius, height, kind
    mask: NDArray[np.uint8] | None
    texture: NDArray[np.uint8]
    warp: NDArray[np.float64]  # (2, 3): picture to texture

    def disparity(self, x: Plane, y: Plane) -> Plane:
        sx, sy, c = self.slope
        d = np.float32(sx) * (x - np.float32(self.centre[0])) + np.float32(sy) * (y - np.float32(self.centre[1]))
        d += np.float32(c)
        for bx, by, radius, height, kind in self.bumps.astype(np.float32):
            r2 = ((x - bx) ** 2 + (y - by) ** 2) / (radius * radius)
            d += height * (np.sqrt(np.maximum(1 - r2, 0)) if kind else np.exp(-r2))
        return d

    def box(self, size: tuple[int, int], side: int) -> tuple[slice, slice]:
        """Rows and columns of the left or the right view outside which nothing of the layer is."""
        width, height = size
        if self.mask is None:
            return slice(0, height), slice(0, width)
        x, y, w, h = cv2.boundingRect(self.mask)
        x0, y0, x1, y1 = x - width // 2, y - height // 2, x + w - width // 2, y + h - height // 2
        if side:
            corners = np.array([[x0, x1, x0, x1], [y0, y0, y1, y1]], np.float32)
            flat = np.float32(self.slope[0]) * (corners[0] - np.float32(self.centre[0]))
            flat += np.float32(self.slope[1]) * (corners[1] - np.float32(self.centre[1])) + np.float32(self.slope[2])
            bumps = np.abs(self.bumps[:, 3]).sum()
            x0, x1 = x0 - int(flat.max() + bumps) - 2, x1 - int(flat.min() - bumps) + 2
        rows = slice(int(np.clip(y0 - 2, 0, height)), int(np.clip(y1 + 2, 0, height)))
        return rows, slice(int(np.clip(x0 - 1, 0, width)), int(np.clip(x1 + 1, 0, width)))

    def seen(self, x: Plane, y: Plane, size: tuple[int, int]) -> tuple[NDArray[np.uint8], Plane]:
        width, height = size
        if self.mask is None:
            alpha = np.ones(x.shape, np.float32)
        else:
            inside = cv2.remap(self.mask, x + width / 2, y + height / 2, cv2.INTER_LINEAR, borderValue=0)
            alpha = inside.astype(np.float32) * np.float32(1 / 255)
        (a, b, c), (d, e, f) = self.warp.astype(np.float32)
        u, v = a * x + b * y + c, d * x + e * y + f
        return cv2.remap(self.texture, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT), alpha


def _layer(
    rng: Rng, size: tuple[int, int], disparity: float, background: bool, photos: list[NDArray[np.uint8]]
) -> Layer:
    width, height = size
    kind = rng.random()
    if kind < 0.62:
        texture = photos[int(rng.integers(len(photos)))]
    elif kind < 0.76:
        texture = noise_picture(rng, 256)
    elif kind < 0.86:
        texture = waves_picture(rng, 256)
    else:
        texture = pattern_picture(rng, 256)
    texture = _recoloured(rng, texture)
    # One texture pixel to 0.5 .. 2.5 picture pixels; coarser pictures are averaged down first, so nothing aliases.
    scale = float(np.exp(rng.uniform(np.log(0.4), np.log(3.0))))
    if scale > 1:
        texture = cv2.resize(texture, None, fx=1 / scale, fy=1 / scale, interpolation=cv2.INTER_AREA)
        scale = 1.0
    angle = rng.uniform(-0.3, 0.3) if rng.random() < 0.7 else rng.uniform(-3.2, 3.2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale
    shift = rng.uniform(0, 1, 2) * np.array(texture.shape[1::-1])
    tilt = 0.0 if rng.random() < 0.3 else 1.0
    reach = 0.5 * disparity + 6 if background else 0.25 * disparity + 4
    sx, sy = rng.normal(0, 0.5, 2) * tilt * reach / width
    sx = float(np.clip(sx, -MAX_SLOPE / 2, MAX_SLOPE / 2))
    bumps = np.zeros((0, 5))
    if rng.random() < 0.5:
        count = int(rng.integers(1, 5))
        radius = np.exp(rng.uniform(np.log(0.04), np.log(0.4), count)) * width
        height_ = rng.uniform(-1, 1, count) * np.minimum(radius * 0.25, 0.3 * disparity + 2)
        at = rng.uniform(-0.1, 1.1, (count, 2)) * np.array([width, height])
        bumps = np.column_stack([at, radius, height_, rng.random(count) < 0.3])
    mask = None if background else _mask(rng, width, height)
    centre = rng.uniform(0.3, 0.7, 2) * np.array([width, height])
    return Layer(
        (sx, float(sy), disparity), (float(centre[0]), float(centre[1])), bumps, mask, np.ascontiguousarray(texture),
        np.column_stack([turn, shift]),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """Layers from far to near that fill pictures of `size` (width, height); the right one is `off` rows out of line."""

    size: tuple[int, int]
    layers: list[Layer]
    off: float


def view(world: World, side: int) -> tuple[NDArray[np.uint8], Plane]:
    """Draw the left (`side` 0) or the right (1) view: colours, and disparity by the same z-buffer."""
    size, layers = world.size, world.layers
    width, height = size
    all_x, all_y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    if side:
        all_y += np.float32(world.off)
    picture = np.zeros((height, width, 3), np.float32)
    nearest = np.full((height, width), -np.inf, np.float32)
    for layer in layers:
        box = layer.box(size, side)
        x, y = all_x[box], all_y[box]
        if not x.size:
            continue
        where = x
        if side:  # the left column that this right pixel sees
            where = x + np.float32(layer.slope[2])
            for _ in range(5):
                where = x + layer.disparity(where, y)
        disparity = layer.disparity(where, y)
        colour, alpha = layer.seen(where, y, size)
        alpha[disparity < nearest[box]] = 0
        picture[box] += alpha[:, :, None] * (colour.astype(np.float32) - picture[box])
        nearest[box] = np.where(alpha > 0.5, disparity, nearest[box])
    return picture.clip(0, 255).astype(np.uint8), nearest


def sensed(rng: Rng, pictures: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """Return the pictures as two unequal cameras and a codec would hand them on."""
    gain = rng.uniform(0.6, 1.25) * (1 + rng.normal(0, 0.03, 3))
    gamma = np.exp(rng.normal(0, 0.15))
    noise, blur = max(rng.normal(1.5, 2.5), 0), max(rng.normal(0, 0.5), 0)
    jpeg = int(rng.integers(35, 96)) if rng.random() < 0.5 else None
    out = []
    for picture in pictures:
        own_gain = gain * (1 + rng.normal(0, 0.06)) * (1 + rng.normal(0, 0.03, 3))
        values = (np.arange(256)[:, None] / 255) ** (gamma * np.exp(rng.normal(0, 0.05))) * 255
        table = (values * own_gain + rng.normal(0, 4)).clip(0, 255).astype(np.uint8)
        seen = cv2.LUT(picture, table[None])
        own_blur = blur + max(rng.normal(0, 0.2), 0)
        if own_blur > 0.3:
            seen = cv2.GaussianBlur(seen, (0, 0), own_blur)
        if noise > 0.3:
            grain = rng.standard_normal(seen.shape, dtype=np.float32)
            if rng.random() < 0.3:
                grain = cv2.GaussianBlur(grain, (0, 0), 0.7) * np.float32(2)
            seen = (seen + np.float32(noise) * grain).clip(0, 255).astype(np.uint8)
        if jpeg is not None:
            bgr = cv2.cvtColor(seen, cv2.COLOR_RGB2BGR)  # as OpenCV has it: luma is mostly green, and least blue
            coded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, jpeg])[1]
            seen = cv2.cvtColor(cv2.imdecode(coded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        out.append(np.asarray(seen, np.uint8))
    return out


def draw_up(rng: Rng, size: tuple[int, int], reach: float, photos: list[NDArray[np.uint8]]) -> World:
    """Return a world for pictures of `size` (width, height) with disparities of about 0 to `reach` pixels."""
    count = int(rng.integers(3, 16))
    far = rng.uniform(0, 0.25) * reach
    depths = np.sort(far + (reach - far) * rng.beta(1.0, 1.6, count))
    layers = [_layer(rng, size, far, True, photos)]
    layers += [_layer(rng, size, float(d), False, photos) for d in depths]
    return World(size, layers, rng.normal(0, 0.3) if rng.random() < 0.6 else 0.0)


def draw_up_any(rng: Rng, photos: list[NDArray[np.uint8]]) -> World:
    """Return a world as training has them: 320x240, near or far, now and then of nothing but waves."""
    reach = float(np.exp(rng.uniform(np.log(12), np.log(190))))
    if rng.random() < 0.1:  # nothing but fine structure, from which no shape can be guessed
        photos = [waves_picture(rng, 256)]
    return draw_up(rng, (320, 240), reach, photos)


def layered_pair(rng: Rng, world: World) -> Pair:
    """Return the pair of pictures of a world as two cameras and a codec would hand them on."""
    (left, left_d), (right, right_d) = view(world, 0), view(world, 1)
    left, right = sensed(rng, [left, right])
    unknown = np.full(left_d.shape, np.nan, np.float32)
    return Pair(left, right, left_d, right_d, unknown, unknown)
