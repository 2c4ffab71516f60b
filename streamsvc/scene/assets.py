"""Where fetched pictures and recordings lie: `$STREAMSVC_CACHE`, `.cache/assets` in a source tree, or home."""

from __future__ import annotations

import os
from pathlib import Path

from streamsvc.scene.base import SceneError


def cache_dir() -> Path:
    """Return the folder of assets (it may not exist yet): the environment first, then the source tree, then home."""
    if named := os.environ.get("STREAMSVC_CACHE"):
        return Path(named)
    root = Path(__file__).resolve().parents[2]
    if (root / "pyproject.toml").is_file():
        return root / ".cache" / "assets"
    return Path.home() / ".cache" / "streamsvc"


def asset(name: str) -> Path:
    """Return the path of the file or folder `name` below `cache_dir()`; raises SceneError when it isn't there."""
    path = cache_dir() / name
    if not path.exists():
        raise SceneError(
            f"{path} is missing: `make assets` fetches it (or point STREAMSVC_CACHE at a folder that has it)"
        )
    return path
