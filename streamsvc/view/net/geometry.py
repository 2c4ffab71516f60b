"""The geometry net at work: a rectified pair in, inverse depth, confidence and matte of both cameras out, in slices.

One `NetGeometry` serves all streams of a worker: it is immutable after loading, so lanes may share it. It computes in
bfloat16 where the processor multiplies that, else in float32, channels last, on one thread a call.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from streamsvc.budget.slices import Slices
from streamsvc.frames import Pixels
from streamsvc.view.net.model import Answer, GeometryNet
from streamsvc.view.net.pairs import Found, NetPair, Plane


def processor_dtype() -> torch.dtype:
    """Return bfloat16 where this processor has instructions for it."""
    has = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return torch.bfloat16 if has is not None and has() else torch.float32


class NetGeometry:
    """Disparity by a trained net."""

    def __init__(self, net: GeometryNet, dtype: torch.dtype | None = None) -> None:
        self.dtype = dtype or processor_dtype()
        self._net = net.to(self.dtype)
        for module in net.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)

    def match(self, pair: NetPair, left: Pixels, right: Pixels) -> Slices[tuple[Found, Found]]:
        """Return the geometry of the left and of the right camera; yields "disparity" after each level but the last.

        `left` and `right` are (h, w, 3) uint8 RGB pictures rectified by the pair's sides.
        """
        stages = self._net.stages(_input(left), _input(right), torch.tensor([float(pair.apart)]))
        answer: Answer
        for level in range(pair.levels):
            with torch.inference_mode():
                answer = next(stages)
            if level + 1 < pair.levels:
                yield "disparity"
        stages.close()
        with torch.inference_mode():
            disparity, confidence, matte = _on_grid(answer)
        sides = (pair.left, pair.right)
        results = []
        for number, side in enumerate(sides):
            inverse = (disparity[number] + np.float32(pair.shift)) * np.float32(1 / pair.fb)
            known = side.inside & (disparity[number] >= -1)
            inverse = np.where(known, np.maximum(inverse, np.float32(1e-4)), np.float32(0))
            results.append(Found(inverse, np.where(known, confidence[number], np.float32(0)), matte[number]))
        return results[0], results[1]


def _input(pixels: Pixels) -> Tensor:
    picture = torch.from_numpy(np.ascontiguousarray(pixels))
    return picture.permute(2, 0, 1).unsqueeze(0).to(torch.float32).mul_(1 / 255)


def _on_grid(answer: Answer) -> tuple[Plane, Plane, Plane]:
    """Disparity, confidence and matte at the resolution of the answer's `upsampled`."""
    size = answer.upsampled.shape[-2:]
    planes = [answer.upsampled]
    for logits in (answer.confidence, answer.matte):
        plane = torch.sigmoid(logits).unsqueeze(1)
        if plane.shape[-2:] != size:
            plane = torch.nn.functional.interpolate(plane, size=size, mode="bilinear", align_corners=False)
        planes.append(plane.squeeze(1))
    disparity, confidence, matte = (np.asarray(p.contiguous().numpy(), np.float32) for p in planes)
    return disparity, confidence, matte
