"""The geometry net: two rectified pictures in, disparity, confidence and matte of both out, coarse to fine.

One encoder sees both pictures, and both directions compare its features along each row. At 1/8 a volume of `BINS`
candidates is regressed to a first disparity (soft-argmax about the best bin); at 1/4 and then at 1/2 a narrow band
about it is compared and a residual added (RAFT-Stereo's lookup, Lipson 2021, with a volume for its start). From 1/2 to
the input's resolution each pixel chooses one of the two surfaces thereabouts. Each level's answer can be the last one:
the levels are sorted, and a prefix of them is a rung.

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

from streamsvc.view.net.ops import compare, convex, convolve
from streamsvc.view.net.pairs import BINS

BAND = (5, 4)
"""How many steps either way are looked up at 1/4 and at 1/2."""

LEVELS = 3


@dataclass(frozen=True, slots=True)
class Widths:
    """Channels of the net at 1/2, 1/4, 1/8 and 1/16, of the hidden states of the three levels, and of the edges."""

    half: int = 16
    quarter: int = 32
    eighth: int = 48
    sixteenth: int = 64
    volume: int = 64
    fine: int = 32
    finest: int = 16
    edges: int = 16


class Edge(NamedTuple):
    """Two surfaces to choose from: their disparities `near` and `far` (2n, h, w) at 1/2 of the input's resolution, and
    the logits `side` (2n, 2h, 2w) for the near one at all of it."""

    near: Tensor
    far: Tensor
    side: Tensor


class Answer(NamedTuple):
    """What one level says, for a batch that holds the left direction first and the right one after it: `disparity`
    (2n, h, w) float32 pixels of the input at 1/`stride` of its resolution, `upsampled` the same at twice that,
    `confidence` logits at 1/`stride`, `matte` logits there too, but the last level's (with its `edge`) at the input's
    resolution, and the first level's `scores` of its candidates (2n, BINS, h, w)."""

    stride: int
    disparity: Tensor
    upsampled: Tensor
    confidence: Tensor
    matte: Tensor
    scores: Tensor | None = None
    edge: Edge | None = None


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(width, width, 3, padding=1)
        self.b = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.b.weight)
        assert self.b.bias is not None
        nn.init.zeros_(self.b.bias)

    def forward(self, x: Tensor) -> Tensor:
        return convolve(self.b, convolve(self.a, x), x)


def _down(inward: int, outward: int) -> nn.Conv2d:
    return nn.Conv2d(inward, outward, 3, stride=2, padding=1)


