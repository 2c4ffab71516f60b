"""Crops of pairs on a torch device, mirrored and out of line as `view_feed.py` has them from files: same distributions.

All of it is one look-up a pixel: which picture a crop's pixel comes from, and from where in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from data_layers import Pair
from torch import Tensor
from view_feed import LEAST_KNOWN, MIRRORED, MISALIGNED, OFF_ROWS, TURNED


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Rectified pairs on a device, their n left pictures first and the right ones after them.

    `pictures` (2n, h, w, 3) uint8 RGB; `disparity` (2n, h, w) float32 pixels, NaN where unknown; `person` (2n, h, w)
    float32 in [0, 1], NaN where nobody says; `width`, `height` (n,) int64: how much of it is picture.
    """

    pictures: Tensor
    disparity: Tensor
    person: Tensor
    width: Tensor
    height: Tensor

    def on_host(self) -> list[Pair]:
        """Return each pair on the CPU, cut to its size."""
        n = len(self.width)
        pairs = []
        for i, (w, h) in enumerate(zip(self.width.tolist(), self.height.tolist(), strict=True)):
            both = ((x[i, :h, :w], x[n + i, :h, :w]) for x in (self.pictures, self.disparity, self.person))
            pairs.append(Pair(*(side.cpu().numpy() for sides in both for side in sides)))
        return pairs


def _known_columns(disparity: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    """The first column with a known disparity and the one after the last (n,); all columns where nothing is known."""
    known = torch.isfinite(disparity).any(1)
    any_at_all = known.any(1)
    known = known.int()
    first, last = known.argmax(1), known.shape[1] - known.flip(1).argmax(1)
    return torch.where(any_at_all, first, 0), torch.where(any_at_all, last, width)


def crops(pairs: Pairs, size: tuple[int, int], generator: torch.Generator) -> tuple[dict[str, Tensor], Tensor]:
    """Return a batch (see `view_feed.batch_of`) with a crop of `size` (width, height) of each pair, and whether enough
    of its left picture's disparity is known, (n,) bool."""
    n, device = len(pairs.width), pairs.pictures.device
    wide, high = size
    number = torch.arange(n, device=device)

    def uniform() -> Tensor:
        return torch.rand(n, device=device, generator=generator)

    def whole(low: Tensor, high: Tensor) -> Tensor:
        """Uniform whole numbers from `low` to `high`, both included."""
        return low + (uniform() * (high - low + 1)).floor().long()

    mirrored = uniform() < MIRRORED
    off = (uniform() < MISALIGNED).float()
    up = off * OFF_ROWS * torch.randn(n, device=device, generator=generator)
    turn = off * TURNED * torch.randn(n, device=device, generator=generator)
    source = torch.stack([torch.where(mirrored, n + number, number), torch.where(mirrored, number, n + number)])

    first, last = _known_columns(pairs.disparity, pairs.width.repeat(2))
    first, last = first[source], last[source]
    first, last = torch.where(mirrored, pairs.width - last, first), torch.where(mirrored, pairs.width - first, last)
    l0, l1, r0 = first[0], last[0], first[1]
    zero = torch.zeros_like(l0)
    apart = l0 - r0 + whole(zero - 24, zero + 24)
    level = torch.where(uniform() < 0.5, whole(zero, zero + 48), 0)
    apart = torch.where((l0 == 0) & (r0 == 0), level, apart)
    shift = (8 * (apart / 8).round()).long().clamp(min=0)
    x0 = whole(torch.minimum(l0, l1 - wide), torch.maximum(l0, l1 - wide))
    y0 = whole((pairs.height - high).clamp(max=0), (pairs.height - high).clamp(min=0))

    x = torch.stack([x0, x0 - shift])[:, :, None, None] + torch.arange(wide, device=device)
    y = y0[:, None, None] + torch.arange(high, device=device)[:, None]
    width, height = pairs.width[:, None, None], pairs.height[:, None, None]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    x = torch.minimum(x.clamp(min=0), width - 1)
    # Only the right picture is out of line: each of its pixels is sought a little above or below.
    lines = y + torch.stack([torch.zeros_like(up), up])[:, :, None, None]
    lines = lines + torch.stack([torch.zeros_like(turn), turn])[:, :, None, None] * (x - width / 2)
    lines = torch.minimum(lines.clamp(min=0), (height - 1).float())
    columns = torch.where(mirrored[:, None, None], width - 1 - x, x)
    above, nearest = lines.floor().long(), lines.round().long()
    below = torch.minimum(above + 1, height - 1)
    which = source[:, :, None, None].expand(x.shape)

    pixels = torch.lerp(
        pairs.pictures[which, above, columns].float(), pairs.pictures[which, below, columns].float(),
        (lines - above).unsqueeze(-1),
    )  # fmt: skip
    pixels = torch.where(inside.unsqueeze(-1), pixels.round() / 255, 0).permute(0, 1, 4, 2, 3)
    disparity = torch.where(inside, pairs.disparity[which, nearest, columns], torch.nan)
    person = torch.where(inside, pairs.person[which, nearest, columns], torch.nan)
    batch = {
        "left": pixels[0].contiguous(memory_format=torch.channels_last),
        "right": pixels[1].contiguous(memory_format=torch.channels_last),
        "d": disparity.flatten(0, 1), "p": person.flatten(0, 1), "shift": shift.float(),
    }  # fmt: skip
    return batch, torch.isfinite(disparity[0]).float().mean((1, 2)) > LEAST_KNOWN
