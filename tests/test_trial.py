"""Rungs that were never run on are tried in idle time, and what they cost is learned."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from streamsvc.budget import MockClock, MonotonicClock, run_to_end
from streamsvc.frames import Frame, FrameSet, Rig
from streamsvc.frames.link import FromWorker, OpenView, PictureIn, SetIn
from streamsvc.frames.ring import Ring
from streamsvc.scene import open_scene
from streamsvc.view import ViewSynthesizer
from streamsvc.worker import views as views_module
from streamsvc.worker.lanes import Lanes
from streamsvc.worker.trial import copied, trial
from streamsvc.worker.views import Views

SIZE = (160, 120)


@pytest.fixture(scope="module")
def rig() -> Rig:
    return open_scene("body:1").rig(2, *SIZE)


@pytest.fixture(scope="module")
def frames(rig: Rig) -> FrameSet:
    scene = open_scene("body:1")
    return FrameSet("s", 1, 0, 10**9, tuple(Frame(c.name, scene.render(c, 0.0).rgb, 0) for c in rig.cameras))


class Ticking(MockClock):
    """A millisecond passes whenever somebody looks."""

    def now_ns(self) -> int:
        self.advance(1_000_000)
        return super().now_ns()


def test_each_rung_is_run_twice_and_told_once(rig: Rig, frames: FrameSet) -> None:
    synthesizer = ViewSynthesizer(rig, *SIZE)
    names = [r.name for r in synthesizer.ladder]
    costs: dict[str, int] = {}
    stages = list(trial(synthesizer, frames, names, Ticking().now_ns, costs.__setitem__))
    assert list(costs) == names
    assert sum(costs.values()) == len(stages) // 2 * 1_000_000, "of two equal runs the second counts"
    assert set(stages) >= {"try rectify", "try disparity", "try splat", "try blend"}


def test_with_a_camera_away_nothing_is_learned(rig: Rig, frames: FrameSet) -> None:
    one = FrameSet("s", 1, 0, 10**9, frames.frames[:1])
    costs: dict[str, int] = {}
    synthesizer = ViewSynthesizer(rig, *SIZE)
    run_to_end(trial(synthesizer, one, [synthesizer.ladder[0].name], Ticking().now_ns, costs.__setitem__))
    assert costs == {}


def test_a_copy_has_pixels_of_its_own_and_large_sets_are_not_copied(frames: FrameSet) -> None:
    own = copied(frames)
    assert own is not None and not np.shares_memory(own.frames[0].pixels, frames.frames[0].pixels)
    large = Frame("a", np.zeros((2048, 2048, 3), np.uint8), 0)
    assert copied(FrameSet("s", 1, 0, 1, (large,))) is None


@pytest.fixture
def lanes() -> Iterator[Lanes]:
    made = Lanes(2, MonotonicClock())
    made.start()
    yield made
    made.stop()


def test_a_stream_that_runs_learns_its_whole_ladder(
    rig: Rig, frames: FrameSet, lanes: Lanes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(views_module, "AFTER_SETS", 2)
    ring = Ring.create(slot_bytes=SIZE[0] * SIZE[1] * 3, inward=2)
    for slot, frame in enumerate(frames.frames):
        ring.pixels(slot, *SIZE)[:] = frame.pixels
    sent: list[FromWorker] = []
    clock = MonotonicClock()
    views = Views(ring, lanes, clock, sent.append)
    views.open(OpenView(stream="s", rig=rig.to_json(), width=SIZE[0], height=SIZE[1]))
    budget = views._streams["s"].budget
    assert len(budget.unseen) > 1
    for number in range(2):
        now = clock.now_ns()
        pictures = [PictureIn(c.name, slot, *SIZE, now) for slot, c in enumerate(rig.cameras)]
        views.submit(
            SetIn(
                stream="s", id=number, capture_ns=now, deadline_ns=now + 60 * 10**9, period_ns=10**9, pictures=pictures
            )
        )
    for _ in range(6000):
        if not budget.unseen:
            break
        time.sleep(0.01)
    assert budget.unseen == ()
    views.close("s")
