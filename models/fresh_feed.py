"""What training is fed without files: pairs made on the training's device, fresh for every batch.

    python models/fresh_feed.py [--device cuda|cpu] [--share-of-bodies 0.45] [--seconds 20] [--sheet PNG]

says how many pairs a second come of it, and draws some before they're cut.

Threads draw scenes up on the CPU and bring them to the device, a bounded number of makings ahead; what is costly there
(rendering, sensors and codecs, crops) is done by whoever asks for a batch. A making is a few batches' pairs at once, so
that a GPU has enough to do, and some to spare: those whose crop knows too few disparities are left out. The same seed,
share and threads give the same batches.
"""

from __future__ import annotations

import argparse
import queue
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import device_bodies
import device_layers
import numpy as np
import torch
from data_bodies import People
from data_layers import Pair, draw_up_any, photographs
from device_crops import Pairs, crops
from device_sensed import sensed
from make_view_data import sheet
from numpy.typing import NDArray
from torch import Tensor
from view_feed import CROP, SHARE_OF_BODIES

AT_ONCE = 16
"""Pairs that a GPU makes at a time."""

AHEAD = 2
"""Makings that each thread may be ahead by."""


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """A making that is drawn up and on the device, either kind None where there is none of it."""

    worlds: device_layers.Worlds | None
    bodies: device_bodies.Bodies | None


def layered_pairs(worlds: device_layers.Worlds, generator: torch.Generator) -> Pairs:
    """Render worlds as two cameras and a codec would hand them on; nobody says what is a person."""
    pictures, disparity = device_layers.render(worlds)
    size = torch.tensor(worlds.size, device=disparity.device).expand(worlds.count, 2)
    pictures = sensed(pictures, size[:, 0].repeat(2), size[:, 1].repeat(2), generator)
    return Pairs(pictures, disparity, torch.full_like(disparity, torch.nan), size[:, 0], size[:, 1])


