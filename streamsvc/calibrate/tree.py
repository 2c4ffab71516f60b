"""How the cameras stand to each other, first guess: relative poses that the shared views agree on, and a spanning tree.

A pose of camera b from camera a is proposed by every view that both see, and judged by how well it predicts b's corners
of all the others from a's board poses; the best median wins, so up to half of the shared views may be wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from streamsvc.calibrate.bundle import Observation, State, rms
from streamsvc.calibrate.errors import CalibrationError
from streamsvc.calibrate.intrinsics import board_poses
from streamsvc.calibrate.projection import Array, project

AGREEMENT = 0.006
"""Predicted corners may be off by this share of the picture's width and still count as agreeing."""

MAX_PROPOSALS = 24


@dataclass(frozen=True, slots=True, eq=False)
class Solo:
    """One camera calibrated alone: its `width` in pixels, `intrinsics` (9,), its observations by view, and the board's
    pose (R, t) in camera metres by view."""

    name: str
    width: int
    intrinsics: Array
    seen: Mapping[int, Observation]
    poses: Mapping[int, tuple[Array, Array]]


@dataclass(frozen=True, slots=True, eq=False)
class Edge:
    """Camera `b` from camera `a`: x_b = R x_a + t. `agreeing` of the `shared` views fit."""

    a: int
    b: int
    R: Array
    t: Array
    shared: int
    agreeing: int

    @property
    def holds(self) -> bool:
        """Whether enough shared views agree; a single one has nothing to disagree with."""
        return self.agreeing * 2 >= self.shared and self.agreeing >= min(self.shared, 2)


HalfTurn = Callable[[Observation], Observation]


def relate(a: int, b: int, first: Solo, second: Solo, half_turn: HalfTurn | None) -> Edge | None:
    """Return the relative pose of cameras number `a` and `b`, or None when they share no view.

    `half_turn` returns an observation with the board turned by half a turn, for boards whose ends can't be told apart.
    """
    shared = sorted(first.poses.keys() & second.poses.keys())
    if not shared:
        return None
    limit = AGREEMENT * second.width
    best: tuple[tuple[float, float], Array, Array, int] | None = None
    step = max(len(shared) // MAX_PROPOSALS, 1)
    for view in shared[::step]:
        R_a, t_a = first.poses[view]
        candidates = [second.poses[view]]
        if half_turn is not None:
            turned = half_turn(second.seen[view])
            candidates += [(R, t) for R, t, _ in board_poses(second.intrinsics, turned.board, turned.pixels)[:1]]
        for R_b, t_b in candidates:
            R = R_b @ R_a.T
            t = t_b - R @ t_a
            errors = np.array([_prediction_error(first.poses[v], second, v, R, t, half_turn) for v in shared])
            agreeing = int((errors <= limit).sum())
            score = (float(np.median(errors)), float(errors.mean()))
            if best is None or score < best[0]:
                best = score, R, t, agreeing
    assert best is not None
    return Edge(a, b, best[1], best[2], len(shared), best[3])


def _prediction_error(
    pose: tuple[Array, Array], second: Solo, view: int, R: Array, t: Array, half_turn: HalfTurn | None
) -> float:
    seen = second.seen[view]
    options = [seen] if half_turn is None else [seen, half_turn(seen)]
    error = np.inf
    for option in options:
        points = (option.board @ pose[0].T + pose[1]) @ R.T + t
        if points[:, 2].min() > 0:
            error = min(error, rms(project(second.intrinsics, points) - option.pixels))
    return min(error, 1e6)


def mirrored(solo: Solo, order: NDArray[np.int64], points: Array) -> Solo:
    """Return the camera as it would be had it delivered mirrored pictures: `order` is `Board.mirrored`, `points` all
    points of the board (n, 3)."""
    intrinsics = solo.intrinsics.copy()
    intrinsics[2], intrinsics[7] = solo.width - 1 - intrinsics[2], -intrinsics[7]
    seen, poses = {}, {}
    for view, o in solo.seen.items():
        pixels = o.pixels * (-1, 1) + (solo.width - 1, 0)
        seen[view] = replace(o, board=points[order], pixels=pixels)
        found = board_poses(intrinsics, seen[view].board, pixels)
        if found:
            poses[view] = found[0][:2]
    return replace(solo, intrinsics=intrinsics, seen=seen, poses=poses)


def span(solos: Sequence[Solo], edges: Sequence[Edge]) -> list[Edge]:
    """Return a spanning tree of `edges` that hold, rooted in camera 0, in the order in which cameras join; the best
    connected join first (Prim 1957). Raises CalibrationError naming the cameras that stay apart."""
    good = [e for e in edges if e.holds]
    joined, tree = {0}, list[Edge]()
    while len(joined) < len(solos):
        open_edges = [e for e in good if (e.a in joined) != (e.b in joined)]
        if not open_edges:
            raise _apart(solos, edges, joined)
        best = max(open_edges, key=lambda e: e.agreeing)
        if best.b in joined:
            best = Edge(best.b, best.a, best.R.T, -best.R.T @ best.t, best.shared, best.agreeing)
        tree.append(best)
        joined.add(best.b)
    return tree


def _apart(solos: Sequence[Solo], edges: Sequence[Edge], joined: set[int]) -> CalibrationError:
    inside = ", ".join(solos[i].name for i in sorted(joined))
    outside = ", ".join(solos[i].name for i in range(len(solos)) if i not in joined)
    crossing = [e for e in edges if (e.a in joined) != (e.b in joined)]
    if not crossing:
        return CalibrationError(
            f"the cameras {inside} and {outside} never see the board at the same instant: hold it where both see it, "
            "or check that pictures of one instant have the same name",
            "apart",
        )
    best = max(crossing, key=lambda e: e.agreeing / e.shared)
    return CalibrationError(
        f"the cameras {solos[best.a].name} and {solos[best.b].name} share {best.shared} views, but they agree on no "
        "position of one camera to the other: pictures of one name must be of one instant, with the board held still, "
        "and no camera may move",
        "disagree",
    )


def grow(solos: Sequence[Solo], tree: Sequence[Edge], views: int) -> State:
    """Return the state that the tree makes: world axes are those of camera 0; each view's board pose is taken from the
    camera that sees most of its points."""
    R, t = np.tile(np.eye(3), (len(solos), 1, 1)), np.zeros((len(solos), 3))
    for edge in tree:
        R[edge.b] = edge.R @ R[edge.a]
        t[edge.b] = edge.R @ t[edge.a] + edge.t
    view_rotation, view_shift = np.tile(np.eye(3), (views, 1, 1)), np.tile([0.0, 0.0, 1.0], (views, 1))
    most = np.zeros(views, int)
    for i, solo in enumerate(solos):
        for view, (R_b, t_b) in solo.poses.items():
            if len(solo.seen[view].pixels) > most[view]:
                most[view] = len(solo.seen[view].pixels)
                view_rotation[view], view_shift[view] = R[i].T @ R_b, R[i].T @ (t_b - t[i])
    return State(np.stack([s.intrinsics for s in solos]), R, t, view_rotation, view_shift)
