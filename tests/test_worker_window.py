"""The window that a viewer looks through is told when it is known, and again where the pictures move it."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
from view_scene import Card, looking_at, pair_rig, render

from streamsvc.budget import MonotonicClock
from streamsvc.frames.link import FromWorker, OpenView, PictureIn, SetIn, Trouble, ViewOut, Window
from streamsvc.frames.ring import Ring
from streamsvc.worker.lanes import Lanes
from streamsvc.worker.views import Views

SIZE = (160, 120)
WALL = [Card(0.6, 5, (-0.1, 0.1), (-0.1, 0.1)), Card(1.2, 3)]


def test_parallel_cameras_without_a_range_get_a_window_anew_when_the_depth_is_seen() -> None:
    cameras = [looking_at(f"cam{i}", (x, 0, 0), (x, 0, 1), *SIZE) for i, x in enumerate((-0.04, 0.04))]
    rig = replace(pair_rig(cameras), depth_range=None)
    ring = Ring.create(slot_bytes=SIZE[0] * SIZE[1] * 3, inward=2)
    for slot, camera in enumerate(cameras):
        ring.pixels(slot, *SIZE)[:] = render(camera, WALL)[0]
    clock, shown = MonotonicClock(), threading.Semaphore(0)
    lanes = Lanes(1, clock)
    windows: list[dict[str, list[float]]] = []

    def take(message: FromWorker) -> None:
        if isinstance(message, Window):
            windows.append(message.screen)
        if isinstance(message, ViewOut):
            views.give([message.slot])
            shown.release()

    views = Views(ring, lanes, clock, take)
    views.open(OpenView(stream="s", rig=rig.to_json(), width=SIZE[0], height=SIZE[1]))
    lanes.start()
    for number in range(3):
        now = clock.now_ns()
        pictures = [PictureIn(c.name, i, *SIZE, now) for i, c in enumerate(cameras)]
        views.submit(
            SetIn(
                stream="s",
                id=number,
                capture_ns=now,
                deadline_ns=now + 60_000_000_000,
                period_ns=10**9,
                pictures=pictures,
            )
        )
        assert shown.acquire(timeout=60)
    lanes.stop()
    assert len(windows) == 2
    told, seen = (np.array(w["centre"])[2] for w in windows)
    assert told == 1.0 and 0.5 < seen < 1.2 and seen != told


def test_whoever_owns_a_rig_that_cannot_be_used_is_told() -> None:
    camera = looking_at("cam0", (0, 0, 0), (0, 0, 1), *SIZE)
    same = replace(camera, name="cam1")
    sent: list[FromWorker] = []
    clock = MonotonicClock()
    views = Views(Ring.create(slot_bytes=8, inward=2), Lanes(1, clock), clock, sent.append)
    views.open(OpenView(stream="s", rig=pair_rig([camera, same]).to_json(), width=SIZE[0], height=SIZE[1]))
    assert [(m.code, m.owner) for m in sent if isinstance(m, Trouble)] == [("bad-rig", True)]
