"""models/device_*.py and fresh_feed.py: training pairs made on a torch device are those that the CPU makes."""

from __future__ import annotations

import functools
import importlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from streamsvc.scene.body import load_bodies
from streamsvc.scene.people import BodyScene
from streamsvc.scene.raster import project, rasterise

CROP = (96, 64)


class Recipes:
    """The modules of `models/`, which find each other by their bare names."""

    def __getattr__(self, name: str) -> ModuleType:
        return importlib.import_module(name)


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recipes]:
    """The recipes, a dozen pictures in the cache, one person at a time, and one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent.parent / "models"))
        cache = tmp_path_factory.mktemp("cache")
        patch.setenv("STREAMSVC_CACHE", str(cache))
        made = Recipes()
        (cache / "textures").mkdir()
        for number in range(12):
            picture = made.data_layers.noise_picture(np.random.default_rng(number), 128)
            cv2.imwrite(str(cache / "textures" / f"{number:02d}.png"), picture)
        patch.setattr(made.data_bodies, "SCENES_KEPT", 1)
        patch.setattr(made.data_bodies, "BodyScene", functools.cache(BodyScene))
        yield made
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def instants(recipes: Recipes) -> list[Any]:
    """Two instants of one person: at home, and before a layered world."""
    people = recipes.data_bodies.People(False, recipes.data_layers.photographs(False))
    rng = np.random.default_rng(4)
    drawn = [people.draw_up(rng) for _ in range(12)]
    return [next(i for i in drawn if (i.behind is None) == at_home) for at_home in (True, False)]


def off(mine: Tensor, theirs: np.ndarray[Any, Any], allowed: float) -> float:
    """The share of values that are more than `allowed` off, or known to one alone."""
    ours, known = mine.double().numpy(), np.isfinite(theirs)
    with np.errstate(invalid="ignore"):
        return float(((np.isfinite(ours) != known) | (known & (np.abs(ours - theirs) > allowed))).mean())


def test_layers_are_those_of_the_cpu(recipes: Recipes) -> None:
    photos = recipes.data_layers.photographs(False)
    sizes = (128, 96), (100, 110)
    worlds = [recipes.data_layers.draw_up(np.random.default_rng(i), s, 40.0, photos) for i, s in enumerate(sizes)]
    pictures, disparity = recipes.device_layers.render(recipes.device_layers.upload(worlds, "cpu"))
    for i, (world, (w, h)) in enumerate(zip(worlds, sizes, strict=True)):
        for side in (0, 1):
            picture, nearest = recipes.data_layers.view(world, side)
            row = 2 * side + i
            assert off(pictures[row, :h, :w], picture, 2) < 1e-3 and off(disparity[row, :h, :w], nearest, 0.02) < 1e-3
            assert picture.std() > 5 and nearest.std() > 1


def test_the_z_buffer_is_that_of_the_renderer_to_the_bit(recipes: Recipes, instants: list[Any]) -> None:
    scene, camera = instants[0].scene, instants[0].pair.left.source
    vertices, faces = scene.body.shape(1.0).vertices, scene.body.mesh.faces
    K, R, t = (torch.from_numpy(x)[None] for x in (camera.K, camera.R, camera.t))
    mine = recipes.device_raster.project(torch.from_numpy(vertices)[None], K, R, t)
    screen = project(vertices, camera.K, camera.R, camera.t)
    assert np.array_equal(mine[0].numpy(), screen)
    size = camera.width, camera.height
    inside = (torch.tensor([side]) for side in size)
    inverse, ids = recipes.device_raster.rasterise(mine, torch.from_numpy(faces).long()[None], *inside, size)
    expected, numbers = rasterise(screen, faces, camera.height, camera.width)
    assert (numbers >= 0).mean() > 0.1
    assert np.array_equal(ids[0].numpy(), numbers) and np.array_equal(inverse[0].numpy(), expected)


def test_of_equal_faces_the_lower_number_wins_and_seams_have_one_owner(recipes: Recipes) -> None:
    screen = torch.tensor([[[1.0, 1, 0.5], [9, 1, 0.5], [9, 7, 0.5], [1, 7, 0.5]]])
    faces = torch.tensor([[[0, 0, 0], [0, 1, 2], [0, 2, 3], [0, 1, 2], [2, 1, 0]]])
    twelve = torch.tensor([12])
    depth, ids = recipes.device_raster.rasterise(screen, faces, twelve, twelve, (12, 12))
    expected, numbers = rasterise(screen[0].numpy(), faces[0].numpy().astype(np.int32), 12, 12)
    assert np.array_equal(ids[0].numpy(), numbers) and np.array_equal(depth[0].numpy(), expected)
    assert Counter(ids[0].flatten().tolist()).keys() == {-1, 1, 2}


def test_bodies_and_their_room_are_those_of_the_cpu(recipes: Recipes, instants: list[Any]) -> None:
    at_home = [replace(instants[0], behind=None)]
    bodies = recipes.device_bodies.Wardrobe("cpu").upload(at_home)
    views = recipes.device_bodies.render(bodies)
    camera = at_home[0].pair.left.source
    seen = at_home[0].scene.render(camera, at_home[0].t)
    h, w = seen.depth.shape
    assert off(views.alpha[0, :h, :w], seen.alpha, 0) < 1e-4
    assert off(views.rgb[0, :h, :w], seen.rgb, 2) < 1e-3
    assert off(views.depth[0, :h, :w], seen.depth, 1e-3) < 1e-3


def test_whole_pairs_are_those_of_the_cpu(
    recipes: Recipes, instants: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("data_layers", "data_bodies"):
        monkeypatch.setattr(getattr(recipes, name), "sensed", lambda rng, pictures: pictures)
    monkeypatch.setattr(recipes.device_bodies, "sensed", lambda pictures, *_: pictures)
    grid, photos = instants[1].pair.left.grid, recipes.data_layers.photographs(False)
    _, d, matte = recipes.data_bodies.seen_by(instants[1].scene, instants[1].pair.left, instants[1].t, instants[1].pair)
    reach = 1.5 * float(d[matte > 0.5].mean())
    near = recipes.data_layers.draw_up(np.random.default_rng(8), (grid.width, grid.height), reach, photos)
    instants = [*instants, replace(instants[1], behind=near)]
    bodies = recipes.device_bodies.Wardrobe("cpu").upload(instants)
    pairs = recipes.device_bodies.body_pairs(bodies, torch.Generator()).on_host()
    for instant, mine in zip(instants, pairs, strict=True):
        theirs = recipes.data_bodies.body_pair(np.random.default_rng(0), instant)
        for name, allowed in (("", 2.0), ("_disparity", 0.02), ("_person", 0.01)):
            for side in ("left", "right"):
                expected = getattr(theirs, side + name)
                assert off(torch.from_numpy(getattr(mine, side + name)), expected, allowed) < 1e-3, (side, name)
        assert 0.02 < np.mean(theirs.left_person > 0.5) < 0.9
    hidden = np.mean(pairs[1].left_person > 0.5) - np.mean(pairs[2].left_person > 0.5)
    assert hidden > 0.01  # some of the last one's layers stand before the person


def test_jpeg_is_what_opencv_makes(recipes: Recipes) -> None:
    picture = recipes.data_layers.noise_picture(np.random.default_rng(3), 256)[:202, :250]
    cv2.putText(picture, "8x8", (20, 120), 0, 4, (250, 30, 60), 5, cv2.LINE_AA)
    given = torch.from_numpy(picture).permute(2, 0, 1).float().expand(3, -1, -1, -1)
    qualities = 35, 60, 90
    mine = recipes.device_sensed.jpeg(given, torch.tensor(qualities).float()).permute(0, 2, 3, 1).numpy()

    def psnr(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
        return float(10 * np.log10(255**2 / np.mean((a.astype(np.float64) - b) ** 2)))

    for quality, found in zip(qualities, mine, strict=True):
        coded = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        theirs = cv2.imdecode(coded, cv2.IMREAD_COLOR)[:, :, ::-1]
        assert psnr(found, theirs) > 40
        assert psnr(found, picture) == pytest.approx(psnr(theirs, picture), abs=0.3)


def test_sensors_are_distributed_as_on_the_cpu(recipes: Recipes) -> None:
    n, size = 300, 24
    picture = np.full((size, size, 3), 120, np.uint8)
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    theirs = np.stack([recipes.data_layers.sensed(rng, [picture, picture]) for _ in range(n)]).astype(float)
    sizes = torch.full((2 * n,), size)
    given = torch.from_numpy(picture).expand(2 * n, -1, -1, -1)
    mine = recipes.device_sensed.sensed(given, sizes, sizes, generator).unflatten(0, (2, n)).transpose(0, 1)

    def figures(pairs: np.ndarray[Any, Any]) -> list[float]:
        levels = pairs.mean((2, 3))
        grain = pairs.std((2, 3)).mean((1, 2))
        unlike = np.abs(levels[:, 0] - levels[:, 1]).mean()
        return [levels.mean(), levels.mean((1, 2)).std(), unlike, grain.mean(), np.median(grain), (grain < 0.5).mean()]

    expected = figures(theirs)
    assert figures(mine.numpy().astype(float)) == pytest.approx(expected, rel=0.2, abs=0.05)


def ramp(recipes: Recipes, n: int) -> Any:
    """Pairs of disparity 12 whose red says which column of the left picture a pixel shows, known in part."""
    h, w, d = 70, 120, 12
    x, y = np.meshgrid(np.arange(w), np.arange(h))
    left = np.dstack([2 * x, 2 * y, 0 * x + 9]).astype(np.uint8)
    right = np.dstack([(2 * (x + d)).clip(0, 255), 2 * y, 0 * x + 9]).astype(np.uint8)
    disparity = np.full((2, h, w), d, np.float32)
    disparity[0, :, :30], disparity[1, :, :10] = np.nan, np.nan
    sizes = torch.full((n,), w), torch.full((n,), h)
    pictures = torch.from_numpy(np.stack([left, right])).repeat_interleave(n, 0)
    truth = torch.from_numpy(disparity).repeat_interleave(n, 0)
    pair = recipes.data_layers.Pair(left, right, *disparity, *np.ones_like(disparity))
    return recipes.device_crops.Pairs(pictures, truth, torch.ones_like(truth), *sizes), pair


def test_crops_keep_what_disparity_says(recipes: Recipes) -> None:
    pairs, _ = ramp(recipes, 40)
    batch, enough = recipes.device_crops.crops(pairs, CROP, torch.Generator().manual_seed(2))
    n, w, h = 40, *CROP
    assert batch["left"].shape == (n, 3, h, w) and batch["d"].shape == batch["p"].shape == (2 * n, h, w)
    assert enough.shape == (n,) and enough.any()
    mirrored = 0
    for i in range(n):
        left, right = (255 * batch[side][i].double() for side in ("left", "right"))
        rows, columns = torch.isfinite(batch["d"][i]).nonzero(as_tuple=True)
        match = (columns - batch["d"][i, rows, columns] + batch["shift"][i]).long()
        seen = (match >= 0) & (match < w) & (columns > 0)
        rows, columns, match = rows[seen], columns[seen], match[seen]
        there = torch.isfinite(batch["p"][n + i, rows, match])
        assert there.any()
        assert torch.equal(left[0, rows, columns][there].round(), right[0, rows, match][there].round())
        assert (left[1, rows, columns] - right[1, rows, match])[there].abs().max() < 12  # out of line by a few rows
        mirrored += int(left[0, rows[0]].diff().clamp(-2, 2).sum() < 0)
    assert 0 < mirrored < n
    assert (batch["shift"] % 8 == 0).all() and torch.isnan(batch["p"]).any()


def test_crops_are_shifted_as_those_from_files(recipes: Recipes) -> None:
    n = 800
    pairs, pair = ramp(recipes, n)
    batch, _ = recipes.device_crops.crops(pairs, (16, 8), torch.Generator().manual_seed(3))
    rng = np.random.default_rng(3)
    cut = [recipes.view_feed.mirrored(pair) if rng.random() < 0.5 else pair for _ in range(n)]
    theirs = Counter(float(recipes.view_feed.crop(p, (16, 8), rng)["shift"]) for p in cut)
    mine = Counter(batch["shift"].tolist())
    assert mine.keys() == theirs.keys()
    assert all(abs(mine[shift] - theirs[shift]) < 0.06 * n for shift in mine)


@pytest.fixture
def feeding(recipes: Recipes, monkeypatch: pytest.MonkeyPatch) -> Recipes:
    """The recipes with crops that are cheap to learn from."""
    monkeypatch.setattr(recipes.fresh_feed, "CROP", CROP)
    return recipes


def test_the_same_seed_feeds_the_same_and_another_something_else(feeding: Recipes) -> None:
    first, second, other = (feeding.fresh_feed.FreshFeed(1, seed, "cpu", 0.0) for seed in (5, 5, 6))
    batches = [first.next() for _ in range(2)]
    for batch in batches:
        again = second.next()
        assert all(torch.equal(batch[k].nan_to_num(-1), again[k].nan_to_num(-1)) for k in batch)
    assert not torch.equal(batches[0]["left"], batches[1]["left"])
    assert not torch.equal(batches[0]["left"], other.next()["left"])
    assert first.made() == [{"kind": "fresh", "seed": 5, "share_of_bodies": 0.0, "pairs": 2}]


def test_what_is_held_out_is_never_fed(feeding: Recipes, monkeypatch: pytest.MonkeyPatch) -> None:
    photos: list[Any] = []
    people: list[int] = []
    draw_up, opened = feeding.fresh_feed.draw_up_any, feeding.data_bodies.BodyScene

    def drawn(rng: Any, given: list[Any]) -> Any:
        photos.extend(given)
        return draw_up(rng, given)

    def scene(identity: int, seed: int) -> BodyScene:
        people.append(identity)
        return opened(identity, seed)

    monkeypatch.setattr(feeding.fresh_feed, "draw_up_any", drawn)
    monkeypatch.setattr(feeding.data_bodies, "BodyScene", scene)
    batch = feeding.fresh_feed.FreshFeed(2, 1, "cpu", 0.5).next()
    assert batch["left"].shape == (2, 3, CROP[1], CROP[0]) and torch.isfinite(batch["left"]).all()
    held_out = {p.tobytes() for p in feeding.data_layers.photographs(True)}
    assert photos and people and len(held_out) == 2
    assert not any(p.tobytes() in held_out for p in photos)
    assert not any(load_bodies()["held_out"][i] for i in people)


def test_what_goes_wrong_in_a_thread_is_raised_where_a_batch_is_asked_for(
    feeding: Recipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(rng: Any, photos: list[Any]) -> Any:
        raise ValueError("no such texture")

    monkeypatch.setattr(feeding.fresh_feed, "draw_up_any", broken)
    with pytest.raises(ValueError, match="no such texture"):
        feeding.fresh_feed.FreshFeed(1, 1, "cpu", 0.0).next()


def test_training_learns_from_it_and_goes_on_where_it_stopped(feeding: Recipes, tmp_path: Path) -> None:
    training = feeding.train_view.Training(tmp_path, "cpu", False)
    before = [w.detach().clone() for w in training.net.parameters()]
    feed = feeding.fresh_feed.FreshFeed(1, training.step, "cpu", 0.0)
    found = training.learn(feed.next(), 1e-3)
    assert np.isfinite(found["loss"]) and found["loss"] > 0
    assert any(not torch.equal(a, b) for a, b in zip(before, training.net.parameters(), strict=True))
    training.made = feed.made()
    training.save(None)
    again = feeding.train_view.Training(tmp_path, "cpu", True)
    assert again.step == 1 and again.made == feed.made()
