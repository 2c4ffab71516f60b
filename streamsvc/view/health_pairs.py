"""Whether a pair's pictures fit its calibration, and if not why: swapped, mirrored, out of the depth range, or off.

Matches are found without the calibration; then it is asked under which reading of the pictures (as they are,
exchanged, one of them mirrored) most of them agree on how far they miss their epipolar lines. That miss is modelled as
a plane over the picture and depth, what small errors of rotation, place and focal length amount to, fitted by random
samples (Fischler and Bolles 1981; seeded, so that the same pictures get the same answer). Few matches, no verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamsvc.budget.slices import Slices
from streamsvc.frames import Pixels
from streamsvc.frames.rig import Matrix
from streamsvc.view.align import Evidence, weigh
from streamsvc.view.health import Finding
from streamsvc.view.health_matches import (
    Axes,
    Corners,
    Triangulated,
    corners,
    match,
    refine,
    roll_degrees,
    small_grey,
    triangulate,
)

ENOUGH = 20
"""Matches that must agree for a verdict."""

SHARE = 0.5
"""Part of all matches that must, before the calibration is blamed."""

SURE, SURE_SHARE = 50, 0.65
SURE_PX = 1.0
"""So many fitting matches, such a part of all, and so small a miss, and no other picture is tried in place of one."""

BETTER = 1.4
"""So many times better than as they are the pictures must fit under another reading: cameras that hardly turn against
each other almost fit when they are exchanged, and a face almost fits its mirror image."""

APART = 0.6
"""So many times as many matches cameras may have that stand farther apart."""

WINDOW_PX = 1.2
OFF_PX = 3.5
"""Miss of the epipolar lines, in pixels of a picture 320 wide, from which the calibration is called wrong. 1 mm and 0.2
degrees of error in every camera make 1.2 of it in the median of 3,000 draws, and 3.4 in the worst."""

DEPTH_SLACK = 0.012
"""Parallax (tangent) by which a match may lie behind infinity: what such an error turns sideways, and a pixel."""

NEAREST_M = 0.15
OUTSIDE_SHARE = 0.3
"""Part of the matches outside the stated depth range that is worth saying."""

TRIALS = 64

SWAPPED, MIRRORED, OFF, OUTSIDE = "cameras-swapped", "camera-mirrored", "calibration-off", "out-of-depth-range"


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """What looking at a pair says: `verdict` what is wrong, True when nothing is, False when the pictures don't say;
    `evidence` of how its cameras are turned, None where the pictures don't say or aren't theirs."""

    verdict: Finding | bool
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """How matches fit a calibration: how many there are; how many agree on the model and lie at possible depths
    (`agreed`) or at `impossible` ones; what four in five of these `miss` their epipolar lines by at most (tangent); the
    inverse depths (n,) in 1/m along the rectified z of the agreed; and the pair's baseline in metres."""

    matches: int
    agreed: int
    impossible: int
    miss: float
    inverse_depths: Matrix
    baseline: float

    @property
    def fits(self) -> bool:
        """True where enough matches agree and hardly any lie where nothing can be."""
        return self.agreed >= ENOUGH and self.impossible <= self.agreed / 4


def _agreeing(found: Triangulated, window: float) -> NDArray[np.bool_]:
    """Which matches lie within `window` (tangent) of the model of the miss that most of them lie so near to."""
    n = len(found.x)
    terms = np.stack([np.ones(n), found.x, found.y, found.along], 1)
    picks = np.random.default_rng(0).integers(0, n, (TRIALS, terms.shape[1]))
    some = terms[picks]
    normal = np.swapaxes(some, 1, 2) @ some
    # Hardly any ridge: it only keeps samples that lie on a line, or are one match twice, from being singular.
    normal += 1e-9 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(terms.shape[1])
    solved = np.linalg.solve(normal, np.swapaxes(some, 1, 2) @ found.across[picks][..., None])
    inside = np.abs(terms @ solved[..., 0].T - found.across[:, None]) < window
    return np.asarray(inside[:, int(inside.sum(axis=0).argmax())])


