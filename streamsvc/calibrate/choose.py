"""Which instants are worth keeping: the board each time somewhere else and, in a video, still and sharp.

Pure decisions on detections. Two instants differ by how far the board's corners have moved in the picture, in picture
diagonals; an instant in which another set of cameras sees the board is new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from streamsvc.calibrate.boards import Detection

Found = Mapping[str, Detection]
Sizes = Mapping[str, tuple[int, int]]

NOVEL = 0.05
"""Corners must have moved by this share of the diagonal to make another view."""

REPEATED = 0.02
"""Nearer than this, in diagonals, are pictures of one view: their errors are the same, and don't average out."""

STILL = 0.004
"""Motion between neighbouring samples, in diagonals, at which an instant is worth half."""

FARTHEST = 0.6


def moved(a: Detection, b: Detection, size: tuple[int, int]) -> float | None:
    """Return how far the corners that both hold have moved, in picture diagonals (the 95th percentile, so that a board
    that is only tilted has moved); None when they share none."""
    common, i, j = np.intersect1d(a.ids, b.ids, return_indices=True)
    if not len(common):
        return None
    movement = np.linalg.norm(a.pixels[i] - b.pixels[j], axis=1)
    return float(np.quantile(movement, 0.95) / np.hypot(*size))


def difference(a: Found, b: Found, sizes: Sizes) -> float:
    """Return how different two instants are, 0 to 0.6 diagonals; the camera in which they differ most counts."""
    if a.keys() != b.keys():
        return FARTHEST
    most = 0.0
    for camera in a:
        change = moved(a[camera], b[camera], sizes[camera])
        most = max(most, FARTHEST if change is None else change)
    return min(most, FARTHEST)


def stillness(found: Found, before: Found | None, after: Found | None, sizes: Sizes) -> float:
    """Return 1 for a board at rest, 1/2 at the motion `STILL`, less for more; the calmer side counts, the unrestful
    camera counts. Without neighbours it is 1/4: nothing is known."""
    sides = []
    for other in (before, after):
        if other is None or not found.keys() <= other.keys():
            continue
        changes = [moved(found[c], other[c], sizes[c]) for c in found]
        if all(c is not None for c in changes):
            sides.append(max(c for c in changes if c is not None))
    return 1 / (1 + min(sides) / STILL) if sides else 0.25


def distinct(instants: Sequence[Found], sizes: Sizes) -> list[int]:
    """Return the numbers of `instants`, ascending, that don't repeat one that was taken before them."""
    taken: list[int] = []
    for i, found in enumerate(instants):
        if all(difference(found, instants[k], sizes) >= REPEATED for k in taken):
            taken.append(i)
    return taken


def choose(instants: Sequence[Found], sizes: Sizes, limit: int) -> list[int]:
    """Return at most `limit` numbers of `instants` (consecutive samples, empty where no board was seen), ascending.

    Greedy: the next is the one with the most novelty times stillness times sharpness times number of cameras, until
    nothing is new.
    """
    seen = [i for i, found in enumerate(instants) if found]
    if not seen:
        return []
    worth = np.zeros(len(instants))
    sharpest = min(d.spread for i in seen for d in instants[i].values())
    for i in seen:
        before = instants[i - 1] if i else None
        after = instants[i + 1] if i + 1 < len(instants) else None
        blur = max(d.spread for d in instants[i].values())
        sharp = min(1.0, 1.5 * max(sharpest, 0.5) / max(blur, 0.5))
        worth[i] = stillness(instants[i], before, after, sizes) * sharp * len(instants[i])
    novelty = np.where(worth > 0, FARTHEST, 0.0)
    chosen: list[int] = []
    while len(chosen) < limit:
        best = int(np.argmax(np.where(novelty >= NOVEL, novelty * worth, 0.0)))
        if novelty[best] < NOVEL or worth[best] <= 0:
            break
        chosen.append(best)
        for i in seen:
            novelty[i] = min(novelty[i], difference(instants[i], instants[best], sizes))
    return sorted(chosen)
