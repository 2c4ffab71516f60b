"""What the geometry net does: comparing rows of two pictures, convex upsampling, and convolutions with what follows.

The first two have two back ends that agree to rounding. Plain torch, for any device: all products along a row by one
matrix product, then gathered. Compiled, for the CPU: only the products that are asked for. Both are differentiable;
the compiled ones are what the CPU runs and trains on. Without gradients a GPU compares by a kernel
(`view.gpu.compare`).
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from streamsvc.view.net.products import LANE, products


def compare(left: Tensor, right: Tensor, at: Tensor, first: int, count: int, groups: int) -> Tensor:
    """Compare pixels with those of the other picture on their row: (2n, groups * count, h, w), left pixels first.

    `left` and `right` are features (n, c, h, w), `at` (2n, h, w) float32 the columns looked at in the other picture;
    value j of a group is the scaled product of its channels with the other's `first + j` columns further in the
    direction of growing disparity (to the left for left pixels), linear between columns, zero outside the picture.
    """
    if left.device.type == "cpu":
        return _Compare.apply(left, right, at, first, count, groups)  # type: ignore[no-untyped-call,no-any-return]
    if not torch.is_grad_enabled():
        from streamsvc.view.gpu.compare import compare as compare_on_gpu

        return compare_on_gpu(left, right, at, first, count, groups)
    return compare_reference(left, right, at, first, count, groups)


def compare_reference(left: Tensor, right: Tensor, at: Tensor, first: int, count: int, groups: int) -> Tensor:
    """`compare` in plain torch."""
    n, c, h, w = left.shape
    a = (left * float((c // groups) ** -0.5)).reshape(n, groups, c // groups, h, w).permute(0, 1, 3, 4, 2)
    b = right.reshape(n, groups, c // groups, h, w).permute(0, 1, 3, 2, 4)
    table = torch.matmul(a, b)
    sides = []
    for rows, source, sign in ((slice(0, n), table, -1), (slice(n, 2 * n), table.transpose(-1, -2), 1)):
        base = at[rows].floor()
        part = (at[rows] - base).unsqueeze(-1).unsqueeze(1).to(table.dtype)
        steps = torch.arange(first, first + count, device=at.device) * sign
        found = []
        for beside in (0, 1):
            index = base.long().unsqueeze(-1) + (steps + beside)
            inside = ((index >= 0) & (index < w)).unsqueeze(1)
            index = index.clamp(0, w - 1).unsqueeze(1).expand(n, groups, h, w, count)
            found.append(torch.gather(source, 4, index) * inside.to(table.dtype))
        sides.append(torch.lerp(found[0], found[1], part))
    return torch.cat(sides).permute(0, 1, 4, 2, 3).reshape(2 * n, groups * count, h, w)


_fused: Any = getattr(torch.ops.mkldnn, "_convolution_pointwise", None)
"""What torch's own compiler makes of a convolution and what follows it; a torch without it does them one by one."""


def convolve(conv: nn.Conv2d, x: Tensor, plus: Tensor | None = None) -> Tensor:
    """Return relu(conv(x)), or relu(plus + conv(x)).

    Without gradients a CPU does it in one go, which saves a tenth of the time.
    """
    if _fused is None or x.device.type != "cpu" or torch.is_grad_enabled():
        found: Tensor = conv(x)
        return (found if plus is None else plus + found).relu_()
    how = conv.weight, conv.bias, conv.padding, conv.stride, conv.dilation, conv.groups
    if plus is None:
        return _fused(x, *how, "relu", [], "")  # type: ignore[no-any-return]
    return _fused.binary(x, plus, *how, "add", 1.0, "relu", [], "")  # type: ignore[no-any-return]


def convex(disparity: Tensor, logits: Tensor) -> Tensor:
    """Return `disparity` (b, h, w) at twice its resolution: each of four children is a convex mix of the 3x3 neighbours
    (RAFT, Teed 2020, 3.3), weighted by the softmax of its nine of the 36 `logits` (b, 36, h, w)."""
    if disparity.device.type == "cpu":
        return _Convex.apply(disparity, logits)  # type: ignore[no-untyped-call,no-any-return]
    return convex_reference(disparity, logits)


def convex_reference(disparity: Tensor, logits: Tensor) -> Tensor:
    """`convex` in plain torch."""
    b, h, w = disparity.shape
    mix = torch.softmax(logits.permute(0, 2, 3, 1).float().reshape(b, h, w, 4, 9), -1)
    padded = F.pad(disparity.unsqueeze(1), (1, 1, 1, 1), mode="replicate").squeeze(1)
    near = padded.unfold(1, 3, 1).unfold(2, 3, 1).reshape(b, h, w, 1, 9)
    children = (mix * near).sum(-1).view(b, h, w, 2, 2)
    return children.permute(0, 1, 3, 2, 4).reshape(b, 2 * h, 2 * w)


