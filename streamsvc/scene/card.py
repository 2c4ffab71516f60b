"""A clock card: a scene in which the person holds up the time, as blocks that survive synthesis and video coding.

What a picture of it shows is when it was seen, so whoever reads it knows the age of what they look at without trusting
any clock that travelled beside the picture. `COLUMNS` x `ROWS` blocks hold a number of `NUMBER_BITS` bits, milliseconds
of scene time modulo `PERIOD_MS`, and a cyclic redundancy check of `CHECK_BITS` bits (generator polynomial 0x80F, as in
ETSI TS 136 212 and others, with a start value that tells an empty card from a valid one). A black frame one block wide
goes around them, and a white margin of one block around that.
"""

from __future__ import annotations

from collections import OrderedDict

import cv2
import numpy as np
from numpy.typing import NDArray

from streamsvc.frames import Camera, Pixels, Rig
from streamsvc.scene.base import Rendering, Scene, require_pinhole

COLUMNS, ROWS = 8, 4
NUMBER_BITS, CHECK_BITS = 20, 12
PERIOD_MS = 1 << NUMBER_BITS
"""The number starts again after this many milliseconds: seventeen and a half minutes."""

BORDER = 2
"""Blocks of frame and margin on each side of the code."""

CENTRE = np.array([0.0, 0.18, 0.60])
"""World metres: before the chest, nearer than the hands."""

BLOCK_M = 0.018
FILM_PICTURES, FILM_FPS = 24, 12.0
FILM_BYTES = 200_000_000
_TEXELS = 12
_GENERATOR, _START = 0x80F, 0xA5C


def check_of(number: int) -> int:
    """Return the `CHECK_BITS` bits that go with a number."""
    register = _START
    for bit in range(NUMBER_BITS - 1, -1, -1):
        feedback = register >> (CHECK_BITS - 1) & 1 ^ number >> bit & 1
        register = register << 1 & (1 << CHECK_BITS) - 1
        if feedback:
            register ^= _GENERATOR
    return register


def word_of(number: int) -> int:
    """Return the card's word, number before check, for a number of milliseconds modulo `PERIOD_MS`."""
    number %= PERIOD_MS
    return number << CHECK_BITS | check_of(number)


def number_of(word: int) -> int | None:
    """Return the number in a word that was read, None where its check fails."""
    number = word >> CHECK_BITS
    return number if 0 <= number < PERIOD_MS and word & (1 << CHECK_BITS) - 1 == check_of(number) else None


def blocks_of(word: int) -> NDArray[np.uint8]:
    """Return the card in blocks, margin and frame included: (ROWS + 4, COLUMNS + 4) uint8, 0 black or 255 white.

    Bits go row by row from the highest, 1 is white.
    """
    bits = [word >> i & 1 for i in range(COLUMNS * ROWS - 1, -1, -1)]
    card = np.full((ROWS + 2 * BORDER, COLUMNS + 2 * BORDER), 255, np.uint8)
    card[1:-1, 1:-1] = 0
    card[BORDER:-BORDER, BORDER:-BORDER] = 255 * np.array(bits, np.uint8).reshape(ROWS, COLUMNS)
    return card


class ClockCard:
    """A scene that repeats a short film of another one, with the card before it that shows scene time.

    The film (to and fro) is rendered when a camera is first seen, so that a live picture costs a fraction of a
    millisecond and what is measured is not slowed down by what measures it.
    """

    def __init__(self, behind: Scene) -> None:
        self._behind = behind
        self._films: OrderedDict[tuple[object, ...], list[Rendering]] = OrderedDict()

    @property
    def name(self) -> str:
        """The specification that `open_scene` turns into this scene."""
        return f"card:{self._behind.name}"

    def rig(self, cameras: int, width: int, height: int) -> Rig:
        """Return the cameras of the scene behind the card; raises SceneError."""
        return self._behind.rig(cameras, width, height)

    def corners(self, camera: Camera) -> NDArray[np.float32]:
        """Return where `camera` sees the outer corners of the black frame, clockwise from the upper left: (4, 2)
        pixels, integers at pixel centres."""
        return outline(camera, BORDER - 1)

    def render(self, camera: Camera, t: float) -> Rendering:
        """Return the film's picture with the card at `t` seconds; raises SceneError for a camera with distortion."""
        require_pinhole(camera)
        film = self._film(camera)
        turn = max(2 * len(film) - 2, 1)
        at = int(t * FILM_FPS) % turn
        seen = film[at if at < len(film) else turn - at]
        return _held_up(seen, camera, blocks_of(word_of(round(t * 1000))))

    def _film(self, camera: Camera) -> list[Rendering]:
        key = (camera.width, camera.height, camera.K.tobytes(), camera.R.tobytes(), camera.t.tobytes())
        if key not in self._films:
            room = FILM_BYTES // (camera.width * camera.height * 11)
            count = max(2, min(FILM_PICTURES, room))
            self._films[key] = [self._behind.render(camera, i / FILM_FPS) for i in range(count)]
            while len(self._films) > 8:
                self._films.popitem(last=False)
        return self._films[key]


def outline(camera: Camera, inset: int) -> NDArray[np.float32]:
    """Return where `camera` sees the corners of the card without `inset` blocks all around, clockwise from the upper
    left: (4, 2) pixels, integers at pixel centres."""
    half = np.array([COLUMNS / 2 + BORDER - inset, ROWS / 2 + BORDER - inset]) * BLOCK_M
    signs = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    world = CENTRE + np.concatenate([signs * half, np.zeros((4, 1))], 1)
    seen = world @ camera.R.T + camera.t
    pixels = seen @ camera.K.T
    return np.asarray(pixels[:, :2] / pixels[:, 2:], np.float32)


def _held_up(behind: Rendering, camera: Camera, blocks: NDArray[np.uint8]) -> Rendering:
    texture = np.kron(blocks, np.ones((_TEXELS, _TEXELS), np.uint8))
    high, wide = texture.shape
    # Corners of the card are corners of its outer texels, half a texel beyond their centres.
    flat = np.array([(0, 0), (wide, 0), (wide, high), (0, high)], np.float32) - 0.5
    seen = outline(camera, 0)
    x0, y0 = np.maximum(np.floor(seen.min(0)).astype(int) - 1, 0)
    x1, y1 = np.minimum(np.ceil(seen.max(0)).astype(int) + 2, (camera.width, camera.height))
    rgb: Pixels = behind.rgb.copy()
    depth, alpha = behind.depth.copy(), behind.alpha.copy()
    if x1 > x0 and y1 > y0:
        size = (int(x1 - x0), int(y1 - y0))
        m = cv2.getPerspectiveTransform(flat, seen - np.array([x0, y0], np.float32))
        card = cv2.warpPerspective(texture, m, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        cover = cv2.warpPerspective(np.full_like(texture, 255), m, size, flags=cv2.INTER_LINEAR)[..., None] / 255.0
        here = (slice(y0, y1), slice(x0, x1))
        rgb[here] = np.rint(rgb[here] * (1 - cover) + card[..., None] * cover).astype(np.uint8)
        over = cover[..., 0] >= 0.5
        depth[here][over] = float((camera.R @ CENTRE + camera.t)[2])
        alpha[here] = np.maximum(alpha[here], cover[..., 0].astype(np.float32))
    return Rendering(rgb, depth, alpha)
