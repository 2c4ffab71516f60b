"""A person: baked identity, dressed, painted, and put into a pose at an instant.

Promises: `shape(t)` is a pure function of t; the last two instants are kept, so that several cameras of one instant
share the work. Skinning is linear blending on 15 bones; arms follow their wrists by two-bone inverse kinematics.
"""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from streamsvc.scene.base import SceneError
from streamsvc.scene.look import choose_look
from streamsvc.scene.motion import Pose, pose_at
from streamsvc.scene.paint import paint
from streamsvc.scene.rigs import HEAD, rotation
from streamsvc.scene.wardrobe import Mesh, dress, normals

DATA = Path(__file__).parent / "data" / "bodies.npz"
Floats = NDArray[np.float64]

KEY = np.array([0.55, -0.55, -0.75]) / np.linalg.norm([0.55, -0.55, -0.75])
"""Where the key light comes from, (3,) in world axes; `models/bake_bodies.py` baked its shadow."""

FILL = np.array([-0.8, -0.15, -0.6]) / np.linalg.norm([-0.8, -0.15, -0.6])
RIM = np.array([-0.35, -0.5, 0.8]) / np.linalg.norm([-0.35, -0.5, 0.8])


@functools.cache
def load_bodies() -> dict[str, NDArray[Any]]:
    """Return the arrays of `bodies.npz` (see `models/bake_bodies.py`); raises SceneError when the file is missing."""
    try:
        with np.load(DATA) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError) as e:
        raise SceneError(f"{DATA}: the baked bodies can't be read ({e}); models/bake_bodies.py makes them") from None


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """A body at an instant: `vertices` (n, 3) float64 world metres, `light` (n, 3) float32 factors on the texture."""

    vertices: Floats
    light: NDArray[np.float32]


@njit(nogil=True, cache=True, error_model="numpy")
def _skin(rest: Any, index: Any, weight: Any, bones: Any) -> Any:
    out = np.zeros_like(rest)
    for i in range(rest.shape[0]):
        x, y, z = rest[i, 0], rest[i, 1], rest[i, 2]
        for k in range(4):
            w = weight[i, k]
            if w > 0:
                m = bones[index[i, k]]
                for r in range(3):
                    out[i, r] += w * (m[r, 0] * x + m[r, 1] * y + m[r, 2] * z + m[r, 3])
    return out


@njit(nogil=True, cache=True, error_model="numpy")
def _act(rest: Any, start: Any, vertex: Any, offset: Any, amount: Any) -> None:
    for a in range(amount.shape[0]):
        if amount[a] > 1e-3:
            for i in range(start[a], start[a + 1]):
                for k in range(3):
                    rest[vertex[i], k] += amount[a] * offset[i, k]


@njit(nogil=True, cache=True, error_model="numpy")
def _light(normal: Any, ambient: Any, key_seen: Any, key: Any, fill: Any, rim: Any) -> Any:
    """Hemisphere + wrapped key + fill + rim, Lambertian, then a gamma of 2, which commutes with the texture's."""
    out = np.empty((normal.shape[0], 3), np.float32)
    for i in range(normal.shape[0]):
        nx, ny, nz = normal[i, 0], normal[i, 1], normal[i, 2]
        a = ambient[i]
        up = 0.5 - 0.5 * ny
        k = max(0.0, (nx * key[0] + ny * key[1] + nz * key[2] + 0.12) / 1.12) * key_seen[i]
        f = max(0.0, nx * fill[0] + ny * fill[1] + nz * fill[2]) * (0.3 + 0.7 * a)
        r = max(0.0, nx * rim[0] + ny * rim[1] + nz * rim[2]) * a
        dome = a * (0.14 + 0.18 * up)
        out[i, 0] = (dome * 0.98 + 0.92 * k + 0.20 * f + 0.26 * r) ** 0.5
        out[i, 1] = (dome * 1.00 + 0.86 * k + 0.23 * f + 0.25 * r) ** 0.5
        out[i, 2] = (dome * 1.06 + 0.78 * k + 0.27 * f + 0.25 * r) ** 0.5
    return out


