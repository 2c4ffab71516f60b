"""What `bench edge` films: a person who holds up a clock card, drawn before it is due and handed over when it is.

A picture of the card says at which instant it was handed over, so neither drawing it nor its conversion to YUV is part
of what is measured. Instants lie on a grid of the monotonic clock, which all processes of a host share.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from fractions import Fraction

import av
import cv2
import numpy as np

from streamsvc.frames import Pixels
from streamsvc.scene import open_scene
from streamsvc.scene.card import COLUMNS, ClockCard

VIDEO_RATE = 90_000
SECOND_NS = 1_000_000_000
BEHIND = 5
_BLOCK_PIXELS = 6.0
"""Pixels of a block of the card that are enough to read it."""


class Drawing:
    """The scene as one camera of `size` (width, height) sees it, with noise of `grain` grey levels (standard deviation)
    in its luma, other noise at every instant. Making one takes seconds; raises SceneError.

    `box` is where the card is, (x0, y0, x1, y1) pixels with a margin; `step` is how many pixels may be left out of it,
    across and down: of every `step` one is enough to read the card.
    """

    def __init__(self, size: tuple[int, int], grain: float = 0.0) -> None:
        scene = open_scene("card")
        assert isinstance(scene, ClockCard)
        self._scene, self._camera = scene, scene.rig(2, *size).cameras[0]
        frame = scene.corners(self._camera)
        block = float(np.linalg.norm(frame[1] - frame[0])) / (COLUMNS + 2)
        low = np.maximum(np.floor(frame.min(0) - 2 * block), 0).astype(int).tolist()
        high = np.minimum(np.ceil(frame.max(0) + 2 * block), size).astype(int).tolist()
        self.box: tuple[int, int, int, int] = (*low, *high)
        self.step = max(1, int(block / _BLOCK_PIXELS))
        # Twice as high as a picture: every instant has a part of it.
        noise = np.random.default_rng(1).normal(0, grain, (2 * size[1], size[0])) if grain else None
        self._noise = None if noise is None else noise.clip(-127, 127).astype(np.int8)
        self.at(0)  # renders the film

    def at(self, instant_ns: int) -> Pixels:
        """Return the picture of an instant as planes Y, U and V (4:2:0, BT.601 limited): (height * 3 / 2, width)
        uint8."""
        rgb = self._scene.render(self._camera, instant_ns / 1e9).rgb
        planes = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420), np.uint8)
        if self._noise is not None:
            height = self._camera.height
            # At random, or an encoder would see it move.
            at = int(np.random.default_rng(instant_ns).integers(height))
            cv2.add(planes[:height], self._noise[at : at + height], dst=planes[:height], dtype=cv2.CV_8U)
        return planes


class Filming:
    """A thread that hands over a picture at every instant of the grid until `stop`.

    `on_picture(frame, capture_ns)` runs on the thread; the frame's `pts` is in 90 kHz ticks since the first. What is
    late is caught up, unless it is more than `BEHIND` pictures. `captures` are the instants that were handed over,
    `late_ns` how late each was, `start_ns` the first of the grid; read them after `stop`.
    """

    def __init__(self, drawing: Drawing, fps: float, on_picture: Callable[[av.VideoFrame, int], None]) -> None:
        self.captures: list[int] = []
        self.late_ns: list[int] = []
        self._drawing, self._on_picture = drawing, on_picture
        self._period = SECOND_NS / fps
        self._stop = threading.Event()
        self.start_ns = time.monotonic_ns() + round(2 * self._period)
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        tick = 0
        while not self._stop.is_set():
            due = self.start_ns + round(tick * self._period)
            # In the second half of the period, when the picture before is on its way.
            if self._wait_until(due - self._period / 2):
                return
            frame = av.VideoFrame.from_ndarray(self._drawing.at(due), format="yuv420p")
            frame.pts = (due - self.start_ns) * VIDEO_RATE // SECOND_NS
            frame.time_base = Fraction(1, VIDEO_RATE)
            if self._wait_until(due):
                return
            late = time.monotonic_ns() - due
            self._on_picture(frame, due)
            self.captures.append(due)
            self.late_ns.append(late)
            behind = int(late / self._period)
            tick += 1 if behind <= BEHIND else behind

    def _wait_until(self, instant_ns: float) -> bool:
        """Return then, or before when the film is to end; whether it is."""
        return self._stop.wait(max(0.0, (instant_ns - time.monotonic_ns()) / SECOND_NS))

    def stop(self) -> None:
        """End the film; nothing is handed over after this returned."""
        self._stop.set()
        self._thread.join()
