"""What a person looks like beyond the shape: skin, hair, eyes and clothes, drawn from the identity and a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamsvc.scene.noise import hash01


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """Colours (3,) in 0..255 and a few measures; all from the seed and the identity.

    `neckline` metres below the head's middle, `weave` 0 stripes, 1 checks, 2 knit; `beard`, `freckles` 0..1.
    """

    skin: NDArray[np.float64]
    hair: NDArray[np.float64]
    iris: NDArray[np.float64]
    cloth: NDArray[np.float64]
    cloth2: NDArray[np.float64]
    neckline: float
    weave: int
    beard: float
    freckles: float
    lips: float
    seed: int


def choose_look(gender: float, age: float, african: float, asian: float, clavicle: float, seed: int) -> Look:
    """Return the look of an identity (phenotype numbers 0..1, `clavicle` metres below the head) dressed by `seed`."""

    def draw(salt: int) -> float:
        return float(hash01(seed, salt, int(gender * 100 + 1000 * age), 7))

    light = np.array([232.0, 188.0, 164.0]) * (0.95 + 0.07 * draw(1))
    east, dark = np.array([232.0, 192.0, 156.0]), np.array([126.0, 84.0, 62.0])
    skin = light * (1 - asian) + east * asian
    skin = skin * (1 - african) + dark * african
    hairs = np.array([[38, 28, 24], [74, 50, 34], [112, 78, 48], [172, 132, 82], [122, 58, 34]], np.float64)
    hair = hairs[0] if max(african, asian) > 0.6 else hairs[min(4, int(draw(2) * 5))]
    grey = float(np.clip((age - 0.78) * 6, 0, 0.85))
    hair = hair * (1 - grey) + np.array([150.0, 148.0, 146.0]) * grey
    irises = np.array([[92, 60, 36], [74, 104, 130], [88, 106, 64], [110, 80, 44]], np.float64)
    iris = irises[0] if max(african, asian) > 0.6 else irises[min(3, int(draw(3) * 4))]
    wardrobe = np.array(
        [
            [[46, 74, 116], [206, 208, 204]],
            [[150, 50, 52], [66, 34, 46]],
            [[72, 108, 88], [186, 176, 128]],
            [[198, 158, 84], [120, 76, 54]],
            [[88, 84, 120], [162, 150, 180]],
            [[190, 186, 176], [64, 84, 110]],
        ],
        np.float64,
    )
    cloth, cloth2 = wardrobe[min(5, int(draw(4) * 6))]
    neckline = clavicle - (0.052 if draw(5) < 0.7 else 0.085)
    beard = (0.0, 0.3, 0.9)[min(2, int(draw(6) * 3))] if gender < 0.5 else 0.0
    return Look(
        skin, hair, iris, cloth, cloth2, neckline, min(2, int(draw(7) * 3)), beard, draw(8),
        0.9 if gender > 0.5 else 0.55, seed,
    )  # fmt: skip
