"""What sensors and codecs do to pictures, on a torch device: the same distributions as `data_layers.sensed`.

Gain, gamma and colour cast, blur, noise and JPEG, drawn for each pair and each of its pictures from a generator of the
device. JPEG is what is lost by it and nothing else: ITU-T T.81's DCT of 8 x 8, its example tables of quantisation
(Annex K), scaled by quality as the Independent JPEG Group's library scales them, and chroma of half the size.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
"""Table K.1, row by row."""

CHROMA = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99,
    99, 99, 99, *[99] * 32,
)  # fmt: skip
"""Table K.2."""

WIDEST = 8
"""Pixels that a blur reaches at most."""

YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
"""From RGB to luma and chroma (JFIF, section 7)."""

RGB = torch.linalg.inv(torch.tensor(YCC, dtype=torch.float64)).tolist()
"""And back."""


def _mirrored_out(pictures: Tensor, width: Tensor, height: Tensor) -> Tensor:
    """Fill what lies beyond each picture's own width and height with its mirror image (edge pixels once)."""

    def source(length: int, size: Tensor) -> Tensor:
        at = torch.arange(length, device=pictures.device).remainder((2 * size - 2).unsqueeze(1))
        return torch.minimum(at, (2 * size - 2).unsqueeze(1) - at)

    n, c, h, w = pictures.shape
    rows = source(h, height)[:, None, :, None].expand(n, c, h, w)
    return pictures.gather(2, rows).gather(3, source(w, width)[:, None, None, :].expand(n, c, h, w))


def blurred(pictures: Tensor, sigma: Tensor) -> Tensor:
    """Return pictures (n, c, h, w) under Gaussians of `sigma` (n,) pixels; mirrored at the edges, edge pixels once.

    A kernel ends where OpenCV's does for 8 bits: three sigma on, and no further than `WIDEST`.
    """
    at = torch.arange(-WIDEST, WIDEST + 1, device=pictures.device, dtype=torch.float32)
    reach = torch.div(torch.round(sigma * 6 + 1), 2, rounding_mode="floor").unsqueeze(1)
    kernel = torch.exp(-(at**2) / (2 * sigma.unsqueeze(1) ** 2)) * (at.abs() <= reach)
    kernel = (kernel / kernel.sum(1, keepdim=True)).T.reshape(len(at), -1, 1, 1, 1)
    for axis in (2, 3):
        padding = (0, 0, WIDEST, WIDEST) if axis == 2 else (WIDEST, WIDEST, 0, 0)
        padded = F.pad(pictures, padding, mode="reflect")
        length = pictures.shape[axis]
        pictures = kernel[0] * padded.narrow(axis, 0, length)
        for k in range(1, len(at)):
            pictures = torch.addcmul(pictures, kernel[k], padded.narrow(axis, k, length))
    return pictures


def _scaled(table: tuple[int, ...], quality: Tensor) -> Tensor:
    """The steps of quantisation (n, 1, 8, 1, 8) of `quality` (n,) 1 to 100."""
    percent = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality).reshape(-1, 1)
    base = torch.tensor(table, dtype=torch.float32, device=quality.device)
    return ((base * percent + 50) / 100).floor().clamp(1, 255).reshape(-1, 1, 8, 1, 8)


def _coded(plane: Tensor, steps: Tensor) -> Tensor:
    """A plane (n, h, w) of levels about 0, both sides multiples of 8, after its 8 x 8 DCT was rounded to `steps`."""
    n, h, w = plane.shape
    k = torch.arange(8, device=plane.device, dtype=torch.float32)
    turn = torch.cos((2 * k + 1) * k.unsqueeze(1) * math.pi / 16) * 0.5
    turn[0] *= math.sqrt(0.5)
    blocks = plane.reshape(n, h // 8, 8, w // 8, 8)
    found = torch.einsum("ui,nyixj,vj->nyuxv", turn, blocks, turn)
    found = (found / steps).round() * steps
    return torch.einsum("ui,nyuxv,vj->nyixj", turn, found, turn).reshape(n, h, w)


def jpeg(pictures: Tensor, quality: Tensor) -> Tensor:
    """Return pictures (n, 3, h, w) of whole levels 0..255 as they come back from JPEG of `quality` (n,), float32."""
    h, w = pictures.shape[2:]
    padded = F.pad(pictures, (0, -w % 16, 0, -h % 16), mode="replicate")
    mix = torch.tensor(YCC, device=pictures.device)
    ycc = torch.einsum("ck,nkhw->nchw", mix, padded).round()
    luma = (_coded(ycc[:, 0] - 128, _scaled(LUMA, quality)) + 128).round().clamp(0, 255)
    halves = F.avg_pool2d(ycc[:, 1:], 2).round()
    chroma_steps = _scaled(CHROMA, quality)
    chroma = torch.stack([_coded(halves[:, k], chroma_steps) for k in (0, 1)], 1).round().clamp(-128, 127)
    chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
    back = torch.cat([luma.unsqueeze(1), chroma], 1)
    return (
        torch.einsum("ck,nkhw->nchw", torch.tensor(RGB, device=pictures.device), back)[:, :, :h, :w]
        .round()
        .clamp(0, 255)
    )


def sensed(pictures: Tensor, width: Tensor, height: Tensor, generator: torch.Generator) -> Tensor:
    """Return pictures (2n, h, w, 3) uint8, n left ones and then theirs on the right, as two unequal cameras and a codec
    would hand them on; `width` and `height` (2n,) int64 say how much of each is picture."""
    both = len(pictures)
    n, device = both // 2, pictures.device

    def normal(count: int, channels: int = 1) -> Tensor:
        return torch.randn(count, channels, device=device, generator=generator)

    def uniform(count: int) -> Tensor:
        return torch.rand(count, 1, device=device, generator=generator)

    def for_both(values: Tensor) -> Tensor:
        return torch.cat([values, values])

    gain = for_both((0.6 + 0.65 * uniform(n)) * (1 + 0.03 * normal(n, 3)))
    gain = gain * (1 + 0.06 * normal(both)) * (1 + 0.03 * normal(both, 3))
    gamma = for_both(torch.exp(0.15 * normal(n))) * torch.exp(0.05 * normal(both))
    lift = 4 * normal(both)
    noise = for_both((1.5 + 2.5 * normal(n)).clamp(min=0)).reshape(-1, 1, 1, 1)
    blur = for_both((0.5 * normal(n)).clamp(min=0)) + (0.2 * normal(both)).clamp(min=0)
    coarse = (uniform(both) < 0.3).reshape(-1, 1, 1, 1)
    quality = for_both((35 + 61 * uniform(n)).floor()).squeeze(1)
    coded = for_both(uniform(n) < 0.5).reshape(-1, 1, 1, 1)

    def each(values: Tensor) -> Tensor:
        return values.reshape(both, -1, 1, 1)

    seen = (pictures.permute(0, 3, 1, 2).float() / 255) ** each(gamma) * 255
    seen = (seen * each(gain) + each(lift)).clamp(0, 255).floor()
    seen = _mirrored_out(seen, width, height)
    seen = torch.where(each(blur) > 0.3, blurred(seen, blur.squeeze(1).clamp(min=0.3)).round(), seen)
    grain = torch.randn(seen.shape, device=device, generator=generator)
    grain = torch.where(coarse, 2 * blurred(grain, torch.full((both,), 0.7, device=device)), grain)
    seen = torch.where(noise > 0.3, (seen + noise * grain).clamp(0, 255).floor(), seen)
    seen = torch.where(coded, jpeg(seen, quality), seen)
    return seen.permute(0, 2, 3, 1).to(torch.uint8)
