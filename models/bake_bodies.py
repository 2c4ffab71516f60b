"""Bake a few upper bodies from `anny` into one small array that the scene room renders (`streamsvc/scene/data`).

Run once by hand (about two minutes, needs the `models` extra): python models/bake_bodies.py

What goes in: the package anny (Apache-2.0 code, CC0 MakeHuman data; its smplx option is never touched). What comes
out, `bodies.npz`: rest vertices per identity, one topology with UVs, skinning weights on 15 bones, facial actions, and
baked light visibility. Everything is in world axes (x right as the cameras see it, y down, z away from the cameras: the
person faces -z), metres, origin at the middle of the head.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamsvc.scene.raster import project, rasterise

OUT = Path(__file__).resolve().parent.parent / "streamsvc" / "scene" / "data" / "bodies.npz"

PHENOTYPE = ("gender", "age", "muscle", "weight", "height", "asian", "african", "caucasian")
# name, held out, anny phenotype in that order: gender 0 is male, age .67 young and 1 old
IDENTITIES: list[tuple[str, bool, dict[str, float]]] = [
    (name, held_out, dict(zip(PHENOTYPE, numbers, strict=True)))
    for name, held_out, numbers in (
        ("ana", False, (0.97, 0.68, 0.45, 0.42, 0.50, 0.20, 0.10, 0.70)),
        ("ben", False, (0.04, 0.74, 0.60, 0.52, 0.55, 0.10, 0.10, 0.80)),
        ("chidi", False, (0.05, 0.66, 0.75, 0.45, 0.60, 0.00, 0.95, 0.05)),
        ("dora", False, (0.95, 0.90, 0.40, 0.72, 0.40, 0.10, 0.20, 0.70)),
        ("emi", True, (0.96, 0.70, 0.50, 0.50, 0.45, 0.90, 0.00, 0.10)),
        ("farid", True, (0.03, 0.88, 0.50, 0.66, 0.50, 0.45, 0.25, 0.30)),
    )
]

BONES: list[tuple[str, str | None, str, tuple[str, ...]]] = [  # name, parent, joint, anny bones
    ("hips", None, "root", ("root", "pelvis.", "spine05")),
    ("spine", "hips", "spine04", ("spine04", "spine03")),
    ("chest", "spine", "spine02", ("spine02", "spine01")),
    ("neck", "chest", "neck01", ("neck01", "neck02", "neck03")),
    ("head", "neck", "head", ("head",)),
    ("eye_l", "head", "eye.L", ("eye.L",)),
    ("eye_r", "head", "eye.R", ("eye.R",)),
    *[
        bone
        for s, S in (("l", "L"), ("r", "R"))
        for bone in (
            (f"clavicle_{s}", "chest", f"clavicle.{S}", (f"clavicle.{S}", f"shoulder01.{S}")),
            (f"upperarm_{s}", f"clavicle_{s}", f"upperarm01.{S}", (f"upperarm01.{S}", f"upperarm02.{S}")),
            (f"forearm_{s}", f"upperarm_{s}", f"lowerarm01.{S}", (f"lowerarm01.{S}", f"lowerarm02.{S}")),
            (f"hand_{s}", f"forearm_{s}", f"wrist.{S}", tuple(f"{k}{S}" for k in ("wrist.",))),
        )
    ],
]

ACTIONS: dict[str, tuple[str, ...]] = {  # ours -> anny's, added up
    "jaw_open": ("jawOpen",),
    "smile": ("mouthSmileLeft", "mouthSmileRight"),
    "frown": ("mouthFrownLeft", "mouthFrownRight"),
    "pucker": ("mouthPucker",),
    "funnel": ("mouthFunnel",),
    "stretch": ("mouthStretchLeft", "mouthStretchRight"),
    "press": ("mouthPressLeft", "mouthPressRight"),
    "lower_lip_down": ("mouthLowerDownLeft", "mouthLowerDownRight"),
    "upper_lip_up": ("mouthUpperUpLeft", "mouthUpperUpRight"),
    "blink_l": ("eyeBlinkLeft",),
    "blink_r": ("eyeBlinkRight",),
    "squint": ("eyeSquintLeft", "eyeSquintRight", "cheekSquintLeft", "cheekSquintRight"),
    "brow_up": ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    "brow_down": ("browDownLeft", "browDownRight"),
}

PARTS = ("head", "body", "hand", "eye", "mouth", "tongue", "socket")
CURL = (0.35, 0.45, 0.3)  # radians at the three joints of a relaxed finger
HEAD_EDGE, BODY_EDGE = 0.011, 0.021  # metres: longer edges are split, so that silhouettes are round
Array = NDArray[np.float64]


def to_world(points: Array) -> Array:
    """anny's axes (x the person's left, y back, z up) in world axes."""
    return np.stack([points[..., 0], -points[..., 2], points[..., 1]], -1)


def part_of(uv: Array) -> NDArray[np.int8]:
    """The part each face belongs to, by where its middle lies in the MakeHuman atlas ((m, 2), v up)."""
    x, y = uv[:, 0] * 1024, (1 - uv[:, 1]) * 1024
    part = np.full(len(uv), PARTS.index("body"), np.int8)
    part[(x > 648) & (y > 165) & (y < 877) & ~((x < 780) & (y < 260))] = PARTS.index("head")
    part[(y > 815) & (x > 368) & (x < 790)] = PARTS.index("hand")
    part[(x > 770) & (x < 840) & (y < 80)] = PARTS.index("eye")
    part[(x > 770) & (x < 950) & (y > 880)] = PARTS.index("mouth")
    part[(x > 625) & (x < 675) & (y < 82)] = PARTS.index("tongue")
    part[(x < 162) & (y > 368) & (y < 470)] = PARTS.index("socket")
    return part


def rotation(axis: Array, angle: float) -> Array:
    """Rodrigues' formula, (3, 3)."""
    x, y, z = axis / np.linalg.norm(axis)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * (k @ k))


