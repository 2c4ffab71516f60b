"""Pictures from folders and videos, and what is found in them: files in, `Gathered` out.

Three layouts: `<camera>/<name>.png`, the same name being the same instant; `<camera>01.jpg` with a number after the
camera's name; and `<camera>.mp4`, videos that began together. Only gray values are kept, and only while needed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import av
import cv2
import numpy as np

from streamsvc.calibrate.boards import Board, Detection, Detector, Gray, larger_size
from streamsvc.calibrate.choose import choose
from streamsvc.calibrate.errors import CalibrationError
from streamsvc.calibrate.solve import View

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
VIDEOS = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v")
LAYOUTS = "<camera>/<name>.png, <camera>01.jpg, or <camera>.mp4"
MAX_NAME = 64
MAX_CAMERAS = 16

SAMPLE_S = 0.2
MAX_SAMPLES = 400
MAX_VIEWS = 40

SAMPLED = 6
"""Pictures a camera that are kept to explain why a board isn't found, or whether it's larger than was said."""

Progress = Callable[[float, float], None]


@dataclass(slots=True)
class Gathered:
    """What was found: `sizes` (width, height) by camera in order, the `views` with a board, how many `pictures` were
    looked at by camera, and the names of files that were `ignored`."""

    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    views: list[View] = field(default_factory=list)
    pictures: Counter[str] = field(default_factory=Counter)
    ignored: list[str] = field(default_factory=list)
    missed: dict[str, list[Gray]] = field(default_factory=dict)
    hit: dict[str, list[Gray]] = field(default_factory=dict)

    def look(self, camera: str, gray: Gray, where: str) -> None:
        """Count a picture; raises CalibrationError when it isn't of the size of the camera's others."""
        size = (gray.shape[1], gray.shape[0])
        first = self.sizes.setdefault(camera, size)
        if size != first:
            raise CalibrationError(
                f"camera {camera}: {where} is {size[0]} x {size[1]}, its other pictures are {first[0]} x {first[1]}: "
                "all pictures of a camera must be of one size and uncropped"
            )
        self.pictures[camera] += 1

    def keep(self, camera: str, gray: Gray, found: Detection | None) -> None:
        """Keep a few pictures to explain with."""
        kept = (self.missed if found is None else self.hit).setdefault(camera, [])
        if len(kept) < SAMPLED:
            kept.append(gray)

    def check(self, detector: Detector) -> None:
        """Raise CalibrationError when a camera has seen no board at all, or the board is larger than was said."""
        for camera in self.sizes:
            if not any(camera in v.found for v in self.views):
                raise CalibrationError(self._nothing(camera, detector), "no-board")
        if detector.board.marker is None:
            self._refuse_part(detector.board)

    def _nothing(self, camera: str, detector: Detector) -> str:
        reasons = Counter[str]()
        for gray in self.missed.get(camera, []):
            if (reason := detector.explain(gray)) is not None:
                reasons[reason] += 1
                if reasons[reason] == 2:  # explaining is slow, and two pictures don't agree by chance
                    break
        found = f"camera {camera}: the {detector.board} is found in none of {self.pictures[camera]} pictures"
        if reasons:
            return f"{found}: {reasons.most_common(1)[0][0]}"
        return f"{found}: the whole board must be seen, flat, sharp and evenly lit, with a white margin around it"

    def _refuse_part(self, board: Board) -> None:
        pictures = [g for kept in self.hit.values() for g in kept][: 2 * SAMPLED]
        larger = Counter(size for g in pictures if (size := larger_size(board, g)) is not None)
        if larger and larger.most_common(1)[0][1] >= max(2, 0.6 * len(pictures)):
            columns, rows = larger.most_common(1)[0][0]
            raise CalibrationError(
                f"the board has {columns} x {rows} inner corners, not {board.columns} x {board.rows}: mend --board",
                "other-board",
            )


def read_gray(path: Path) -> Gray:
    """Return the picture at `path` as gray (h, w); raises CalibrationError when it is missing or damaged."""
    try:
        data = path.read_bytes()
    except OSError as e:
        raise CalibrationError(f"{path}: {e.strerror or e}") from None
    return decode_gray(data, str(path))


def decode_gray(data: bytes, what: str) -> Gray:
    """Return the encoded picture `data` as gray (h, w); raises CalibrationError, which calls it `what`."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION
        gray = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error:
        gray = None
    finally:
        cv2.utils.logging.setLogLevel(level)
    if gray is None:
        raise CalibrationError(f"{what}: is not a picture that can be read, or is damaged", "bad-picture")
    return np.asarray(gray, dtype=np.uint8)


def list_pictures(folder: Path) -> tuple[dict[str, dict[str, Path]], list[str]]:
    """Return the pictures in `folder` as camera -> instant -> path, cameras sorted, and names that fit no layout."""
    cameras: dict[str, dict[str, Path]] = {}
    ignored = []
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            inside = {p.stem: p for p in sorted(entry.iterdir()) if p.suffix.lower() in PICTURES}
            if inside:
                cameras[entry.name] = inside
            continue
        match = re.fullmatch(r"(.*?)[-_. ]?(\d+)", entry.stem)
        if entry.suffix.lower() in PICTURES and match and match[1]:
            cameras.setdefault(match[1], {})[match[2]] = entry
        else:
            ignored.append(entry.name)
    return dict(sorted(cameras.items())), ignored


