"""Sorted alpha compositing: right by hand, and how far the order-independent splat is from it on rendered people."""

from __future__ import annotations

import numpy as np
import torch

from streamsvc.frames import Camera
from streamsvc.scene import Rendering, between, open_scene
from streamsvc.view.blend import blend
from streamsvc.view.geometry import Source, project
from streamsvc.view.holes import fill_holes
from streamsvc.view.quality import psnr
from streamsvc.view.rectify import pixel_rays
from streamsvc.view.splat import Splats, splat
from streamsvc.view.splat_over import splat_over, splat_sorted

WIDTH, HEIGHT = 160, 120
FADE_PER_M = 100.0


def gaussian(x: float, y: float, z: float, a: float, tight: float = 1.0) -> list[float]:
    return [x, y, z, tight, 0, tight, a]


def test_the_nearer_hides_the_farther_by_its_opacity() -> None:
    geometry = torch.tensor([gaussian(3, 2, 2.0, 0.8), gaussian(3, 2, 1.0, 0.5)])
    features, coverage, nearest = splat_over(geometry, torch.tensor([[1.0, 0.0], [0.0, 1.0]]), 20, 5)
    near, far = 0.5, 0.5 * 0.8
    assert torch.allclose(features[2, 3], torch.tensor([far, near]) / (near + far))
    assert torch.isclose(coverage[2, 3], torch.tensor(near + far))
    assert nearest[2, 3] == 1.0
    assert not features[2, 19].any() and coverage[2, 19] == 0 and torch.isinf(nearest[2, 19])


def test_a_single_layer_is_the_same_by_both_formulas_and_in_any_order() -> None:
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.arange(0, 40, 6), np.arange(0, 30, 6))
    geometry = np.array([gaussian(u, v, 1 + 0.01 * u, 0.9) for u, v in zip(x.ravel(), y.ravel(), strict=True)])
    features = rng.uniform(0, 1, (len(geometry), 3))
    one = splat(Splats(geometry.astype(np.float32), features.astype(np.float32)), 40, 30, FADE_PER_M)
    order = rng.permutation(len(geometry))
    other, _, nearest = splat_over(torch.from_numpy(geometry[order]), torch.from_numpy(features[order]), 40, 30)
    assert np.abs(one.features - other.numpy()).max() < 1e-4
    assert np.allclose(one.nearest, nearest.numpy())


def test_what_the_splat_ignores_is_ignored() -> None:
    bad = torch.tensor(
        [gaussian(5, 5, -1, 1), gaussian(5, 5, 1, 0), gaussian(5, torch.nan, 1, 1), [5, 5, 1, 1, 3, 1, 1]]
    )
    features, coverage, _ = splat_over(bad, torch.full((4, 3), torch.nan), 12, 12)
    assert not features.any() and not coverage.any()


def test_it_is_differentiable() -> None:
    geometry = torch.tensor([gaussian(3, 2.3, 2.0, 0.8), gaussian(4, 2, 1.0, 0.5)]).double().requires_grad_()
    features, coverage, _ = splat_over(geometry, torch.eye(2, dtype=torch.float64), 8, 5)
    ((features**2).sum() + coverage.sum()).backward()
    assert geometry.grad is not None and torch.isfinite(geometry.grad).all()
    assert (geometry.grad[:, [0, 1, 3, 5, 6]].abs().sum(0) > 0).all()


def source(camera: Camera, seen: Rendering) -> Source:
    inverse = np.where(np.isfinite(seen.depth), 1 / seen.depth, 0).astype(np.float32)
    confidence = (inverse > 0).astype(np.float32)
    return Source(camera, seen.rgb, camera, pixel_rays(camera), inverse, confidence, seen.rgb, 0.0, 0.02)


def decibels(scene: str, width: int, height: int) -> dict[str, float]:
    """PSNR on the person of a view between the inner two of four cameras that know the true depth: of the splatted
    colours and of the blended view, by both formulas against the truth, and against each other."""
    body = open_scene(scene)
    rig = body.rig(4, width, height)
    view = between(rig, "cam1", "cam2", 0.5)
    sources = [source(c, body.render(c, 0.5)) for c in rig.cameras]
    truth = body.render(view, 0.5)
    parts = [project(s, view) for s in sources]
    splats = Splats(np.concatenate([p.geometry for p in parts]), np.concatenate([p.features for p in parts]))
    free = splat(splats, width, height, FADE_PER_M)
    shown = {}
    for name, picture, covered in (
        ("free", free.features, free.coverage),
        ("over", *splat_sorted(splats, width, height)),
    ):
        picture = picture.copy()
        fill_holes(picture, covered)
        shown[name] = np.clip(picture[..., :3] + 0.5, 0, 255).astype(np.uint8)
        shown[f"{name} blended"] = blend(picture, view, sources)[0]
    person = truth.alpha > 0.5
    figures = {name: psnr(picture, truth.rgb, person) for name, picture in shown.items()}
    figures["free against over"] = psnr(shown["free"], shown["over"], person)
    figures["blended, free against over"] = psnr(shown["free blended"], shown["over blended"], person)
    return figures


def test_without_sorting_the_person_is_as_true_to_life_as_with_it() -> None:
    for scene in ("body", "body:2"):
        found = decibels(scene, WIDTH, HEIGHT)
        print(scene, {name: round(value, 2) for name, value in found.items()})
        assert found["free"] > found["over"]
        assert found["free blended"] > found["over blended"] - 0.1


if __name__ == "__main__":
    for name in ("body", "body:2", "body:3", "body:identity=1,seed=4"):
        print(name, {what: round(value, 2) for what, value in decibels(name, 320, 240).items()})
