"""The geometry net at work: a rectified pair in, inverse depth, confidence and matte of both cameras out, in slices.

One `NetGeometry` serves all streams of a worker: it is immutable after loading, so lanes may share it. It computes in
bfloat16 where the device multiplies that, else in float32, channels last, on one thread a call.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from streamsvc.budget.slices import Slices
from streamsvc.frames import Pixels
from streamsvc.view.net.model import Answer, GeometryNet
from streamsvc.view.net.pairs import Found, NetPair


def processor_dtype() -> torch.dtype:
    """Return bfloat16 where this processor has instructions for it."""
    has = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return torch.bfloat16 if has is not None and has() else torch.float32


class NetGeometry:
    """Disparity by a trained net, on a torch `device`."""

    def __init__(self, net: GeometryNet, dtype: torch.dtype | None = None, device: str = "cpu") -> None:
        self.device = torch.device(device)
        self.dtype = dtype or (torch.bfloat16 if self.device.type == "cuda" else processor_dtype())
        self.net = net.to(self.device, self.dtype)
        torch.backends.cudnn.benchmark = True  # shapes are few and fixed
        for module in net.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)

    def match(self, pair: NetPair, left: Pixels, right: Pixels) -> Slices[tuple[Found, Found]]:
        """Return the geometry of the left and of the right camera; yields "disparity" after each level but the last.

        `left` and `right` are (h, w, 3) uint8 RGB pictures rectified by the pair's sides.
        """
        inputs = _input(left).to(self.device), _input(right).to(self.device)
        stages = self.net.stages(*inputs, torch.tensor([float(pair.apart)], device=self.device))
        answer: Answer
        for level in range(pair.levels):
            with torch.inference_mode():
                answer = next(stages)
            if level + 1 < pair.levels:
                yield "disparity"
        stages.close()
        with torch.inference_mode():
            inside = torch.from_numpy(np.stack([pair.left.inside, pair.right.inside])).to(self.device)
            located = locate(answer, inside, pair)
            planes = [np.asarray(p.contiguous().cpu().numpy(), np.float32) for p in located]
        left_found, right_found = (Found(*(p[side] for p in planes)) for side in (0, 1))
        return left_found, right_found


def _input(pixels: Pixels) -> Tensor:
    picture = torch.from_numpy(np.ascontiguousarray(pixels))
    return picture.permute(2, 0, 1).unsqueeze(0).to(torch.float32).mul_(1 / 255)


def locate(answer: Answer, inside: Tensor, pair: NetPair) -> tuple[Tensor, Tensor, Tensor]:
    """Return inverse depth, confidence and matte of both cameras as in `pairs.Found`, (2, h, w) float32 each, where
    `inside` (2, h, w) bool says that the pictures reach. Waits for no device."""
    disparity, confidence, matte = _on_grid(answer)
    unknown = ~(inside & (disparity >= -1))
    inverse = ((disparity + pair.shift) * (1 / pair.fb)).clamp_min(1e-4)
    return inverse.masked_fill(unknown, 0.0), confidence.masked_fill(unknown, 0.0), matte


def _on_grid(answer: Answer) -> tuple[Tensor, Tensor, Tensor]:
    """Disparity, confidence and matte at the resolution of the answer's `upsampled`."""
    size = answer.upsampled.shape[-2:]
    planes = [answer.upsampled]
    for logits in (answer.confidence, answer.matte):
        plane = torch.sigmoid(logits).unsqueeze(1)
        if plane.shape[-2:] != size:
            plane = torch.nn.functional.interpolate(plane, size=size, mode="bilinear", align_corners=False)
        planes.append(plane.squeeze(1))
    disparity, confidence, matte = planes
    return disparity, confidence, matte