def gather_folder(folder: Path, detector: Detector, progress: Progress | None = None) -> Gathered:
    """Look for the board in all pictures, or videos, of `folder`; raises CalibrationError."""
    if not folder.is_dir():
        raise CalibrationError(f"--images {folder}: is not a folder; it must hold {LAYOUTS}")
    videos = {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() in VIDEOS}
    cameras, ignored = list_pictures(folder)
    if videos and not cameras:
        gathered = gather_videos(videos, detector, progress)
        gathered.ignored = [n for n in ignored if Path(n).suffix.lower() not in VIDEOS]
        return gathered
    if not cameras:
        raise CalibrationError(f"--images {folder}: holds no pictures; it must hold {LAYOUTS}")
    _check_names(cameras)
    gathered = Gathered(ignored=ignored)
    instants = sorted({name for own in cameras.values() for name in own})
    total, done = sum(len(own) for own in cameras.values()), 0
    found: dict[str, dict[str, Detection]] = {name: {} for name in instants}
    for camera, own in cameras.items():
        for instant, path in own.items():
            gray = read_gray(path)
            gathered.look(camera, gray, path.name)
            seen = detector.find(gray)
            gathered.keep(camera, gray, seen)
            if seen is not None:
                found[instant][camera] = seen
            done += 1
            if progress:
                progress(done, total)
    gathered.views = [View(name, found[name]) for name in instants if found[name]]
    return gathered


def gather_videos(videos: Mapping[str, Path], detector: Detector, progress: Progress | None = None) -> Gathered:
    """Look for the board in videos that began at the same instant and choose views that differ; raises
    CalibrationError.

    A quick look at up to 400 instants chooses at most 40; those are decoded again and searched thoroughly.
    """
    _check_names(videos)
    length = min(_seconds(path) for path in videos.values())
    step = max(SAMPLE_S, length / MAX_SAMPLES)
    count = int(length / step + 1e-6) + 1
    gathered = Gathered()
    instants: list[dict[str, Detection]] = [{} for _ in range(count)]
    for done, (camera, path) in enumerate(videos.items()):
        for k, gray in sampled(path, step, set(range(count))):
            gathered.look(camera, gray, path.name)
            seen = detector.find(gray, thorough=False)
            if seen is not None:
                instants[k][camera] = seen
            elif k % max(count // SAMPLED, 1) == 0:
                gathered.keep(camera, gray, None)
            if progress:
                progress(done * count + min(k + 1, count - 1), len(videos) * count + 1)
    chosen = choose(instants, gathered.sizes, MAX_VIEWS)
    found: dict[int, dict[str, Detection]] = {k: {} for k in chosen}
    for camera, path in videos.items():
        for k, gray in sampled(path, step, set(chosen)):
            seen = detector.find(gray)
            gathered.keep(camera, gray, seen)
            if seen is not None:
                found[k][camera] = seen
    if progress:
        progress(1, 1)
    gathered.views = [View(f"{k * step:.2f}s", found[k]) for k in chosen if found[k]]
    return gathered


def _check_names(cameras: Mapping[str, object]) -> None:
    if len(cameras) > MAX_CAMERAS:
        raise CalibrationError(f"{len(cameras)} cameras are too many; a rig has up to {MAX_CAMERAS}")
    for name in cameras:
        if len(name) > MAX_NAME:
            raise CalibrationError(f"the camera name {name[:20]}... is longer than {MAX_NAME} characters")


def _open(path: Path) -> av.container.InputContainer:
    try:
        container = av.open(str(path))
    except (OSError, av.error.FFmpegError) as e:
        raise CalibrationError(f"{path}: can't be read as a video ({e.strerror or e})") from None
    if not container.streams.video:
        container.close()
        raise CalibrationError(f"{path}: has no video")
    return container


def _seconds(path: Path) -> float:
    with _open(path) as container:
        stream = container.streams.video[0]
        if stream.duration is not None and stream.time_base is not None:
            return float(stream.duration * stream.time_base)
        return float(container.duration / 1e6) if container.duration else SAMPLE_S * MAX_SAMPLES


def sampled(path: Path, step: float, wanted: set[int]) -> Iterator[tuple[int, Gray]]:
    """Yield (k, gray) of the first frame at or after k * `step` seconds from the video's first, for k in `wanted`."""
    with _open(path) as container:
        rate = float(container.streams.video[0].average_rate or 30)
        first: float | None = None
        last = -1
        try:
            for i, frame in enumerate(container.decode(video=0)):
                time = float(frame.time) if frame.time is not None else i / rate
                first = time if first is None else first
                k = int((time - first) / step + 1e-3)
                if k == last:
                    continue
                last = k
                if k in wanted:
                    yield k, np.ascontiguousarray(frame.to_ndarray(format="gray"), dtype=np.uint8)
        except av.error.FFmpegError as e:
            raise CalibrationError(f"{path}: is damaged ({e.strerror or e})") from None
