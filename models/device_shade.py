"""Shading of `streamsvc/scene/shade.py` on tensors: texture pyramid, light, and which pixels need all four samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from streamsvc.scene.shade import COARSEST, FOLD, SHARPEN, SNAP


@dataclass(frozen=True, slots=True, eq=False)
class Meshes:
    """Dressed people, padded to one size: `faces`, `face_uv` (s, m, 3) int64 (what is added has no area); `uv`
    (s, k, 2) float32; their pyramids end to end: `texels` (n, 3) uint8, level l of person s starts at `start[s, l]`,
    and level 0 is `side` texels wide."""

    faces: Tensor
    face_uv: Tensor
    uv: Tensor
    texels: Tensor
    start: Tensor
    side: int


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What is seen of people: `colour` (p, h, w, 3) float32, the sum of what the samples show over four; `count`
    (p, h, w) int64 samples of four that show a person; `whole` (p, h, w) bool, no outline or fold; `depth` (p, h, w)
    float32 metres, 0 where less than half is covered."""

    colour: Tensor
    count: Tensor
    whole: Tensor
    depth: Tensor


def _texel(meshes: Meshes, person: Tensor, level: Tensor, u: Tensor, v: Tensor) -> Tensor:
    side = meshes.side >> level
    start = meshes.start[person, level]
    x = torch.minimum((u * side - 0.5).clamp(min=0), side - 1.001)
    y = torch.minimum((v * side - 0.5).clamp(min=0), side - 1.001)
    i, j = x.long(), y.long()
    across, down = (x - i).unsqueeze(1), (y - j).unsqueeze(1)
    at = start + j * side + i

    def tap(where: Tensor) -> Tensor:
        return meshes.texels[where].float()

    upper = torch.lerp(tap(at), tap(at + 1), across)
    return torch.lerp(upper, torch.lerp(tap(at + side), tap(at + side + 1), across), down)


def _shade(
    meshes: Meshes, screen: Tensor, light: Tensor, picture: Tensor, person: Tensor, face: Tensor, at: Tensor
) -> tuple[Tensor, Tensor]:
    """Return (colour (n, 3), inverse depth (n,)) of faces at positions `at` (n, 2), as the reference's _shade."""
    corner = meshes.faces[person, face]
    on_screen = screen[picture.unsqueeze(1), corner]  # (n, 3, 3)
    x, y = on_screen[..., 0] - at[:, :1], on_screen[..., 1] - at[:, 1:]
    inverse = on_screen[..., 2]
    w = x.roll(-1, 1) * y.roll(-2, 1) - x.roll(-2, 1) * y.roll(-1, 1)
    area = w.sum(1)
    w = w.clamp(min=0) * inverse
    w = w / w.sum(1, keepdim=True)
    depth = 1 / (w / inverse).sum(1)
    uv = meshes.uv[person.unsqueeze(1), meshes.face_uv[person, face]]
    du, dv = uv[..., 0] - uv[:, :1, 0], uv[..., 1] - uv[:, :1, 1]
    stretch = (du[:, 1] * dv[:, 2] - du[:, 2] * dv[:, 1]).abs() * (4 * meshes.side**2) / area
    level = 0.5 * (stretch.view(torch.int32) * 1.1920929e-7 - 126.957) + float(SHARPEN)
    level = level.clamp(0, COARSEST)
    fine = level.long()
    mix = level - fine
    fine = fine + (mix > 1 - float(SNAP))
    u, v = (w * uv[..., 0]).sum(1), (w * uv[..., 1]).sum(1)
    near = _texel(meshes, person, fine, u, v)
    far = _texel(meshes, person, fine + 1, u, v)
    between = (mix >= float(SNAP)) & (mix <= 1 - float(SNAP))
    texture = torch.where(between.unsqueeze(1), torch.lerp(near, far, mix.unsqueeze(1)), near)
    lit = (w.unsqueeze(-1) * light[picture.unsqueeze(1), corner]).sum(1)
    return texture * lit, depth


def resolve(meshes: Meshes, person: Tensor, screen: Tensor, light: Tensor, ids: Tensor, inverse: Tensor) -> Seen:
    """Shade people by a z-buffer of twice the size, (p, 2h, 2w) each of `ids` and `inverse` from `rasterise`.

    `person` (p,) says which mesh each picture shows; `screen` (p, n, 3); `light` (p, n, 3) float32. Waits for
    the device twice, to know how many pixels there are to shade.
    """
    p, h, w = ids.shape[0], ids.shape[1] // 2, ids.shape[2] // 2

    def quads(samples: Tensor) -> Tensor:
        return samples.reshape(p, h, 2, w, 2).permute(0, 1, 3, 2, 4).reshape(p, h, w, 4)

    faces, depths = quads(ids), quads(inverse)
    count = (faces >= 0).sum(-1)
    # An empty sample's inverse depth is 0, so outlines fail this test too.
    whole = (count > 0) & (depths.amin(-1).double() > (1 - FOLD) * depths.amax(-1).double())
    colour = torch.zeros(p, h, w, 3, device=ids.device)
    depth = torch.zeros(p, h, w, device=ids.device)

    n, y, x = whole.nonzero(as_tuple=True)
    at = torch.stack([2 * x, 2 * y], 1).float() + 0.5
    shaded, near = _shade(meshes, screen, light, n, person[n], faces[n, y, x, 0], at)
    colour[n, y, x], depth[n, y, x] = shaded, 1 / near

    n, y, x = ((count > 0) & ~whole).nonzero(as_tuple=True)
    face = faces[n, y, x].flatten()
    s = torch.arange(4, device=ids.device)
    at = torch.stack([2 * x[:, None] + s % 2, 2 * y[:, None] + s // 2], -1).float().reshape(-1, 2)
    four = n.repeat_interleave(4)
    there = face >= 0
    shaded, near = _shade(meshes, screen, light, four, person[four], face.clamp(min=0), at)
    shaded, near = torch.where(there.unsqueeze(1), shaded, 0), torch.where(there, near, 0)
    samples = count[n, y, x]
    colour[n, y, x] = shaded.reshape(-1, 4, 3).sum(1) * 0.25
    depth[n, y, x] = torch.where(samples >= 2, samples / near.reshape(-1, 4).sum(1), 0)
    return Seen(colour, count, whole, depth)
