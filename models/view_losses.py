"""What the geometry net is trained for: true disparity and matte, and at the input's resolution what is shown of them.

A view half-way or thereabouts is splatted from both pictures with their true disparities. A pixel whose disparity is
wrong is drawn there before what should be seen (or hidden behind it), and how unlike the two are says how much the
error matters: nothing where colours are alike, much at a finger before a striped shirt. At an edge each pixel chooses
the nearer or the farther surface, and the two mistakes don't cost the same: a far pixel taken for near is drawn before
what is there, a near one taken for far is most often hidden behind its neighbours.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from streamsvc.view.net.model import Answer
from streamsvc.view.net.pairs import BINS

SAME_SURFACE_PX = 2.0
"""Disparities this close, in pixels, are one surface."""

LEAST_SHARE = 0.25
"""What of its weight a pixel must have in a pixel of the view to hide what is behind, and what must have reached there
for its colour to be known."""

PARTS = (0.3, 0.7)
"""The view stands this part of the way from the left camera to the right one, drawn anew for every batch."""

UNSEEN_ERROR, UNSEEN_CHOICE = 0.05, 0.0125
"""What an error of disparity and a wrong choice count that nobody sees, where one that turns black into white counts 1
more."""

PERSON = 4.0
"""How many times more what is on the person counts, or within 4 pixels of it."""

SHOWN = 200.0
"""How much the view's mean squared error counts."""


class TrueView(NamedTuple):
    """A view between the cameras as it truly is: `colour` (n h w, 3) in 0..1, `known` (n h w) whether anything is, and
    `nearest` (n h w), the disparity of what is seen; `reach` and `shift` (2n, 1, 1): a pixel of either picture moves by
    `reach` (disparity - `shift`) to the left."""

    colour: Tensor
    known: Tensor
    nearest: Tensor
    reach: Tensor
    shift: Tensor


