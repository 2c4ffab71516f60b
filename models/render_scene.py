"""Render a scene into pictures that `streamsvc synthesize` reads, with the view half-way between the cameras held out.

    python models/render_scene.py [--scene body] [--cameras 2] [--size 320x240] [--time 0.5] --out DIR

Writes DIR/rig.json, DIR/images/<camera>.png, DIR/geometry/<camera>.npy (depth in metres), DIR/view.json and
DIR/truth.png: what a camera at the view sees, opaque where the person is. With `--frames N` the images and the truth
are folders of frames, 15 a second.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np

from streamsvc.errors import StreamsvcError
from streamsvc.scene import Rendering, between, open_scene

FPS = 15


def save(path: Path, seen: Rendering, opaque: bool) -> None:
    """Write RGB, or RGBA with the person as the opaque part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = cv2.cvtColor(seen.rgb, cv2.COLOR_RGB2BGR)
    if opaque:
        pixels = np.dstack([pixels, np.where(seen.alpha > 0.5, 255, 0).astype(np.uint8)])
    cv2.imwrite(str(path), pixels)


def render(out: Path, name: str, cameras: int, size: tuple[int, int], time: float, frames: int) -> None:
    """Render and write everything."""
    scene = open_scene(name)
    rig = scene.rig(cameras, *size)
    first, second = rig.pairs[0]
    view = between(rig, first, second, 0.5)
    out.mkdir(parents=True, exist_ok=True)
    (out / "rig.json").write_text(json.dumps(rig.to_json(), indent=1))
    (out / "view.json").write_text(json.dumps({k: v for k, v in view.to_json().items() if k != "name"}, indent=1))
    (out / "geometry").mkdir(exist_ok=True)
    for number in range(max(frames, 1)):
        at = time + number / FPS
        end = Path(f"{number:06d}.png") if frames else None
        for camera in rig.cameras:
            seen = scene.render(camera, at)
            folder = out / "images" / camera.name
            save(folder / end if end else folder.with_suffix(".png"), seen, False)
            if number == 0:
                np.save(out / "geometry" / f"{camera.name}.npy", seen.depth)
        truth = out / "truth"
        save(truth / end if end else truth.with_suffix(".png"), scene.render(view, at), True)


def main() -> None:
    """Parse flags and run."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    p.add_argument("--scene", default="body", help="body, body:N or motorcycle")
    p.add_argument("--cameras", type=int, default=2)
    p.add_argument("--size", default="320x240")
    p.add_argument("--time", type=float, default=0.5, help="seconds after the scene began")
    p.add_argument("--frames", type=int, default=0, help="render a film of so many frames")
    p.add_argument("--out", type=Path, required=True)
    a = p.parse_args()
    try:
        width, height = (int(x) for x in a.size.split("x"))
        render(a.out, a.scene, a.cameras, (width, height), a.time, a.frames)
    except (StreamsvcError, ValueError) as e:
        print(f"render_scene: {e}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
