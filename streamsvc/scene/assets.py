"""Pictures and recordings that `make assets` fetched."""

from __future__ import annotations

from pathlib import Path

from streamsvc.cache import cache_dir
from streamsvc.scene.base import SceneError


def asset(name: str) -> Path:
    """Return the path of the file or folder `name` below `cache_dir()`; raises SceneError when it isn't there."""
    path = cache_dir() / name
    if not path.exists():
        raise SceneError(
            f"{path} is missing: `make assets` fetches it (or point STREAMSVC_CACHE at a folder that has it)"
        )
    return path
