"""The room of `streamsvc/scene/room.py` ray-cast on tensors, for the pixels that show it and all pictures together.

The same rays, things, textures, lamp and shadows, in float32 where the reference has float64: a ray that passes an edge
within a millionth may see the other side of it. A ray is tried against the things whose outline on the screen is near
its pixel, and on its way to the lamp against those near its place in a small map of what the lamp sees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from device_noise import fractal3, hash01, noise3, smoothstep
from device_sampling import spread
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from streamsvc.scene.room import (
    BACK,
    BALL,
    BOOK,
    CEILING,
    FLOOR,
    FRONT,
    HALF_WIDTH,
    LAMP,
    PICTURE,
    PLAIN,
    WALL,
    WOOD,
    furnish,
)  # fmt: skip

CELLS = 48
"""Cells a side of the lamp's map."""

NOTHING = 0xFFFFFFFF
"""The thing of a ray that hits the walls."""

OFFSETS = ((-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25), (0.0, 0.0))
"""Where the rays of a pixel go through it: four to be shaded, and one for depth."""


@dataclass(frozen=True, slots=True, eq=False)
class Room:
    """A furnished room as the CPU prepares it: `things` (n, 11) as `furnish` has them, `lamp` (3,), and the lamp's map.

    `spans` (4,) is its first corner u, v, and 1/du, 1/dv of a cell; `count[k]` things of `near` from `start[k]` on are
    in cell k.
    """

    seed: int
    things: NDArray[np.float64]
    lamp: NDArray[np.float64]
    spans: NDArray[np.float64]
    start: NDArray[np.int64]
    count: NDArray[np.int64]
    near: NDArray[np.int64]


