"""models/view_losses.py: what a wrong choice at an edge would show, and how much it counts in training."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from streamsvc.view.net.model import GeometryNet

NEAR, FAR = 16.0, 8.0
PATCH = slice(28, 40)
"""The columns of the left picture that show the nearer surface; the right one shows it `NEAR` columns to the left."""


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    path = Path(__file__).parent.parent / "models" / "view_losses.py"
    spec = importlib.util.spec_from_file_location("view_losses", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def patch_before_wall(wall: Tensor) -> dict[str, Tensor]:
    """A white patch before a `wall` (3, h, w + 8) that the left picture sees from column 0, the right one from 8."""
    _, h, w = wall.shape
    w -= int(FAR)
    left, right = wall[None, :, :, :w].clone(), wall[None, :, :, int(FAR) :].clone()
    d = torch.full((2, h, w), FAR)
    moved = slice(PATCH.start - int(NEAR), PATCH.stop - int(NEAR))
    left[..., PATCH], right[..., moved] = 1, 1
    d[0, :, PATCH], d[1, :, moved] = NEAR, NEAR
    return {"left": left, "right": right, "d": d, "p": torch.full_like(d, torch.nan), "shift": torch.zeros(1)}


def stripes() -> Tensor:
    torch.manual_seed(0)
    return 0.5 * torch.rand(3, 1, 104).expand(3, 32, 104)


def test_the_view_half_way_is_seen_from_both_pictures(recipe: ModuleType) -> None:
    wall = stripes()
    batch = patch_before_wall(wall)
    view = recipe.true_view(torch.cat([batch["left"], batch["right"]]), batch["d"], batch["shift"], 0.5)
    colour = view.colour.view(32, 96, 3).permute(2, 0, 1)
    # Columns move by half of their disparities.
    assert torch.equal(colour[..., 20:32], torch.ones(3, 32, 12))
    beside = [*range(20), *range(32, 88)]
    assert torch.allclose(colour[..., beside], wall[..., [x + 4 for x in beside]], atol=1e-6)
    assert view.known.view(32, 96)[:, :92].all()


def test_a_mistake_counts_as_it_would_show(recipe: ModuleType) -> None:
    batch = patch_before_wall(stripes())
    pictures = torch.cat([batch["left"], batch["right"]])
    view = recipe.true_view(pictures, batch["d"], batch["shift"], 0.5)
    assert not recipe.drawn_over(view, pictures, batch["d"])[:, :, 16:80].gt(1e-10).any()
    wrong = NEAR + FAR - batch["d"]
    cost = recipe.drawn_over(view, pictures, wrong)[0, 0]
    # Of the patch taken for the wall, what lands behind the patch is hidden, and the rest is white on the wall.
    assert not cost[28:36].any()
    assert (cost[36:40] > 0.1).all()
    # The wall taken for the patch is drawn before the wall, and before the patch; where it's all alike nobody sees it.
    assert (cost[41:60] > 1e-4).all()
    plain = patch_before_wall(torch.full((3, 32, 104), 0.5))
    pictures = torch.cat([plain["left"], plain["right"]])
    view = recipe.true_view(pictures, plain["d"], plain["shift"], 0.5)
    assert not recipe.drawn_over(view, pictures, wrong)[0, 0, 48:80].gt(1e-10).any()


def test_the_choice_at_an_edge_learns_most_from_what_shows_most(recipe: ModuleType) -> None:
    batch = patch_before_wall(stripes())
    torch.manual_seed(1)
    answers = GeometryNet()(batch["left"], batch["right"], batch["shift"])
    side = answers[-1].edge.side.detach().zero_().requires_grad_()
    answers[-1] = answers[-1]._replace(edge=answers[-1].edge._replace(side=side))
    parts = recipe.losses(answers, batch)
    assert all(torch.isfinite(part) for part in parts.values())
    (slope,) = torch.autograd.grad(parts["side"], side)
    slope = slope[0, 16].abs()
    assert slope[41] > 10 * slope[28] > 0
    assert not slope[60:].any()
