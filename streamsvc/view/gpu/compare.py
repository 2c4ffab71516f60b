"""The comparison of `view.net.ops.compare` as a Triton kernel: only the products that are asked for, no gradient.

The reference multiplies every pixel of a row with every other one and gathers from that; at half of 1024 x 1024 its
table alone is 268 MB of writes a pair.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

_BLOCK = 64


@triton.jit
def _compare(
    own,
    other,
    at,
    out,
    height,
    width,
    first,
    limit,
    scale,
    SIGN: tl.constexpr,
    CHANNELS: tl.constexpr,
    GROUP: tl.constexpr,
    PADDED: tl.constexpr,
    GROUPS: tl.constexpr,
    COUNT: tl.constexpr,
    BLOCK: tl.constexpr,
):
    column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    row = (tl.program_id(2) // GROUPS * height + tl.program_id(1)) * width
    group = tl.program_id(2) % GROUPS
    channel = tl.arange(0, PADDED)[None, :]
    real = channel < GROUP
    first_channel = group * GROUP + channel
    mine = tl.load(own + (row + column)[:, None] * CHANNELS + first_channel, mask=inside[:, None] & real, other=0.0)
    mine = mine.to(tl.float32)
    look = tl.load(at + row + column, mask=inside, other=0.0)
    base = tl.floor(look)
    part = look - base
    start = tl.minimum(tl.maximum(base, -limit), limit).to(tl.int32) + SIGN * first
    if SIGN < 0:
        start += 1
    to = out + (row + column) * (GROUPS * COUNT) + group * COUNT - 1
    before = tl.zeros([BLOCK], tl.float32)
    for j in range(COUNT + 1):
        there = start + SIGN * j
        seen = (inside & (there >= 0) & (there < width))[:, None] & real
        theirs = tl.load(other + (row + there)[:, None] * CHANNELS + first_channel, mask=seen, other=0.0)
        product = tl.sum(mine * theirs.to(tl.float32), 1) * scale
        near, far = (product, before) if SIGN < 0 else (before, product)
        value = near + part * (far - near)
        tl.store(to + j, value, mask=inside & (j > 0))
        before = product


def compare(
    left: torch.Tensor, right: torch.Tensor, at: torch.Tensor, first: int, count: int, groups: int
) -> torch.Tensor:
    """As `view.net.ops.compare`; sums are float32 whatever the features are. The result is channels last."""
    n, channels, height, width = left.shape
    pictures = [p.permute(0, 2, 3, 1).contiguous() for p in (left, right)]
    columns = at.contiguous()
    out = torch.empty(2 * n, height, width, groups * count, dtype=left.dtype, device=left.device)
    group = channels // groups
    for side, sign in ((0, -1), (1, 1)):
        half = slice(side * n, (side + 1) * n)
        _compare[(triton.cdiv(width, _BLOCK), height, n * groups)](
            pictures[side],
            pictures[1 - side],
            columns[half],
            out[half],
            height,
            width,
            first,
            float(width + count + abs(first)),
            float(group**-0.5),
            SIGN=sign,
            CHANNELS=channels,
            GROUP=group,
            PADDED=triton.next_power_of_2(group),
            GROUPS=groups,
            COUNT=count,
            BLOCK=_BLOCK,
        )
    return out.permute(0, 3, 1, 2)
