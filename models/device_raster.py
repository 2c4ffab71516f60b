"""The z-buffer of `streamsvc/scene/raster.py` on tensors: many pictures at once, the same rules, the same arithmetic.

A face is spread to the rows that it crosses and each row to the samples that lie in it. Of all faces on a sample the
greatest inverse depth wins, and of equal ones the lowest face: one maximum over keys of both, whatever the order.
"""

from __future__ import annotations

import torch
from device_sampling import spread
from torch import Tensor

from streamsvc.scene.raster import NEAR, SMALLEST

LOW = 0xFFFFFFFF
"""The lower half of a key: this less the face's number."""


def project(vertices: Tensor, K: Tensor, R: Tensor, t: Tensor) -> Tensor:
    """Return (p, n, 3) float32 (x pixels, y pixels, 1/z in 1/m) of (p, n, 3) world points, each picture's own; 1/z is 0
    nearer than `NEAR`. `K`, `R` (p, 3, 3) and `t` (p, 3); all float64."""
    x, y, z = vertices.unbind(-1)

    def along(k: int) -> Tensor:
        return R[:, k, 0:1] * x + R[:, k, 1:2] * y + R[:, k, 2:3] * z + t[:, k : k + 1]

    cx, cy, cz = along(0), along(1), along(2)
    inverse = torch.where(cz > NEAR, 1 / cz, 0.0)
    across = (K[:, 0, 0:1] * cx + K[:, 0, 1:2] * cy) * inverse + K[:, 0, 2:3]
    down = K[:, 1, 1:2] * cy * inverse + K[:, 1, 2:3]
    return torch.stack([across, down, inverse], -1).float()


def rasterise(
    screen: Tensor, faces: Tensor, width: Tensor, height: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Return (inverse depth (p, h, w) float32 in 1/m, face (p, h, w) int64, -1 where nothing is) for `size` (w, h).

    `screen` (p, n, 3) comes from `project`; `faces` (p, m, 3) int64 are corner numbers; `width` and `height` (p,) int64
    say how much of the size each picture fills. Waits for the device twice, to know how much room is needed.
    """
    pictures, many = faces.shape[:2]
    wide, high = size
    number = torch.arange(pictures, device=screen.device)
    corners = screen[number[:, None, None], faces].flatten(0, 1)  # (p m, 3 corners, 3)
    x, y, z = corners[..., 0].double(), corners[..., 1].double(), corners[..., 2]
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])

    def extent(at: Tensor, limit: Tensor) -> tuple[Tensor, Tensor]:
        limit = limit.repeat_interleave(many, output_size=len(at))
        low, high = at.amin(1).ceil().long().clamp(min=0), at.amax(1).ceil().long()
        return low, torch.minimum(high, limit)

    left, right = extent(x, width)
    top, bottom = extent(y, height)
    drawn = (area > SMALLEST) & (left < right) & (top < bottom) & (z > 0).all(1)
    counts = torch.where(drawn, bottom - top, 0)
    face, line = spread(counts, int(counts.sum()))
    line = line + top[face]

    # One run of samples a row: as `_bound` of the reference, from the same end of an edge for both its faces.
    corner = faces.flatten(0, 1)
    low = torch.full((len(face),), -1e30, dtype=torch.float64, device=screen.device)
    high_ = -low
    at = line.double()
    for a, b in ((0, 1), (1, 2), (2, 0)):
        rise = y[:, b] - y[:, a]
        slope = torch.where(rise != 0, (x[:, b] - x[:, a]) / rise, 0.0)
        forward = corner[:, a] < corner[:, b]
        from_x, from_y = torch.where(forward, x[:, a], x[:, b]), torch.where(forward, y[:, a], y[:, b])
        edge = from_x[face] + (at - from_y[face]) * slope[face]
        up = rise[face]
        low = torch.where(up < 0, torch.maximum(low, edge), low)
        high_ = torch.where(up > 0, torch.minimum(high_, edge), high_)
    begin, end = torch.maximum(left[face], low.ceil().long()), torch.minimum(right[face], high_.ceil().long())
    counts = (end - begin).clamp(min=0)
    run, column = spread(counts, int(counts.sum()))
    column = column + begin[run]

    first = z[:, 0]
    dx, dy = x - x[:, :1], y - y[:, :1]
    di = (z - z[:, :1]).double()
    slope_x = (di[:, 1] * dy[:, 2] - di[:, 2] * dy[:, 1]) * (1 / area)
    slope_y = (di[:, 2] * dx[:, 1] - di[:, 1] * dx[:, 2]) * (1 / area)
    base = first[face] + (at - y[:, 0][face]) * slope_y[face] - x[:, 0][face] * slope_x[face]
    inverse = (base[run] + column * slope_x[face][run]).float()
    keys = inverse.view(torch.int32).long() << 32 | (LOW - face % many)[run]
    address = ((face // many) * high + line)[run] * wide + column
    buffer = torch.zeros(pictures * high * wide, dtype=torch.int64, device=screen.device)
    buffer.scatter_reduce_(0, address, keys, "amax")
    ids = torch.where(buffer > 0, LOW - (buffer & LOW), -1)
    depth = (buffer >> 32).int().view(torch.float32)
    return depth.reshape(pictures, high, wide), ids.reshape(pictures, high, wide)
