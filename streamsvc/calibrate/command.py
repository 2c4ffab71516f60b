"""`streamsvc calibrate`: pictures in, `rig.json` out, with figures and a picture of the rig."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamsvc.calibrate import picture, sheet
from streamsvc.calibrate.boards import Detector, parse_board
from streamsvc.calibrate.errors import CalibrationError
from streamsvc.calibrate.gather import VIDEOS, Gathered, Progress, gather_folder, gather_videos
from streamsvc.calibrate.layout import cameras_of, parse_depth, parse_pairs, propose_pairs
from streamsvc.calibrate.live import gather_live
from streamsvc.calibrate.report import figures
from streamsvc.calibrate.solve import calibrate
from streamsvc.frames import Rig

PAPERS = {"A4": (210, 297), "A3": (297, 420), "A2": (420, 594), "A1": (594, 841), "A0": (841, 1189)}


@dataclass(frozen=True, slots=True)
class CalibrateOptions:
    """What is asked for: a `board`; pictures in `images`, or `cameras` (name to video file or device); what to write.

    `size`, `fps`, `views` and `seconds` are for devices.
    """

    board: str
    images: Path | None = None
    cameras: Mapping[str, str] | None = None
    out: Path | None = None
    pairs: Sequence[str] = ()
    depth: str | None = None
    picture: Path | None = None
    save_board: Path | None = None
    dpi: int = 300
    size: tuple[int, int] = (640, 480)
    fps: float = 15.0
    views: int = 20
    seconds: float = 180.0


def run_calibrate(
    options: CalibrateOptions, say: Callable[[str], None], progress: Progress | None = None
) -> dict[str, Any]:
    """Do what `options` ask for and return the figures; `say` hears what a person with a board should do.

    Raises CalibrationError, and what sources raise. Nothing is written unless the calibration is good.
    """
    board = parse_board(options.board)
    if options.picture is not None:
        picture.check_name(options.picture)
    found: dict[str, Any] = {}
    if options.save_board is not None:
        width, height = sheet.save(board, options.save_board, options.dpi)
        found["saved_board"] = {"path": str(options.save_board), "width_mm": width, "height_mm": height}
        say(f"wrote {options.save_board}: {width} x {height} mm, {paper(width, height)}")
        say("print it at 100 % and glue it to something flat")
    given = (options.images is not None) + bool(options.cameras)
    if not given and options.save_board is not None and options.out is None:
        return found
    if given != 1:
        raise CalibrationError("give either --images DIR or --camera NAME=SOURCE (repeatable)")
    if options.out is None:
        raise CalibrationError("--out is missing: where the rig is written, e.g. --out rig.json")
    depth = None if options.depth is None else parse_depth(options.depth)
    if options.cameras:  # before anybody holds a board
        parse_pairs(options.pairs, tuple(options.cameras))
    detector = Detector(board)
    start = time.perf_counter()
    gathered = _gather(options, detector, say, progress)
    pairs = parse_pairs(options.pairs, tuple(gathered.sizes))
    gathered.check(detector)
    searched = time.perf_counter()
    result = calibrate(board, gathered.sizes, gathered.views)
    solved = time.perf_counter()
    cameras = cameras_of(result)
    rig = Rig(cameras, pairs or propose_pairs(cameras), depth)
    options.out.write_text(json.dumps(rig.to_json(), indent=1) + "\n", "utf-8")
    if options.picture is not None:
        picture.save(result, options.picture)
    found |= figures(result, rig)
    found["ignored"] = gathered.ignored
    found["seconds"] = {"search": round(searched - start, 3), "solve": round(solved - searched, 3)}
    return found


def paper(width_mm: float, height_mm: float) -> str:
    """Return in words which paper of ISO 216 a board of this size goes on."""
    short, long = sorted((width_mm, height_mm))
    fits = [name for name, sides in PAPERS.items() if short <= sides[0] and long <= sides[1]]
    if not fits:
        return f"larger than {list(PAPERS)[-1]}"
    return f"fits {fits[0]}" if fits[0] == next(iter(PAPERS)) else f"needs {fits[0]} or larger"


def _gather(
    options: CalibrateOptions, detector: Detector, say: Callable[[str], None], progress: Progress | None
) -> Gathered:
    if options.images is not None:
        return gather_folder(options.images, detector, progress)
    cameras = options.cameras or {}
    files = {n: Path(s) for n, s in cameras.items() if Path(s).suffix.lower() in VIDEOS}
    if len(files) == len(cameras):
        return gather_videos(files, detector, progress)
    if files:
        raise CalibrationError(f"--camera: {', '.join(files)} are files, the others are not; give one kind")
    from streamsvc.peer.sources import open_cameras

    groups, _ = open_cameras(dict(cameras), None, options.size, options.fps)
    return gather_live(groups, tuple(cameras), detector, say, wanted=options.views, seconds=options.seconds)
