"""Layered worlds of `data_layers.py` rendered on a torch device, many at once.

Worlds are drawn up on the CPU and rendered here by the same formulas as `data_layers.view`: what differs is rounding,
and that OpenCV before its version 5 samples at multiples of 1/32 of a pixel. The first layers of all pictures are drawn
together, then the second ones over them, and so on; each only in the box outside which nothing of it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from data_layers import Layer, World
from device_sampling import Packed, pack, sampled, spread, to_device
from numpy.typing import NDArray
from torch import Tensor

ROUNDS = 5
"""How often the left column that a right pixel sees is sought anew."""


@dataclass(frozen=True, slots=True, eq=False)
class _Depth:
    """The layers that are so many from the back, those of left pictures first.

    `table` (k, n) float32, a column a layer: see `_described`; `where` (6, n) int64: its picture, its first row and
    column there, its width, its texture's number, and how many pixels it has; `pixels` on the left and on the right.
    """

    table: Tensor
    where: Tensor
    bumps: int
    pixels: tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Worlds:
    """What is needed to render worlds, on the device: textures, masks (cut to what isn't empty), and layers."""

    count: int
    size: tuple[int, int]
    textures: Packed
    masks: Packed
    depths: list[_Depth]


def _cut_mask(layer: Layer) -> tuple[NDArray[np.uint8], int, int]:
    """The part of a mask that isn't empty and where it begins; a pixel of it for a layer that has none."""
    if layer.mask is None:
        return np.full((1, 1, 1), 255, np.uint8), 0, 0
    x, y, w, h = cv2.boundingRect(layer.mask)
    return layer.mask[y : y + max(h, 1), x : x + max(w, 1), None], x, y


def _described(layer: Layer, world: World, off: float, mask_at: tuple[int, int], bumps: int) -> list[float]:
    """A column of the table: row offset, slope (3), centre (2), warp (6), from picture to mask (2), bumps (5 each)."""
    width, height = world.size
    own = np.zeros((bumps, 5))
    own[:, 2] = 1  # what isn't there has a radius to divide by, and no height
    own[: len(layer.bumps)] = layer.bumps
    to_mask = width / 2 - mask_at[0], height / 2 - mask_at[1]
    return [off, *layer.slope, *layer.centre, *layer.warp.ravel(), *to_mask, *own.ravel()]


def upload(worlds: list[World], device: str) -> Worlds:
    """Bring worlds to `device`."""
    size = max(w.size[0] for w in worlds), max(w.size[1] for w in worlds)
    layers = [(i, layer) for i, world in enumerate(worlds) for layer in world.layers]
    numbers = {id(layer): n for n, (_, layer) in enumerate(layers)}
    masks = [_cut_mask(layer) for _, layer in layers]
    depths = []
    for depth in range(max(len(world.layers) for world in worlds)):
        at_depth = [(i, world, world.layers[depth]) for i, world in enumerate(worlds) if depth < len(world.layers)]
        most = max(len(layer.bumps) for _, _, layer in at_depth)
        columns, where, pixels = [], [], [0, 0]
        for side in (0, 1):
            for i, world, layer in at_depth:
                rows, cols = layer.box(world.size, side)
                width, count = cols.stop - cols.start, (cols.stop - cols.start) * (rows.stop - rows.start)
                if count <= 0:
                    continue
                number = numbers[id(layer)]
                columns.append(_described(layer, world, world.off * side, masks[number][1:], most))
                where.append((side * len(worlds) + i, rows.start, cols.start, width, number, count))
                pixels[side] += count
        if columns:
            table = to_device(np.array(columns, np.float32).T, device)
            depths.append(_Depth(table, to_device(np.array(where).T, device), most, (pixels[0], pixels[1])))
    textures = pack([layer.texture for _, layer in layers], device)
    return Worlds(len(worlds), size, textures, pack([m[0] for m in masks], device), depths)


def _disparity(p: Tensor, x: Tensor, y: Tensor, bumps: int) -> Tensor:
    d = p[1] * (x - p[4]) + p[2] * (y - p[5]) + p[3]
    for b in range(bumps):
        bx, by, radius, height, kind = p[14 + 5 * b : 19 + 5 * b]
        r2 = ((x - bx) ** 2 + (y - by) ** 2) / (radius * radius)
        d = d + height * torch.where(kind > 0, (1 - r2).clamp(min=0).sqrt(), torch.exp(-r2))
    return d


def render(worlds: Worlds) -> tuple[Tensor, Tensor]:
    """Return (pictures (2n, h, w, 3) uint8, disparity (2n, h, w) float32), left ones first, in pixels.

    The size is that of the largest world; outside a smaller one pictures are black and the disparity is -inf.
    """
    width, height = worlds.size
    device = worlds.textures.texels.device
    picture = torch.zeros(2 * worlds.count * height * width, 3, device=device)
    nearest = torch.full((2 * worlds.count * height * width,), -torch.inf, device=device)
    for number, depth in enumerate(worlds.depths):
        owner, place = spread(depth.where[5], sum(depth.pixels))
        p = depth.table[:, owner]
        shown, top, left, wide, layer, _ = depth.where[:, owner]
        row, column = top + place // wide, left + place % wide
        x, y = column.float(), row.float() + p[0]
        # A left pixel is where it is; a right one sees the left column that lies its disparity further on.
        split = depth.pixels[0]
        right, rx, ry = p[:, split:], x[split:], y[split:]
        seen = rx + right[3]
        for _ in range(ROUNDS):
            seen = rx + _disparity(right, seen, ry, depth.bumps)
        x = torch.cat([x[:split], seen])
        disparity = _disparity(p, x, y, depth.bumps)
        at = (shown * height + row) * width + column
        behind = nearest[at]
        if number:
            alpha = sampled(worlds.masks, layer, x + p[12], y + p[13], "zero").squeeze(1).round() / 255
        else:
            alpha = torch.ones_like(x)  # the background is everywhere
        alpha = torch.where(disparity < behind, 0, alpha)
        u, v = p[6] * x + p[7] * y + p[8], p[9] * x + p[10] * y + p[11]
        colour = sampled(worlds.textures, layer, u, v, "reflected").round()
        picture[at] = torch.lerp(picture[at], colour, alpha.unsqueeze(1))
        nearest[at] = torch.where(alpha > 0.5, disparity, behind)
    shape = 2 * worlds.count, height, width
    return picture.reshape(*shape, 3).clamp(0, 255).to(torch.uint8), nearest.reshape(shape)