def _possible(found: Triangulated, baseline: float) -> NDArray[np.bool_]:
    """Which matches lie neither behind infinity nor in the cameras."""
    return (found.along > -DEPTH_SLACK) & (found.along < baseline / NEAREST_M + DEPTH_SLACK)


def fit(axes: Axes, found: Triangulated, window: float) -> Fit:
    """Return how `found` fits the pair; `window` (tangent) is how far a match may lie from the model of the miss."""
    n = len(found.x)
    baseline = axes.baseline
    if n < ENOUGH:
        return Fit(n, 0, 0, 0.0, np.zeros(0), baseline)
    agree, possible = _agreeing(found, window), _possible(found, baseline)
    kept = agree & possible
    miss = float(np.percentile(np.abs(found.across[agree]), 80))
    return Fit(n, int(kept.sum()), int((agree & ~possible).sum()), miss, found.along[kept] / baseline, baseline)


def _fits_exactly(found: Fit, focal: float) -> bool:
    return found.fits and found.miss * focal <= OFF_PX


def _evidence(found: Fit, focal: float) -> float:
    """How much speaks for a reading: many matches, a large part of all, and a small miss; 0 where it doesn't fit."""
    return found.agreed**1.5 / found.matches / (1 + found.miss * focal) if _fits_exactly(found, focal) else 0.0


def examine(
    axes: Axes,
    pictures: Mapping[str, Pixels],
    depth_range: tuple[float, float] | None = None,
    aligned: Axes | None = None,
) -> Slices[Checked]:
    """Check one pair; yields "check" after every few milliseconds.

    `pictures` (h, w, 3) uint8 by camera, of any sizes, are the pair's, and others that may have been taken for them;
    `depth_range` is the one that the rig states. A calibration by which the cameras as they are `aligned` still see all
    that they should isn't called off.
    """
    left, right = axes.left, axes.right
    first, second = sorted((left.name, right.name))
    greys = [small_grey(left, pictures[left.name])]
    own = [corners(greys[0], roll_degrees(left, axes))]
    yield "check"
    greys.append(small_grey(right, pictures[right.name]))
    own.append(corners(greys[1], roll_degrees(right, axes)))
    yield "check"
    focal = float(left.resized(*own[0].size).K[0, 0])
    points = match(*own)
    as_is = _fitted(axes, *points, own[0].size, own[1].size)
    exchanged = _fitted(axes, *points[::-1], own[1].size, own[0].size)
    yield "check"
    readings = [(exchanged, _swapped(first, second))] if exchanged.agreed >= as_is.agreed else []
    if not (as_is.agreed >= max(SURE, SURE_SHARE * as_is.matches) and as_is.miss * focal <= SURE_PX):
        readings += yield from _with_other_pictures(axes, pictures, own, as_is.agreed)
    speaks, finding = max(
        ((_evidence(f, focal), said) for f, said in readings), key=lambda r: r[0], default=(0.0, None)
    )
    if finding is not None and speaks > BETTER * _evidence(as_is, focal):
        return Checked(finding)
    if as_is.agreed + as_is.impossible < max(ENOUGH, SHARE * as_is.matches):
        return Checked(False)
    refined = triangulate(axes, points[0], own[0].size, refine(greys[0], greys[1], *points), own[1].size)
    evidence = _weighed(axes, refined, focal)
    yield "check"
    mended = aligned is not None and _fits_exactly(_fitted(aligned, *points, own[0].size, own[1].size), focal)
    if not mended and not _fits_exactly(as_is, focal):
        scale = pictures[left.name].shape[1] / own[0].size[0]
        return Checked(_off(first, second, as_is, as_is.miss * focal, scale), evidence)
    outside = None if depth_range is None else _outside(first, second, as_is, depth_range)
    return Checked(outside or True, evidence)


