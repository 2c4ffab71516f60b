"""The person's atlas: skin, brows, lips, hair, eyes and cloth, painted once into UV space from positions at rest.

Everything is a function of the point on the body (metres, origin in the middle of the head, y down, the face towards
-z) or of its place in the MakeHuman atlas, so every camera sees the same texture and seams don't show.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from streamsvc.scene.look import Look
from streamsvc.scene.noise import fractal3, noise3, smoothstep
from streamsvc.scene.shade import Pyramid, build_pyramid

ATLAS = 2048
HEAD, BODY, HAND, EYE, MOUTH, TONGUE, SOCKET, STRANDS, TEETH = range(9)
"""Part numbers of `bodies.npz` in order, and what `wardrobe` adds: the sheet of long hair, the upper teeth."""

CUFF = 0.018

HAIRLINE = np.array(  # degrees of azimuth from the front, metres below the middle of the head
    [
        [0, -0.064],
        [28, -0.066],
        [48, -0.05],
        [62, -0.022],
        [76, 0.012],
        [88, 0.02],
        [104, 0.03],
        [125, 0.06],
        [180, 0.085],
    ]
)


@njit(nogil=True, cache=True)
def hair_depth(x: float, y: float, z: float, u: float, v: float, line: Any) -> float:
    """Return how far (metres) a point of the head lies inside the hairline; negative on the face and the ears."""
    azimuth = abs(np.degrees(np.arctan2(x, -(z - 0.012))))
    limit = line[-1, 1]
    for i in range(line.shape[0] - 1):
        if azimuth <= line[i + 1, 0]:
            s = (azimuth - line[i, 0]) / (line[i + 1, 0] - line[i, 0])
            limit = line[i, 1] + s * (line[i + 1, 1] - line[i, 1])
            break
    depth = limit - y
    eu, ev = u * 1024 - 868, abs(v * 1024 - 528.5) - 143.5
    ear = np.sqrt(eu * eu + ev * ev) - 30.0  # atlas pixels from the ear's rim
    return float(min(depth, ear * 0.0016))


@njit(nogil=True, cache=True)
def cloth_depth(x: float, y: float, z: float, neckline: float, arms: Any) -> float:
    """Return how far (metres) a point of trunk or arm lies inside the clothes; negative on bare skin.

    The neckline rises towards the back; sleeves end `CUFF` before the wrist. `arms` (2, 2, 3) are elbow and wrist,
    left and right.
    """
    depth = y - (neckline - 0.55 * z)
    arm = arms[0] if x > 0 else arms[1]
    ax, ay, az = arm[1, 0] - arm[0, 0], arm[1, 1] - arm[0, 1], arm[1, 2] - arm[0, 2]
    length = np.sqrt(ax * ax + ay * ay + az * az)
    along = ((x - arm[0, 0]) * ax + (y - arm[0, 1]) * ay + (z - arm[0, 2]) * az) / length
    if abs(x) > 0.5 * abs(arm[0, 0] + arm[1, 0]) - 0.12:
        depth = min(depth, length - CUFF - along)
    return float(depth)


@njit(nogil=True, cache=True)
def _mix(colour: Any, other: Any, amount: float) -> None:
    for k in range(3):
        colour[k] += (other[k] - colour[k]) * amount


@njit(nogil=True, cache=True)
def _strand(x: float, y: float, z: float, seed: int) -> float:
    """Streaks that run down from the crown: fine across, long along."""
    r = np.sqrt(x * x + (z - 0.02) * (z - 0.02)) + 0.012
    around = np.arctan2(x, z - 0.02)
    bend = 0.12 * noise3(9 * x, 9 * y, 9 * z, seed + 3)
    coarse = noise3(np.cos(around + bend) * 16, np.sin(around + bend) * 16, 12 * y + 4 * r, seed)
    fine = noise3(np.cos(around + bend) * 52, np.sin(around + bend) * 52, 25 * y, seed + 1)
    return 0.55 * coarse + 0.45 * fine


@njit(nogil=True, cache=True)
def _paint_skin(x: float, y: float, z: float, skin: Any, freckles: float, seed: int, out: Any) -> None:
    tone = (
        1 + 0.045 * fractal3(28 * x, 28 * y, 28 * z, 2, seed) + 0.05 * fractal3(210 * x, 210 * y, 210 * z, 3, seed + 5)
    )
    blood = 0.5 + 0.5 * noise3(35 * x, 35 * y, 35 * z, seed + 9)
    out[0] = skin[0] * tone
    out[1] = skin[1] * (tone - 0.035 * blood)
    out[2] = skin[2] * (tone - 0.03 * blood)
    spot = noise3(330 * x, 330 * y, 330 * z, seed + 12)
    if spot > 0.5:
        dark = 1 - freckles * min(1.0, (spot - 0.5) * 2.5) * 0.16
        out[0] *= dark
        out[1] *= dark * dark
        out[2] *= dark * dark


@njit(nogil=True, cache=True)
def _paint_head(
    x: float,
    y: float,
    z: float,
    u: float,
    v: float,
    skin: Any,
    hair: Any,
    line: Any,
    measures: Any,
    seed: int,
    out: Any,
) -> None:
    beard, freckles, lips = measures[1], measures[2], measures[3]
    _paint_skin(x, y, z, skin, freckles * (1.0 if z < -0.04 else 0.3), seed, out)
    pu, pv = u * 1024, abs(v * 1024 - 528.5)  # atlas: chin to the right, pv from the middle of the face
    other = np.empty(3)
    flush = 0.0  # cheeks, nose, ears
    flush += 0.5 * np.exp(-((pu - 900) ** 2 / 300 + (pv - 42) ** 2 / 330))
    flush += 0.45 * np.exp(-((pu - 900) ** 2 / 90 + pv * pv / 110))
    flush += 0.5 * np.exp(-((pu - 866) ** 2 + (pv - 143.5) ** 2) / 420)
    other[0], other[1], other[2] = skin[0] * 0.97, skin[1] * 0.76, skin[2] * 0.74
    _mix(out, other, min(1.0, flush))
    shade = 0.22 * np.exp(-((pu - 862) ** 2 / 70 + (pv - 38) ** 2 / 260))  # around the eyes
    for k in range(3):
        out[k] *= 1 - shade
    grain = _strand(x, y, z, seed + 40)
    # lips: the atlas' mouth slit lies at (930, middle), half as long as 25 pixels
    w = pv / 25.5
    if w < 1.15:
        bow = 1.0 - 0.25 * np.exp(-(pv**2) / 10.0)
        upper = 12.5 * bow * np.sqrt(max(0.0, 1 - w * w))
        lower = 14.5 * np.sqrt(max(0.0, 1 - w * w))
        edge = (930.5 - pu) / max(upper, 0.5) if pu < 930.5 else (pu - 930.5) / max(lower, 0.5)
        inside = 1 - smoothstep(0.78, 1.08, max(edge, w * 0.98))
        crease = 1 + 0.06 * noise3(900 * x, 120 * y, 120 * z, seed + 14)
        other[0], other[1], other[2] = skin[0] * 0.84 * crease, skin[1] * 0.56 * crease, skin[2] * 0.56 * crease
        _mix(out, other, inside * lips)
        if abs(pu - 930.5) < 3.0 and w < 1.0:
            for k in range(3):
                out[k] *= 0.62
    # brows: an arc above each eye
    across = (pv - 36.0) / 25.0
    if abs(across) < 1.0:
        arc = 839.5 - 4.5 * (1 - (across + 0.1) * (across + 0.1))
        thick = (4.2 - 1.7 * lips) * (1 - 0.55 * max(0.0, across)) * smoothstep(1.0, 0.8, abs(across))
        inside = 1 - smoothstep(thick * 0.45, thick + 0.7, abs(pu - arc))
        inside *= 0.72 + 0.28 * noise3(700 * x, 260 * y, 260 * z, seed + 21)
        other[0], other[1], other[2] = hair[0] * 0.75, hair[1] * 0.75, hair[2] * 0.75
        _mix(out, other, max(0.0, inside) * 0.85)
    # beard and moustache, between the nose and the throat
    if beard > 0:
        jaw = smoothstep(0.028, 0.055, y + 0.1 * max(0.0, z + 0.02))
        jaw *= smoothstep(0.175, 0.13, y) * (1 - smoothstep(0.0, 0.05, z))
        cheek = smoothstep(70.0, 35.0, pv) * smoothstep(935.0, 905.0, pu)
        jaw *= 1 - cheek
        w2 = (pu - 930) ** 2 / 260 + pv * pv / 700
        jaw *= smoothstep(0.7, 1.1, w2)
        amount = min(1.0, jaw * beard * (0.75 + 0.5 * noise3(800 * x, 800 * y, 800 * z, seed + 30)))
        other[0], other[1], other[2] = hair[0] * 0.8, hair[1] * 0.8, hair[2] * 0.8
        _mix(out, other, max(0.0, amount) * 0.85)
    depth = hair_depth(x, y, z, u, v, line) + 0.007 * grain
    if depth > -0.006:
        bright = 0.72 + 0.5 * grain + 0.2 * smoothstep(-0.02, -0.12, y)
        for k in range(3):
            other[k] = min(255.0, hair[k] * bright)
        _mix(out, other, smoothstep(-0.004, 0.006, depth))


@njit(nogil=True, cache=True)
def _paint_cloth(
    x: float,
    y: float,
    z: float,
    u: float,
    v: float,
    depth: float,
    cloth: Any,
    cloth2: Any,
    weave: int,
    seed: int,
    out: Any,
) -> None:
    pu, pv = u * 1024, v * 1024
    for k in range(3):
        out[k] = cloth[k]
    if weave == 0:
        phase = (pv / 15.0) % 1.0
        _mix(out, cloth2, smoothstep(0.52, 0.58, phase) * smoothstep(1.0, 0.94, phase))
    elif weave == 1:
        a, b = (pu / 22.0) % 1.0, (pv / 22.0) % 1.0
        wide = smoothstep(0.5, 0.54, a) * 0.5 + smoothstep(0.5, 0.54, b) * 0.5
        thin = max(1 - abs(a - 0.25) * 22, 1 - abs(b - 0.25) * 22, 0.0)
        _mix(out, cloth2, min(1.0, wide * 0.8))
        for k in range(3):
            out[k] += 50 * min(1.0, thin)
    else:
        blotch = fractal3(45 * x, 45 * y, 45 * z, 2, seed + 2)
        _mix(out, cloth2, smoothstep(0.05, 0.4, blotch) * 0.45)
        rib = abs(((pu / 3.2) % 1.0) - 0.5) * 2
        stitch = abs(((pv / 4.2 + 0.5 * np.floor(pu / 3.2)) % 1.0) - 0.5) * 2
        for k in range(3):
            out[k] *= 0.8 + 0.16 * rib + 0.12 * stitch
    weft = fractal3(330 * x, 330 * y, 330 * z, 3, seed + 4)
    fold = 1 - abs(noise3(14 * x, 9 * y, 14 * z, seed + 6))
    tone = 1 + 0.2 * weft + 0.1 * fractal3(60 * x, 60 * y, 60 * z, 2, seed + 7) - 0.16 * smoothstep(0.8, 1.0, fold)
    around = np.sqrt(x * x + (z - 0.03) * (z - 0.03))
    if depth < 0.02 and around < 0.105:  # collar
        tone *= 0.92 + 0.16 * abs(((depth / 0.004) % 1.0) - 0.5)
        if depth > 0.016:
            tone *= 0.8
    for k in range(3):
        out[k] *= tone


@njit(nogil=True, cache=True)
def _paint_eye(x: float, y: float, z: float, eye: Any, iris: Any, seed: int, out: Any) -> None:
    dx, dy, dz = x - (eye[0] if x > 0 else -eye[0]), y - eye[1], z - eye[2]
    angle = np.arctan2(np.sqrt(dx * dx + dy * dy), -dz)
    spoke = noise3(np.cos(np.arctan2(dy, dx)) * 9, np.sin(np.arctan2(dy, dx)) * 9, 0.5, seed)
    out[0], out[1], out[2] = 226.0, 220.0, 214.0
    red = smoothstep(0.6, 1.2, angle)
    out[1] -= 26 * red
    out[2] -= 26 * red
    ring = smoothstep(0.50, 0.45, angle)
    if ring > 0:
        dark = 0.75 + 0.3 * spoke - 0.5 * smoothstep(0.36, 0.48, angle)
        for k in range(3):
            out[k] += (iris[k] * max(0.15, dark) - out[k]) * ring
    pupil = smoothstep(0.215, 0.18, angle)
    for k in range(3):
        out[k] += (12 - out[k]) * pupil
    gx, gy = dx - 0.0022, dy + 0.0028  # the window's reflection, painted so that all cameras agree
    if dz < 0:
        glint = smoothstep(0.0019, 0.0011, np.sqrt(gx * gx + gy * gy))
        for k in range(3):
            out[k] += (250 - out[k]) * glint


@njit(nogil=True, cache=True)
def _paint_faces(
    vertices: Any, faces: Any, uv: Any, face_uv: Any, part: Any, colours: Any, measures: Any, eye: Any, arms: Any,
    line: Any, weave: int, seed: int, texture: Any, covered: Any,
) -> None:  # fmt: skip
    size = texture.shape[0]
    colour = np.empty(3)
    skin_colour = np.empty(3)
    skin, hair, iris, cloth, cloth2 = colours[0], colours[1], colours[2], colours[3], colours[4]
    for f in range(faces.shape[0]):
        u0, v0 = uv[face_uv[f, 0], 0] * size - 0.5, uv[face_uv[f, 0], 1] * size - 0.5
        u1, v1 = uv[face_uv[f, 1], 0] * size - 0.5, uv[face_uv[f, 1], 1] * size - 0.5
        u2, v2 = uv[face_uv[f, 2], 0] * size - 0.5, uv[face_uv[f, 2], 1] * size - 0.5
        area = (u1 - u0) * (v2 - v0) - (u2 - u0) * (v1 - v0)
        if abs(area) < 1e-9:
            continue
        left, right = max(0, int(np.floor(min(u0, u1, u2)))), min(size - 1, int(np.ceil(max(u0, u1, u2))))
        top, bottom = max(0, int(np.floor(min(v0, v1, v2)))), min(size - 1, int(np.ceil(max(v0, v1, v2))))
        for j in range(top, bottom + 1):
            for i in range(left, right + 1):
                w0 = ((u1 - i) * (v2 - j) - (u2 - i) * (v1 - j)) / area
                w1 = ((u2 - i) * (v0 - j) - (u0 - i) * (v2 - j)) / area
                w2 = 1 - w0 - w1
                if w0 < -1e-6 or w1 < -1e-6 or w2 < -1e-6:
                    continue
                a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
                x = w0 * vertices[a, 0] + w1 * vertices[b, 0] + w2 * vertices[c, 0]
                y = w0 * vertices[a, 1] + w1 * vertices[b, 1] + w2 * vertices[c, 1]
                z = w0 * vertices[a, 2] + w1 * vertices[b, 2] + w2 * vertices[c, 2]
                u, v = (i + 0.5) / size, (j + 0.5) / size
                p = part[f]
                if p == HEAD:
                    _paint_head(x, y, z, u, v, skin, hair, line, measures, seed, colour)
                elif p == BODY:
                    depth = cloth_depth(x, y, z, measures[0], arms)
                    _paint_cloth(x, y, z, u, v, depth, cloth, cloth2, weave, seed, colour)
                    if depth < 0.002:
                        _paint_skin(x, y, z, skin, measures[2] * 0.4, seed, skin_colour)
                        for k in range(3):
                            skin_colour[k] *= 1 - 0.3 * smoothstep(-0.012, 0.0, depth)
                        _mix(colour, skin_colour, smoothstep(0.002, -0.001, depth))
                elif p == HAND:
                    _paint_skin(x, y, z, skin, measures[2] * 0.3, seed, colour)
                    colour[1] *= 0.95
                    colour[2] *= 0.95
                elif p == EYE:
                    _paint_eye(x, y, z, eye, iris, seed, colour)
                elif p == MOUTH:
                    dark = smoothstep(-0.05, -0.09, z)
                    colour[0], colour[1], colour[2] = 50 + 60 * dark, 14 + 22 * dark, 16 + 22 * dark
                elif p == TONGUE:
                    colour[0], colour[1], colour[2] = 150, 74, 72
                elif p == SOCKET:
                    colour[0], colour[1], colour[2] = skin[0] * 0.75, skin[1] * 0.52, skin[2] * 0.5
                elif p == TEETH:
                    gap = abs(((x / 0.0072) % 1.0) - 0.5)
                    white = 222 - 90 * smoothstep(0.42, 0.5, gap)
                    colour[0], colour[1], colour[2] = white, white * 0.96, white * 0.88
                else:
                    wave = _strand(x, y * 0.35, z, seed + 40)
                    bright = 0.7 + 0.5 * wave + 0.12 * noise3(60 * x, 60 * y, 60 * z, seed + 50)
                    for k in range(3):
                        colour[k] = hair[k] * bright
                for k in range(3):
                    texture[j, i, k] = min(255.0, max(0.0, colour[k]))
                covered[j, i] = True


def paint(
    vertices: NDArray[np.float64],
    faces: NDArray[np.int32],
    uv: NDArray[np.float64],
    face_uv: NDArray[np.int32],
    part: NDArray[np.uint8],
    eye: NDArray[np.float64],
    arms: NDArray[np.float64],
    look: Look,
) -> Pyramid:
    """Return the painted atlas of a body at rest.

    `vertices` (n, 3) metres, undressed; `uv` (k, 2) in 0..1, v down; `part` (m,) per face; `eye` (3,) the left eye;
    `arms` (2, 2, 3) elbow and wrist, left and right.
    """
    texture = np.zeros((ATLAS, ATLAS, 3), np.float32)
    covered = np.zeros((ATLAS, ATLAS), np.bool_)
    colours = np.stack([look.skin, look.hair, look.iris, look.cloth, look.cloth2]).astype(np.float64)
    measures = np.array([look.neckline, look.beard, look.freckles, look.lips])
    _paint_faces(
        vertices,
        faces,
        uv,
        face_uv,
        part,
        colours,
        measures,
        eye,
        arms,
        HAIRLINE,
        look.weave,
        look.seed,
        texture,
        covered,
    )
    return build_pyramid(texture, covered)