def relax_hands(vertices: Array, heads: Array, weights: Array, labels: list[str], parents: list[int]) -> Array:
    """Bend the fingers of a body at rest, (n, 3); `weights` (n, bones)."""
    pose = np.tile(np.eye(4), (len(labels), 1, 1))
    for side, sign in (("L", 1.0), ("R", -1.0)):
        across = heads[labels.index(f"finger5-1.{side}")] - heads[labels.index(f"finger2-1.{side}")]
        for finger in range(1, 6):
            for joint, angle in enumerate(CURL, 1):
                b = labels.index(f"finger{finger}-{joint}.{side}")
                bend = angle * (0.35 if finger == 1 else 0.7 + 0.12 * finger) * sign
                turn = np.eye(4)
                turn[:3, :3] = rotation(across, bend)
                turn[:3, 3] = heads[b] - turn[:3, :3] @ heads[b]
                pose[b] = turn
    world = pose.copy()
    for b, parent in enumerate(parents):
        if b > 0 and 0 <= parent < b:
            world[b] = world[parent] @ pose[b]
    moved = np.einsum("nb,bij,nj->ni", weights, world[:, :3, :3], vertices) + weights @ world[:, :3, 3]
    return np.asarray(moved)


def normals_of(vertices: Array, faces: NDArray[np.int64]) -> Array:
    """Area-weighted unit normals, (n, 3), outward for faces that are clockwise on the screen."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    face = -np.cross(b - a, c - a)
    out = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(out, faces[:, k], face)
    return np.asarray(out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12))


class Mesh:
    """One topology with per-identity vertices; `refine` splits long edges (red-green, so without T-junctions)."""

    def __init__(self, shapes: Array, faces: Any, uv: Array, face_uv: Any, part: Any, weights: Array, actions: Array):
        self.shapes, self.faces, self.uv, self.face_uv = shapes, faces, uv, face_uv
        self.part, self.weights, self.actions = part, weights, actions

    def keep_faces(self, keep: NDArray[np.bool_]) -> None:
        """Drop other faces and the vertices and texture coordinates that only they used."""
        self.faces, self.face_uv, self.part = self.faces[keep], self.face_uv[keep], self.part[keep]
        used, self.faces = np.unique(self.faces, return_inverse=True)
        self.faces = self.faces.reshape(-1, 3)
        self.shapes, self.weights = self.shapes[:, used], self.weights[used]
        self.actions = self.actions[:, used]
        used, self.face_uv = np.unique(self.face_uv, return_inverse=True)
        self.face_uv = self.face_uv.reshape(-1, 3)
        self.uv = self.uv[used]

    def refine(self, limit: Array) -> None:
        """Split every edge longer than `limit` (n,) metres at its ends, on the curved PN triangle (Vlachos 2001)."""
        mean = self.shapes.mean(0)
        edges = np.sort(self.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), 1)
        edges = np.unique(edges, axis=0)
        length = np.linalg.norm(mean[edges[:, 0]] - mean[edges[:, 1]], axis=1)
        edges = edges[length > limit[edges].min(1)]
        middle = {(int(a), int(b)): len(mean) + i for i, (a, b) in enumerate(edges)}
        a, b = edges.T
        shapes = []
        for shape in self.shapes:
            n, along = normals_of(shape, self.faces), shape[b] - shape[a]
            lift = (along * n[a]).sum(1, keepdims=True) * n[a] - (along * n[b]).sum(1, keepdims=True) * n[b]
            shapes.append(np.concatenate([shape, (shape[a] + shape[b]) / 2 - lift / 8]))
        self.shapes = np.stack(shapes)
        self.weights = np.concatenate([self.weights, (self.weights[a] + self.weights[b]) / 2])
        self.actions = np.concatenate([self.actions, (self.actions[:, a] + self.actions[:, b]) / 2], 1)
        uv, uv_middle = list(self.uv), {}
        faces, face_uv, part = [], [], []
        for face, texture, p in zip(self.faces.tolist(), self.face_uv.tolist(), self.part.tolist(), strict=True):
            mids, tmids = [], []
            for k in range(3):
                i, j = face[k], face[(k + 1) % 3]
                mids.append(middle.get((min(i, j), max(i, j)), -1))
                ti, tj = texture[k], texture[(k + 1) % 3]
                key = (min(ti, tj), max(ti, tj))
                if mids[-1] >= 0 and key not in uv_middle:
                    uv_middle[key] = len(uv)
                    uv.append((self.uv[ti] + self.uv[tj]) / 2)
                tmids.append(uv_middle.get(key, -1))
            for pick in split([m >= 0 for m in mids]):
                faces.append([(face + mids)[q] for q in pick])
                face_uv.append([(texture + tmids)[q] for q in pick])
                part.append(p)
        self.faces, self.face_uv = np.array(faces), np.array(face_uv)
        self.part, self.uv = np.array(part, np.int8), np.array(uv)


def split(cut: list[bool]) -> list[tuple[int, int, int]]:
    """Triangles of a face whose edges k are cut or not; corners 0..2, middle of edge k is 3 + k."""
    count = sum(cut)
    if count == 0:
        return [(0, 1, 2)]
    if count == 3:
        return [(0, 3, 5), (3, 1, 4), (5, 4, 2), (3, 4, 5)]
    if count == 1:
        k = cut.index(True)
        return [(k, 3 + k, (k + 2) % 3), (3 + k, (k + 1) % 3, (k + 2) % 3)]
    k = (cut.index(False) + 1) % 3  # edges k and k + 1 are cut, they share corner k + 1
    a, b, c = k, (k + 1) % 3, (k + 2) % 3
    return [(3 + a, b, 3 + b), (a, 3 + a, 3 + b), (a, 3 + b, c)]


def directions(count: int) -> Array:
    """Evenly spread unit vectors (Fibonacci sphere), (count, 3)."""
    k = np.arange(count) + 0.5
    polar, turn = np.arccos(1 - 2 * k / count), np.pi * (1 + 5**0.5) * k
    return np.stack([np.cos(turn) * np.sin(polar), np.cos(polar), np.sin(turn) * np.sin(polar)], 1)


def visible_from(vertices: Array, normals: Array, faces: Any, towards: Array, size: int = 512) -> NDArray[np.bool_]:
    """Whether light from the far direction `towards` reaches each vertex, by a shadow map of our own z-buffer."""
    z = -towards
    x = np.cross([0.3, 0.9, 0.1], z)
    x /= np.linalg.norm(x)
    R = np.stack([x, np.cross(z, x), z])
    distance, span = 20.0, 1.6
    f = size * distance / span
    K = np.array([[f, 0, size / 2], [0, f, size / 2], [0, 0, 1]])
    t = -R @ (vertices.mean(0) + towards * distance)
    screen = project(vertices, K, R, t)
    depth, _ = rasterise(screen, faces.astype(np.int32), size, size)
    lifted = project(vertices + normals * 0.004, K, R, t)
    px, py = (np.clip(np.rint(lifted[:, k]).astype(int), 0, size - 1) for k in (0, 1))
    return np.asarray(1 / lifted[:, 2] <= 1 / np.maximum(depth[py, px], 1e-6) + 0.003)


def light_visibility(vertices: Array, faces: Any, key: Array) -> tuple[Array, Array]:
    """(ambient visibility, visibility of a soft key light), both (n,) 0..1; the first cosine-weighted."""
    normals = normals_of(vertices, faces)
    total, seen = np.full(len(vertices), 1e-6), np.zeros(len(vertices))
    for d in directions(160):
        weight = np.maximum(normals @ d, 0)
        total += weight
        seen += weight * visible_from(vertices, normals, faces, d)
    soft = np.zeros(len(vertices))
    rng = np.random.default_rng(3)
    for _ in range(24):
        d = key + rng.normal(size=3) * 0.16
        soft += visible_from(vertices, normals, faces, d / np.linalg.norm(d))
    return seen / total, soft / 24


def bake(out: Path) -> None:
    """Write `out`; prints what it holds."""
    import anny
    import torch

    torch.set_num_threads(1)
    model = anny.Anny(facial_actions="all", phenotypes="all", topology="anny")
    labels, parents = list(model.bone_labels), list(model.bone_parents)
    count = len(model.template_vertices)
    full = np.zeros((count, len(labels)))
    np.add.at(full, (np.arange(count)[:, None], model.vertex_bone_indices.numpy()), model.vertex_bone_weights.numpy())

    shapes, joints = [], []
    for _, _, phenotype in IDENTITIES:
        rest = model(phenotype_kwargs=phenotype)
        vertices, heads = rest["rest_vertices"][0].numpy(), rest["rest_bone_heads"][0].numpy()
        shapes.append(to_world(relax_hands(vertices, heads, full, labels, parents)))
        heads = to_world(heads)
        eyes = (heads[labels.index("eye.L")] + heads[labels.index("eye.R")]) / 2
        origin = eyes + np.array([0.0, 0.0, 0.075])
        shapes[-1] -= origin
        joints.append(np.stack([heads[labels.index(b[2])] - origin for b in BONES]))

    ours = np.zeros((count, len(BONES)))
    for i, (_, _, _, members) in enumerate(BONES):
        for j, label in enumerate(labels):
            if any(label == m or (m.endswith(".") and label.startswith(m)) for m in members):
                ours[:, i] += full[:, j]
    for side in "LR":
        hand = [b[0] for b in BONES].index(f"hand_{side.lower()}")
        for j, label in enumerate(labels):
            if label.endswith(side) and label.startswith(("finger", "metacarpal")):
                ours[:, hand] += full[:, j]
    legs = 1 - ours.sum(1)

    neutral = model(phenotype_kwargs=IDENTITIES[0][2])["rest_vertices"][0].numpy()
    actions = []
    for members in ACTIONS.values():
        moved = model(phenotype_kwargs=IDENTITIES[0][2], facial_actions=dict.fromkeys(members, 1.0))
        actions.append(to_world(moved["rest_vertices"][0].numpy() - neutral))

    faces, uv = model.faces.numpy(), model.texture_coordinates.numpy()
    face_uv = model.face_texture_coordinate_indices.numpy()
    part = part_of(uv[face_uv].mean(1))
    mesh = Mesh(np.stack(shapes), faces[:, ::-1], uv, face_uv[:, ::-1], part[:], ours, np.stack(actions))
    mesh.keep_faces((legs[mesh.faces] < 0.3).all(1))
    mesh.weights /= mesh.weights.sum(1, keepdims=True)
    names = [b[0] for b in BONES]
    for _ in range(2):
        head = mesh.weights[:, names.index("head")] + mesh.weights[:, names.index("neck")] > 0.6
        hand = mesh.weights[:, [names.index("hand_l"), names.index("hand_r")]].sum(1) > 0.6
        mesh.refine(np.where(head, HEAD_EDGE, np.where(hand, 1.0, BODY_EDGE)))

    eye = mesh.part == PARTS.index("eye")
    used = np.unique(mesh.face_uv[eye])
    groups = np.array([[784, 50], [826, 50], [797, 64], [813, 64]]) / 1024
    middles = np.stack([groups[:, 0], 1 - groups[:, 1]], 1)
    nearest = np.argmin(np.linalg.norm(mesh.uv[used][:, None] - middles, axis=2), 1)
    for k in range(4):  # the legs' room in the atlas goes to the eyes, five times as fine
        island = used[nearest == k]
        centre = (mesh.uv[island].max(0) + mesh.uv[island].min(0)) / 2
        mesh.uv[island] = (mesh.uv[island] - centre) * 5 + [0.2 + 0.1 * k, 0.25]

    key = np.array([0.55, -0.55, -0.75])
    visibility = [light_visibility(s, mesh.faces, key / np.linalg.norm(key)) for s in mesh.shapes]

    top = np.argsort(-mesh.weights, 1)[:, :4]
    top_weights = np.take_along_axis(mesh.weights, top, 1)
    top_weights /= top_weights.sum(1, keepdims=True)
    moving = [np.flatnonzero(np.linalg.norm(a, axis=1) > 5e-5) for a in mesh.actions]
    np.savez_compressed(
        out,
        names=np.array([i[0] for i in IDENTITIES]),
        held_out=np.array([i[1] for i in IDENTITIES]),
        gender=np.array([i[2]["gender"] for i in IDENTITIES], np.float32),
        age=np.array([i[2]["age"] for i in IDENTITIES], np.float32),
        african=np.array([i[2]["african"] for i in IDENTITIES], np.float32),
        asian=np.array([i[2]["asian"] for i in IDENTITIES], np.float32),
        vertices=np.rint(mesh.shapes * 20000).astype(np.int16),  # 0.05 mm
        joints=np.stack(joints).astype(np.float32),
        bones=np.array(names),
        parents=np.array([-1 if b[1] is None else names.index(b[1]) for b in BONES], np.int8),
        faces=mesh.faces.astype(np.uint16),
        face_uv=mesh.face_uv.astype(np.uint16),
        uv=np.rint(mesh.uv * 65535).astype(np.uint16),
        part=mesh.part.astype(np.uint8),
        part_names=np.array(PARTS),
        bone_index=top.astype(np.uint8),
        bone_weight=np.rint(top_weights * 255).astype(np.uint8),
        action_names=np.array(list(ACTIONS)),
        action_start=np.cumsum([0] + [len(m) for m in moving]).astype(np.int32),
        action_vertex=np.concatenate(moving).astype(np.uint16),
        action_offset=np.rint(np.concatenate([a[m] for a, m in zip(mesh.actions, moving, strict=True)]) * 20000).astype(
            np.int16
        ),
        ambient=np.rint(np.stack([v[0] for v in visibility]) * 255).astype(np.uint8),
        key=np.rint(np.stack([v[1] for v in visibility]) * 255).astype(np.uint8),
    )
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB, {mesh.shapes.shape[1]} vertices, {len(mesh.faces)} faces")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Bake upper bodies from anny into streamsvc/scene/data/bodies.npz")
    parser.add_argument("--out", type=Path, default=OUT)
    bake(parser.parse_args().out)
