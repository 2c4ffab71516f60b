"""Where everything lies that is fetched or joined and never committed: recordings, photographs, models."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Return the folder (it may not exist yet): `$STREAMSVC_CACHE`, else `.cache/assets` of the source tree, else
    `streamsvc` in the user's cache (`$XDG_CACHE_HOME`, else `~/.cache`)."""
    if named := os.environ.get("STREAMSVC_CACHE"):
        return Path(named)
    root = Path(__file__).resolve().parents[1]
    if (root / "pyproject.toml").is_file():
        return root / ".cache" / "assets"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "streamsvc"
