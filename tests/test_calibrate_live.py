"""Calibration from live cameras: which looks are kept, and when a camera is slow or stalls."""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from calibration_scene import SIZE, make_cameras, make_views
from test_calibrate_pictures import CHESSBOARD, take_pictures

from streamsvc.calibrate import CalibrationError, Detection, Detector, parse_board
from streamsvc.calibrate.boards import Gray
from streamsvc.calibrate.live import Collector, Look, OnPicture, gather_live


@pytest.fixture(scope="module")
def chessboards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chessboards")
    take_pictures(folder, CHESSBOARD, make_cameras(2), 8)
    return folder


class CountingDetector(Detector):
    """Counts its pictures."""

    looks = 0

    def find(self, gray: Gray, *, thorough: bool = True) -> Detection | None:
        self.looks += 1
        return super().find(gray, thorough=thorough)


class Player:
    """A camera group that shows pictures over and over, each until it was looked at three times."""

    def __init__(self, shown: dict[str, list[np.ndarray]], detector: CountingDetector) -> None:
        self._shown, self._detector = shown, detector

    def run(self, on_picture: OnPicture, stop: threading.Event) -> None:
        count = len(next(iter(self._shown.values())))
        while not stop.wait(0.002):
            looks = self._detector.looks // len(self._shown)
            for name, pictures in self._shown.items():
                on_picture(name, pictures[looks // 3 % count], looks)


def test_live_views_are_collected_until_there_are_enough(chessboards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamsvc.calibrate.live.LOOK_S", 0.01)
    shown = {
        c: [cv2.cvtColor(cv2.imread(str(p)), cv2.COLOR_BGR2RGB) for p in sorted((chessboards / c).iterdir())]
        for c in ("cam0", "cam1")
    }
    said: list[str] = []
    detector = CountingDetector(parse_board(CHESSBOARD))
    found = gather_live([Player(shown, detector)], ("cam0", "cam1"), detector, said.append, wanted=4, seconds=60)
    assert len(found.views) >= 4 and found.sizes == {"cam0": SIZE, "cam1": SIZE}
    assert said[-1].startswith(f"{len(found.views)} views; next: tilted, ")
    with pytest.raises(CalibrationError, match="no picture came from cam2"):
        gather_live([Player(shown, detector)], ("cam0", "cam2"), detector, said.append, wanted=4, seconds=0.1)


class Rounds:
    """In place of `time`: it stands, and counts how often it was asked, once a round of looking."""

    count = 0

    def monotonic(self) -> float:
        self.count += 1
        return 0.0


class Stalling:
    """A camera whose every picture stands for three rounds after it was looked at, and which then fails."""

    def __init__(self, pictures: list[np.ndarray], detector: CountingDetector, rounds: Rounds) -> None:
        self._pictures, self._detector, self._rounds = pictures, detector, rounds

    def run(self, on_picture: OnPicture, stop: threading.Event) -> None:
        for k, pixels in enumerate(self._pictures):
            on_picture("cam0", pixels, k)
            while self._detector.looks <= k and not stop.wait(0.001):
                pass
            until = self._rounds.count + 3
            while self._rounds.count < until and not stop.wait(0.001):
                pass
        raise OSError("the last picture was shown")


def test_a_picture_that_stays_is_not_a_board_at_rest(chessboards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = Rounds()
    monkeypatch.setattr("streamsvc.calibrate.live.LOOK_S", 0.001)
    monkeypatch.setattr("streamsvc.calibrate.live.time", rounds)
    pictures = [cv2.imread(str(p)) for p in sorted((chessboards / "cam0").iterdir())[:4]]
    detector = CountingDetector(parse_board(CHESSBOARD))
    said: list[str] = []
    with pytest.raises(CalibrationError, match="the last picture was shown"):
        gather_live([Stalling(pictures, detector, rounds)], ("cam0",), detector, said.append, wanted=4, seconds=60)
    assert detector.looks == 4 and not said


def test_a_live_camera_that_sees_no_board_is_counted_right(monkeypatch: pytest.MonkeyPatch) -> None:
    class Impatient(CountingDetector):
        """Looks three times, and then somebody presses Ctrl-C."""

        def find(self, gray: Gray, *, thorough: bool = True) -> Detection | None:
            if self.looks == 2:
                raise KeyboardInterrupt
            return super().find(gray, thorough=thorough)

    monkeypatch.setattr("streamsvc.calibrate.live.LOOK_S", 0.001)
    detector = Impatient(parse_board(CHESSBOARD))
    player = Player({"cam0": [np.zeros((*SIZE[::-1], 3), np.uint8)]}, detector)
    found = gather_live([player], ("cam0",), detector, lambda _: None, wanted=1, seconds=60)
    assert found.pictures["cam0"] == 3


def test_a_look_is_kept_when_the_board_rests_somewhere_new() -> None:
    cameras = make_cameras(1)
    views = make_views(cameras, parse_board(CHESSBOARD), 3, 0.0)
    collector = Collector({"cam0": SIZE}, 2)
    offers = [collector.offer(v.found) for v in (views[0], views[0], views[0], views[1], views[2], views[2])]
    assert offers == [Look.MOVING, Look.KEPT, Look.KNOWN, Look.MOVING, Look.MOVING, Look.KEPT]
    assert collector.done
    assert collector.offer({}) is Look.UNSEEN
