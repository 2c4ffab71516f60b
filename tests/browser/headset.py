"""A headset for the page's tests: what is injected, what its eyes see, and where it is worn."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from playwright.sync_api import Page

DOUBLE = (Path(__file__).parent / "headset_double.js").read_text("utf-8")


def eyes_of(page: Page) -> tuple[np.ndarray, np.ndarray]:
    """Return what the left and the right eye see, (h, w, 3) each."""
    width, height, data = page.evaluate("window.__headset.eyes()")
    both = np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4)[..., :3].astype(int)
    return both[:, : width // 2], both[:, width // 2 :]


def wear(page: Page, position: tuple[float, float, float], yaw: float) -> None:
    page.evaluate("head => (window.__headset.head = head)", {"position": position, "yaw": yaw})


def until_seen(page: Page, seen: Callable[[np.ndarray, np.ndarray], bool], *, limit_s: float = 20) -> None:
    """Wait until what the left and the right eye see is as wanted."""
    deadline = time.monotonic() + limit_s
    while not seen(*eyes_of(page)):
        assert time.monotonic() < deadline, "the eyes never saw it"
        page.wait_for_timeout(40)
