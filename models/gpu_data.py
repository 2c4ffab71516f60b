"""Training data made on the device beside what the CPU makes of the same scenes: is it equal, and how fast is it.

Textures are noise, so that nothing has to be fetched for it; people are those that training sees.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import device_bodies
import device_layers
import numpy as np
import torch
from data_bodies import SCENES_KEPT, Instant, People, body_pair, seen_by
from data_layers import World, draw_up_any, layered_pair, noise_picture, view
from device_sensed import jpeg
from fresh_feed import layered_pairs
from gpu_checks import check
from gpu_frames import synchronize
from numpy.typing import NDArray

LEVELS, PIXELS = 2, 0.02
"""How far colours and disparities may be off, where the device rounds otherwise than the CPU."""

SHARE = 0.001
"""Of values that may be further off: OpenCV before its version 5 samples at multiples of 1/32 of a pixel, and what is
within a rounding error of an edge may fall to its other side."""


def drawn(count: int) -> tuple[list[World], list[Instant]]:
    """Return as many worlds and instants, the same ones each time."""
    rng = np.random.default_rng(1)
    photos = [noise_picture(rng, 256) for _ in range(3)]
    people = People(held_out=False, photos=photos)
    return [draw_up_any(rng, photos) for _ in range(count)], [people.draw_up(rng) for _ in range(count)]


def data_checks(device: str, small: bool) -> list[dict[str, Any]]:
    """Pictures, disparity and matte before sensors and codecs, and what JPEG of one quality leaves of a picture."""
    worlds, instants = drawn(2 if small else 16)
    return _layers_rows(worlds, device) + _bodies_rows(instants, device) + _jpeg_rows(worlds[:2], device)


def _off(name: str, mine: torch.Tensor, theirs: NDArray[Any], allowed: float, unit: str) -> dict[str, Any]:
    """The share of values that are more than `allowed` off, or known to one of them alone."""
    ours, known = mine.cpu().numpy().astype(np.float64), np.isfinite(theirs)
    with np.errstate(invalid="ignore"):
        wrong = (np.isfinite(ours) != known) | (known & (np.abs(ours - theirs) > allowed))
    return check(f"data made here, {name}: more than {allowed}{unit} off", float(wrong.mean()), SHARE, "of values")


def _layers_rows(worlds: list[World], device: str) -> list[dict[str, Any]]:
    pictures, disparity = device_layers.render(device_layers.upload(worlds, device))
    again, _ = device_layers.render(device_layers.upload(worlds, device))
    views = [view(world, side) for side in (0, 1) for world in worlds]
    return [
        _off("layers' pictures", pictures, np.stack([v[0] for v in views]), LEVELS, " levels"),
        _off("layers' disparity", disparity, np.stack([v[1] for v in views]), PIXELS, " px"),
        check("data made here, layers: values that a second run changes", int((again != pictures).sum()), 0, ""),
    ]


def _bodies_rows(instants: list[Instant], device: str) -> list[dict[str, Any]]:
    at_home = [replace(instant, behind=None) for instant in instants]
    bodies = device_bodies.Wardrobe(device).upload(at_home)
    pictures, disparity, people, _ = device_bodies.rectified(bodies, device_bodies.render(bodies))
    again = device_bodies.rectified(bodies, device_bodies.render(bodies))[0]
    rows = []
    for i, instant in enumerate(at_home):
        for k, side in ((i, instant.pair.left), (i + len(at_home), instant.pair.right)):
            picture, d, matte = seen_by(instant.scene, side, instant.t, instant.pair)
            h, w = matte.shape
            rows.append((pictures[k, :h, :w], picture, disparity[k, :h, :w], d, people[k, :h, :w], matte))

    def all_of(k: int) -> tuple[torch.Tensor, NDArray[Any]]:
        return torch.cat([row[k].flatten() for row in rows]), np.concatenate([row[k + 1].ravel() for row in rows])

    return [
        _off("bodies' pictures", *all_of(0), LEVELS, " levels"),
        _off("bodies' disparity", *all_of(2), PIXELS, " px"),
        _off("bodies' matte", *all_of(4), 0.01, ""),
        check("data made here, bodies: values that a second run changes", int((again != pictures).sum()), 0, ""),
    ]


def _jpeg_rows(worlds: list[World], device: str) -> list[dict[str, Any]]:
    pictures = np.stack([view(world, 0)[0] for world in worlds])
    given = torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float()
    rows = []
    for quality in (35, 60, 90):
        mine = jpeg(given, torch.full((len(given),), float(quality), device=device)).permute(0, 2, 3, 1).cpu().numpy()
        coded = [cv2.imencode(".jpg", p[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1] for p in pictures]
        theirs = np.stack([cv2.imdecode(c, cv2.IMREAD_COLOR)[:, :, ::-1] for c in coded])
        found = float(10 * np.log10(255**2 / np.mean((mine - theirs) ** 2)))
        rows.append(
            check(f"data made here, JPEG of quality {quality}: PSNR to OpenCV's", found, 40, "dB", at_least=True)
        )
    return rows


def data_table(device: str, small: bool) -> dict[str, dict[str, float]]:
    """Pairs per second of either kind, sensors and codecs included: made on the device once they're there, made by
    one core of the CPU, and drawn up by one core, which both need first."""
    count = 2 if small else 16
    generator, rng = torch.Generator(device).manual_seed(1), np.random.default_rng(1)
    photos = [noise_picture(rng, 256) for _ in range(3)]
    people = People(held_out=False, photos=photos)
    for _ in range(SCENES_KEPT):  # opening people takes long, and is needed once in `INSTANTS_A_SCENE`
        people.draw_up(rng)

    def rate(job: Callable[[], object], repeats: int = 1) -> float:
        synchronize(device)
        start = time.perf_counter()
        for _ in range(repeats):
            job()
        synchronize(device)
        return round(count * repeats / (time.perf_counter() - start), 2)

    worlds: list[World] = []
    instants: list[Instant] = []
    drawn_up = (
        rate(lambda: worlds.extend(draw_up_any(rng, photos) for _ in range(count))),
        rate(lambda: instants.extend(people.draw_up(rng) for _ in range(count))),
    )
    by_cpu = (
        rate(lambda: [layered_pair(rng, world) for world in worlds]),
        rate(lambda: [body_pair(rng, instant) for instant in instants]),
    )
    there = device_layers.upload(worlds, device), device_bodies.Wardrobe(device).upload(instants)
    jobs = (lambda: layered_pairs(there[0], generator), lambda: device_bodies.body_pairs(there[1], generator))
    rows = {}
    for kind, drawn_, cpu, job in zip(("layers", "bodies"), drawn_up, by_cpu, jobs, strict=True):
        job()
        on_device = rate(job, 1 if device == "cpu" else 10)
        rows[kind] = {"device": on_device, "one CPU core": cpu, "drawn up by one core": drawn_}
    return rows
