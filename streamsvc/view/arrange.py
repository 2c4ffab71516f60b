"""Which pairs of a rig show a view, and which pairs help them.

Pairs that hang together by shared cameras are a group. Of each group one pair shows the view, the one that stands most
nearly about it: more cameras only draw more outlines over one another. What the group's other pairs know of the same
two cameras is fused into their geometry instead (`fuse`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streamsvc.frames import Camera, Rig
from streamsvc.frames.rig import Matrix

Pair = tuple[str, str]


def groups(pairs: Sequence[Pair]) -> list[list[Pair]]:
    """Return `pairs` in groups that share cameras, directly or through others."""
    found: list[list[Pair]] = []
    for pair in pairs:
        touching = [g for g in found if any(set(pair) & set(p) for p in g)]
        found = [g for g in found if g not in touching] + [[*(p for g in touching for p in g), pair]]
    return found


def helpers(pair: Pair, pairs: Sequence[Pair]) -> list[Pair]:
    """Return those of `pairs` that share one camera with `pair`."""
    return [p for p in pairs if len(set(p) & set(pair)) == 1]


def about(pairs: Sequence[Pair], rig: Rig, view: Camera, distance: float) -> Pair:
    """Return which of `pairs` stands most nearly about `view`, as seen from the point `distance` metres ahead of it.

    What counts is first how far the view lies off the arc between the two cameras, and then how far from both.
    """
    subject = view.centre + distance * view.R[2]

    def away(pair: Pair) -> float:
        a, b = (rig.camera(name).centre - subject for name in pair)
        v = view.centre - subject
        return 1.5 * (_angle(a, v) + _angle(v, b)) - _angle(a, b)

    return min(pairs, key=away)


def _angle(a: Matrix, b: Matrix) -> float:
    return float(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b))
