"""The rig: which cameras look at the person, and from where (`rig.json`, version 1).

OpenCV conventions throughout: metres, x_cam = R x_world + t, integer pixel centres, distortion (k1, k2, p1, p2, k3).
World axes: x right, y down, z away from the cameras.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamsvc.errors import StreamsvcError

Matrix = NDArray[np.float64]
MAX_SIDE = 8192
MAX_CAMERAS = 16
MAX_PAIRS = 24


class RigError(StreamsvcError):
    """A rig or a view that can't be used; the message says which camera and which field."""

    code = "bad-rig"


@dataclass(frozen=True, slots=True, eq=False)
class Camera:
    """A calibrated pinhole camera.

    `K` (3, 3) in pixels of a `width` x `height` picture; `dist` (5,); `R` (3, 3) and `t` (3,) map world metres to
    camera metres. All float64.
    """

    name: str
    width: int
    height: int
    K: Matrix
    dist: Matrix
    R: Matrix
    t: Matrix

    @property
    def centre(self) -> Matrix:
        """The optical centre in world metres, (3,)."""
        return np.asarray(-self.R.T @ self.t, dtype=np.float64)

    def resized(self, width: int, height: int) -> Camera:
        """Return the same camera for pictures of another size (integer pixel centres are kept exact)."""
        sx, sy = width / self.width, height / self.height
        scale = np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])
        return Camera(self.name, width, height, scale @ self.K, self.dist, self.R, self.t)

    def to_json(self) -> dict[str, Any]:
        """Return the camera object of `rig.json`."""
        return {
            "name": self.name,
            "width": self.width,
            "height": self.height,
            "K": self.K.tolist(),
            "dist": self.dist.tolist(),
            "R": self.R.tolist(),
            "t": self.t.tolist(),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Screen:
    """The rectangle the viewer looks through: `centre`, half-extents `right` and `up`, each (3,) world metres."""

    centre: Matrix
    right: Matrix
    up: Matrix

    def to_json(self) -> dict[str, Any]:
        """Return the screen object of `rig.json`."""
        return {"centre": self.centre.tolist(), "right": self.right.tolist(), "up": self.up.tolist()}


@dataclass(frozen=True, slots=True, eq=False)
class Rig:
    """Calibrated cameras, the pairs that are matched in stereo, and optionally the depth range and the screen.

    `depth_range` is (near, far) in metres along z of the cameras.
    """

    cameras: tuple[Camera, ...]
    pairs: tuple[tuple[str, str], ...]
    depth_range: tuple[float, float] | None = None
    screen: Screen | None = None

    def camera(self, name: str) -> Camera:
        """Return the camera called `name`; raises RigError when there is none."""
        for camera in self.cameras:
            if camera.name == name:
                return camera
        raise RigError(f"the rig has no camera {name!r}; it has {', '.join(c.name for c in self.cameras)}")

    def to_json(self) -> dict[str, Any]:
        """Return the document of `rig.json`."""
        doc: dict[str, Any] = {
            "version": 1,
            "cameras": [c.to_json() for c in self.cameras],
            "pairs": [list(p) for p in self.pairs],
        }
        if self.depth_range is not None:
            doc["depth_range"] = list(self.depth_range)
        if self.screen is not None:
            doc["screen"] = self.screen.to_json()
        return doc


def _array(doc: dict[str, Any], key: str, shape: tuple[int, ...], what: str) -> Matrix:
    try:
        value = np.asarray(doc[key], dtype=np.float64)
    except KeyError:
        raise RigError(f"{what}: {key!r} is missing") from None
    except (TypeError, ValueError):
        raise RigError(f"{what}: {key!r} must be numbers of shape {shape}") from None
    if value.shape != shape:
        raise RigError(f"{what}: {key!r} must be finite numbers of shape {shape}, got shape {value.shape}")
    if not np.isfinite(value).all():
        raise RigError(f"{what}: {key!r} holds a number that is not finite")
    return value


def parse_camera(doc: object, what: str = "view", *, named: bool = False) -> Camera:
    """Return the camera in `doc` (a view when not `named`: no name, zero `dist` allowed to be absent).

    Raises RigError with the field that is wrong: sizes out of 1..8192, a singular K, an R that is no rotation.
    """
    if not isinstance(doc, dict):
        raise RigError(f"{what}: must be an object, got {type(doc).__name__}")
    name = doc.get("name", "")
    if not isinstance(name, str) or (named and not 0 < len(name) <= 64):
        raise RigError(f"{what}: 'name' must be 1 to 64 characters")
    what = f"{what} {name!r}" if name else what
    width, height = doc.get("width"), doc.get("height")
    for key, side in (("width", width), ("height", height)):
        if not isinstance(side, int) or isinstance(side, bool) or not 1 <= side <= MAX_SIDE:
            raise RigError(f"{what}: {key!r} must be a whole number from 1 to {MAX_SIDE}")
    assert isinstance(width, int) and isinstance(height, int)
    K = _array(doc, "K", (3, 3), what)
    fixed = np.abs(K[2] - (0, 0, 1)).max() > 1e-9 or abs(K[1, 0]) > 1e-9
    if K[0, 0] <= 0 or K[1, 1] <= 0 or abs(np.linalg.det(K)) < 1e-9 or fixed:
        raise RigError(f"{what}: 'K' is singular or no camera matrix [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]")
    R = _array(doc, "R", (3, 3), what)
    if np.abs(R @ R.T - np.eye(3)).max() > 1e-3 or np.linalg.det(R) < 0:
        raise RigError(f"{what}: 'R' is singular or no rotation (R R^T must be the identity, its determinant 1)")
    dist = _array(doc, "dist", (5,), what) if named or "dist" in doc else np.zeros(5)
    return Camera(name, width, height, K, dist, R, _array(doc, "t", (3,), what))


def _parse_screen(doc: object) -> Screen:
    if not isinstance(doc, dict):
        raise RigError("screen: must be an object with 'centre', 'right' and 'up'")
    screen = Screen(*(_array(doc, key, (3,), "screen") for key in ("centre", "right", "up")))
    if np.linalg.norm(np.cross(screen.right, screen.up)) < 1e-6:
        raise RigError("screen: 'right' and 'up' must span a rectangle")
    return screen


def parse_rig(doc: object) -> Rig:
    """Return the rig described by a decoded `rig.json`; raises RigError that names the camera and field at fault."""
    if not isinstance(doc, dict):
        raise RigError("rig: must be an object with 'version', 'cameras' and 'pairs'")
    if doc.get("version") != 1:
        raise RigError(f"rig: version {doc.get('version')!r} is not known; this program reads version 1")
    cameras = doc.get("cameras")
    if not isinstance(cameras, list) or not 1 <= len(cameras) <= MAX_CAMERAS:
        raise RigError(f"rig: 'cameras' must be a list of 1 to {MAX_CAMERAS} cameras")
    parsed = tuple(parse_camera(c, "camera", named=True) for c in cameras)
    names = [c.name for c in parsed]
    if len(set(names)) != len(names):
        raise RigError("rig: two cameras have one name")
    pairs = doc.get("pairs", [])
    if not isinstance(pairs, list) or len(pairs) > MAX_PAIRS:
        raise RigError(f"rig: 'pairs' must be a list of at most {MAX_PAIRS} pairs of camera names")
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2 or pair[0] == pair[1] or not set(pair) <= set(names):
            raise RigError(f"rig: the pair {pair!r} must name two different cameras of the rig")
    if len({frozenset(pair) for pair in pairs}) != len(pairs):
        raise RigError("rig: a pair is named twice")
    depth = doc.get("depth_range")
    if depth is not None:
        near, far = _array(doc, "depth_range", (2,), "rig")
        if not 0 < near < far:
            raise RigError("rig: 'depth_range' must be [near, far] with 0 < near < far, in metres")
        depth = (float(near), float(far))
    screen = None if doc.get("screen") is None else _parse_screen(doc["screen"])
    return Rig(parsed, tuple((a, b) for a, b in pairs), depth, screen)


def _load(path: Path) -> object:
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as e:
        raise RigError(f"{path}: {e.strerror or e}") from None
    except (ValueError, RecursionError) as e:
        raise RigError(f"{path}: is not JSON ({e})") from None


def load_rig(path: Path) -> Rig:
    """Read `rig.json`; raises RigError when it can't be read or used."""
    return parse_rig(_load(path))


def load_views(path: Path) -> list[Camera]:
    """Read `view.json`, one camera object or a list of them (one a frame); raises RigError."""
    doc = _load(path)
    docs = doc if isinstance(doc, list) else [doc]
    if not docs:
        raise RigError(f"{path}: holds no view")
    return [parse_camera(d, f"view {i}") for i, d in enumerate(docs)]
