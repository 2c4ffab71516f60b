"""Exact pictures and depth of a few textured spheres and planes, for the view tests: a ray caster of forty lines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamsvc.frames import Camera, Frame, FrameSet, Rig
from streamsvc.view.rectify import pixel_rays


@dataclass(frozen=True)
class Sphere:
    centre: tuple[float, float, float]
    radius: float
    seed: int


@dataclass(frozen=True)
class Card:
    """The rectangle at depth z (world) between x0..x1 and y0..y1; infinite by default."""

    z: float
    seed: int
    x: tuple[float, float] = (-1e9, 1e9)
    y: tuple[float, float] = (-1e9, 1e9)


def texture(points: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Colour 0..255 at world points (n, 3): waves of a few centimetres and up, different per seed."""
    rng = np.random.default_rng(seed)
    out = np.full((len(points), 3), 128.0)
    for scale in (10, 25, 50, 90, 130):
        for _ in range(5):
            k = rng.normal(size=3) * scale
            out += np.sin(points @ k + rng.uniform(0, 6.28))[:, None] * rng.uniform(-1, 1, 3) * 22
    return np.clip(out, 0, 255)


def render(camera: Camera, objects: list[Sphere | Card]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """RGB (h, w, 3) uint8 and depth along z (h, w) float32 in metres, infinite where nothing is."""
    rays = pixel_rays(camera).reshape(-1, 2).astype(np.float64)
    d = np.concatenate([rays, np.ones((len(rays), 1))], 1) @ camera.R
    o = camera.centre
    depth = np.full(len(d), np.inf)
    rgb = np.zeros((len(d), 3))
    for thing in objects:
        with np.errstate(all="ignore"):
            if isinstance(thing, Card):
                t = (thing.z - o[2]) / d[:, 2]
                p = o + t[:, None] * d
                inside = (p[:, 0] >= thing.x[0]) & (p[:, 0] <= thing.x[1])
                inside &= (p[:, 1] >= thing.y[0]) & (p[:, 1] <= thing.y[1])
                t = np.where(inside, t, np.inf)
            else:
                c = np.asarray(thing.centre) - o
                a, b, e = (d * d).sum(1), d @ c, c @ c - thing.radius**2
                root = b * b - a * e
                t = np.where(root > 0, (b - np.sqrt(np.maximum(root, 0))) / a, np.inf)
        hit = (t > 0) & (t < depth)
        depth[hit] = t[hit]
        rgb[hit] = texture(o + t[hit, None] * d[hit], thing.seed)
    shape = camera.height, camera.width
    return rgb.reshape(*shape, 3).round().astype(np.uint8), depth.reshape(shape).astype(np.float32)


def looking_at(
    name: str,
    eye: tuple[float, float, float],
    target: tuple[float, float, float],
    width: int,
    height: int,
    roll: float = 0,
) -> Camera:
    """A camera with a 50 degree field of view across, y down, rolled about its axis by `roll` degrees."""
    z = np.asarray(target, float) - eye
    z /= np.linalg.norm(z)
    x = np.cross([0, 1, 0], z)
    x /= np.linalg.norm(x)
    R = np.stack([x, np.cross(z, x), z])
    c, s = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    R = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) @ R
    f = width / (2 * np.tan(np.radians(25)))
    K = np.array([[f, 0, (width - 1) / 2], [0, f, (height - 1) / 2], [0, 0, 1.0]])
    return Camera(name, width, height, K, np.zeros(5), R, -R @ np.asarray(eye, float))


def arc(count: int, degrees: float, width: int = 320, height: int = 240, distance: float = 1.0) -> list[Camera]:
    """`count` cameras on an arc `degrees` apart, looking at the point `distance` ahead of the world's origin."""
    angles = np.radians((np.arange(count) - (count - 1) / 2) * degrees)
    return [
        looking_at(f"cam{i}", (distance * np.sin(a), 0, distance * (1 - np.cos(a))), (0, 0, distance), width, height)
        for i, a in enumerate(angles)
    ]


PERSON: list[Sphere | Card] = [
    Sphere((0, -0.12, 1.0), 0.11, 1),
    Sphere((0, 0.22, 1.05), 0.22, 2),
    Card(1.7, 3),
]


def frame_set(cameras: list[Camera], objects: list[Sphere | Card], id: int = 0) -> FrameSet:
    frames = tuple(Frame(c.name, render(c, objects)[0], 0) for c in cameras)
    return FrameSet("s", id, 0, 0, frames)


def pair_rig(cameras: list[Camera], depth_range: tuple[float, float] | None = (0.6, 2.0)) -> Rig:
    names = [c.name for c in cameras]
    return Rig(tuple(cameras), tuple(zip(names[::2], names[1::2], strict=True)), depth_range)
