"""What training is fed from files: crops of pairs, read and cut ahead of time and stacked to batches.

A sample is a dictionary of arrays: `left`, `right` (h, w, 3) uint8 RGB; `left_d`, `right_d` (h, w) float32 disparity in
pixels, NaN where unknown; `left_p`, `right_p` (h, w) float32 matte in [0, 1], NaN where nobody says; `shift`, by how
many columns the right crop starts before the left one (float32, a multiple of 8).
"""

from __future__ import annotations

import json
import queue
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from data_layers import Pair
from make_view_data import load
from numpy.typing import NDArray
from torch import Tensor

CROP = (288, 192)
OFF_ROWS, TURNED = 0.9, 0.004
"""Standard deviations of what `misaligned` does: pixels up or down, and radians. A camera that is 0.2 degrees off its
calibration moves a picture 320 wide by about a pixel."""

SHARE_OF_BODIES, MIRRORED, MISALIGNED = 0.45, 0.5, 0.6
LEAST_KNOWN = 0.15
"""Share of the left crop's disparities that have to be known."""

Sample = dict[str, Any]


def mirrored(pair: Pair) -> Pair:
    """The same pair seen in a mirror: left becomes right, and disparities stay."""

    def flip(x: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(x[:, ::-1])

    return Pair(
        flip(pair.right), flip(pair.left), flip(pair.right_disparity), flip(pair.left_disparity),
        flip(pair.right_person), flip(pair.left_person),
    )  # fmt: skip


def misaligned(pair: Pair, rng: np.random.Generator) -> Pair:
    """The pair whose right picture is a little off its rows, as cameras are that moved after they were calibrated.

    The left picture's disparities stay what they were: what is sought beside a pixel lies slightly above or below it.
    """
    height, width = pair.right.shape[:2]
    up, turn = rng.normal(0, OFF_ROWS), rng.normal(0, TURNED)
    m = np.array([[1, 0, 0], [turn, 1, up - turn * width / 2]], np.float32)

    def moved(x: NDArray[Any], how: int) -> NDArray[Any]:
        return cv2.warpAffine(x, m, (width, height), flags=how | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)

    return replace(
        pair, right=moved(pair.right, cv2.INTER_LINEAR),
        right_disparity=moved(pair.right_disparity, cv2.INTER_NEAREST),
        right_person=moved(pair.right_person, cv2.INTER_NEAREST),
    )  # fmt: skip


def _window(array: NDArray[Any], x: int, y: int, size: tuple[int, int], fill: float) -> NDArray[Any]:
    width, height = size
    out = np.full((height, width, *array.shape[2:]), fill, array.dtype)
    x0, x1 = max(x, 0), min(x + width, array.shape[1])
    y0, y1 = max(y, 0), min(y + height, array.shape[0])
    if x1 > x0 and y1 > y0:
        out[y0 - y : y1 - y, x0 - x : x1 - x] = array[y0:y1, x0:x1]
    return out


def crop(pair: Pair, size: tuple[int, int], rng: np.random.Generator | None) -> Sample:
    """Cut both pictures where they can match, the right one moved by a multiple of 8; the middle without `rng`."""
    wide, high = size
    spans = []
    for disparity in (pair.left_disparity, pair.right_disparity):
        known = np.flatnonzero(np.isfinite(disparity).any(0))
        spans.append((int(known[0]), int(known[-1]) + 1) if len(known) else (0, disparity.shape[1]))
    (l0, l1), (r0, _) = spans
    apart = l0 - r0 + (int(rng.integers(-24, 25)) if rng is not None else 0)
    if l0 == r0 == 0 and rng is not None:
        apart = int(rng.integers(0, 49)) if rng.random() < 0.5 else 0
    shift = max(8 * round(apart / 8), 0)
    height = pair.left.shape[0]
    if rng is None:
        x, y = (l0 + l1 - wide) // 2, (height - high) // 2
    else:
        x = int(rng.integers(min(l0, l1 - wide), max(l0, l1 - wide) + 1))
        y = int(rng.integers(min(0, height - high), max(0, height - high) + 1))
    return {
        "left": _window(pair.left, x, y, size, 0),
        "right": _window(pair.right, x - shift, y, size, 0),
        "left_d": _window(pair.left_disparity, x, y, size, np.nan),
        "right_d": _window(pair.right_disparity, x - shift, y, size, np.nan),
        "left_p": _window(pair.left_person, x, y, size, np.nan),
        "right_p": _window(pair.right_person, x - shift, y, size, np.nan),
        "shift": np.float32(shift),
    }


def batch_of(samples: list[Sample], device: str) -> dict[str, Tensor]:
    """Stack samples: pictures (n, 3, h, w) in 0..1 channels last, truths (2n, h, w) left first, shift (n,)."""
    out: dict[str, Tensor] = {}
    for name in ("left", "right"):
        pixels = torch.from_numpy(np.stack([s[name] for s in samples])).to(device)
        out[name] = (pixels.permute(0, 3, 1, 2).float() / 255).contiguous(memory_format=torch.channels_last)
    for name in ("d", "p"):
        both = np.concatenate([np.stack([s[f"{side}_{name}"] for s in samples]) for side in ("left", "right")])
        out[name] = torch.from_numpy(both.astype(np.float32)).to(device)
    out["shift"] = torch.tensor([float(s["shift"]) for s in samples], device=device)
    return out


class Feed:
    """Random batches from a folder that may still be growing, made on threads ahead of time."""

    def __init__(self, folder: Path, batch: int, seed: int, device: str, threads: int = 1) -> None:
        self._folder, self._batch, self._device = folder, batch, device
        self.pairs = 0
        self._queue: queue.Queue[list[Sample]] = queue.Queue(4)
        for number in range(threads):
            threading.Thread(target=self._run, args=(np.random.default_rng([seed, number]),), daemon=True).start()

    def next(self) -> dict[str, Tensor]:
        """Return the next batch, on the device."""
        self.pairs += self._batch
        return batch_of(self._queue.get(), self._device)

    def made(self) -> list[dict[str, Any]]:
        """Return what `make_view_data.py` was asked for, as the card of the weights tells it."""
        told = self._folder / "made.jsonl"
        return [json.loads(line) for line in told.read_text().splitlines()] if told.exists() else []

    def _run(self, rng: np.random.Generator) -> None:
        kinds: dict[str, list[Path]] = {}
        made = 0
        while True:
            if made % 500 == 0:
                for kind in ("layers", "bodies"):
                    kinds[kind] = sorted(self._folder.glob(f"{kind}-*.npz"))
            samples = []
            while len(samples) < self._batch:
                kind = "bodies" if kinds["bodies"] and rng.random() < SHARE_OF_BODIES else "layers"
                pair = load(kinds[kind][int(rng.integers(len(kinds[kind])))])
                if rng.random() < MIRRORED:
                    pair = mirrored(pair)
                if rng.random() < MISALIGNED:
                    pair = misaligned(pair, rng)
                sample = crop(pair, CROP, rng)
                if np.isfinite(sample["left_d"]).mean() > LEAST_KNOWN:
                    samples.append(sample)
            self._queue.put(samples)
            made += 1
