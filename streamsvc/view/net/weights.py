"""Where the weights of the geometry net lie, and whether they are whole: `geometry.safetensors`, its card beside it.

They come with the source tree (`models/weights`) or inside the wheel. The card, `geometry.json`, says what they were
trained on and their SHA-256; weights that don't match it are refused. `STREAMSVC_WEIGHTS` names another folder.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamsvc.view.errors import ViewError

if TYPE_CHECKING:
    from streamsvc.view.net.model import GeometryNet

NAME = "geometry"


def weights_dir() -> Path:
    """Return the folder that should hold the weights."""
    if named := os.environ.get("STREAMSVC_WEIGHTS"):
        return Path(named)
    package = Path(__file__).resolve().parents[2]
    tree = package.parent / "models" / "weights"
    return tree if tree.is_dir() else package / "_weights"


def read_card(folder: Path | None = None) -> dict[str, Any]:
    """Return the card of the weights; raises ViewError when they aren't there, or aren't what the card says."""
    folder = folder or weights_dir()
    weights, card = folder / f"{NAME}.safetensors", folder / f"{NAME}.json"
    try:
        document = json.loads(card.read_text("utf-8"))
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    except OSError as e:
        name = Path(str(e.filename)).name
        raise ViewError(f"no learned view: {name} of the weights: {e.strerror}; classical rungs are used") from None
    except ValueError:
        raise ViewError(f"no learned view: {card.name} is damaged; classical rungs are used") from None
    if not isinstance(document, dict) or document.get("sha256") != digest:
        raise ViewError(
            f"no learned view: {weights.name} isn't what {card.name} says (SHA-256); classical rungs are used"
        )
    return document


def load_net(folder: Path | None = None) -> GeometryNet:
    """Return the net with its weights, in float32, for inference; raises ViewError when it can't be had."""
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from streamsvc.view.net.model import GeometryNet
    except ImportError as e:
        raise ViewError(f"no learned view: {e.name} isn't installed (pip install 'streamsvc[view]')") from None
    read_card(folder)
    net = GeometryNet()
    path = (folder or weights_dir()) / f"{NAME}.safetensors"
    try:
        net.load_state_dict({k: v.float() for k, v in load_file(str(path)).items()})
    except (RuntimeError, ValueError, OSError, SafetensorError) as e:
        raise ViewError(f"no learned view: {path.name} doesn't fit this version ({str(e).splitlines()[0]})") from None
    return net.eval().requires_grad_(False)
