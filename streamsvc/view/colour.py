"""Cameras that differ in exposure and white balance are brought to one look: their mean.

Each camera gets a gain and an offset per channel, such that points that several cameras see look alike in all of them.
The points come from the geometry that was just found: a grid pixel of one source is looked up in another one where both
agree on its depth and neither has a jump nearby. What disagrees all the same (highlights, wrong matches) counts the
less the more it does (Cauchy's M-estimator); saturated and black pixels don't count. A prior holds at "no change" what
little overlap can't tell. Three channels mixed by a matrix were no better on cameras whose primaries differ, and
histograms of the overlap, instead of points, worse on all.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import combinations

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from streamsvc.frames import Pixels
from streamsvc.view.geometry import Source

Affine = NDArray[np.float64]
"""(2, 3): gain and offset (of 255) per channel."""

Points = NDArray[np.float32]
"""(n, 2, 3): the colours, of 255, that each of two cameras gives the same points."""

IDENTITY: Affine = np.array([[1.0] * 3, [0.0] * 3])

EVERY_NS = 1_000_000_000
"""Capture time between two solves."""

SETTLE_NS = 700_000_000
"""Capture time in which a correction goes 63 % of the way to what was solved last."""

MEMORY_NS = 10_000_000_000
"""For how long the points of two cameras count that no view needs together any more."""

STEP = 4
"""Every so many-th pixel of a grid is looked up, across and down."""

REACH = 2
"""Colours are averaged, and jumps looked for, so many grid pixels about a point: geometry is off by a pixel or so."""

LEAST_CONFIDENCE = 0.5
BLACK, SATURATED = 3.0, 250.0

ALIKE = 15.0
"""So many points tell as much as one independent one: neighbours err alike."""

GAIN_SIGMA, OFFSET_SIGMA = 0.15, 4.0
"""What cameras are expected to differ by before any point is seen."""

LEAST_SCALE = 1.5
"""Differences in colour (of 255) that are always put down to chance."""

ROUNDS = 6


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _look(inverse, confidence, colour, x, y, expected, limit, out):  # type: ignore[no-untyped-def]
    """Average the colour about a grid pixel into `out` (3,); False where the grid is in doubt there, not at the
    `expected` inverse depth within `limit`, no single surface, or black or saturated."""
    height, width = inverse.shape
    if not (REACH <= x < width - REACH and REACH <= y < height - REACH) or confidence[y, x] < LEAST_CONFIDENCE:
        return False
    for v in (y - REACH, y, y + REACH):
        for u in (x - REACH, x, x + REACH):
            if not abs(inverse[v, u] - expected) <= limit:
                return False
    for c in range(3):
        total = 0
        for v in range(y - REACH, y + REACH + 1):
            for u in range(x - REACH, x + REACH + 1):
                total += colour[v, u, c]
        out[c] = total / np.float32((2 * REACH + 1) ** 2)
        if not BLACK < out[c] < SATURATED:
            return False
    return True


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _common(  # type: ignore[no-untyped-def]
    rays, inverse, confidence, colour, M, b, K, other_inverse, other_confidence, other_colour, tolerances, out
):
    n = 0
    for y in range(STEP // 2, inverse.shape[0], STEP):
        for x in range(STEP // 2, inverse.shape[1], STEP):
            q = inverse[y, x]
            if q <= 0 or not _look(inverse, confidence, colour, x, y, q, tolerances[0] + tolerances[1] * q, out[n, 0]):
                continue
            rx, ry = rays[y, x, 0], rays[y, x, 1]
            z = M[2, 0] * rx + M[2, 1] * ry + M[2, 2] + b[2] * q
            if z <= 0.02 * q:
                continue
            u = K[0, 0] * (M[0, 0] * rx + M[0, 1] * ry + M[0, 2] + b[0] * q) / z + K[0, 2]
            v = K[1, 1] * (M[1, 0] * rx + M[1, 1] * ry + M[1, 2] + b[1] * q) / z + K[1, 2]
            if not (0 <= u < other_inverse.shape[1] and 0 <= v < other_inverse.shape[0]):
                continue
            expected = q / z
            limit = tolerances[2] + tolerances[3] * expected
            ix, iy = int(u + 0.5), int(v + 0.5)
            if _look(other_inverse, other_confidence, other_colour, ix, iy, expected, limit, out[n, 1]):
                n += 1
    return n


def common(a: Source, b: Source) -> Points:
    """Return the colours on their grids, averaged over 5x5, of points whose depth `a` and `b` agree on, none of them
    black or saturated: (n, 2, 3) float32. The grid of `b` has neither distortion nor skew."""
    rows, columns = a.inverse_depth.shape
    out = np.empty(((rows // STEP + 1) * (columns // STEP + 1), 2, 3), np.float32)
    n = _common(
        a.rays,
        a.inverse_depth,
        a.confidence,
        a.colour,
        b.grid.R @ a.grid.R.T,
        b.grid.R @ a.grid.centre + b.grid.t,
        b.grid.K,
        b.inverse_depth,
        b.confidence,
        b.colour,
        np.array([a.tolerance, a.relative_tolerance, b.tolerance, b.relative_tolerance]),
        out,
    )
    return out[:n]


def solve(pairs: Mapping[tuple[str, str], Points]) -> dict[str, Affine]:
    """Return, for every camera in `pairs`, the gain and offset that make the points look alike in all of them.

    The cameras' mean gain is 1 and their mean offset 0. Fewer points mean less of a correction, none mean none.
    """
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    count = len(names)
    # The unknowns are all gains less 1, and then all offsets; those of a pair, and what they add to the difference.
    unknowns = [np.array([i, j, count + i, count + j]) for i, j in ((names.index(a), names.index(b)) for a, b in pairs)]
    designs, differences = [], []
    for points in pairs.values():
        design = np.ones((3, len(points), 4), np.float32)
        design[..., 0], design[..., 1], design[..., 3] = points[:, 0].T, -points[:, 1].T, -1
        designs.append(design)
        differences.append(design[..., 0] + design[..., 1])
    prior = np.kron(np.diag([GAIN_SIGMA**-2, OFFSET_SIGMA**-2]), np.eye(count))
    prior += 1e9 * np.kron(np.eye(2), np.ones((count, count)))  # the sums of changes are nought
    change = np.zeros((3, 2 * count))
    for _ in range(ROUNDS):
        apart = [
            np.abs(d + (design @ change[:, at, None].astype(np.float32))[..., 0]).mean(0)
            for at, design, d in zip(unknowns, designs, differences, strict=True)
        ]
        together = np.concatenate([np.zeros(1, np.float32), *apart])
        scale = max(1.5 * float(np.median(together)), LEAST_SCALE)
        normal, right = np.tile(prior, (3, 1, 1)), np.zeros((3, 2 * count))
        for at, design, d, off in zip(unknowns, designs, differences, apart, strict=True):
            weighted = design.transpose(0, 2, 1) * (1 / (1 + (off / scale) ** 2) / (ALIKE * scale**2))
            normal[:, at[:, None], at] += weighted @ design
            right[:, at] -= (weighted @ d[..., None])[..., 0]
        change[:] = np.linalg.solve(normal, right[..., None])[..., 0]
    affine = IDENTITY + change.reshape(3, 2, count).transpose(2, 1, 0)
    return dict(zip(names, affine, strict=True))


def _table(affine: Affine) -> NDArray[np.uint8]:
    levels = np.arange(256)[:, None] * affine[0] + affine[1]
    return np.asarray(np.clip(levels + 0.5, 0, 255), np.uint8)


def visible(affine: Affine) -> bool:
    """Return whether a correction changes any level by more than one; less nobody sees."""
    return bool((np.abs(_table(affine) - np.arange(256)[:, None]) > 1).any())


def corrected(pixels: Pixels, affine: Affine) -> Pixels:
    """Return `pixels` (h, w, 3) uint8 with gain and offset applied; as they are where nobody would see it."""
    return np.asarray(cv2.LUT(pixels, _table(affine)[None]), np.uint8) if visible(affine) else pixels


def recoloured(source: Source, affines: Mapping[str, Affine]) -> Source:
    """Return `source` corrected by what `affines` has for its camera."""
    affine = affines.get(source.camera.name, IDENTITY)
    return replace(source, pixels=corrected(source.pixels, affine), colour=corrected(source.colour, affine))


class Colours:
    """The corrections of one rig's cameras over time; safe to call from several threads.

    Kept are, per pair of cameras, the points last seen in common and, per camera, the correction in use and the one it
    moves to, so slowly that no step shows. The first solve counts at once: nothing else was shown before it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, str], tuple[int, Points]] = {}
        self._used: dict[str, Affine] = {}
        self._wanted: dict[str, Affine] = {}
        self._moved_ns = 0
        self._solved_ns: int | None = None

    def at(self, capture_ns: int) -> dict[str, Affine]:
        """Return the corrections for pictures captured then, by camera; a camera that isn't there needs none yet."""
        with self._lock:
            part = 1 - math.exp(-max(capture_ns - self._moved_ns, 0) / SETTLE_NS)
            self._moved_ns = capture_ns
            for name, wanted in self._wanted.items():
                used = self._used.get(name, IDENTITY)
                self._used[name] = used + part * (wanted - used)
            return dict(self._used)

    def learn(self, sources: Iterable[Source], used: Mapping[str, Affine], capture_ns: int) -> dict[str, Affine]:
        """Learn from `sources`, whose pictures were captured then and corrected by `used`, if it is time to.

        Returns the corrections that they need on top of `used`: those of the first solve, none later.
        """
        with self._lock:
            first = self._solved_ns is None
            if self._solved_ns is not None and abs(capture_ns - self._solved_ns) < EVERY_NS:
                return {}
            self._solved_ns = capture_ns
        found = {}
        for a, b in combinations(sources, 2):
            names = a.camera.name, b.camera.name
            if names[0] != names[1] and names not in found:
                taken = np.stack([used.get(name, IDENTITY) for name in names])
                points = (common(a, b) - taken[:, 1]) / taken[:, 0]
                within = ((points > BLACK) & (points < SATURATED)).all((1, 2))
                found[names] = capture_ns, points[within].astype(np.float32)
        with self._lock:
            kept = {k: v for k, v in self._seen.items() if abs(capture_ns - v[0]) < MEMORY_NS}
            self._seen = kept | found
            self._wanted |= solve({k: points for k, (_, points) in self._seen.items()})
            if not first:
                return {}
            self._used, self._moved_ns = dict(self._wanted), capture_ns
            return dict(self._wanted)
