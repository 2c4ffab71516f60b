"""What the pictures that came are like: how near to what the camera saw, and at what rate."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from streamsvc.frames import Pixels
from streamsvc.ledger.figures import percentile
from streamsvc.probe.measure import Sighting
from streamsvc.scene import open_scene


def psnr_db(samples: Sequence[tuple[int, Pixels]], size: tuple[int, int]) -> float | None:
    """Return the median PSNR (dB, of brightness) of pictures that one camera of `size` took, with the numbers on their
    cards, against what it saw then; None where none can be compared."""
    if not samples:
        return None
    scene = open_scene("card")
    camera = scene.rig(2, *size).cameras[0]
    found = [
        cv2.PSNR(_grey(pixels), _grey(scene.render(camera, number / 1000).rgb))
        for number, pixels in samples
        if (pixels.shape[1], pixels.shape[0]) == size
    ]
    return percentile(found, 50)


def _grey(pixels: Pixels) -> Pixels:
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)


def mbit_per_s(received_bytes: int | None, sightings: Sequence[Sighting]) -> float | None:
    """Return the megabits a second of so many bytes between the first and the last picture; None where too few came."""
    if received_bytes is None or len(sightings) < 2:
        return None
    seconds = (sightings[-1].shown_ns - sightings[0].shown_ns) / 1e9
    return 8 * received_bytes / 1e6 / seconds if seconds > 0 else None