_FAST = {"reassoc", "contract", "nsz"}


@numba.njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _place(at, direction, first, width, pad, scale):  # type: ignore[no-untyped-def]
    """Where the products about column `at` begin in a row laid out in the direction of growing disparity, `pad` zeros
    before it, and the weights of each product and the next."""
    base = np.floor(at)
    part = at - base
    # Far outside is as good as further outside.
    whole = int(max(min(base, np.float32(2 * width)), np.float32(-width)))
    if direction > 0:
        return whole + first + pad, scale * (np.float32(1) - part), scale * part
    return width - 2 - whole + first + pad, scale * part, scale * (np.float32(1) - part)


@numba.njit(nogil=True, cache=True, fastmath=_FAST, error_model="numpy")
def _compare(own, other, at, direction, first, count, groups, scale, out):  # type: ignore[no-untyped-def]
    """`own` and `other` (h, w, c), `at` (h, w), `out` (h, w, groups * count); `direction` is the sign of growing
    disparity in columns of `other`."""
    height, width, channels = own.shape
    each, lanes = channels // groups, count // LANE + 1
    pad = count + LANE * lanes + abs(first)
    stride = width + 2 * pad
    row, sums, flat = np.zeros(channels * stride, np.float32), np.empty(LANE * lanes, np.float32), own.reshape(-1)
    for y in range(height):
        for c in range(channels):
            line = row[c * stride + pad : c * stride + pad + width]
            for x in range(width):
                line[x if direction > 0 else width - 1 - x] = other[y, x, c]
        for x in range(width):
            start, a, b = _place(at[y, x], direction, first, width, pad, scale)
            start = max(min(start, stride - LANE * lanes), 0)
            for g in range(groups):
                here, there = (y * width + x) * channels + g * each, g * each * stride + start
                for lane in range(0, LANE * lanes, LANE):
                    products(flat, here, row, there + lane, stride, each, sums, lane)
                for j in range(count):
                    out[y, x, g * count + j] = a * sums[j] + b * sums[j + 1]


@numba.njit(nogil=True, cache=True, fastmath=_FAST, error_model="numpy")
def _compare_back(  # type: ignore[no-untyped-def]
    own, other, at, direction, first, count, groups, scale, grad, own_grad, other_grad
):
    """Add to the gradients (shaped as `own` and `other`) what `grad` (as `out` of `_compare`) says."""
    height, width, channels = own.shape
    each, size = channels // groups, (count // LANE + 1) * LANE
    pad = count + size + abs(first)
    stride = width + 2 * pad
    row, back = np.zeros((channels, stride), np.float32), np.empty((channels, stride), np.float32)
    sums = np.empty(size, np.float32)
    for y in range(height):
        back[:] = np.float32(0)
        for c in range(channels):
            for x in range(width):
                row[c, pad + (x if direction > 0 else width - 1 - x)] = other[y, x, c]
        for x in range(width):
            start, a, b = _place(at[y, x], direction, first, width, pad, scale)
            start = max(min(start, stride - size), 0)
            for g in range(groups):
                sums[:] = np.float32(0)
                for j in range(count):
                    value = grad[y, x, g * count + j]
                    sums[j] += a * value
                    sums[j + 1] += b * value
                for c in range(g * each, (g + 1) * each):
                    mine, total = own[y, x, c], np.float32(0)
                    there, there_grad = row[c, start : start + size], back[c, start : start + size]
                    for j in range(size):
                        total += sums[j] * there[j]
                        there_grad[j] += sums[j] * mine
                    own_grad[y, x, c] += total
        for c in range(channels):
            for x in range(width):
                other_grad[y, x, c] += back[c, pad + (x if direction > 0 else width - 1 - x)]