class FreshFeed:
    """Batches of pairs that nobody has seen before, on `device`; raises ValueError for a share that is none,
    FileNotFoundError without photographs, and what went wrong in its threads when the next batch is asked for."""

    def __init__(
        self, batch: int, seed: int, device: str, share_of_bodies: float = SHARE_OF_BODIES, threads: int = 1
    ) -> None:
        if not 0 <= share_of_bodies <= 1:
            raise ValueError(f"a share of bodies of {share_of_bodies:g}; want 0 (layers alone) to 1 (no layers)")
        self._batch, self._seed, self._device, self._share = batch, seed, device, share_of_bodies
        self._at_once = batch * (max(AT_ONCE // batch, 1) if device != "cpu" else 1)
        self._generator = torch.Generator(device).manual_seed(seed)
        self._photos = photographs(held_out=False)
        self._ready: list[dict[str, Tensor]] = []
        self._turn = 0
        self.pairs = 0
        self._queues: list[queue.Queue[_Drawn | Exception]] = [queue.Queue(AHEAD) for _ in range(threads)]
        for number, drawn in enumerate(self._queues):
            rng = np.random.default_rng([seed, number])
            threading.Thread(target=self._run, args=(rng, drawn, self._photos), daemon=True).start()

    def next(self) -> dict[str, Tensor]:
        """Return the next batch, as `view_feed.batch_of` has it."""
        if not self._ready:
            drawn = self._queues[self._turn % len(self._queues)].get()
            if isinstance(drawn, Exception):
                raise drawn
            self._turn += 1
            self._ready = self._make(drawn)
        self.pairs += self._batch
        return self._ready.pop()

    def made(self) -> list[dict[str, Any]]:
        """Return what was made, as the card of the weights tells it."""
        return [{"kind": "fresh", "seed": self._seed, "share_of_bodies": self._share, "pairs": self.pairs}]

    @torch.no_grad()
    def _make(self, drawn: _Drawn) -> list[dict[str, Tensor]]:
        made = []
        if drawn.worlds is not None:
            made.append(crops(layered_pairs(drawn.worlds, self._generator), CROP, self._generator))
        if drawn.bodies is not None:
            made.append(crops(device_bodies.body_pairs(drawn.bodies, self._generator), CROP, self._generator))
        good = torch.cat([enough for _, enough in made])
        # In any order, but what isn't good last: as many as there are to spare are never dealt out.
        order = torch.randperm(len(good), device=good.device, generator=self._generator)
        order = order[torch.argsort((~good[order]).int(), stable=True)]
        pairs = {name: _rows([batch[name] for batch, _ in made]) for name in made[0][0]}
        return [
            {name: _taken(rows, order[first : first + self._batch]) for name, rows in pairs.items()}
            for first in range(0, self._at_once, self._batch)
        ]

    def _run(
        self, rng: np.random.Generator, ready: queue.Queue[_Drawn | Exception], photos: list[NDArray[np.uint8]]
    ) -> None:
        try:
            people, wardrobe = People(held_out=False, photos=photos), device_bodies.Wardrobe(self._device)
            while True:
                worlds, instants = [], []
                for _ in range(self._at_once + 1 + self._at_once // 8):  # one in nine to spare
                    if rng.random() < self._share:
                        instants.append(people.draw_up(rng))
                    else:
                        worlds.append(draw_up_any(rng, photos))
                ready.put(
                    _Drawn(
                        device_layers.upload(worlds, self._device) if worlds else None,
                        wardrobe.upload(instants) if instants else None,
                    )
                )
        except Exception as error:  # raised where the batch is asked for
            ready.put(error)


def _rows(parts: list[Tensor]) -> Tensor:
    """Join what the kinds made: a row a pair, (n, sides, ...), where truths come left first."""
    return torch.cat([p.unflatten(0, (2, -1)).transpose(0, 1) if p.ndim == 3 else p.unsqueeze(1) for p in parts])


def _taken(rows: Tensor, which: Tensor) -> Tensor:
    """The batch of rows `which`, as `batch_of` has it."""
    taken = rows[which]
    if taken.shape[1] == 2:
        return taken.transpose(0, 1).flatten(0, 1)
    taken = taken.squeeze(1)
    return taken.contiguous(memory_format=torch.channels_last) if taken.ndim == 4 else taken


def _drawn(share: float, count: int, device: str) -> list[Pair]:
    """`count` pairs of each kind that there is a share of, whole."""
    rng, generator = np.random.default_rng(0), torch.Generator(device).manual_seed(0)
    photos = photographs(held_out=False)
    pairs = []
    if share < 1:
        worlds = device_layers.upload([draw_up_any(rng, photos) for _ in range(count)], device)
        pairs += layered_pairs(worlds, generator).on_host()
    if share > 0:
        people = People(held_out=False, photos=photos)
        instants = [people.draw_up(rng) for _ in range(count)]
        pairs += device_bodies.body_pairs(device_bodies.Wardrobe(device).upload(instants), generator).on_host()
    return pairs


def main() -> None:
    """Parse flags and run."""
    p = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    p.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    p.add_argument("--batch", type=int, default=4)
    p.add_argument("--share-of-bodies", type=float, default=SHARE_OF_BODIES)
    p.add_argument("--makers", type=int, default=1, help="threads that draw scenes up")
    p.add_argument("--seconds", type=float, default=20)
    p.add_argument("--sheet", type=Path)
    a = p.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    if a.sheet is not None:
        sheet(_drawn(a.share_of_bodies, 6, a.device), a.sheet)
    feed = FreshFeed(a.batch, 1, a.device, a.share_of_bodies, a.makers)
    float(feed.next()["d"].nansum())
    start, before = time.monotonic(), feed.pairs
    while time.monotonic() - start < a.seconds:
        float(feed.next()["d"].nansum())  # waits until it's there
    print(f"{(feed.pairs - before) / (time.monotonic() - start):.2f} pairs a second")


if __name__ == "__main__":
    main()
