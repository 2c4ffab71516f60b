"""The geometry net: two rectified pictures in, disparity, confidence and matte of both out, coarse to fine.

One encoder sees both pictures. On every row all pixels of one picture are compared with all of the other by one matrix
product per level, and both directions read that table, so the second direction costs only its own refinement. At 1/8 a
volume of `BINS` candidates is regressed to a first disparity (soft-argmax about the best bin); at 1/4 and then at 1/2 a
narrow band about it is looked up and a residual added (RAFT-Stereo's lookup, Lipson 2021, with a volume for its start).
Each level's answer can be the last one: the levels are sorted, and a prefix of them is a rung.

Disparity is in pixels of the input. With `shift` s, column x of the left picture sees what column x - (d - s) of the
right one does: callers crop the two pictures to what they see, each by itself, and say by how much the crops differ.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from streamsvc.view.net.pairs import BINS

BAND = (5, 4)
"""How many steps either way are looked up at 1/4 and at 1/2."""

LEVELS = 3


@dataclass(frozen=True, slots=True)
class Widths:
    """Channels of the net at 1/2, 1/4, 1/8 and 1/16, and of the hidden states of the three levels."""

    half: int = 16
    quarter: int = 32
    eighth: int = 48
    sixteenth: int = 64
    volume: int = 64
    fine: int = 32
    finest: int = 16


class Answer(NamedTuple):
    """What one level says, for a batch that holds the left direction first and the right one after it: `disparity`
    (2n, h, w) float32 pixels of the input at the level's resolution, `upsampled` the same at twice that resolution
    (the whole input's, for the last level), `confidence` and `matte` (2n, h, w) logits at the level's resolution."""

    disparity: Tensor
    upsampled: Tensor
    confidence: Tensor
    matte: Tensor
    scores: Tensor | None = None


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(width, width, 3, padding=1)
        self.b = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.b.weight)
        assert self.b.bias is not None
        nn.init.zeros_(self.b.bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.b(F.relu(self.a(x))))


def _down(inward: int, outward: int) -> nn.Conv2d:
    return nn.Conv2d(inward, outward, 3, stride=2, padding=1)


class _Encoder(nn.Module):
    """Features at 1/2, 1/4 and 1/8; those at 1/4 and 1/8 have seen the whole neighbourhood through 1/16."""

    def __init__(self, w: Widths) -> None:
        super().__init__()
        self.to_half = _down(3, w.half)
        self.quarter = nn.Sequential(_down(w.half, w.quarter), nn.ReLU(), _Block(w.quarter))
        self.eighth = nn.Sequential(_down(w.quarter, w.eighth), nn.ReLU(), _Block(w.eighth), _Block(w.eighth))
        self.sixteenth = nn.Sequential(
            _down(w.eighth, w.sixteenth), nn.ReLU(), _Block(w.sixteenth), _Block(w.sixteenth)
        )
        self.from_sixteenth = nn.Conv2d(w.sixteenth, w.eighth, 1)
        self.join_eighth = nn.Conv2d(w.eighth, w.eighth, 3, padding=1)
        self.from_eighth = nn.Conv2d(w.eighth, w.quarter, 1)
        self.join_quarter = nn.Conv2d(w.quarter, w.quarter, 3, padding=1)
        self.from_quarter = nn.Conv2d(w.quarter, w.half, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        half = F.relu(self.to_half(x))
        quarter = self.quarter(half)
        eighth = self.eighth(quarter)
        sixteenth = self.sixteenth(eighth)
        eighth = self.join_eighth(F.relu(eighth + _twice(self.from_sixteenth(sixteenth))))
        quarter = self.join_quarter(F.relu(quarter + _twice(self.from_eighth(eighth))))
        half = half + _twice(self.from_quarter(quarter))
        return half, quarter, eighth


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def _table(left: Tensor, right: Tensor, groups: int) -> Tensor:
    """All products along each row: (n, groups, h, w, w), left columns before right ones."""
    n, c, h, w = left.shape
    a = (left * float((c // groups) ** -0.5)).reshape(n, groups, c // groups, h, w).permute(0, 1, 3, 4, 2)
    b = right.reshape(n, groups, c // groups, h, w).permute(0, 1, 3, 2, 4)
    return torch.matmul(a, b)


def _looked_up(table: Tensor, at: Tensor, steps: int) -> Tensor:
    """Values of `table` (n, g, h, w, w) around the columns `at` (2n, h, w) float, for left pixels and then right ones:
    (2n, g * (2 steps + 1), h, w), ordered by growing disparity, zero outside the picture."""
    n, g, _, _, columns = table.shape
    base = at.floor()
    part = (at - base).unsqueeze(-1).to(table.dtype)
    index = base.long().unsqueeze(-1) + torch.arange(-steps, steps + 2, device=at.device)
    inside = ((index >= 0) & (index < columns)).to(table.dtype)
    index = index.clamp(0, columns - 1)
    sides = []
    for rows, source, backward in ((slice(0, n), table, True), (slice(n, 2 * n), table.transpose(-1, -2), False)):
        found = []
        for group in range(g):
            taken = torch.gather(source[:, group], 3, index[rows]) * inside[rows]
            values = torch.lerp(taken[..., :-1], taken[..., 1:], part[rows])
            # A left pixel's disparity grows as the column falls.
            found.append(values.flip(-1) if backward else values)
        sides.append(found[0] if g == 1 else torch.cat(found, -1))
    return torch.cat(sides).permute(0, 3, 1, 2)


def _convex(disparity: Tensor, weights: Tensor) -> Tensor:
    """Twice the resolution: each of four children is a convex mix of the 3x3 neighbours (RAFT, Teed 2020, 3.3)."""
    b, h, w = disparity.shape
    mix = torch.softmax(weights.permute(0, 2, 3, 1).float().reshape(b, h, w, 4, 9), -1)
    padded = F.pad(disparity.unsqueeze(1), (1, 1, 1, 1), mode="replicate").squeeze(1)
    near = padded.unfold(1, 3, 1).unfold(2, 3, 1).reshape(b, h, w, 9, 1)
    children = torch.matmul(mix, near).view(b, h, w, 2, 2)
    return children.permute(0, 1, 3, 2, 4).reshape(b, 2 * h, 2 * w)


class _Level(nn.Module):
    """Hidden state from what was looked up, and the heads that read it."""

    def __init__(self, inward: int, width: int, blocks: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(inward, width, 3, padding=1)
        self.blocks = nn.Sequential(*[_Block(width) for _ in range(blocks)])
        self.heads = nn.Conv2d(width, 3, 3, padding=1)
        self.mix = nn.Conv2d(width, 36, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        hidden = self.blocks(F.relu(self.enter(x)))
        out = self.heads(hidden)
        return hidden, out[:, 0].float(), out[:, 1].float(), out[:, 2].float()


class GeometryNet(nn.Module):
    """See the module. Inputs are (n, 3, h, w) RGB in 0..1 with sides that are multiples of 16."""

    def __init__(self, widths: Widths | None = None) -> None:
        super().__init__()
        w = widths or Widths()
        self.widths = w
        self.encoder = _Encoder(w)
        self.groups = (4, 2, 1)
        self.volume = nn.Conv2d(self.groups[0] * BINS + w.eighth + 1, w.volume, 3, padding=1)
        self.volume_blocks = nn.Sequential(_Block(w.volume), _Block(w.volume))
        self.scores = nn.Conv2d(w.volume, BINS, 3, padding=1)
        self.trust = nn.Parameter(torch.tensor(1.0))
        self.coarse_heads = nn.Conv2d(w.volume, 2 + 36, 3, padding=1)
        self.to_fine = nn.Conv2d(w.volume, w.fine, 1)
        self.fine = _Level(self.groups[1] * (2 * BAND[0] + 1) + w.quarter + w.fine + 2, w.fine, 2)
        self.to_finest = nn.Conv2d(w.fine, w.finest, 1)
        self.finest = _Level(self.groups[2] * (2 * BAND[1] + 1) + w.half + w.finest + 2, w.finest, 1)

    def forward(self, left: Tensor, right: Tensor, shift: Tensor, levels: int = LEVELS) -> list[Answer]:
        """Return the answers of the first `levels` levels; `shift` (n,) float32 pixels, multiples of 8."""
        stages = self.stages(left, right, shift)
        return [next(stages) for _ in range(levels)]

    def stages(
        self, left: Tensor, right: Tensor, shift: Tensor, last_upsampled: bool = True
    ) -> Generator[Answer, None, None]:
        """Yield the answers level by level; what isn't asked for isn't computed, nor is the last level's `upsampled`
        (it repeats `disparity`) unless `last_upsampled`."""
        dtype = self.trust.dtype
        pictures = torch.cat([left, right]).contiguous(memory_format=torch.channels_last)
        some = pictures[:, :, 1::4, 1::4]
        mean, spread = some.mean((2, 3), keepdim=True), some.std((2, 3), keepdim=True)
        pictures = ((pictures - mean) / (spread + 0.05)).to(dtype)
        half, quarter, eighth = self.encoder(pictures)
        n = left.shape[0]
        sign = torch.cat([torch.ones_like(shift), -torch.ones_like(shift)]).view(2 * n, 1, 1, 1)
        apart = torch.cat([shift, shift]).view(2 * n, 1, 1)
        coarse = self._coarse(eighth, sign, apart)
        yield coarse[0]
        fine = self._refined(self.fine, self.groups[1], BAND[0], 4, quarter, sign, apart, coarse)
        yield fine[0]
        yield self._refined(self.finest, self.groups[2], BAND[1], 2, half, sign, apart, fine, last_upsampled)[0]

    def _coarse(self, features: Tensor, sign: Tensor, apart: Tensor) -> tuple[Answer, Tensor]:
        n = features.shape[0] // 2
        table = _table(features[:n], features[n:], self.groups[0])
        _, g, h, w, columns = table.shape
        b = 2 * n
        x = torch.arange(w, device=features.device).view(1, 1, w, 1)
        bins = torch.arange(BINS, device=features.device).view(1, 1, 1, BINS)
        at = x - sign.long() * (bins - (apart.view(b, 1, 1, 1) / 8).round().long())
        inside = ((at >= 0) & (at < columns)).to(table.dtype)
        index = at.clamp(0, columns - 1).expand(b, h, w, BINS).unsqueeze(1).expand(b, g, h, w, BINS)
        sides = (torch.gather(table, 4, index[:n]), torch.gather(table.transpose(-1, -2), 4, index[n:]))
        cost = (torch.cat(sides) * inside.unsqueeze(1)).permute(0, 1, 4, 2, 3)
        marker = sign.to(features.dtype).expand(b, 1, h, w)
        hidden = F.relu(self.volume(torch.cat([cost.reshape(b, g * BINS, h, w), features, marker], 1)))
        hidden = self.volume_blocks(hidden)
        scores = (self.scores(hidden) + self.trust * cost.mean(1)).float()
        # Soft-argmax over the best bin and two beside it: a mean over all would mix two surfaces.
        best = scores.argmax(1, keepdim=True)
        near = (best + torch.arange(-2, 3, device=best.device).view(1, 5, 1, 1)).clamp(0, BINS - 1)
        weights = torch.softmax(torch.gather(scores, 1, near), 1)
        disparity = 8 * (weights * near).sum(1)
        heads = self.coarse_heads(hidden)
        answer = Answer(disparity, _convex(disparity, heads[:, 2:]), heads[:, 0].float(), heads[:, 1].float(), scores)
        return answer, F.relu(self.to_fine(hidden))

    def _refined(
        self,
        level: _Level,
        groups: int,
        band: int,
        stride: int,
        features: Tensor,
        sign: Tensor,
        apart: Tensor,
        before: tuple[Answer, Tensor],
        upsampled: bool = True,
    ) -> tuple[Answer, Tensor]:
        n = features.shape[0] // 2
        start = before[0].upsampled.detach() if self.training else before[0].upsampled
        table = _table(features[:n], features[n:], groups)
        b, h, w = 2 * n, *table.shape[2:4]
        x = torch.arange(w, device=features.device, dtype=torch.float32).view(1, 1, w)
        at = x - sign.view(b, 1, 1) * (start - apart) / stride
        found = _looked_up(table, at, band)
        marker = sign.to(features.dtype).expand(b, 1, h, w)
        # How the start changes about each pixel, in steps of this level; its absolute value says nothing.
        relief = ((start - F.avg_pool2d(start.unsqueeze(1), 5, 1, 2).squeeze(1)) / stride).unsqueeze(1)
        hidden, residual, confidence, matte = level(
            torch.cat([found, features, _twice(before[1]), relief.to(features.dtype), marker], 1)
        )
        disparity = start + stride * residual
        finer = _convex(disparity, level.mix(hidden)) if upsampled else disparity
        answer = Answer(disparity, finer, confidence, matte)
        return answer, F.relu(self.to_finest(hidden)) if stride == 4 else hidden
