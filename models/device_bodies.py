"""Instants of people rendered and rectified on a torch device, many at once, as `data_bodies.body_pair` has them.

What is per instant and small stays on the CPU: dressing, skinning, light at the vertices, rigs and rectification. The
rules of the renderer are those of `streamsvc/scene`, see `device_raster.py`, `device_shade.py` and `device_room.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import device_layers
import device_room
import numpy as np
import torch
from data_bodies import SCENES_KEPT, Instant
from device_crops import Pairs
from device_raster import project, rasterise
from device_room import Room, Rooms
from device_sampling import Packed, sampled, to_device
from device_sensed import sensed
from device_shade import Meshes, Seen, resolve
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from streamsvc.frames import Camera
from streamsvc.scene.people import BodyScene


@dataclass(frozen=True, slots=True, eq=False)
class Bodies:
    """n instants on a device; pictures are their n left ones and then the n right ones.

    `vertices` (n, v, 3) float64, `light` (n, v, 3) float32; `person` (2n,) whose mesh and room a picture shows; `K`,
    `R`, `t` of the pictures' cameras, and `to_source` (2n, 3, 3), from a pixel of the rectified grid to the source's
    picture and to what a metre along the grid's z is along the source's, float64; `source`, `grid` (2n, 2) int64 widths
    and heights, `sizes` the largest of each; disparity is `scale` (2n,) times inverse depth less `shift` (2n,).
    `behind`: the worlds that stand behind the instants `has_world`.
    """

    meshes: Meshes
    rooms: Rooms
    vertices: Tensor
    light: Tensor
    person: Tensor
    K: Tensor
    R: Tensor
    t: Tensor
    to_source: Tensor
    source: Tensor
    grid: Tensor
    scale: Tensor
    shift: Tensor
    sizes: tuple[tuple[int, int], tuple[int, int]]
    behind: device_layers.Worlds | None
    has_world: Tensor


class Wardrobe:
    """Brings instants to a device; the last people's textures stay there, so that each is brought once."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._kept: dict[int, tuple[BodyScene, Tensor, Room]] = {}

    def upload(self, instants: list[Instant]) -> Bodies:
        """Return `instants` on the device."""
        scenes = list({id(i.scene): i.scene for i in instants}.values())
        number = {id(scene): k for k, scene in enumerate(scenes)}
        kept = [self._dressed(scene) for scene in scenes]
        device = self._device
        shapes = [i.scene.body.shape(i.t) for i in instants]
        sides = [i.pair.left for i in instants] + [i.pair.right for i in instants]
        sources, grids = [s.source for s in sides], [s.grid for s in sides]
        worlds = [k for k, i in enumerate(instants) if i.behind is not None]

        def floats(arrays: list[NDArray[np.float64]]) -> Tensor:
            return to_device(np.stack(arrays), device)

        def sizes(cameras: list[Camera]) -> Tensor:
            return to_device(np.array([(c.width, c.height) for c in cameras], np.int64), device)

        return Bodies(
            _meshes(scenes, [texels for _, texels, _ in kept], device),
            device_room.upload([room for _, _, room in kept], device),
            to_device(_padded([s.vertices for s in shapes]), device),
            to_device(_padded([s.light for s in shapes]), device),
            to_device(np.array([number[id(i.scene)] for i in instants] * 2, np.int64), device),
            floats([c.K for c in sources]), floats([c.R for c in sources]), floats([c.t for c in sources]),
            floats([s.source.K @ s.source.R @ s.grid.R.T @ np.linalg.inv(s.grid.K) for s in sides]),
            sizes(sources), sizes(grids),
            to_device(np.array([i.pair.fb for i in instants] * 2, np.float32), device),
            to_device(np.array([i.pair.shift for i in instants] * 2, np.float32), device),
            (_largest(sources), _largest(grids)),
            device_layers.upload([w for i in instants if (w := i.behind) is not None], device) if worlds else None,
            to_device(np.array(worlds, np.int64), device),
        )  # fmt: skip

    def _dressed(self, scene: BodyScene) -> tuple[BodyScene, Tensor, Room]:
        if id(scene) not in self._kept:
            while len(self._kept) > SCENES_KEPT:
                self._kept.pop(next(iter(self._kept)))
            texels = torch.from_numpy(scene.body.atlas.texels).to(self._device)
            self._kept[id(scene)] = scene, texels, device_room.prepare(scene.seed)
        return self._kept[id(scene)]


