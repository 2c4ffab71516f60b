"""Splat, hole filling and blend as Triton kernels: the formulas of `view.splat`, `view.geometry` and `view.blend`, on
tensors that stay on the GPU.

Every shape and buffer is fixed when a `compose.Compositor` (or a `splat.Splatter`) is made, and nothing in a frame
waits for the host, so one CUDA graph holds a frame. The modules below import torch and Triton; this one doesn't, so
that a machine without them can ask whether they are there.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

from streamsvc.view.errors import ViewError


def check_device(device: str) -> None:
    """Raise ViewError, with what is missing, unless the kernels can run on `device`.

    "cuda" needs torch with a CUDA GPU, and Triton; "cpu" needs torch, Triton and its interpreter, switched on by
    TRITON_INTERPRET=1 before the first import (slow: for tests).
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
        return
    if interpreted:
        raise ViewError("TRITON_INTERPRET=1 is set: Triton would interpret the kernels; unset it for device 'cuda'")
    import torch

    if not torch.cuda.is_available():
        raise ViewError("device 'cuda': torch sees no CUDA GPU on this machine; use device 'cpu'")