def prepare(seed: int) -> Room:
    """Furnish a room, and map what its lamp sees of the things: on a plane one metre before it, its cells' things."""
    things, lamp = furnish(seed), LAMP.copy()
    if things[0, 1] + things[0, 4] < 0:
        lamp[0] = -lamp[0]
    low, high = _corners(things)
    ahead = np.stack([low[:, 2], high[:, 2]]) - lamp[2]  # all things stand behind the lamp
    ends = [(corner[:, k] - lamp[k]) / z for corner in (low, high) for z in ahead for k in (0, 1)]
    ends_ = np.stack(ends).reshape(4, 2, -1)
    first, last = ends_.min(0).T - 1e-4, ends_.max(0).T + 1e-4
    begin, step = first.min(0), (last.max(0) - first.min(0)) / CELLS
    lists: list[list[int]] = [[] for _ in range(CELLS * CELLS)]
    for i, (a, b) in enumerate(zip((first - begin) // step, (last - begin) // step, strict=True)):
        for row in range(int(a[1]), min(int(b[1]), CELLS - 1) + 1):
            for column in range(int(a[0]), min(int(b[0]), CELLS - 1) + 1):
                lists[row * CELLS + column].append(i)
    count = np.array([len(cell) for cell in lists], np.int64)
    near = np.array([i for cell in lists for i in cell], np.int64)
    return Room(seed, things, lamp, np.concatenate([begin, 1 / step]), np.cumsum(count) - count, count, near)


def _corners(things: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low, high, radius = things[:, 1:4].copy(), things[:, 4:7].copy(), things[:, 4:5]
    ball = things[:, 0] == BALL
    low[ball], high[ball] = (things[:, 1:4] - radius)[ball], (things[:, 1:4] + radius)[ball]
    return low, high


@dataclass(frozen=True, slots=True, eq=False)
class Rooms:
    """Rooms on a device, padded to one number of things (s, n, 11) float32; the rest as in Room, a row a room."""

    things: Tensor
    low: Tensor
    high: Tensor
    lamp: Tensor
    seed: Tensor
    spans: Tensor
    start: Tensor
    count: Tensor
    near: Tensor


def upload(rooms: list[Room], device: str) -> Rooms:
    """Bring rooms to `device`."""
    most = max(len(room.things) for room in rooms)
    none = np.array([PLAIN, 1e6, 1e6, 1e6, 1e6, 1e6, 1e6, 0, 0, 0, 0.0])
    things = np.stack([np.concatenate([r.things, np.tile(none, (most - len(r.things), 1))]) for r in rooms])
    corners = [_corners(t) for t in things]
    before = np.cumsum([0] + [len(r.near) for r in rooms])

    def floats(arrays: list[NDArray[np.float64]]) -> Tensor:
        return torch.from_numpy(np.stack(arrays).astype(np.float32)).to(device)

    def whole(arrays: list[NDArray[np.int64]]) -> Tensor:
        return torch.from_numpy(np.stack(arrays)).to(device)

    return Rooms(
        floats(list(things)), floats([c[0] for c in corners]), floats([c[1] for c in corners]),
        floats([r.lamp for r in rooms]), torch.tensor([r.seed for r in rooms], device=device),
        floats([r.spans for r in rooms]),
        whole([r.start + first for r, first in zip(rooms, before, strict=False)]), whole([r.count for r in rooms]),
        torch.from_numpy(np.concatenate([r.near for r in rooms])).to(device),
    )  # fmt: skip


def _hit(things: Tensor, origin: Tensor, way: Tensor) -> tuple[Tensor, Tensor]:
    """Return (distance, axis of the face or 3) of things (..., 11) along unit rays (..., 3); inf where they miss."""
    slant = 1 / torch.where(way.abs() > 1e-9, way, 1e-9)
    a, b = (things[..., 1:4] - origin) * slant, (things[..., 4:7] - origin) * slant
    near, axis = torch.minimum(a, b).max(-1)
    far = torch.maximum(a, b).amin(-1)
    near = torch.where(near < far, near, torch.inf)
    from_ball = origin - things[..., 1:4]
    along = (from_ball * way).sum(-1)
    beside = from_ball - along.unsqueeze(-1) * way
    under = things[..., 4] ** 2 - (beside * beside).sum(-1)
    ball = torch.where(under > 0, -along - under.clamp(min=0).sqrt(), torch.inf)
    is_ball = things[..., 0] == BALL
    distance = torch.where(is_ball, ball, near)
    return torch.where(distance > 1e-4, distance, torch.inf), torch.where(is_ball, 3, axis)


def _rays(K: Tensor, R: Tensor, n: Tensor, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Unit directions (pixels, 5, 3) in world axes of the pixels' rays, and what a metre along z is along them."""
    offset = torch.tensor(OFFSETS, device=K.device, dtype=torch.float64)
    own = K[n]
    down = (y.unsqueeze(1) + offset[:, 1] - own[:, 1, 2:3]) / own[:, 1, 1:2]
    across = (x.unsqueeze(1) + offset[:, 0] - own[:, 0, 2:3] - own[:, 0, 1:2] * down) / own[:, 0, 0:1]
    way = torch.stack([across, down, torch.ones_like(down)], -1)
    length = way.norm(dim=-1)
    turned = (way.unsqueeze(-1) * R[n].unsqueeze(1)).sum(-2)  # the transpose of R: camera axes to the world's
    return (turned / length.unsqueeze(-1)).float(), length.float()


def _boxes(rooms: Rooms, room: Tensor, K: Tensor, R: Tensor, t: Tensor, size: tuple[int, int]) -> Tensor:
    """First column, first row, last column, last row (4, p, things) int64 of pixels whose rays may meet each thing."""
    width, height = size
    low, high = rooms.low[room].double(), rooms.high[room].double()
    pick = torch.tensor([[k >> s & 1 for s in range(3)] for k in range(8)], device=K.device).bool()
    corner = torch.where(pick, high.unsqueeze(2), low.unsqueeze(2))  # (p, things, 8, 3)
    seen = torch.einsum("pij,ptcj->ptci", R, corner) + t[:, None, None]
    z = seen[..., 2]
    plane = torch.einsum("pij,ptcj->ptci", K, seen / z.unsqueeze(-1))[..., :2]
    reach = 1e9  # what reaches behind the camera may be anywhere
    ahead = (z > 0.05).all(-1)[..., None]
    first = torch.where(ahead, plane.amin(2) - 1, -reach).clamp(-1, reach).floor().long().clamp(min=0)
    last = torch.where(ahead, plane.amax(2) + 1, reach).clamp(-2, reach).ceil().long()
    last = torch.minimum(last, torch.tensor([width - 1, height - 1], device=K.device))
    there = rooms.things[room][..., 1] < 1e5  # padding is nowhere
    last = torch.where(there.unsqueeze(-1), last, -1)
    return torch.cat([first, last], -1).permute(2, 0, 1)


def draw(rooms: Rooms, room: Tensor, K: Tensor, R: Tensor, t: Tensor, shown: Tensor) -> tuple[Tensor, Tensor]:
    """Return (rgb (p, h, w, 3) float32 whole levels, depth (p, h, w) float32 metres along z), 0 where not `shown`.

    `room` (p,) int64: of which room each picture is; `K`, `R` (p, 3, 3), `t` (p, 3) float64; `shown` (p, h, w) bool.
    Waits for the device a few times, to know how much room is needed.
    """
    p, h, w = shown.shape
    device = shown.device
    n, y, x = shown.nonzero(as_tuple=True)
    slot = torch.full((p, h, w), -1, device=device)
    slot[n, y, x] = torch.arange(len(n), device=device)
    origin = -torch.einsum("pji,pj->pi", R, t).float()
    way, length = _rays(K, R, n, y, x)

    at = origin[n].unsqueeze(1)
    walls = torch.tensor([[-HALF_WIDTH, CEILING, FRONT], [HALF_WIDTH, FLOOR, BACK]], device=device)
    to_wall = (torch.where(way > 0, walls[1], walls[0]) - at) / way
    to_wall = torch.where((way.abs() > 1e-9) & (to_wall > 0), to_wall, 1e9)
    distance, axis = to_wall.min(-1)
    best = distance.view(torch.int32).long() << 32 | NOTHING

    x0, y0, x1, y1 = _boxes(rooms, room, K, R, t, (w, h)).flatten(1)
    wide = (x1 - x0 + 1).clamp(min=0)
    counts = wide * (y1 - y0 + 1).clamp(min=0)
    box, place = spread(counts, int(counts.sum()))
    things = rooms.things.shape[1]
    picture, thing = box // things, box % things
    candidate = slot[picture, y0[box] + place // wide[box], x0[box] + place % wide[box]]
    keep = (candidate >= 0).nonzero().squeeze(1)
    candidate, picture, thing = candidate[keep], picture[keep], thing[keep]
    found, _ = _hit(rooms.things[room[picture], thing].unsqueeze(1), origin[picture].unsqueeze(1), way[candidate])
    keys = found.view(torch.int32).long() << 32 | thing.unsqueeze(1)
    best.scatter_reduce_(0, candidate.unsqueeze(1).expand(-1, 5), keys, "amin")
    distance = (best >> 32).int().view(torch.float32)

    own = room[n]
    shaded = _shade(
        rooms, own.repeat_interleave(4), at.expand(-1, 4, 3).reshape(-1, 3), way[:, :4].reshape(-1, 3),
        distance[:, :4].flatten(), (best & NOTHING)[:, :4].flatten(), axis[:, :4].flatten(),
    )  # fmt: skip
    rgb, depth = torch.zeros(p, h, w, 3, device=device), torch.zeros(p, h, w, device=device)
    rgb[n, y, x] = (shaded.reshape(-1, 4, 3).sum(1) * 0.25 + 0.5).clamp(max=255).floor()
    depth[n, y, x] = distance[:, 4] / length[:, 4]
    return rgb, depth


def _shade(
    rooms: Rooms, room: Tensor, origin: Tensor, way: Tensor, distance: Tensor, thing: Tensor, axis: Tensor
) -> Tensor:
    """Return the colours (n, 3) where rays end: on `thing`, or on the wall across `axis`."""
    point = origin + distance.unsqueeze(1) * way
    on_wall = thing == NOTHING
    own = rooms.things[room, torch.where(on_wall, 0, thing)]
    face = torch.where(on_wall, axis, _hit(own, origin, way)[1])
    down = way[:, 1] > 0
    device = point.device
    levels = torch.tensor(
        [[172.0, 178.0, 172.0], [228.0, 226.0, 220.0], [190.0, 184.0, 168.0], [146.0, 110.0, 78.0]], device=device
    )
    floor = on_wall & (axis == 1) & down
    colour = torch.where(on_wall.unsqueeze(1), levels[torch.where(floor, 3, axis)], own[:, 7:10])
    kind = torch.where(on_wall, torch.where(floor, WOOD, WALL), own[:, 0].long())
    colour = _textured(colour, kind, point, face, own, rooms.seed[room])

    flat = torch.where(way > 0, -1.0, 1.0) * F.one_hot(face.clamp(max=2), 3)
    normal = torch.where((face == 3).unsqueeze(1), (point - own[:, 1:4]) / own[:, 4:5], flat)
    lamp = rooms.lamp[room]
    to_lamp = lamp - point
    far = to_lamp.norm(dim=1)
    to_lamp = to_lamp / far.unsqueeze(1)
    lambert = (normal * to_lamp).sum(1).clamp(min=0)
    lambert = torch.where(_blocked(rooms, room, point + 2e-3 * normal, to_lamp, far, lambert > 0), 0, lambert)
    side = torch.where(lamp[:, 0] > 0, 1.0, -1.0)
    power = 0.24 - 0.07 * normal[:, 1] + 0.05 * normal[:, 0] * side + 1.15 * lambert / (0.55 + far * far)
    return colour * (power**0.4545).unsqueeze(1) * torch.tensor([1.03, 1.0, 0.95], device=device)


def _blocked(rooms: Rooms, room: Tensor, start: Tensor, way: Tensor, limit: Tensor, lit: Tensor) -> Tensor:
    """Whether anything stands between `start` (n, 3) and the lamp, asked where `lit`."""
    lamp = rooms.lamp[room]
    ahead = start[:, 2] - lamp[:, 2]
    spans = rooms.spans[room]
    # What the lamp sees lies ahead of it; other points have nothing in their way.
    cell = ((start[:, :2] - lamp[:, :2]) / ahead.clamp(min=1e-3).unsqueeze(1) - spans[:, :2]) * spans[:, 2:]
    asked = lit & (ahead > 1e-3) & (cell >= 0).all(1) & (cell < CELLS).all(1)
    column, row = torch.where(asked.unsqueeze(1), cell, 0).long().unbind(1)
    number = row * CELLS + column
    counts = torch.where(asked, rooms.count[room, number], 0)
    ray, place = spread(counts, int(counts.sum()))
    thing = rooms.near[rooms.start[room, number][ray] + place]
    found, _ = _hit(rooms.things[room[ray], thing], start[ray], way[ray])
    blocked = torch.zeros(len(start), dtype=torch.int32, device=start.device)
    return blocked.scatter_reduce_(0, ray, (found < limit[ray]).int(), "amax") > 0


def _textured(colour: Tensor, kind: Tensor, point: Tensor, face: Tensor, thing: Tensor, seed: Tensor) -> Tensor:
    """Return `colour` (n, 3) under the texture of each `kind` at each point, as the reference's _texture."""
    fine = 70 * point
    grain = fractal3(fine[:, 0], fine[:, 1], fine[:, 2], 2, seed + 1)
    tone = 1 + 0.16 * grain
    for which, texture in ((WALL, _wall), (WOOD, _wood), (BOOK, _book)):
        at = (kind == which).nonzero().squeeze(1)
        x, y, z = point[at].unbind(1)
        tone = tone.index_put((at,), texture(x, y, z, face[at], thing[at], seed[at], grain[at]))
    at = (kind == PICTURE).nonzero().squeeze(1)
    painted, tones = _picture(point[at], thing[at], seed[at], grain[at])
    return colour.index_put((at,), painted) * tone.index_put((at,), tones).unsqueeze(1)


def _wall(x: Tensor, y: Tensor, z: Tensor, face: Tensor, thing: Tensor, seed: Tensor, grain: Tensor) -> Tensor:
    u, v = torch.where(face == 0, z, x), torch.where(face == 1, z, y)
    cell_u = (u * 5.5 + 0.5 * (v * 5.5).floor().remainder(2)).remainder(1) - 0.5
    cell_v = (v * 5.5).remainder(1) - 0.5
    r = torch.hypot(cell_u, cell_v)
    motif = smoothstep(0.36, 0.32, r) - 0.7 * smoothstep(0.24, 0.2, r) + 0.8 * smoothstep(0.1, 0.07, r)
    petal = torch.cos(6 * torch.atan2(cell_v, cell_u))
    return 1 - 0.17 * motif * (0.75 + 0.25 * petal) + 0.06 * fractal3(14 * x, 14 * y, 14 * z, 3, seed) + 0.07 * grain


def _wood(x: Tensor, y: Tensor, z: Tensor, face: Tensor, thing: Tensor, seed: Tensor, grain: Tensor) -> Tensor:
    return 0.95 + 0.22 * noise3(6 * x, 46 * y, 46 * z, seed + 2) + 0.08 * grain


def _book(x: Tensor, y: Tensor, z: Tensor, face: Tensor, thing: Tensor, seed: Tensor, grain: Tensor) -> Tensor:
    number = thing[:, 10].long()
    height = (y - thing[:, 2]) / (thing[:, 5] - thing[:, 2])
    band = hash01(number, 3, 0, seed)
    stripe = ((height - 0.15 - 0.2 * band).abs() < 0.03) | ((height - 0.85).abs() < 0.02)
    title = (height > 0.35) & (height < 0.75) & (face == 2)
    title = title & (noise3(160 * x, 90 * y, torch.zeros_like(x), number) > 0.15)
    return (0.95 + 0.12 * grain) * torch.where(stripe, 1.5, torch.where(title, 1.35, 1.0))


def _picture(point: Tensor, thing: Tensor, seed: Tensor, grain: Tensor) -> tuple[Tensor, Tensor]:
    u = (point[:, 0] - thing[:, 1]) / (thing[:, 4] - thing[:, 1])
    v = (point[:, 1] - thing[:, 2]) / (thing[:, 5] - thing[:, 2])
    zero = torch.zeros_like(u)
    hill = 0.55 + 0.13 * noise3(3 * u, zero, zero, seed + 5) + 0.05 * noise3(11 * u, zero, zero, seed + 6)
    far = 0.42 + 0.1 * noise3(4 * u, zero, zero + 1, seed + 7)
    daub = fractal3(26 * u, 26 * v, zero, 3, seed + 8)
    green = torch.stack([92 + 60 * (v - hill), 118 - 40 * (v - hill), zero + 62], 1)
    hills = torch.stack([zero + 96, zero + 120, zero + 140], 1)
    sky = torch.stack([236 - 70 * (far - v), 190 + 10 * v, 150 + 120 * (far - v)], 1)
    colour = torch.where((v > hill).unsqueeze(1), green, torch.where((v > far).unsqueeze(1), hills, sky))
    frame = (u < 0.07) | (u > 0.93) | (v < 0.08) | (v > 0.92)
    painted = torch.where(frame.unsqueeze(1), torch.tensor([226.0, 220.0, 208.0], device=u.device), colour)
    return painted, torch.where(frame, 1 + 0.06 * grain, 1 + 0.3 * daub)
