"""`streamsvc synthesize`: a novel view from pictures."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import cast

from streamsvc.flags import VIEW_MODES, check_files, progress, write_json


def run(arguments: argparse.Namespace) -> int:
    """Make a novel view from a folder of pictures or frames."""
    from streamsvc.view.synthesize import synthesize

    check_files(arguments, writes=("out",), reads=(arguments.rig, arguments.view, arguments.truth))
    figures = synthesize(
        arguments.rig,
        arguments.images,
        arguments.view,
        arguments.out,
        rung=arguments.rung,
        device=arguments.device,
        geometry=arguments.geometry,
        truth=arguments.truth,
        mode=arguments.mode,
        eyes_apart_mm=arguments.ipd,
        backdrop=arguments.backdrop,
        progress=progress("frame"),
    )
    write_json(arguments.json, figures)
    print(json.dumps(figures, indent=2))
    for trouble in cast("list[str]", figures["troubles"]):
        print(f"warning: {trouble}", file=sys.stderr)
    print(f"wrote {arguments.out}", file=sys.stderr)
    return 0


def add_flags(p: argparse.ArgumentParser) -> None:
    """Add the command's flags."""
    p.add_argument("--rig", type=Path, required=True)
    p.add_argument("--images", type=Path, required=True, help="<camera>.png, or <camera>/<000000>.png; .jpg, too")
    p.add_argument("--view", type=Path, required=True, help="view.json: a camera, or a list of one a frame")
    p.add_argument("--out", type=Path, required=True, help="a picture, or a video where there are frames")
    p.add_argument("--rung", default="best", help="name of a rung, best, or classical: the best without nets")
    p.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    p.add_argument("--geometry", type=Path, metavar="DIR", help="<camera>.npy: depth in metres, used for disparity")
    p.add_argument("--mode", default="window", metavar="MODE", help=VIEW_MODES)
    p.add_argument("--ipd", type=float, default=63.0, metavar="MM", help="between the eyes of a pair (%(default)s)")
    p.add_argument(
        "--backdrop",
        default="room",
        help="behind the person: room, blur, #rrggbb, a picture's file, or transparent (%(default)s)",
    )
    p.add_argument(
        "--truth", type=Path, metavar="PNG", help="what a camera there took (opaque: foreground); scores the view"
    )