def _places(view_width: int, at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Flat places in the view of the two pixels about columns `at` (2n, h, w), their weights, and whether they are
    inside; (2, 2n, h, w) each."""
    b, h, _ = at.shape
    column = torch.stack([at.floor(), at.floor() + 1])
    inside = (column >= 0) & (column < view_width)
    row = torch.arange(b // 2 * h, device=at.device).view(b // 2, h, 1).repeat(2, 1, 1)
    return row * view_width + column.clamp(0, view_width - 1).long(), 1 - (at - column).abs(), inside


def _columns(width: int, d: Tensor, reach: Tensor, shift: Tensor) -> Tensor:
    """The view's columns that the pixels of both pictures move to at the disparities `d` (2n, h, w)."""
    return torch.arange(width, device=d.device, dtype=d.dtype) - reach * (d - shift)


def true_view(pictures: Tensor, d: Tensor, shift: Tensor, part: float) -> TrueView:
    """Splat `pictures` (2n, 3, h, w), left ones first, at their disparities `d` (2n, h, w; NaN: left out) into the view
    `part` of the way; `shift` (n,) as the net takes it."""
    b, h, w = d.shape
    reach = torch.cat([torch.full_like(shift, part), torch.full_like(shift, part - 1)]).view(b, 1, 1)
    apart = torch.cat([shift, shift]).view(b, 1, 1)
    told = torch.isfinite(d)
    d = torch.where(told, d, 0)
    places, weights, inside = _places(w, _columns(w, d, reach, apart))
    inside &= told
    hides = inside & (weights > LEAST_SHARE)
    nearest = torch.full((b // 2 * h * w,), -1e4, device=d.device)
    nearest.scatter_reduce_(0, places[hides], d.expand_as(weights)[hides], "amax")
    weights = weights * (inside & (d > nearest[places] - SAME_SURFACE_PX))
    colours = torch.cat([pictures.permute(0, 2, 3, 1), torch.ones_like(d).unsqueeze(-1)], -1)
    sums = torch.zeros(len(nearest), 4, device=d.device)
    for place, weight in zip(places, weights, strict=True):
        sums.index_add_(0, place.flatten(), (colours * weight.unsqueeze(-1)).view(-1, 4))
    return TrueView(sums[:, :3] / sums[:, 3:].clamp(min=1e-3), sums[:, 3] > LEAST_SHARE, nearest, reach, apart)


def drawn_over(view: TrueView, pictures: Tensor, d: Tensor) -> Tensor:
    """Return how unlike its own colour what each pixel would be drawn over is, were its disparity `d`, both (2n, h, w):
    the mean squared difference, 0 where it would be hidden or nothing is known to be."""
    w = d.shape[-1]
    at = _columns(w, d, view.reach, view.shift)
    places, weights, inside = _places(w, at)
    there = (view.colour[places] * weights.unsqueeze(-1)).sum(0)
    drawn = inside & view.known[places] & (d > view.nearest[places] - SAME_SURFACE_PX)
    return ((there - pictures.permute(0, 2, 3, 1)) ** 2).mean(-1) * drawn.all(0)


def _difference(found: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    known = torch.isfinite(truth)
    error = F.smooth_l1_loss(torch.where(known, found, 0), torch.where(known, truth, 0), reduction="none", beta=0.5)
    return (error.clamp(max=40) * weight * known).sum() / (weight * known).sum().clamp(min=1)


def losses(answers: list[Answer], batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Errors of every level against the disparity and the matte of a `view_feed.batch_of`, pixels beside jumps counting
    threefold."""
    d, p = batch["d"], batch["p"]
    known = torch.isfinite(d)
    flat = torch.where(known, d, 0).unsqueeze(1)
    high, low = F.max_pool2d(flat, 5, 1, 2), -F.max_pool2d(-flat, 5, 1, 2)
    weight = (1 + 2 * ((high - low) > 3).float()).squeeze(1)
    out: dict[str, Tensor] = {}
    for answer in answers:
        stride = answer.stride
        here = (slice(None), slice(stride // 2, None, stride), slice(stride // 2, None, stride))
        finer = (slice(None), slice(stride // 4, None, stride // 2), slice(stride // 4, None, stride // 2))
        out[f"d{stride}"] = 0.4 * _difference(answer.disparity, d[here], weight[here])
        if answer.edge is None:
            out[f"up{stride}"] = 0.6 * _difference(answer.upsampled, d[finer], weight[finer])
        error = (answer.disparity.detach() - d[here]).abs()
        sure = F.binary_cross_entropy_with_logits(answer.confidence, (error < 1.0).float(), reduction="none")
        out[f"c{stride}"] = 0.3 * sure[known[here]].mean()
        person = p[here] if answer.edge is None else p
        told = torch.isfinite(person)
        if told.any():
            out[f"m{stride}"] = 0.5 * F.binary_cross_entropy_with_logits(answer.matte[told], person[told])
        if answer.edge is not None:
            out |= _finest(answer, batch, weight)
        if answer.scores is not None:
            bins = (d[here] / 8).clamp(0, BINS - 1)
            at = torch.where(torch.isfinite(bins), bins, 0)
            lower = at.floor().long().clamp(max=BINS - 2)
            part = at - lower
            log = torch.log_softmax(answer.scores, 1)
            near = log.gather(1, lower.unsqueeze(1)).squeeze(1) * (1 - part)
            far = log.gather(1, lower.unsqueeze(1) + 1).squeeze(1) * part
            out["ce"] = -0.5 * ((near + far) * torch.isfinite(bins)).sum() / torch.isfinite(bins).sum().clamp(min=1)
    return out


def _finest(answer: Answer, batch: dict[str, Tensor], weight: Tensor) -> dict[str, Tensor]:
    """Errors of disparity at the input's resolution by what they show in a view, of the two surfaces at edges, and of
    the choice between them by what the other one would show."""
    assert answer.edge is not None
    d, pictures = batch["d"], torch.cat([batch["left"], batch["right"]])
    known = torch.isfinite(d)
    low, high = PARTS
    view = true_view(pictures, d, batch["shift"], low + (high - low) * float(torch.rand(())))
    right = drawn_over(view, pictures, torch.where(known, d, 0))
    beside = F.max_pool2d(torch.nan_to_num(batch["p"]).unsqueeze(1), 9, 1, 4).squeeze(1)
    counts = 1 + (PERSON - 1) * beside

    def shown(disparity: Tensor) -> Tensor:
        return (drawn_over(view, pictures, disparity) - right).clamp(min=0)

    now = shown(answer.upsampled)
    out = {
        "shown": SHOWN * (now * counts * known).sum() / (counts * known).sum().clamp(min=1),
        "up2": _difference(answer.upsampled, d, weight * counts * (UNSEEN_ERROR + now.detach().sqrt())),
    }
    near, far = _surfaces(d)
    even = (0.3 + 0.7 * (near - far > 2).float()) * F.max_pool2d(counts.unsqueeze(1), 2).squeeze(1)
    out["near"] = 0.3 * (_difference(answer.edge.near, near, even) + _difference(answer.edge.far, far, even))
    near, far = (F.interpolate(x.unsqueeze(1), scale_factor=2.0).squeeze(1) for x in (near, far))
    told = (near - far > 2) & known
    if told.any():
        nearer = d > (near + far) / 2
        other = shown(torch.nan_to_num(torch.where(nearer, far, near)))
        mistake = ((UNSEEN_CHOICE + other.sqrt()) * counts)[told]
        out["side"] = 0.5 * F.binary_cross_entropy_with_logits(
            answer.edge.side[told], nearer[told].float(), weight=mistake / mistake.mean()
        )
    return out


def _surfaces(d: Tensor) -> tuple[Tensor, Tensor]:
    """The greatest and the least disparity of the 6x6 pixels about each 2x2 of `d` (b, h, w), NaN where all are."""
    known = torch.isfinite(d)
    extremes = [F.max_pool2d(torch.where(known, x, -1e4).unsqueeze(1), 6, 2, 2).squeeze(1) for x in (d, -d)]
    near, far = (torch.where(x > -1e4, x, torch.nan) for x in extremes)
    return near, -far
