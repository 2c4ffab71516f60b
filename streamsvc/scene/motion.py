"""What an idle, talking person does at time t: a pure function of the time and the seed.

Breathing, slow swaying and turning of the head, nods, blinks, a mouth that forms syllables in phrases with pauses, and
one hand that comes up and gestures every few seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from streamsvc.frames.rig import Matrix
from streamsvc.scene.rigs import rotation

X, Y, Z = np.eye(3)
GESTURE_PERIOD = 7.0
BLINK_PERIOD = 3.1


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """`turns`: bone name -> (3, 3) rotation in world axes about its joint; `actions`: facial action -> 0..1;
    `wrists`: side ("l", "r") -> (3,) target of the wrist relative to the head at rest, metres; `palms`: side ->
    radians the hand is turned about the forearm."""

    turns: dict[str, Matrix]
    actions: dict[str, float]
    wrists: dict[str, Matrix]
    palms: dict[str, float]


def _unit(seed: int, k: int, salt: int) -> float:
    """A fixed pseudo-random number in [0, 1) for event `k`."""
    return (math.sin((k * 127.1 + seed * 311.7 + salt * 74.7) % 6283.0) * 43758.5453) % 1.0


def _wander(t: float, seed: int, salt: int, period: float) -> float:
    """A smooth, never quite repeating curve in about [-1, 1]."""
    p = 2 * math.pi * _unit(seed, 0, salt)
    w = 2 * math.pi / period
    return 0.6 * math.sin(w * t + p) + 0.4 * math.sin(1.618 * w * t + 2.3 * p + 1.0)


def _smooth(x: float) -> float:
    x = min(1.0, max(0.0, x))
    return x * x * (3 - 2 * x)


def speaking(t: float, seed: int) -> float:
    """How much the person speaks at `t`, 0..1: phrases of about 2.5 s with pauses."""
    k = math.floor(t / 3.4)
    inside = t - 3.4 * k
    length = 2.1 + 0.9 * _unit(seed, k, 5)
    return _smooth(inside / 0.15) * _smooth((length - inside) / 0.2)


def _mouth(t: float, seed: int) -> dict[str, float]:
    talk = speaking(t, seed)
    k = math.floor(t * 4.6)  # syllables a second
    inside = t * 4.6 - k
    opening = math.sin(math.pi * inside) * (0.35 + 0.65 * _unit(seed, k, 1))
    here, after = _unit(seed, k, 2), _unit(seed, k + 1, 2)
    shape = here + (after - here) * _smooth(inside)
    return {
        "jaw_open": 0.42 * talk * opening,
        "lower_lip_down": 0.35 * talk * opening,
        "upper_lip_up": 0.2 * talk * opening,
        "pucker": 0.55 * talk * max(0.0, shape - 0.62) / 0.38,
        "funnel": 0.5 * talk * opening * max(0.0, shape - 0.5),
        "stretch": 0.35 * talk * max(0.0, 0.4 - shape) / 0.4,
        "press": 0.25 * talk * max(0.0, 1 - opening * 3) * (1 - shape),
        "smile": 0.42 + 0.2 * _wander(t, seed, 11, 9.0),
    }


def _blink(t: float, seed: int) -> float:
    k = math.floor(t / BLINK_PERIOD)
    start = 0.3 + 2.2 * _unit(seed, k, 7)
    inside = t - BLINK_PERIOD * k - start
    return _smooth(inside / 0.08) * _smooth((0.26 - inside) / 0.15)


def gesture(t: float, seed: int) -> float:
    """How far the gesturing hand is up at `t`, 0..1."""
    k = math.floor(t / GESTURE_PERIOD)
    inside = t - GESTURE_PERIOD * k - 0.8 - 1.2 * _unit(seed, k, 9)
    return _smooth(inside / 0.7) * _smooth((3.6 - inside) / 0.8)


def pose_at(t: float, seed: int) -> Pose:
    """Return the pose `t` seconds after the scene began."""
    talk = speaking(t, seed)
    breath = math.sin(2 * math.pi * t / 4.1 + 6 * _unit(seed, 0, 3))
    yaw = 0.20 * _wander(t, seed, 21, 6.3)
    pitch = 0.06 * _wander(t, seed, 22, 4.7) + 0.05 * talk * math.sin(2 * math.pi * t * 0.9) + 0.015
    roll = 0.06 * _wander(t, seed, 23, 8.1)
    sway = 0.022 * _wander(t, seed, 24, 7.7)
    lean = 0.02 * _wander(t, seed, 25, 9.9) + 0.004 * breath
    head = rotation(Y, yaw) @ rotation(X, pitch) @ rotation(Z, roll)
    neck = rotation(Y, 0.4 * yaw) @ rotation(X, 0.4 * pitch) @ rotation(Z, 0.4 * roll)
    look = 0.10 * _wander(math.floor(t * 1.3) / 1.3, seed, 26, 3.0) - 0.7 * yaw
    eyes = rotation(Y, look) @ rotation(X, -0.6 * pitch)
    turns = {
        "spine": rotation(Z, sway) @ rotation(X, lean),
        "chest": rotation(X, -0.008 * breath) @ rotation(Y, 0.05 * _wander(t, seed, 27, 11.0)),
        "neck": neck,
        "head": head,
        "eye_l": eyes,
        "eye_r": eyes,
        "clavicle_l": rotation(Z, -0.018 * breath - 0.02),
        "clavicle_r": rotation(Z, 0.018 * breath + 0.02),
    }
    up = gesture(t, seed)
    raised = "r" if _unit(seed, math.floor(t / GESTURE_PERIOD), 31) < 0.5 else "l"
    wrists, palms = {}, {}
    for side, sign in (("l", 1.0), ("r", -1.0)):
        amount = up if side == raised else 0.0
        rest = np.array([sign * 0.27, 0.62, -0.12])
        beat = 2 * math.pi * 1.1 * t
        high = np.array(
            [
                sign * (0.19 + 0.03 * math.sin(beat * 0.7)),
                0.27 + 0.025 * math.sin(beat) * (0.4 + talk),
                -0.13 + 0.025 * math.cos(beat * 0.9),
            ]
        )
        bow = np.array([sign * 0.08, 0.0, -0.06]) * math.sin(math.pi * amount)
        wrists[side] = rest + amount * (high - rest) + bow
        palms[side] = sign * (0.2 - 1.7 * amount + 0.25 * amount * math.sin(beat * 0.7))
    blink = _blink(t, seed)
    actions = _mouth(t, seed) | {
        "blink_l": blink,
        "blink_r": blink,
        "brow_up": max(0.0, 0.5 * _wander(t, seed, 28, 5.1)),
        "brow_down": max(0.0, -0.25 * _wander(t, seed, 28, 5.1)),
        "squint": 0.15,
    }
    return Pose(turns, actions, wrists, palms)