def _weighed(axes: Axes, found: Triangulated, focal: float) -> Evidence | None:
    """The evidence of the matches that agree; None of too few."""
    if len(found.x) < ENOUGH:
        return None
    kept = np.flatnonzero(_agreeing(found, WINDOW_PX / focal) & _possible(found, axes.baseline))
    return None if len(kept) < ENOUGH else weigh(axes, found.only(kept), focal)


def _fitted(axes: Axes, left: Matrix, right: Matrix, left_size: tuple[int, int], right_size: tuple[int, int]) -> Fit:
    window = WINDOW_PX / float(axes.left.resized(*left_size).K[0, 0])
    return fit(axes, triangulate(axes, left, left_size, right, right_size), window)


def _with_other_pictures(
    axes: Axes, pictures: Mapping[str, Pixels], own: Sequence[Corners], agreed: int
) -> Slices[list[tuple[Fit, Finding]]]:
    """How the pair fits with either picture flipped, or with another camera's in its place, where not much fewer
    matches agree than as they are: fewer speak for chance, unless cameras farther apart took them."""
    readings = []
    for number, camera in enumerate((axes.left, axes.right)):
        roll = roll_degrees(camera, axes)
        flipped = np.ascontiguousarray(small_grey(camera, pictures[camera.name])[:, ::-1])
        tried = [(flipped, 1.0, _mirrored(camera.name))]
        for other in pictures:
            if other not in (axes.left.name, axes.right.name):
                tried.append((small_grey(camera, pictures[other]), APART, _swapped(*sorted((camera.name, other)))))
        for grey, share, finding in tried:
            both = list(own)
            both[number] = corners(grey, roll)
            yield "check"
            found = _fitted(axes, *match(*both), both[0].size, both[1].size)
            if found.agreed >= share * agreed:
                readings.append((found, finding))
            yield "check"
    return readings


def _fits(cameras: str) -> str:
    return f"the pictures of {cameras} fit the calibration again"


def _swapped(a: str, b: str) -> Finding:
    text = (
        f"{a} and {b} look swapped: their pictures fit the calibration when they are exchanged (or both mirrored); "
        "exchange the two cameras"
    )
    return Finding(SWAPPED, (a, b), text, _fits(f"{a} and {b}"))


def _mirrored(name: str) -> Finding:
    text = f"{name} looks mirrored: its picture fits the calibration when it is flipped; switch its mirroring off"
    return Finding(MIRRORED, (name,), text, f"{name} isn't mirrored any more")


def _off(a: str, b: str, found: Fit, off_px: float, scale: float) -> Finding:
    if off_px > OFF_PX:
        text = f"the calibration of {a} and {b} is off by {off_px * scale:.1f} px: calibrate again"
    else:
        share = found.impossible / (found.agreed + found.impossible)
        text = (
            f"the calibration of {a} and {b} is off: {share:.0%} of what both see would lie behind infinity or in the "
            "cameras; calibrate again"
        )
    return Finding(OFF, (a, b), text, _fits(f"{a} and {b}"))


def _outside(a: str, b: str, found: Fit, depth_range: tuple[float, float]) -> Finding | None:
    near, far = depth_range
    inverse = found.inverse_depths
    nearer, farther = inverse[inverse > 1.1 / near], inverse[inverse < 0.9 / far - DEPTH_SLACK / found.baseline]
    some = max(nearer, farther, key=len)
    if len(some) < OUTSIDE_SHARE * len(inverse):
        return None
    at = 1 / max(float(np.median(some)), 1e-2)
    text = (
        f"{len(some) / len(inverse):.0%} of what {a} and {b} see is {at:.2f} m away, outside the rig's depth_range of "
        f"{near:g} to {far:g} m: move, change the range, or calibrate again"
    )
    return Finding(OUTSIDE, (a, b), text, f"what {a} and {b} see is within the rig's depth_range again")