def _largest(cameras: list[Camera]) -> tuple[int, int]:
    return max(c.width for c in cameras), max(c.height for c in cameras)


def _padded(arrays: list[NDArray[np.generic]]) -> NDArray[np.generic]:
    """Stack arrays of unequal length, zeros where they end."""
    out = np.zeros((len(arrays), max(map(len, arrays)), *arrays[0].shape[1:]), arrays[0].dtype)
    for row, array in zip(out, arrays, strict=True):
        row[: len(array)] = array
    return out


def _meshes(scenes: list[BodyScene], texels: list[Tensor], device: str) -> Meshes:
    meshes = [s.body.mesh for s in scenes]
    starts = np.cumsum([0] + [len(t) for t in texels])[:-1, None] + np.stack([s.body.atlas.start for s in scenes])
    return Meshes(
        to_device(_padded([m.faces.astype(np.int64) for m in meshes]), device),
        to_device(_padded([m.face_uv.astype(np.int64) for m in meshes]), device),
        to_device(_padded([m.uv.astype(np.float32) for m in meshes]), device),
        torch.cat(texels), to_device(starts, device), scenes[0].body.atlas.size,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Views:
    """What the cameras see, as `streamsvc.scene.base.Rendering` has it, p pictures padded to one size: `rgb`
    (p, h, w, 3) uint8, `depth` (p, h, w) float32 metres along z, `alpha` (p, h, w) float32."""

    rgb: Tensor
    depth: Tensor
    alpha: Tensor


def render(bodies: Bodies) -> Views:
    """Render what the cameras see. Where a world stands behind, the room is drawn only as far as the person's outline
    lets it through, and has no depth beyond."""
    width, height = bodies.sizes[0]
    fine = bodies.K.clone()
    fine[:, :2] *= 2
    fine[:, :2, 2] += 0.5
    screen = project(bodies.vertices.repeat(2, 1, 1), fine, bodies.R, bodies.t)
    faces = bodies.meshes.faces[bodies.person]
    wide, high = (2 * bodies.source).unbind(1)
    inverse, ids = rasterise(screen, faces, wide, high, (2 * width, 2 * height))
    seen = resolve(bodies.meshes, bodies.person, screen, bodies.light.repeat(2, 1, 1), ids, inverse)
    rgb, depth = device_room.draw(bodies.rooms, bodies.person, bodies.K, bodies.R, bodies.t, _room_shown(bodies, seen))
    empty = torch.where(seen.whole, 0, 4 - seen.count).unsqueeze(-1) * 0.25
    colour = (seen.colour + empty * rgb).clamp(max=255) + 0.5
    rgb = torch.where((seen.count == 0).unsqueeze(-1), rgb, colour.floor()).to(torch.uint8)
    return Views(rgb, torch.where(seen.depth > 0, seen.depth, depth), seen.count * 0.25)


def _room_shown(bodies: Bodies, seen: Seen) -> Tensor:
    """Pixels that show the room: where a world stands behind, those about the person's outline (rectified pixels are
    mixed from neighbours), and else all that the person leaves."""
    _, height, width = seen.count.shape
    inside = torch.arange(width, device=seen.count.device) < bodies.source[:, :1]
    rows = torch.arange(height, device=seen.count.device) < bodies.source[:, 1:]
    near = F.max_pool2d((seen.count > 0).float().unsqueeze(1), 3, 1, 1).squeeze(1) > 0
    behind = torch.zeros(len(seen.count) // 2, dtype=torch.bool, device=near.device)
    behind[bodies.has_world] = True
    return ~seen.whole & inside[:, None, :] & rows[:, :, None] & (near | ~behind.repeat(2)[:, None, None])


def rectified(bodies: Bodies, views: Views) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return pictures (2n, h, w, 3) uint8, disparity in pixels, NaN outside the picture, and matte (2n, h, w) float32,
    and what lies inside (2n, h, w) bool, all on the rectified grids."""
    width, height = bodies.sizes[1]
    many, high, wide = views.depth.shape
    device = views.depth.device
    row = torch.arange(height, device=device, dtype=torch.float64)[:, None]
    column = torch.arange(width, device=device, dtype=torch.float64)
    m = bodies.to_source[:, :, :, None, None]
    x, y, along = ((m[:, k, 0] * column + m[:, k, 1] * row + m[:, k, 2]) for k in range(3))
    x, y, along = (x / along).float(), (y / along).float(), along.float()
    w, h = (bodies.source[:, k, None, None] for k in (0, 1))
    grid_w, grid_h = (bodies.grid[:, k, None, None] for k in (0, 1))
    inside = (x >= -0.5) & (x <= w - 0.5) & (y >= -0.5) & (y <= h - 0.5) & (column < grid_w) & (row < grid_h)

    number = torch.arange(many, device=device)
    of_each = number[:, None, None].expand(x.shape)
    start, stride = number * (high * wide), torch.full_like(number, wide)
    own = bodies.source[:, 0], bodies.source[:, 1]
    flat = of_each.flatten(), x.flatten(), y.flatten()
    pictures = sampled(Packed(views.rgb.reshape(-1, 3), start, stride, *own), *flat, "repeated").round()
    matte = sampled(Packed(views.alpha.reshape(-1, 1), start, stride, *own), *flat, "zero").reshape(x.shape)

    i, j = x.round().long(), y.round().long()
    within = inside & (i >= 0) & (j >= 0) & (i < w) & (j < h)
    depth = views.depth[of_each, j.clamp(0, high - 1), i.clamp(0, wide - 1)]
    disparity = along / depth * bodies.scale[:, None, None] - bodies.shift[:, None, None]
    disparity = torch.where(within, disparity, torch.nan)
    return pictures.reshape(*x.shape, 3).to(torch.uint8), disparity, matte, inside


def body_pairs(bodies: Bodies, generator: torch.Generator) -> Pairs:
    """Return the pairs of `bodies` as two cameras and a codec would hand them on."""
    pictures, disparity, people, inside = rectified(bodies, render(bodies))
    n = len(bodies.person) // 2
    width, height = bodies.grid.unbind(1)
    if bodies.behind is not None:
        which = torch.cat([bodies.has_world, bodies.has_world + n])
        far_pictures, far = device_layers.render(bodies.behind)
        far_pictures = sensed(far_pictures, width[which], height[which], generator)
        rows, columns = far.shape[1:]
        d, own = disparity[which, :rows, :columns], people[which, :rows, :columns]
        # Beyond the room's outline its depth is 0 and so the disparity infinite: a person is only where a matte is.
        alpha = torch.where(torch.isnan(d) | (d >= far), own, 0)
        shown = pictures[which, :rows, :columns].float()
        mixed = torch.lerp(far_pictures.float(), shown, alpha.unsqueeze(-1)).clamp(0, 255).to(torch.uint8)
        pictures[which, :rows, :columns] = mixed
        disparity[which, :rows, :columns] = torch.where((alpha > 0.5) | torch.isnan(d), d, far)
        people[which, :rows, :columns] = alpha
    pictures = torch.where(inside.unsqueeze(-1), sensed(pictures, width, height, generator), 0)
    return Pairs(pictures, disparity, people, width[:n], height[:n])
