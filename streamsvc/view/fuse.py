"""Two geometries of one camera, from two pairs that it belongs to, made one.

What a camera of a pair sees beside an outline the other one often doesn't, so it can't be matched there; a third camera
on the other side sees it. Where two pairs agree their depths are averaged, the wider baseline counting more; where they
don't, the pair that shows the view is believed unless the other is surer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numba
import numpy as np

from streamsvc.view.geometry import Placed, Source

SURER = 0.05
"""By how much more confident the other pair must be to be believed instead."""


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _fuse(  # type: ignore[no-untyped-def]
    rays, inverse, confidence, M, K, other_inverse, other_confidence, tolerance, relative, share, surer, out, sure
):
    height, width = inverse.shape
    rows, columns = other_inverse.shape
    half = np.float32(0.5)
    for y in range(height):
        for x in range(width):
            q, c = inverse[y, x], confidence[y, x]
            out[y, x], sure[y, x] = q, c
            rx, ry = rays[y, x, 0], rays[y, x, 1]
            z = M[2, 0] * rx + M[2, 1] * ry + M[2, 2]
            if z <= 0:
                continue
            u = K[0, 0] * (M[0, 0] * rx + M[0, 1] * ry + M[0, 2]) / z + K[0, 2] + half
            v = K[1, 1] * (M[1, 0] * rx + M[1, 1] * ry + M[1, 2]) / z + K[1, 2] + half
            if not (0 <= u < columns and 0 <= v < rows):
                continue
            told = other_inverse[int(v), int(u)] * z
            if told <= 0:
                continue
            c_told = other_confidence[int(v), int(u)]
            if q > 0 and abs(told - q) < tolerance + relative * q:
                out[y, x] = q + share * (told - q)
                sure[y, x] = max(c, c_told)
            elif q <= 0 or c_told > c + surer:
                out[y, x], sure[y, x] = told, c_told


def fuse(own: Source, others: Sequence[Source]) -> Source:
    """Return `own` with what those of `others` know better that are of the same camera, from other pairs."""
    for other in others:
        if other.camera.name == own.camera.name:
            own = _fused(own, other)
    return own


def share(own: Placed, other: Placed) -> float:
    """Return how much the other's depth counts where the two agree, 0 to 1."""
    # Errors go with the inverse of the baseline, and so does the tolerance.
    return own.tolerance**2 / max(own.tolerance**2 + other.tolerance**2, 1e-30)


def _fused(own: Source, other: Source) -> Source:
    out, sure = np.empty_like(own.inverse_depth), np.empty_like(own.confidence)
    _fuse(
        own.rays,
        own.inverse_depth,
        own.confidence,
        (other.grid.R @ own.grid.R.T).astype(np.float32),
        other.grid.K.astype(np.float32),
        other.inverse_depth,
        other.confidence,
        np.float32(own.tolerance),
        np.float32(own.relative_tolerance),
        np.float32(share(own, other)),
        np.float32(SURER),
        out,
        sure,
    )
    return replace(own, inverse_depth=out, confidence=sure)