class _Encoder(nn.Module):
    """Features at 1/2, 1/4 and 1/8; those at 1/4 and 1/8 have seen the whole neighbourhood through 1/16."""

    def __init__(self, w: Widths) -> None:
        super().__init__()
        self.to_half = _down(3, w.half)
        self.quarter = nn.Sequential(_down(w.half, w.quarter), nn.ReLU(True), _Block(w.quarter))
        self.eighth = nn.Sequential(_down(w.quarter, w.eighth), nn.ReLU(True), _Block(w.eighth), _Block(w.eighth))
        self.sixteenth = nn.Sequential(
            _down(w.eighth, w.sixteenth), nn.ReLU(True), _Block(w.sixteenth), _Block(w.sixteenth)
        )
        self.from_sixteenth = nn.Conv2d(w.sixteenth, w.eighth, 1)
        self.join_eighth = nn.Conv2d(w.eighth, w.eighth, 3, padding=1)
        self.from_eighth = nn.Conv2d(w.eighth, w.quarter, 1)
        self.join_quarter = nn.Conv2d(w.quarter, w.quarter, 3, padding=1)
        self.from_quarter = nn.Conv2d(w.quarter, w.half, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        half = convolve(self.to_half, x)
        quarter = self.quarter(half)
        eighth = self.eighth(quarter)
        sixteenth = self.sixteenth(eighth)
        eighth = self.join_eighth((eighth + _twice(self.from_sixteenth(sixteenth))).relu_())
        quarter = self.join_quarter((quarter + _twice(self.from_eighth(eighth))).relu_())
        half = half + _twice(self.from_quarter(quarter))
        return half, quarter, eighth


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def _joined(*parts: Tensor) -> Tensor:
    """The parts side by side in channels, of the first one's type, channels last: mixed layouts cost two copies."""
    dtype = parts[0].dtype
    return torch.cat([p.to(dtype).contiguous(memory_format=torch.channels_last) for p in parts], 1)


class _Level(nn.Module):
    """Hidden state from what was looked up."""

    def __init__(self, inward: int, width: int, blocks: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(inward, width, 3, padding=1)
        self.blocks = nn.Sequential(*[_Block(width) for _ in range(blocks)])

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.blocks(convolve(self.enter, x))
        return hidden


class _Edges(nn.Module):
    """Where one surface ends and another begins, at the input's resolution: at an edge disparity has two values and
    none between, which a regressed one can't say (Tosi 2021). A pixel chooses one of the two, by its own colours."""

    def __init__(self, inward: int, width: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(inward + 12, width, 3, padding=1)
        self.block = _Block(width)
        self.heads = nn.Conv2d(width, 2 + 4 + 4, 3, padding=1)

    def forward(self, hidden: Tensor, pictures: Tensor, disparity: Tensor) -> tuple[Edge, Tensor, Tensor]:
        own = F.pixel_unshuffle(pictures, 2).contiguous(memory_format=torch.channels_last)
        out = self.heads(self.block(convolve(self.enter, _joined(hidden, own)))).float().contiguous()
        near, far = disparity + F.softplus(out[:, 0]), disparity - F.softplus(out[:, 1])
        side = F.pixel_shuffle(out[:, 2:6], 2).squeeze(1)
        share = torch.sigmoid(side)
        wide_near, wide_far = (_twice(d.unsqueeze(1)).squeeze(1) for d in (near, far))
        gap = wide_near - wide_far
        return Edge(near, far, side), wide_far + share * gap, F.pixel_shuffle(out[:, 6:], 2).squeeze(1)


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
        self.fine_heads = nn.Conv2d(w.fine, 3, 3, padding=1)
        self.fine_mix = nn.Conv2d(w.fine, 36, 1)
        self.to_finest = nn.Conv2d(w.fine, w.finest, 1)
        self.finest = _Level(self.groups[2] * (2 * BAND[1] + 1) + w.half + w.finest + 2, w.finest, 1)
        self.finest_heads = nn.Conv2d(w.finest, 2, 3, padding=1)
        self.edges = _Edges(w.finest, w.edges)

    def forward(self, left: Tensor, right: Tensor, shift: Tensor, levels: int = LEVELS) -> list[Answer]:
        """Return the answers of the first `levels` levels; `shift` (n,) float32 pixels, multiples of 8."""
        stages = self.stages(left, right, shift)
        return [next(stages) for _ in range(levels)]

    def stages(self, left: Tensor, right: Tensor, shift: Tensor) -> Generator[Answer, None, None]:
        """Yield the answers level by level; what isn't asked for isn't computed."""
        dtype = self.trust.dtype
        pictures = torch.cat([left, right]).contiguous(memory_format=torch.channels_last)
        some = pictures[:, :, 1::4, 1::4]
        mean, spread = some.mean((2, 3), keepdim=True), some.std((2, 3), keepdim=True)
        scale = 1 / (spread + 0.05)
        pictures = torch.addcmul(-mean * scale, pictures, scale).to(dtype)
        half, quarter, eighth = self.encoder(pictures)
        n = left.shape[0]
        sign = torch.cat([torch.ones_like(shift), -torch.ones_like(shift)]).view(2 * n, 1, 1, 1)
        apart = torch.cat([shift, shift]).view(2 * n, 1, 1)
        answer, hidden = self._coarse(eighth, sign, apart)
        yield answer
        start, state = answer.upsampled, _twice(convolve(self.to_fine, hidden))
        hidden = self.fine(self._about(start, state, quarter, sign, apart, 4, BAND[0], self.groups[1]))
        out = self.fine_heads(hidden).float()
        disparity = start.detach() + 4 * out[:, 0]
        answer = Answer(4, disparity, convex(disparity, self.fine_mix(hidden)), out[:, 1], out[:, 2])
        yield answer
        start, state = answer.upsampled, _twice(convolve(self.to_finest, hidden))
        hidden = self.finest(self._about(start, state, half, sign, apart, 2, BAND[1], self.groups[2]))
        out = self.finest_heads(hidden).float()
        disparity = start.detach() + 2 * out[:, 0]
        edge, upsampled, matte = self.edges(hidden, pictures, disparity)
        yield Answer(2, disparity, upsampled, out[:, 1], matte, edge=edge)

    def _coarse(self, features: Tensor, sign: Tensor, apart: Tensor) -> tuple[Answer, Tensor]:
        n = features.shape[0] // 2
        b, g, (h, w) = 2 * n, self.groups[0], features.shape[2:]
        x = torch.arange(w, device=features.device, dtype=torch.float32).view(1, 1, w)
        at = (x + sign.view(b, 1, 1) * (apart / 8).round()).expand(b, h, w)
        compared = compare(features[:n], features[n:], at, 0, BINS, g)
        hidden = convolve(self.volume, _joined(compared, features, sign.expand(b, 1, h, w)))
        hidden = self.volume_blocks(hidden)
        scores = (self.scores(hidden) + self.trust * compared.view(b, g, BINS, h, w).mean(1)).float()
        # Soft-argmax over the best bin and two beside it: a mean over all would mix two surfaces.
        best = scores.argmax(1, keepdim=True)
        near = (best + torch.arange(-2, 3, device=best.device).view(1, 5, 1, 1)).clamp(0, BINS - 1)
        weights = torch.softmax(torch.gather(scores, 1, near), 1)
        disparity = 8 * (weights * near).sum(1)
        heads = self.coarse_heads(hidden)
        finer = convex(disparity, heads[:, 2:])
        return Answer(8, disparity, finer, heads[:, 0].float(), heads[:, 1].float(), scores), hidden

    def _about(
        self,
        start: Tensor,
        state: Tensor,
        features: Tensor,
        sign: Tensor,
        apart: Tensor,
        stride: int,
        band: int,
        groups: int,
    ) -> Tensor:
        """What a level looks at: the comparison `band` steps about `start`, features, state, relief and direction."""
        start = start.detach()
        n = features.shape[0] // 2
        b, (h, w) = 2 * n, features.shape[2:]
        x = torch.arange(w, device=features.device, dtype=torch.float32).view(1, 1, w)
        at = x - sign.view(b, 1, 1) * (start - apart) / stride
        compared = compare(features[:n], features[n:], at, -band, 2 * band + 1, groups)
        # How the start changes about each pixel, in steps of this level; its absolute value says nothing.
        relief = ((start - F.avg_pool2d(start.unsqueeze(1), 5, 1, 2).squeeze(1)) / stride).unsqueeze(1)
        guides = torch.cat([relief, sign.expand(b, 1, h, w)], 1)
        return _joined(compared, features, state, guides)
