"""Compile every kernel of `streamsvc.view.gpu` for an H100 on a machine without one; one line for each on stdout.

    python tests/gpu_compile.py

The kernels' launches are caught, with the arguments that a frame of three cameras gives them, and compiled to machine
code in place of being run; the net runs here as it is. Says how many warps a program has and how much shared memory it
takes.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction
from view_scene import arc, pair_rig

HOPPER = GPUTarget("cuda", 90, 32)
NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.uint8: "u8", torch.int32: "i32", torch.int64: "i64"}


def compile_launch(kernel: Any, *args: Any, num_warps: int = 4, **named: Any) -> None:
    """Compile a kernel for the arguments it's launched with, specialised as at a launch."""
    values = dict(zip(kernel.arg_names, args, strict=False)) | named
    signature: dict[str, str] = {}
    constants: dict[tuple[int], Any] = {}
    known: dict[tuple[int], list[list[Any]]] = {}
    for i, parameter in enumerate(kernel.params):
        value = values[parameter.name]
        kind = "fp32"
        if parameter.is_constexpr or (isinstance(value, int) and value == 1):
            kind, constants[(i,)] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            kind, known[(i,)] = "*" + NAMES[value.dtype], [["tt.divisibility", 16]]
        elif isinstance(value, int):
            kind = "i32"
            if value % 16 == 0:
                known[(i,)] = [["tt.divisibility", 16]]
        signature[parameter.name] = kind
    source = ASTSource(kernel, signature, constants, known)
    made = triton.compile(source, target=HOPPER, options={"num_warps": num_warps})
    assert made.asm["cubin"]
    print(kernel.__name__, f"warps={num_warps} shared={made.metadata.shared}", named, flush=True)


def main() -> None:
    """Make a frame of two cameras with a third one's help, a splat of the exact kind and one of latent features, and
    what the net compares."""
    JITFunction.run = lambda kernel, *args, grid, warmup, **named: compile_launch(kernel, *args, **named)

    from streamsvc.view.gpu import compose
    from streamsvc.view.gpu.compare import compare
    from streamsvc.view.gpu.frame import FramePath
    from streamsvc.view.gpu.splat import Splatter, Tuning
    from streamsvc.view.maps import PairMaps
    from streamsvc.view.net.geometry import NetGeometry
    from streamsvc.view.net.model import GeometryNet

    compose.check_device = lambda device: "cpu"
    cameras = arc(3, 10, 256, 192)
    maps = PairMaps(replace(pair_rig(cameras[:2]), cameras=tuple(cameras)))
    shown, helping = (maps.prepared(maps.rectified(a, b, 96), 3) for a, b in itertools.pairwise(cameras))
    seen = {camera.name: camera for camera in cameras}
    path = FramePath(NetGeometry(GeometryNet()), [shown], [[helping]], seen, cameras[0], 1, 160)
    for _, step in path.stages():
        step()
    latent = Splatter((4, 64, 64), 20, 256, 256, "cpu", tuning=Tuning(tile=8, chunk=32, warps=4))
    n, k = latent.count, torch.zeros(1)
    latent.render(torch.zeros(7, n).T, torch.zeros(n, 20, dtype=torch.bfloat16), k)
    latent.render(torch.zeros(7, n).T, torch.zeros(n, 20), k)
    for channels, groups, first, count in ((48, 4, 0, 26), (32, 2, -5, 11), (16, 1, -4, 9)):
        left, right = torch.zeros(2, 1, channels, 32, 64, dtype=torch.bfloat16)
        compare(left, right, torch.zeros(2, 32, 64), first, count, groups)


if __name__ == "__main__":
    main()
