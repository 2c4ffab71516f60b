"""From pictures to views on a GPU: rectification, the net's comparisons, splat, hole filling and blend as Triton
kernels, by the formulas of the CPU's modules, on tensors that stay on the device.

Every shape and buffer is fixed when a `frame.FramePath` (or a part of it) is made, and nothing in a frame waits for the
host, so one CUDA graph holds a frame. The modules below import torch and Triton; this one doesn't, so that a machine
without them can ask whether they are there.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

from streamsvc.view.errors import ViewError


def check_device(device: str) -> str:
    """Return the torch device that the kernels of `device` run on; raises ViewError, with what is missing.

    "cuda" needs torch with a CUDA GPU, and Triton. With TRITON_INTERPRET=1, set before the first import, and no GPU,
    kernels are interpreted on the CPU instead, of "cuda" as of "cpu": slow, for tests. "cpu" needs that.
    """
    if device not in ("cpu", "cuda"):
        raise ViewError(f"unknown device {device!r}; there are cpu and cuda")
    for package in ("torch", "triton"):
        if find_spec(package) is None:
            raise ViewError(f"device {device!r} needs the package {package}, which isn't installed")
    interpreted = os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes")
    if device == "cpu":
        if not interpreted:
            raise ViewError("the GPU kernels run on 'cpu' only under TRITON_INTERPRET=1, for tests")
        return "cpu"
    import torch

    there = torch.cuda.is_available()
    if interpreted and there:
        raise ViewError("TRITON_INTERPRET=1 is set: Triton would interpret the kernels; unset it for device 'cuda'")
    if not there and not interpreted:
        raise ViewError("device 'cuda': torch sees no CUDA GPU on this machine; use device 'cpu'")
    return "cuda" if there else "cpu"
