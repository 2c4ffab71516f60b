"""Make training pairs for the geometry net into files, which training picks up as they come.

    python models/make_view_data.py --kind layers|bodies --seed 1 --count 2000 [--held-out] [--out DIR] [--sheet PNG]

Each file DIR/<train|held-out>/<kind>-<number>.npz holds one pair (`data_layers.Pair`): pictures uint8, disparity int16
in 1/64 pixel (-32768: unknown), matte uint8 (absent where nobody says). Number n depends on nothing but n and the seed.
The default DIR is `view-data` in the cache; made.jsonl beside the pairs says what was asked for. `--sheet` draws some
of what is there, to look at.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from data_bodies import People, body_pair
from data_layers import Pair, draw_up_any, layered_pair, photographs
from numpy.typing import NDArray

from streamsvc.cache import cache_dir

SCALE = 64
UNKNOWN = -32768


def save(path: Path, pair: Pair) -> None:
    """Write one pair."""
    arrays: dict[str, NDArray[np.generic]] = {"left": pair.left, "right": pair.right}
    for side, disparity, person in (
        ("left", pair.left_disparity, pair.left_person),
        ("right", pair.right_disparity, pair.right_person),
    ):
        known = np.isfinite(disparity) & (np.abs(disparity) < 500)
        arrays[f"{side}_disparity"] = np.where(known, np.where(known, disparity, 0) * SCALE, UNKNOWN).astype(np.int16)
        if not np.isnan(person).all():
            arrays[f"{side}_person"] = (np.nan_to_num(person) * 255).astype(np.uint8)
    part = path.with_suffix(".part")
    with part.open("wb") as out:
        np.savez(out, **arrays)
    part.replace(path)


def load(path: Path) -> Pair:
    """Read one pair."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    disparity, person = [], []
    for side in ("left", "right"):
        fixed = arrays[f"{side}_disparity"]
        disparity.append(np.where(fixed == UNKNOWN, np.float32(np.nan), fixed * np.float32(1 / SCALE)))
        given = arrays.get(f"{side}_person")
        person.append(np.full(fixed.shape, np.nan, np.float32) if given is None else given * np.float32(1 / 255))
    return Pair(arrays["left"], arrays["right"], *disparity, *person)


def make(kind: str, seed: int, number: int, people: People | None, photos: list[NDArray[np.uint8]]) -> Pair:
    """Make pair `number`."""
    rng = np.random.default_rng([seed, number])
    if people is not None:
        return body_pair(rng, people.draw_up(rng))
    return layered_pair(rng, draw_up_any(rng, photos))


def sheet(pairs: list[Pair], out: Path) -> None:
    """Draw pairs, one a line: left, right, both disparities, and the right picture moved by the left's disparity."""
    lines = []
    for p in pairs:
        h, w = p.left_disparity.shape
        x, y = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
        moved = cv2.remap(p.right, x - np.nan_to_num(p.left_disparity), y, cv2.INTER_LINEAR)
        top = max(float(np.nanmax(p.left_disparity)), 1.0)
        tiles = [p.left, p.right]
        for d in (p.left_disparity, p.right_disparity):
            tiles.append(cv2.applyColorMap((np.nan_to_num(d / top).clip(0, 1) * 255).astype(np.uint8), 20)[:, :, ::-1])
        lines.append(cv2.resize(np.hstack([*tiles, moved]), (1600, 240), interpolation=cv2.INTER_AREA))
    cv2.imwrite(str(out), np.vstack(lines)[:, :, ::-1])


def main() -> None:
    """Parse flags and run."""
    p = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    p.add_argument("--kind", choices=("layers", "bodies"), required=True)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--first", type=int, default=0)
    p.add_argument("--count", type=int, default=1000)
    p.add_argument("--held-out", action="store_true", help="the other people and photographs")
    p.add_argument("--out", type=Path, default=cache_dir() / "view-data")
    p.add_argument("--sheet", type=Path)
    a = p.parse_args()
    cv2.setNumThreads(1)
    folder = a.out / ("held-out" if a.held_out else "train")
    folder.mkdir(parents=True, exist_ok=True)
    photos = photographs(a.held_out)
    people = People(a.held_out, photos) if a.kind == "bodies" else None
    asked = {"kind": a.kind, "seed": a.seed, "first": a.first, "count": a.count}
    with (folder / "made.jsonl").open("a") as told:
        told.write(json.dumps(asked) + "\n")
    start = time.monotonic()
    made = []
    for number in range(a.first, a.first + a.count):
        path = folder / f"{a.kind}-{number:06d}.npz"
        if not path.exists():
            save(path, make(a.kind, a.seed + 1_000_000 * a.held_out, number, people, photos))
            made.append(path)
            if len(made) % 50 == 0:
                per = (time.monotonic() - start) / len(made)
                print(f"{number + 1} of {a.first + a.count} {a.kind}, {per:.2f} s each", file=sys.stderr, flush=True)
    if a.sheet is not None:
        sheet([load(path) for path in sorted(folder.glob(f"{a.kind}-*.npz"))[:8]], a.sheet)


if __name__ == "__main__":
    main()