class Body:
    """One identity dressed by a seed; `mesh` at rest, `atlas` its painted texture."""

    def __init__(self, identity: int, seed: int) -> None:
        data = load_bodies()
        count = len(data["names"])
        if not 0 <= identity < count:
            known = ", ".join(f"{i} ({n})" for i, n in enumerate(data["names"]))
            raise SceneError(f"there is no body {identity}; there are {known}")
        self.name = str(data["names"][identity])
        self.held_out = bool(data["held_out"][identity])
        self._seed = seed
        self._bones = {str(n): i for i, n in enumerate(data["bones"])}
        self._parents = [int(p) for p in data["parents"]]
        self._joints = data["joints"][identity].astype(np.float64)
        self._actions = [str(n) for n in data["action_names"]]
        self._action_start = data["action_start"]
        self._action_vertex = data["action_vertex"].astype(np.int64)
        self._action_offset = data["action_offset"] / 20000.0
        gender = float(data["gender"][identity])
        uv = data["uv"] / 65535.0
        uv[:, 1] = 1 - uv[:, 1]
        bare = Mesh(
            data["vertices"][identity] / 20000.0,
            data["faces"].astype(np.int32),
            uv,
            data["face_uv"].astype(np.int32),
            data["part"],
            data["bone_index"].astype(np.int64),
            data["bone_weight"] / data["bone_weight"].sum(1, keepdims=True, dtype=np.float64),
            data["ambient"][identity] / 255.0,
            data["key"][identity] / 255.0,
        )
        look = choose_look(
            gender,
            float(data["age"][identity]),
            float(data["african"][identity]),
            float(data["asian"][identity]),
            float(self._joints[self._bones["clavicle_l"], 1]),
            seed,
        )
        arms = np.stack(
            [self._joints[[self._bones[f"forearm_{side}"], self._bones[f"hand_{side}"]]] for side in ("l", "r")]
        )
        self.mesh = dress(bare, look.neckline, arms, gender, seed)
        painted = np.concatenate([bare.vertices, self.mesh.vertices[len(bare.vertices) :]])
        eye = self._joints[self._bones["eye_l"]]
        self.atlas = paint(painted, self.mesh.faces, self.mesh.uv, self.mesh.face_uv, self.mesh.part, eye, arms, look)
        self._kept: dict[float, Shape] = {}
        self._lock = threading.Lock()

    def shape(self, t: float) -> Shape:
        """Return the body `t` seconds after the scene began."""
        with self._lock:
            if t in self._kept:
                return self._kept[t]
        shape = self._shape(t)
        with self._lock:
            while len(self._kept) >= 2:
                self._kept.pop(next(iter(self._kept)))
            self._kept[t] = shape
        return shape

    def _shape(self, t: float) -> Shape:
        pose = pose_at(t, self._seed)
        rest = self.mesh.vertices.copy()
        amounts = np.array([pose.actions.get(name, 0.0) for name in self._actions])
        _act(rest, self._action_start, self._action_vertex, self._action_offset, amounts)
        bones = self._pose_bones(pose)
        vertices = _skin(rest, self.mesh.bone_index, self.mesh.bone_weight, bones)
        normal = normals(vertices, self.mesh.faces)
        return Shape(vertices, _light(normal, self.mesh.ambient, self.mesh.key, KEY, FILL, RIM))

    def _pose_bones(self, pose: Pose) -> Floats:
        """Forward kinematics, then the arms by their wrists; (bones, 3, 4), rest (head at origin) to world."""
        out = np.zeros((len(self._parents), 3, 4))
        for name, b in self._bones.items():
            parent = self._parents[b]
            R, t = (out[parent, :, :3], out[parent, :, 3]) if parent >= 0 else (np.eye(3), HEAD)
            turn = pose.turns.get(name, np.eye(3))
            joint = self._joints[b]
            out[b, :, :3] = R @ turn
            out[b, :, 3] = t + R @ (joint - turn @ joint)
        for side in ("l", "r"):
            self._reach(out, side, HEAD + pose.wrists[side], pose.palms[side])
        return out

    def _reach(self, out: Floats, side: str, target: Floats, palm: float) -> None:
        upper, fore, hand = (self._bones[f"{b}_{side}"] for b in ("upperarm", "forearm", "hand"))
        s0, e0, w0 = (self._joints[b] for b in (upper, fore, hand))
        clavicle = out[self._parents[upper]]
        shoulder = clavicle[:, :3] @ s0 + clavicle[:, 3]
        a, b = float(np.linalg.norm(e0 - s0)), float(np.linalg.norm(w0 - e0))
        reach = target - shoulder
        distance = float(np.clip(np.linalg.norm(reach), abs(a - b) + 0.02, (a + b) * 0.985))
        ahead = reach / np.linalg.norm(reach)
        along = (a * a - b * b + distance * distance) / (2 * distance)
        pole = np.array([0.55 if side == "l" else -0.55, 0.6, 0.55])
        pole -= (pole @ ahead) * ahead
        elbow = shoulder + ahead * along + pole / np.linalg.norm(pole) * np.sqrt(max(a * a - along * along, 0.0))
        wrist = shoulder + ahead * distance
        R = _turn_to(clavicle[:, :3] @ (e0 - s0), elbow - shoulder) @ clavicle[:, :3]
        out[upper] = np.column_stack([R, shoulder - R @ s0])
        R = _turn_to(R @ (w0 - e0), wrist - elbow) @ R
        R = rotation(wrist - elbow, palm * 0.5) @ R
        out[fore] = np.column_stack([R, elbow - R @ e0])
        R = rotation(wrist - elbow, palm * 0.5) @ R
        out[hand] = np.column_stack([R, wrist - R @ w0])


def _turn_to(a: Floats, b: Floats) -> Floats:
    """The smallest rotation that takes direction `a` to direction `b`."""
    axis = np.cross(a, b)
    if np.linalg.norm(axis) < 1e-9:
        return np.eye(3)
    return rotation(axis, float(np.arctan2(np.linalg.norm(axis), a @ b)))
