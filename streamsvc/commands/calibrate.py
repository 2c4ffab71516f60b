"""`streamsvc calibrate`: a rig from pictures of a board."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from streamsvc.flags import check_files, count, pairs, progress, size, within, write_json


def run(arguments: argparse.Namespace) -> int:
    """Measure a rig from pictures of a chessboard or ChArUco board that was held before its cameras."""
    from streamsvc.calibrate import CalibrateOptions, render, run_calibrate

    cameras = pairs(arguments.camera, "--camera")
    check_files(arguments, writes=("out", "picture", "save_board"), reads=[Path(c) for c in cameras.values()])
    options = CalibrateOptions(
        board=arguments.board,
        images=arguments.images,
        cameras=cameras,
        out=arguments.out,
        pairs=arguments.pairs,
        depth=arguments.depth,
        picture=arguments.picture,
        save_board=arguments.save_board,
        dpi=arguments.dpi,
        size=arguments.size,
        fps=arguments.fps,
        views=arguments.views,
        seconds=arguments.duration,
    )
    figures = run_calibrate(options, lambda line: print(line, file=sys.stderr, flush=True), progress("picture"))
    write_json(arguments.json, figures)
    if "cameras" in figures:
        print(render(figures))
    return 0


def add_flags(p: argparse.ArgumentParser) -> None:
    """Add the command's flags."""
    p.add_argument(
        "--board",
        required=True,
        help="chessboard:COLSxROWS:SQUARE (inner corners) or charuco:COLSxROWS:SQUARE:MARKER[:DICT]",
    )
    p.add_argument("--images", type=Path, metavar="DIR", help="<camera>/<name>.png, <camera>01.jpg, or <camera>.mp4")
    p.add_argument("--camera", action="append", metavar="NAME=SOURCE", help="video file or device; repeatable")
    p.add_argument("--out", type=Path, metavar="rig.json", help="where the rig is written")
    p.add_argument("--pairs", nargs="+", default=(), metavar="A,B", help="pairs to match (proposed from the geometry)")
    p.add_argument("--depth", metavar="NEAR:FAR", help="depth range in metres (left out: estimated in use)")
    p.add_argument("--picture", type=Path, metavar="PNG", help="draw the rig, its boards and its errors")
    p.add_argument("--save-board", type=Path, metavar="PNG", help="write the board to be printed")
    p.add_argument("--dpi", type=int, default=300, help="resolution of the printed board (%(default)s)")
    p.add_argument("--size", type=size, default=(640, 480), help="of devices' pictures (640x480)")
    p.add_argument("--fps", type=within(1, 120), default=15.0, help="of devices (%(default)g)")
    p.add_argument("--views", type=count, default=20, help="views to collect from devices (%(default)s)")
    p.add_argument(
        "--duration", type=within(1, 86_400), default=180.0, metavar="S", help="longest wait for them (%(default)g)"
    )