class _Compare(torch.autograd.Function):
    """`compare` compiled; `at` gets no gradient."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, at: Tensor, first: int, count: int, groups: int) -> Tensor:
        n, c, h, w = left.shape
        how = first, count, groups, np.float32((c // groups) ** -0.5)
        pictures = _rows(left), _rows(right)
        columns = at.detach().contiguous().numpy()
        out = np.empty((2 * n, h, w, groups * count), np.float32)
        for i in range(2 * n):
            side, number = divmod(i, n)
            _compare(pictures[side][number], pictures[1 - side][number], columns[i], 2 * side - 1, *how, out[i])
        ctx.kept = pictures, columns, how
        ctx.dtype = left.dtype
        return torch.from_numpy(out).permute(0, 3, 1, 2).to(left.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        pictures, columns, (first, count, groups, scale) = ctx.kept
        n = len(pictures[0])
        grad = _rows(grads[0])
        found = [np.zeros_like(p) for p in pictures]
        for i in range(2 * n):
            side, number = divmod(i, n)
            own, other = pictures[side][number], pictures[1 - side][number]
            own_grad, other_grad = found[side][number], found[1 - side][number]
            where = columns[i], 2 * side - 1, first, count, groups, scale
            _compare_back(own, other, *where, grad[i], own_grad, other_grad)
        back = [torch.from_numpy(g).permute(0, 3, 1, 2).to(ctx.dtype) for g in found]
        return *back, None, None, None, None


def _rows(planes: Tensor) -> NDArray[np.float32]:
    """Planes (n, c, h, w) as (n, h, w, c) float32."""
    return np.asarray(planes.detach().permute(0, 2, 3, 1).float().contiguous().numpy(), np.float32)


@numba.njit(nogil=True, cache=True, fastmath=_FAST, error_model="numpy")
def _convex(disparity, weights, out):  # type: ignore[no-untyped-def]
    """`weights` (h, w, 4, 9) not normalised; normalised in place. `out` (2h, 2w)."""
    height, width = disparity.shape
    near = np.empty(9, np.float32)
    for y in range(height):
        up, down = max(y - 1, 0), min(y + 1, height - 1)
        for x in range(width):
            back, on = max(x - 1, 0), min(x + 1, width - 1)
            near[0], near[1], near[2] = disparity[up, back], disparity[up, x], disparity[up, on]
            near[3], near[4], near[5] = disparity[y, back], disparity[y, x], disparity[y, on]
            near[6], near[7], near[8] = disparity[down, back], disparity[down, x], disparity[down, on]
            for child in range(4):
                total = np.float32(0)
                for k in range(9):
                    total += weights[y, x, child, k]
                scale = np.float32(1) / total
                mean = np.float32(0)
                for k in range(9):
                    weights[y, x, child, k] *= scale
                    mean += weights[y, x, child, k] * near[k]
                out[2 * y + child // 2, 2 * x + child % 2] = mean


@numba.njit(nogil=True, cache=True, fastmath=_FAST, error_model="numpy")
def _convex_back(disparity, mix, out, grad, disparity_grad, logits_grad):  # type: ignore[no-untyped-def]
    height, width = disparity.shape
    for y in range(height):
        for x in range(width):
            for child in range(4):
                g = grad[2 * y + child // 2, 2 * x + child % 2]
                mean = out[2 * y + child // 2, 2 * x + child % 2]
                for k in range(9):
                    v = min(max(y + k // 3 - 1, 0), height - 1)
                    u = min(max(x + k % 3 - 1, 0), width - 1)
                    share = g * mix[y, x, child, k]
                    disparity_grad[v, u] += share
                    logits_grad[y, x, child, k] = share * (disparity[v, u] - mean)


class _Convex(torch.autograd.Function):
    """`convex` compiled."""

    @staticmethod
    def forward(ctx: Any, disparity: Tensor, logits: Tensor) -> Tensor:
        b, h, w = disparity.shape
        # Clamped instead of the greatest subtracted: beyond 60 of difference a weight is zero either way.
        weights = torch.exp(logits.detach().permute(0, 2, 3, 1).float().clamp(-60, 60)).contiguous().numpy()
        mix = weights.reshape(b, h, w, 4, 9)
        plane = disparity.detach().float().contiguous().numpy()
        out = np.empty((b, 2 * h, 2 * w), np.float32)
        for i in range(b):
            _convex(plane[i], mix[i], out[i])
        ctx.kept = plane, mix, out, logits.dtype
        return torch.from_numpy(out)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        plane, mix, out, dtype = ctx.kept
        b, h, w = plane.shape
        grad = grads[0].float().contiguous().numpy()
        disparity_grad, logits_grad = np.zeros_like(plane), np.empty_like(mix)
        for i in range(b):
            _convex_back(plane[i], mix[i], out[i], grad[i], disparity_grad[i], logits_grad[i])
        logits_back = torch.from_numpy(logits_grad).reshape(b, h, w, 36).permute(0, 3, 1, 2).to(dtype)
        return torch.from_numpy(disparity_grad), logits_back
