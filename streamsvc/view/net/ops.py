"""What the geometry net does between its convolutions: comparing rows of two pictures, and convex upsampling.

Each has two back ends that agree to rounding. Plain torch, for any device: all products along a row by one matrix
product, then gathered. Compiled, for the CPU: only the products that are asked for. Both are differentiable; the
compiled ones are what the CPU runs and trains on. Without gradients a GPU compares by a kernel (`view.gpu.compare`).
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

LANE = 16
"""Columns that the compiled comparison takes at a time."""


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


@numba.njit(nogil=True, cache=True, fastmath=_FAST, error_model="numpy")
def _compare(own, other, at, direction, first, count, pad, out):  # type: ignore[no-untyped-def]
    """`own` (h, w, g, c), `other` (h, g, c, w + 2 pad) with zeros either side, `at` (h, w), `out` (h, w, g, count)."""
    height, width, groups, channels = own.shape
    columns = other.shape[3]
    # With a direction of -1 the products run from the last asked to the first, one column more for the lerp.
    lowest = first if direction > 0 else -(first + count - 1)
    acc = np.empty((count // LANE + 1) * LANE, np.float32)
    lanes = len(acc) // LANE
    for y in range(height):
        for x in range(width):
            base = np.floor(at[y, x])
            part = at[y, x] - base
            start = int(max(min(base, np.float32(2 * width)), np.float32(-width))) + lowest + pad
            start = max(min(start, columns - len(acc)), 0)
            for g in range(groups):
                for lane in range(lanes):
                    k = lane * LANE
                    lane_acc = acc[k : k + LANE]
                    for j in range(LANE):
                        lane_acc[j] = np.float32(0)
                    for c in range(0, channels, 4):
                        a0, a1, a2, a3 = own[y, x, g, c], own[y, x, g, c + 1], own[y, x, g, c + 2], own[y, x, g, c + 3]
                        # Slices, because of a plain index the compiler can't know that it isn't negative.
                        b0 = other[y, g, c, start + k : start + k + LANE]
                        b1 = other[y, g, c + 1, start + k : start + k + LANE]
                        b2 = other[y, g, c + 2, start + k : start + k + LANE]
                        b3 = other[y, g, c + 3, start + k : start + k + LANE]
                        for j in range(LANE):
                            lane_acc[j] += a0 * b0[j] + a1 * b1[j] + a2 * b2[j] + a3 * b3[j]
                if direction > 0:
                    for j in range(count):
                        out[y, x, g, j] = acc[j] + part * (acc[j + 1] - acc[j])
                else:
                    for j in range(count):
                        i = count - 1 - j
                        out[y, x, g, j] = acc[i] + part * (acc[i + 1] - acc[i])


@numba.njit(nogil=True, cache=True, fastmath=_FAST, error_model="numpy")
def _compare_back(own, other, at, direction, first, count, pad, grad, own_grad, other_grad):  # type: ignore[no-untyped-def]
    """Add to the gradients (shaped as `own` and `other`) what `grad` (as `out` of `_compare`) says."""
    height, width, groups, channels = own.shape
    columns = other.shape[3]
    lowest = first if direction > 0 else -(first + count - 1)
    size = (count // LANE + 1) * LANE
    g_acc = np.empty(size, np.float32)
    for y in range(height):
        for x in range(width):
            base = np.floor(at[y, x])
            part = at[y, x] - base
            start = int(max(min(base, np.float32(2 * width)), np.float32(-width))) + lowest + pad
            start = max(min(start, columns - size), 0)
            for g in range(groups):
                g_acc[:] = np.float32(0)
                for j in range(count):
                    i = j if direction > 0 else count - 1 - j
                    g_acc[i] += (np.float32(1) - part) * grad[y, x, g, j]
                    g_acc[i + 1] += part * grad[y, x, g, j]
                for c in range(channels):
                    a = own[y, x, g, c]
                    total = np.float32(0)
                    there, there_grad = other[y, g, c, start : start + size], other_grad[y, g, c, start : start + size]
                    for j in range(size):
                        total += g_acc[j] * there[j]
                        there_grad[j] += g_acc[j] * a
                    own_grad[y, x, g, c] += total


class _Compare(torch.autograd.Function):
    """`compare` compiled; `at` gets no gradient."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, at: Tensor, first: int, count: int, groups: int) -> Tensor:
        n, c, h, w = left.shape
        pad = count + abs(first) + 2 * LANE
        scale = float((c // groups) ** -0.5)
        pictures = [_rows(left, groups), _rows(right, groups)]
        padded = []
        for picture in pictures:
            turned = np.zeros((n, h, groups, c // groups, w + 2 * pad), np.float32)
            turned[..., pad : pad + w] = picture.transpose(0, 1, 3, 4, 2)
            padded.append(turned)
        columns = at.detach().contiguous().numpy()
        out = np.empty((2 * n, h, w, groups, count), np.float32)
        for i in range(n):
            _compare(pictures[0][i], padded[1][i], columns[i], -1, first, count, pad, out[i])
            _compare(pictures[1][i], padded[0][i], columns[n + i], 1, first, count, pad, out[n + i])
        out *= np.float32(scale)
        ctx.kept = pictures, padded, columns, first, count, groups, pad, scale
        ctx.dtype = left.dtype
        return torch.from_numpy(out).reshape(2 * n, h, w, groups * count).permute(0, 3, 1, 2).to(left.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        pictures, padded, columns, first, count, groups, pad, scale = ctx.kept
        n, h, w, _, channels = pictures[0].shape
        grad = grads[0].permute(0, 2, 3, 1).reshape(2 * n, h, w, groups, count).float().contiguous().numpy()
        grad = grad * np.float32(scale)
        own = [np.zeros_like(p) for p in pictures]
        other = [np.zeros_like(p) for p in padded]
        for i in range(n):
            _compare_back(
                pictures[0][i], padded[1][i], columns[i], -1, first, count, pad, grad[i], own[0][i], other[1][i]
            )
            _compare_back(
                pictures[1][i], padded[0][i], columns[n + i], 1, first, count, pad, grad[n + i], own[1][i], other[0][i]
            )
        result = []
        for mine, turned in zip(own, other, strict=True):
            mine += turned[..., pad : pad + w].transpose(0, 1, 4, 2, 3)
            whole = torch.from_numpy(mine).reshape(n, h, w, groups * channels).permute(0, 3, 1, 2)
            result.append(whole.to(ctx.dtype))
        return *result, None, None, None, None


def _rows(features: Tensor, groups: int) -> NDArray[np.float32]:
    """Features (n, c, h, w) as (n, h, w, groups, c / groups) float32."""
    n, c, h, w = features.shape
    plain = features.detach().permute(0, 2, 3, 1).float().contiguous().numpy()
    return np.asarray(plain.reshape(n, h, w, groups, c // groups), np.float32)


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
